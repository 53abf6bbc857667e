/* Many threads on one cache: the rows of the acceptance list about them, and what every thread may rely on. */
#include "vmemcache.h"

#define MOST_THREADS 10

/* Runs `count` threads that start together; each gets its number. */
static struct {
    VMEMcache *cache;
    unsigned threads, operations;
    pthread_barrier_t start;
    void (*body)(VMEMcache *cache, unsigned thread);
} crew;

static void *joins_the_crew(void *number)
{
    pthread_barrier_wait(&crew.start);
    crew.body(crew.cache, (unsigned)(uintptr_t)number);
    return NULL;
}

static void together(VMEMcache *cache, unsigned count, void (*body)(VMEMcache *, unsigned))
{
    pthread_t threads[MOST_THREADS];
    crew.cache = cache;
    crew.threads = count;
    crew.body = body;
    CHECK_EQ(pthread_barrier_init(&crew.start, NULL, count), 0);
    for (unsigned i = 0; i < count; i++)
        START(threads[i], joins_the_crew, (void *)(uintptr_t)i);
    for (unsigned i = 0; i < count; i++)
        JOIN(threads[i]);
    CHECK_EQ(pthread_barrier_destroy(&crew.start), 0);
}

/* ---- row 9: 10, 1 and 2 threads, 10000 operations, values of 8 to 64 bytes, 1 MiB ---- */

static size_t row_9_size(uint64_t number)
{
    return 8 + number * 31 % 57;
}

/* Rooms for the largest value and a bit. */
#define ROW_9_ROOM 80

static void row_9_puts_on_miss(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    uint64_t number;
    (void)arg;
    CHECK_EQ(key_size, sizeof number);
    memcpy(&number, key, sizeof number);
    int result = put_number(cache, number, row_9_size(number));
    if (result != 0 && errno != EEXIST)
        FAIL("a put inside of on_miss: %s", vmemcache_errormsg());
}

static void row_9_get(VMEMcache *cache, uint64_t number)
{
    unsigned char value[ROW_9_ROOM];
    size_t size = 0, wanted = row_9_size(number);
    CHECK_EQ(vmemcache_get(cache, &number, sizeof number, value, sizeof value, 0, &size), wanted);
    CHECK_EQ(size, wanted);
    CHECK_STAMP(value, wanted, number);
}

static void empties(VMEMcache *cache)
{
    evict_all(cache);
    CHECK_EMPTY(cache);
}

/* a: gets of keys that nobody else gets, all of which miss. */
static void gets_own_keys(VMEMcache *cache, unsigned thread)
{
    for (uint64_t i = 0; i < crew.operations; i++)
        row_9_get(cache, thread * (uint64_t)crew.operations + i);
}

/* b: puts of own keys. */
static void puts_own_keys(VMEMcache *cache, unsigned thread)
{
    for (uint64_t i = 0; i < crew.operations; i++) {
        uint64_t number = thread * (uint64_t)crew.operations + i;
        if (put_number(cache, number, row_9_size(number)) != 0)
            FAIL("a put failed: %s", vmemcache_errormsg());
    }
}

/* d: gets and puts of the same keys by all. */
static void gets_and_puts(VMEMcache *cache, unsigned thread)
{
    if (crew.threads == 1 || thread % 2 == 0)
        for (uint64_t i = 0; i < crew.operations; i++)
            row_9_get(cache, i);
    if (crew.threads == 1 || thread % 2 != 0)
        for (uint64_t i = 0; i < crew.operations; i++)
            if (put_number(cache, i, row_9_size(i)) != 0 && errno != EEXIST)
                FAIL("a put failed: %s", vmemcache_errormsg());
}

/* e, f: all but one read ten entries; one evicts until there is nothing, and at least once. */
static unsigned long long evicted_by_row_9;

/* By a lock, since tools that look for data races understand that. */
static pthread_mutex_t end_lock = PTHREAD_MUTEX_INITIALIZER;
static int evictor_ended;

static int has_ended(void)
{
    pthread_mutex_lock(&end_lock);
    int ended = evictor_ended;
    pthread_mutex_unlock(&end_lock);
    return ended;
}

static void set_ended(int ended)
{
    pthread_mutex_lock(&end_lock);
    evictor_ended = ended;
    pthread_mutex_unlock(&end_lock);
}

static void reads_ten(VMEMcache *cache)
{
    while (!has_ended())
        for (uint64_t i = 0; i < 10; i++)
            row_9_get(cache, i);
}

static void reads_or_evicts_the_oldest(VMEMcache *cache, unsigned thread)
{
    if (thread != 0) {
        reads_ten(cache);
        return;
    }
    for (unsigned i = 0; i < crew.operations; i++) {
        if (vmemcache_evict(cache, NULL, 0) == 0)
            evicted_by_row_9++;
        else if (errno != ESRCH && errno != EAGAIN)
            FAIL("evict: %s", vmemcache_errormsg());
    }
    set_ended(1);
}

static void reads_or_evicts_by_key(VMEMcache *cache, unsigned thread)
{
    if (thread != 0) {
        reads_ten(cache);
        return;
    }
    for (unsigned i = 0; i < crew.operations; i++) {
        uint64_t number = i % 10;
        if (vmemcache_evict(cache, &number, sizeof number) == 0)
            evicted_by_row_9++;
        else if (errno != ENOENT && errno != EAGAIN)
            FAIL("evict: %s", vmemcache_errormsg());
    }
    set_ended(1);
}

static void puts_ten(VMEMcache *cache)
{
    set_ended(0);
    evicted_by_row_9 = 0;
    for (uint64_t i = 0; i < 10; i++)
        CHECK_OK(put_number(cache, i, row_9_size(i)));
}

static void row_9(unsigned threads)
{
    struct evictions evicted = {0};
    crew.operations = 10000 / threads;
    unsigned long long all = (unsigned long long)crew.operations * threads;
    VMEMcache *cache = make_cache();

    /* a */
    vmemcache_callback_on_miss(cache, row_9_puts_on_miss, NULL);
    together(cache, threads, gets_own_keys);
    CHECK_STAT(cache, PUT, all);
    CHECK_STAT(cache, GET, all);
    CHECK_STAT(cache, MISS, all);
    CHECK_STAT(cache, HIT, 0);
    vmemcache_callback_on_miss(cache, NULL, NULL);
    empties(cache);

    /* b */
    crew.operations = 10000;
    together(cache, threads, puts_own_keys);
    empties(cache);

    /* c */
    vmemcache_callback_on_evict(cache, note_eviction, &evicted);
    uint64_t number = 0;
    for (; evicted.count == 0; number++)
        CHECK_OK(put_number(cache, number, row_9_size(number)));
    CHECK_EQ(evicted.count, 1);
    CHECK_EQ(has_number(cache, 0), 0);
    for (uint64_t i = 1; i < number; i++)
        CHECK_EQ(has_number(cache, i), 1);
    vmemcache_callback_on_evict(cache, NULL, NULL);
    empties(cache);

    /* d */
    vmemcache_callback_on_miss(cache, row_9_puts_on_miss, NULL);
    together(cache, threads, gets_and_puts);
    empties(cache);

    /* e, f */
    if (threads > 1) {
        puts_ten(cache);
        together(cache, threads, reads_or_evicts_the_oldest);
        CHECK_GE(evicted_by_row_9, 1);
        empties(cache);
        puts_ten(cache);
        together(cache, threads, reads_or_evicts_by_key);
        CHECK_GE(evicted_by_row_9, 1);
        empties(cache);
    }
    vmemcache_delete(cache);
}

CASE(row_9_ten_threads)
{
    row_9(10);
}

CASE(row_9_one_thread)
{
    row_9(1);
}

CASE(row_9_two_threads)
{
    row_9(2);
}

/* ---- row 14: a mix as of a program that keeps results ---- */

static void keeps_results(VMEMcache *cache, unsigned thread)
{
    static __thread char value[20000];
    uint64_t state = 1000 + thread;
    for (unsigned i = 0; i < crew.operations; i++) {
        /* Some keys are much more frequent than others. */
        uint64_t number = next_random(&state) % 1000;
        number = number * number / 1000 * number / 1000;
        size_t wanted = 100 + number * 13, size = 0;
        ssize_t got = vmemcache_get(cache, &number, sizeof number, value, sizeof value, 0, &size);
        if (got < 0) {
            CHECK_EQ(errno, ENOENT);
            if (put_number(cache, number, wanted) != 0 && errno != EEXIST)
                FAIL("a put failed: %s", vmemcache_errormsg());
        } else {
            CHECK_EQ(got, wanted);
            CHECK_EQ(size, wanted);
            CHECK_STAMP(value, wanted, number);
        }
    }
}

CASE(row_14_simulation)
{
    VMEMcache *cache = make_cache();
    crew.operations = 100;
    together(cache, 4, keeps_results);
    crew.operations = 20000;
    together(cache, 4, keeps_results);
    CHECK_STAT(cache, GET, 4 * 20100);
    CHECK_STAT(cache, MISS, 4 * 20100 - STAT(cache, HIT));
    CHECK_STAT(cache, ENTRIES, STAT(cache, PUT) - STAT(cache, EVICT));
    empties(cache);
}

/* ---- what threads may rely on ---- */

/* A value says which put it is of: a get never sees a mix of two. */
#define VERSIONED_KEYS 16
#define VERSIONED_SIZE(version) (64 + (version) * 37 % 3000)

static unsigned long long versions, torn, seen;

static void writes_versions(VMEMcache *cache, unsigned thread)
{
    static __thread uint64_t value[400];
    uint64_t state = 77 + thread;
    for (unsigned i = 0; i < crew.operations; i++) {
        uint64_t key = next_random(&state) % VERSIONED_KEYS;
        size_t size = 0;
        switch (next_random(&state) % 4) {
        case 0: {
            uint64_t version = __atomic_add_fetch(&versions, 1, __ATOMIC_RELAXED);
            size_t words = VERSIONED_SIZE(version) / 8;
            for (size_t w = 0; w < words; w++)
                value[w] = version * VERSIONED_KEYS + key;
            if (vmemcache_put(cache, &key, sizeof key, value, words * 8) != 0)
                CHECK_EQ(errno, EEXIST);
            break;
        }
        case 1:
            if (vmemcache_evict(cache, &key, sizeof key) != 0 && errno != EAGAIN)
                CHECK_EQ(errno, ENOENT);
            break;
        default: {
            ssize_t got =
                vmemcache_get(cache, &key, sizeof key, value, sizeof value, 0, &size);
            if (got < 0) {
                CHECK_EQ(errno, ENOENT);
                break;
            }
            uint64_t version = value[0] / VERSIONED_KEYS;
            CHECK_EQ(value[0] % VERSIONED_KEYS, key);
            CHECK_EQ(got, VERSIONED_SIZE(version) / 8 * 8);
            CHECK_EQ(size, got);
            for (size_t w = 0; w < (size_t)got / 8; w++)
                if (value[w] != value[0])
                    FAIL("word %zu of a value of %zd bytes is of put %llu, the first of %llu", w,
                         got, (unsigned long long)(value[w] / VERSIONED_KEYS),
                         (unsigned long long)version);
            __atomic_add_fetch(&seen, 1, __ATOMIC_RELAXED);
        }
        }
    }
}

CASE(a_get_never_sees_a_mix_of_two_values)
{
    VMEMcache *cache = make_cache();
    crew.operations = 100000;
    together(cache, 4, writes_versions);
    CHECK_EQ(torn, 0);
    CHECK_GE(seen, 10000);
    empties(cache);
}

/* Reused space: a small pool, so that what was evicted is overwritten at once. */
static void churns_stamped_values(VMEMcache *cache, unsigned thread)
{
    static __thread char value[40000];
    uint64_t state = 555 + thread;
    for (unsigned i = 0; i < crew.operations; i++) {
        uint64_t number = next_random(&state) % 300;
        size_t wanted = 1 + number * 97, size = 0;
        ssize_t got = vmemcache_get(cache, &number, sizeof number, value, sizeof value, 0, &size);
        if (got >= 0) {
            CHECK_EQ(got, wanted);
            CHECK_STAMP(value, wanted, number);
            size_t offset = next_random(&state) % wanted;
            got = vmemcache_get(cache, &number, sizeof number, value, 100, offset, NULL);
            if (got >= 0) {
                char whole[40000];
                stamp(whole, wanted, number);
                CHECK(memcmp(value, whole + offset, (size_t)got) == 0);
            }
        } else if (put_number(cache, number, wanted) != 0 && errno != EEXIST) {
            FAIL("a put failed: %s", vmemcache_errormsg());
        }
    }
}

CASE(readers_keep_what_is_evicted_under_them)
{
    VMEMcache *cache = make_cache();
    crew.operations = 20000;
    together(cache, 4, churns_stamped_values);
    empties(cache);
}

/* Of those who put one key at once, one succeeds. */
static unsigned long long winners, losers;

static void puts_the_same_keys(VMEMcache *cache, unsigned thread)
{
    (void)thread;
    for (uint64_t number = 0; number < crew.operations; number++) {
        if (put_number(cache, number, 40) == 0)
            __atomic_add_fetch(&winners, 1, __ATOMIC_RELAXED);
        else if (errno == EEXIST)
            __atomic_add_fetch(&losers, 1, __ATOMIC_RELAXED);
        else
            FAIL("a put failed: %s", vmemcache_errormsg());
        check_number(cache, number, 40);
    }
}

CASE(one_of_several_puts_of_a_key_succeeds)
{
    VMEMcache *cache = make_cache_of(64 * MIB, 256, VMEMCACHE_REPLACEMENT_LRU);
    crew.operations = 20000;
    together(cache, 4, puts_the_same_keys);
    CHECK_EQ(winners, 20000);
    CHECK_EQ(losers, 60000);
    CHECK_STAT(cache, PUT, 20000);
    CHECK_STAT(cache, ENTRIES, 20000);
    CHECK_STAT(cache, EVICT, 0);
}

/* Each entry leaves once: calls of on_evict, successes and the statistic agree. */
static unsigned long long calls, successes;

static void counts_calls(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    uint64_t number;
    (void)arg;
    CHECK_EQ(key_size, sizeof number);
    memcpy(&number, key, sizeof number);
    __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
    /* Still there, and whole. */
    check_number(cache, number, 40 + number % 100);
}

static void evicts_in_every_way(VMEMcache *cache, unsigned thread)
{
    uint64_t state = 99 + thread;
    for (unsigned i = 0; i < crew.operations; i++) {
        uint64_t number = next_random(&state) % 500;
        if (next_random(&state) % 2 == 0) {
            if (put_number(cache, number, 40 + number % 100) == 0)
                __atomic_add_fetch(&successes, 1, __ATOMIC_RELAXED);
            else
                CHECK_EQ(errno, EEXIST);
        } else if (next_random(&state) % 4 == 0) {
            if (vmemcache_evict(cache, NULL, 0) != 0 && errno != EAGAIN)
                CHECK_EQ(errno, ESRCH);
        } else if (vmemcache_evict(cache, &number, sizeof number) != 0 && errno != EAGAIN) {
            CHECK_EQ(errno, ENOENT);
        }
    }
}

CASE(every_entry_leaves_once)
{
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_evict(cache, counts_calls, NULL);
    crew.operations = 50000;
    together(cache, 4, evicts_in_every_way);
    CHECK_STAT(cache, PUT, successes);
    CHECK_STAT(cache, EVICT, calls);
    CHECK_STAT(cache, ENTRIES, successes - calls);
    evict_all(cache);
    CHECK_EQ(calls, successes);
    CHECK_EMPTY(cache);
}

/* Callbacks that use the cache, in all threads at once. */
static __thread int nested;

static void puts_inside(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    uint64_t number;
    (void)arg;
    memcpy(&number, key, key_size);
    check_number(cache, number, 500 + number % 1500);
    if (nested++ < 20) {
        uint64_t other = (number * 31 + 7) % 2000;
        if (put_number(cache, other, 500 + other % 1500) != 0 && errno != EEXIST)
            CHECK_EQ(errno, ENOSPC);
    }
}

static void fills_inside(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    uint64_t number;
    (void)arg;
    memcpy(&number, key, key_size);
    if (put_number(cache, number, 500 + number % 1500) != 0)
        CHECK_EQ(errno, EEXIST);
}

static void gets_with_callbacks(VMEMcache *cache, unsigned thread)
{
    uint64_t state = 31 + thread;
    for (unsigned i = 0; i < crew.operations; i++) {
        uint64_t number = next_random(&state) % 2000;
        nested = 0;
        check_number(cache, number, 500 + number % 1500);
    }
}

CASE(callbacks_use_the_cache_in_all_threads)
{
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_evict(cache, puts_inside, NULL);
    vmemcache_callback_on_miss(cache, fills_inside, NULL);
    crew.operations = 10000;
    together(cache, 4, gets_with_callbacks);
    vmemcache_callback_on_evict(cache, NULL, NULL);
    empties(cache);
}

/* A put must not fail because other threads hold all victims for a moment: here there are two. */
static void puts_into_almost_no_room(VMEMcache *cache, unsigned thread)
{
    static __thread char value[400 * 1024];
    for (uint64_t i = 0; i < crew.operations; i++) {
        uint64_t number = i * 100 + thread;
        if (vmemcache_put(cache, &number, sizeof number, value, sizeof value) != 0)
            FAIL("put %llu of thread %u failed: %s", (unsigned long long)i, thread,
                 vmemcache_errormsg());
    }
}

CASE(puts_do_not_fail_because_others_hold_the_victims)
{
    VMEMcache *cache = make_cache();
    crew.operations = 300;
    together(cache, 4, puts_into_almost_no_room);
    empties(cache);
}

/* The same, with small values that all threads write and read as fast as they can. */
static void puts_and_reads_back(VMEMcache *cache, unsigned thread)
{
    for (uint64_t i = 0; i < crew.operations; i++) {
        uint64_t number = i * MOST_THREADS + thread;
        if (put_number(cache, number, 1024) != 0)
            FAIL("a put failed: %s", vmemcache_errormsg());
        unsigned char value[1024];
        ssize_t got = vmemcache_get(cache, &number, sizeof number, value, sizeof value, 0, NULL);
        if (got >= 0)
            CHECK_STAMP(value, 1024, number);
        else
            CHECK_EQ(errno, ENOENT); /* the others were that fast */
    }
}

CASE(parallel_puts_with_eviction_succeed)
{
    VMEMcache *cache = make_cache();
    crew.operations = 20000;
    together(cache, 8, puts_and_reads_back);
    CHECK_STAT(cache, PUT, 160000);
    CHECK_STAT(cache, ENTRIES, 160000 - STAT(cache, EVICT));
    empties(cache);
}

/* Statistics may be asked at any time. */
static volatile int asked_enough;

static void *asks(void *cache)
{
    while (!__atomic_load_n(&asked_enough, __ATOMIC_ACQUIRE)) {
        CHECK_GE(200000, STAT(cache, ENTRIES));
        CHECK_GE(MIB, STAT(cache, POOL_SIZE_USED));
        STAT(cache, DRAM_SIZE_USED);
        STAT(cache, HEAP_ENTRIES);
        CHECK_GE(1000000, STAT(cache, GET));
    }
    return NULL;
}

CASE(statistics_are_asked_meanwhile)
{
    pthread_t asking;
    VMEMcache *cache = make_cache();
    START(asking, asks, cache);
    crew.operations = 20000;
    together(cache, 3, keeps_results);
    __atomic_store_n(&asked_enough, 1, __ATOMIC_RELEASE);
    JOIN(asking);
    CHECK_STAT(cache, GET, 60000);
}

/* Threads come and go, caches too. */
static void *one_short_life(void *cache)
{
    static __thread char value[2000];
    uint64_t number = (uint64_t)(uintptr_t)pthread_self();
    int result = put_number(cache, number, 1000);
    CHECK(result == 0 || errno == EEXIST);
    CHECK_EQ(vmemcache_get(cache, &number, sizeof number, value, sizeof value, 0, NULL), 1000);
    return NULL;
}

CASE(threads_come_and_go)
{
    VMEMcache *cache = make_cache();
    for (int i = 0; i < 3000; i++) {
        pthread_t thread;
        START(thread, one_short_life, cache);
        JOIN(thread);
    }
    empties(cache);
    for (int i = 0; i < 200; i++) {
        VMEMcache *another = make_cache();
        pthread_t thread;
        START(thread, one_short_life, another);
        JOIN(thread);
        CHECK_STAT(another, PUT, 1);
        vmemcache_delete(another);
    }
}

/* For those who look for data races: they find this one, which is the program's own. */
static volatile int unguarded;

static void races(VMEMcache *cache, unsigned thread)
{
    CHECK_OK(put_number(cache, thread, 10));
    for (int i = 0; i < 1000; i++)
        unguarded = unguarded + 1;
}

CASE(a_race_of_the_program)
{
    VMEMcache *cache = make_cache();
    together(cache, 2, races);
    CHECK_STAT(cache, PUT, 2);
}
