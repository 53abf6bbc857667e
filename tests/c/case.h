/* Named cases of a test program.
 *
 *   prog --list          names of all cases
 *   prog NAME [ARG]...   runs one case: the last line is "ok NAME" and the exit code 0 when it passes,
 *                        else "not ok NAME: FILE:LINE: what" and 1
 *
 * Nothing here allocates, so cases may run with an exhausted heap.
 */
#ifndef CASE_H
#define CASE_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define MINIMUM_POOL (14 * MIB)
#define ARRAY_LENGTH(a) (sizeof(a) / sizeof((a)[0]))

#ifdef __FILE_NAME__
#define SOURCE_NAME __FILE_NAME__
#else
#define SOURCE_NAME __FILE__
#endif

struct test_case {
    const char *name;
    void (*run)(void);
};

#define CASE(id)                                                                             \
    static void case_##id(void);                                                             \
    static const struct test_case entry_##id                                                 \
        __attribute__((section("test_cases"), used, aligned(16))) = {#id, case_##id};        \
    static void case_##id(void)

extern const struct test_case __start_test_cases[], __stop_test_cases[];

static const char *case_name = "?";
static char **case_arguments; /* what follows the case's name on the command line */

/* Prints without allocating. */
__attribute__((format(printf, 1, 2), unused)) static void say(const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    int n = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (n > (int)sizeof text - 1)
        n = sizeof text - 1;
    for (int done = 0; done < n;) {
        ssize_t w = write(1, text + done, (size_t)(n - done));
        if (w <= 0)
            break;
        done += (int)w;
    }
}

/* Ends the case as failed, from any thread or process. */
#define FAIL(...)                                                                            \
    do {                                                                                     \
        int saved_errno_ = errno;                                                            \
        say("not ok %s: %s:%d: ", case_name, SOURCE_NAME, __LINE__);                       \
        say(__VA_ARGS__);                                                                    \
        say(" (errno %d)\n", saved_errno_);                                                  \
        _exit(1);                                                                            \
    } while (0)

#define CHECK(condition)                                                                     \
    do {                                                                                     \
        if (!(condition))                                                                    \
            FAIL("%s", #condition);                                                          \
    } while (0)

/* Compares two integers and shows both. */
#define CHECK_EQ(left, right)                                                                \
    do {                                                                                     \
        long long left_ = (long long)(left), right_ = (long long)(right);                    \
        if (left_ != right_)                                                                 \
            FAIL("%s is %lld, not %s = %lld", #left, left_, #right, right_);                 \
    } while (0)

/* Compares two integers, the first of which must not be smaller. */
#define CHECK_GE(left, right)                                                                \
    do {                                                                                     \
        long long left_ = (long long)(left), right_ = (long long)(right);                    \
        if (left_ < right_)                                                                  \
            FAIL("%s is %lld, below %s = %lld", #left, left_, #right, right_);               \
    } while (0)

/* A call that must give NULL and a certain errno. */
#define CHECK_FAILS(call, code)                                                              \
    do {                                                                                     \
        errno = 0;                                                                           \
        void *result_ = (call);                                                              \
        int errno_ = errno;                                                                  \
        if (result_ != NULL)                                                                 \
            FAIL("%s gave %p", #call, result_);                                              \
        if (errno_ != (code))                                                                \
            FAIL("%s set errno %d, not %s", #call, errno_, #code);                           \
    } while (0)

/* A call that must succeed without touching errno; its value. */
#define OK(call)                                                                             \
    __extension__({                                                                          \
        errno = 4711;                                                                        \
        void *result_ = (call);                                                              \
        if (result_ == NULL)                                                                 \
            FAIL("%s gave NULL", #call);                                                     \
        if (errno != 4711)                                                                   \
            FAIL("%s succeeded but set errno", #call);                                       \
        result_;                                                                             \
    })

/* The compiler must not know the value: no warnings about absurd sizes, no folding. */
__attribute__((noinline, unused)) static size_t opaque(size_t value)
{
    __asm__ volatile("" : "+r"(value));
    return value;
}

__attribute__((unused)) static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *state = x;
    return x * 0x2545f4914f6cdd1dULL;
}

/* Fills a block with bytes that depend on the seed and the position. */
__attribute__((unused)) static void stamp(void *block, size_t size, uint64_t seed)
{
    unsigned char *p = (unsigned char *)block;
    uint64_t word = (seed + 1) * 0x9e3779b97f4a7c15ULL;
    size_t i = 0;
    for (; i + 8 <= size; i += 8, word += 0x0101010101010101ULL)
        memcpy(p + i, &word, 8);
    memcpy(p + i, &word, size - i);
}

/* Offset of the first byte that differs from stamp(), or -1. */
__attribute__((unused)) static long stamp_differs(const void *block, size_t size, uint64_t seed)
{
    const unsigned char *p = (const unsigned char *)block;
    uint64_t word = (seed + 1) * 0x9e3779b97f4a7c15ULL;
    size_t i = 0;
    for (; i + 8 <= size; i += 8, word += 0x0101010101010101ULL)
        if (memcmp(p + i, &word, 8) != 0)
            return (long)i;
    return memcmp(p + i, &word, size - i) != 0 ? (long)i : -1;
}

#define CHECK_STAMP(block, size, seed)                                                       \
    do {                                                                                     \
        const unsigned char *block_ = (const unsigned char *)(block);                        \
        size_t size_ = (size);                                                               \
        long at_ = stamp_differs(block_, size_, (seed));                                     \
        if (at_ >= 0)                                                                        \
            FAIL("%s: byte %ld of %zu at %p is %d", #block, at_, size_,                      \
                 (const void *)block_, block_[at_]);                                         \
    } while (0)

/* Offset of the first byte that is not zero, or -1. */
__attribute__((unused)) static long nonzero_at(const void *block, size_t size)
{
    const unsigned char *p = (const unsigned char *)block;
    for (size_t i = 0; i < size; i++)
        if (p[i] != 0)
            return (long)i;
    return -1;
}

/* The protection and sharing flags ("rw-s") of the mapping that holds an address, and whether it shows a
 * file of VMMALLOC_POOL_DIR, or VMMALLOC_DEVICE. */
struct place {
    char flags[5];
    int in_pool;
};

__attribute__((unused)) static struct place place_of(const void *address)
{
    static char text[1 << 16];
    struct place place = {"", 0};
    const char *device = getenv("VMMALLOC_DEVICE");
    const char *dir = device != NULL ? device : getenv("VMMALLOC_POOL_DIR");
    uintptr_t wanted = (uintptr_t)address;
    int fd = open("/proc/self/maps", O_RDONLY);
    size_t held = 0;
    if (fd < 0)
        return place;
    for (;;) {
        ssize_t n = read(fd, text + held, sizeof text - 1 - held);
        if (n <= 0)
            break;
        held += (size_t)n;
        text[held] = 0;
        char *line = text, *end;
        while ((end = strchr(line, '\n')) != NULL) {
            unsigned long first, last;
            int name = 0;
            char flags[5];
            *end = 0;
            if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %n", &first, &last, flags, &name) >= 3
                && wanted >= first && wanted < last) {
                memcpy(place.flags, flags, 5);
                place.in_pool = dir != NULL && name > 0
                    && strncmp(line + name, dir, strlen(dir)) == 0;
                close(fd);
                return place;
            }
            line = end + 1;
        }
        held = strlen(line);
        memmove(text, line, held);
    }
    close(fd);
    return place;
}

/* Whether the memory has a NUMA policy of its own. */
__attribute__((unused)) static int has_policy(const void *address)
{
    const unsigned long of_address = 2;
    int mode = 0;
    CHECK(syscall(SYS_get_mempolicy, &mode, NULL, 0UL, address, of_address) == 0);
    return mode != 0;
}

/* Whether the bytes come from the pool's file, device or nodes. A run without a pool says yes: there the C library is the
 * allocator, and the cases only show that they are right themselves. */
__attribute__((unused)) static int in_pool(const void *address)
{
    if (getenv("VMMALLOC_NODES") != NULL)
        return has_policy(address);
    if (getenv("VMMALLOC_POOL_DIR") == NULL && getenv("VMMALLOC_DEVICE") == NULL)
        return 1;
    return place_of(address).in_pool;
}

#define CHECK_IN_POOL(pointer)                                                               \
    do {                                                                                     \
        if (!in_pool(pointer))                                                               \
            FAIL("%s = %p is not in the pool", #pointer, (const void *)(pointer));           \
    } while (0)

/* Size of the pool in bytes; what a run without a pool may assume. */
__attribute__((unused)) static size_t pool_bytes(void)
{
    const char *text = getenv("VMMALLOC_POOL_SIZE");
    return text != NULL ? (size_t)strtoull(text, NULL, 10) : (size_t)1 << 40;
}

/* Bytes of storage of the unlinked files this process holds open on the file system of the pool. */
__attribute__((unused)) static size_t pool_storage(void)
{
    struct stat dir, file;
    size_t total = 0;
    const char *path = getenv("VMMALLOC_POOL_DIR");
    CHECK(path != NULL && stat(path, &dir) == 0);
    DIR *fds = opendir("/proc/self/fd");
    CHECK(fds != NULL);
    for (struct dirent *entry; (entry = readdir(fds)) != NULL;) {
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] != '.' && fstat(fd, &file) == 0 && file.st_dev == dir.st_dev
            && file.st_nlink == 0 && S_ISREG(file.st_mode))
            total += (size_t)file.st_blocks * 512;
    }
    closedir(fds);
    return total;
}

/* A chain of blocks that is linked through the blocks' own first bytes. */
struct link {
    struct link *next;
};

/* Allocates blocks until NULL (with ENOMEM) or `most` bytes are reached; counts them. */
__attribute__((unused)) static size_t fill(struct link **chain, size_t size, size_t most)
{
    size_t count = 0;
    errno = 0;
    while ((count + 1) * size <= most) {
        struct link *block = (struct link *)malloc(size);
        if (block == NULL) {
            CHECK_EQ(errno, ENOMEM);
            break;
        }
        block->next = *chain;
        *chain = block;
        count++;
    }
    return count;
}

__attribute__((unused)) static void free_chain(struct link **chain)
{
    while (*chain != NULL) {
        struct link *block = *chain;
        *chain = block->next;
        free(block);
    }
}

__attribute__((unused)) static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

__attribute__((unused)) static void sleep_ms(long ms)
{
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&pause, &pause) != 0 && errno == EINTR) {
    }
}

/* Waits for a child that must exit with 0. */
#define CHECK_CHILD(pid)                                                                     \
    do {                                                                                     \
        int status_ = -1;                                                                    \
        pid_t waited_;                                                                       \
        do                                                                                   \
            waited_ = waitpid((pid), &status_, 0);                                           \
        while (waited_ < 0 && errno == EINTR);                                               \
        if (waited_ < 0)                                                                     \
            FAIL("waitpid(%s)", #pid);                                                       \
        if (WIFSIGNALED(status_))                                                            \
            FAIL("child %s died of signal %d", #pid, WTERMSIG(status_));                     \
        if (status_ != 0)                                                                    \
            FAIL("child %s ended with %d", #pid, WEXITSTATUS(status_));                      \
    } while (0)

/* Starts a thread and joins it. */
#define START(thread, function, argument)                                                    \
    do {                                                                                     \
        int error_ = pthread_create(&(thread), NULL, (function), (argument));                \
        if (error_ != 0)                                                                     \
            FAIL("pthread_create: %s", strerror(error_));                                    \
    } while (0)

#define JOIN(thread)                                                                         \
    do {                                                                                     \
        int error_ = pthread_join((thread), NULL);                                           \
        if (error_ != 0)                                                                     \
            FAIL("pthread_join: %s", strerror(error_));                                      \
    } while (0)

int main(int argc, char **argv)
{
    const char *wanted = argc > 1 ? argv[1] : "--list";
    case_arguments = argc > 2 ? argv + 2 : argv + argc;
    /* Cases that fill the heap must not fill the machine when the library under test is no pool. The
     * pool itself, shared memory, does not count. */
    struct rlimit limit = {(rlim_t)4 << 30, RLIM_INFINITY};
    if (setrlimit(RLIMIT_DATA, &limit) != 0)
        return 2;
    for (const struct test_case *c = __start_test_cases; c < __stop_test_cases; c++) {
        if (strcmp(wanted, "--list") == 0) {
            say("%s\n", c->name);
        } else if (strcmp(wanted, c->name) == 0) {
            case_name = c->name;
            c->run();
            say("ok %s\n", c->name);
            return 0;
        }
    }
    if (strcmp(wanted, "--list") == 0)
        return 0;
    say("no case is called %s\n", wanted);
    return 2;
}

#endif
