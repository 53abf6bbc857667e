/* A long-running server whose block sizes shift from phase to phase: fragmentation. The live set keeps
 * its size in bytes; most of it is replaced in each phase, a small part survives several phases. Reports
 * how much the resident set grew for the live bytes; the harness adds what the pool committed. */
#include "workload.h"

enum { ROOM = 1 << 21 }; /* slots for live blocks */

struct live {
    void *block;
    uint32_t size;
    uint32_t leaves; /* the phase in which a long-lived block may go; 0: any time */
};

struct run {
    struct live *live;
    uint64_t count, bytes, state, sum;
};

static void add(struct run *run, uint64_t min, uint64_t max, uint64_t phase)
{
    struct live *live = &run->live[run->count++];
    live->size = (uint32_t)random_size(&run->state, min, max);
    live->leaves = random_below(&run->state, 50) == 0 ? (uint32_t)phase + 4 : 0;
    live->block = checked(malloc(live->size));
    /* Every page is written, as a program would: the resident set is what counts. */
    for (uint32_t at = 0; at < live->size; at += 4096)
        ((unsigned char *)live->block)[at] = (unsigned char)phase;
    stamp(live->block, live->size, run->state);
    run->bytes += live->size;
}

static void drop(struct run *run, uint64_t index)
{
    struct live *live = &run->live[index];
    run->sum += stamp_of(live->block, live->size);
    run->bytes -= live->size;
    free(live->block);
    *live = run->live[--run->count];
}

static void long_run(const struct options *options, struct outcome *outcome)
{
    uint64_t phases = scaled(options), target = options->size, before = 0;
    struct run run = {.live = own_pages(ROOM * sizeof(struct live)), .state = random_stream(options->seed, 0)};
    if (target / options->min > ROOM)
        fail("--size is too large for --min");
    before = resident_bytes();
    for (uint64_t phase = 0; phase < phases; phase++) {
        /* A window of three doublings that moves up and down the range of sizes. */
        unsigned low = 63 - (unsigned)__builtin_clzll(options->min);
        unsigned high = 63 - (unsigned)__builtin_clzll(options->max);
        unsigned steps = high > low + 3 ? high - low - 3 : 0, at = (unsigned)(phase * 5 % (2 * steps + 1));
        unsigned shift = at <= steps ? at : 2 * steps - at;
        uint64_t min = options->min << shift, max = options->min << (shift + 3);
        if (max > options->max)
            max = options->max;
        if (min > max)
            min = max;
        for (uint64_t replaced = 0; replaced < 2 * target;) {
            while (run.bytes < target) {
                add(&run, min, max, phase);
                replaced += run.live[run.count - 1].size;
                outcome->ops++;
            }
            uint64_t pick = random_below(&run.state, run.count);
            /* Survivors are skipped until their phase has come. */
            if (run.live[pick].leaves <= phase)
                drop(&run, pick);
        }
        uint64_t resident = resident_bytes();
        outcome->rss_bytes = resident > before ? resident - before : 0;
        outcome->live_bytes = run.bytes;
        uint64_t permille = outcome->rss_bytes * 1000 / run.bytes;
        if (phase >= phases / 3 && permille > outcome->rss_worst)
            outcome->rss_worst = permille;
    }
    /* Nothing is freed at the end: what a library reports when the process ends is the steady state. */
    for (uint64_t index = 0; index < run.count; index++)
        run.sum += stamp_of(run.live[index].block, run.live[index].size);
    outcome->checksum = run.sum;
}
const struct workload workload_long_run = {
    "long-run", "a live set whose sizes shift from phase to phase; prints its growth (min, max, size)", long_run};
