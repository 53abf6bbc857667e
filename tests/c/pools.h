/* Cases on libpmemlog and libpmemblk: `prog NAME DIR`. Everything here holds for PMDK's libraries, too. */
#ifndef POOLS_CASE_H
#define POOLS_CASE_H

#include "case.h"
#include <libpmemblk.h>
#include <libpmemlog.h>

/* A path in the directory of the case; a few at a time. */
__attribute__((unused)) static const char *in_directory(const char *name)
{
    static char paths[8][512];
    static int next;
    CHECK(case_arguments[0] != NULL);
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s-%s", case_arguments[0], case_name, name);
    return path;
}

__attribute__((unused)) static int exists(const char *path)
{
    return access(path, F_OK) == 0;
}

__attribute__((unused)) static void make_file(const char *path, off_t size)
{
    int fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);
    CHECK(fd >= 0);
    CHECK_EQ(ftruncate(fd, size), 0);
    CHECK_EQ(close(fd), 0);
}

__attribute__((unused)) static void poke(const char *path, off_t at, const void *bytes, size_t n)
{
    int fd = open(path, O_RDWR);
    CHECK(fd >= 0);
    CHECK_EQ(pwrite(fd, bytes, n, at), (ssize_t)n);
    CHECK_EQ(close(fd), 0);
}

__attribute__((unused)) static void make_set(const char *path, const char *format, ...)
{
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    va_list list;
    va_start(list, format);
    vfprintf(file, format, list);
    va_end(list);
    CHECK_EQ(fclose(file), 0);
}

/* A call that must give -1 and a certain errno. */
#define CHECK_MINUS(call, code)                                                              \
    do {                                                                                     \
        errno = 0;                                                                           \
        int result_ = (call);                                                                \
        int errno_ = errno;                                                                  \
        if (result_ != -1 || errno_ != (code))                                               \
            FAIL("%s gave %d and errno %d, not -1 and %s", #call, result_, errno_, #code);   \
    } while (0)

/* A text that must begin so. */
#define CHECK_BEGINS(found, wanted)                                                          \
    do {                                                                                     \
        const char *found_ = (found), *wanted_ = (wanted);                                   \
        if (strncmp(found_, wanted_, strlen(wanted_)) != 0)                                  \
            FAIL("%s is \"%s\", not \"%s...\"", #found, found_, wanted_);                    \
    } while (0)

/* Sets a byte of the header's first 2 KiB, and the checksum to what belongs to it: of 32-bit words, those behind 2 KiB and
 * the sum itself as zero. */
__attribute__((unused)) static void set_in_header(const char *path, size_t at, unsigned char byte)
{
    unsigned char header[4096];
    int fd = open(path, O_RDWR);
    CHECK_EQ(pread(fd, header, sizeof header, 0), (ssize_t)sizeof header);
    header[at] = byte;
    unsigned low = 0, high = 0;
    for (size_t i = 0; i < sizeof header; i += 4) {
        unsigned word = 0;
        if (i < 2048)
            memcpy(&word, header + i, sizeof word);
        low += word;
        high += low;
    }
    memcpy(header + 4088, &low, 4);
    memcpy(header + 4092, &high, 4);
    CHECK_EQ(pwrite(fd, header, sizeof header, 0), (ssize_t)sizeof header);
    close(fd);
}

#endif
