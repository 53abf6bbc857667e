/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A cache whose values lie in a large file mapping, while its index lies in ordinary memory. See vmemcache(3).
 *
 * Functions that fail give -1 (vmemcache_new: NULL) with errno set; vmemcache_errormsg() tells more.
 */
#ifndef LIBVMEMCACHE_H
#define LIBVMEMCACHE_H 1

#include <stddef.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The interface that this header describes. */
#define VMEMCACHE_MAJOR_VERSION 0
#define VMEMCACHE_MINOR_VERSION 8

/* Bytes of the smallest pool. */
#define VMEMCACHE_MIN_POOL ((size_t)(1024 * 1024))
/* Bytes of the smallest extent, the unit in which values take space. */
#define VMEMCACHE_MIN_EXTENT ((size_t)256)

/* A cache; only pointers to it exist. */
typedef struct vmemcache VMEMcache;

/* Which entry makes room for a new one. */
enum vmemcache_repl_p {
    VMEMCACHE_REPLACEMENT_NONE, /* none: a full cache refuses new entries */
    VMEMCACHE_REPLACEMENT_LRU,  /* the least recently used one */

    VMEMCACHE_REPLACEMENT_NUM
};

/* What vmemcache_get_stat() can tell; each is an unsigned number of 8 bytes. */
enum vmemcache_statistic {
    VMEMCACHE_STAT_PUT,            /* entries put since the cache was made */
    VMEMCACHE_STAT_GET,            /* gets: hits and misses */
    VMEMCACHE_STAT_HIT,            /* gets that found their entry */
    VMEMCACHE_STAT_MISS,           /* gets that did not */
    VMEMCACHE_STAT_EVICT,          /* entries removed */
    VMEMCACHE_STAT_ENTRIES,        /* entries there are */
    VMEMCACHE_STAT_DRAM_SIZE_USED, /* bytes of ordinary memory for them */
    VMEMCACHE_STAT_POOL_SIZE_USED, /* bytes of the pool for them */
    VMEMCACHE_STAT_HEAP_ENTRIES,   /* separate free regions of the pool */

    VMEMCACHE_STATS_NUM
};

/* What vmemcache_bench_set() can switch. For benchmarks only; any of it may change. */
enum vmemcache_bench_cfg {
    VMEMCACHE_BENCH_INDEX_ONLY, /* put stores the key and no value */
    VMEMCACHE_BENCH_NO_ALLOC,   /* nothing */
    VMEMCACHE_BENCH_NO_MEMCPY,  /* values are not copied, in neither direction */
    VMEMCACHE_BENCH_PREFAULT    /* touches every page of the pool now */
};

/* Called, without any lock, before an entry leaves the cache; the key is valid until it returns. */
typedef void vmemcache_on_evict(VMEMcache *cache, const void *key, size_t key_size, void *arg);
/* Called, without any lock, when a get finds nothing; a put of the key inside of it satisfies the get. */
typedef void vmemcache_on_miss(VMEMcache *cache, const void *key, size_t key_size, void *arg);

/* Making, setting up and deleting. */
VMEMcache *vmemcache_new(void);
void vmemcache_delete(VMEMcache *cache);
int vmemcache_set_eviction_policy(VMEMcache *cache, enum vmemcache_repl_p repl_p);
int vmemcache_set_size(VMEMcache *cache, size_t size);
int vmemcache_set_extent_size(VMEMcache *cache, size_t extent_size);
int vmemcache_add(VMEMcache *cache, const char *path);
void vmemcache_callback_on_evict(VMEMcache *cache, vmemcache_on_evict *evict, void *arg);
void vmemcache_callback_on_miss(VMEMcache *cache, vmemcache_on_miss *miss, void *arg);

/* Entries. */
ssize_t vmemcache_get(VMEMcache *cache, const void *key, size_t key_size, void *vbuf,
                      size_t vbufsize, size_t offset, size_t *vsize);
int vmemcache_exists(VMEMcache *cache, const void *key, size_t key_size, size_t *vsize);
int vmemcache_put(VMEMcache *cache, const void *key, size_t key_size, const void *value,
                  size_t value_size);
int vmemcache_evict(VMEMcache *cache, const void *key, size_t ksize);

/* What the cache and the library can tell. */
int vmemcache_get_stat(VMEMcache *cache, enum vmemcache_statistic stat, void *value,
                       size_t value_size);
const char *vmemcache_errormsg(void);

void vmemcache_bench_set(VMEMcache *cache, enum vmemcache_bench_cfg cfg, size_t val);

#ifdef __cplusplus
}
#endif

#endif /* LIBVMEMCACHE_H */
