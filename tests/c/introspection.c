/* What the process can learn about its heap: the calls of malloc.h must tell of the pool. Written for a
 * lazy pool of 64 MiB. */
#include "load.h"

CASE(mallinfo2_follows_the_program)
{
    enum { COUNT = 1000 };
    static void *block[COUNT];
    struct mallinfo2 before = mallinfo2();
    for (int i = 0; i < COUNT; i++)
        block[i] = OK(malloc(1000));
    void *large = OK(malloc(3 * MIB));
    memset(large, 1, 3 * MIB);
    struct mallinfo2 full = mallinfo2();
    size_t bytes = COUNT * 1000 + 3 * MIB;
    CHECK_GE(full.uordblks, before.uordblks + bytes);
    CHECK_GE(before.uordblks + bytes + bytes / 5, full.uordblks);
    CHECK_GE(full.arena + full.hblkhd, full.uordblks);
    CHECK_GE(pool_bytes(), full.arena + full.hblkhd);
    for (int i = 0; i < COUNT; i++)
        free(block[i]);
    free(large);
    struct mallinfo2 after = mallinfo2();
    CHECK_GE(before.uordblks + 200 * KIB, after.uordblks);
    CHECK_GE(after.arena + after.hblkhd, after.uordblks + after.fordblks);
}

CASE(mallinfo_follows_the_program)
{
    struct mallinfo before = mallinfo();
    void *p = OK(malloc(2 * MIB));
    struct mallinfo after = mallinfo();
    CHECK_GE(after.uordblks, before.uordblks + 2 * (int)MIB);
    free(p);
}

CASE(malloc_trim_tells_whether_it_gave_back)
{
    static struct set set;
    set_fill(&set, 8 * MIB, 1);
    set_free(&set);
    CHECK_EQ(malloc_trim(0), 1);
    CHECK_EQ(malloc_trim(0), 0);
}

CASE(mallopt_accepts_known_parameters)
{
    CHECK_EQ(mallopt(M_TRIM_THRESHOLD, 1 << 20), 1);
    CHECK_EQ(mallopt(M_MMAP_THRESHOLD, 1 << 20), 1);
    CHECK_EQ(mallopt(M_ARENA_MAX, 2), 1);
    free(OK(malloc(100)));
}

CASE(malloc_info_refuses_options)
{
    CHECK(malloc_info(1, stdout) != 0);
}

/* The test that runs these reads what they print. */
CASE(malloc_info_prints)
{
    static struct set set;
    set_fill(&set, 8 * MIB, 1);
    CHECK_EQ(malloc_info(0, stdout), 0);
    CHECK_EQ(fflush(stdout), 0);
    say("\n");
}

CASE(malloc_stats_prints)
{
    static struct set set;
    set_fill(&set, 8 * MIB, 1);
    malloc_stats();
}

CASE(malloc_stats_of_a_full_pool)
{
    struct link *chain = NULL;
    for (size_t size = MIB; size >= 8; size /= 2)
        fill(&chain, size, SIZE_MAX / 2);
    malloc_stats();
    free_chain(&chain);
}

/* ---- what the report at exit has to tell of ---- */

static void *leave_cached_blocks(void *unused)
{
    for (int i = 0; i < 100; i++)
        free(malloc(48));
    return unused;
}

extern void *__libc_malloc(size_t);

CASE(report_of_known_numbers)
{
    pthread_t thread;
    for (int i = 0; i < 1000; i++)
        memset(OK(malloc(1000)), 1, 1000);
    memset(OK(malloc(3 * MIB)), 1, 3 * MIB);
    for (int i = 0; i < 20; i++) {
        char *p = OK(malloc(8 * MIB));
        memset(p, 1, 8 * MIB);
        free(p);
    }
    for (int i = 0; i < 50; i++)
        free(__libc_malloc(100));
    START(thread, leave_cached_blocks, NULL);
    JOIN(thread);
}

CASE(report_of_an_empty_heap)
{
}

CASE(report_after_closing_stderr)
{
    free(OK(malloc(100)));
    fclose(stderr);
    close(2);
}

CASE(report_after_closing_everything)
{
    int number[64], count = 0;
    struct stat file;
    free(OK(malloc(100)));
    for (int fd = 2; fd < 70000 && count < 64; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            number[count++] = fd;
    CHECK_EQ(close_range(2, ~0U, 0), 0);
    /* Our numbers belong to another file now. It must stay empty: checked by the parent of the fork. */
    FILE *other = tmpfile();
    CHECK(other != NULL);
    int fd = fileno(other);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        for (int i = 0; i < count; i++)
            CHECK(number[i] == fd || dup2(fd, number[i]) == number[i]);
        exit(0);
    }
    CHECK_CHILD(pid);
    CHECK_EQ(fstat(fd, &file), 0);
    CHECK_EQ(file.st_size, 0);
}

CASE(report_of_parent_and_child)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    free(OK(malloc(100)));
    if (pid == 0)
        exit(0);
    CHECK_CHILD(pid);
}

/* With VMMALLOC_OVERFLOW=dram: beyond the pool, memory comes from elsewhere. */
CASE(overflow_to_dram)
{
    enum { COUNT = 120 };
    static unsigned char *block[COUNT];
    int inside = 0;
    for (int i = 0; i < COUNT; i++) {
        block[i] = OK(malloc(MIB));
        stamp(block[i], MIB, (uint64_t)i);
        inside += in_pool(block[i]);
    }
    CHECK_GE(inside, 50);
    CHECK_GE(100, inside);
    for (int i = 0; i < COUNT; i++) {
        CHECK_STAMP(block[i], MIB, (uint64_t)i);
        CHECK_GE(malloc_usable_size(block[i]), MIB);
        block[i] = OK(realloc(block[i], MIB + 5000));
        CHECK_STAMP(block[i], MIB, (uint64_t)i);
        CHECK_EQ(((uintptr_t)block[i] & 15), 0);
    }
    struct link *chain = NULL;
    fill(&chain, 100, 10 * MIB);
    free_chain(&chain);
    for (int i = 0; i < COUNT; i++)
        free(block[i]);
    unsigned char *p = OK(malloc(MIB));
    CHECK_IN_POOL(p);
    for (size_t alignment = 1; alignment <= MIB; alignment *= 2)
        free(OK(memalign(alignment, 100)));
}

CASE(overflow_to_dram_with_fork)
{
    static struct set set, more;
    struct link *chain = NULL;
    fill(&chain, 100000, 62 * MIB);
    set_fill(&set, 8 * MIB, 1);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        set_check(&set, 1);
        set_stamp(&set, 2);
        set_fill(&more, 4 * MIB, 3);
        set_free(&set);
        free_chain(&chain);
        _exit(0);
    }
    CHECK_CHILD(pid);
    set_check(&set, 1);
    set_free(&set);
    free_chain(&chain);
}
