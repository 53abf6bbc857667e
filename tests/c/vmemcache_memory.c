/* Ordinary memory: malloc, realloc and free are watched from outside, as the reference's own test does it. calloc and its
 * relatives are not, free is: what those gave must not go back through free. */
#include "vmemcache.h"

void *__libc_malloc(size_t size);
void *__libc_realloc(void *block, size_t size);
void __libc_free(void *block);

/* Of the calling thread. */
static __thread int watching;
static __thread long long held_bytes;
static __thread unsigned long long calls;

void *malloc(size_t size)
{
    void *block = __libc_malloc(size);
    if (watching && block != NULL) {
        held_bytes += (long long)malloc_usable_size(block);
        calls++;
    }
    return block;
}

void *realloc(void *old, size_t size)
{
    if (watching && old != NULL)
        held_bytes -= (long long)malloc_usable_size(old);
    void *block = __libc_realloc(old, size);
    if (watching && block != NULL) {
        held_bytes += (long long)malloc_usable_size(block);
        calls++;
    }
    return block;
}

void free(void *block)
{
    if (watching && block != NULL) {
        held_bytes -= (long long)malloc_usable_size(block);
        calls++;
    }
    __libc_free(block);
}

static void counts(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    (void)cache, (void)key, (void)key_size;
    ++*(unsigned long long *)arg;
}

/* Row 11 of the acceptance list. */
CASE(row_11_memory_per_entry)
{
    char value[32] = "";
    unsigned long long evictions = 0;
    watching = 1;
    void *volatile probe = malloc(100);
    CHECK_GE(held_bytes, 100); /* the watch works */
    free(probe);
    CHECK_EQ(held_bytes, 0);

    VMEMcache *cache = make_cache();
    vmemcache_callback_on_evict(cache, counts, &evictions);
    for (uint64_t number = 0; evictions == 0; number++)
        CHECK_OK(vmemcache_put(cache, KEY(number), value, sizeof value));
    long long entries = (long long)STAT(cache, ENTRIES), per_entry = held_bytes / entries;
    say("%lld entries with %lld bytes each\n", entries, per_entry);
    CHECK_GE(entries, 3000);
    CHECK_GE(180, per_entry);
    vmemcache_delete(cache);
    CHECK_EQ(held_bytes, 0);
}

/* As above, with everything that might keep memory: each way of use, and more than one cache. */
CASE(everything_comes_back)
{
    static char key[3000], value[70000];
    watching = 1;
    for (int round = 0; round < 3; round++) {
        unsigned long long evictions = 0;
        VMEMcache *cache = make_handle(), *other = make_handle();
        vmemcache_delete(make_handle());
        CHECK_REFUSED(vmemcache_add(cache, "/nowhere"), ENOENT);
        CHECK_OK(vmemcache_add(cache, directory()));
        CHECK_OK(vmemcache_set_extent_size(other, 1000));
        CHECK_OK(vmemcache_add(other, directory()));
        vmemcache_callback_on_evict(cache, counts, &evictions);
        vmemcache_callback_on_miss(cache, counts, &evictions);
        for (uint64_t i = 0; i < 3000; i++) {
            CHECK_OK(vmemcache_put(cache, KEY(i), value, i * 7 % sizeof value));
            if (i % 10 == 0)
                vmemcache_get(cache, KEY(i * 3), NULL, 0, 0, NULL);
            memcpy(key, &i, sizeof i);
            CHECK_OK(vmemcache_put(other, key, 8 + i % (sizeof key - 8), value, i % 5000));
            if (i % 3 == 0)
                CHECK_OK(vmemcache_evict(other, key, 8 + i % (sizeof key - 8)));
        }
        if (round == 1)
            while (vmemcache_evict(cache, NULL, 0) == 0) {
            }
        CHECK_GE(evictions, 1000);
        vmemcache_delete(other);
        vmemcache_delete(cache);
        CHECK_EQ(held_bytes, 0);
    }
}

static void *uses(void *cache)
{
    char value[100] = "";
    watching = 1;
    for (uint64_t i = 0; i < 1000; i++) {
        CHECK_OK(vmemcache_put(cache, KEY(i), value, sizeof value));
        CHECK_EQ(vmemcache_get(cache, KEY(i), value, sizeof value, 0, NULL), sizeof value);
        CHECK_REFUSED(vmemcache_get(cache, KEY(i + 1000), value, 1, 0, NULL), ENOENT);
        CHECK_REFUSED(vmemcache_put(cache, KEY(i), value, 1), EEXIST);
        CHECK(vmemcache_errormsg()[0] != 0);
        CHECK_OK(vmemcache_evict(cache, KEY(i)));
    }
    return NULL;
}

/* A thread leaves nothing of its own behind and takes nothing along: its calls balance but for the cache's tables. */
CASE(threads_have_nothing_of_their_own)
{
    watching = 1;
    VMEMcache *cache = make_cache();
    uses(cache); /* the tables have grown */
    watching = 0;
    long long before = held_bytes;
    for (int i = 0; i < 50; i++) {
        pthread_t thread;
        START(thread, uses, cache);
        JOIN(thread);
    }
    watching = 1;
    uses(cache);
    CHECK_EQ(held_bytes, before);
    vmemcache_delete(cache);
    CHECK_EQ(held_bytes, 0);
}

/* The reference allocates three times with each put, and frees three times with each eviction. */
CASE(a_put_with_an_eviction_allocates_nothing)
{
    static char value[1024];
    VMEMcache *cache = make_cache_of(8 * MIB, 256, VMEMCACHE_REPLACEMENT_LRU);
    uint64_t number = 0;
    for (; number < 50000; number++)
        CHECK_OK(vmemcache_put(cache, KEY(number), value, sizeof value));
    watching = 1;
    for (; number < 100000; number++) {
        CHECK_OK(vmemcache_put(cache, KEY(number), value, sizeof value));
        CHECK_EQ(vmemcache_get(cache, KEY(number), value, sizeof value, 0, NULL), sizeof value);
    }
    watching = 0;
    say("%llu calls of malloc, realloc and free\n", calls);
    CHECK_GE(500, calls);
}
