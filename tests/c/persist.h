/* What the programs about libpmem and libpmem2 share. Cases get a directory, and "reference" when they
 * run on the library of PMDK: then a case that shows a defect of it expects the defect. */
#ifndef PERSIST_H
#define PERSIST_H

#include "case.h"

/* A call that must give 0. */
#define ZERO(call)                                                                           \
    do {                                                                                     \
        long long result_ = (call);                                                          \
        if (result_ != 0)                                                                    \
            FAIL("%s gave %lld", #call, result_);                                            \
    } while (0)

/* A call that must give -1 and a certain errno. */
#define MINUS_ONE(call, code)                                                                \
    do {                                                                                     \
        errno = 0;                                                                           \
        CHECK_EQ(call, -1);                                                                  \
        CHECK_EQ(errno, code);                                                               \
    } while (0)

/* The path of a name in the directory. */
__attribute__((unused)) static const char *at(const char *name)
{
    static char path[4200];
    snprintf(path, sizeof path, "%s/%s-%d", case_arguments[0], name, (int)getpid());
    return path;
}

__attribute__((unused)) static int on_reference(void)
{
    return case_arguments[1] != NULL && strcmp(case_arguments[1], "reference") == 0;
}

/* A new file of a length, open. */
__attribute__((unused)) static int make_open(const char *path, off_t length)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    ZERO(ftruncate(fd, length));
    return fd;
}

#endif
