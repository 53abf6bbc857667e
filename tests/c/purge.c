/* Memory goes back to the file system, but not in the middle of use. Written for a lazy pool of 128 MiB;
 * the name of a case starts with the value of VMMALLOC_PURGE_MS it is meant for. */
#include "load.h"

static size_t peak;

/* Fills 32 MiB with blocks of one size and frees them. */
static void fill_and_free(size_t size)
{
    struct link *chain = NULL;
    CHECK_GE(fill(&chain, size, 32 * MIB), 32 * MIB / size);
    for (struct link *p = chain; p != NULL; p = p->next)
        ((char *)p)[size - 1] = 1;
    peak = pool_storage();
    CHECK_GE(peak, 31 * MIB);
    free_chain(&chain);
}

/* What a program that goes on does: a little of this and that. */
static void be_active(long ms)
{
    double end = seconds() + (double)ms / 1000;
    while (seconds() < end) {
        for (size_t size = 10; size <= 300000; size *= 3)
            free(OK(malloc(size)));
        sleep_ms(5);
    }
}

static void expect_return(void)
{
    double end = seconds() + 5;
    while (pool_storage() * 20 >= peak && seconds() < end)
        be_active(20);
    CHECK_GE(peak, pool_storage() * 20);
}

CASE(ms100_blocks_of_16) { fill_and_free(16), expect_return(); }
CASE(ms100_blocks_of_200) { fill_and_free(200), expect_return(); }
CASE(ms100_blocks_of_1000) { fill_and_free(1000), expect_return(); }
CASE(ms100_blocks_of_5000) { fill_and_free(5000), expect_return(); }
CASE(ms100_blocks_of_70000) { fill_and_free(70000), expect_return(); }
CASE(ms100_blocks_of_1_mib) { fill_and_free(MIB), expect_return(); }
CASE(ms100_blocks_of_16_mib) { fill_and_free(16 * MIB), expect_return(); }

CASE(ms100_blocks_of_all_sizes)
{
    static struct set set;
    set_fill(&set, 32 * MIB, 1);
    peak = pool_storage();
    set_free(&set);
    expect_return();
}

static void *fill_and_free_in_a_thread(void *size)
{
    struct link *chain = NULL;
    CHECK_GE(fill(&chain, (size_t)size, 16 * MIB), 1000);
    free_chain(&chain);
    return NULL;
}

CASE(ms100_threads_that_ended)
{
    pthread_t thread[4];
    for (int i = 0; i < 4; i++)
        START(thread[i], fill_and_free_in_a_thread, (void *)((size_t)20 << i));
    for (int i = 0; i < 4; i++)
        JOIN(thread[i]);
    peak = 64 * MIB;
    expect_return();
}

static void *free_in_a_thread(void *chain)
{
    free_chain((struct link **)&chain);
    return NULL;
}

CASE(ms100_blocks_freed_by_another_thread)
{
    struct link *chain = NULL;
    CHECK_GE(fill(&chain, 100, 32 * MIB), 1000);
    peak = pool_storage();
    pthread_t thread;
    START(thread, free_in_a_thread, chain);
    JOIN(thread);
    expect_return();
}

CASE(ms100_neighbours_keep_their_content)
{
    enum { COUNT = 300 };
    static unsigned char *block[COUNT];
    for (int i = 0; i < COUNT; i++) {
        block[i] = OK(malloc(100000));
        stamp(block[i], 100000, (uint64_t)i);
    }
    peak = pool_storage();
    for (int i = 0; i < COUNT; i++)
        if (i % 10 != 0)
            free(block[i]);
    double end = seconds() + 5;
    while (pool_storage() > peak / 10 + peak / 20 && seconds() < end)
        be_active(20);
    CHECK_GE(peak / 10 + peak / 20, pool_storage());
    for (int i = 0; i < COUNT; i += 10)
        CHECK_STAMP(block[i], 100000, (uint64_t)i);
}

CASE(ms100_memory_can_be_used_again)
{
    for (int round = 0; round < 3; round++) {
        fill_and_free(3000);
        expect_return();
        char *zero = OK(calloc(1, 20 * MIB));
        CHECK_EQ(nonzero_at(zero, 20 * MIB), -1);
        memset(zero, 1, 20 * MIB);
        free(zero);
    }
}

CASE(off_keeps_the_memory)
{
    fill_and_free(1000);
    be_active(500);
    CHECK_GE(pool_storage(), peak / 100 * 95);
    fill_and_free(MIB);
    be_active(500);
    CHECK_GE(pool_storage(), peak / 100 * 95);
}

CASE(off_trim_gives_back)
{
    static const size_t sizes[] = {16, 1000, 5000, 70000, MIB, 16 * MIB};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        fill_and_free(sizes[i]);
        CHECK_EQ(malloc_trim(0), 1);
        if (pool_storage() * 20 >= peak)
            FAIL("blocks of %zu: %zu of %zu bytes stay after malloc_trim", sizes[i], pool_storage(), peak);
    }
}

CASE(off_trim_says_when_there_is_nothing_to_give_back)
{
    fill_and_free(1000);
    malloc_trim(0);
    CHECK_EQ(malloc_trim(0), 0);
}

CASE(ms0_gives_back_at_once)
{
    static const size_t sizes[] = {16, 1000, 5000, 70000, MIB, 16 * MIB};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        fill_and_free(sizes[i]);
        if (pool_storage() * 20 >= peak)
            FAIL("blocks of %zu: %zu of %zu bytes stay", sizes[i], pool_storage(), peak);
    }
}

CASE(ms0_load_stays_right)
{
    struct load load;
    load_start(&load, 4, MIB);
    sleep_ms(1000);
    load_stop(&load);
}

CASE(ms100_load_stays_right)
{
    struct load load;
    load_start(&load, 4, MIB);
    for (int i = 0; i < 50; i++) {
        sleep_ms(20);
        malloc_trim(0);
    }
    load_stop(&load);
}

/* ---- tight loops ---- */

static long minor_faults(void)
{
    struct rusage usage;
    CHECK_EQ(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_minflt;
}

static void use_and_free(size_t size)
{
    char *p = malloc(size);
    if (p == NULL)
        FAIL("no block of %zu bytes", size);
    for (size_t at = 0; at < size; at += 4096)
        p[at] = 1;
    p[size - 1] = 1;
    free(p);
}

/* A defect would be a fault per page and round. What may happen: the machine stops the program for longer
 * than the decay and all its memory goes back, once or twice; and other sizes' remains come and go. */
static void judge_faults(const char *what, size_t size, long faults, long rounds, size_t in_use)
{
    long pages = (long)(in_use / 4096);
    CHECK_GE(rounds, 8);
    if (faults > 20 + 3 * pages + rounds / 100)
        FAIL("%s of %zu: %ld faults in %ld rounds", what, size, faults, rounds);
}

/* Nothing is given back and faulted in again between two uses, whatever the size. Each size runs longer
 * than the decay. */
CASE(ms50_tight_loops_do_not_fault)
{
    for (size_t size = 8; size <= 64 * MIB; size *= 2) {
        for (int i = 0; i < 3; i++)
            use_and_free(size);
        long before = minor_faults(), rounds = 0;
        double end = seconds() + 0.1;
        for (; seconds() < end || rounds < 8; rounds++)
            use_and_free(size);
        judge_faults("a block", size, minor_faults() - before, rounds, size);
    }
}

CASE(ms50_tight_loops_over_several_blocks_do_not_fault)
{
    for (size_t size = 64; size <= 2 * MIB; size *= 4) {
        char *block[16];
        long before = 0, rounds = 0;
        double end = seconds() + 0.15;
        for (; seconds() < end || rounds < 12; rounds++) {
            if (rounds == 3)
                before = minor_faults();
            for (int i = 0; i < 16; i++) {
                block[i] = OK(malloc(size));
                for (size_t at = 0; at < size; at += 4096)
                    block[i][at] = 1;
            }
            for (int i = 0; i < 16; i++)
                free(block[i]);
        }
        judge_faults("16 blocks", size, minor_faults() - before, rounds - 3, 16 * size);
    }
}
