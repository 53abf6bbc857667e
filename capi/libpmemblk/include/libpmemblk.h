/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Arrays of blocks in persistent memory: atomic, durable writes. See libpmemblk(7).
 *
 * Functions that fail give NULL or -1 with errno set; pmemblk_errormsg() tells more.
 */
#ifndef LIBPMEMBLK_H
#define LIBPMEMBLK_H 1

#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The interface that this header describes; see pmemblk_check_version(). */
#define PMEMBLK_MAJOR_VERSION 1
#define PMEMBLK_MINOR_VERSION 1

/* Bytes of the smallest pool, of the smallest part of a pool set, and of a block on the medium. */
#if defined(__powerpc64__)
#define PMEMBLK_MIN_POOL ((size_t)((1u << 20) * 16 + (1u << 10) * 128))
#else
#define PMEMBLK_MIN_POOL ((size_t)((1u << 20) * 16 + (1u << 10) * 8))
#endif
#define PMEMBLK_MIN_PART ((size_t)(1024 * 1024 * 2))
#define PMEMBLK_MIN_BLK ((size_t)512)

/* An open pool of blocks; only pointers to it exist. */
typedef struct pmemblk PMEMblkpool;

/* Making, opening and closing: pmemblk_create(3). */
PMEMblkpool *pmemblk_create(const char *path, size_t bsize, size_t poolsize, mode_t mode);
PMEMblkpool *pmemblk_open(const char *path, size_t bsize);
void pmemblk_close(PMEMblkpool *pbp);
int pmemblk_check(const char *path, size_t bsize);

/* Blocks: pmemblk_read(3). */
size_t pmemblk_bsize(PMEMblkpool *pbp);
size_t pmemblk_nblock(PMEMblkpool *pbp);
int pmemblk_read(PMEMblkpool *pbp, void *buf, long long blockno);
int pmemblk_write(PMEMblkpool *pbp, const void *buf, long long blockno);
int pmemblk_set_zero(PMEMblkpool *pbp, long long blockno);
int pmemblk_set_error(PMEMblkpool *pbp, long long blockno);

/* The library as a whole, and its settings: libpmemblk(7). */
const char *pmemblk_check_version(unsigned major_required, unsigned minor_required);
void pmemblk_set_funcs(void *(*malloc_func)(size_t size), void (*free_func)(void *ptr),
                       void *(*realloc_func)(void *ptr, size_t size),
                       char *(*strdup_func)(const char *s));
const char *pmemblk_errormsg(void);
int pmemblk_ctl_get(PMEMblkpool *pbp, const char *name, void *arg);
int pmemblk_ctl_set(PMEMblkpool *pbp, const char *name, void *arg);
int pmemblk_ctl_exec(PMEMblkpool *pbp, const char *name, void *arg);

#ifdef __cplusplus
}
#endif

#endif
