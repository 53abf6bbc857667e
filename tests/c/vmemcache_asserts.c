/* The constants and types of the header, compared when this is compiled. */
#include <libvmemcache.h>

_Static_assert(VMEMCACHE_MAJOR_VERSION == 0 && VMEMCACHE_MINOR_VERSION == 8, "version");
_Static_assert(VMEMCACHE_MIN_POOL == 1048576 && sizeof(VMEMCACHE_MIN_POOL) == sizeof(size_t), "smallest pool");
_Static_assert(VMEMCACHE_MIN_EXTENT == 256 && sizeof(VMEMCACHE_MIN_EXTENT) == sizeof(size_t), "smallest extent");

_Static_assert(VMEMCACHE_REPLACEMENT_NONE == 0, "policy");
_Static_assert(VMEMCACHE_REPLACEMENT_LRU == 1, "policy");
_Static_assert(VMEMCACHE_REPLACEMENT_NUM == 2, "policy");
_Static_assert(sizeof(enum vmemcache_repl_p) == 4, "policy");

_Static_assert(VMEMCACHE_STAT_PUT == 0, "statistic");
_Static_assert(VMEMCACHE_STAT_GET == 1, "statistic");
_Static_assert(VMEMCACHE_STAT_HIT == 2, "statistic");
_Static_assert(VMEMCACHE_STAT_MISS == 3, "statistic");
_Static_assert(VMEMCACHE_STAT_EVICT == 4, "statistic");
_Static_assert(VMEMCACHE_STAT_ENTRIES == 5, "statistic");
_Static_assert(VMEMCACHE_STAT_DRAM_SIZE_USED == 6, "statistic");
_Static_assert(VMEMCACHE_STAT_POOL_SIZE_USED == 7, "statistic");
_Static_assert(VMEMCACHE_STAT_HEAP_ENTRIES == 8, "statistic");
_Static_assert(VMEMCACHE_STATS_NUM == 9, "statistic");
_Static_assert(sizeof(enum vmemcache_statistic) == 4, "statistic");

_Static_assert(VMEMCACHE_BENCH_INDEX_ONLY == 0, "switch");
_Static_assert(VMEMCACHE_BENCH_NO_ALLOC == 1, "switch");
_Static_assert(VMEMCACHE_BENCH_NO_MEMCPY == 2, "switch");
_Static_assert(VMEMCACHE_BENCH_PREFAULT == 3, "switch");
_Static_assert(sizeof(enum vmemcache_bench_cfg) == 4, "switch");

typedef void callback(VMEMcache *, const void *, size_t, void *);
_Static_assert(_Generic((vmemcache_on_evict *)0, callback *: 1, default: 0), "on_evict");
_Static_assert(_Generic((vmemcache_on_miss *)0, callback *: 1, default: 0), "on_miss");
_Static_assert(_Generic((VMEMcache *)0, struct vmemcache *: 1, default: 0), "VMEMcache");

_Static_assert(_Generic(&vmemcache_new, VMEMcache *(*)(void): 1, default: 0), "new");
_Static_assert(_Generic(&vmemcache_delete, void (*)(VMEMcache *): 1, default: 0), "delete");
_Static_assert(_Generic(&vmemcache_set_eviction_policy, int (*)(VMEMcache *, enum vmemcache_repl_p): 1, default: 0), "policy");
_Static_assert(_Generic(&vmemcache_set_size, int (*)(VMEMcache *, size_t): 1, default: 0), "size");
_Static_assert(_Generic(&vmemcache_set_extent_size, int (*)(VMEMcache *, size_t): 1, default: 0), "extent");
_Static_assert(_Generic(&vmemcache_add, int (*)(VMEMcache *, const char *): 1, default: 0), "add");
_Static_assert(_Generic(&vmemcache_callback_on_evict, void (*)(VMEMcache *, callback *, void *): 1, default: 0), "on_evict");
_Static_assert(_Generic(&vmemcache_callback_on_miss, void (*)(VMEMcache *, callback *, void *): 1, default: 0), "on_miss");
_Static_assert(_Generic(&vmemcache_get, ssize_t (*)(VMEMcache *, const void *, size_t, void *, size_t, size_t, size_t *): 1, default: 0), "get");
_Static_assert(_Generic(&vmemcache_exists, int (*)(VMEMcache *, const void *, size_t, size_t *): 1, default: 0), "exists");
_Static_assert(_Generic(&vmemcache_put, int (*)(VMEMcache *, const void *, size_t, const void *, size_t): 1, default: 0), "put");
_Static_assert(_Generic(&vmemcache_evict, int (*)(VMEMcache *, const void *, size_t): 1, default: 0), "evict");
_Static_assert(_Generic(&vmemcache_get_stat, int (*)(VMEMcache *, enum vmemcache_statistic, void *, size_t): 1, default: 0), "get_stat");
_Static_assert(_Generic(&vmemcache_bench_set, void (*)(VMEMcache *, enum vmemcache_bench_cfg, size_t): 1, default: 0), "bench_set");
_Static_assert(_Generic(&vmemcache_errormsg, const char *(*)(void): 1, default: 0), "errormsg");

int main(void)
{
    return 0;
}
