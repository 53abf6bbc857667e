/* Cases on libvmem: `prog NAME DIR|region`. Pools are made in the directory, or in a region of this process. */
#ifndef VMEM_CASE_H
#define VMEM_CASE_H

#include "case.h"
#include <libvmem.h>
#include <wchar.h>

#define CHUNK (4 * MIB)

/* What the case runs on. */
__attribute__((unused)) static int on_regions(void)
{
    CHECK(case_arguments[0] != NULL);
    return strcmp(case_arguments[0], "region") == 0;
}

/* The directory of the pools; a case that needs one does not run on regions. */
__attribute__((unused)) static const char *directory(void)
{
    return on_regions() ? "/dev/shm" : case_arguments[0];
}

/* Private memory at a multiple of 4 MiB, plus `offset`. */
__attribute__((unused)) static char *region(size_t size, size_t offset)
{
    size_t whole = size + offset + CHUNK;
    char *p = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    return (char *)(((uintptr_t)p + CHUNK - 1) & ~(uintptr_t)(CHUNK - 1)) + offset;
}

__attribute__((unused)) static VMEM *try_pool(size_t size)
{
    return on_regions() ? vmem_create_in_region(region(size, 0), size)
                        : vmem_create(case_arguments[0], size);
}

__attribute__((unused)) static VMEM *make_pool(size_t size)
{
    VMEM *vmp = try_pool(size);
    if (vmp == NULL)
        FAIL("no pool of %zu bytes in %s: %s", size, case_arguments[0], vmem_errormsg());
    return vmp;
}

/* Deletes a pool of make_pool and unmaps its region. */
__attribute__((unused)) static void end_pool(VMEM *vmp, size_t size)
{
    vmem_delete(vmp);
    if (on_regions())
        CHECK_EQ(munmap(vmp, size), 0);
}

#define CHECK_TEXT(found, wanted)                                                            \
    do {                                                                                     \
        const char *found_ = (found), *wanted_ = (wanted);                                   \
        if (strcmp(found_, wanted_) != 0)                                                    \
            FAIL("%s is \"%s\", not \"%s\"", #found, found_, wanted_);                       \
    } while (0)

/* A call that gives NULL, an errno, and a text. */
#define CHECK_REFUSED(call, code, text)                                                      \
    do {                                                                                     \
        CHECK_FAILS(call, code);                                                             \
        CHECK_TEXT(vmem_errormsg(), text);                                                   \
    } while (0)

#define CHECK_INSIDE(vmp, size, pointer)                                                     \
    do {                                                                                     \
        if ((char *)(pointer) <= (char *)(vmp) || (char *)(pointer) >= (char *)(vmp) + (size)) \
            FAIL("%p is outside of the pool at %p", (void *)(pointer), (void *)(vmp));       \
    } while (0)

/* Allocates until NULL with ENOMEM; counts. The blocks are linked through themselves. */
__attribute__((unused)) static size_t fill_pool(VMEM *vmp, struct link **chain, size_t size)
{
    size_t count = 0;
    struct link *block;
    errno = 0;
    while ((block = vmem_malloc(vmp, size)) != NULL) {
        block->next = *chain;
        *chain = block;
        count++;
    }
    CHECK_EQ(errno, ENOMEM);
    return count;
}

__attribute__((unused)) static void free_pool_chain(VMEM *vmp, struct link **chain)
{
    while (*chain != NULL) {
        struct link *block = *chain;
        *chain = block->next;
        vmem_free(vmp, block);
    }
}

__attribute__((unused)) static size_t descriptors(void)
{
    size_t count = 0;
    DIR *fds = opendir("/proc/self/fd");
    CHECK(fds != NULL);
    while (readdir(fds) != NULL)
        count++;
    closedir(fds);
    return count;
}

/* Minor page faults of this process so far. */
__attribute__((unused)) static long faults(void)
{
    struct rusage usage;
    CHECK_EQ(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_minflt;
}

#endif
