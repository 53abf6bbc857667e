/* Forks with other libraries' allocating fork handlers. The handlers come with atfork_lib: linked,
 * preloaded, or opened by the case that gets its path as argument. */
#include "load.h"

#include <dlfcn.h>

static void fork_and_count(int *calls)
{
    enum { FORKS = 20 };
    static struct set before, after;
    struct load load;
    CHECK(calls != NULL);
    load_start(&load, 3, 16 * KIB);
    set_fill(&before, 2 * MIB, 1);
    for (int i = 0; i < FORKS; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            CHECK_EQ(calls[2], 1);
            set_check(&before, 1);
            set_stamp(&before, 2);
            set_fill(&after, MIB, 3);
            _exit(0);
        }
        CHECK_CHILD(pid);
        set_check(&before, 1);
    }
    load_stop(&load);
    CHECK_EQ(calls[0], FORKS);
    CHECK_EQ(calls[1], FORKS);
    CHECK_EQ(calls[2], 0);
}

CASE(handlers_of_a_present_library)
{
    fork_and_count(dlsym(RTLD_DEFAULT, "atfork_handler_calls"));
}

CASE(handlers_of_an_opened_library)
{
    CHECK(case_arguments[0] != NULL);
    void *library = dlopen(case_arguments[0], RTLD_NOW);
    if (library == NULL)
        FAIL("%s", dlerror());
    fork_and_count(dlsym(library, "atfork_handler_calls"));
}
