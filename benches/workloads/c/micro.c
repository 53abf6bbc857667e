/* One call pattern each: ping-pong pairs, batches, random churn, zeroed and aligned blocks. */
#include "workload.h"

#include <string.h>

/* Allocate one block, write to it, free it. */
static void pair(const struct options *options, struct outcome *outcome)
{
    uint64_t ops = scaled(options), sum = 0;
    size_t size = options->size;
    for (uint64_t i = 0; i < ops; i++) {
        void *block = checked(malloc(size));
        stamp(block, size, i);
        escape(block);
        sum += stamp_of(block, size);
        free(block);
    }
    outcome->ops = ops;
    outcome->checksum = sum;
}
const struct workload workload_pair = {"pair", "malloc and free of one block, repeated (size)", pair};

/* The sequence in which the blocks of a batch are freed. */
static uint32_t *batch_order(const struct options *options)
{
    uint32_t count = (uint32_t)options->count;
    uint32_t *order = own_pages((size_t)count * sizeof *order);
    const char *name = options->order ? options->order : "fifo";
    for (uint32_t i = 0; i < count; i++)
        order[i] = strcmp(name, "lifo") == 0 ? count - 1 - i : i;
    if (strcmp(name, "random") == 0) {
        uint64_t state = random_stream(options->seed, 0);
        for (uint32_t i = count; i > 1; i--) {
            uint32_t other = (uint32_t)random_below(&state, i);
            uint32_t swap = order[i - 1];
            order[i - 1] = order[other];
            order[other] = swap;
        }
    } else if (strcmp(name, "lifo") != 0 && strcmp(name, "fifo") != 0) {
        fail("--order is lifo, fifo or random");
    }
    return order;
}

static void batch(const struct options *options, struct outcome *outcome)
{
    uint64_t count = options->count, sum = 0, rounds = scaled(options) / count;
    size_t size = options->size;
    uint32_t *order = batch_order(options);
    void **blocks = own_pages(count * sizeof *blocks);
    if (rounds == 0)
        rounds = 1;
    for (uint64_t round = 0; round < rounds; round++) {
        for (uint64_t i = 0; i < count; i++) {
            blocks[i] = checked(malloc(size));
            stamp(blocks[i], size, round + i);
        }
        for (uint64_t i = 0; i < count; i++) {
            void *block = blocks[order[i]];
            sum += stamp_of(block, size);
            free(block);
        }
    }
    outcome->ops = rounds * count;
    outcome->checksum = sum;
}
const struct workload workload_batch = {
    "batch", "allocate a batch, then free it (size, count, order lifo|fifo|random)", batch};

struct slot {
    void *block;
    size_t size;
};

enum kind { PLAIN, ZEROED, ALIGNED };

static void *churn_block(enum kind kind, size_t size, uint64_t draw)
{
    void *block;
    switch (kind) {
    case ZEROED:
        block = checked(calloc(1, size));
        if (((unsigned char *)block)[0] != 0 || ((unsigned char *)block)[size - 1] != 0)
            fail("calloc returned memory that is not zero");
        return block;
    case ALIGNED: {
        size_t alignment = (size_t)64 << (draw & 1);
        if (posix_memalign(&block, alignment, size) != 0)
            fail("out of memory");
        if ((uintptr_t)block % alignment != 0)
            fail("posix_memalign returned a misaligned block");
        return block;
    }
    default:
        return checked(malloc(size));
    }
}

/* Replace a random block by one of random size. */
static void churn_kind(const struct options *options, struct outcome *outcome, enum kind kind)
{
    uint64_t ops = scaled(options), sum = 0, state = random_stream(options->seed, 0);
    struct slot *slots = own_pages(options->slots * sizeof *slots);
    for (uint64_t i = 0; i < ops; i++) {
        struct slot *slot = &slots[random_below(&state, options->slots)];
        if (slot->block) {
            sum += stamp_of(slot->block, slot->size);
            free(slot->block);
        }
        slot->size = random_size(&state, options->min, options->max);
        slot->block = churn_block(kind, slot->size, i);
        stamp(slot->block, slot->size, i);
        ((unsigned char *)slot->block)[slot->size - 1] = (unsigned char)i;
    }
    for (uint64_t i = 0; i < options->slots; i++)
        free(slots[i].block);
    outcome->ops = ops;
    outcome->checksum = sum;
}

static void churn(const struct options *options, struct outcome *outcome)
{
    churn_kind(options, outcome, PLAIN);
}
static void churn_zeroed(const struct options *options, struct outcome *outcome)
{
    churn_kind(options, outcome, ZEROED);
}
static void churn_aligned(const struct options *options, struct outcome *outcome)
{
    churn_kind(options, outcome, ALIGNED);
}
const struct workload workload_churn = {
    "churn", "replace a random block by one of log-uniform random size (min, max, slots)", churn};
const struct workload workload_calloc = {
    "calloc", "churn with zeroed blocks, which are checked (min, max, slots)", churn_zeroed};
const struct workload workload_memalign = {
    "memalign", "churn with blocks aligned to 64 and 128 bytes (min, max, slots)", churn_aligned};
