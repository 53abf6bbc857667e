/* The constants of the headers, compared when this is compiled. */
#include <libvmem.h>
#include <libvmmalloc.h>

_Static_assert(VMEM_MIN_POOL == 14680064, "smallest pool");
_Static_assert(VMEM_MAJOR_VERSION == 1 && VMEM_MINOR_VERSION == 1, "version");
_Static_assert(sizeof(VMEM_MIN_POOL) == sizeof(size_t), "a size");
_Static_assert(VMMALLOC_MIN_POOL == 14680064, "smallest pool");
_Static_assert(VMMALLOC_MAJOR_VERSION == 1 && VMMALLOC_MINOR_VERSION == 1, "version");
_Static_assert(_Generic(&vmem_create, VMEM *(*)(const char *, size_t): 1, default: 0), "vmem_create");
_Static_assert(_Generic(&vmem_create_in_region, VMEM *(*)(void *, size_t): 1, default: 0), "region");
_Static_assert(_Generic(&vmem_delete, void (*)(VMEM *): 1, default: 0), "vmem_delete");
_Static_assert(_Generic(&vmem_check, int (*)(VMEM *): 1, default: 0), "vmem_check");
_Static_assert(_Generic(&vmem_stats_print, void (*)(VMEM *, const char *): 1, default: 0), "stats");
_Static_assert(_Generic(&vmem_malloc, void *(*)(VMEM *, size_t): 1, default: 0), "vmem_malloc");
_Static_assert(_Generic(&vmem_free, void (*)(VMEM *, void *): 1, default: 0), "vmem_free");
_Static_assert(_Generic(&vmem_calloc, void *(*)(VMEM *, size_t, size_t): 1, default: 0), "calloc");
_Static_assert(_Generic(&vmem_realloc, void *(*)(VMEM *, void *, size_t): 1, default: 0), "realloc");
_Static_assert(_Generic(&vmem_aligned_alloc, void *(*)(VMEM *, size_t, size_t): 1, default: 0), "align");
_Static_assert(_Generic(&vmem_strdup, char *(*)(VMEM *, const char *): 1, default: 0), "strdup");
_Static_assert(_Generic(&vmem_wcsdup, wchar_t *(*)(VMEM *, const wchar_t *): 1, default: 0), "wcsdup");
_Static_assert(_Generic(&vmem_malloc_usable_size, size_t (*)(VMEM *, void *): 1, default: 0), "usable");
_Static_assert(_Generic(&vmem_check_version, const char *(*)(unsigned, unsigned): 1, default: 0), "version");
_Static_assert(_Generic(&vmem_set_funcs,
                        void (*)(void *(*)(size_t), void (*)(void *), void *(*)(void *, size_t),
                                 char *(*)(const char *), void (*)(const char *)): 1, default: 0),
               "set_funcs");
_Static_assert(_Generic(&vmem_errormsg, const char *(*)(void): 1, default: 0), "vmem_errormsg");

int main(void)
{
    return 0;
}
