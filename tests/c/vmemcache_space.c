/* Space on small file systems, and the environment. */
#include "vmemcache.h"
#include <sys/statvfs.h>

CASE(no_space_for_a_pool)
{
    size_t names = descriptors();
    VMEMcache *cache = set_up(64 * MIB, 256, VMEMCACHE_REPLACEMENT_LRU);
    CHECK_REFUSED(vmemcache_add(cache, directory()), ENOSPC);
    CHECK_REFUSED(vmemcache_add(cache, directory()), ENOSPC);
    CHECK_EQ(descriptors(), names);
    /* What was tried is free again, and a smaller pool fits. */
    CHECK_OK(vmemcache_set_size(cache, 8 * MIB));
    CHECK_OK(vmemcache_add(cache, directory()));
    CHECK_OK(put_number(cache, 1, 7 * MIB));
    check_number(cache, 1, 7 * MIB);
}

CASE(space_is_taken_at_once)
{
    struct statvfs before, after;
    CHECK_EQ(statvfs(directory(), &before), 0);
    VMEMcache *cache = make_cache_of(8 * MIB, 256, VMEMCACHE_REPLACEMENT_LRU);
    CHECK_EQ(statvfs(directory(), &after), 0);
    CHECK_GE((before.f_bfree - after.f_bfree) * before.f_frsize, 8 * MIB);
    vmemcache_delete(cache);
    CHECK_EQ(statvfs(directory(), &after), 0);
    CHECK_EQ(before.f_bfree, after.f_bfree);
}

/* The space was taken when the pool was made: nobody can take it away. */
CASE(a_full_file_system_does_not_matter_later)
{
    static char block[65536], file[4096];
    VMEMcache *cache = make_cache_of(8 * MIB, 256, VMEMCACHE_REPLACEMENT_LRU);
    snprintf(file, sizeof file, "%s/filler", directory());
    int fd = open(file, O_RDWR | O_CREAT, 0600);
    CHECK(fd >= 0);
    CHECK_EQ(unlink(file), 0);
    for (size_t size = sizeof block; size != 0; size /= 2)
        while (write(fd, block, size) == (ssize_t)size) {
        }
    CHECK_EQ(errno, ENOSPC);
    for (uint64_t i = 0; i < 30000; i++) {
        CHECK_OK(put_number(cache, i, 3000));
        check_number(cache, i, 3000);
    }
    CHECK_GE(STAT(cache, POOL_SIZE_USED), 7 * MIB);
    close(fd);
}

CASE(a_read_only_place)
{
    VMEMcache *cache = set_up(MIB, 256, VMEMCACHE_REPLACEMENT_LRU);
    CHECK_REFUSED(vmemcache_add(cache, directory()), EROFS);
    CHECK_TEXT(vmemcache_errormsg(), "open: Read-only file system");
}

CASE(a_place_of_others)
{
    if (getuid() == 0)
        CHECK_EQ(setresuid(65534, 65534, 65534), 0);
    VMEMcache *cache = set_up(MIB, 256, VMEMCACHE_REPLACEMENT_LRU);
    CHECK_REFUSED(vmemcache_add(cache, directory()), EACCES);
    CHECK_TEXT(vmemcache_errormsg(), "open: Permission denied");
}

/* One call of everything, for those who look at what is written meanwhile. */
CASE(every_call)
{
    char value[100];
    VMEMcache *cache = set_up(MIB, 256, VMEMCACHE_REPLACEMENT_LRU);
    CHECK_REFUSED(vmemcache_add(cache, "/nowhere"), ENOENT);
    CHECK_OK(vmemcache_add(cache, directory()));
    vmemcache_callback_on_evict(cache, NULL, NULL);
    vmemcache_callback_on_miss(cache, NULL, NULL);
    CHECK_OK(put_number(cache, 1, 77));
    CHECK_EQ(vmemcache_get(cache, KEY(1), value, sizeof value, 3, NULL), 74);
    CHECK_EQ(has_number(cache, 1), 1);
    CHECK_STAT(cache, ENTRIES, 1);
    vmemcache_bench_set(cache, VMEMCACHE_BENCH_PREFAULT, 1);
    CHECK_OK(vmemcache_evict(cache, KEY(1)));
    vmemcache_delete(cache);
}
