/* Threads: starvation, short lives, exchange of blocks, the end of a thread. Pool sizes are set per case
 * by the test that runs them. */
#include "load.h"

/* ---- many threads ---- */

static void *allocate_a_little(void *unused)
{
    static const size_t sizes[] = {100, 16, 3000, 64, 500};
    char *block[ARRAY_LENGTH(sizes)];
    (void)unused;
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        block[i] = malloc(sizes[i]);
        if (block[i] == NULL)
            FAIL("no block of %zu bytes", sizes[i]);
        memset(block[i], (int)i, sizes[i]);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        CHECK_EQ(block[i][sizes[i] - 1], (char)i);
        free(block[i]);
    }
    return NULL;
}

static void run_short_threads(int threads, int at_once)
{
    pthread_t thread[64];
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 * KIB);
    for (int done = 0; done < threads; done += at_once) {
        for (int i = 0; i < at_once; i++)
            CHECK_EQ(pthread_create(&thread[i], &small, allocate_a_little, NULL), 0);
        for (int i = 0; i < at_once; i++)
            JOIN(thread[i]);
    }
}

CASE(short_threads_10000)
{
    run_short_threads(10000, 50);
}

CASE(short_threads_100000)
{
    run_short_threads(100000, 4);
}

static void *leave_a_block(void *unused)
{
    (void)unused;
    free(malloc(1000));
    return malloc(100);
}

CASE(blocks_survive_their_threads)
{
    enum { COUNT = 5000 };
    static void *block[COUNT];
    for (int i = 0; i < COUNT; i++) {
        pthread_t thread;
        START(thread, leave_a_block, NULL);
        CHECK_EQ(pthread_join(thread, &block[i]), 0);
        CHECK(block[i] != NULL);
        stamp(block[i], 100, (uint64_t)i);
    }
    for (int i = 0; i < COUNT; i++) {
        CHECK_STAMP(block[i], 100, (uint64_t)i);
        free(block[i]);
    }
}

static pthread_barrier_t all_here;

static void *allocate_and_meet(void *unused)
{
    void *block = OK(malloc(100));
    pthread_barrier_wait(&all_here);
    allocate_a_little(unused);
    free(block);
    return NULL;
}

CASE(a_thousand_threads_at_once)
{
    enum { COUNT = 1000 };
    static pthread_t thread[COUNT];
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 32 * KIB);
    pthread_barrier_init(&all_here, NULL, COUNT);
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(pthread_create(&thread[i], &small, allocate_and_meet, NULL), 0);
    for (int i = 0; i < COUNT; i++)
        JOIN(thread[i]);
}

/* ---- starvation ---- */

struct hunger {
    pthread_barrier_t start;
    volatile int failed; /* set by the first failure of any thread */
    uint64_t blocks;
    size_t size;
};

static void *allocate_until_any_fails(void *argument)
{
    struct hunger *hunger = argument;
    uint64_t blocks = 0;
    pthread_barrier_wait(&hunger->start);
    while (!hunger->failed) {
        char *p = malloc(hunger->size);
        if (p == NULL) {
            CHECK_EQ(errno, ENOMEM);
            hunger->failed = 1;
            break;
        }
        memset(p, 1, hunger->size);
        blocks++;
    }
    __atomic_fetch_add(&hunger->blocks, blocks, __ATOMIC_RELAXED);
    return NULL;
}

static void check_hunger(int threads, size_t size)
{
    static struct hunger hunger;
    pthread_t thread[64];
    hunger.size = size;
    pthread_barrier_init(&hunger.start, NULL, (unsigned)threads);
    for (int i = 0; i < threads; i++)
        START(thread[i], allocate_until_any_fails, &hunger);
    for (int i = 0; i < threads; i++)
        JOIN(thread[i]);
    CHECK_GE(hunger.blocks * size * 100 / pool_bytes(), 90);
}

CASE(fill_1_thread_64_bytes) { check_hunger(1, 64); }
CASE(fill_2_threads_64_bytes) { check_hunger(2, 64); }
CASE(fill_8_threads_64_bytes) { check_hunger(8, 64); }
CASE(fill_64_threads_64_bytes) { check_hunger(64, 64); }
CASE(fill_64_threads_16_bytes) { check_hunger(64, 16); }
CASE(fill_8_threads_1024_bytes) { check_hunger(8, 1024); }
CASE(fill_64_threads_4096_bytes) { check_hunger(64, 4096); }

/* ---- exchange ---- */

enum { RING = 1024, MESSAGES = 400000 };

struct ring {
    void *slot[RING];
    uint64_t put, taken;
    pthread_mutex_t lock;
    pthread_cond_t not_empty, not_full;
};

static struct ring ring = {.lock = PTHREAD_MUTEX_INITIALIZER,
                           .not_empty = PTHREAD_COND_INITIALIZER,
                           .not_full = PTHREAD_COND_INITIALIZER};

static void *produce(void *seed)
{
    uint64_t random = (uintptr_t)seed;
    for (int i = 0; i < MESSAGES; i++) {
        size_t size = 16 + next_random(&random) % 500;
        size_t *p = malloc(size);
        if (p == NULL)
            FAIL("message %d: no block of %zu bytes", i, size);
        *p = size;
        ((char *)p)[size - 1] = 7;
        pthread_mutex_lock(&ring.lock);
        while (ring.put - ring.taken == RING)
            pthread_cond_wait(&ring.not_full, &ring.lock);
        ring.slot[ring.put++ % RING] = p;
        pthread_cond_signal(&ring.not_empty);
        pthread_mutex_unlock(&ring.lock);
    }
    return NULL;
}

static void *consume(void *unused)
{
    (void)unused;
    for (int i = 0; i < MESSAGES; i++) {
        pthread_mutex_lock(&ring.lock);
        while (ring.put == ring.taken)
            pthread_cond_wait(&ring.not_empty, &ring.lock);
        size_t *p = ring.slot[ring.taken++ % RING];
        pthread_cond_signal(&ring.not_full);
        pthread_mutex_unlock(&ring.lock);
        CHECK(*p >= 16 && *p < 516);
        CHECK_EQ(((char *)p)[*p - 1], 7);
        free(p);
    }
    return NULL;
}

CASE(producers_and_consumers)
{
    pthread_t thread[4];
    for (int i = 0; i < 2; i++) {
        START(thread[i], produce, (void *)(uintptr_t)(i + 1));
        START(thread[2 + i], consume, NULL);
    }
    for (int i = 0; i < 4; i++)
        JOIN(thread[i]);
}

static void *allocate_a_batch(void *unused)
{
    struct link *chain = NULL;
    (void)unused;
    CHECK_EQ(fill(&chain, 64, 2 * MIB), 2 * MIB / 64);
    return chain;
}

/* One thread allocates, the main thread frees: a hundred times 2 MiB through a pool of 14. */
CASE(blocks_of_other_threads_are_freed_here)
{
    for (int i = 0; i < 100; i++) {
        pthread_t thread;
        void *chain;
        START(thread, allocate_a_batch, NULL);
        CHECK_EQ(pthread_join(thread, &chain), 0);
        free_chain((struct link **)&chain);
    }
}

static void *free_a_batch(void *chain)
{
    free_chain((struct link **)&chain);
    return NULL;
}

CASE(blocks_of_this_thread_are_freed_elsewhere)
{
    for (int i = 0; i < 100; i++) {
        pthread_t thread;
        START(thread, free_a_batch, allocate_a_batch(NULL));
        JOIN(thread);
    }
}

CASE(random_load_of_8_threads)
{
    struct load load;
    load_start(&load, 8, MIB);
    sleep_ms(1500);
    load_stop(&load);
}

CASE(random_load_of_64_threads)
{
    struct load load;
    load_start(&load, 64, 4 * KIB);
    sleep_ms(1500);
    load_stop(&load);
}

/* ---- the end of a thread ---- */

enum { KEYS = 40 };

static pthread_key_t key[KEYS];
static int destructor_calls;

static void destroy(void *value)
{
    int *round = value;
    __atomic_fetch_add(&destructor_calls, 1, __ATOMIC_RELAXED);
    for (size_t size = 8; size <= 100000; size *= 3)
        free(OK(malloc(size)));
    int k = *round >> 8, rounds = *round & 255;
    free(round);
    if (rounds < 3) {
        round = OK(malloc(sizeof *round));
        *round = k << 8 | (rounds + 1);
        pthread_setspecific(key[k], round);
    }
}

static void *set_all_keys(void *unused)
{
    (void)unused;
    for (int k = 0; k < KEYS; k++) {
        int *round = OK(malloc(sizeof *round));
        *round = k << 8;
        pthread_setspecific(key[k], round);
    }
    return NULL;
}

CASE(key_destructors_allocate_and_free_in_every_round)
{
    for (int k = 0; k < KEYS; k++)
        CHECK_EQ(pthread_key_create(&key[k], destroy), 0);
    for (int i = 0; i < 500; i++) {
        pthread_t thread;
        START(thread, set_all_keys, NULL);
        JOIN(thread);
    }
    CHECK_EQ(destructor_calls, 500 * KEYS * 4);
}

static void *exit_with_blocks(void *unused)
{
    void *block[50];
    (void)unused;
    for (int i = 0; i < 50; i++)
        block[i] = OK(malloc((size_t)i * 100));
    for (int i = 0; i < 50; i++)
        free(block[i]);
    pthread_exit(NULL);
}

CASE(detached_threads_end_during_exit)
{
    for (int i = 0; i < 100; i++) {
        pthread_t thread;
        START(thread, exit_with_blocks, NULL);
        CHECK_EQ(pthread_detach(thread), 0);
    }
}

/* ---- cancellation ---- */

static void *allocate_until_cancelled(void *unused)
{
    uint64_t random = (uintptr_t)&random;
    (void)unused;
    for (;;) {
        void *p = malloc(next_random(&random) % 100000);
        CHECK(p != NULL);
        free(p);
        pthread_testcancel();
    }
    return NULL;
}

CASE(cancellation_storm)
{
    for (int i = 0; i < 500; i++) {
        pthread_t thread[4];
        void *result;
        for (int j = 0; j < 4; j++)
            START(thread[j], allocate_until_cancelled, NULL);
        for (int j = 0; j < 4; j++)
            CHECK_EQ(pthread_cancel(thread[j]), 0);
        for (int j = 0; j < 4; j++) {
            CHECK_EQ(pthread_join(thread[j], &result), 0);
            CHECK(result == PTHREAD_CANCELED);
        }
    }
    free(OK(malloc(100)));
}

static volatile int survived;

static void *allocate_heavily(void *unused)
{
    int state;
    (void)unused;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    pthread_cancel(pthread_self()); /* pending from here on */
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
    /* Slow paths of all kinds: new memory, large blocks, giving back. */
    for (int round = 0; round < 20; round++) {
        struct link *chain = NULL;
        fill(&chain, 3 * MIB, 9 * MIB);
        fill(&chain, 5000, 2 * MIB);
        free_chain(&chain);
        malloc_trim(0);
        free(malloc(opaque(SIZE_MAX / 2)));
    }
    survived = 1;
    pthread_testcancel();
    survived = 2;
    return NULL;
}

CASE(allocation_is_no_cancellation_point)
{
    pthread_t thread;
    void *result;
    START(thread, allocate_heavily, NULL);
    CHECK_EQ(pthread_join(thread, &result), 0);
    CHECK(result == PTHREAD_CANCELED);
    CHECK_EQ(survived, 1);
}
