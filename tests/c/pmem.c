/* libpmem: the contract. Cases get a directory, and "reference" when they run on the library of PMDK:
 * then a case that shows a defect of it expects the defect. */
#include "persist.h"

#include <libpmem.h>

static off_t length_of(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? status.st_size : -1;
}

static void make(const char *path, off_t length)
{
    close(make_open(path, length));
}

/* A refused call: NULL, errno, a message, and both results untouched. */
#define REFUSED(path, len, flags, code)                                                      \
    do {                                                                                     \
        size_t mapped_ = 77;                                                                 \
        int is_pmem_ = 78;                                                                   \
        errno = 0;                                                                           \
        CHECK(pmem_map_file(path, len, flags, 0600, &mapped_, &is_pmem_) == NULL);           \
        CHECK_EQ(errno, code);                                                               \
        CHECK_EQ(mapped_, 77);                                                               \
        CHECK_EQ(is_pmem_, 78);                                                              \
    } while (0)

CASE(versions)
{
    CHECK(pmem_check_version(1, 0) == NULL);
    CHECK(pmem_check_version(PMEM_MAJOR_VERSION, PMEM_MINOR_VERSION) == NULL);
    CHECK(strcmp(pmem_check_version(2, 0), "libpmem major version mismatch (need 2, found 1)") == 0);
    CHECK(strcmp(pmem_check_version(1, 2), "libpmem minor version mismatch (need 2, found 1)") == 0);
}

static void *message_of_thread(void *unused)
{
    (void)unused;
    return (void *)(uintptr_t)(unsigned char)pmem_errormsg()[0];
}

CASE(messages)
{
    CHECK(pmem_errormsg() != NULL);
    CHECK_EQ(pmem_errormsg()[0], 0);
    REFUSED(NULL, 0, 0, EINVAL);
    CHECK(strstr(pmem_errormsg(), "invalid (NULL) path") != NULL);
    pthread_t thread;
    void *first;
    CHECK_EQ(pthread_create(&thread, NULL, message_of_thread, NULL), 0);
    CHECK_EQ(pthread_join(thread, &first), 0);
    CHECK(first == NULL); /* another thread has its own */
    make(at("m"), 0);
    REFUSED(at("m"), 4096, 0x40, EINVAL);
    CHECK(strstr(pmem_errormsg(), "invalid flag specified 40") != NULL);
    REFUSED(at("none"), 0, 0, ENOENT);
    CHECK(strstr(pmem_errormsg(), strerror(ENOENT)) != NULL);
    unlink(at("m"));
}

CASE(refusals)
{
    char path[4200];
    strcpy(path, at("r"));
    make(path, 8192);
    REFUSED(path, 0, 0x10, EINVAL);
    REFUSED(path, (size_t)1 << 63, PMEM_FILE_CREATE, EINVAL);
    CHECK(strstr(pmem_errormsg(), "invalid file length") != NULL);
    REFUSED(path, 8192, 0, EINVAL);
    REFUSED(path, 0, PMEM_FILE_CREATE, EINVAL);
    REFUSED(case_arguments[0], 0, PMEM_FILE_TMPFILE, EINVAL);
    REFUSED(case_arguments[0], 4096, PMEM_FILE_CREATE, EISDIR);
    REFUSED(case_arguments[0], 0, 0, EISDIR);
    REFUSED(path, 4096, PMEM_FILE_CREATE | PMEM_FILE_EXCL, EEXIST);
    REFUSED(at("none"), 0, 0, ENOENT);
    REFUSED("/dev/null", 0, 0, EINVAL);
    REFUSED("/dev/null", 4096, PMEM_FILE_CREATE, EINVAL);
    REFUSED("/proc/self/maps/x", 0, 0, ENOTDIR);
    make(path, 0);
    REFUSED(path, 0, 0, EINVAL);
    unlink(path);
    /* A file that was made with EXCL goes again, one made without stays. */
    size_t huge = (size_t)1 << 62;
    CHECK(pmem_map_file(path, huge, PMEM_FILE_CREATE | PMEM_FILE_EXCL, 0600, NULL, NULL) == NULL);
    CHECK(errno == EFBIG || errno == ENOSPC);
    CHECK_EQ(length_of(path), -1);
    CHECK(pmem_map_file(path, huge, PMEM_FILE_CREATE, 0600, NULL, NULL) == NULL);
    CHECK(errno == EFBIG || errno == ENOSPC);
    CHECK_GE(length_of(path), 0);
    unlink(path);
}

CASE(a_device_that_is_none_has_a_message)
{
    REFUSED("/dev/null", 0, 0, EINVAL);
    CHECK(on_reference() || strstr(pmem_errormsg(), "/dev/null") != NULL);
}

CASE(mapping)
{
    char path[4200];
    strcpy(path, at("map"));
    size_t mapped = 0;
    int is_pmem = 7;
    char *base = pmem_map_file(path, 10000, PMEM_FILE_CREATE | PMEM_FILE_EXCL, 0640, &mapped,
                               &is_pmem);
    CHECK(base != NULL);
    CHECK_EQ(mapped, 10000);
    CHECK_EQ(is_pmem, pmem_is_pmem(base, mapped));
    CHECK_EQ((uintptr_t)base % (2 * MIB), 0);
    struct stat status;
    ZERO(stat(path, &status));
    CHECK_EQ(status.st_size, 10000);
    CHECK_EQ(status.st_mode & 0777, 0640);
    CHECK_GE(status.st_blocks * 512, 10000);
    strcpy(base + 9990, "durable");
    ZERO(pmem_msync(base + 9990, 8));
    char back[8] = "";
    int fd = open(path, O_RDONLY);
    CHECK_EQ(pread(fd, back, 8, 9990), 8);
    CHECK(strcmp(back, "durable") == 0);
    close(fd);
    ZERO(pmem_unmap(base, mapped));
    ZERO(pmem_unmap(base, mapped)); /* nothing there is no error */
    /* Both results are optional; without CREATE the whole file is mapped, other flags mean nothing. */
    base = pmem_map_file(path, 0, PMEM_FILE_EXCL | PMEM_FILE_SPARSE, 0, NULL, NULL);
    CHECK(base != NULL);
    CHECK(strcmp(base + 9990, "durable") == 0);
    ZERO(pmem_unmap(base, 10000));
    /* CREATE cuts and extends. */
    base = pmem_map_file(path, 5000, PMEM_FILE_CREATE, 0600, &mapped, NULL);
    CHECK(base != NULL);
    CHECK_EQ(length_of(path), 5000);
    ZERO(pmem_unmap(base, mapped));
    base = pmem_map_file(path, 3 * MIB, PMEM_FILE_CREATE | PMEM_FILE_SPARSE, 0600, &mapped, NULL);
    CHECK(base != NULL);
    CHECK_EQ(length_of(path), (off_t)(3 * MIB));
    ZERO(stat(path, &status));
    CHECK(status.st_blocks * 512 < (long)MIB);
    ZERO(pmem_unmap(base, mapped));
    unlink(path);
}

CASE(large_mappings_are_aligned_to_a_gigabyte)
{
    size_t mapped = 0;
    char *base = pmem_map_file(at("big"), (size_t)2 << 30, PMEM_FILE_CREATE | PMEM_FILE_SPARSE,
                               0600, &mapped, NULL);
    CHECK(base != NULL);
    CHECK_EQ((uintptr_t)base % ((size_t)1 << 30), 0);
    base[mapped - 1] = 1;
    ZERO(pmem_unmap(base, mapped));
    unlink(at("big"));
}

CASE(temporary_files)
{
    size_t mapped = 0;
    struct dirent *entry;
    char *base = pmem_map_file(case_arguments[0], MIB, PMEM_FILE_CREATE | PMEM_FILE_TMPFILE, 0,
                               &mapped, NULL);
    CHECK(base != NULL);
    CHECK_EQ(mapped, MIB);
    DIR *directory = opendir(case_arguments[0]);
    CHECK(directory != NULL);
    while ((entry = readdir(directory)) != NULL)
        CHECK(strncmp(entry->d_name, "pmem.", 5) != 0);
    closedir(directory);
    memset(base, 1, mapped);
    ZERO(pmem_unmap(base, mapped));
    base = pmem_map_file(case_arguments[0], MIB,
                         PMEM_FILE_CREATE | PMEM_FILE_TMPFILE | PMEM_FILE_EXCL, 0, &mapped, NULL);
    CHECK(base != NULL);
    ZERO(pmem_unmap(base, mapped));
    REFUSED(at("missing"), MIB, PMEM_FILE_CREATE | PMEM_FILE_TMPFILE, ENOENT);
}

CASE(unmapping)
{
    size_t mapped = 0;
    char *base = pmem_map_file(at("u"), 4 * MIB, PMEM_FILE_CREATE, 0600, &mapped, NULL);
    CHECK(base != NULL);
    MINUS_ONE(pmem_unmap(base + 1, 4096), EINVAL);
    MINUS_ONE(pmem_unmap(base, 0), EINVAL);
    ZERO(pmem_unmap(base + MIB, MIB));
    base[0] = base[2 * MIB] = 1;
    MINUS_ONE(pmem_msync(base, mapped), ENOMEM);
    ZERO(pmem_msync(base, 1));
    ZERO(pmem_msync(base + 2 * MIB + 100, 5000));
    ZERO(pmem_unmap(base, mapped));
    unlink(at("u"));
}

CASE(what_is_pmem)
{
    char memory[100];
    const char *forced = getenv("PMEM_IS_PMEM_FORCE");
    size_t mapped = 0;
    char *base = pmem_map_file(at("p"), MIB, PMEM_FILE_CREATE, 0600, &mapped, NULL);
    CHECK(base != NULL);
    CHECK_EQ(pmem_is_pmem(base, 0), 0);
    /* No direct access here, unless forced; then any memory is. */
    int expected = forced != NULL && strcmp(forced, "1") == 0;
    CHECK_EQ(pmem_is_pmem(base, mapped), expected);
    CHECK_EQ(pmem_is_pmem(memory, sizeof memory), expected);
    ZERO(setenv("PMEM_IS_PMEM_FORCE", expected ? "0" : "1", 1));
    CHECK_EQ(pmem_is_pmem(base, mapped), expected); /* read once */
    ZERO(pmem_unmap(base, mapped));
    unlink(at("p"));
}

CASE(flushing)
{
    size_t mapped = 0;
    char *base = pmem_map_file(at("f"), MIB, PMEM_FILE_CREATE, 0600, &mapped, NULL);
    CHECK(base != NULL);
    memset(base, 1, mapped);
    pmem_flush(base + 1, 1000);
    pmem_flush(base, 0);
    pmem_drain();
    pmem_persist(base + 63, 2);
    pmem_deep_flush(base, 5000);
    ZERO(pmem_deep_drain(base, 5000));
    ZERO(pmem_deep_drain(base, 0));
    ZERO(pmem_deep_persist(base + 5, 1));
    CHECK_EQ(pmem_has_hw_drain(), 0);
    int automatic = pmem_has_auto_flush();
    CHECK(automatic >= -1 && automatic <= 1);
    ZERO(pmem_unmap(base, mapped));
    MINUS_ONE(pmem_deep_drain(base, 4096), ENOMEM);
    MINUS_ONE(pmem_msync(base, 4096), ENOMEM);
    unlink(at("f"));
}

static const unsigned all_flags[] = {0,
                                     PMEM_F_MEM_NODRAIN,
                                     PMEM_F_MEM_NONTEMPORAL,
                                     PMEM_F_MEM_TEMPORAL,
                                     PMEM_F_MEM_WC,
                                     PMEM_F_MEM_WB,
                                     PMEM_F_MEM_NOFLUSH,
                                     PMEM_F_MEM_NOFLUSH | PMEM_F_MEM_NONTEMPORAL,
                                     PMEM_F_MEM_WC | PMEM_F_MEM_NODRAIN,
                                     ~0U};

CASE(movement)
{
    enum { SIZE = 16384 };
    static unsigned char area[SIZE], expected[SIZE];
    static const size_t lengths[] = {0,  1,  7,   8,   9,   15,  16,  31,  63,  64,   65,
                                     72, 96, 127, 200, 255, 256, 257, 511, 512, 1000, 5000};
    static const size_t places[] = {4096, 4097, 4104, 4152, 4160, 4100};
    for (size_t f = 0; f < ARRAY_LENGTH(all_flags); f++) {
        for (size_t l = 0; l < ARRAY_LENGTH(lengths); l++) {
            for (size_t p = 0; p < ARRAY_LENGTH(places); p++) {
                size_t to = places[p], len = lengths[l];
                size_t sources[] = {0, to + 8, to - 8, to + 100, to - 100, to, to - 3};
                for (size_t s = 0; s < ARRAY_LENGTH(sources); s++) {
                    for (size_t i = 0; i < SIZE; i++)
                        area[i] = expected[i] = (unsigned char)(i * 31 + (i >> 8));
                    memmove(expected + to, expected + sources[s], len);
                    void *given = s % 2 ? pmem_memmove(area + to, area + sources[s], len, all_flags[f])
                                        : pmem_memcpy(area + to, area + sources[s], len, all_flags[f]);
                    CHECK(given == area + to);
                    CHECK(memcmp(area, expected, SIZE) == 0);
                }
                memset(expected + to, 0xc3, len);
                CHECK(pmem_memset(area + to, 0x1c3, len, all_flags[f]) == area + to);
                CHECK(memcmp(area, expected, SIZE) == 0);
            }
        }
    }
    memset(area, 1, SIZE);
    CHECK(pmem_memmove_persist(area, area + 1, 100) == area);
    CHECK(pmem_memcpy_persist(area, area + 1000, 100) == area);
    CHECK(pmem_memset_persist(area, 2, 100) == area);
    CHECK(pmem_memmove_nodrain(area, area + 1, 100) == area);
    CHECK(pmem_memcpy_nodrain(area, area + 1000, 100) == area);
    CHECK(pmem_memset_nodrain(area, 2, 100) == area);
    pmem_drain();
    CHECK_EQ(area[99], 2);
    CHECK_EQ(area[100], 1);
}

static volatile int stop_reading;
static uint64_t word __attribute__((aligned(64)));

static void *reader(void *torn)
{
    const uint64_t low = 0x1111111111111111, high = 0xeeeeeeeeeeeeeeee;
    while (!stop_reading) {
        uint64_t now = __atomic_load_n(&word, __ATOMIC_RELAXED);
        if (now != low && now != high)
            *(uint64_t *)torn = now;
    }
    return NULL;
}

/* The library of PMDK writes a word as two halves. */
CASE(words_are_not_torn)
{
    const uint64_t values[] = {0x1111111111111111, 0xeeeeeeeeeeeeeeee};
    uint64_t torn = 0;
    pthread_t thread;
    word = values[0];
    CHECK_EQ(pthread_create(&thread, NULL, reader, &torn), 0);
    double end = seconds() + (on_reference() ? 20 : 2);
    for (unsigned i = 0; (i & 1023) || seconds() < end; i++) {
        pmem_memcpy(&word, &values[i & 1], 8, PMEM_F_MEM_NOFLUSH);
        if (torn && on_reference())
            break;
    }
    stop_reading = 1;
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK(on_reference() ? torn != 0 : torn == 0);
}

CASE(address_hint)
{
    CHECK(getenv("PMEM_MMAP_HINT") != NULL);
    size_t mapped = 0;
    char *first = pmem_map_file(at("h"), MIB, PMEM_FILE_CREATE, 0600, &mapped, NULL);
    char *second = pmem_map_file(at("h"), 0, 0, 0, &mapped, NULL);
    CHECK_EQ(first, (char *)0x10000000000);
    CHECK_EQ(second, (char *)0x10000000000 + 2 * MIB);
    ZERO(pmem_unmap(first, mapped));
    ZERO(pmem_unmap(second, mapped));
    unlink(at("h"));
}

static void *mapper(void *number)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/t-%d-%d", case_arguments[0], (int)getpid(), (int)(intptr_t)number);
    for (int i = 0; i < 200; i++) {
        size_t mapped = 0;
        char *base = pmem_map_file(path, 64 * KIB, PMEM_FILE_CREATE, 0600, &mapped, NULL);
        if (base == NULL)
            return "not mapped";
        base[0] = (char)(intptr_t)number;
        pmem_persist(base, 1);
        if (base[0] != (char)(intptr_t)number || pmem_unmap(base, mapped) != 0)
            return "lost";
    }
    unlink(path);
    return NULL;
}

CASE(threads_map_at_once)
{
    pthread_t threads[4];
    for (intptr_t i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, mapper, (void *)i), 0);
    for (int i = 0; i < 4; i++) {
        void *wrong;
        CHECK_EQ(pthread_join(threads[i], &wrong), 0);
        CHECK(wrong == NULL);
    }
}

#ifdef PMEM_LOG_USE_DEFAULT_FUNCTION
static char logged[200];

static void log_it(enum pmem_log_level level, const char *file, unsigned line, const char *function,
                   const char *message)
{
    (void)line;
    CHECK(file != NULL && function != NULL);
    snprintf(logged, sizeof logged, "%d %s", (int)level, message);
}

CASE(log_of_version_2)
{
    enum pmem_log_level level = PMEM_LOG_LEVEL_DEBUG;
    CHECK_EQ(pmem_log_get_threshold(PMEM_LOG_THRESHOLD, &level), 0);
    CHECK_EQ(level, PMEM_LOG_LEVEL_WARNING);
    CHECK_EQ(pmem_log_get_threshold(PMEM_LOG_THRESHOLD_AUX, &level), 0);
    CHECK_EQ(level, PMEM_LOG_LEVEL_HARK);
    errno = 0;
    CHECK_EQ(pmem_log_get_threshold((enum pmem_log_threshold)2, &level), 1);
    CHECK_EQ(errno, EINVAL);
    CHECK_EQ(pmem_log_get_threshold(PMEM_LOG_THRESHOLD, NULL), 1);
    CHECK_EQ(pmem_log_set_threshold(PMEM_LOG_THRESHOLD, (enum pmem_log_level)7), 1);
    CHECK_EQ(pmem_log_set_function(log_it), 0);
    REFUSED(NULL, 0, 0, EINVAL);
    CHECK(strcmp(logged, "2 invalid (NULL) path") == 0);
    logged[0] = 0;
    CHECK_EQ(pmem_log_set_threshold(PMEM_LOG_THRESHOLD, PMEM_LOG_LEVEL_FATAL), 0);
    REFUSED(NULL, 0, 0, EINVAL);
    CHECK_EQ(logged[0], 0);
    CHECK_EQ(pmem_log_set_function(PMEM_LOG_USE_DEFAULT_FUNCTION), 0);
}
#endif
