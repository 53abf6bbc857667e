/* What the reference does badly and this library must not do: each case fails on the behaviour that the contract's list of
 * defects describes. One entry of the list is kept on purpose, and a case says so. */
#include "vmemcache.h"

/* errno was left as it had been. */
CASE(without_a_policy_failures_set_errno)
{
    VMEMcache *cache = make_cache_without_policy();
    CHECK_REFUSED(vmemcache_evict(cache, NULL, 0), ESRCH);
    CHECK_REFUSED(vmemcache_evict(cache, NULL, 8), ESRCH);
    uint64_t number = 0;
    while (put_number(cache, number, 30000) == 0)
        number++;
    CHECK_REFUSED(put_number(cache, number, 30000), ENOSPC);
    CHECK_REFUSED(vmemcache_evict(cache, NULL, 0), ESRCH);
}

/* It crashed. */
CASE(unknown_policies_are_refused)
{
    static const int unknown[] = {2, 3, 1000, -1, 0x7fffffff};
    VMEMcache *cache = make_handle();
    for (size_t i = 0; i < ARRAY_LENGTH(unknown); i++)
        CHECK_REFUSED(vmemcache_set_eviction_policy(cache, (enum vmemcache_repl_p)unknown[i]),
                      EINVAL);
    CHECK_OK(vmemcache_add(cache, directory()));
    CHECK_OK(put_number(cache, 1, 10));
    CHECK_OK(vmemcache_evict(cache, NULL, 0)); /* LRU, as nothing was set */
}

CASE(use_before_the_pool_is_refused)
{
    char byte = 'x';
    size_t size = 4711;
    unsigned long long value = 4711;
    VMEMcache *cache = make_handle();
    for (int round = 0; round < 2; round++) {
        CHECK_REFUSED(vmemcache_put(cache, KEY(1), "x", 1), EINVAL);
        CHECK_REFUSED(vmemcache_put(cache, KEY(1), NULL, 0), EINVAL);
        CHECK_REFUSED(vmemcache_get(cache, KEY(1), &byte, 1, 0, &size), EINVAL);
        CHECK_REFUSED(vmemcache_exists(cache, KEY(1), &size), EINVAL);
        CHECK_REFUSED(vmemcache_evict(cache, KEY(1)), EINVAL);
        CHECK_REFUSED(vmemcache_evict(cache, NULL, 0), EINVAL);
        CHECK_REFUSED(vmemcache_get_stat(cache, VMEMCACHE_STAT_PUT, &value, sizeof value), EINVAL);
        vmemcache_bench_set(cache, VMEMCACHE_BENCH_PREFAULT, 1);
        CHECK(vmemcache_errormsg()[0] != 0);
        CHECK_REFUSED(vmemcache_add(cache, "/nowhere"), ENOENT); /* and after that */
    }
    CHECK_EQ(size, 4711);
    CHECK_EQ(value, 4711);
    CHECK_EQ(byte, 'x');
    CHECK_OK(vmemcache_add(cache, directory()));
    CHECK_OK(put_number(cache, 1, 10));
    check_number(cache, 1, 10);
}

CASE(no_handle_is_no_crash)
{
    char byte;
    unsigned long long value;
    vmemcache_delete(NULL);
    CHECK_REFUSED(vmemcache_set_size(NULL, MIB), EINVAL);
    CHECK_REFUSED(vmemcache_set_extent_size(NULL, 256), EINVAL);
    CHECK_REFUSED(vmemcache_set_eviction_policy(NULL, VMEMCACHE_REPLACEMENT_LRU), EINVAL);
    CHECK_REFUSED(vmemcache_add(NULL, directory()), EINVAL);
    CHECK_REFUSED(vmemcache_put(NULL, KEY(1), "x", 1), EINVAL);
    CHECK_REFUSED(vmemcache_get(NULL, KEY(1), &byte, 1, 0, NULL), EINVAL);
    CHECK_REFUSED(vmemcache_exists(NULL, KEY(1), NULL), EINVAL);
    CHECK_REFUSED(vmemcache_evict(NULL, KEY(1)), EINVAL);
    CHECK_REFUSED(vmemcache_get_stat(NULL, VMEMCACHE_STAT_PUT, &value, sizeof value), EINVAL);
    vmemcache_callback_on_evict(NULL, NULL, NULL);
    vmemcache_callback_on_miss(NULL, NULL, NULL);
    vmemcache_bench_set(NULL, VMEMCACHE_BENCH_PREFAULT, 1);
}

/* A get that misses inside of on_miss took the place of the one outside, which then claimed to have read something. */
static void gets_another(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    uint64_t number;
    unsigned char value[100];
    (void)arg;
    CHECK_EQ(key_size, 8);
    memcpy(&number, key, 8);
    if (number < 10) /* and the inner one finds nothing either */
        CHECK_REFUSED(vmemcache_get(cache, KEY(number + 10), value, sizeof value, 0, NULL), ENOENT);
}

static void satisfies_the_inner(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    uint64_t number;
    (void)arg;
    CHECK_EQ(key_size, 8);
    memcpy(&number, key, 8);
    if (number == 1)
        check_number(cache, 2, 100);
    else
        CHECK_OK(put_number(cache, number, 100));
}

static void satisfies_the_outer_after_the_inner(VMEMcache *cache, const void *key, size_t key_size,
                                                void *arg)
{
    uint64_t number;
    (void)arg;
    CHECK_EQ(key_size, 8);
    memcpy(&number, key, 8);
    if (number < 50)
        check_number(cache, number + 1, 100);
    CHECK_OK(put_number(cache, number, 100));
}

CASE(a_miss_inside_of_a_miss_leaves_the_outer_one)
{
    char buffer[100];
    memset(buffer, 0xee, sizeof buffer);
    VMEMcache *cache = make_cache();
    size_t size = 4711;
    vmemcache_callback_on_miss(cache, gets_another, NULL);
    CHECK_REFUSED(vmemcache_get(cache, KEY(2), buffer, sizeof buffer, 0, &size), ENOENT);
    CHECK_EQ(size, 4711);
    /* The inner one is satisfied, the outer one not. */
    vmemcache_callback_on_miss(cache, satisfies_the_inner, NULL);
    CHECK_REFUSED(vmemcache_get(cache, KEY(1), buffer, sizeof buffer, 0, &size), ENOENT);
    CHECK_EQ(size, 4711);
    for (size_t i = 0; i < sizeof buffer; i++)
        CHECK_EQ((unsigned char)buffer[i], 0xee);
    /* Both, fifty deep. */
    evict_all(cache);
    vmemcache_callback_on_miss(cache, satisfies_the_outer_after_the_inner, NULL);
    check_number(cache, 1, 100);
    for (uint64_t i = 2; i <= 50; i++)
        CHECK_EQ(has_number(cache, i), 1);
}

/* Kept: programs with two caches may rely on it. */
static VMEMcache *other;

static void puts_into_the_other(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    (void)cache, (void)arg;
    CHECK_OK(vmemcache_put(other, key, key_size, "from the other", 15));
}

CASE(a_put_into_another_cache_satisfies_the_get)
{
    char buffer[20] = "";
    size_t size = 0;
    VMEMcache *cache = make_cache();
    other = make_cache();
    vmemcache_callback_on_miss(cache, puts_into_the_other, NULL);
    CHECK_EQ(vmemcache_get(cache, "key", 3, buffer, sizeof buffer, 0, &size), 15);
    CHECK_EQ(size, 15);
    CHECK(strcmp(buffer, "from the other") == 0);
    CHECK_STAT(cache, ENTRIES, 0);
    CHECK_STAT(cache, MISS, 1);
    CHECK_STAT(other, ENTRIES, 1);
}

/* It told a length for bytes that went nowhere. */
static void puts_something(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    (void)arg;
    CHECK_OK(vmemcache_put(cache, key, key_size, "something", 10));
}

CASE(a_satisfied_get_without_a_buffer_has_read_nothing)
{
    size_t size = 0;
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_miss(cache, puts_something, NULL);
    CHECK_EQ(vmemcache_get(cache, KEY(1), NULL, 100, 0, &size), 0);
    CHECK_EQ(size, 10);
    CHECK_EQ(vmemcache_get(cache, KEY(2), NULL, 5, 3, &size), 0);
    CHECK_EQ(vmemcache_get(cache, KEY(3), NULL, SIZE_MAX, SIZE_MAX, NULL), 0);
}

/* It aborted the program. */
CASE(any_value_of_the_sharding_variable_is_taken)
{
    static const char *const values[] = {"1",  "0",   "y",  "n", "yes",  "no",  "YES", "No", "",
                                         "17", "on", "maybe", "-1", "yes!", " 1 ", "\xff\xfe"};
    for (size_t i = 0; i < ARRAY_LENGTH(values); i++) {
        CHECK_EQ(setenv("VMEMCACHE_SHARDING", values[i], 1), 0);
        VMEMcache *cache = make_cache();
        for (uint64_t number = 0; number < 2000; number++)
            CHECK_OK(put_number(cache, number, 1000));
        check_number(cache, 1999, 1000);
        vmemcache_delete(cache);
    }
}

/* An entry that one thread evicted by key while another had picked it as the oldest lost its place and stayed for ever; and
 * one whose eviction failed was given up before its mark was taken away. */
static VMEMcache *contended;
static volatile int finished;

static void takes_its_time(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    (void)cache, (void)key, (void)key_size, (void)arg;
    for (int i = 0; i < 3; i++)
        sched_yield();
}

static void *evicts_the_oldest(void *unused)
{
    (void)unused;
    while (!__atomic_load_n(&finished, __ATOMIC_ACQUIRE))
        if (vmemcache_evict(contended, NULL, 0) != 0 && errno != EAGAIN)
            CHECK_EQ(errno, ESRCH);
    return NULL;
}

static void *evicts_by_key(void *unused)
{
    (void)unused;
    for (uint64_t i = 0; !__atomic_load_n(&finished, __ATOMIC_ACQUIRE); i++)
        if (vmemcache_evict(contended, KEY(i % 5)) != 0 && errno != EAGAIN)
            CHECK_EQ(errno, ENOENT);
    return NULL;
}

static void *reads_all(void *unused)
{
    (void)unused;
    for (uint64_t i = 0; !__atomic_load_n(&finished, __ATOMIC_ACQUIRE); i++)
        vmemcache_get(contended, KEY(i % 5), NULL, 0, 0, NULL);
    return NULL;
}

CASE(entries_that_two_evict_at_once_are_evicted)
{
    static void *(*const bodies[])(void *) = {evicts_the_oldest, evicts_by_key, evicts_by_key,
                                              reads_all};
    pthread_t threads[ARRAY_LENGTH(bodies)];
    contended = make_cache();
    vmemcache_callback_on_evict(contended, takes_its_time, NULL);
    for (size_t i = 0; i < ARRAY_LENGTH(bodies); i++)
        START(threads[i], bodies[i], NULL);
    for (uint64_t i = 0; i < 60000; i++)
        if (put_number(contended, i % 5, 100) != 0)
            CHECK_EQ(errno, EEXIST);
    __atomic_store_n(&finished, 1, __ATOMIC_RELEASE);
    for (size_t i = 0; i < ARRAY_LENGTH(bodies); i++)
        JOIN(threads[i]);
    unsigned long long left = STAT(contended, ENTRIES);
    CHECK_EQ(evict_all(contended), left);
    CHECK_EMPTY(contended);
    for (uint64_t i = 0; i < 5; i++) {
        CHECK_OK(put_number(contended, i, 100));
        CHECK_OK(vmemcache_evict(contended, KEY(i)));
    }
    CHECK_EMPTY(contended);
}

/* The same without chance: the entry is the oldest and leaves by its key when someone asks for the oldest. */
static void asks_for_the_oldest(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    int *calls = arg;
    (void)key, (void)key_size;
    if (++*calls == 1)
        CHECK_OK(vmemcache_evict(cache, NULL, 0));
}

CASE(an_entry_that_leaves_is_not_picked_again)
{
    int called = 0;
    VMEMcache *cache = make_cache();
    for (uint64_t i = 0; i < 3; i++)
        CHECK_OK(put_number(cache, i, 100));
    vmemcache_callback_on_evict(cache, asks_for_the_oldest, &called);
    CHECK_OK(vmemcache_evict(cache, KEY(0)));
    CHECK_EQ(called, 2);
    CHECK(!has_number(cache, 0) && !has_number(cache, 1) && has_number(cache, 2));
}

/* It copied the value, and evicted others for it, before it saw that the key was there. */
CASE(a_key_that_is_there_costs_nobody_its_place)
{
    struct evictions evicted = {0};
    VMEMcache *cache = make_cache();
    uint64_t number = 0;
    while (STAT(cache, EVICT) == 0)
        CHECK_OK(put_number(cache, number++, 10000));
    vmemcache_callback_on_evict(cache, note_eviction, &evicted);
    unsigned long long entries = STAT(cache, ENTRIES), used = STAT(cache, POOL_SIZE_USED);
    for (uint64_t i = 1; i < number; i++) {
        CHECK_REFUSED(put_number(cache, i, 10000), EEXIST);
        CHECK_REFUSED(put_number(cache, i, 500000), EEXIST);
    }
    CHECK_EQ(evicted.count, 0);
    CHECK_STAT(cache, ENTRIES, entries);
    CHECK_STAT(cache, POOL_SIZE_USED, used);
    check_number(cache, 1, 10000);
}

/* Its deleted pools of files left nothing; those of devices did. Here, for files: many caches, one after the other. */
CASE(deleted_caches_leave_nothing_mapped)
{
    char line[8192];
    for (int i = 0; i < 50; i++) {
        VMEMcache *cache = make_cache_of(16 * MIB, 256, VMEMCACHE_REPLACEMENT_LRU);
        CHECK_OK(put_number(cache, 1, 100));
        vmemcache_delete(cache);
    }
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    size_t largest = 0;
    while (fgets(line, sizeof line, maps) != NULL) {
        unsigned long first, last;
        if (strstr(line, directory()) != NULL)
            FAIL("%s", line);
        if (sscanf(line, "%lx-%lx", &first, &last) == 2 && strchr(line, '/') == NULL
            && last - first > largest)
            largest = last - first;
    }
    fclose(maps);
    CHECK_GE(16 * MIB - 1, largest);
}
