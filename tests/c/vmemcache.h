/* Cases on libvmemcache: `prog NAME DIR`. Caches lie in the directory. */
#ifndef VMEMCACHE_CASE_H
#define VMEMCACHE_CASE_H

#include "case.h"
#include <libvmemcache.h>

/* Handy keys are numbers. */
#define KEY(number) (&(uint64_t){(uint64_t)(number)}), sizeof(uint64_t)

/* The directory of the pools. */
__attribute__((unused)) static const char *directory(void)
{
    CHECK(case_arguments[0] != NULL);
    return case_arguments[0];
}

/* A call that must give 0. */
#define CHECK_OK(call)                                                                       \
    do {                                                                                     \
        long long result_ = (long long)(call);                                               \
        if (result_ != 0)                                                                    \
            FAIL("%s gave %lld: %s", #call, result_, vmemcache_errormsg());                  \
    } while (0)

/* A call that must give -1 and a certain errno. */
#define CHECK_REFUSED(call, code)                                                            \
    do {                                                                                     \
        errno = 4711;                                                                        \
        long long result_ = (long long)(call);                                               \
        int errno_ = errno;                                                                  \
        if (result_ != -1)                                                                   \
            FAIL("%s gave %lld, not -1", #call, result_);                                    \
        if (errno_ != (code))                                                                \
            FAIL("%s set errno %d, not %s", #call, errno_, #code);                           \
    } while (0)

#define CHECK_TEXT(found, wanted)                                                            \
    do {                                                                                     \
        const char *found_ = (found), *wanted_ = (wanted);                                   \
        if (strcmp(found_, wanted_) != 0)                                                    \
            FAIL("%s is \"%s\", not \"%s\"", #found, found_, wanted_);                       \
    } while (0)

/* A refused call with its text. */
#define CHECK_TOLD(call, code, text)                                                         \
    do {                                                                                     \
        CHECK_REFUSED(call, code);                                                           \
        CHECK_TEXT(vmemcache_errormsg(), text);                                              \
    } while (0)

__attribute__((unused)) static VMEMcache *make_handle(void)
{
    VMEMcache *cache = vmemcache_new();
    if (cache == NULL)
        FAIL("no handle: %s", vmemcache_errormsg());
    return cache;
}

/* A cache that is set up but has no pool yet. */
__attribute__((unused)) static VMEMcache *set_up(size_t size, size_t extent,
                                                 enum vmemcache_repl_p policy)
{
    VMEMcache *cache = make_handle();
    CHECK_OK(vmemcache_set_size(cache, size));
    CHECK_OK(vmemcache_set_extent_size(cache, extent));
    CHECK_OK(vmemcache_set_eviction_policy(cache, policy));
    return cache;
}

__attribute__((unused)) static VMEMcache *make_cache_of(size_t size, size_t extent,
                                                        enum vmemcache_repl_p policy)
{
    VMEMcache *cache = set_up(size, extent, policy);
    CHECK_OK(vmemcache_add(cache, directory()));
    return cache;
}

/* The smallest cache, with LRU. */
__attribute__((unused)) static VMEMcache *make_cache(void)
{
    return make_cache_of(VMEMCACHE_MIN_POOL, VMEMCACHE_MIN_EXTENT, VMEMCACHE_REPLACEMENT_LRU);
}

__attribute__((unused)) static VMEMcache *make_cache_without_policy(void)
{
    return make_cache_of(VMEMCACHE_MIN_POOL, VMEMCACHE_MIN_EXTENT, VMEMCACHE_REPLACEMENT_NONE);
}

__attribute__((unused)) static unsigned long long statistic(VMEMcache *cache,
                                                            enum vmemcache_statistic which)
{
    unsigned long long value = ~0ULL;
    CHECK_OK(vmemcache_get_stat(cache, which, &value, sizeof value));
    return value;
}

#define STAT(cache, name) statistic((cache), VMEMCACHE_STAT_##name)

/* A statistic that must have this value. */
#define CHECK_STAT(cache, name, wanted) CHECK_EQ(STAT(cache, name), wanted)

/* Nothing is left: what the statistics of an empty cache are. */
#define CHECK_EMPTY(cache)                                                                   \
    do {                                                                                     \
        CHECK_STAT(cache, ENTRIES, 0);                                                       \
        CHECK_STAT(cache, DRAM_SIZE_USED, 0);                                                \
        CHECK_STAT(cache, POOL_SIZE_USED, 0);                                                \
        CHECK_STAT(cache, HEAP_ENTRIES, 1);                                                  \
    } while (0)

/* Puts an entry whose key is a number and whose value is stamped with it. */
__attribute__((unused)) static int put_number(VMEMcache *cache, uint64_t number, size_t size)
{
    char small[4096];
    char *value = size <= sizeof small ? small : malloc(size);
    CHECK(value != NULL);
    stamp(value, size, number);
    int result = vmemcache_put(cache, &number, sizeof number, value, size);
    int kept = errno;
    if (value != small)
        free(value);
    errno = kept;
    return result;
}

/* Gets such an entry and looks at all of its bytes. */
__attribute__((unused)) static void check_number(VMEMcache *cache, uint64_t number, size_t size)
{
    char small[4096];
    size_t room = size + 16, true_size = 4711;
    char *value = room <= sizeof small ? small : malloc(room);
    CHECK(value != NULL);
    memset(value, 0xee, room);
    CHECK_EQ(vmemcache_get(cache, &number, sizeof number, value, room, 0, &true_size), size);
    CHECK_EQ(true_size, size);
    CHECK_STAMP(value, size, number);
    for (size_t i = size; i < room; i++)
        if ((unsigned char)value[i] != 0xee)
            FAIL("byte %zu behind a value of %zu was written", i, size);
    if (value != small)
        free(value);
}

__attribute__((unused)) static int has_number(VMEMcache *cache, uint64_t number)
{
    int found = vmemcache_exists(cache, &number, sizeof number, NULL);
    if (found != 0 && found != 1)
        FAIL("exists gave %d: %s", found, vmemcache_errormsg());
    return found;
}

/* Evicts by recency until nothing is left; counts. */
__attribute__((unused)) static size_t evict_all(VMEMcache *cache)
{
    size_t count = 0;
    while (vmemcache_evict(cache, NULL, 0) == 0)
        count++;
    CHECK_EQ(errno, ESRCH);
    return count;
}

/* What on_evict was called with, in order; the keys are numbers. */
struct evictions {
    size_t count;
    uint64_t numbers[1024];
};

__attribute__((unused)) static void note_eviction(VMEMcache *cache, const void *key,
                                                  size_t key_size, void *arg)
{
    struct evictions *all = arg;
    (void)cache;
    CHECK_EQ(key_size, sizeof(uint64_t));
    memcpy(&all->numbers[all->count++ % ARRAY_LENGTH(all->numbers)], key, sizeof(uint64_t));
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

#endif
