/* What tools that watch threads should say of a program with pools. */
#include "vmem.h"

#include "order.h"

static VMEM *shared;

static void *allocate(size_t size)
{
    return vmem_malloc(shared, size);
}

static void *zeroed(size_t size)
{
    return vmem_calloc(shared, size, 1);
}

static void *resize(void *block, size_t size)
{
    return vmem_realloc(shared, block, size);
}

static void release(void *block)
{
    vmem_free(shared, block);
}

static const struct heap pool = {allocate, zeroed, resize, release};

CASE(threads_in_order)
{
    shared = make_pool(2 * VMEM_MIN_POOL);
    exchange_blocks(&pool);
    CHECK_EQ(vmem_check(shared), 1);
    vmem_delete(shared);
}

CASE(threads_without_order)
{
    shared = make_pool(VMEM_MIN_POOL);
    race_for_a_block(&pool);
    vmem_delete(shared);
}

static void print_nothing(const char *text)
{
    (void)text;
}

/* Pools come and go in all threads, at the same addresses and under the same handles. */
static void *make_pools(void *argument)
{
    char *memory = argument;
    for (int i = 0; i < 10; i++) {
        VMEM *vmp = i % 2 ? vmem_create_in_region(memory, VMEM_MIN_POOL)
                          : vmem_create(directory(), VMEM_MIN_POOL);
        CHECK(vmp != NULL);
        char *text = OK(vmem_strdup(vmp, "some text"));
        text[0]++;
        if (i % 3)
            vmem_free(vmp, text);
        CHECK_EQ(vmem_check(vmp), 1);
        vmem_stats_print(vmp, NULL);
        CHECK(vmem_create(directory(), 17) == NULL);
        CHECK(strstr(vmem_errormsg(), "size 17 smaller") != NULL);
        vmem_delete(vmp);
        memset(memory, i, VMEM_MIN_POOL / 100);
    }
    return NULL;
}

CASE(pools_of_threads)
{
    pthread_t threads[4];
    vmem_set_funcs(NULL, NULL, NULL, NULL, print_nothing);
    for (int i = 0; i < 4; i++)
        START(threads[i], make_pools, region(VMEM_MIN_POOL, 0));
    for (int i = 0; i < 4; i++)
        JOIN(threads[i]);
}
