/* Batches over a ladder of sizes whose blocks live for different times: most die in the batch, freed
 * from both ends or in random order, some survive it. */
#include "workload.h"

enum { STEPS = 16 };

struct ladder {
    void **blocks, **kept;
    uint32_t *sizes, *kept_sizes;
    uint64_t count, kept_count, sum;
};

static void ladder_init(struct ladder *ladder, const struct options *options)
{
    uint64_t most = STEPS * options->count;
    ladder->blocks = own_pages(most * sizeof *ladder->blocks);
    ladder->sizes = own_pages(most * sizeof *ladder->sizes);
    ladder->kept = own_pages(most * sizeof *ladder->kept);
    ladder->kept_sizes = own_pages(most * sizeof *ladder->kept_sizes);
    ladder->count = ladder->kept_count = ladder->sum = 0;
}

/* Small sizes more often than large ones: `count` blocks of the smallest, a sixteenth of the largest. */
static void ladder_fill(struct ladder *ladder, const struct options *options, uint64_t value)
{
    ladder->count = 0;
    for (unsigned step = 0; step < STEPS; step++) {
        uint32_t size = (uint32_t)(options->min + (options->max - options->min) * step / (STEPS - 1));
        uint64_t blocks = options->count * (STEPS - step) / STEPS;
        for (uint64_t i = 0; i < (blocks ? blocks : 1); i++) {
            void *block = checked(malloc(size));
            stamp(block, size, value + i);
            ladder->blocks[ladder->count] = block;
            ladder->sizes[ladder->count++] = size;
        }
    }
}

static void ladder_release(struct ladder *ladder, uint64_t index)
{
    ladder->sum += stamp_of(ladder->blocks[index], ladder->sizes[index]);
    free(ladder->blocks[index]);
}

static void release_kept(struct ladder *ladder)
{
    while (ladder->kept_count > 0) {
        uint64_t last = --ladder->kept_count;
        ladder->sum += stamp_of(ladder->kept[last], ladder->kept_sizes[last]);
        free(ladder->kept[last]);
    }
}

static void lifetimes(const struct options *options, struct outcome *outcome)
{
    uint64_t rounds = scaled(options), blocks = 0;
    struct ladder ladder;
    ladder_init(&ladder, options);
    for (uint64_t round = 0; round < rounds; round++) {
        ladder_fill(&ladder, options, round);
        blocks += ladder.count;
        release_kept(&ladder); /* the survivors of the batch before, youngest first */
        uint64_t first = 0, last = ladder.count;
        while (last - first > ladder.count / 4) {
            ladder_release(&ladder, first++);
            ladder_release(&ladder, --last);
        }
        for (; first < last; first++) {
            ladder.kept[ladder.kept_count] = ladder.blocks[first];
            ladder.kept_sizes[ladder.kept_count++] = ladder.sizes[first];
        }
    }
    release_kept(&ladder);
    outcome->ops = blocks;
    outcome->checksum = ladder.sum;
}
const struct workload workload_lifetimes = {
    "lifetimes", "batches over a ladder of sizes, freed from both ends (min, max, count)", lifetimes};

/* The same by several threads; survivors go to whoever comes next. */
struct mailbox {
    pthread_mutex_t lock;
    void **blocks;
    uint32_t *sizes;
    uint64_t count, capacity;
};

struct sharer {
    const struct options *options;
    struct mailbox *mailbox;
    struct ladder ladder;
    uint64_t rounds, state, blocks;
};

static void swap_with(struct sharer *sharer)
{
    struct ladder *ladder = &sharer->ladder;
    struct mailbox *mailbox = sharer->mailbox;
    pthread_mutex_lock(&mailbox->lock);
    void **blocks = mailbox->blocks;
    uint32_t *sizes = mailbox->sizes;
    uint64_t count = mailbox->count;
    mailbox->blocks = ladder->kept;
    mailbox->sizes = ladder->kept_sizes;
    mailbox->count = ladder->kept_count;
    pthread_mutex_unlock(&mailbox->lock);
    ladder->kept = blocks;
    ladder->kept_sizes = sizes;
    ladder->kept_count = count;
}

static void *share(void *argument)
{
    struct sharer *sharer = argument;
    struct ladder *ladder = &sharer->ladder;
    for (uint64_t round = 0; round < sharer->rounds; round++) {
        ladder_fill(ladder, sharer->options, round);
        sharer->blocks += ladder->count;
        for (uint64_t left = ladder->count; left > 0; left--) {
            uint64_t pick = random_below(&sharer->state, left);
            if (left <= ladder->count / 8) {
                ladder->kept[ladder->kept_count] = ladder->blocks[pick];
                ladder->kept_sizes[ladder->kept_count++] = ladder->sizes[pick];
            } else {
                ladder_release(ladder, pick);
            }
            ladder->blocks[pick] = ladder->blocks[left - 1];
            ladder->sizes[pick] = ladder->sizes[left - 1];
        }
        swap_with(sharer);
        release_kept(ladder);
    }
    return NULL;
}

static void lifetimes_shared(const struct options *options, struct outcome *outcome)
{
    uint64_t most = STEPS * options->count;
    struct mailbox mailbox = {PTHREAD_MUTEX_INITIALIZER, own_pages(most * sizeof(void *)),
                              own_pages(most * sizeof(uint32_t)), 0, most};
    struct sharer *sharers = own_pages(options->threads * sizeof *sharers);
    for (uint64_t t = 0; t < options->threads; t++) {
        sharers[t] = (struct sharer){.options = options, .mailbox = &mailbox, .rounds = scaled(options),
                                     .state = random_stream(options->seed, t)};
        ladder_init(&sharers[t].ladder, options);
    }
    run_threads(options->threads, share, sharers, sizeof *sharers);
    swap_with(&sharers[0]);
    release_kept(&sharers[0].ladder);
    for (uint64_t t = 0; t < options->threads; t++) {
        outcome->ops += sharers[t].blocks;
        outcome->checksum += sharers[t].ladder.sum;
    }
}
const struct workload workload_lifetimes_shared = {
    "lifetimes-shared", "ladders freed at random, survivors freed by other threads (threads, min, max, count)",
    lifetimes_shared};
