/* Pools on a device-DAX node: `prog NAME DEVICE BYTES`. */
#include "vmem.h"

static const char *device(void)
{
    return case_arguments[0];
}

static size_t device_bytes(void)
{
    CHECK(case_arguments[1] != NULL);
    return strtoull(case_arguments[1], NULL, 10);
}

static VMEM *make(size_t size)
{
    errno = 4711;
    VMEM *vmp = vmem_create(device(), size);
    if (vmp == NULL)
        FAIL("no pool on %s: %s", device(), vmem_errormsg());
    CHECK_EQ(errno, 4711);
    return vmp;
}

/* The size that is asked for is compared with the smallest, and does not matter otherwise. */
CASE(the_pool_is_all_of_the_device)
{
    CHECK_REFUSED(vmem_create(device(), 100), EINVAL, "size 100 smaller than 14680064");
    static const size_t sizes[] = {VMEM_MIN_POOL, 20 * MIB + 1, (size_t)1 << 40};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        VMEM *vmp = make(sizes[i]);
        struct link *chain = NULL;
        size_t count = fill_pool(vmp, &chain, MIB);
        CHECK_GE(count * MIB, device_bytes() - 8 * MIB);
        CHECK_GE(device_bytes(), count * MIB);
        for (struct link *p = chain; p != NULL; p = p->next) {
            CHECK_INSIDE(vmp, device_bytes(), (char *)p + MIB - 1);
            memset(p + 1, 0xee, MIB - sizeof *p);
        }
        CHECK_EQ(vmem_check(vmp), 1);
        free_pool_chain(vmp, &chain);
        vmem_delete(vmp);
        CHECK_TEXT(place_of(vmp).flags, "");
    }
}

/* What lies on the device is old. */
CASE(zeroed_blocks_are_zero_on_old_content)
{
    for (int round = 0; round < 2; round++) {
        VMEM *vmp = make(VMEM_MIN_POOL);
        static const size_t sizes[] = {16, 1000, 5000, 300000, 3 * MIB};
        for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
            unsigned char *p = OK(vmem_calloc(vmp, 1, sizes[i]));
            CHECK_EQ(nonzero_at(p, sizes[i]), -1);
            memset(p, 0xff, sizes[i]);
        }
        vmem_delete(vmp);
    }
}

CASE(the_handle_is_aligned_and_can_be_read)
{
    VMEM *vmp = make(VMEM_MIN_POOL);
    size_t before = descriptors();
    CHECK_EQ((uintptr_t)vmp % (2 * MIB), 0);
    (void)*(volatile char *)vmp; /* not protected: a page of the device is as large as many */
    CHECK_EQ(descriptors(), before);
    vmem_delete(vmp);
    CHECK_EQ(vmem_check(vmp), -1);
    errno = 0;
    vmem_delete(vmp);
    CHECK_EQ(errno, EINVAL);
}

static void *busy(void *vmp)
{
    for (int i = 0; i < 2000; i++) {
        char *p = OK(vmem_malloc(vmp, 8 + (size_t)i * 7 % 5000));
        *p = 1;
        vmem_free(vmp, p);
    }
    return NULL;
}

CASE(threads_and_children_use_it)
{
    VMEM *vmp = make(VMEM_MIN_POOL);
    pthread_t threads[4];
    char *kept = OK(vmem_malloc(vmp, 5000));
    stamp(kept, 5000, 1);
    for (int i = 0; i < 4; i++)
        START(threads[i], busy, vmp);
    for (int i = 0; i < 4; i++)
        JOIN(threads[i]);
    pid_t child = fork();
    if (child == 0) {
        CHECK_STAMP(kept, 5000, 1);
        vmem_free(vmp, kept);
        for (int i = 0; i < 300; i++)
            memset(OK(vmem_malloc(vmp, 5000)), 0xee, 5000);
        struct link *chain = NULL; /* all that it can get, but for a granule or two */
        CHECK_GE(fill_pool(vmp, &chain, 100000) * 100000, device_bytes() / 2);
        for (struct link *p = chain; p != NULL; p = p->next)
            memset(p + 1, 0xee, 100000 - sizeof *p);
        CHECK_EQ(vmem_check(vmp), 1);
        _exit(0);
    }
    char *young[300];
    for (int i = 0; i < 300; i++)
        stamp(young[i] = OK(vmem_malloc(vmp, 5000)), 5000, (uint64_t)i);
    CHECK_CHILD(child);
    CHECK_STAMP(kept, 5000, 1);
    for (int i = 0; i < 300; i++)
        CHECK_STAMP(young[i], 5000, (uint64_t)i);
    CHECK_EQ(vmem_check(vmp), 1);
    vmem_delete(vmp);
}
