/* Errors that a hardened heap must end the program for, one in each case, and what must work all the
 * same. Each case gets as far as its last line only when the error went unnoticed. */
#include "case.h"

/* The compiler must not see that the calls below are wrong. */
static void *(*volatile allocate)(size_t) = malloc;
static void (*volatile release)(void *) = free;
static void *(*volatile resize)(void *, size_t) = realloc;

static char *fresh(size_t size)
{
    char *block = allocate(size);
    CHECK(block != NULL);
    CHECK_IN_POOL(block);
    return block;
}

CASE(double_free)
{
    char *block = fresh(100);
    release(block);
    release(block);
}

/* The block lies in the thread's cache below others. */
CASE(double_free_later)
{
    char *block[20];
    for (size_t i = 0; i < ARRAY_LENGTH(block); i++)
        block[i] = fresh(48);
    for (size_t i = 0; i < ARRAY_LENGTH(block); i++)
        release(block[i]);
    release(block[4]);
}

static void *free_it(void *block)
{
    release(block);
    return NULL;
}

CASE(double_free_in_a_thread)
{
    pthread_t thread;
    char *block = fresh(1000);
    release(block);
    START(thread, free_it, block);
    JOIN(thread);
}

CASE(double_free_in_a_child)
{
    int status = 0;
    char *block = fresh(1000);
    release(block);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        release(block);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        raise(WTERMSIG(status));
}

CASE(double_free_of_pages)
{
    char *block = fresh(3 * MIB);
    release(block);
    release(block);
}

CASE(free_inside)
{
    release(fresh(100) + 32);
}

CASE(free_misaligned)
{
    release(fresh(100) + 1);
}

CASE(free_inside_of_pages)
{
    release(fresh(3 * MIB) + 4096);
}

CASE(realloc_after_free)
{
    char *block = fresh(100);
    release(block);
    CHECK(resize(block, 5000) != block);
}

static void overflow(size_t size)
{
    char *volatile block = fresh(size);
    block[size] = 0;
    release(block);
}

CASE(overflow_small)
{
    overflow(41);
}

CASE(overflow_medium)
{
    overflow(50000);
}

CASE(overflow_pages)
{
    overflow(3 * MIB + 1);
}

CASE(overflow_calloc)
{
    char *volatile block = calloc(3, 7);
    CHECK(block != NULL);
    block[21] = 1;
    release(block);
}

CASE(overflow_aligned)
{
    char *volatile block = aligned_alloc(256, 300);
    CHECK(block != NULL);
    block[300] = 1;
    release(block);
}

CASE(overflow_realloc)
{
    char *volatile block = resize(fresh(10), 77);
    CHECK(block != NULL);
    block[77] = 1;
    CHECK(resize(block, 1000) != NULL);
}

/* Found in a heap that overwrites what is freed. */
CASE(write_after_free)
{
    char *volatile block = fresh(100);
    release(block);
    block[50] = 1;
    for (int i = 0; i < 1000; i++)
        fresh(100);
}

CASE(fine_sizes_and_contents)
{
    static const size_t sizes[] = {1, 8, 15, 16, 17, 100, 128, 1000, 1024, 5000, 200000, 3 * MIB};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        size_t size = sizes[i];
        for (int round = 0; round < 50; round++) {
            char *block = fresh(size);
            CHECK_EQ(malloc_usable_size(block), size);
            stamp(block, size, i);
            block = resize(block, size + 5);
            CHECK(block != NULL);
            CHECK_STAMP(block, size, i);
            CHECK_EQ(malloc_usable_size(block), size + 5);
            block = resize(block, size / 2 + 1);
            CHECK(block != NULL);
            CHECK_EQ(malloc_usable_size(block), size / 2 + 1);
            release(block);
            block = calloc(1, size);
            CHECK(block != NULL);
            CHECK_EQ(nonzero_at(block, size), -1);
            release(block);
        }
    }
}

/* What the C library allocated before there was a pool, or by itself, goes back to it. */
CASE(fine_foreign_blocks)
{
    extern void *__libc_malloc(size_t);
    char *volatile block = __libc_malloc(100);
    CHECK(block != NULL);
    release(block);
    release(NULL);
}
