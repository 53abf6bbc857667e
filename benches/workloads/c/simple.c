/* The patterns of a C library's own allocator benchmark: batches of one size by one thread, and a
 * working set of power-law sizes in several threads. */
#include "workload.h"

/* For each size of a ladder and each batch length: allocate the batch, free it in the same order. */
static void simple(const struct options *options, struct outcome *outcome)
{
    static const uint32_t lengths[] = {25, 100, 400, 1600};
    enum { LENGTHS = sizeof lengths / sizeof *lengths };
    unsigned sizes = 0;
    for (uint64_t size = options->min; size <= options->max; size *= 2)
        sizes++;
    void **blocks = own_pages(1600 * sizeof *blocks);
    uint64_t share = scaled(options) / (sizes * LENGTHS), sum = 0;
    for (uint64_t size = options->min; size <= options->max; size *= 2)
        for (unsigned l = 0; l < LENGTHS; l++)
            for (uint64_t done = 0; done == 0 || done < share; done += lengths[l]) {
                for (uint32_t i = 0; i < lengths[l]; i++) {
                    blocks[i] = checked(malloc(size));
                    stamp(blocks[i], size, done + i);
                }
                for (uint32_t i = 0; i < lengths[l]; i++) {
                    sum += stamp_of(blocks[i], size);
                    free(blocks[i]);
                }
                outcome->ops += lengths[l];
            }
    outcome->checksum = sum;
}
const struct workload workload_simple = {
    "simple", "batches of 25 to 1,600 blocks of one size, for each power of two (min, max)", simple};

struct worker {
    const struct options *options;
    const uint32_t *sizes; /* table of SIZES power-law sizes, shared */
    uint64_t state, sum, ops;
};

enum { SIZES = 8192 };

static void *work(void *argument)
{
    struct worker *worker = argument;
    const struct options *options = worker->options;
    void **blocks = own_pages(options->slots * sizeof *blocks);
    uint32_t *lengths = own_pages(options->slots * sizeof *lengths);
    for (uint64_t i = 0; i < worker->ops; i++) {
        uint64_t slot = random_below(&worker->state, options->slots);
        if (blocks[slot]) {
            worker->sum += stamp_of(blocks[slot], lengths[slot]);
            free(blocks[slot]);
            blocks[slot] = NULL;
        } else {
            lengths[slot] = worker->sizes[i % SIZES];
            blocks[slot] = checked(malloc(lengths[slot]));
            stamp(blocks[slot], lengths[slot], i);
        }
    }
    for (uint64_t i = 0; i < options->slots; i++)
        free(blocks[i]);
    return NULL;
}

static void simple_threads(const struct options *options, struct outcome *outcome)
{
    uint64_t threads = options->threads, state = random_stream(options->seed, threads);
    uint32_t *sizes = own_pages(SIZES * sizeof *sizes);
    struct worker *workers = own_pages(threads * sizeof *workers);
    for (unsigned i = 0; i < SIZES; i++) {
        /* Each doubling of the size is half as likely as the one before. */
        unsigned shift = (unsigned)__builtin_ctzll(next_random(&state) | UINT64_C(1) << 40);
        uint64_t low = options->min << shift;
        uint64_t size = low + random_below(&state, low);
        sizes[i] = (uint32_t)(size > options->max ? options->max : size);
    }
    for (uint64_t t = 0; t < threads; t++) {
        uint64_t ops = scaled(options) / threads;
        workers[t] = (struct worker){options, sizes, random_stream(options->seed, t), 0, ops ? ops : 1};
    }
    run_threads(threads, work, workers, sizeof *workers);
    for (uint64_t t = 0; t < threads; t++) {
        outcome->ops += workers[t].ops;
        outcome->checksum += workers[t].sum;
    }
}
const struct workload workload_simple_threads = {
    "simple-threads", "working sets of power-law sizes in threads (threads, min, max, slots)", simple_threads};
