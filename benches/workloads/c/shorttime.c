/* What beginnings and ends cost: threads that live for a few allocations, processes that do nothing. */
#include "workload.h"

#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

struct brief {
    const struct options *options;
    uint64_t state, sum;
};

static void *live_briefly(void *argument)
{
    struct brief *brief = argument;
    const struct options *options = brief->options;
    enum { HELD = 10 };
    struct {
        void *block;
        size_t size;
    } held[HELD] = {{0}};
    for (uint64_t i = 0; i < options->count; i++) {
        if (held[i % HELD].block) {
            brief->sum += stamp_of(held[i % HELD].block, held[i % HELD].size);
            free(held[i % HELD].block);
        }
        held[i % HELD].size = random_size(&brief->state, options->min, options->max);
        held[i % HELD].block = checked(malloc(held[i % HELD].size));
        stamp(held[i % HELD].block, held[i % HELD].size, i);
    }
    for (int i = 0; i < HELD; i++)
        free(held[i].block);
    return NULL;
}

static void short_threads(const struct options *options, struct outcome *outcome)
{
    uint64_t rounds = scaled(options), threads = options->threads;
    struct brief *briefs = own_pages(threads * sizeof *briefs);
    for (uint64_t t = 0; t < threads; t++)
        briefs[t] = (struct brief){options, random_stream(options->seed, t), 0};
    for (uint64_t round = 0; round < rounds; round++)
        run_threads(threads, live_briefly, briefs, sizeof *briefs);
    for (uint64_t t = 0; t < threads; t++)
        outcome->checksum += briefs[t].sum;
    outcome->ops = rounds * threads;
}
const struct workload workload_short_threads = {
    "short-threads", "create and join threads that allocate a few blocks (threads, min, max, count)", short_threads};

static void start(const struct options *options, struct outcome *outcome)
{
    uint64_t rounds = scaled(options);
    char *const arguments[] = {"true", NULL};
    for (uint64_t round = 0; round < rounds; round++) {
        pid_t child;
        int status;
        if (posix_spawnp(&child, "true", NULL, NULL, arguments, environ) != 0 || waitpid(child, &status, 0) != child)
            fail("cannot start 'true'");
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            fail("'true' failed");
        outcome->checksum++;
    }
    outcome->ops = rounds;
}
const struct workload workload_start = {
    "start", "start the program 'true' again and again", start};
