/* Mixed sizes under thread churn: generations of threads allocate, keep, free and swap blocks through a
 * shared table, so that a block may be freed by any thread of any generation. Whole blocks are stamped
 * and checked. */
#include "workload.h"

struct block {
    uint64_t cookie, words; /* then `words` words that follow from the cookie */
    uint64_t payload[];
};

struct stress {
    const struct options *options;
    struct block **shared; /* exchanged atomically */
};

struct stressor {
    struct stress *stress;
    uint64_t state, sum, blocks;
};

static struct block *block_new(struct stressor *stressor)
{
    const struct options *options = stressor->stress->options;
    /* One block in 100 may be as large as `max`, the others stay below a kilobyte. */
    uint64_t limit = random_below(&stressor->state, 100) == 0 || options->max < 1024 ? options->max : 1024;
    size_t size = random_size(&stressor->state, options->min, limit);
    uint64_t words = size < sizeof(struct block) ? 0 : (size - sizeof(struct block)) / sizeof(uint64_t);
    struct block *block = checked(malloc(sizeof *block + words * sizeof(uint64_t)));
    block->cookie = next_random(&stressor->state);
    block->words = words;
    for (uint64_t i = 0; i < words; i++)
        block->payload[i] = block->cookie ^ i;
    stressor->sum += block->cookie;
    stressor->blocks++;
    return block;
}

static void block_free(struct block *block)
{
    if (!block)
        return;
    for (uint64_t i = 0; i < block->words; i++)
        if (block->payload[i] != (block->cookie ^ i))
            fail("a block was overwritten");
    free(block);
}

static void *stressor_body(void *argument)
{
    struct stressor *stressor = argument;
    const struct options *options = stressor->stress->options;
    struct block **mine = checked(calloc(options->slots, sizeof *mine));
    struct block **kept = checked(malloc(16 * sizeof *kept));
    uint64_t kept_count = 0, kept_room = 16;
    for (uint64_t i = 0; i < options->count; i++) {
        uint64_t draw = random_below(&stressor->state, 100);
        uint64_t slot = random_below(&stressor->state, options->slots);
        if (draw < 50) { /* short life in a slot */
            block_free(mine[slot]);
            mine[slot] = block_new(stressor);
        } else if (draw < 65) { /* lives until the thread ends */
            if (kept_count == kept_room) {
                kept_room *= 2;
                kept = checked(realloc(kept, kept_room * sizeof *kept));
            }
            kept[kept_count++] = block_new(stressor);
        } else if (draw < 85) {
            block_free(mine[slot]);
            mine[slot] = NULL;
        } else { /* swap with whatever another thread left */
            uint64_t place = random_below(&stressor->state, options->slots);
            mine[slot] = __atomic_exchange_n(&stressor->stress->shared[place], mine[slot], __ATOMIC_ACQ_REL);
        }
    }
    for (uint64_t i = 0; i < kept_count; i++)
        block_free(kept[i]);
    for (uint64_t i = 0; i < options->slots; i++)
        block_free(mine[i]);
    free(kept);
    free(mine);
    return NULL;
}

static void mixed_stress(const struct options *options, struct outcome *outcome)
{
    uint64_t generations = scaled(options);
    struct stress stress = {options, own_pages(options->slots * sizeof *stress.shared)};
    struct stressor *stressors = own_pages(options->threads * sizeof *stressors);
    for (uint64_t g = 0; g < generations; g++) {
        for (uint64_t t = 0; t < options->threads; t++) {
            stressors[t].stress = &stress;
            stressors[t].state = random_stream(options->seed, g * options->threads + t);
        }
        run_threads(options->threads, stressor_body, stressors, sizeof *stressors);
        if (g % 8 == 7) /* now and then the main thread clears the table */
            for (uint64_t i = 0; i < options->slots; i++) {
                block_free(stress.shared[i]);
                stress.shared[i] = NULL;
            }
    }
    for (uint64_t i = 0; i < options->slots; i++)
        block_free(stress.shared[i]);
    for (uint64_t t = 0; t < options->threads; t++) {
        outcome->ops += stressors[t].blocks;
        outcome->checksum += stressors[t].sum;
    }
}
const struct workload workload_mixed_stress = {
    "mixed-stress", "generations of threads swap checked blocks of mixed sizes (threads, min, max, slots, count)",
    mixed_stress};

/* Threads that retain blocks of random size and release them in bursts, partly those of their neighbour. */
struct retainer {
    const struct options *options;
    struct retainer *next;
    pthread_mutex_t lock; /* guards the list below */
    void **passed;        /* blocks another thread gave to this one; room for all it can make */
    uint64_t passed_count;
    void **taken; /* the other half of a double buffer with `passed` */
    void **held;
    uint64_t held_count, state, sum, blocks;
};

static void release_list(struct retainer *retainer, void **list, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        retainer->sum += *(uint64_t *)list[i];
        free(list[i]);
    }
}

static void *retain_body(void *argument)
{
    struct retainer *retainer = argument;
    const struct options *options = retainer->options;
    for (uint64_t done = 0; done < options->count;) {
        /* Retain: up to a quarter of the slots at once. */
        uint64_t burst = 1 + random_below(&retainer->state, options->slots / 4);
        for (uint64_t i = 0; i < burst && retainer->held_count < options->slots; i++, done++) {
            size_t size = options->min + random_below(&retainer->state, options->max - options->min + 1);
            uint64_t *block = checked(malloc(size < 8 ? 8 : size));
            *block = retainer->state;
            retainer->held[retainer->held_count++] = block;
            retainer->blocks++;
        }
        /* Release: as many again, in random order. */
        for (uint64_t i = 1 + random_below(&retainer->state, options->slots / 4); i > 0 && retainer->held_count; i--) {
            uint64_t pick = random_below(&retainer->state, retainer->held_count);
            release_list(retainer, &retainer->held[pick], 1);
            retainer->held[pick] = retainer->held[--retainer->held_count];
        }
        /* Give a part to the neighbour, take what the neighbour on the other side gave. */
        struct retainer *next = retainer->next;
        pthread_mutex_lock(&next->lock);
        while (retainer->held_count > options->slots / 2)
            next->passed[next->passed_count++] = retainer->held[--retainer->held_count];
        pthread_mutex_unlock(&next->lock);
        pthread_mutex_lock(&retainer->lock);
        uint64_t count = retainer->passed_count;
        void **taken = retainer->passed;
        retainer->passed = retainer->taken;
        retainer->taken = taken;
        retainer->passed_count = 0;
        pthread_mutex_unlock(&retainer->lock);
        release_list(retainer, taken, count);
    }
    return NULL;
}

static void retain(const struct options *options, struct outcome *outcome)
{
    uint64_t generations = scaled(options), threads = options->threads;
    struct retainer *retainers = own_pages(threads * sizeof *retainers);
    if (options->slots < 8)
        fail("--slots is at least 8");
    for (uint64_t t = 0; t < threads; t++) {
        retainers[t].options = options;
        retainers[t].next = &retainers[(t + 1) % threads];
        pthread_mutex_init(&retainers[t].lock, NULL);
        retainers[t].passed = own_pages((options->count + options->slots) * sizeof(void *));
        retainers[t].taken = own_pages((options->count + options->slots) * sizeof(void *));
        retainers[t].held = own_pages(options->slots * sizeof(void *));
    }
    for (uint64_t g = 0; g < generations; g++) {
        /* What a thread makes and passes on depends on its own draws only; who frees a block depends on
         * the schedule, but each block is freed and summed exactly once. */
        for (uint64_t t = 0; t < threads; t++)
            retainers[t].state = random_stream(options->seed, g * threads + t);
        run_threads(threads, retain_body, retainers, sizeof *retainers);
        for (uint64_t t = 0; t < threads; t++) {
            release_list(&retainers[t], retainers[t].passed, retainers[t].passed_count);
            release_list(&retainers[t], retainers[t].held, retainers[t].held_count);
            retainers[t].passed_count = retainers[t].held_count = 0;
        }
    }
    for (uint64_t t = 0; t < threads; t++) {
        outcome->ops += retainers[t].blocks;
        outcome->checksum += retainers[t].sum;
    }
}
const struct workload workload_retain = {
    "retain", "bursts of random sizes kept, freed and passed on (threads, min, max, slots, count)", retain};
