/* The contract of libpmemblk. */
#include "pools.h"

#define BLOCK ((size_t)512)

static PMEMblkpool *make(const char *path, size_t bsize)
{
    PMEMblkpool *pool = pmemblk_create(path, bsize, PMEMBLK_MIN_POOL, 0600);
    if (pool == NULL)
        FAIL("no pool: %s", pmemblk_errormsg());
    return pool;
}

static const unsigned char *block_of(unsigned char byte)
{
    static unsigned char block[65536];
    memset(block, byte, sizeof block);
    return block;
}

#define CHECK_BLOCK(pool, number, byte, size)                                                \
    do {                                                                                     \
        unsigned char found_block[65536];                                                    \
        memset(found_block, 0xee, sizeof found_block);                                       \
        CHECK_EQ(pmemblk_read(pool, found_block, number), 0);                                \
        for (size_t at_ = 0; at_ < (size); at_++)                                            \
            CHECK_EQ(found_block[at_], byte);                                                \
        CHECK_EQ(found_block[size], 0xee);                                                   \
    } while (0)

CASE(files_are_made_and_refused)
{
    const char *path = in_directory("blk");
    CHECK_FAILS(pmemblk_create(path, 0, PMEMBLK_MIN_POOL, 0600), EINVAL);
    CHECK_BEGINS(pmemblk_errormsg(), "Invalid block size 0");
    CHECK_FAILS(pmemblk_create(path, (size_t)1 << 32, PMEMBLK_MIN_POOL, 0600), EINVAL);
    CHECK_FAILS(pmemblk_create(path, 0xffffffff, PMEMBLK_MIN_POOL, 0600), EINVAL);
    CHECK_FAILS(pmemblk_create(path, 65536, PMEMBLK_MIN_POOL, 0600), EINVAL);
    CHECK_FAILS(pmemblk_create(path, BLOCK, PMEMBLK_MIN_POOL - 1, 0600), EINVAL);
    CHECK_FAILS(pmemblk_create(in_directory("nowhere/x"), BLOCK, PMEMBLK_MIN_POOL, 0600), ENOENT);
    CHECK(!exists(path));
    PMEMblkpool *pool = make(path, BLOCK);
    CHECK_EQ(pmemblk_bsize(pool), BLOCK);
    CHECK_EQ(pmemblk_nblock(pool), 32202);
    CHECK_FAILS(pmemblk_open(path, 0), EAGAIN);
    CHECK_MINUS(pmemblk_check(path, BLOCK), EAGAIN);
    pmemblk_close(pool);
    CHECK_FAILS(pmemblk_create(path, BLOCK, PMEMBLK_MIN_POOL, 0600), EEXIST);
    CHECK_FAILS(pmemblk_create(path, BLOCK, 0, 0600), EEXIST);
    CHECK_FAILS(pmemblk_open(path, 513), EINVAL);
    CHECK_BEGINS(pmemblk_errormsg(), "wrong bsize (513), pool created with bsize 512");
    CHECK_MINUS(pmemblk_check(path, 513), EINVAL);
    CHECK_EQ(pmemblk_check(path, BLOCK), 1);
    CHECK_EQ(pmemblk_check(path, 0), 1);
    CHECK_FAILS(pmemlog_open(path), EINVAL);
    CHECK_BEGINS(pmemlog_errormsg(), "wrong pool type: \"PMEMBLK\"");
    pool = pmemblk_open(path, 0);
    CHECK(pool != NULL);
    CHECK_EQ(pmemblk_bsize(pool), BLOCK);
    pmemblk_close(pool);
}

CASE(numbers_of_blocks)
{
    static const struct {
        size_t bsize, count;
    } sizes[] = {{1, 32202}, {512, 32202}, {513, 21439}, {520, 21439}, {4096, 3829}, {30000, 298}};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        const char *path = in_directory("blk");
        PMEMblkpool *pool = make(path, sizes[i].bsize);
        CHECK_EQ(pmemblk_bsize(pool), sizes[i].bsize);
        CHECK_EQ(pmemblk_nblock(pool), sizes[i].count);
        long long last = (long long)sizes[i].count - 1;
        CHECK_BLOCK(pool, last, 0, sizes[i].bsize);
        CHECK_EQ(pmemblk_write(pool, block_of(7), last), 0);
        CHECK_EQ(pmemblk_write(pool, block_of(8), 0), 0);
        CHECK_BLOCK(pool, last, 7, sizes[i].bsize);
        pmemblk_close(pool);
        CHECK_EQ(pmemblk_check(path, sizes[i].bsize), 1);
        pool = pmemblk_open(path, sizes[i].bsize);
        CHECK(pool != NULL);
        CHECK_BLOCK(pool, last, 7, sizes[i].bsize);
        CHECK_BLOCK(pool, 0, 8, sizes[i].bsize);
        CHECK_BLOCK(pool, 1, 0, sizes[i].bsize);
        pmemblk_close(pool);
        unlink(path);
    }
}

CASE(states_of_blocks)
{
    const char *path = in_directory("blk");
    PMEMblkpool *pool = make(path, BLOCK);
    unsigned char buffer[512];
    CHECK_EQ(pmemblk_set_zero(pool, 5), 0);
    CHECK_BLOCK(pool, 5, 0, BLOCK);
    CHECK_EQ(pmemblk_set_error(pool, 5), 0);
    CHECK_MINUS(pmemblk_read(pool, buffer, 5), EIO);
    CHECK_BEGINS(pmemblk_errormsg(), "EIO due to map entry error flag");
    CHECK_EQ(pmemblk_write(pool, block_of(3), 5), 0);
    CHECK_BLOCK(pool, 5, 3, BLOCK);
    CHECK_EQ(pmemblk_set_error(pool, 5), 0);
    CHECK_EQ(pmemblk_set_zero(pool, 5), 0);
    CHECK_EQ(pmemblk_set_zero(pool, 5), 0);
    CHECK_BLOCK(pool, 5, 0, BLOCK);
    CHECK_EQ(pmemblk_set_error(pool, 6), 0);
    long long count = (long long)pmemblk_nblock(pool);
    CHECK_MINUS(pmemblk_read(pool, buffer, -1), EINVAL);
    CHECK_BEGINS(pmemblk_errormsg(), "negative block number");
    CHECK_MINUS(pmemblk_read(pool, buffer, count), EINVAL);
    CHECK_BEGINS(pmemblk_errormsg(), "lba out of range (nlba 32202)");
    CHECK_MINUS(pmemblk_write(pool, buffer, -1), EINVAL);
    CHECK_MINUS(pmemblk_write(pool, buffer, count), EINVAL);
    CHECK_MINUS(pmemblk_set_zero(pool, -1), EINVAL);
    CHECK_MINUS(pmemblk_set_zero(pool, count), EINVAL);
    CHECK_MINUS(pmemblk_set_error(pool, -1), EINVAL);
    CHECK_MINUS(pmemblk_set_error(pool, count), EINVAL);
    pmemblk_close(pool);
    CHECK_EQ(pmemblk_check(path, BLOCK), 1);
    pool = pmemblk_open(path, BLOCK);
    CHECK_MINUS(pmemblk_read(pool, buffer, 6), EIO);
    CHECK_BLOCK(pool, 5, 0, BLOCK);
    pmemblk_close(pool);
}

CASE(existing_files_with_rubbish)
{
    const char *path = in_directory("blk");
    make_file(path, 20 * MIB);
    int fd = open(path, O_RDWR);
    char rubbish[4096];
    memset(rubbish, 0xa5, sizeof rubbish);
    for (off_t at = 4096; at < (off_t)(20 * MIB); at += 4096)
        CHECK_EQ(pwrite(fd, rubbish, 4096, at), 4096);
    close(fd);
    PMEMblkpool *pool = pmemblk_create(path, BLOCK, 0, 0600);
    if (pool == NULL)
        FAIL("no pool: %s", pmemblk_errormsg());
    CHECK_BLOCK(pool, 77, 0, BLOCK);
    CHECK_EQ(pmemblk_write(pool, block_of(1), 78), 0);
    CHECK_BLOCK(pool, 77, 0, BLOCK);
    CHECK_BLOCK(pool, 78, 1, BLOCK);
    pmemblk_close(pool);
    CHECK_EQ(pmemblk_check(path, BLOCK), 1);
}

CASE(nothing_is_laid_out_before_the_first_write)
{
    const char *path = in_directory("blk");
    PMEMblkpool *pool = make(path, BLOCK);
    unsigned char buffer[4096], zeros[4096] = {0};
    CHECK_BLOCK(pool, 0, 0, BLOCK);
    CHECK_EQ(pmemblk_set_zero(pool, 0), 0);
    int fd = open(path, O_RDONLY);
    CHECK_EQ(pread(fd, buffer, 4096, 8192), 4096);
    CHECK(memcmp(buffer, zeros, 4096) == 0);
    CHECK_EQ(pmemblk_set_error(pool, 0), 0);
    CHECK_EQ(pread(fd, buffer, 4096, 8192), 4096);
    CHECK(memcmp(buffer, "BTT_ARENA_INFO", 14) == 0);
    close(fd);
    pmemblk_close(pool);
}

static PMEMblkpool *shared_pool;
static volatile int stop;

static void *write_some(void *arg)
{
    unsigned char block[4096];
    for (int i = 0; i < 3000; i++) {
        memset(block, (*(int *)arg * 50 + i % 50) | 1, sizeof block);
        CHECK_EQ(pmemblk_write(shared_pool, block, i % 5), 0);
    }
    return NULL;
}

static void *read_some(void *arg)
{
    unsigned char block[4096];
    (void)arg;
    while (!stop)
        for (int number = 0; number < 5; number++) {
            CHECK_EQ(pmemblk_read(shared_pool, block, number), 0);
            for (size_t i = 1; i < sizeof block; i++)
                CHECK_EQ(block[i], block[0]);
        }
    return NULL;
}

CASE(readers_see_whole_blocks)
{
    const char *path = in_directory("blk");
    shared_pool = make(path, 4096);
    pthread_t writers[3], readers[2];
    int numbers[] = {1, 2, 3};
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&readers[i], NULL, read_some, NULL), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&writers[i], NULL, write_some, &numbers[i]), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_join(writers[i], NULL), 0);
    stop = 1;
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(readers[i], NULL), 0);
    pmemblk_close(shared_pool);
    CHECK_EQ(pmemblk_check(path, 4096), 1);
}

/* A feature that nobody knows and that forbids writing. */
CASE(read_only_by_a_feature)
{
    const char *path = in_directory("blk");
    PMEMblkpool *pool = make(path, BLOCK);
    CHECK_EQ(pmemblk_write(pool, block_of(5), 3), 0);
    pmemblk_close(pool);
    set_in_header(path, 20, 0x40);
    pool = pmemblk_open(path, BLOCK);
    CHECK(pool != NULL);
    CHECK_MINUS(pmemblk_write(pool, block_of(6), 3), EROFS);
    /* Before the number is looked at. */
    CHECK_MINUS(pmemblk_write(pool, block_of(6), -1), EROFS);
    CHECK_MINUS(pmemblk_set_zero(pool, 3), EROFS);
    CHECK_MINUS(pmemblk_set_error(pool, 3), EROFS);
    CHECK_BLOCK(pool, 3, 5, BLOCK);
    CHECK_BLOCK(pool, 4, 0, BLOCK);
    pmemblk_close(pool);
    CHECK_EQ(pmemblk_check(path, BLOCK), 1);
    set_in_header(path, 20, 0);
    pool = pmemblk_open(path, BLOCK);
    CHECK_EQ(pmemblk_write(pool, block_of(6), 3), 0);
    pmemblk_close(pool);
}

CASE(replicas_and_small_parts)
{
    const char *set = in_directory("set"), *a = in_directory("a"), *b = in_directory("b");
    make_set(set, "PMEMPOOLSET\n17M %s\nREPLICA\n17M %s\n", a, b);
    CHECK_FAILS(pmemblk_create(set, BLOCK, 0, 0600), ENOTSUP);
    make_set(set, "PMEMPOOLSET\n17M %s\n1M %s\n", a, b);
    CHECK_FAILS(pmemblk_create(set, BLOCK, 0, 0600), EINVAL);
    make_set(set, "PMEMPOOLSET\n8M %s\n8M %s\n", a, b); /* 16 MiB less a header: too small */
    CHECK_FAILS(pmemblk_create(set, BLOCK, 0, 0600), EINVAL);
    CHECK(!exists(a) && !exists(b));
}

CASE(versions_and_settings)
{
    CHECK(pmemblk_check_version(1, 0) == NULL && pmemblk_check_version(1, 1) == NULL);
    CHECK_BEGINS(pmemblk_check_version(0, 0), "libpmemblk major version mismatch (need 0, found 1)");
    int value = 7;
    CHECK_EQ(pmemblk_ctl_get(NULL, "prefault.at_open", &value), 0);
    CHECK_EQ(value, 0);
    CHECK_MINUS(pmemblk_ctl_set(NULL, "prefault.at_close", &value), EINVAL);
    value = 1;
    CHECK_EQ(pmemblk_ctl_set(NULL, "prefault.at_create", &value), 0);
    pmemblk_close(make(in_directory("blk"), BLOCK));
}

