/* Threads on one log and on one pool of blocks, for tools that look for races: log PATH, blk PATH, race PATH. The last one
 * has a race of its own. */
#include <libpmemblk.h>
#include <libpmemlog.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define THREADS 3
#define ROUNDS 20

static PMEMlogpool *log_pool;
static PMEMblkpool *blk_pool;
static int plain;

static int look(const void *buf, size_t len, void *arg)
{
    const char *bytes = buf;
    for (size_t i = 0; i < len; i++)
        *(long *)arg += bytes[i];
    return 1;
}

static void *on_log(void *arg)
{
    char bytes[24];
    long sum = 0;
    for (int i = 0; i < ROUNDS; i++) {
        memset(bytes, *(int *)arg + i, sizeof bytes);
        if (pmemlog_append(log_pool, bytes, sizeof bytes) != 0)
            return "append";
        if (i % 10 == 0)
            pmemlog_walk(log_pool, sizeof bytes, look, &sum);
        if (i == ROUNDS / 2)
            pmemlog_rewind(log_pool);
        if (pmemlog_tell(log_pool) < 0)
            return "tell";
    }
    return NULL;
}

static void *on_blk(void *arg)
{
    char bytes[512], back[512];
    for (int i = 0; i < ROUNDS; i++) {
        long long block = i % 7;
        memset(bytes, *(int *)arg + i, sizeof bytes);
        if (pmemblk_write(blk_pool, bytes, block) != 0)
            return "write";
        if (pmemblk_read(blk_pool, back, block) != 0 || (i % 9 == 0 && pmemblk_set_zero(blk_pool, block) != 0))
            return "read";
        for (size_t at = 1; at < sizeof back; at++)
            if (back[at] != back[0])
                return "torn";
    }
    return NULL;
}

static void *on_nothing(void *arg)
{
    for (int i = 0; i < ROUNDS; i++)
        plain += *(int *)arg;
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    void *(*run)(void *) = on_nothing;
    if (strcmp(argv[1], "log") == 0) {
        run = on_log;
        log_pool = pmemlog_create(argv[2], PMEMLOG_MIN_POOL, 0600);
    } else if (strcmp(argv[1], "blk") == 0) {
        run = on_blk;
        blk_pool = pmemblk_create(argv[2], 512, PMEMBLK_MIN_POOL, 0600);
    }
    if (run != on_nothing && log_pool == NULL && blk_pool == NULL)
        return 3;
    pthread_t threads[THREADS];
    int numbers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        if (pthread_create(&threads[i], NULL, run, &numbers[i]) != 0)
            return 4;
    }
    int status = 0;
    for (int i = 0; i < THREADS; i++) {
        void *fault = NULL;
        pthread_join(threads[i], &fault);
        if (fault != NULL) {
            puts(fault);
            status = 5;
        }
    }
    if (log_pool != NULL)
        pmemlog_close(log_pool);
    if (blk_pool != NULL)
        pmemblk_close(blk_pool);
    puts("done");
    return status;
}
