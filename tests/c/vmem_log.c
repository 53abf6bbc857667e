/* Calls in a fixed order, for a look at the log of the debug library. Arguments: directory. */
#include "vmem.h"

static char collected[1 << 16];

static void collect(const char *text)
{
    CHECK(strlen(collected) + strlen(text) < sizeof collected);
    strcat(collected, text);
}

CASE(calls)
{
    VMEM *vmp = vmem_create(directory(), VMEM_MIN_POOL);
    CHECK(vmp != NULL);
    void *p = OK(vmem_malloc(vmp, 4321));
    p = OK(vmem_realloc(vmp, p, 5432));
    vmem_free(vmp, p);
    OK(vmem_calloc(vmp, 3, 77));
    OK(vmem_aligned_alloc(vmp, 64, 6543));
    errno = 0;
    CHECK(vmem_create("/nowhere", VMEM_MIN_POOL) == NULL);
    CHECK_EQ(vmem_check(vmp), 1);
    vmem_delete(vmp);
}

CASE(own_function_gets_the_log)
{
    vmem_set_funcs(NULL, NULL, NULL, NULL, collect);
    VMEM *vmp = vmem_create(directory(), VMEM_MIN_POOL);
    CHECK(vmp != NULL);
    CHECK(strstr(collected, " vmem_create] ") != NULL);
    vmem_delete(vmp);
}

CASE(statistics)
{
    vmem_stats_print(vmem_create(directory(), VMEM_MIN_POOL), "gmabl");
}
