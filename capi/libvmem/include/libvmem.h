/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Pools of memory: heaps in files, on devices or in memory of your own. See libvmem(7).
 *
 * Functions that fail give NULL (vmem_check: -1) with errno set; vmem_errormsg() tells more.
 */
#ifndef LIBVMEM_H
#define LIBVMEM_H 1

#include <stddef.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The interface that this header describes; see vmem_check_version(). */
#define VMEM_MAJOR_VERSION 1
#define VMEM_MINOR_VERSION 1

/* Bytes of the smallest pool. */
#define VMEM_MIN_POOL ((size_t)(1024 * 1024 * 14))

/* A pool; only pointers to it exist, and what they point to cannot be touched. */
typedef struct vmem VMEM;

/* Making and deleting: vmem_create(3). */
VMEM *vmem_create(const char *dir, size_t size);
VMEM *vmem_create_in_region(void *addr, size_t size);
void vmem_delete(VMEM *vmp);
int vmem_check(VMEM *vmp);
void vmem_stats_print(VMEM *vmp, const char *opts);

/* Allocating: vmem_malloc(3). */
void *vmem_malloc(VMEM *vmp, size_t size);
void vmem_free(VMEM *vmp, void *ptr);
void *vmem_calloc(VMEM *vmp, size_t nmemb, size_t size);
void *vmem_realloc(VMEM *vmp, void *ptr, size_t size);
void *vmem_aligned_alloc(VMEM *vmp, size_t alignment, size_t size);
char *vmem_strdup(VMEM *vmp, const char *s);
wchar_t *vmem_wcsdup(VMEM *vmp, const wchar_t *s);
size_t vmem_malloc_usable_size(VMEM *vmp, void *ptr);

/* The library as a whole: libvmem(7). */
const char *vmem_check_version(unsigned major_required, unsigned minor_required);
void vmem_set_funcs(void *(*malloc_func)(size_t size), void (*free_func)(void *ptr),
                    void *(*realloc_func)(void *ptr, size_t size),
                    char *(*strdup_func)(const char *s), void (*print_func)(const char *s));
const char *vmem_errormsg(void);

#ifdef __cplusplus
}
#endif

#endif /* LIBVMEM_H */
