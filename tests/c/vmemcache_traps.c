/* The contract's list of traps for those who write such a library anew: each case fails for a library that fell into its trap.
 * The two traps of ordinary memory are in vmemcache_memory.c. */
#include "vmemcache.h"

/* Lists of recency per shard, or pools per shard: the victim is not the oldest of all. */
CASE(victims_are_the_oldest_of_all)
{
    struct evictions evicted = {0};
    uint64_t state = 3;
    VMEMcache *cache = make_cache_of(8 * MIB, 256, VMEMCACHE_REPLACEMENT_LRU);
    static uint64_t order[5000];
    vmemcache_callback_on_evict(cache, note_eviction, &evicted);
    for (size_t i = 0; i < ARRAY_LENGTH(order); i++) {
        order[i] = next_random(&state);
        CHECK_OK(put_number(cache, order[i], 100));
    }
    /* The first thousand are used again, last first. */
    for (size_t i = 1000; i-- > 0;)
        check_number(cache, order[i], 100);
    for (size_t i = 0; i < ARRAY_LENGTH(order); i++) {
        CHECK_OK(vmemcache_evict(cache, NULL, 0));
        uint64_t wanted = i < 4000 ? order[1000 + i] : order[4999 - i];
        CHECK_EQ(evicted.numbers[i % ARRAY_LENGTH(evicted.numbers)], wanted);
    }
}

/* Evicting in batches or ahead of need. */
CASE(nobody_leaves_before_the_room_is_needed)
{
    struct evictions evicted = {0};
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_evict(cache, note_eviction, &evicted);
    uint64_t number = 0;
    while (evicted.count == 0)
        CHECK_OK(put_number(cache, number++, 1000));
    CHECK_EQ(evicted.count, 1);
    CHECK_STAT(cache, ENTRIES, number - 1);
    sleep_ms(300); /* for helpers in the background */
    CHECK_STAT(cache, ENTRIES, number - 1);
    for (uint64_t i = 1; i < number; i++)
        CHECK_EQ(has_number(cache, i), 1);
    CHECK_OK(vmemcache_evict(cache, KEY(5)));
    CHECK_OK(put_number(cache, number++, 1000)); /* into the gap */
    CHECK_EQ(evicted.count, 2);
    CHECK_OK(put_number(cache, number++, 1000));
    CHECK_EQ(evicted.count, 3);
}

/* A filter that does not let everybody in. */
CASE(every_put_is_admitted)
{
    VMEMcache *cache = make_cache();
    for (int hot = 0; hot < 100; hot++)
        for (uint64_t i = 0; i < 900; i++)
            if (hot == 0)
                CHECK_OK(put_number(cache, i, 1000));
            else if (has_number(cache, i))
                check_number(cache, i, 1000);
    for (uint64_t i = 10000; i < 20000; i++) {
        CHECK_OK(put_number(cache, i, 1000));
        check_number(cache, i, 1000);
    }
}

/* Memory that is freed later than the statistics say. */
static volatile int enough;

static void *reads(void *cache)
{
    static __thread char value[2000];
    uint64_t number = 0;
    while (!__atomic_load_n(&enough, __ATOMIC_ACQUIRE))
        vmemcache_get(cache, KEY(number++ % 700), value, sizeof value, 0, NULL);
    return NULL;
}

CASE(statistics_are_up_to_date_at_once)
{
    pthread_t readers[2];
    VMEMcache *cache = make_cache();
    for (int i = 0; i < 2; i++)
        START(readers[i], reads, cache);
    for (int round = 0; round < 20; round++) {
        for (uint64_t i = 0; i < 700; i++)
            CHECK_OK(put_number(cache, i, 1000));
        CHECK_STAT(cache, ENTRIES, 700);
        for (uint64_t i = 0; i < 700; i++)
            CHECK_OK(vmemcache_evict(cache, KEY(i)));
        CHECK_STAT(cache, ENTRIES, 0);
        CHECK_STAT(cache, EVICT, 700 * (round + 1));
    }
    __atomic_store_n(&enough, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < 2; i++)
        JOIN(readers[i]);
    CHECK_EMPTY(cache);
    /* Alone: after each single call. */
    CHECK_OK(put_number(cache, 1, 1000));
    CHECK_OK(vmemcache_evict(cache, NULL, 0));
    CHECK_EMPTY(cache);
}

/* Tables that are made in advance, counted as used. */
CASE(an_empty_cache_uses_no_memory)
{
    for (int shards = 0; shards < 2; shards++) {
        CHECK_EQ(setenv("VMEMCACHE_SHARDING", shards ? "yes" : "no", 1), 0);
        VMEMcache *cache = make_cache();
        CHECK_EMPTY(cache);
        for (uint64_t i = 0; i < 3000; i++)
            CHECK_OK(put_number(cache, i, 10));
        CHECK_GE(STAT(cache, DRAM_SIZE_USED), 3000 * 8);
        evict_all(cache);
        CHECK_EMPTY(cache);
        vmemcache_delete(cache);
    }
}

/* Several free regions by construction. */
static void *puts_one(void *cache)
{
    uint64_t number = (uint64_t)(uintptr_t)pthread_self();
    CHECK_OK(put_number(cache, number, 10));
    sleep_ms(50); /* together with the others: no identity twice */
    return NULL;
}

CASE(free_space_is_one_region)
{
    static const size_t sizes[] = {1, 2, 3, 10, 64, 200};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        pthread_t threads[5];
        VMEMcache *cache = make_cache_of(sizes[i] * MIB + 4096, 256, VMEMCACHE_REPLACEMENT_LRU);
        CHECK_EMPTY(cache);
        for (int t = 0; t < 5; t++)
            START(threads[t], puts_one, cache);
        for (int t = 0; t < 5; t++)
            JOIN(threads[t]);
        CHECK_STAT(cache, ENTRIES, 5);
        CHECK_STAT(cache, HEAP_ENTRIES, 1);
        CHECK_EQ(evict_all(cache), 5);
        /* Sizes of every kind. */
        for (size_t size = 1; size <= sizes[i] * MIB / 8; size *= 5)
            CHECK_OK(put_number(cache, size, size));
        CHECK_STAT(cache, HEAP_ENTRIES, 1);
        evict_all(cache);
        CHECK_EMPTY(cache);
        vmemcache_delete(cache);
    }
}

/* A pool without any overhead. */
CASE(twenty_halves_do_not_fit_into_ten)
{
    VMEMcache *cache = make_cache_of(10 * MIB, 256, VMEMCACHE_REPLACEMENT_LRU);
    for (uint64_t i = 0; i < 19; i++)
        CHECK_OK(put_number(cache, i, 512 * KIB));
    CHECK_STAT(cache, ENTRIES, 19);
    CHECK_OK(put_number(cache, 19, 512 * KIB));
    CHECK_STAT(cache, ENTRIES, 19);
    CHECK_EQ(has_number(cache, 0), 0);
    cache = make_cache();
    CHECK_OK(put_number(cache, 1, 512 * KIB));
    CHECK_OK(put_number(cache, 2, 512 * KIB));
    CHECK_STAT(cache, ENTRIES, 1);
}

/* Locks held around callbacks: others must get through while a callback runs. */
static void *uses_everything(void *cache)
{
    size_t size = 0;
    CHECK_OK(put_number(cache, 1000, 100));
    check_number(cache, 1000, 100);
    CHECK_EQ(vmemcache_exists(cache, KEY(0), &size), 1); /* which is leaving */
    check_number(cache, 0, 100);
    CHECK_OK(vmemcache_evict(cache, KEY(0))); /* no effect */
    CHECK_REFUSED(put_number(cache, 0, 100), EEXIST);
    CHECK_OK(vmemcache_evict(cache, KEY(1000)));
    for (uint64_t i = 0; i < 300; i++)
        CHECK_EQ(has_number(cache, i), i < 4);
    for (uint64_t i = 2000; i < 2300; i++) /* in every shard, if there are such */
        CHECK_OK(put_number(cache, i, 10));
    for (uint64_t i = 2000; i < 2300; i++)
        CHECK_OK(vmemcache_evict(cache, KEY(i)));
    CHECK_STAT(cache, ENTRIES, 4);
    vmemcache_callback_on_evict(cache, NULL, NULL);
    CHECK_OK(vmemcache_evict(cache, NULL, 0)); /* 1, not 0 */
    CHECK_EQ(has_number(cache, 1), 0);
    VMEMcache *another = make_cache();
    CHECK_OK(put_number(another, 1, 10));
    vmemcache_delete(another);
    return NULL;
}

static int waited;

static void waits_for_another(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    pthread_t thread;
    (void)key, (void)key_size, (void)arg;
    if (waited++ > 0)
        return;
    START(thread, uses_everything, cache);
    JOIN(thread);
}

CASE(callbacks_hold_nobody_up)
{
    for (int by_key = 0; by_key < 2; by_key++) {
        VMEMcache *cache = make_cache();
        waited = 0;
        for (uint64_t i = 0; i < 4; i++)
            CHECK_OK(put_number(cache, i, 100));
        vmemcache_callback_on_evict(cache, waits_for_another, NULL);
        CHECK_OK(vmemcache_evict(cache, by_key ? (const void *)&(uint64_t){0} : NULL, 8));
        CHECK_GE(waited, 1);
        CHECK_EQ(has_number(cache, 0), 0);
        CHECK_STAT(cache, ENTRIES, 2);
        evict_all(cache);
        vmemcache_delete(cache);
    }
}

/* The same inside of a miss. */
static void *gets_the_pending_key(void *cache)
{
    CHECK_REFUSED(vmemcache_get(cache, KEY(77), NULL, 0, 0, NULL), ENOENT);
    CHECK_OK(put_number(cache, 77, 100));
    check_number(cache, 77, 100);
    CHECK_OK(vmemcache_evict(cache, KEY(77)));
    return NULL;
}

static void waits_inside_of_a_miss(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    pthread_t thread;
    (void)key, (void)key_size, (void)arg;
    if (waited++ > 0)
        return;
    START(thread, gets_the_pending_key, cache);
    JOIN(thread);
    CHECK_OK(put_number(cache, 77, 200));
}

CASE(misses_hold_nobody_up)
{
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_miss(cache, waits_inside_of_a_miss, NULL);
    check_number(cache, 77, 200);
    CHECK_EQ(waited, 2);
}

/* Large stack frames: 500 puts, each inside of the one before. */
static struct {
    int depth;
    char *lowest;
    uint64_t next;
} nest;

static void goes_deeper(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    char here;
    (void)key, (void)key_size, (void)arg;
    if (&here < nest.lowest)
        nest.lowest = &here;
    if (nest.depth == 500)
        return;
    nest.depth++;
    uint64_t number = nest.next++;
    CHECK_OK(vmemcache_put(cache, &number, sizeof number, "a value", 8));
}

static void *fills_and_nests(void *unused)
{
    char here;
    (void)unused;
    VMEMcache *cache = make_cache();
    while (STAT(cache, EVICT) == 0)
        CHECK_OK(vmemcache_put(cache, KEY(nest.next++), "a value", 8));
    vmemcache_callback_on_evict(cache, goes_deeper, NULL);
    nest.lowest = &here;
    CHECK_OK(vmemcache_put(cache, KEY(nest.next++), "a value", 8));
    CHECK_EQ(nest.depth, 500);
    say("%ld bytes of stack for each put inside of another\n", (long)(&here - nest.lowest) / 500);
    CHECK_GE(MIB, &here - nest.lowest);
    vmemcache_callback_on_evict(cache, NULL, NULL);
    evict_all(cache);
    CHECK_EMPTY(cache);
    return NULL;
}

CASE(nested_puts_need_little_stack)
{
    pthread_attr_t small;
    pthread_t thread;
    CHECK_EQ(pthread_attr_init(&small), 0);
    CHECK_EQ(pthread_attr_setstacksize(&small, MIB + MIB / 2), 0);
    CHECK_EQ(pthread_create(&thread, &small, fills_and_nests, NULL), 0);
    JOIN(thread);
}
