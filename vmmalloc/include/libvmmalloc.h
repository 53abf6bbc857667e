/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The malloc family as libvmmalloc.so.1 provides it. See libvmmalloc(7).
 *
 * A program that links with the library needs no header but those of the C library; this one adds what the
 * compiler may know of the functions.
 */
#ifndef LIBVMMALLOC_H
#define LIBVMMALLOC_H 1

#include <stddef.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VMMALLOC_MAJOR_VERSION 1
#define VMMALLOC_MINOR_VERSION 1

/* Bytes of the smallest pool. */
#define VMMALLOC_MIN_POOL ((size_t)(1024 * 1024 * 14))

/* Version of GCC or of a compiler that says it is one, as major * 100 + minor. */
#ifndef GCC_VER
#if defined(__GNUC__) && defined(__GNUC_MINOR__)
#define GCC_VER (__GNUC__ * 100 + __GNUC_MINOR__)
#else
#define GCC_VER 0
#endif
#endif

#ifdef __has_attribute
#define VMMALLOC_HAS_ATTRIBUTE_(name) __has_attribute(name)
#else
#define VMMALLOC_HAS_ATTRIBUTE_(name) 0
#endif

#if GCC_VER >= 300 || VMMALLOC_HAS_ATTRIBUTE_(malloc)
#define __ATTR_MALLOC__ __attribute__((malloc))
#else
#define __ATTR_MALLOC__
#endif

#if GCC_VER >= 303 || VMMALLOC_HAS_ATTRIBUTE_(nonnull)
#define __ATTR_NONNULL__(x) __attribute__((nonnull(x)))
#else
#define __ATTR_NONNULL__(x)
#endif

#if GCC_VER >= 403 || VMMALLOC_HAS_ATTRIBUTE_(alloc_size)
#define __ATTR_ALLOC_SIZE__(...) __attribute__((alloc_size(__VA_ARGS__)))
#else
#define __ATTR_ALLOC_SIZE__(...)
#endif

#if GCC_VER >= 409 || VMMALLOC_HAS_ATTRIBUTE_(alloc_align)
#define __ATTR_ALLOC_ALIGN__(x) __attribute__((alloc_align(x)))
#else
#define __ATTR_ALLOC_ALIGN__(x)
#endif

/* Declared in C++ as the C library does, or the two would disagree. */
#ifdef __cplusplus
#ifdef __THROW
#define VMMALLOC_NOTHROW_ __THROW
#elif __cplusplus >= 201103L
#define VMMALLOC_NOTHROW_ noexcept(true)
#else
#define VMMALLOC_NOTHROW_ throw()
#endif
#else
#define VMMALLOC_NOTHROW_
#endif

extern void *malloc(size_t size) VMMALLOC_NOTHROW_ __ATTR_MALLOC__ __ATTR_ALLOC_SIZE__(1);
extern void *calloc(size_t nmemb, size_t size) VMMALLOC_NOTHROW_ __ATTR_MALLOC__
    __ATTR_ALLOC_SIZE__(1, 2);
extern void *realloc(void *ptr, size_t size) VMMALLOC_NOTHROW_ __ATTR_ALLOC_SIZE__(2);
extern void free(void *ptr) VMMALLOC_NOTHROW_;
extern void cfree(void *ptr) VMMALLOC_NOTHROW_;

extern int posix_memalign(void **memptr, size_t alignment, size_t size) VMMALLOC_NOTHROW_
    __ATTR_NONNULL__(1);
extern void *memalign(size_t boundary, size_t size) VMMALLOC_NOTHROW_ __ATTR_MALLOC__
    __ATTR_ALLOC_ALIGN__(1) __ATTR_ALLOC_SIZE__(2);
extern void *aligned_alloc(size_t alignment, size_t size) VMMALLOC_NOTHROW_ __ATTR_MALLOC__
    __ATTR_ALLOC_ALIGN__(1) __ATTR_ALLOC_SIZE__(2);
extern void *valloc(size_t size) VMMALLOC_NOTHROW_ __ATTR_MALLOC__ __ATTR_ALLOC_SIZE__(1);
extern void *pvalloc(size_t size) VMMALLOC_NOTHROW_ __ATTR_MALLOC__ __ATTR_ALLOC_SIZE__(1);

extern size_t malloc_usable_size(void *ptr) VMMALLOC_NOTHROW_;

#ifdef __cplusplus
}
#endif

#endif /* LIBVMMALLOC_H */
