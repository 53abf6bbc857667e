/* Included in front of mimalloc's sources to build the yardstick "a fast DRAM allocator on our kind of
 * memory": all memory comes from one shared mapping of a memory file, and memory is given back by
 * punching holes. Not fit for programs that fork and go on in the child: both share the file. */
#ifndef PMEM_BENCH_SHARED_MAPPING_H
#define PMEM_BENCH_SHARED_MAPPING_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SHARED_NOT_OPEN = -1 };
static _Atomic int shared_file = SHARED_NOT_OPEN;
static _Atomic long shared_used;

/* The file, made by whoever asks first; sparse, so its size costs nothing. */
static inline int shared_open(void)
{
    int file = atomic_load(&shared_file);
    if (file != SHARED_NOT_OPEN)
        return file;
    file = memfd_create("mimalloc", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, 1L << 40) != 0)
        return SHARED_NOT_OPEN;
    int expected = SHARED_NOT_OPEN;
    if (!atomic_compare_exchange_strong(&shared_file, &expected, file)) {
        close(file);
        file = expected;
    }
    return file;
}

static inline void *shared_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
    if (file != -1 || !(flags & MAP_ANONYMOUS))
        return mmap(address, length, protection, flags, file, offset);
    int shared = shared_open();
    if (shared == SHARED_NOT_OPEN) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    length = (length + 4095) & ~(size_t)4095;
    long place = atomic_fetch_add(&shared_used, (long)length);
    return mmap(address, length, protection, (flags & ~(MAP_PRIVATE | MAP_ANONYMOUS)) | MAP_SHARED, shared, place);
}

static inline int shared_munmap(void *address, size_t length)
{
    (void)madvise(address, length, MADV_REMOVE);
    return munmap(address, length);
}

static inline int shared_madvise(void *address, size_t length, int advice)
{
    if (advice == MADV_DONTNEED || advice == MADV_FREE)
        advice = MADV_REMOVE;
    return madvise(address, length, advice);
}

#define mmap shared_mmap
#define munmap shared_munmap
#define madvise shared_madvise

#endif
