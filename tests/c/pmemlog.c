/* The contract of libpmemlog. */
#include "pools.h"

static PMEMlogpool *make(const char *path)
{
    PMEMlogpool *log = pmemlog_create(path, PMEMLOG_MIN_POOL, 0600);
    if (log == NULL)
        FAIL("no log: %s", pmemlog_errormsg());
    return log;
}

CASE(files_are_made_and_refused)
{
    const char *path = in_directory("log");
    CHECK_FAILS(pmemlog_create(path, PMEMLOG_MIN_POOL - 1, 0600), EINVAL);
    CHECK(!exists(path));
    CHECK_FAILS(pmemlog_create(in_directory("nowhere/x"), PMEMLOG_MIN_POOL, 0600), ENOENT);
    CHECK_FAILS(pmemlog_create(path, 0, 0600), ENOENT);
    CHECK_FAILS(pmemlog_open(path), ENOENT);
    CHECK_BEGINS(pmemlog_errormsg(), "open \"");

    umask(0777);
    PMEMlogpool *log = pmemlog_create(path, PMEMLOG_MIN_POOL + 100, 0640);
    CHECK(log != NULL);
    struct stat status;
    CHECK_EQ(stat(path, &status), 0);
    CHECK_EQ(status.st_mode & 07777, 0640);
    CHECK_EQ(status.st_size, PMEMLOG_MIN_POOL + 100);
    CHECK_EQ(pmemlog_nbyte(log), PMEMLOG_MIN_POOL - 8192);
    CHECK_EQ(pmemlog_tell(log), 0);

    /* An open log is locked, for this process too. */
    CHECK_FAILS(pmemlog_open(path), EAGAIN);
    CHECK_BEGINS(pmemlog_errormsg(), "flock \"");
    CHECK_MINUS(pmemlog_check(path), EAGAIN);
    pmemlog_close(log);
    CHECK_EQ(pmemlog_check(path), 1);
    CHECK_FAILS(pmemlog_create(path, PMEMLOG_MIN_POOL, 0600), EEXIST);
    CHECK_FAILS(pmemlog_create(path, 0, 0600), EEXIST);
    CHECK_BEGINS(pmemlog_errormsg(), "Non-empty file detected");
    CHECK_EQ(pmemlog_check(path), 1);
}

CASE(existing_files_are_taken)
{
    const char *path = in_directory("log");
    make_file(path, 3 * MIB + 5000);
    CHECK_EQ(chmod(path, 0604), 0);
    PMEMlogpool *log = pmemlog_create(path, 0, 0600);
    CHECK(log != NULL);
    CHECK_EQ(pmemlog_nbyte(log), 3 * MIB + 4096 - 8192);
    pmemlog_close(log);
    struct stat status;
    CHECK_EQ(stat(path, &status), 0);
    CHECK_EQ(status.st_mode & 07777, 0604);
    CHECK_GE(status.st_blocks * 512, 3 * MIB); /* holes are filled */

    make_file(path, 2 * MIB - 1);
    CHECK_FAILS(pmemlog_create(path, 0, 0600), EINVAL);
    CHECK(exists(path));
    CHECK_FAILS(pmemlog_open(path), EINVAL);
    make_file(path, 2 * MIB);
    poke(path, 4095, "x", 1);
    CHECK_FAILS(pmemlog_create(path, 0, 0600), EEXIST);
    make_file(path, 2 * MIB);
    poke(path, 4096, "rubbish in the descriptor and the data", 38);
    log = pmemlog_create(path, 0, 0600);
    CHECK(log != NULL);
    CHECK_EQ(pmemlog_tell(log), 0);
    pmemlog_close(log);
}

static size_t pieces[64];
static int piece_count, pieces_wanted;
static char collected[1 << 16];
static size_t collected_bytes;

static int collect(const void *buf, size_t len, void *arg)
{
    CHECK(arg == pieces);
    memcpy(collected + collected_bytes, buf, len);
    collected_bytes += len;
    pieces[piece_count++] = len;
    return piece_count < pieces_wanted;
}

static int walk(PMEMlogpool *log, size_t chunk, int wanted)
{
    piece_count = 0;
    collected_bytes = 0;
    pieces_wanted = wanted;
    pmemlog_walk(log, chunk, collect, pieces);
    return piece_count;
}

CASE(appends_and_walks)
{
    const char *path = in_directory("log");
    PMEMlogpool *log = make(path);
    CHECK_EQ(walk(log, 0, 9), 1); /* once, with nothing */
    CHECK_EQ(pieces[0], 0);
    CHECK_EQ(walk(log, 10, 9), 0);
    CHECK_EQ(pmemlog_append(log, "abcdefghij", 10), 0);
    CHECK_EQ(pmemlog_append(log, "", 0), 0);
    struct iovec vector[3] = {{"klm", 3}, {NULL, 0}, {"nopq", 4}};
    CHECK_EQ(pmemlog_appendv(log, vector, 3), 0);
    CHECK_EQ(pmemlog_appendv(log, vector, 0), 0);
    CHECK_MINUS(pmemlog_appendv(log, vector, -1), EINVAL);
    CHECK_BEGINS(pmemlog_errormsg(), "iovcnt is less than zero: -1");
    CHECK_EQ(pmemlog_tell(log), 17);
    CHECK_EQ(walk(log, 0, 9), 1);
    CHECK_EQ(collected_bytes, 17);
    CHECK(memcmp(collected, "abcdefghijklmnopq", 17) == 0);
    CHECK_EQ(walk(log, 5, 9), 4);
    CHECK_EQ(pieces[3], 2);
    CHECK_EQ(walk(log, 5, 2), 2);
    CHECK_EQ(walk(log, 17, 9), 1);
    pmemlog_close(log);

    log = pmemlog_open(path);
    CHECK(log != NULL);
    CHECK_EQ(walk(log, 0, 9), 1);
    CHECK(collected_bytes == 17 && memcmp(collected, "abcdefghijklmnopq", 17) == 0);
    pmemlog_rewind(log);
    CHECK_EQ(pmemlog_tell(log), 0);
    CHECK_EQ(pmemlog_append(log, "xyz", 3), 0);
    CHECK_EQ(pmemlog_tell(log), 3);
    pmemlog_close(log);
}

CASE(a_full_log)
{
    PMEMlogpool *log = make(in_directory("log"));
    size_t size = pmemlog_nbyte(log);
    char *bytes = malloc(size + 1);
    CHECK(bytes != NULL);
    memset(bytes, 7, size + 1);
    CHECK_MINUS(pmemlog_append(log, bytes, size + 1), ENOSPC);
    CHECK_BEGINS(pmemlog_errormsg(), "pmemlog_append: No space left on device");
    CHECK_EQ(pmemlog_tell(log), 0);
    CHECK_EQ(pmemlog_append(log, bytes, size), 0);
    CHECK_EQ(pmemlog_tell(log), (long long)size);
    CHECK_MINUS(pmemlog_append(log, bytes, 1), ENOSPC);
    CHECK_MINUS(pmemlog_append(log, bytes, 0), ENOSPC);
    struct iovec vector = {bytes, 0};
    CHECK_MINUS(pmemlog_appendv(log, &vector, 0), ENOSPC);
    pmemlog_rewind(log);
    CHECK_EQ(pmemlog_append(log, bytes, 1), 0);
    pmemlog_close(log);
}

CASE(damaged_headers)
{
    const char *path = in_directory("log");
    static const struct {
        off_t at;
        unsigned char byte;
        const char *text;
    } damages[] = {
        {16, 9, "unsafe to continue due to unknown incompat features"},
        {8, 2, "pool version 2 (library expects 1)"},
        {8, 0, "invalid major version (0)"},
        {0, 'X', "wrong pool type: \"XMEMLOG\""},
        {100, 1, "invalid checksum of pool header"},
        {4096 + 1, 0x21, "wrong start/end offsets"},
        {4096 + 10, 0x21, "wrong start/end offsets"},
        {4096 + 17, 0x10, ""}, /* below the beginning */
        {4096 + 20, 1, ""},    /* behind the end */
    };
    for (size_t i = 0; i < ARRAY_LENGTH(damages); i++) {
        unlink(path);
        pmemlog_close(make(path));
        poke(path, damages[i].at, &damages[i].byte, 1);
        CHECK_FAILS(pmemlog_open(path), EINVAL);
        CHECK_BEGINS(pmemlog_errormsg(), damages[i].text);
        CHECK_MINUS(pmemlog_check(path), EINVAL);
    }
    /* A compatible feature that nobody knows. The checksum covers it, so the pool is bad all the same. */
    unlink(path);
    pmemlog_close(make(path));
    CHECK_EQ(truncate(path, 3 * MIB), 0);
    CHECK_FAILS(pmemlog_open(path), EINVAL);
    CHECK_BEGINS(pmemlog_errormsg(), "wrong start/end offsets (start: 8192 end: 2097152), pool size 3145728");
}

/* A feature that nobody knows and that forbids writing. */
CASE(read_only_by_a_feature)
{
    const char *path = in_directory("log");
    PMEMlogpool *log = make(path);
    CHECK_EQ(pmemlog_append(log, "abc", 3), 0);
    pmemlog_close(log);
    set_in_header(path, 20, 0x40);
    log = pmemlog_open(path);
    CHECK(log != NULL);
    struct iovec vector = {"x", 1};
    CHECK_MINUS(pmemlog_append(log, "x", 1), EROFS);
    CHECK_MINUS(pmemlog_append(log, "", 0), EROFS);
    CHECK_MINUS(pmemlog_appendv(log, &vector, 1), EROFS);
    CHECK_MINUS(pmemlog_appendv(log, &vector, -1), EINVAL);
    errno = 0;
    pmemlog_rewind(log);
    CHECK_EQ(errno, EROFS);
    CHECK_EQ(pmemlog_tell(log), 3);
    CHECK_EQ(walk(log, 0, 9), 1);
    CHECK(collected_bytes == 3 && memcmp(collected, "abc", 3) == 0);
    pmemlog_close(log);
    CHECK_EQ(pmemlog_check(path), 1);
    set_in_header(path, 20, 0);
    log = pmemlog_open(path);
    CHECK_EQ(pmemlog_append(log, "x", 1), 0);
    pmemlog_close(log);
}

CASE(pool_sets)
{
    const char *set = in_directory("set"), *a = in_directory("a"), *b = in_directory("b");
    make_set(set, "PMEMPOOLSET\n4M %s\n3145828 %s # 3 MiB and something\n", a, b);
    PMEMlogpool *log = pmemlog_create(set, 0, 0600);
    if (log == NULL)
        FAIL("no log: %s", pmemlog_errormsg());
    CHECK_EQ(pmemlog_nbyte(log), 7327744);
    CHECK_FAILS(pmemlog_open(set), EAGAIN);
    pmemlog_close(log);
    CHECK_EQ(pmemlog_check(set), 1);
    CHECK_FAILS(pmemlog_create(set, 0, 0600), EEXIST);
    CHECK_FAILS(pmemlog_create(set, 8 * MIB, 0600), EEXIST);
    CHECK_EQ(unlink(b), 0);
    CHECK_FAILS(pmemlog_open(set), ENOENT);
    make_file(b, 3145828);
    CHECK_FAILS(pmemlog_open(set), EINVAL);
    make_file(b, 3145829);
    CHECK_EQ(unlink(a), 0);
    CHECK_FAILS(pmemlog_create(set, 0, 0600), EINVAL);
    CHECK(!exists(a));
    CHECK(exists(b));

    make_set(set, "PMEMPOOLSET\nOPTION SINGLEHDR\n4M %s\n3M %s\n", a, b);
    CHECK_EQ(unlink(b), 0);
    log = pmemlog_create(set, 0, 0600);
    CHECK(log != NULL);
    CHECK_EQ(pmemlog_nbyte(log), 7331840);
    pmemlog_close(log);
    make_set(set, "PMEMPOOLSET\n4M %s\n3M %s\n", a, b);
    CHECK_FAILS(pmemlog_open(set), EINVAL);
    make_set(set, "PMEMPOOLSET\n4M %s\nREPLICA\n4M %s\n", a, b);
    CHECK(pmemlog_open(set) == NULL);
    CHECK_FAILS(pmemlog_create(set, 0, 0600), ENOTSUP);
    CHECK_BEGINS(pmemlog_errormsg(), "replication not supported");
    make_set(set, "PMEMPOOLSET\n4M %s\n4M\n", a);
    CHECK_FAILS(pmemlog_open(set), EINVAL);
    CHECK(strstr(pmemlog_errormsg(), "set [invalid token found in the current line:3]") != NULL);
    make_set(set, "PMEMPOOLSET\n1M %s\n", in_directory("c"));
    CHECK_FAILS(pmemlog_create(set, 0, 0600), EINVAL);
    /* The same file twice. */
    make_set(set, "PMEMPOOLSET\n2M %s\n2M %s\n", in_directory("d"), in_directory("d"));
    errno = 0;
    CHECK(pmemlog_create(set, 0, 0600) == NULL);
    CHECK(errno == EAGAIN || errno == EEXIST);
    CHECK(!exists(in_directory("d")));
}

static int allocations, releases;

static void *counting_malloc(size_t size)
{
    allocations++;
    return malloc(size);
}

static void counting_free(void *ptr)
{
    releases += ptr != NULL;
    free(ptr);
}

CASE(versions_functions_and_settings)
{
    CHECK(pmemlog_check_version(1, 0) == NULL && pmemlog_check_version(1, 1) == NULL);
    CHECK_BEGINS(pmemlog_check_version(2, 0), "libpmemlog major version mismatch (need 2, found 1)");
    CHECK_BEGINS(pmemlog_check_version(1, 9), "libpmemlog minor version mismatch (need 9, found 1)");
    CHECK_BEGINS(pmemlog_errormsg(), "libpmemlog minor version mismatch (need 9, found 1)");

    int value = 7;
    CHECK_EQ(pmemlog_ctl_get(NULL, "fallocate.at_create", &value), 0);
    CHECK_EQ(value, 1);
    CHECK_EQ(pmemlog_ctl_get(NULL, "copy_on_write.at_open", &value), 0);
    CHECK_EQ(value, 0);
    CHECK_MINUS(pmemlog_ctl_get(NULL, "fallocate", &value), EINVAL);
    CHECK_MINUS(pmemlog_ctl_get(NULL, "nothing", &value), EINVAL);
    CHECK_BEGINS(pmemlog_errormsg(), "invalid query entry point nothing");
    CHECK_MINUS(pmemlog_ctl_get(NULL, NULL, &value), EINVAL);
    CHECK_MINUS(pmemlog_ctl_set(NULL, "fallocate.at_create", NULL), EINVAL);

    pmemlog_set_funcs(counting_malloc, counting_free, NULL, NULL);
    const char *path = in_directory("log");
    PMEMlogpool *log = make(path);
    CHECK(allocations > 0);
    CHECK_EQ(pmemlog_append(log, "kept", 4), 0);
    CHECK_EQ(pmemlog_ctl_get(log, "fallocate.at_create", &value), 0);
    pmemlog_close(log);
    CHECK(releases > 0);
    pmemlog_set_funcs(NULL, NULL, NULL, NULL);

    value = 1;
    CHECK_EQ(pmemlog_ctl_set(NULL, "copy_on_write.at_open", &value), 0);
    log = pmemlog_open(path);
    CHECK(log != NULL);
    CHECK_EQ(pmemlog_append(log, "lost", 4), 0);
    CHECK_EQ(pmemlog_tell(log), 8);
    pmemlog_close(log);
    value = 0;
    CHECK_EQ(pmemlog_ctl_set(NULL, "copy_on_write.at_open", &value), 0);
    log = pmemlog_open(path);
    CHECK_EQ(pmemlog_tell(log), 4);
    pmemlog_close(log);
}

static PMEMlogpool *shared_log;

static void *append_many(void *arg)
{
    char record[24];
    for (int i = 0; i < 2000; i++) {
        memset(record, *(char *)arg, sizeof record);
        CHECK_EQ(pmemlog_append(shared_log, record, sizeof record), 0);
    }
    return NULL;
}

CASE(threads_append_whole_records)
{
    shared_log = make(in_directory("log"));
    pthread_t threads[4];
    char names[] = "abcd";
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, append_many, &names[i]), 0);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(pmemlog_tell(shared_log), 4 * 2000 * 24);
    size_t counts[256] = {0};
    pmemlog_close(shared_log);
    char *bytes = malloc(PMEMLOG_MIN_POOL);
    int fd = open(in_directory("log"), O_RDONLY);
    CHECK(bytes != NULL && fd >= 0);
    CHECK_EQ(pread(fd, bytes, 4 * 2000 * 24, 8192), 4 * 2000 * 24);
    for (size_t record = 0; record < 4 * 2000; record++) {
        for (size_t i = 1; i < 24; i++)
            CHECK_EQ(bytes[record * 24 + i], bytes[record * 24]);
        counts[(unsigned char)bytes[record * 24]]++;
    }
    for (int i = 0; i < 4; i++)
        CHECK_EQ(counts[(unsigned char)names[i]], 2000);
}

