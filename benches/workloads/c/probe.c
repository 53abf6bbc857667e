/* The tracee of the instruction counter. It brings the allocator into a steady state at full speed,
 * then runs the operations to be counted between two marks, a trap instruction in one place. The tracer
 * counts what is executed outside this program's own code, so loops and jumps to the library are no
 * part of the count. */
#include "workload.h"

#include <stdio.h>
#include <string.h>

/* Tells the tracer that operations of another kind begin: 1 allocations, 2 releases, 0 the end. */
static __attribute__((noinline)) void mark(long kind)
{
#if defined(__x86_64__)
    __asm__ volatile("int3" : : "D"(kind) : "memory");
#else
    (void)kind;
    fail("instructions are counted on x86-64 only");
#endif
}

enum { WARM_UP = 20000 };

static void pairs(size_t size, uint64_t count)
{
    for (uint64_t i = 0; i < WARM_UP; i++) {
        void *block = checked(malloc(size));
        escape(block);
        free(block);
    }
    mark(1);
    for (uint64_t i = 0; i < count; i++) {
        void *block = malloc(size);
        escape(block);
        free(block);
    }
    mark(0);
}

static void batches(size_t size, uint64_t count, uint64_t rounds)
{
    void **blocks = own_pages(count * sizeof *blocks);
    for (uint64_t round = 0; round < WARM_UP / count + 2 + rounds; round++) {
        int counted = round >= WARM_UP / count + 2;
        if (counted)
            mark(1);
        for (uint64_t i = 0; i < count; i++)
            blocks[i] = malloc(size);
        if (counted)
            mark(2);
        for (uint64_t i = 0; i < count; i++)
            free(blocks[i]);
    }
    mark(0);
}

/* instruction-probe pair SIZE COUNT | batch SIZE COUNT ROUNDS */
int instruction_probe(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[0], "pair") == 0)
        pairs(strtoull(argv[1], NULL, 10), strtoull(argv[2], NULL, 10));
    else if (argc == 4 && strcmp(argv[0], "batch") == 0)
        batches(strtoull(argv[1], NULL, 10), strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
    else
        return fprintf(stderr, "usage: instruction-probe pair SIZE COUNT | batch SIZE COUNT ROUNDS\n"), 2;
    return 0;
}
