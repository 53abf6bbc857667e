/* What memcheck should say of a program whose heap is in a pool: one case, one finding. */
#include "case.h"

__attribute__((noinline)) static void lose_four_bytes(void)
{
    int *p = malloc(sizeof(int));
    *p = 1;
}

/* No pointer stays behind on the stack or in a register. */
__attribute__((noinline)) static void wipe(void)
{
    volatile char space[65536];
    for (size_t i = 0; i < sizeof space; i++)
        space[i] = 0;
}

static char read_byte(const char *p)
{
    return *(const volatile char *)p;
}

CASE(a_clean_program)
{
    for (int i = 0; i < 200; i++) {
        char *p = malloc(48), *q = calloc(10, 100), *r = NULL;
        CHECK_IN_POOL(p);
        memset(p, 1, malloc_usable_size(p));
        CHECK_EQ(nonzero_at(q, 1000), -1);
        p = realloc(p, 100000);
        CHECK_EQ(p[47], 1);
        p = realloc(p, 40);
        CHECK_EQ(p[39], 1);
        CHECK_EQ(posix_memalign((void **)&r, 256, 300000), 0);
        memset(r, 1, 300000);
        free(p), free(q), free(r);
        p = pvalloc(70000);
        CHECK_EQ(malloc_usable_size(p), 73728);
        free(p);
    }
    CHECK_FAILS(malloc(opaque((size_t)1 << 40)), ENOMEM);
    CHECK_FAILS(realloc(NULL, opaque((size_t)1 << 40)), ENOMEM);
}

CASE(a_block_is_lost)
{
    lose_four_bytes();
    wipe();
}

CASE(a_freed_block_is_read)
{
    char *p = malloc(48);
    memset(p, 1, 48);
    free(p);
    say("%d\n", read_byte(p + 10));
}

CASE(a_byte_behind_a_block_is_written)
{
    char *p = malloc(48);
    ((volatile char *)p)[48] = 1;
    free(p);
}

CASE(a_block_is_freed_twice)
{
    char *p = malloc(48);
    free(p);
    free(p);
}

static void *busy(void *unused)
{
    for (int i = 0; i < 500; i++) {
        char *p = malloc(8 + (size_t)i % 300);
        memset(p, 1, 8);
        free(p);
    }
    return unused;
}

CASE(threads_and_forks_are_clean)
{
    pthread_t threads[4];
    char *kept = malloc(1000);
    stamp(kept, 1000, 1);
    for (int i = 0; i < 4; i++)
        START(threads[i], busy, NULL);
    pid_t child = fork();
    if (child == 0) {
        CHECK_STAMP(kept, 1000, 1);
        free(kept);
        busy(NULL);
        _exit(0);
    }
    CHECK_CHILD(child);
    for (int i = 0; i < 4; i++)
        JOIN(threads[i]);
    CHECK_STAMP(kept, 1000, 1);
    free(kept);
}
