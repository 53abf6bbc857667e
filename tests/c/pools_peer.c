/* One operation on a pool, for tests of two libraries on the same pools:
 *
 *   log-create PATH SIZE            log-append PATH SEED COUNT      log-verify PATH SEED COUNT     log-check PATH
 *   blk-create PATH BSIZE SIZE      blk-write PATH SEED COUNT       blk-verify PATH SEED COUNT     blk-check PATH
 *   log-append-for-ever PATH        blk-write-for-ever PATH         (say a number after each acknowledged operation)
 *   log-verify-any PATH             blk-verify-any PATH LEAST       (after such a one was killed)
 *   blk-dump PATH                   (a sum over all blocks)
 *
 * Record number i of a log has (i * 37 + seed) % 300 + 1 bytes of the value i + seed. Operation number i on blocks
 * writes, zeroes or spoils a block that depends on i and the seed; verifying replays them in memory.
 */
#include <errno.h>
#include <libpmemblk.h>
#include <libpmemlog.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *command;

static _Noreturn void fail(const char *what, const char *why)
{
    printf("%s: %s: %s (errno %d)\n", command, what, why, errno);
    exit(1);
}

static size_t record(unsigned char *bytes, long i, long seed)
{
    size_t size = (size_t)((i * 37 + seed) % 300 + 1);
    memset(bytes, (int)((i + seed) & 0xff), size);
    return size;
}

static unsigned char *content;
static size_t content_bytes;

static int collect(const void *buf, size_t len, void *arg)
{
    (void)arg;
    content = malloc(len + 1);
    memcpy(content, buf, len);
    content_bytes = len;
    return 1;
}

/* How many whole records the content has; it must end with one. */
static long records(long seed)
{
    unsigned char bytes[300];
    size_t at = 0;
    for (long i = 0;; i++) {
        if (at == content_bytes)
            return i;
        size_t size = record(bytes, i, seed);
        if (at + size > content_bytes || memcmp(content + at, bytes, size) != 0) {
            printf("record %ld is torn\n", i);
            exit(1);
        }
        at += size;
    }
}

static int logs(int argc, char **argv)
{
    const char *path = argv[2];
    long seed = argc > 3 ? atol(argv[3]) : 0, count = argc > 4 ? atol(argv[4]) : 0;
    if (strcmp(command, "log-check") == 0) {
        int result = pmemlog_check(path);
        if (result != 1)
            fail("check", pmemlog_errormsg());
        return 0;
    }
    PMEMlogpool *log = strcmp(command, "log-create") == 0
                           ? pmemlog_create(path, (size_t)atoll(argv[3]), 0600)
                           : pmemlog_open(path);
    if (log == NULL)
        fail("open", pmemlog_errormsg());
    unsigned char bytes[300];
    if (strcmp(command, "log-append") == 0) {
        for (long i = 0; i < count; i++) {
            size_t size = record(bytes, i, seed);
            struct iovec halves[2] = {{bytes, size / 2}, {bytes + size / 2, size - size / 2}};
            int result = i % 3 == 0 ? pmemlog_appendv(log, halves, 2) : pmemlog_append(log, bytes, size);
            if (result != 0)
                fail("append", pmemlog_errormsg());
        }
    } else if (strcmp(command, "log-append-for-ever") == 0) {
        for (long i = 0;; i++) {
            size_t size = record(bytes, i, 0);
            if (pmemlog_append(log, bytes, size) != 0)
                break;
            printf("%ld\n", i + 1);
            fflush(stdout);
        }
    } else if (strcmp(command, "log-verify") == 0) {
        pmemlog_walk(log, 0, collect, NULL);
        long found = records(seed);
        if (found != count) {
            printf("%ld records, not %ld\n", found, count);
            return 1;
        }
    } else if (strcmp(command, "log-verify-any") == 0) {
        pmemlog_walk(log, 0, collect, NULL);
        printf("%ld\n", records(0));
    } else if (strcmp(command, "log-rewind") == 0) {
        pmemlog_rewind(log);
    }
    pmemlog_close(log);
    return 0;
}

/* What operation i does: 0 zero, 1 error, else the byte of the block. */
static int operation(long i, long seed, long long blocks, long long *block)
{
    uint64_t x = (uint64_t)(i + 1) * 0x9e3779b97f4a7c15u + (uint64_t)seed * 0x2545f4914f6cdd1du;
    x ^= x >> 29;
    *block = (long long)(x % (uint64_t)(blocks < 500 ? blocks : 500)) * (blocks < 500 ? 1 : blocks / 500);
    return (int)(x >> 33) % 200;
}

static int apply(PMEMblkpool *pool, int what, long long block)
{
    static unsigned char bytes[1 << 16];
    if (what == 0)
        return pmemblk_set_zero(pool, block);
    if (what == 1)
        return pmemblk_set_error(pool, block);
    memset(bytes, what, pmemblk_bsize(pool));
    return pmemblk_write(pool, bytes, block);
}

/* What the blocks hold: a byte, -1 for an error. -2: torn. */
static int found(PMEMblkpool *pool, long long block)
{
    static unsigned char bytes[1 << 16];
    if (pmemblk_read(pool, bytes, block) != 0)
        return errno == EIO ? -1 : -3;
    for (size_t i = 1; i < pmemblk_bsize(pool); i++)
        if (bytes[i] != bytes[0])
            return -2;
    return bytes[0];
}

/* Whether the blocks are as after so many operations. */
static int verify(PMEMblkpool *pool, long seed, long count, int loud)
{
    long long blocks = (long long)pmemblk_nblock(pool), block;
    short *expected = calloc((size_t)blocks, sizeof *expected);
    for (long i = 0; i < count; i++) {
        int what = operation(i, seed, blocks, &block);
        expected[block] = (short)(what == 1 ? -1 : what);
    }
    for (block = 0; block < blocks; block++) {
        int is = found(pool, block);
        if (is != expected[block]) {
            if (loud)
                printf("block %lld holds %d, not %d\n", block, is, expected[block]);
            free(expected);
            return 0;
        }
    }
    free(expected);
    return 1;
}

static int blocks(int argc, char **argv)
{
    const char *path = argv[2];
    long seed = argc > 3 ? atol(argv[3]) : 0, count = argc > 4 ? atol(argv[4]) : 0;
    if (strcmp(command, "blk-check") == 0) {
        int result = pmemblk_check(path, 0);
        if (result == 0)
            printf("inconsistent\n");
        if (result < 0)
            fail("check", pmemblk_errormsg());
        return result != 1;
    }
    PMEMblkpool *pool = strcmp(command, "blk-create") == 0
                            ? pmemblk_create(path, (size_t)atoll(argv[3]), (size_t)atoll(argv[4]), 0600)
                            : pmemblk_open(path, 0);
    if (pool == NULL)
        fail("open", pmemblk_errormsg());
    long long number = (long long)pmemblk_nblock(pool), block;
    if (strcmp(command, "blk-write") == 0) {
        for (long i = 0; i < count; i++) {
            int what = operation(i, seed, number, &block);
            if (apply(pool, what, block) != 0)
                fail("write", pmemblk_errormsg());
        }
    } else if (strcmp(command, "blk-write-for-ever") == 0) {
        for (long i = 0;; i++) {
            int what = operation(i, 0, number, &block);
            if (apply(pool, what, block) != 0)
                fail("write", pmemblk_errormsg());
            printf("%ld\n", i + 1);
            fflush(stdout);
        }
    } else if (strcmp(command, "blk-verify") == 0) {
        if (!verify(pool, seed, count, 1))
            return 1;
    } else if (strcmp(command, "blk-verify-any") == 0) {
        /* The operation under way may have happened. */
        if (!verify(pool, 0, seed, 0) && !verify(pool, 0, seed + 1, 1))
            return 1;
    } else if (strcmp(command, "blk-dump") == 0) {
        uint64_t sum = 0;
        for (block = 0; block < number; block++)
            sum = sum * 1099511628211u + (uint64_t)(found(pool, block) + 5);
        printf("%llx\n", (unsigned long long)sum);
    }
    pmemblk_close(pool);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    command = argv[1];
    return command[0] == 'l' ? logs(argc, argv) : blocks(argc, argv);
}
