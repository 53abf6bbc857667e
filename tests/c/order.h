/* Threads that exchange blocks in an order that a mutex gives them, and threads that keep no order. */
#pragma once
#include "case.h"

struct heap {
    void *(*allocate)(size_t size);
    void *(*zeroed)(size_t size);
    void *(*resize)(void *block, size_t size);
    void (*release)(void *block);
};

static const struct heap *heap;

enum { EXCHANGERS = 4, ROUNDS = 150, PLACES = 16 };

static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static char *place[PLACES];

/* Puts a block of its own into a place, and frees what another thread has left there. */
static void *exchange(void *argument)
{
    unsigned number = (unsigned)(uintptr_t)argument;
    for (unsigned i = 0; i < ROUNDS; i++) {
        size_t size = i % 50 == 0 ? 300000 : 8 + (i * 37 + number) % 2000;
        char *mine = OK(i % 3 ? heap->allocate(size) : heap->zeroed(size));
        memset(mine, (int)number, size);
        mine = OK(heap->resize(mine, size + 500));
        mine[size + 499] = 1;
        pthread_mutex_lock(&order);
        char *other = place[i % PLACES];
        place[i % PLACES] = mine;
        if (other != NULL)
            other[0]++;
        pthread_mutex_unlock(&order);
        heap->release(other);
        if (i % 7 == 0) {
            /* Freed and used again at once, perhaps by another thread. */
            char *again = OK(heap->allocate(64));
            memset(again, 3, 64);
            heap->release(again);
        }
    }
    return NULL;
}

static void exchange_blocks(const struct heap *with)
{
    heap = with;
    for (int round = 0; round < 2; round++) {
        pthread_t threads[EXCHANGERS];
        for (int i = 0; i < EXCHANGERS; i++)
            START(threads[i], exchange, (void *)(uintptr_t)(i + 1));
        for (int i = 0; i < EXCHANGERS; i++)
            JOIN(threads[i]);
    }
    for (int i = 0; i < PLACES; i++) {
        heap->release(place[i]);
        place[i] = NULL;
    }
}

static void *count(void *block)
{
    for (int i = 0; i < 100; i++)
        ++*(volatile int *)block;
    return NULL;
}

static void race_for_a_block(const struct heap *with)
{
    pthread_t first, second;
    int *block = OK(with->zeroed(sizeof *block));
    START(first, count, block);
    START(second, count, block);
    JOIN(first);
    JOIN(second);
    with->release(block);
}
