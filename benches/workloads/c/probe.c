/* The tracee of the instruction counter. It brings the allocator into a steady state at full speed,
 * then runs the operations to be counted between two marks, a trap instruction in one place. The tracer
 * counts what is executed outside this program's own code, so loops and jumps to the library are no
 * part of the count. */
#include "workload.h"

#include <malloc.h>
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

static void zeroed_pairs(size_t size, uint64_t count)
{
    for (uint64_t i = 0; i < WARM_UP; i++) {
        void *block = checked(calloc(1, size));
        /* Dirty, as a block that is used again is. */
        memset(block, 0xa5, size);
        escape(block);
        free(block);
    }
    mark(1);
    for (uint64_t i = 0; i < count; i++) {
        void *block = calloc(1, size);
        escape(block);
        free(block);
    }
    mark(0);
}

/* Sizes that alternate within what the block has room for: most allocators only have to find that out. */
static void resizes(size_t size, uint64_t count)
{
    void *block = checked(malloc(size));
    for (uint64_t i = 0; i < WARM_UP; i++)
        block = checked(realloc(block, size - (i & 1)));
    mark(1);
    for (uint64_t i = 0; i < count; i++)
        block = realloc(block, size - (i & 1));
    mark(0);
}

static void usable_sizes(size_t size, uint64_t count)
{
    void *block = checked(malloc(size));
    uint64_t sum = 0;
    for (uint64_t i = 0; i < WARM_UP; i++)
        sum += malloc_usable_size(block);
    mark(1);
    for (uint64_t i = 0; i < count; i++)
        sum += malloc_usable_size(block);
    mark(0);
    if (sum < size)
        fail("malloc_usable_size says less than was asked for");
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

/* instruction-probe pair|calloc|realloc|usable-size SIZE COUNT | batch SIZE COUNT ROUNDS */
int instruction_probe(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(size_t size, uint64_t count);
    } probes[] = {{"pair", pairs}, {"calloc", zeroed_pairs}, {"realloc", resizes}, {"usable-size", usable_sizes}};
    if (argc == 3)
        for (size_t i = 0; i < sizeof probes / sizeof probes[0]; i++)
            if (strcmp(argv[0], probes[i].name) == 0) {
                probes[i].run(strtoull(argv[1], NULL, 10), strtoull(argv[2], NULL, 10));
                return 0;
            }
    if (argc == 4 && strcmp(argv[0], "batch") == 0) {
        batches(strtoull(argv[1], NULL, 10), strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
        return 0;
    }
    fprintf(stderr, "usage: instruction-probe pair|calloc|realloc|usable-size SIZE COUNT | batch SIZE COUNT ROUNDS\n");
    return 2;
}
