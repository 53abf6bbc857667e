/* An allocator whose instruction counts are known: malloc takes five instructions, free one. It stands in
 * for our library in tests of the harness, and reports at exit as that does. Nothing is ever reused. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char arena[1 << 30] __attribute__((aligned(64)));
__attribute__((used)) static char *next = arena;

__asm__(".globl malloc\n.type malloc, @function\nmalloc:\n"
        "  add $15, %rdi\n"
        "  and $-16, %rdi\n"
        "  mov %rdi, %rax\n"
        "  lock xadd %rax, next(%rip)\n"
        "  ret\n"
        ".globl free\n.type free, @function\nfree:\n"
        "  ret\n");

void *calloc(size_t count, size_t size) { return malloc(count * size); }

void *realloc(void *block, size_t size)
{
    void *grown = malloc(size);
    if (block) /* reads past the old block, but never past the arena */
        memmove(grown, block, size);
    return grown;
}

size_t malloc_usable_size(void *block) { return block ? 16 : 0; }

int posix_memalign(void **block, size_t alignment, size_t size)
{
    char *start = malloc(size + alignment);
    *block = start + (alignment - (size_t)start % alignment) % alignment;
    return 0;
}

static __attribute__((constructor)) void start(void)
{
    if (CRASH && getenv("VMMALLOC_POOL_DIR"))
        abort();
}

static __attribute__((destructor)) void report(void)
{
    const char *file = getenv("VMMALLOC_STATS_FILE"), *form = getenv("VMMALLOC_STATS");
    char path[4096], line[256];
    if (!file || !form || strcmp(form, "json") != 0)
        return;
    snprintf(path, sizeof path, "%s%d", file, (int)getpid());
    int out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int length = snprintf(line, sizeof line,
                          "{\"pid\":%d,\"program\":\"%s\",\"allocations\":1,\"peak_committed_bytes\":%zu,\"committed_bytes\":%zu}\n",
                          (int)getpid(), program_invocation_short_name, (size_t)(next - arena),
                          (size_t)(next - arena));
    if (out < 0 || write(out, line, (size_t)length) != length)
        abort();
    close(out);
}
