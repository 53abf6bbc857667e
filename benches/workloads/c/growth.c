/* Blocks that grow by realloc, and large blocks that are touched page by page. */
#include "workload.h"

enum { PAGE = 4096 };

/* One block from min to max, half as large again at each step; the new end is written. */
static void realloc_grow(const struct options *options, struct outcome *outcome)
{
    uint64_t cycles = scaled(options), sum = 0;
    for (uint64_t cycle = 0; cycle < cycles; cycle++) {
        size_t size = options->min < 8 ? 8 : options->min;
        unsigned char *block = checked(malloc(size));
        stamp(block, size, cycle);
        while (size < options->max) {
            size_t grown = size + size / 2;
            block = checked(realloc(block, grown));
            block[grown - 1] = (unsigned char)cycle;
            size = grown;
        }
        sum += stamp_of(block, size) + block[size - 1];
        free(block);
    }
    outcome->ops = cycles;
    outcome->checksum = sum;
}
const struct workload workload_realloc_grow = {
    "realloc-grow", "grow one block by half at each step (min, max)", realloc_grow};

/* Strings that are appended to in 16-byte pieces; four are built in turn, as by a printer of records. */
static void realloc_string(const struct options *options, struct outcome *outcome)
{
    enum { STRINGS = 4, PIECE = 16 };
    uint64_t cycles = scaled(options), sum = 0;
    for (uint64_t cycle = 0; cycle < cycles; cycle++) {
        unsigned char *strings[STRINGS] = {0};
        for (size_t size = PIECE; size <= options->max; size += PIECE)
            for (unsigned s = 0; s < STRINGS; s++) {
                strings[s] = checked(realloc(strings[s], size));
                for (size_t i = size - PIECE; i < size; i++)
                    strings[s][i] = (unsigned char)(cycle + s + i);
            }
        for (unsigned s = 0; s < STRINGS; s++) {
            sum += strings[s][0] + strings[s][options->max / 2];
            free(strings[s]);
        }
    }
    outcome->ops = cycles;
    outcome->checksum = sum;
}
const struct workload workload_realloc_string = {
    "realloc-string", "append 16 bytes at a time to four strings in turn (max)", realloc_string};

static uint64_t touch_pages(unsigned char *block, size_t size, uint64_t value)
{
    uint64_t sum = 0;
    for (size_t at = 0; at < size; at += PAGE)
        block[at] = (unsigned char)(value + at / PAGE);
    for (size_t at = 0; at < size; at += PAGE)
        sum += block[at];
    return sum;
}

static void large(const struct options *options, struct outcome *outcome)
{
    uint64_t cycles = scaled(options), sum = 0;
    for (uint64_t cycle = 0; cycle < cycles; cycle++) {
        unsigned char *block = checked(malloc(options->size));
        sum += touch_pages(block, options->size, cycle);
        free(block);
    }
    outcome->ops = cycles;
    outcome->checksum = sum;
}
const struct workload workload_large = {
    "large", "allocate one large block, write each page, free it (size)", large};

/* A live set of large blocks of random size, replaced at random. */
static void large_set(const struct options *options, struct outcome *outcome)
{
    uint64_t ops = scaled(options), sum = 0, state = random_stream(options->seed, 0);
    unsigned char **blocks = own_pages(options->slots * sizeof *blocks);
    for (uint64_t i = 0; i < ops; i++) {
        uint64_t slot = random_below(&state, options->slots);
        size_t size = options->min + random_below(&state, options->max - options->min + 1);
        free(blocks[slot]);
        blocks[slot] = checked(malloc(size));
        sum += touch_pages(blocks[slot], size, i);
    }
    for (uint64_t i = 0; i < options->slots; i++)
        free(blocks[i]);
    outcome->ops = ops;
    outcome->checksum = sum;
}
const struct workload workload_large_set = {
    "large-set", "replace large blocks of a live set, write each page (min, max, slots)", large_set};
