/* Whether an allocator gives parts of one cache line to several threads: the writes of the threads then
 * slow each other down, which shows in wall and CPU time. */
#include "workload.h"

struct writer {
    const struct options *options;
    unsigned char *given; /* a neighbour of the other threads' blocks, allocated by the main thread */
    uint64_t rounds, sum;
};

static void *write_blocks(void *argument)
{
    struct writer *writer = argument;
    size_t size = writer->options->size;
    free(writer->given);
    for (uint64_t round = 0; round < writer->rounds; round++) {
        volatile unsigned char *block = checked(malloc(size));
        for (size_t i = 0; i < size; i++)
            block[i] = 0;
        for (uint64_t i = 0; i < writer->options->count; i++)
            block[i % size]++;
        for (size_t i = 0; i < size; i++)
            writer->sum += block[i];
        free((void *)(uintptr_t)block);
    }
    return NULL;
}

static void run_writers(const struct options *options, struct outcome *outcome, int scratch)
{
    uint64_t rounds = scaled(options) / options->threads, sum = 0;
    /* A page apart, so that the bookkeeping itself is never shared. */
    struct writer *writers = own_pages(options->threads * 4096);
    for (uint64_t t = 0; t < options->threads; t++) {
        struct writer *writer = (struct writer *)((char *)writers + t * 4096);
        writer->options = options;
        writer->rounds = rounds ? rounds : 1;
        writer->given = scratch ? checked(malloc(options->size)) : NULL;
    }
    run_threads(options->threads, write_blocks, writers, 4096);
    for (uint64_t t = 0; t < options->threads; t++)
        sum += ((struct writer *)((char *)writers + t * 4096))->sum;
    outcome->ops = options->threads * (rounds ? rounds : 1);
    outcome->checksum = sum;
}

static void scratch(const struct options *options, struct outcome *outcome)
{
    run_writers(options, outcome, 1);
}
static void thrash(const struct options *options, struct outcome *outcome)
{
    run_writers(options, outcome, 0);
}
const struct workload workload_cache_scratch = {
    "cache-scratch", "threads free a given block, then write to their own (threads, size, count)", scratch};
const struct workload workload_cache_thrash = {
    "cache-thrash", "threads write to small blocks of their own (threads, size, count)", thrash};
