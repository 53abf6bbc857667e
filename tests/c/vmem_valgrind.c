/* What memcheck should say, and should not: one case, one finding. */
#include "vmem.h"

/* Keeps the compiler from seeing through an access. */
static char read_byte(const char *p)
{
    return *(const volatile char *)p;
}

static void write_byte(char *p)
{
    *(volatile char *)p = 1;
}

/* Runs a function whose frame is gone afterwards, so that no pointer stays behind on the stack. */
static void apart(void (*function)(VMEM *), VMEM *vmp)
{
    volatile char space[4096];
    function(vmp);
    for (size_t i = 0; i < sizeof space; i++)
        space[i] = 0;
}

static void no_block_left(VMEM *vmp)
{
    char *p = vmem_malloc(vmp, 100);
    memset(p, 1, vmem_malloc_usable_size(vmp, p));
    p = vmem_realloc(vmp, p, 100000);
    CHECK_EQ(p[99], 1);
    p = vmem_realloc(vmp, p, 50);
    CHECK_EQ(p[49], 1);
    vmem_free(vmp, p);
    p = vmem_calloc(vmp, 10, 100);
    CHECK_EQ(nonzero_at(p, 1000), -1);
    CHECK(vmem_realloc(vmp, p, 0) == NULL);
    p = vmem_aligned_alloc(vmp, 4096, 100);
    CHECK(((uintptr_t)p & 4095) == 0);
    memset(p, 1, 100);
    vmem_free(vmp, p);
    p = vmem_strdup(vmp, "text");
    CHECK_TEXT(p, "text");
    vmem_free(vmp, p);
    p = vmem_malloc(vmp, 5 * MIB);
    memset(p, 1, 5 * MIB);
    vmem_free(vmp, p);
    for (int round = 0; round < 200; round++)
        vmem_free(vmp, vmem_malloc(vmp, 64));
}

CASE(a_clean_program)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    apart(no_block_left, vmp);
    CHECK_EQ(vmem_check(vmp), 1);
    vmem_delete(vmp);
}

static void lose_four_bytes(VMEM *vmp)
{
    int *p = vmem_malloc(vmp, sizeof(int));
    *p = 1;
}

CASE(a_block_is_lost)
{
    apart(lose_four_bytes, make_pool(VMEM_MIN_POOL));
}

CASE(a_block_is_lost_with_its_pool)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    apart(lose_four_bytes, vmp);
    vmem_delete(vmp);
}

CASE(a_freed_block_is_read)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    char *p = vmem_malloc(vmp, 48);
    memset(p, 1, 48);
    vmem_free(vmp, p);
    say("%d\n", read_byte(p + 10));
    vmem_delete(vmp);
}

CASE(a_byte_behind_a_block_is_written)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    char *p = vmem_malloc(vmp, 48);
    write_byte(p + 48);
    vmem_free(vmp, p);
    vmem_delete(vmp);
}

CASE(a_byte_in_front_of_a_block_is_written)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    char *other = vmem_malloc(vmp, 48), *p = vmem_malloc(vmp, 48);
    write_byte(p - 1);
    vmem_free(vmp, p);
    vmem_free(vmp, other);
    vmem_delete(vmp);
}

CASE(a_byte_without_a_value_decides)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    char *p = vmem_malloc(vmp, 100);
    if (read_byte(p + 7) == 3)
        say("three\n");
    vmem_free(vmp, p);
    vmem_delete(vmp);
}

CASE(a_block_is_freed_twice)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    char *p = vmem_malloc(vmp, 100);
    vmem_free(vmp, p);
    vmem_free(vmp, p);
    CHECK_EQ(vmem_check(vmp), 1);
    vmem_delete(vmp);
}

CASE(memory_of_a_pool_that_was_never_handed_out_is_read)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    char *p = vmem_malloc(vmp, 100);
    say("%d\n", read_byte(p + MIB));
    vmem_free(vmp, p);
    vmem_delete(vmp);
}

CASE(a_stale_block_is_read_in_a_new_pool)
{
    char *base = region(VMEM_MIN_POOL, 0);
    VMEM *vmp = vmem_create_in_region(base, VMEM_MIN_POOL);
    char *p = vmem_malloc(vmp, 100);
    memset(p, 1, 100);
    vmem_free(vmp, p);
    vmem_delete(vmp);
    vmp = vmem_create_in_region(base, VMEM_MIN_POOL);
    say("%d\n", read_byte(p));
    vmem_delete(vmp);
}

static void lose_many(VMEM *vmp)
{
    for (int i = 0; i < 300; i++)
        memset(vmem_malloc(vmp, 1000), 1, 1000);
}

/* memcheck stops when it is told of overlapping blocks. */
CASE(lost_blocks_and_new_pools_at_their_addresses)
{
    char *base = region(2 * VMEM_MIN_POOL, 0);
    for (int round = 0; round < 3; round++) {
        VMEM *vmp = vmem_create_in_region(base + round * MIB, VMEM_MIN_POOL);
        apart(lose_many, vmp);
        vmem_delete(vmp);
        memset(base, 0, 2 * VMEM_MIN_POOL); /* the region is the program's again */
        vmp = make_pool(VMEM_MIN_POOL);
        apart(lose_many, vmp);
        vmem_delete(vmp);
    }
}

static void *busy(void *vmp)
{
    for (int i = 0; i < 500; i++) {
        char *p = vmem_malloc(vmp, 8 + (size_t)i % 300);
        memset(p, 1, 8);
        vmem_free(vmp, p);
    }
    return NULL;
}

CASE(threads_are_clean)
{
    pthread_t threads[4];
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    for (int i = 0; i < 4; i++)
        START(threads[i], busy, vmp);
    for (int i = 0; i < 4; i++)
        JOIN(threads[i]);
    CHECK_EQ(vmem_check(vmp), 1);
    vmem_delete(vmp);
}
