/* Shared by all workloads: options, results, the random generator and the checked allocation calls.
 *
 * Rules every workload keeps:
 *  - the amount of work depends on the options only, never on the clock, so that CPU time is comparable;
 *  - everything random comes from the generator below, seeded from `--seed`;
 *  - the checksum depends on what was written into the blocks and read back from them, and is the same for
 *    every correct allocator and every schedule of the threads. */
#ifndef PMEM_WORKLOAD_H
#define PMEM_WORKLOAD_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct options {
    uint64_t size;    /* bytes of one block */
    uint64_t min;     /* smallest block in bytes, where sizes vary */
    uint64_t max;     /* largest block in bytes, where sizes vary */
    uint64_t count;   /* blocks of one batch, or whatever the workload counts beside its operations */
    uint64_t slots;   /* blocks alive at a time */
    uint64_t ops;     /* units of work at scale 1 */
    uint64_t threads; /* threads that work at the same time */
    uint64_t seed;
    double scale; /* multiplies ops */
    const char *order; /* lifo, fifo or random */
};

struct outcome {
    uint64_t ops;        /* units of work done */
    uint64_t checksum;   /* the same for every allocator */
    uint64_t live_bytes; /* requested bytes alive at the end; 0 where it does not matter */
    uint64_t rss_bytes;  /* growth of the resident set that holds them */
    uint64_t rss_worst;  /* largest resident growth per 1,000 live bytes after the first phases */
    uint64_t rss_churn;  /* growth of the resident set before the rest at the end */
    uint64_t pages_bytes; /* of pages that hold a live byte, at the end */
    uint64_t pages_churn; /* the same before the rest */
};

struct workload {
    const char *name;
    const char *summary;
    void (*run)(const struct options *options, struct outcome *outcome);
};

extern const struct workload workload_pair, workload_batch, workload_churn, workload_calloc,
    workload_realloc_grow, workload_realloc_string, workload_large, workload_large_set,
    workload_memalign, workload_primes, workload_minimise, workload_nbody, workload_server,
    workload_handover, workload_exchange, workload_lifetimes, workload_lifetimes_shared,
    workload_cache_scratch, workload_cache_thrash, workload_mixed_stress, workload_retain,
    workload_simple, workload_simple_threads, workload_tree, workload_short_threads,
    workload_long_run, workload_start;

/* The tracee of the instruction counter; does not return a checksum. */
int instruction_probe(int argc, char **argv);

_Noreturn void fail(const char *what);

/* Units of work after scaling, at least one. */
uint64_t scaled(const struct options *options);

/* Resident set of this process in bytes; allocates nothing. */
uint64_t resident_bytes(void);

/* Bookkeeping memory that does not come from malloc, zeroed and touched. */
void *own_pages(size_t bytes);
void give_own_pages(void *pages, size_t bytes);

/* Runs `body` on `threads` threads with arguments `arguments + i * stride` and waits for all of them. */
void run_threads(uint64_t threads, void *(*body)(void *), void *arguments, size_t stride);

static inline void *checked(void *block)
{
    if (__builtin_expect(block == NULL, 0))
        fail("out of memory");
    return block;
}

/* Makes the compiler believe that the block is used. */
static inline void escape(void *block) { __asm__ volatile("" : : "r"(block) : "memory"); }

/* xorshift64*: small state, good enough for sizes and slot numbers. */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(0x2545F4914F6CDD1D);
}

/* Uniform below `limit` (limit < 2^32). */
static inline uint64_t random_below(uint64_t *state, uint64_t limit)
{
    return ((next_random(state) >> 32) * limit) >> 32;
}

/* A state for the `stream`-th independent generator of a seed; never zero. */
static inline uint64_t random_stream(uint64_t seed, uint64_t stream)
{
    uint64_t x = seed + (stream + 1) * UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    x ^= x >> 31;
    return x ? x : 1;
}

/* Log-uniform size: each power of two between min and max is equally likely. */
static inline size_t random_size(uint64_t *state, uint64_t min, uint64_t max)
{
    unsigned low = 63 - (unsigned)__builtin_clzll(min);
    unsigned high = 63 - (unsigned)__builtin_clzll(max);
    for (;;) {
        uint64_t bits = next_random(state);
        unsigned power = low + (unsigned)(((bits >> 32) * (high - low + 1)) >> 32);
        uint64_t size = (UINT64_C(1) << power) | (bits & ((UINT64_C(1) << power) - 1));
        if (size >= min && size <= max)
            return size;
    }
}

/* Stamps the first bytes of a block, and reads the stamp back. */
static inline void stamp(void *block, size_t size, uint64_t value)
{
    if (size >= sizeof(uint64_t))
        *(uint64_t *)block = value;
    else
        *(unsigned char *)block = (unsigned char)value;
}

static inline uint64_t stamp_of(const void *block, size_t size)
{
    return size >= sizeof(uint64_t) ? *(const uint64_t *)block : *(const unsigned char *)block;
}

#endif
