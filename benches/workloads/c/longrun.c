/* A long-running server whose block sizes shift from phase to phase: fragmentation. The live set keeps
 * its size in bytes; most of it is replaced in each phase, a small part survives several phases. Reports
 * how much the resident set grew for the live bytes; the harness adds what the pool committed.
 *
 * Hours are compressed to minutes, but the times after which allocators give memory back are not: so the
 * churn may be followed by a rest, in which a few blocks are replaced every millisecond. Two figures say
 * what the placement of the blocks allows: pages that hold a byte of a live block, at the end of the churn
 * and of the rest. No allocator that leaves blocks where they are can take less for this placement. */
#include "workload.h"
#include <time.h>

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

/* Bytes of the pages that live blocks lie in. */
static uint64_t occupied_bytes(const struct run *run)
{
    enum { PAGES = 1 << 20 };
    uint64_t *seen = own_pages(PAGES * sizeof(uint64_t)), count = 0;
    for (uint64_t index = 0; index < run->count; index++) {
        uint64_t first = (uint64_t)run->live[index].block / 4096;
        uint64_t last = ((uint64_t)run->live[index].block + run->live[index].size - 1) / 4096;
        for (uint64_t page = first; page <= last; page++) {
            uint64_t at = page * UINT64_C(0x9E3779B97F4A7C15) >> 44;
            while (seen[at] && seen[at] != page)
                at = (at + 1) % PAGES;
            if (!seen[at]) {
                seen[at] = page;
                if (++count == PAGES / 2)
                    fail("--size is too large to count pages");
            }
        }
    }
    give_own_pages(seen, PAGES * sizeof(uint64_t));
    return count * 4096;
}

static uint64_t grown(uint64_t before)
{
    uint64_t resident = resident_bytes();
    return resident > before ? resident - before : 0;
}

static void replace(struct run *run, uint64_t target, uint64_t min, uint64_t max, uint64_t phase)
{
    while (run->bytes < target)
        add(run, min, max, phase);
    uint64_t pick = random_below(&run->state, run->count);
    if (run->live[pick].leaves <= phase)
        drop(run, pick);
}

static void long_run(const struct options *options, struct outcome *outcome)
{
    uint64_t phases = scaled(options), target = options->size, before = 0;
    uint64_t min = 0, max = 0;
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
        min = options->min << shift;
        max = options->min << (shift + 3);
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
        uint64_t permille = grown(before) * 1000 / run.bytes;
        if (phase >= phases / 3 && permille > outcome->rss_worst)
            outcome->rss_worst = permille;
    }
    outcome->rss_churn = grown(before);
    outcome->pages_churn = occupied_bytes(&run);
    /* By number, not by the clock: the work is the same each time. */
    uint64_t rest = options->count && options->scale < 1 ? (uint64_t)(options->count * options->scale) : options->count;
    for (uint64_t millisecond = 0; millisecond < rest; millisecond++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        for (unsigned block = 0; block < 4; block++)
            replace(&run, target, min, max, phases);
    }
    outcome->rss_bytes = grown(before);
    outcome->live_bytes = run.bytes;
    outcome->pages_bytes = occupied_bytes(&run);
    /* Nothing is freed at the end: what a library reports when the process ends is the steady state. */
    for (uint64_t index = 0; index < run.count; index++)
        run.sum += stamp_of(run.live[index].block, run.live[index].size);
    outcome->checksum = run.sum;
}
const struct workload workload_long_run = {
    "long-run",
    "a live set whose sizes shift from phase to phase; prints its growth (min, max, size, count: milliseconds of rest)",
    long_run};
