/* Allocate one size until the pool is full, free everything, allocate another size until it is full: for
 * every pair of sizes everything is reused. Written for pools of 14 to 32 MiB. */
#include "case.h"

enum { MOST = 4 << 20 };

static void *block[MOST];

static size_t fill_all(size_t size)
{
    size_t count = 0;
    errno = 0;
    while (count < MOST && (block[count] = malloc(size)) != NULL)
        memset(block[count++], 1, size < 8 ? size : 8);
    CHECK(count == MOST || errno == ENOMEM);
    return count;
}

enum order { FORWARDS, BACKWARDS, SHUFFLED };

static void free_all(size_t count, enum order order)
{
    static uint64_t random = 4711;
    if (order == SHUFFLED) {
        for (size_t i = count; i > 1; i--) {
            size_t j = next_random(&random) % i;
            void *other = block[j];
            block[j] = block[i - 1];
            block[i - 1] = other;
        }
    }
    for (size_t i = 0; i < count; i++)
        free(block[order == BACKWARDS ? count - 1 - i : i]);
}

/* The blocks of a size that must fit: 93 % of the pool, rounded down. */
static size_t least(size_t size)
{
    return pool_bytes() / 100 * 93 / size;
}

static void all_pairs(enum order order)
{
    for (size_t first = 8; first <= 4 * MIB; first *= 2) {
        for (size_t second = 8; second <= 4 * MIB; second *= 2) {
            size_t count = fill_all(first);
            if (count < least(first))
                FAIL("%zu blocks of %zu after %zu, not %zu", count, first, second / 2, least(first));
            free_all(count, order);
            count = fill_all(second);
            if (count < least(second))
                FAIL("%zu blocks of %zu after %zu, not %zu", count, second, first, least(second));
            free_all(count, order);
        }
    }
}

CASE(all_pairs_freed_forwards) { all_pairs(FORWARDS); }
CASE(all_pairs_freed_backwards) { all_pairs(BACKWARDS); }
CASE(all_pairs_freed_shuffled) { all_pairs(SHUFFLED); }

static void *free_all_in_a_thread(void *count)
{
    free_all((size_t)count, SHUFFLED);
    return NULL;
}

CASE(all_pairs_freed_by_another_thread)
{
    for (size_t first = 8; first <= 4 * MIB; first *= 4) {
        for (size_t second = 8; second <= 4 * MIB; second *= 4) {
            size_t sizes[] = {first, second};
            for (int i = 0; i < 2; i++) {
                size_t count = fill_all(sizes[i]);
                if (count < least(sizes[i]))
                    FAIL("%zu blocks of %zu in pair %zu, %zu, not %zu", count, sizes[i], first, second,
                         least(sizes[i]));
                pthread_t thread;
                START(thread, free_all_in_a_thread, (void *)count);
                JOIN(thread);
            }
        }
    }
}

/* Not powers of two, and aligned: the odd remains of one size must serve the others too. */
CASE(odd_sizes_and_alignments)
{
    static const size_t sizes[] = {24, 100, 700, 3000, 9000, 40000, 130000, 500000, 3000000};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        for (size_t j = 0; j < ARRAY_LENGTH(sizes); j++) {
            size_t count = fill_all(sizes[i]);
            free_all(count, SHUFFLED);
            for (count = 0; (block[count] = memalign(4096, sizes[j])) != NULL; count++) {
            }
            size_t pages = (sizes[j] + 4095) / 4096 * 4096;
            if (count < least(pages))
                FAIL("%zu aligned blocks of %zu after %zu", count, sizes[j], sizes[i]);
            free_all(count, SHUFFLED);
        }
    }
}
