/* Blocks from before main (see early_lib.c) and allocation after it. */
#include "load.h"

#include <dlfcn.h>


#define BLOCKS 6

static const size_t *size;
static unsigned char **block;

static void find_library(void)
{
    size = dlsym(RTLD_DEFAULT, "early_size");
    block = dlsym(RTLD_DEFAULT, "early_block");
    CHECK(size != NULL && block != NULL);
}

static void check_content(int i, size_t bytes)
{
    for (size_t at = 0; at < bytes; at++)
        if (block[i][at] != 0x11 * (i + 1))
            FAIL("early block of %zu bytes changed at %zu", size[i], at);
}

CASE(early_blocks_hold_their_content)
{
    find_library();
    static struct set set;
    set_fill(&set, 2 * MIB, 1);
    for (int i = 0; i < BLOCKS; i++) {
        check_content(i, size[i]);
        CHECK_GE(malloc_usable_size(block[i]), size[i]);
    }
    set_check(&set, 1);
}

CASE(early_blocks_can_be_freed)
{
    find_library();
    for (int i = 0; i < BLOCKS; i++) {
        check_content(i, size[i]);
        errno = 777;
        free(block[i]);
        CHECK_EQ(errno, 777);
    }
    static struct set set;
    set_fill(&set, 4 * MIB, 1);
    set_check(&set, 1);
}

CASE(early_blocks_can_be_reallocated)
{
    find_library();
    for (int i = 0; i < BLOCKS; i++) {
        block[i] = OK(realloc(block[i], size[i] * 2));
        check_content(i, size[i]);
        block[i] = OK(realloc(block[i], size[i] / 2 + 1));
        check_content(i, size[i] / 2);
        free(block[i]);
    }
}

static void allocate_at_exit(void)
{
    static struct set set;
    set_fill(&set, 2 * MIB, 1);
    set_check(&set, 1);
    set_free(&set);
}

CASE(exit_handlers_allocate)
{
    allocate_at_exit();
    for (int i = 0; i < 100; i++)
        CHECK_EQ(atexit(allocate_at_exit), 0);
}

static void *keep_allocating(void *unused)
{
    for (;;)
        free(malloc(1000));
    return unused;
}

CASE(threads_allocate_during_exit)
{
    for (int i = 0; i < 4; i++) {
        pthread_t thread;
        START(thread, keep_allocating, NULL);
    }
    sleep_ms(10);
}

CASE(quick_exit_runs_allocating_handlers)
{
    CHECK_EQ(at_quick_exit(allocate_at_exit), 0);
    say("ok %s\n", case_name);
    quick_exit(0);
}
