/* Allocate one size until the pool is full, free everything, allocate another size until it is full: for
 * every pair of sizes everything is reused. Written for pools of 14 to 32 MiB. */
#include "case.h"

enum { MOST = 4 << 20, SIZES = 20 };

static void *block[MOST];

static size_t fill_all(size_t alignment, size_t size)
{
    size_t count = 0;
    errno = 0;
    while (count < MOST) {
        void *p = alignment > 0 ? memalign(alignment, size) : malloc(size);
        if (p == NULL) {
            CHECK_EQ(errno, ENOMEM);
            break;
        }
        memset(p, 1, size < 8 ? size : 8);
        block[count++] = p;
    }
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

/* What a process that has done nothing else can get. */
CASE(fresh)
{
    if (case_arguments[0] == NULL)
        return;
    size_t count = fill_all(strtoul(case_arguments[0], NULL, 10), strtoul(case_arguments[1], NULL, 10));
    free_all(count, FORWARDS);
    say("count %zu\n", count);
}

static size_t fresh_count(size_t alignment, size_t size)
{
    int ends[2];
    char text[200] = "", words[2][30];
    size_t count = 0;
    CHECK_EQ(pipe(ends), 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        snprintf(words[0], sizeof words[0], "%zu", alignment);
        snprintf(words[1], sizeof words[1], "%zu", size);
        dup2(ends[1], 1);
        execl("/proc/self/exe", "reuse", "fresh", words[0], words[1], (char *)NULL);
        FAIL("exec");
    }
    close(ends[1]);
    CHECK_GE(read(ends[0], text, sizeof text - 1), 1);
    close(ends[0]);
    CHECK_CHILD(pid);
    CHECK_EQ(sscanf(text, "count %zu", &count), 1);
    return count;
}

/* Judges one fill after another and remembers the worst. A block more or less is no matter: where the
 * blocks are large, it is many per cent. */
static struct worst {
    size_t first, second, count, fresh;
    int pairs, bad;
} worst;

static void judge(size_t first, size_t second, size_t count, size_t fresh, int per_cent)
{
    worst.pairs++;
    if ((count + 1) * 100 >= fresh * (size_t)per_cent)
        return;
    worst.bad++;
    if (worst.fresh == 0 || count * worst.fresh < worst.count * fresh) {
        worst.first = first, worst.second = second;
        worst.count = count, worst.fresh = fresh;
    }
}

static void finish(void)
{
    CHECK_GE(worst.pairs, 10);
    if (worst.bad > 0)
        FAIL("%d of %d pairs, worst: %zu blocks of %zu after blocks of %zu, fresh %zu", worst.bad,
             worst.pairs, worst.count, worst.second, worst.first, worst.fresh);
}

static void all_pairs(enum order order)
{
    size_t fresh[SIZES];
    for (int i = 0; i < SIZES; i++) {
        fresh[i] = fresh_count(0, (size_t)8 << i);
        CHECK_GE(fresh[i], pool_bytes() / 100 * 93 / ((size_t)8 << i));
    }
    for (int i = 0; i < SIZES; i++) {
        for (int j = 0; j < SIZES; j++) {
            size_t first = (size_t)8 << i, second = (size_t)8 << j;
            free_all(fill_all(0, first), order);
            size_t count = fill_all(0, second);
            /* Freed in no order, the last slots that a thread keeps lie far apart, and slabs of many
             * slots of the second size are placed between them before the pool is full. */
            judge(first, second, count, fresh[j], order == SHUFFLED ? 98 : 99);
            free_all(count, order);
        }
    }
    finish();
}

CASE(all_pairs_freed_forwards) { all_pairs(FORWARDS); }
CASE(all_pairs_freed_backwards) { all_pairs(BACKWARDS); }
CASE(all_pairs_freed_shuffled) { all_pairs(SHUFFLED); }

/* A thread that waits for work: it could not be started while the pool is full. It ends afterwards, for a
 * thread that lives on keeps a little of each size it has freed. */
static pthread_barrier_t begin;
static volatile size_t work;

static void *free_all_on_demand(void *unused)
{
    pthread_barrier_wait(&begin);
    free_all(work, SHUFFLED);
    return unused;
}

CASE(all_pairs_freed_by_another_thread)
{
    size_t fresh[SIZES];
    pthread_barrier_init(&begin, NULL, 2);
    for (int i = 0; i < SIZES; i += 2)
        fresh[i] = fresh_count(0, (size_t)8 << i);
    for (int i = 0; i < SIZES; i += 2) {
        for (int j = 0; j < SIZES; j += 2) {
            size_t first = (size_t)8 << i, second = (size_t)8 << j;
            pthread_t thread;
            START(thread, free_all_on_demand, NULL);
            work = fill_all(0, first);
            pthread_barrier_wait(&begin);
            JOIN(thread);
            size_t count = fill_all(0, second);
            judge(first, second, count, fresh[j], 98);
            free_all(count, SHUFFLED);
        }
    }
    finish();
}

/* Not powers of two, and aligned: the odd remains of one size must serve the others too. */
CASE(odd_sizes_and_alignments)
{
    static const size_t sizes[] = {24, 100, 700, 3000, 9000, 40000, 130000, 500000, 3000000};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        size_t fresh = fresh_count(4096, sizes[i]);
        for (size_t j = 0; j < ARRAY_LENGTH(sizes); j++) {
            free_all(fill_all(0, sizes[j]), SHUFFLED);
            size_t count = fill_all(4096, sizes[i]);
            judge(sizes[j], sizes[i], count, fresh, 98);
            free_all(count, SHUFFLED);
        }
    }
    finish();
}
