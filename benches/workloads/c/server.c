/* A server's worker threads: each replaces random blocks of its session table, then ends and leaves the
 * table to a successor, so that many blocks are freed by another thread than the one that allocated
 * them, and threads come and go. */
#include "workload.h"

struct session_table {
    void **blocks;
    uint32_t *sizes;
    uint64_t state, sum, generations;
    const struct options *options;
    struct crew *crew;
};

struct crew {
    pthread_mutex_t lock;
    pthread_cond_t done;
    uint64_t working;
};

static void replace_one(struct session_table *table, uint64_t value)
{
    const struct options *options = table->options;
    uint64_t slot = random_below(&table->state, options->slots);
    if (table->blocks[slot]) {
        table->sum += stamp_of(table->blocks[slot], table->sizes[slot]);
        free(table->blocks[slot]);
    }
    uint32_t size = (uint32_t)(options->min + random_below(&table->state, options->max - options->min + 1));
    table->blocks[slot] = checked(malloc(size));
    table->sizes[slot] = size;
    stamp(table->blocks[slot], size, value);
}

static void *work(void *argument)
{
    struct session_table *table = argument;
    for (uint64_t i = 0; i < table->options->count; i++)
        replace_one(table, i);
    if (--table->generations > 0) {
        pthread_t successor;
        if (pthread_create(&successor, NULL, work, table) != 0)
            fail("cannot create a thread");
        pthread_detach(successor);
        return NULL;
    }
    pthread_mutex_lock(&table->crew->lock);
    table->crew->working--;
    pthread_cond_signal(&table->crew->done);
    pthread_mutex_unlock(&table->crew->lock);
    return NULL;
}

static void server(const struct options *options, struct outcome *outcome)
{
    uint64_t generations = scaled(options), sum = 0;
    struct crew crew = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, options->threads};
    struct session_table *tables = own_pages(options->threads * sizeof *tables);
    for (uint64_t t = 0; t < options->threads; t++) {
        struct session_table *table = &tables[t];
        *table = (struct session_table){.state = random_stream(options->seed, t), .generations = generations,
                                        .options = options, .crew = &crew};
        table->blocks = own_pages(options->slots * sizeof *table->blocks);
        table->sizes = own_pages(options->slots * sizeof *table->sizes);
        for (uint64_t i = 0; i < options->slots; i++) /* the listener opens the sessions */
            replace_one(table, i);
    }
    for (uint64_t t = 0; t < options->threads; t++) {
        pthread_t first;
        if (pthread_create(&first, NULL, work, &tables[t]) != 0)
            fail("cannot create a thread");
        pthread_detach(first);
    }
    pthread_mutex_lock(&crew.lock);
    while (crew.working > 0)
        pthread_cond_wait(&crew.done, &crew.lock);
    pthread_mutex_unlock(&crew.lock);
    for (uint64_t t = 0; t < options->threads; t++) {
        for (uint64_t i = 0; i < options->slots; i++)
            free(tables[t].blocks[i]);
        sum += tables[t].sum;
    }
    outcome->ops = options->threads * generations * options->count;
    outcome->checksum = sum;
}
const struct workload workload_server = {
    "server", "sessions replaced by workers that hand over to successors (threads, min, max, slots, count)", server};
