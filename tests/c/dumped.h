/* A program that ends with a core file. */
#pragma once
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { DUMPED_BYTE = 0xa7, DUMPED_BYTES = 1 << 20 };

/* Fills a block with what the test looks for in the core file, and ends. */
static inline void end_with_a_core(void *block)
{
    struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    if (block == NULL || setrlimit(RLIMIT_CORE, &unlimited) != 0)
        exit(1);
    memset(block, DUMPED_BYTE, DUMPED_BYTES);
    signal(SIGABRT, SIG_DFL);
    abort();
}
