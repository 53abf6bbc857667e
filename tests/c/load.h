/* Background load: threads that allocate, check and free until told to stop. */
#ifndef LOAD_H
#define LOAD_H

#include "case.h"

enum { LOAD_MOST_THREADS = 64, LOAD_SLOTS = 64 };

struct load {
    pthread_t thread[LOAD_MOST_THREADS];
    int threads;
    size_t most_bytes; /* of one block */
    volatile int stop;
    volatile uint64_t operations;
};

struct load_worker {
    struct load *load;
    uint64_t seed;
};

/* One random step on a slot: allocate if empty, else check and then reallocate or free. */
__attribute__((unused)) static void load_step(unsigned char **slot, size_t *size, uint64_t *random,
                                              size_t most)
{
    uint64_t r = next_random(random);
    uint64_t seed = (uintptr_t)slot ^ 0x55;
    if (*slot == NULL) {
        /* Sizes spread over the powers of two. */
        size_t limit = (size_t)8 << (r % 64 % (unsigned)(__builtin_ctzl(most) - 2));
        *size = (r >> 8) % limit;
        switch ((r >> 40) & 7) {
        case 0: *slot = calloc(1, *size); break;
        case 1: *slot = memalign((size_t)16 << ((r >> 44) % 8), *size); break;
        default: *slot = malloc(*size); break;
        }
        if (*slot == NULL)
            FAIL("no block of %zu bytes", *size);
        stamp(*slot, *size, seed);
        return;
    }
    CHECK_STAMP(*slot, *size, seed);
    if ((r & 3) == 0) {
        size_t larger = *size + (r >> 8) % (*size + 1);
        if (larger > most)
            larger = most;
        unsigned char *moved = realloc(*slot, larger + 1);
        if (moved == NULL)
            FAIL("no block of %zu bytes", larger + 1);
        *slot = moved;
        CHECK_STAMP(*slot, *size / 8 * 8, seed);
        *size = larger + 1;
        stamp(*slot, *size, seed);
    } else {
        free(*slot);
        *slot = NULL;
    }
}

static void *load_thread(void *argument)
{
    struct load_worker worker = *(struct load_worker *)argument;
    unsigned char *slot[LOAD_SLOTS] = {NULL};
    size_t size[LOAD_SLOTS] = {0};
    free(argument);
    while (!worker.load->stop) {
        int i = (int)(next_random(&worker.seed) % LOAD_SLOTS);
        load_step(&slot[i], &size[i], &worker.seed, worker.load->most_bytes);
        __atomic_fetch_add(&worker.load->operations, 1, __ATOMIC_RELAXED);
    }
    for (int i = 0; i < LOAD_SLOTS; i++)
        free(slot[i]);
    return NULL;
}

__attribute__((unused)) static void load_start(struct load *load, int threads, size_t most_bytes)
{
    memset(load, 0, sizeof *load);
    load->threads = threads;
    load->most_bytes = most_bytes;
    for (int i = 0; i < threads; i++) {
        struct load_worker *worker = malloc(sizeof *worker);
        CHECK(worker != NULL);
        worker->load = load;
        worker->seed = (uint64_t)i * 7919 + 1;
        START(load->thread[i], load_thread, worker);
    }
}

__attribute__((unused)) static void load_stop(struct load *load)
{
    /* On a busy machine they may not have begun. */
    while (load->threads > 0 && __atomic_load_n(&load->operations, __ATOMIC_RELAXED) == 0)
        sleep_ms(1);
    load->stop = 1;
    for (int i = 0; i < load->threads; i++)
        JOIN(load->thread[i]);
}

/* A set of live blocks of many sizes, all stamped with one seed. */
enum { SET_MOST = 4000 };

struct set {
    unsigned char *block[SET_MOST];
    size_t size[SET_MOST];
    int count;
};

__attribute__((unused)) static void set_stamp(struct set *set, uint64_t seed)
{
    for (int i = 0; i < set->count; i++)
        stamp(set->block[i], set->size[i], seed * 100000 + (uint64_t)i);
}

__attribute__((unused)) static void set_check(const struct set *set, uint64_t seed)
{
    for (int i = 0; i < set->count; i++)
        CHECK_STAMP(set->block[i], set->size[i], seed * 100000 + (uint64_t)i);
}

/* Allocates blocks of 8 B to 1 MiB, about `bytes` bytes together. */
__attribute__((unused)) static void set_fill(struct set *set, size_t bytes, uint64_t seed)
{
    uint64_t random = seed + 12345;
    size_t total = 0;
    for (set->count = 0; set->count < SET_MOST && total < bytes; set->count++) {
        uint64_t r = next_random(&random);
        size_t limit = (size_t)8 << (set->count % 18), size = 8 + (r >> 8) % limit;
        unsigned char *block = malloc(size);
        if (block == NULL)
            FAIL("no block of %zu bytes after %zu", size, total);
        set->block[set->count] = block;
        set->size[set->count] = size;
        total += size;
    }
    set_stamp(set, seed);
}

__attribute__((unused)) static void set_free(struct set *set)
{
    for (int i = 0; i < set->count; i++)
        free(set->block[i]);
    set->count = 0;
}

/* A one-way signal between processes. */
struct gate {
    int end[2];
};

__attribute__((unused)) static void gate_open(struct gate *gate)
{
    CHECK_EQ(pipe(gate->end), 0);
}

__attribute__((unused)) static void gate_pass(struct gate *gate)
{
    CHECK_EQ(write(gate->end[1], "x", 1), 1);
}

__attribute__((unused)) static void gate_wait(struct gate *gate)
{
    char byte;
    ssize_t n;
    do
        n = read(gate->end[0], &byte, 1);
    while (n < 0 && errno == EINTR);
    CHECK_EQ(n, 1);
}

#endif
