/* Puts a program on a file kind of libmemkind, which is a library and no malloc: the allocation functions
 * of the C library are mapped to its calls. Only for the benchmarks.
 *
 * The kind is made by a constructor, after those of libmemkind and what that needs. Whatever is allocated
 * before, and by libmemkind itself while it serves a call, comes from a static arena and stays there. The
 * kind's file is mapped shared: a program that forks and goes on in the child does not run on it. */
#define _GNU_SOURCE
#include <errno.h>
#include <memkind.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum { ARENA_BYTES = 64 << 20, HEADER_BYTES = 16 };

/* Blocks of the arena have their size in front. */
static char arena[ARENA_BYTES] __attribute__((aligned(4096)));
static _Atomic size_t arena_used;

static memkind_t kind;
static _Atomic int is_ready, is_ending;
static __thread int is_inside __attribute__((tls_model("initial-exec")));

static int in_arena(const void *block)
{
    return (uintptr_t)block - (uintptr_t)arena < ARENA_BYTES;
}

static size_t arena_size(const void *block) { return ((const size_t *)block)[-1]; }

/* Zeroed: nothing is used twice. */
static void *arena_block(size_t alignment, size_t size)
{
    if (alignment < HEADER_BYTES)
        alignment = HEADER_BYTES;
    if (size > ARENA_BYTES || alignment > ARENA_BYTES) {
        errno = ENOMEM;
        return NULL;
    }
    size_t wanted = size + HEADER_BYTES + alignment;
    size_t start = __atomic_fetch_add(&arena_used, (wanted + 15) & ~(size_t)15, __ATOMIC_RELAXED);
    if (start + wanted > ARENA_BYTES) {
        errno = ENOMEM;
        return NULL;
    }
    uintptr_t block = ((uintptr_t)arena + start + HEADER_BYTES + alignment - 1) & ~(uintptr_t)(alignment - 1);
    ((size_t *)block)[-1] = size;
    return (void *)block;
}

static int use_arena(void) { return is_inside || !is_ready || is_ending; }

/* libmemkind refuses blocks of no bytes. */
static size_t at_least_one(size_t size) { return size ? size : 1; }

static void *enter_malloc(size_t size)
{
    is_inside = 1;
    void *block = memkind_malloc(kind, at_least_one(size));
    is_inside = 0;
    if (!block)
        errno = ENOMEM;
    return block;
}

static int enter_memalign(void **block, size_t alignment, size_t size)
{
    if (alignment < sizeof(void *))
        alignment = sizeof(void *);
    is_inside = 1;
    int error = memkind_posix_memalign(kind, block, alignment, at_least_one(size));
    is_inside = 0;
    return error;
}

__attribute__((constructor)) static void make_kind(void)
{
    const char *directory = getenv("MEMKIND_PRELOAD_DIR");
    is_inside = 1;
    int error = directory ? memkind_create_pmem(directory, 0, &kind) : MEMKIND_ERROR_INVALID;
    is_inside = 0;
    if (error != MEMKIND_SUCCESS) {
        static const char text[] = "memkind preload: no kind could be made in MEMKIND_PRELOAD_DIR\n";
        ssize_t ignored = write(2, text, sizeof text - 1);
        (void)ignored;
        abort();
    }
    is_ready = 1;
}

/* Runs before the destructor of libmemkind, which takes all kinds apart. What stdio writes afterwards lies in
 * blocks: they have to stay, and nothing may be asked of the kind any more. */
__attribute__((destructor)) static void keep_blocks(void) { is_ending = 1; }

EXPORT int munmap(void *address, size_t length)
{
    return is_ending ? 0 : (int)syscall(SYS_munmap, address, length);
}

EXPORT int madvise(void *address, size_t length, int advice)
{
    return is_ending ? 0 : (int)syscall(SYS_madvise, address, length, advice);
}

EXPORT void *malloc(size_t size) { return use_arena() ? arena_block(0, size) : enter_malloc(size); }

EXPORT size_t malloc_usable_size(void *block)
{
    if (!block)
        return 0;
    return in_arena(block) ? arena_size(block) : memkind_malloc_usable_size(kind, block);
}

EXPORT void free(void *block)
{
    if (!block || in_arena(block) || is_ending)
        return;
    int saved = errno, outer = is_inside;
    is_inside = 1;
    memkind_free(kind, block);
    is_inside = outer;
    errno = saved;
}

EXPORT void *calloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    if (use_arena())
        return arena_block(0, bytes);
    is_inside = 1;
    void *block = memkind_calloc(kind, 1, at_least_one(bytes));
    is_inside = 0;
    if (!block)
        errno = ENOMEM;
    return block;
}

EXPORT void *realloc(void *block, size_t size)
{
    if (!block)
        return malloc(size);
    if (size == 0) {
        free(block);
        return NULL;
    }
    if (in_arena(block) || use_arena()) {
        size_t old = malloc_usable_size(block);
        void *moved = malloc(size);
        if (moved) {
            memcpy(moved, block, old < size ? old : size);
            free(block);
        }
        return moved;
    }
    is_inside = 1;
    void *moved = memkind_realloc(kind, block, size);
    is_inside = 0;
    if (!moved)
        errno = ENOMEM;
    return moved;
}

EXPORT int posix_memalign(void **block, size_t alignment, size_t size)
{
    if (alignment % sizeof(void *) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0)
        return EINVAL;
    if (use_arena()) {
        void *fresh = arena_block(alignment, size);
        if (!fresh)
            return ENOMEM;
        *block = fresh;
        return 0;
    }
    int saved = errno, error = enter_memalign(block, alignment, size);
    errno = saved;
    return error;
}

EXPORT void *memalign(size_t alignment, size_t size)
{
    void *block = NULL;
    if (use_arena())
        return arena_block(alignment, size);
    int error = enter_memalign(&block, alignment, size);
    if (error) {
        errno = error;
        return NULL;
    }
    return block;
}

EXPORT void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

EXPORT void *valloc(size_t size) { return memalign(4096, size); }

EXPORT void *pvalloc(size_t size) { return memalign(4096, (size + 4095) & ~(size_t)4095); }
