/* Blocks allocated by one thread and freed by another. */
#include "workload.h"

/* A bounded queue of batches; both sides sleep when they must wait. */
struct channel {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct batch *ring[8];
    unsigned head, length;
};

struct batch {
    uint32_t count;
    uint32_t *sizes; /* NULL when all blocks have the same size */
    void **blocks;
};

static void channel_init(struct channel *channel)
{
    pthread_mutex_init(&channel->lock, NULL);
    pthread_cond_init(&channel->changed, NULL);
    channel->head = channel->length = 0;
}

static void channel_put(struct channel *channel, struct batch *batch)
{
    pthread_mutex_lock(&channel->lock);
    while (channel->length == 8)
        pthread_cond_wait(&channel->changed, &channel->lock);
    channel->ring[(channel->head + channel->length++) % 8] = batch;
    pthread_cond_broadcast(&channel->changed);
    pthread_mutex_unlock(&channel->lock);
}

static struct batch *channel_take(struct channel *channel)
{
    pthread_mutex_lock(&channel->lock);
    while (channel->length == 0)
        pthread_cond_wait(&channel->changed, &channel->lock);
    struct batch *batch = channel->ring[channel->head];
    channel->head = (channel->head + 1) % 8;
    channel->length--;
    pthread_cond_broadcast(&channel->changed);
    pthread_mutex_unlock(&channel->lock);
    return batch;
}

/* --- one producer, one consumer, one size; the batches themselves are reused, not allocated --- */

struct pair {
    const struct options *options;
    struct channel full, empty;
    uint64_t batches, sum;
};

static void *produce(void *argument)
{
    struct pair *pair = argument;
    size_t size = pair->options->size;
    for (uint64_t b = 0; b < pair->batches; b++) {
        struct batch *batch = channel_take(&pair->empty);
        for (uint32_t i = 0; i < batch->count; i++) {
            batch->blocks[i] = checked(malloc(size));
            stamp(batch->blocks[i], size, b + i);
        }
        channel_put(&pair->full, batch);
    }
    return NULL;
}

static void *consume(void *argument)
{
    struct pair *pair = argument;
    size_t size = pair->options->size;
    for (uint64_t b = 0; b < pair->batches; b++) {
        struct batch *batch = channel_take(&pair->full);
        for (uint32_t i = 0; i < batch->count; i++) {
            pair->sum += stamp_of(batch->blocks[i], size);
            free(batch->blocks[i]);
        }
        channel_put(&pair->empty, batch);
    }
    return NULL;
}

struct role {
    struct pair *pair;
    int consumer;
};

static void *produce_or_consume(void *argument)
{
    struct role *role = argument;
    return role->consumer ? consume(role->pair) : produce(role->pair);
}

static void handover(const struct options *options, struct outcome *outcome)
{
    uint64_t pairs = options->threads / 2, sum = 0;
    if (pairs == 0)
        fail("--threads is at least 2: one produces, one consumes");
    uint64_t batches = scaled(options) / (pairs * options->count);
    if (batches == 0)
        batches = 1;
    struct pair *all = own_pages(pairs * sizeof *all);
    struct role *roles = own_pages(2 * pairs * sizeof *roles);
    for (uint64_t p = 0; p < pairs; p++) {
        all[p].options = options;
        all[p].batches = batches;
        channel_init(&all[p].full);
        channel_init(&all[p].empty);
        for (int i = 0; i < 8; i++) {
            struct batch *batch = own_pages(sizeof *batch);
            batch->count = (uint32_t)options->count;
            batch->blocks = own_pages(options->count * sizeof *batch->blocks);
            channel_put(&all[p].empty, batch);
        }
        roles[2 * p] = (struct role){&all[p], 0};
        roles[2 * p + 1] = (struct role){&all[p], 1};
    }
    run_threads(2 * pairs, produce_or_consume, roles, sizeof *roles);
    for (uint64_t p = 0; p < pairs; p++)
        sum += all[p].sum;
    outcome->ops = pairs * batches * options->count;
    outcome->checksum = sum;
}
const struct workload workload_handover = {
    "handover", "one thread allocates, the other frees, in batches (threads, size, count)", handover};

/* --- several producers and consumers, one queue, mixed sizes, batches from the heap too --- */

struct exchange {
    const struct options *options;
    struct channel *channel;
    uint64_t batches, sum, state;
    int consumer;
};

static struct batch *make_batch(struct exchange *side)
{
    const struct options *options = side->options;
    struct batch *batch = checked(malloc(sizeof *batch));
    batch->count = (uint32_t)options->count;
    batch->sizes = checked(malloc(batch->count * sizeof *batch->sizes));
    batch->blocks = checked(malloc(batch->count * sizeof *batch->blocks));
    for (uint32_t i = 0; i < batch->count; i++) {
        batch->sizes[i] = (uint32_t)random_size(&side->state, options->min, options->max);
        batch->blocks[i] = checked(malloc(batch->sizes[i]));
        stamp(batch->blocks[i], batch->sizes[i], side->state);
    }
    return batch;
}

static void *exchange_side(void *argument)
{
    struct exchange *side = argument;
    for (uint64_t b = 0; b < side->batches; b++) {
        if (!side->consumer) {
            channel_put(side->channel, make_batch(side));
            continue;
        }
        struct batch *batch = channel_take(side->channel);
        for (uint32_t i = 0; i < batch->count; i++) {
            side->sum += stamp_of(batch->blocks[i], batch->sizes[i]);
            free(batch->blocks[i]);
        }
        free(batch->blocks);
        free(batch->sizes);
        free(batch);
    }
    return NULL;
}

static void exchange(const struct options *options, struct outcome *outcome)
{
    uint64_t producers = options->threads / 2, sum = 0;
    if (producers == 0)
        fail("--threads is at least 2: half produce, half consume");
    uint64_t batches = scaled(options) / (producers * options->count);
    if (batches == 0)
        batches = 1;
    struct channel channel;
    channel_init(&channel);
    struct exchange *sides = own_pages(2 * producers * sizeof *sides);
    for (uint64_t t = 0; t < 2 * producers; t++)
        sides[t] = (struct exchange){.options = options, .channel = &channel, .batches = batches,
                                     .state = random_stream(options->seed, t), .consumer = t & 1};
    run_threads(2 * producers, exchange_side, sides, sizeof *sides);
    for (uint64_t t = 0; t < 2 * producers; t++)
        sum += sides[t].sum;
    outcome->ops = producers * batches * options->count;
    outcome->checksum = sum;
}
const struct workload workload_exchange = {
    "exchange", "producers and consumers of mixed sizes share one queue (threads, min, max, count)", exchange};
