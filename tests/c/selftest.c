/* For the tests of the harness: every way a case can fail. */
#include "load.h"

CASE(fails)
{
    CHECK_EQ(1, 2);
}

static void *fail_in_a_thread(void *unused)
{
    CHECK(unused != NULL);
    return NULL;
}

CASE(fails_in_a_thread)
{
    pthread_t thread;
    START(thread, fail_in_a_thread, NULL);
    JOIN(thread);
}

CASE(fails_in_a_child)
{
    pid_t pid = fork();
    if (pid == 0)
        CHECK_STAMP("not stamped", 8, 1);
    CHECK_CHILD(pid);
}

CASE(crashes)
{
    raise(SIGSEGV);
}

CASE(hangs)
{
    pause();
}

CASE(exits_early)
{
    exit(0);
}

CASE(passes)
{
    char block[100];
    for (size_t size = 0; size <= sizeof block; size++) {
        stamp(block, size, 3);
        CHECK_EQ(stamp_differs(block, size, 3), -1);
        if (size > 0)
            CHECK(stamp_differs(block, size, 4) >= 0);
    }
    memset(block, 0, sizeof block);
    CHECK_EQ(nonzero_at(block, sizeof block), -1);
    block[99] = 1;
    CHECK_EQ(nonzero_at(block, sizeof block), 99);
}

CASE(passes_under_load)
{
    static struct set set;
    struct load load;
    load_start(&load, 2, 4 * KIB);
    set_fill(&set, MIB, 1);
    sleep_ms(10);
    set_check(&set, 1);
    set_free(&set);
    load_stop(&load);
}
