/* What the reference does badly and this library must not do: each case fails on the behaviour that the contract's list of
 * weaknesses describes. */
#include "vmem.h"
#include <sys/time.h>

/* The reference lost about 75 KiB of a pool with each thread that ended: in 64 MiB the 815th thread got NULL. */
static void *one_short_life(void *vmp)
{
    void *p = vmem_malloc(vmp, 100);
    CHECK(p != NULL);
    vmem_free(vmp, p);
    return NULL;
}

CASE(threads_that_end_leave_nothing_behind)
{
    VMEM *vmp = make_pool(64 * MIB);
    for (int i = 0; i < 3000; i++) {
        pthread_t thread;
        START(thread, one_short_life, vmp);
        JOIN(thread);
    }
    OK(vmem_malloc(vmp, 60 * MIB));
}

/* It gave NULL to threads although the pool was nearly empty: to 2 of 4, and to 12 of 16 in the smallest pool. */
static pthread_barrier_t everybody;

static void *first_block(void *vmp)
{
    for (int i = 0; i < 100; i++)
        CHECK(vmem_malloc(vmp, 64) != NULL);
    pthread_barrier_wait(&everybody);
    return NULL;
}

CASE(every_thread_finds_room_in_the_smallest_pool)
{
    pthread_t threads[16];
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    pthread_barrier_init(&everybody, NULL, 16);
    for (int i = 0; i < 16; i++)
        START(threads[i], first_block, vmp);
    for (int i = 0; i < 16; i++)
        JOIN(threads[i]);
    struct link *chain = NULL; /* and they left the main thread most of it: there, 0 bytes */
    CHECK_GE(fill_pool(vmp, &chain, 64) * 64, 12 * MIB);
}

/* Of 14 MiB 28 % could be used, of 16 MiB 49 %, of 64 MiB 86 %. */
CASE(small_pools_are_usable_nearly_to_the_end)
{
    static const size_t sizes[] = {14, 16, 32, 64};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        pthread_t thread;
        VMEM *vmp = make_pool(sizes[i] * MIB);
        START(thread, one_short_life, vmp);
        JOIN(thread);
        struct link *chain = NULL;
        CHECK_GE(fill_pool(vmp, &chain, 64) * 64, sizes[i] * MIB / 100 * 95);
        vmem_delete(vmp);
    }
}

/* 4 MiB and a byte took 8 MiB. */
CASE(large_sizes_are_rounded_to_pages)
{
    VMEM *vmp = make_pool(16 * MIB);
    CHECK_EQ(vmem_malloc_usable_size(vmp, OK(vmem_malloc(vmp, 4 * MIB + 1))), 4 * MIB + 4096);
    CHECK_EQ(vmem_malloc_usable_size(vmp, OK(vmem_malloc(vmp, 4169729))), 4169729 / 4096 * 4096 + 4096);
    OK(vmem_malloc(vmp, 7 * MIB)); /* all three together: there, 20 MiB */
}

/* It dropped page-table entries at each free of a large block: 2048 faults for 8 MiB, and nothing given back. */
CASE(reusing_a_large_block_costs_no_page_faults)
{
    VMEM *vmp = make_pool(16 * MIB);
    for (int round = 0; round < 3; round++) {
        char *p = OK(vmem_malloc(vmp, 8 * MIB));
        memset(p, 1, 8 * MIB);
        vmem_free(vmp, p);
    }
    long before = faults();
    for (int round = 0; round < 10; round++) {
        char *p = OK(vmem_malloc(vmp, 8 * MIB));
        memset(p, 1, 8 * MIB);
        vmem_free(vmp, p);
    }
    CHECK_GE(200, faults() - before);
}

/* Shrinking failed with ENOMEM when the pool had no room for the smaller block. */
CASE(shrinking_never_fails)
{
    static const size_t smaller[] = {3 * MIB, 300000, 5000, 16, 1};
    for (size_t i = 0; i < ARRAY_LENGTH(smaller); i++) {
        VMEM *vmp = make_pool(16 * MIB);
        char *p = OK(vmem_malloc(vmp, 4 * MIB));
        struct link *chain = NULL;
        for (size_t size = 4 * MIB; size >= 8; size /= 2)
            fill_pool(vmp, &chain, size);
        stamp(p, 4 * MIB, 1);
        p = OK(vmem_realloc(vmp, p, smaller[i]));
        if (smaller[i] >= 8)
            CHECK_STAMP(p, smaller[i] / 8 * 8, 1);
        vmem_delete(vmp);
    }
}

/* A child that allocated changed the parent's allocator, and its death could leave the parent locked. */
CASE(children_that_die_inside_leave_the_parent_alive)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    char *kept = OK(vmem_malloc(vmp, 5000));
    stamp(kept, 5000, 1);
    for (int round = 0; round < 30; round++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            for (size_t i = 0;; i++) {
                void *p = vmem_malloc(vmp, 8 + i % 5000);
                if (p != NULL && i % 3 == 0)
                    vmem_free(vmp, p);
                if (p == NULL)
                    i = 0;
            }
        }
        sleep_ms(1 + round % 5);
        kill(child, SIGKILL);
        CHECK_EQ(waitpid(child, &status, 0), child);
        void *p = OK(vmem_malloc(vmp, 100 + round * 50));
        vmem_free(vmp, p);
    }
    CHECK_STAMP(kept, 5000, 1);
    CHECK_EQ(vmem_check(vmp), 1);
}

/* Statistics were silent outside of the debug library. */
static size_t lines;

static void count_lines(const char *text)
{
    lines += text[0] != '<';
}

CASE(statistics_are_printed_by_every_build)
{
    vmem_set_funcs(NULL, NULL, NULL, NULL, count_lines);
    vmem_stats_print(make_pool(VMEM_MIN_POOL), NULL);
    CHECK_GE(lines, 30);
}

/* errno was not set when a region's pool could not be set up. */
CASE(errno_is_set_when_a_pool_cannot_be_set_up)
{
    char *p = region(64 * MIB, 0);
    struct rlimit limit = {1 * MIB, 1 * MIB};
    CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0); /* no memory for bookkeeping */
    CHECK_REFUSED(vmem_create_in_region(p, 64 * MIB), ENOMEM, "pool creation failed");
}

/* The text of an error needed memory from malloc. */
static int mallocs_fail;

void *malloc(size_t size)
{
    extern void *__libc_malloc(size_t);
    if (mallocs_fail)
        FAIL("malloc is called while a failure is told");
    return __libc_malloc(size);
}

CASE(telling_a_failure_needs_no_memory)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    mallocs_fail = 1;
    CHECK_REFUSED(vmem_create(NULL, VMEM_MIN_POOL), EINVAL, "invalid (NULL) path");
    CHECK_FAILS(vmem_malloc(vmp, 20 * MIB), ENOMEM);
    CHECK_REFUSED(vmem_create("/nowhere", VMEM_MIN_POOL), ENOENT, "open: No such file or directory");
    mallocs_fail = 0;
}

/* Deleting a file pool twice, or checking it, ended in a fault. */
CASE(dead_handles_are_recognised)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    vmem_delete(vmp);
    errno = 0;
    vmem_delete(vmp);
    CHECK_EQ(errno, EINVAL);
    CHECK_EQ(vmem_check(vmp), -1);
    CHECK_FAILS(vmem_malloc(vmp, 8), EINVAL);
}

/* A signal during the allocation of space made creation fail with EINTR. */
static void on_alarm(int number)
{
    (void)number;
}

CASE(signals_do_not_disturb_creation)
{
    struct sigaction action = {.sa_handler = on_alarm}; /* without SA_RESTART */
    struct itimerval often = {{0, 200}, {0, 200}};
    sigaction(SIGALRM, &action, NULL);
    CHECK_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
    for (int round = 0; round < 10; round++)
        vmem_delete(make_pool(32 * MIB));
}
