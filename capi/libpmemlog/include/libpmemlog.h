/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Logs in persistent memory: atomic, durable appends. See libpmemlog(7).
 *
 * Functions that fail give NULL or -1 with errno set; pmemlog_errormsg() tells more.
 */
#ifndef LIBPMEMLOG_H
#define LIBPMEMLOG_H 1

#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The interface that this header describes; see pmemlog_check_version(). */
#define PMEMLOG_MAJOR_VERSION 1
#define PMEMLOG_MINOR_VERSION 1

/* Bytes of the smallest pool, and of the smallest part of a pool set. */
#define PMEMLOG_MIN_POOL ((size_t)(1024 * 1024 * 2))
#define PMEMLOG_MIN_PART ((size_t)(1024 * 1024 * 2))

/* An open log; only pointers to it exist. */
typedef struct pmemlog PMEMlogpool;

/* Making, opening and closing: pmemlog_create(3). */
PMEMlogpool *pmemlog_create(const char *path, size_t poolsize, mode_t mode);
PMEMlogpool *pmemlog_open(const char *path);
void pmemlog_close(PMEMlogpool *plp);
int pmemlog_check(const char *path);

/* Writing and reading: pmemlog_append(3). */
int pmemlog_append(PMEMlogpool *plp, const void *buf, size_t count);
int pmemlog_appendv(PMEMlogpool *plp, const struct iovec *iov, int iovcnt);
size_t pmemlog_nbyte(PMEMlogpool *plp);
long long pmemlog_tell(PMEMlogpool *plp);
void pmemlog_rewind(PMEMlogpool *plp);
void pmemlog_walk(PMEMlogpool *plp, size_t chunksize,
                  int (*process_chunk)(const void *buf, size_t len, void *arg), void *arg);

/* The library as a whole, and its settings: libpmemlog(7). */
const char *pmemlog_check_version(unsigned major_required, unsigned minor_required);
void pmemlog_set_funcs(void *(*malloc_func)(size_t size), void (*free_func)(void *ptr),
                       void *(*realloc_func)(void *ptr, size_t size),
                       char *(*strdup_func)(const char *s));
const char *pmemlog_errormsg(void);
int pmemlog_ctl_get(PMEMlogpool *plp, const char *name, void *arg);
int pmemlog_ctl_set(PMEMlogpool *plp, const char *name, void *arg);
int pmemlog_ctl_exec(PMEMlogpool *plp, const char *name, void *arg);

#ifdef __cplusplus
}
#endif

#endif
