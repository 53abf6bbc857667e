/* What a file system with little room, and the environment, make of pools. */
#include "dumped.h"
#include "vmem.h"
#include <sys/statvfs.h>

static size_t used_space(void)
{
    struct statvfs status;
    CHECK_EQ(statvfs(directory(), &status), 0);
    return (size_t)(status.f_blocks - status.f_bfree) * status.f_frsize;
}

CASE(no_space_for_a_pool)
{
    size_t before = used_space();
    CHECK_REFUSED(vmem_create(directory(), 64 * MIB), ENOSPC,
                  "posix_fallocate: No space left on device");
    CHECK_EQ(used_space(), before);
    VMEM *vmp = vmem_create(directory(), VMEM_MIN_POOL);
    CHECK(vmp != NULL);
    CHECK_GE(used_space() - before, VMEM_MIN_POOL); /* all of it, at once */
    CHECK_FAILS(vmem_create(directory(), VMEM_MIN_POOL), ENOSPC);
    void *p;
    while ((p = vmem_malloc(vmp, 100000)) != NULL)
        memset(p, 1, 100000);
    CHECK_EQ(errno, ENOMEM);
    vmem_delete(vmp);
    CHECK_GE(before + MIB, used_space());
}

CASE(a_read_only_place)
{
    CHECK_REFUSED(vmem_create(directory(), VMEM_MIN_POOL), EROFS, "open: Read-only file system");
}

/* The reference took all space at once, and gave nothing back before the pool was deleted. */
CASE(lazy_space_comes_and_goes)
{
    size_t before = used_space();
    VMEM *vmp = vmem_create(directory(), 128 * MIB);
    CHECK(vmp != NULL);
    CHECK_GE(before + 2 * MIB, used_space());
    char *p = OK(vmem_malloc(vmp, 64 * MIB));
    memset(p, 1, 64 * MIB);
    CHECK_GE(used_space(), before + 64 * MIB);
    vmem_free(vmp, p);
    for (int i = 0; i < 100 && used_space() > before + 8 * MIB; i++) {
        sleep_ms(50);
        vmem_free(vmp, OK(vmem_malloc(vmp, 300000))); /* purging happens in calls */
    }
    CHECK_GE(before + 8 * MIB, used_space());
    CHECK_EQ(vmem_check(vmp), 1);
    vmem_delete(vmp);
}

CASE(lazy_pool_on_a_full_file_system)
{
    VMEM *vmp = vmem_create(directory(), 128 * MIB);
    CHECK(vmp != NULL);
    size_t count = 0;
    void *p;
    errno = 0;
    while ((p = vmem_malloc(vmp, 100000)) != NULL) {
        memset(p, 1, 100000); /* never SIGBUS */
        count++;
    }
    CHECK_EQ(errno, ENOMEM);
    CHECK_GE(count, 100);
    CHECK_GE(300, count);
    CHECK_EQ(vmem_check(vmp), 1);
}

CASE(pools_are_at_the_hint)
{
    VMEM *first = vmem_create(directory(), VMEM_MIN_POOL);
    VMEM *second = vmem_create(directory(), VMEM_MIN_POOL);
    CHECK_EQ((uintptr_t)first, 0x100000000000);
    CHECK_EQ((uintptr_t)second, 0x100000000000 + 4 * CHUNK); /* 14 MiB, and the rest of 4 */
    memset(OK(vmem_malloc(second, 8 * MIB)), 1, 8 * MIB);
    vmem_delete(first);
    CHECK_EQ((uintptr_t)vmem_create(directory(), VMEM_MIN_POOL), 0x100000000000);
}

CASE(pools_are_elsewhere)
{
    VMEM *vmp = vmem_create(directory(), VMEM_MIN_POOL);
    CHECK(vmp != NULL);
    CHECK_GE((uintptr_t)vmp, 0x200000000000);
}

CASE(a_core_file)
{
    end_with_a_core(vmem_malloc(vmem_create(directory(), VMEM_MIN_POOL), DUMPED_BYTES));
}
