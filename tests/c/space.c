/* A file system smaller than the pool: no signal, only NULL with ENOMEM, and recovery. Written for a lazy
 * pool of 64 MiB on a file system of 24 MiB that nothing else uses. */
#include "load.h"

#include <linux/close_range.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

#define TMPFS 0x01021994

/* Bytes the file system of the pool has left. */
static size_t room(void)
{
    struct statvfs info;
    const char *dir = getenv("VMMALLOC_POOL_DIR");
    CHECK(dir != NULL && statvfs(dir, &info) == 0);
    return (size_t)info.f_bavail * info.f_frsize;
}

/* How much of the room a pool takes at least: on a disk file system it leaves the last 4 MiB alone. */
static size_t usable(size_t room)
{
    struct statfs info;
    CHECK(statfs(getenv("VMMALLOC_POOL_DIR"), &info) == 0);
    return (info.f_type == TMPFS ? room : room - 4 * MIB) / 100 * 85;
}

/* Allocates blocks and writes all their bytes, until NULL with ENOMEM. */
static size_t fill_and_write(struct link **chain, size_t size, size_t most)
{
    size_t count = 0;
    while ((count + 1) * size <= most) {
        errno = 0;
        struct link *block = malloc(size);
        if (block == NULL) {
            CHECK_EQ(errno, ENOMEM);
            break;
        }
        memset(block, 0x77, size);
        block->next = *chain;
        *chain = block;
        count++;
    }
    return count * size;
}

static void fill_twice(size_t size)
{
    struct link *chain = NULL;
    size_t before = room();
    size_t first = fill_and_write(&chain, size, SIZE_MAX / 2);
    CHECK_GE(first + size, usable(before));
    CHECK_GE(before + MIB, first);
    free_chain(&chain);
    CHECK_GE(fill_and_write(&chain, size, SIZE_MAX / 2) + size / 4, first / 100 * 98);
    free_chain(&chain);
    malloc_trim(0);
    CHECK_GE(room(), before / 100 * 90);
}

CASE(fill_blocks_of_16) { fill_twice(16); }
CASE(fill_blocks_of_1000) { fill_twice(1000); }
CASE(fill_blocks_of_4096) { fill_twice(4096); }
CASE(fill_blocks_of_100000) { fill_twice(100000); }
CASE(fill_blocks_of_1_mib) { fill_twice(MIB); }
CASE(fill_blocks_of_9_mib) { fill_twice(9 * MIB); }

CASE(a_block_larger_than_the_file_system)
{
    CHECK_FAILS(malloc(40 * MIB), ENOMEM);
    CHECK_FAILS(calloc(1, 40 * MIB), ENOMEM);
    CHECK_FAILS(memalign(MIB, 40 * MIB), ENOMEM);
    CHECK_FAILS(pvalloc(40 * MIB), ENOMEM);
    void *p = OK(malloc(2 * MIB));
    stamp(p, 2 * MIB, 1);
    CHECK_FAILS(realloc(p, 40 * MIB), ENOMEM);
    CHECK_STAMP(p, 2 * MIB, 1);
    struct link *chain = NULL;
    CHECK_GE(fill_and_write(&chain, 100000, SIZE_MAX / 2), usable(20 * MIB));
    free_chain(&chain);
}

CASE(a_block_grows_until_the_file_system_is_full)
{
    size_t size = MIB;
    char *p = OK(malloc(size));
    stamp(p, MIB, 1);
    for (;;) {
        errno = 0;
        char *larger = realloc(p, size + MIB);
        if (larger == NULL) {
            CHECK_EQ(errno, ENOMEM);
            break;
        }
        p = larger;
        memset(p + size, 2, MIB);
        size += MIB;
    }
    CHECK_GE(size, 8 * MIB);
    CHECK_STAMP(p, MIB, 1);
    free(p);
    free(OK(malloc(16 * MIB)));
}

CASE(calloc_until_the_file_system_is_full)
{
    struct link *chain = NULL, *block;
    size_t total = 0;
    while ((block = calloc(1, 50000)) != NULL) {
        CHECK_EQ(nonzero_at(block, 50000), -1);
        memset(block, 3, 50000);
        block->next = chain;
        chain = block;
        total += 50000;
    }
    CHECK_EQ(errno, ENOMEM);
    CHECK_GE(total, 18 * MIB);
    free_chain(&chain);
}

static void *fill_and_free(void *size)
{
    for (int round = 0; round < 20; round++) {
        struct link *chain = NULL;
        fill_and_write(&chain, (size_t)size, SIZE_MAX / 2);
        free_chain(&chain);
    }
    return NULL;
}

CASE(eight_threads_fill_the_file_system)
{
    pthread_t thread[8];
    for (int i = 0; i < 8; i++)
        START(thread[i], fill_and_free, (void *)((size_t)100 << i));
    for (int i = 0; i < 8; i++)
        JOIN(thread[i]);
    struct link *chain = NULL;
    CHECK_GE(fill_and_write(&chain, 10000, SIZE_MAX / 2), 17 * MIB);
    free_chain(&chain);
}

/* Another file takes everything the file system has left, until it is closed. */
static int take_the_rest(void)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/other", getenv("VMMALLOC_POOL_DIR"));
    int fd = open(path, O_CREAT | O_RDWR, 0600);
    CHECK(fd >= 0);
    CHECK_EQ(unlink(path), 0);
    size_t step = MIB, at = 0;
    while (step >= 4096) {
        if (fallocate(fd, 0, (off_t)at, (off_t)step) == 0)
            at += step;
        else
            step /= 2;
    }
    return fd;
}

static void write_all_that_can_be_had(void)
{
    for (size_t size = 16; size <= 8 * MIB; size *= 4) {
        struct link *chain = NULL;
        fill_and_write(&chain, size, SIZE_MAX / 2);
        free_chain(&chain);
    }
}

CASE(another_file_takes_the_rest)
{
    static struct set set;
    set_fill(&set, 6 * MIB, 1);
    int fd = take_the_rest();
    write_all_that_can_be_had();
    set_check(&set, 1);
    set_stamp(&set, 2);
    set_check(&set, 2);
    close(fd);
    struct link *chain = NULL;
    CHECK_GE(fill_and_write(&chain, 10000, SIZE_MAX / 2), 12 * MIB);
    free_chain(&chain);
}

CASE(another_file_takes_what_was_given_back)
{
    static struct set set;
    set_fill(&set, 16 * MIB, 1);
    set_free(&set);
    malloc_trim(0);
    size_t back = room();
    CHECK_GE(back, 20 * MIB);
    int fd = take_the_rest();
    write_all_that_can_be_had();
    close(fd);
    set_fill(&set, 16 * MIB, 1);
    set_check(&set, 1);
}

CASE(threads_start_on_a_full_file_system)
{
    struct link *chain = NULL;
    fill_and_write(&chain, 100, SIZE_MAX / 2);
    int fd = take_the_rest();
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        int error = pthread_create(&thread, NULL, fill_and_free, (void *)(size_t)100);
        CHECK(error == 0 || error == EAGAIN || error == ENOMEM);
        if (error == 0)
            JOIN(thread);
    }
    close(fd);
    free_chain(&chain);
}

CASE(closed_descriptors_on_a_full_file_system)
{
    CHECK_EQ(close_range(3, ~0U, 0), 0);
    fill_twice(10000);
    fill_twice(MIB);
}

CASE(fork_on_a_full_file_system)
{
    static struct set set;
    set_fill(&set, 6 * MIB, 1);
    int fd = take_the_rest();
    for (int i = 0; i < 3; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        set_check(&set, 1);
        write_all_that_can_be_had();
        if (pid == 0) {
            set_stamp(&set, 2);
            set_check(&set, 2);
            _exit(0);
        }
        CHECK_CHILD(pid);
        set_check(&set, 1);
    }
    close(fd);
}

/* For a pool made with VMMALLOC_SPACE=prealloc that fits: a program that started has its space. */
CASE(preallocated_space_stays_ours)
{
    struct link *chain = NULL;
    int fd = take_the_rest();
    size_t first = fill_and_write(&chain, 1000, SIZE_MAX / 2);
    CHECK_GE(first, pool_bytes() / 10 * 9);
    free_chain(&chain);
    for (int i = 0; i < 30; i++) {
        free(OK(malloc(5000)));
        sleep_ms(10);
    }
    int more = take_the_rest();
    CHECK_GE(fill_and_write(&chain, 1000, SIZE_MAX / 2), first / 100 * 98);
    free_chain(&chain);
    close(more);
    close(fd);
}

/* The same on a disk file system, where the last blocks may be missing for records of its own. */
CASE(preallocated_space_on_a_full_disk)
{
    struct link *chain = NULL;
    int fd = take_the_rest();
    size_t size = pool_bytes() / 10 * 9;
    char *block = OK(malloc(size));
    /* Every second page, in an order that makes most records. */
    for (size_t start = 0; start < 8; start += 2) {
        for (size_t at = start * 4096; at < size; at += 8 * 4096)
            block[at] = 1;
        sync();
    }
    for (size_t at = 4096; at < size; at += 2 * 4096)
        block[at] = 1;
    free(block);
    size_t first = fill_and_write(&chain, 1000, SIZE_MAX / 2);
    CHECK_GE(first, pool_bytes() / 10 * 9);
    CHECK_EQ(fsync(fd), 0);
    sync();
    for (struct link *block = chain; block != NULL; block = block->next)
        memset(block + 1, 0x55, 1000 - sizeof *block);
    free_chain(&chain);
    write_all_that_can_be_had();
    malloc_trim(0);
    int more = take_the_rest();
    write_all_that_can_be_had();
    close(more);
    close(fd);
}
