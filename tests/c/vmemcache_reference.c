/* What the reference's own test-suite asserts, row by row of the contract's acceptance list. The cases on threads are in
 * vmemcache_threads.c, the one that counts ordinary memory in vmemcache_memory.c. */
#include "vmemcache.h"

static const enum vmemcache_repl_p POLICIES[] = {VMEMCACHE_REPLACEMENT_NONE,
                                                 VMEMCACHE_REPLACEMENT_LRU};

/* 1. Making and setting up. */
CASE(row_1_handles)
{
    VMEMcache *cache = make_handle();
    vmemcache_delete(cache);
    for (size_t p = 0; p < ARRAY_LENGTH(POLICIES); p++) {
        cache = set_up(MIB, MIB, POLICIES[p]);
        CHECK_TOLD(vmemcache_add(cache, NULL), EINVAL, "invalid (NULL) path");
        CHECK_TOLD(vmemcache_add(cache, "/proc/self/status"), ENOTDIR, "open: Not a directory");
        CHECK_OK(vmemcache_add(cache, directory()));
        CHECK_REFUSED(vmemcache_add(cache, directory()), EBUSY);
        vmemcache_delete(cache);
    }
    cache = make_handle();
    CHECK_REFUSED(vmemcache_set_size(cache, MIB - 1), EINVAL);
    CHECK_REFUSED(vmemcache_set_extent_size(cache, 255), EINVAL);
    CHECK_OK(vmemcache_set_size(cache, MIB));
    CHECK_OK(vmemcache_set_extent_size(cache, MIB + 1));
    CHECK_REFUSED(vmemcache_add(cache, directory()), EINVAL);
    vmemcache_delete(cache);
}

/* 2. One entry. */
CASE(row_2_put_get_evict)
{
    for (size_t p = 0; p < ARRAY_LENGTH(POLICIES); p++) {
        const char *key = "KEY", *value = "VALUE";
        char buffer[16];
        size_t size = 0;
        VMEMcache *cache = make_cache_of(MIB, 256, POLICIES[p]);
        CHECK_OK(vmemcache_put(cache, key, 4, value, 6));
        CHECK_EQ(vmemcache_exists(cache, key, 4, &size), 1);
        CHECK_EQ(size, 6);
        size = 0;
        CHECK_EQ(vmemcache_get(cache, key, 4, buffer, sizeof buffer, 0, &size), 6);
        CHECK_EQ(size, 6);
        CHECK(memcmp(buffer, value, 6) == 0);
        if (POLICIES[p] == VMEMCACHE_REPLACEMENT_LRU)
            CHECK_OK(vmemcache_evict(cache, NULL, 0));
        else
            CHECK_OK(vmemcache_evict(cache, key, 4));
        CHECK_REFUSED(vmemcache_get(cache, key, 4, buffer, sizeof buffer, 0, &size), ENOENT);
        CHECK_EQ(vmemcache_exists(cache, key, 4, &size), 0);
        vmemcache_delete(cache);
    }
}

/* 3. The table of offsets and buffers around a value of 32 bytes. */
CASE(row_3_sixteen_combinations)
{
    static const struct {
        size_t room, offset, wanted;
    } table[] = {
        {16, 0, 16}, {32, 0, 32}, {64, 0, 32}, {16, 2, 16}, {32, 2, 30}, {64, 2, 30},
        {16, 4, 16}, {16, 16, 16}, {32, 16, 16}, {64, 16, 16}, {16, 18, 14}, {64, 18, 14},
        {16, 31, 1}, {32, 31, 1}, {64, 32, 0}, {16, 33, 0},
    };
    unsigned char value[32], buffer[64];
    VMEMcache *cache = make_cache();
    stamp(value, sizeof value, 3);
    CHECK_OK(vmemcache_put(cache, "key", 3, value, sizeof value));
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        size_t size = 0;
        memset(buffer, 0, sizeof buffer);
        CHECK_EQ(vmemcache_get(cache, "key", 3, buffer, table[i].room, table[i].offset, &size),
                 table[i].wanted);
        CHECK_EQ(size, 32);
        CHECK(table[i].wanted == 0
              || memcmp(buffer, value + table[i].offset, table[i].wanted) == 0);
        CHECK(nonzero_at(buffer + table[i].wanted, sizeof buffer - table[i].wanted) < 0);
    }
    CHECK_OK(vmemcache_evict(cache, NULL, 0));
    vmemcache_delete(cache);
}

/* 4. Ten entries with long keys. */
#define LONG_KEY 256

static struct {
    int count, keys[20], misses;
} row_4;

static void reads_the_victim(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    char value[LONG_KEY];
    size_t size = 0;
    CHECK(arg == &row_4);
    CHECK_EQ(key_size, LONG_KEY);
    CHECK_EQ(vmemcache_get(cache, key, key_size, value, sizeof value, 0, &size), LONG_KEY);
    CHECK_EQ(size, LONG_KEY);
    CHECK_EQ(memcmp(value, key, 1), 0);
    row_4.keys[row_4.count++] = *(const unsigned char *)key;
}

static void counts_misses(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    (void)cache, (void)key;
    CHECK_EQ(key_size, LONG_KEY);
    CHECK(arg == &row_4);
    row_4.misses++;
}

CASE(row_4_eviction_by_recency)
{
    static unsigned char keys[12][LONG_KEY];
    static char huge[MIB + 1];
    unsigned char value[LONG_KEY];
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_evict(cache, reads_the_victim, &row_4);
    vmemcache_callback_on_miss(cache, counts_misses, &row_4);
    for (int i = 0; i < 12; i++)
        memset(keys[i], i, LONG_KEY);
    for (int i = 0; i < 10; i++)
        CHECK_OK(vmemcache_put(cache, keys[i], LONG_KEY, keys[i], LONG_KEY));
    CHECK_OK(vmemcache_evict(cache, keys[5], LONG_KEY));
    CHECK_EQ(row_4.keys[0], 5);
    CHECK_OK(vmemcache_evict(cache, NULL, 0));
    CHECK_EQ(row_4.keys[1], 0);
    CHECK_EQ(vmemcache_get(cache, keys[1], LONG_KEY, value, sizeof value, 0, NULL), LONG_KEY);
    CHECK_OK(vmemcache_evict(cache, NULL, 0));
    CHECK_EQ(row_4.keys[2], 2);
    CHECK_REFUSED(vmemcache_get(cache, keys[2], LONG_KEY, value, sizeof value, 0, NULL), ENOENT);
    CHECK_EQ(row_4.misses, 1);
    CHECK_REFUSED(vmemcache_get(cache, keys[11], LONG_KEY, value, sizeof value, 0, NULL), ENOENT);
    CHECK_EQ(row_4.misses, 2);
    CHECK_REFUSED(vmemcache_put(cache, keys[11], LONG_KEY, huge, sizeof huge), ENOSPC);
    CHECK_REFUSED(vmemcache_evict(cache, keys[11], LONG_KEY), ENOENT);
    CHECK_EQ(evict_all(cache), 7);
    static const int order[] = {5, 0, 2, 3, 4, 6, 7, 8, 9, 1};
    CHECK_EQ(row_4.count, 10);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(row_4.keys[i], order[i]);
    CHECK_STAT(cache, PUT, 10);
    CHECK_STAT(cache, GET, 3 + 10);
    CHECK_STAT(cache, HIT, 1 + 10);
    CHECK_STAT(cache, MISS, 2);
    CHECK_STAT(cache, EVICT, 10);
    CHECK_EMPTY(cache);
    vmemcache_delete(cache);
}

/* 5. Nothing leaks, with short and long keys. */
static void counts(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    (void)cache, (void)key, (void)key_size;
    ++*(unsigned long long *)arg;
}

static void fills_and_empties(size_t key_size)
{
    unsigned long long evictions = 0, puts = 0;
    uint64_t state = 5;
    char *key = calloc(1, key_size), *value = malloc(64 * KIB), *buffer = malloc(64 * KIB);
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_evict(cache, counts, &evictions);
    while (evictions < 1000) {
        size_t size = 128 + next_random(&state) % (64 * KIB - 128), found = 0;
        memcpy(key, &puts, sizeof puts);
        stamp(value, size, puts);
        CHECK_OK(vmemcache_put(cache, key, key_size, value, size));
        puts++;
        memset(buffer, 0, size);
        CHECK_EQ(vmemcache_get(cache, key, key_size, buffer, 64 * KIB, 0, &found), size);
        CHECK_EQ(found, size);
        CHECK(memcmp(buffer, value, size) == 0);
    }
    CHECK_STAT(cache, EVICT, evictions);
    CHECK_STAT(cache, PUT, puts);
    CHECK_STAT(cache, ENTRIES, puts - evictions);
    evict_all(cache);
    CHECK_EQ(evictions, puts);
    CHECK_STAT(cache, EVICT, puts);
    CHECK_EMPTY(cache);
    vmemcache_delete(cache);
    free(key), free(value), free(buffer);
}

CASE(row_5_leaks_with_short_keys)
{
    fills_and_empties(8);
}

CASE(row_5_leaks_with_long_keys)
{
    fills_and_empties(1032);
}

/* 6. Neighbours merge. */
CASE(row_6_free_regions_merge)
{
    static const uint64_t order[] = {1, 3, 0, 4, 2};
    for (size_t p = 0; p < ARRAY_LENGTH(POLICIES); p++) {
        VMEMcache *cache = make_cache_of(MIB, 256, POLICIES[p]);
        CHECK_STAT(cache, HEAP_ENTRIES, 1);
        for (uint64_t i = 0; i < 5; i++) {
            CHECK_OK(put_number(cache, i, 10));
            CHECK_STAT(cache, HEAP_ENTRIES, 1);
        }
        for (size_t i = 0; i < 5; i++)
            CHECK_OK(vmemcache_evict(cache, KEY(order[i])));
        CHECK_EMPTY(cache);
        vmemcache_delete(cache);
    }
}

/* 7. Puts inside of on_evict, up to 500 of them for one put outside. */
static struct {
    int calls, depth, deepest;
    uint64_t next;
    size_t size;
} row_7;

static char row_7_value[64 * KIB];

static int row_7_put(VMEMcache *cache)
{
    uint64_t number = row_7.next++;
    return vmemcache_put(cache, &number, sizeof number, row_7_value, row_7.size);
}

static void puts_as_much(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    (void)key, (void)key_size, (void)arg;
    if (row_7.calls >= 500)
        return;
    row_7.calls++;
    if (++row_7.depth > row_7.deepest)
        row_7.deepest = row_7.depth;
    if (row_7_put(cache) != 0)
        CHECK_EQ(errno, ENOSPC);
    row_7.depth--;
}

static VMEMcache *row_7_cache(void)
{
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_evict(cache, puts_as_much, NULL);
    stamp(row_7_value, sizeof row_7_value, 7);
    return cache;
}

static void row_7_put_outside(VMEMcache *cache)
{
    row_7.calls = 0;
    if (row_7_put(cache) != 0)
        FAIL("a put of %zu bytes: %s, after %d calls", row_7.size, vmemcache_errormsg(),
             row_7.calls);
}

CASE(row_7_puts_inside_of_on_evict)
{
    uint64_t state = 7;
    VMEMcache *cache = row_7_cache();
    for (int i = 0; i < 1000; i++) {
        row_7.size = 128 + next_random(&state) % (64 * KIB - 128);
        row_7_put_outside(cache);
    }
    CHECK_GE(row_7.deepest, 10);
    vmemcache_callback_on_evict(cache, NULL, NULL);
    evict_all(cache);
    CHECK_EMPTY(cache);
    vmemcache_delete(cache);
}

CASE(row_7_five_hundred_deep)
{
    VMEMcache *cache = row_7_cache();
    row_7.size = 128;
    while (row_7.calls == 0)
        row_7_put_outside(cache);
    for (int i = 0; i < 100; i++)
        row_7_put_outside(cache);
    CHECK_EQ(row_7.deepest, 500); /* each inside of the one before */
    vmemcache_callback_on_evict(cache, NULL, NULL);
    evict_all(cache);
    CHECK_EMPTY(cache);
    vmemcache_delete(cache);
}

/* 8. Victims are whole. */
static struct {
    uint64_t state, evictions;
} row_8 = {.state = 8};

static size_t row_8_size(uint64_t number)
{
    return 128 + number * 7919 % (64 * KIB - 128);
}

static void compares_the_victim(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    static char whole[64 * KIB], wanted[64 * KIB];
    uint64_t number;
    (void)arg;
    CHECK_EQ(key_size, 8);
    memcpy(&number, key, 8);
    size_t size = row_8_size(number), found = 0;
    stamp(wanted, size, number);
    CHECK_EQ(vmemcache_get(cache, key, key_size, whole, sizeof whole, 0, &found), size);
    CHECK_EQ(found, size);
    CHECK(memcmp(whole, wanted, size) == 0);
    size_t offset = next_random(&row_8.state) % size;
    size_t length = 1 + next_random(&row_8.state) % (size - offset);
    CHECK_EQ(vmemcache_get(cache, key, key_size, whole, length, offset, &found), length);
    CHECK(memcmp(whole, wanted + offset, length) == 0);
    row_8.evictions++;
}

CASE(row_8_integrity)
{
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_evict(cache, compares_the_victim, NULL);
    uint64_t number = 0;
    for (; row_8.evictions < 1000; number++)
        CHECK_OK(put_number(cache, number, row_8_size(number)));
    CHECK_STAT(cache, HIT, 2 * row_8.evictions);
    CHECK_STAT(cache, GET, 2 * row_8.evictions);
    CHECK_STAT(cache, MISS, 0);
    evict_all(cache);
    CHECK_STAT(cache, EVICT, number);
    CHECK_STAT(cache, HIT, 2 * number);
    CHECK_EMPTY(cache);
    vmemcache_delete(cache);
}

/* 9 c, in one thread: the first eviction is of one entry, the oldest of all. */
CASE(row_9_the_first_victim_is_the_oldest)
{
    for (size_t size = 8; size <= 64; size++) {
        struct evictions evicted = {0};
        VMEMcache *cache = make_cache();
        vmemcache_callback_on_evict(cache, note_eviction, &evicted);
        uint64_t number = 0;
        while (evicted.count == 0)
            CHECK_OK(put_number(cache, number++, size));
        CHECK_EQ(evicted.count, 1);
        CHECK_EQ(evicted.numbers[0], 0);
        CHECK_EQ(has_number(cache, 0), 0);
        for (uint64_t i = 1; i < number; i++)
            CHECK_EQ(has_number(cache, i), 1);
        evict_all(cache);
        CHECK_EMPTY(cache);
        vmemcache_delete(cache);
    }
}

/* 10. After the first eviction 87 % of the pool are in use after every put; the reference reaches 98. */
CASE(row_10_utilization)
{
    struct evictions evicted = {0};
    static char value[17920];
    uint64_t state = 10;
    double least = 1;
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_evict(cache, note_eviction, &evicted);
    for (uint64_t number = 0; evicted.count < 5000; number++) {
        size_t size = 256 * (1 + next_random(&state) % (sizeof value / 256));
        CHECK_OK(vmemcache_put(cache, KEY(number), value, size));
        if (evicted.count == 0)
            continue;
        double share = (double)STAT(cache, POOL_SIZE_USED) / MIB;
        if (share < least)
            least = share;
        if (share < 0.87)
            FAIL("only %.3f of the pool are in use after %zu evictions", share, evicted.count);
    }
    say("least share of the pool: %.3f\n", least);
    vmemcache_delete(cache);
}

/* 12. Two caches, the colder ten times as large. */
#define TWO_LEVEL_VALUE (512 * KIB)

static VMEMcache *cold;
static int demotions, promotions;

static void demotes(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    char *value = malloc(TWO_LEVEL_VALUE);
    size_t size = 0;
    (void)arg;
    CHECK(value != NULL);
    CHECK_EQ(vmemcache_get(cache, key, key_size, value, TWO_LEVEL_VALUE, 0, &size), TWO_LEVEL_VALUE);
    CHECK_OK(vmemcache_put(cold, key, key_size, value, size));
    free(value);
    demotions++;
}

static void promotes(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    char *value = malloc(TWO_LEVEL_VALUE);
    size_t size = 0;
    (void)arg;
    CHECK(value != NULL);
    if (vmemcache_get(cold, key, key_size, value, TWO_LEVEL_VALUE, 0, &size) == TWO_LEVEL_VALUE) {
        CHECK_OK(vmemcache_evict(cold, key, key_size));
        CHECK_OK(vmemcache_put(cache, key, key_size, value, size));
        promotions++;
    }
    free(value);
}

CASE(row_12_two_levels)
{
    enum { COUNT = 20 };
    VMEMcache *warm = make_cache();
    cold = make_cache_of(10 * MIB, 256, VMEMCACHE_REPLACEMENT_LRU);
    vmemcache_callback_on_evict(warm, demotes, NULL);
    vmemcache_callback_on_miss(warm, promotes, NULL);
    for (uint64_t i = 0; i < COUNT; i++)
        CHECK_OK(put_number(warm, i, TWO_LEVEL_VALUE));
    /* One there, nineteen here. */
    CHECK_STAT(warm, ENTRIES, 1);
    CHECK_STAT(cold, ENTRIES, COUNT - 1);
    CHECK_EQ(demotions, COUNT - 1);
    for (uint64_t i = 0; i < COUNT; i++) {
        check_number(warm, i, TWO_LEVEL_VALUE);
        CHECK_STAT(warm, ENTRIES, 1);
        CHECK_STAT(cold, ENTRIES, COUNT - 1);
    }
    CHECK_EQ(promotions, COUNT);
    CHECK_STAT(warm, MISS, COUNT);
    CHECK_STAT(warm, EVICT, 2 * COUNT - 1);
    /* A twentieth does not fit into the colder one. */
    CHECK_OK(put_number(warm, COUNT, TWO_LEVEL_VALUE));
    CHECK_OK(put_number(warm, COUNT + 1, TWO_LEVEL_VALUE));
    CHECK_STAT(cold, ENTRIES, COUNT - 1);
    vmemcache_delete(warm);
    vmemcache_delete(cold);
}

/* 13. The example: miss, put, get, and a miss that is filled. */
static void fills(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    CHECK_OK(vmemcache_put(cache, key, key_size, arg, strlen(arg) + 1));
}

CASE(row_13_example)
{
    char buffer[64];
    size_t size = 0;
    VMEMcache *cache = make_cache();
    CHECK_REFUSED(vmemcache_get(cache, "milk", 4, buffer, sizeof buffer, 0, &size), ENOENT);
    CHECK_OK(vmemcache_put(cache, "milk", 4, "white", 6));
    CHECK_EQ(vmemcache_get(cache, "milk", 4, buffer, sizeof buffer, 0, &size), 6);
    CHECK(strcmp(buffer, "white") == 0);
    vmemcache_callback_on_miss(cache, fills, "brown");
    CHECK_EQ(vmemcache_get(cache, "tea", 3, buffer, sizeof buffer, 0, &size), 6);
    CHECK(strcmp(buffer, "brown") == 0);
    CHECK_EQ(vmemcache_exists(cache, "tea", 3, NULL), 1);
    vmemcache_delete(cache);
}
