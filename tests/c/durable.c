/* Persistent memory in a machine that has some. For libpmem and libpmem2; runs in the virtual machine of
 * tests/dax-vm.
 *
 *   durable probe FILE DEVICE    what the libraries say about a file on DAX and a device
 *   durable write FILE|DEVICE    records that are made durable, and one line that is not; then the power is cut
 *   durable check FILE|DEVICE lost|kept   all records are there; the line is not, or may be */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libpmem.h>
#include <libpmem2.h>

#define CHECK(condition)                                                                     \
    do {                                                                                     \
        if (!(condition)) {                                                                  \
            printf("line %d: %s (errno %d, %s, %s)\n", __LINE__, #condition, errno,          \
                   pmem_errormsg(), pmem2_errormsg());                                       \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)

enum {
    SIZE = 4 << 20,
    RECORDS = 400,
    SLOT = 4096, /* one for each record, the first of them for the count */
    UNFLUSHED = 2048, /* in the first slot: a line that nobody makes durable */
};

static char *map(const char *path, size_t *length)
{
    struct stat status;
    int is_pmem = 0;
    int is_device = stat(path, &status) == 0 && S_ISCHR(status.st_mode);
    char *base = pmem_map_file(path, is_device ? 0 : SIZE, is_device ? 0 : PMEM_FILE_CREATE, 0600,
                               length, &is_pmem);
    CHECK(base != NULL);
    CHECK(is_pmem);
    return base;
}

static size_t record_length(int number)
{
    static const size_t lengths[] = {8, 13, 64, 100, 255, 511, 512, 513, 1500, 4000};
    return lengths[number % 10];
}

static void fill(unsigned char *record, int number)
{
    for (size_t i = 0; i < SLOT; i++)
        record[i] = (unsigned char)(number * 37 + i + 1);
}

static char *place_of(char *base, int number)
{
    return base + (size_t)(number + 1) * SLOT + number % 64; /* any alignment */
}

static void write_records(const char *path)
{
    static const unsigned flags[] = {0, PMEM_F_MEM_NODRAIN, PMEM_F_MEM_TEMPORAL, PMEM_F_MEM_NONTEMPORAL,
                                     PMEM_F_MEM_WC, PMEM_F_MEM_WB, PMEM_F_MEM_NOFLUSH};
    unsigned char record[SLOT];
    size_t length;
    char *base = map(path, &length);
    volatile uint64_t *count = (volatile uint64_t *)base;
    pmem_memset_persist(base, 0, (size_t)(RECORDS + 2) * SLOT);
    for (int i = 0; i < RECORDS; i++) {
        unsigned how = flags[i % 7];
        size_t len = record_length(i) - (size_t)(i % 64 && record_length(i) == 4000 ? 64 : 0);
        fill(record, i);
        pmem_memcpy(place_of(base, i), record, len, how);
        if (how == PMEM_F_MEM_NOFLUSH)
            pmem_flush(place_of(base, i), len);
        if (how == PMEM_F_MEM_NOFLUSH || how == PMEM_F_MEM_NODRAIN)
            pmem_drain();
        *count = (uint64_t)i + 1;
        pmem_persist(base, 8);
    }
    memset(base + UNFLUSHED, 0xee, 64);
    int trigger = open("/proc/sysrq-trigger", O_WRONLY);
    CHECK(trigger >= 0);
    CHECK(write(trigger, "b", 1) == 1);
    for (;;)
        pause();
}

static void check_records(const char *path, const char *line)
{
    unsigned char record[SLOT];
    size_t length;
    char *base = map(path, &length);
    uint64_t count = *(uint64_t *)base;
    if (count != RECORDS) {
        printf("%llu records, not %d\n", (unsigned long long)count, RECORDS);
        exit(1);
    }
    for (int i = 0; i < RECORDS; i++) {
        size_t len = record_length(i) - (size_t)(i % 64 && record_length(i) == 4000 ? 64 : 0);
        fill(record, i);
        if (memcmp(place_of(base, i), record, len) != 0) {
            printf("record %d of %zu bytes is not whole\n", i, len);
            exit(1);
        }
    }
    unsigned char unflushed = (unsigned char)base[UNFLUSHED];
    if (strcmp(line, "lost") == 0 && unflushed != 0) {
        printf("the line that was not flushed is there: the machine forgets nothing\n");
        exit(1);
    }
    CHECK(unflushed == 0 || unflushed == 0xee);
}

static void probe(const char *file, const char *device)
{
    size_t length;
    char *base = map(file, &length);
    CHECK(length == SIZE);
    CHECK((uintptr_t)base % (2 << 20) == 0);
    CHECK(pmem_is_pmem(base, length) == 1);
    CHECK(pmem_is_pmem(base, length + 4096) == 0);
    CHECK(pmem_has_auto_flush() == 0);
    CHECK(pmem_deep_persist(base + 100, 5000) == 0);
    CHECK(pmem_unmap(base, length / 2) == 0);
    CHECK(pmem_is_pmem(base, length) == 0);
    CHECK(pmem_is_pmem(base + length / 2, length / 2) == 1);
    CHECK(pmem_unmap(base, length) == 0);

    base = map(device, &length);
    CHECK(length % (2 << 20) == 0);
    CHECK(pmem_deep_persist(base + 100, 5000) == 0);
    CHECK(pmem_deep_drain(base, length) == 0);
    CHECK(pmem_unmap(base, length) == 0);
    errno = 0;
    CHECK(pmem_map_file(device, length / 2, 0, 0, NULL, NULL) == NULL && errno == EINVAL);
    CHECK(pmem_map_file(device, 0, PMEM_FILE_EXCL, 0, NULL, NULL) == NULL && errno == EINVAL);
    base = pmem_map_file(device, length, PMEM_FILE_CREATE | PMEM_FILE_SPARSE, 0, NULL, NULL);
    CHECK(base != NULL);
    CHECK(pmem_unmap(base, length) == 0);

    const char *paths[] = {file, device};
    for (int i = 0; i < 2; i++) {
        int fd = open(paths[i], O_RDWR);
        struct pmem2_source *source = NULL;
        struct pmem2_config *config = NULL;
        struct pmem2_map *map = NULL;
        struct pmem2_badblock_context *bad = NULL;
        struct pmem2_badblock block;
        size_t size = 0, alignment = 0, id_length = 0;
        uint64_t count = 77;
        int node = -2;
        char id[200], word[9] = "";
        CHECK(pmem2_source_from_fd(&source, fd) == 0);
        CHECK(pmem2_source_size(source, &size) == 0 && size == (i ? length : SIZE));
        CHECK(pmem2_source_alignment(source, &alignment) == 0);
        CHECK(alignment == (i ? 2 << 20 : 4096));
        CHECK(pmem2_source_device_id(source, NULL, &id_length) == 0);
        CHECK(id_length > 4 && id_length < sizeof id);
        size_t little = id_length - 1;
        CHECK(pmem2_source_device_id(source, id, &little) == PMEM2_E_BUFFER_TOO_SMALL);
        CHECK(pmem2_source_device_id(source, id, &id_length) == 0);
        CHECK(strlen(id) == id_length - 1 && strncmp(id, "8680-", 5) == 0);
        CHECK(pmem2_source_device_usc(source, &count) == 0 && count == 3);
        CHECK(pmem2_source_numa_node(source, &node) == 0 && node >= -1);
        CHECK(pmem2_badblock_context_new(&bad, source) == 0);
        CHECK(pmem2_badblock_next(bad, &block) == PMEM2_E_NO_BAD_BLOCK_FOUND);
        pmem2_badblock_context_delete(&bad);
        CHECK(pmem2_source_pwrite_mcsafe(source, "at 12345", 9, 12345) == 0);
        CHECK(pmem2_source_pread_mcsafe(source, word, 9, 12345) == 0);
        CHECK(strcmp(word, "at 12345") == 0);
        CHECK(pmem2_source_pread_mcsafe(source, word, 9, size - 8) == PMEM2_E_LENGTH_OUT_OF_RANGE);
        CHECK(pmem2_config_new(&config) == 0);
        CHECK(pmem2_config_set_required_store_granularity(config, PMEM2_GRANULARITY_BYTE) == 0);
        CHECK(pmem2_map_new(&map, config, source) == PMEM2_E_GRANULARITY_NOT_SUPPORTED);
        CHECK(pmem2_config_set_required_store_granularity(config, PMEM2_GRANULARITY_CACHE_LINE) == 0);
        if (i) {
            CHECK(pmem2_config_set_sharing(config, PMEM2_PRIVATE) == 0);
            CHECK(pmem2_map_new(&map, config, source) == PMEM2_E_SRC_DEVDAX_PRIVATE);
            CHECK(pmem2_config_set_sharing(config, PMEM2_SHARED) == 0);
            CHECK(pmem2_config_set_offset(config, 4096) == 0);
            CHECK(pmem2_map_new(&map, config, source) == PMEM2_E_OFFSET_UNALIGNED);
            CHECK(pmem2_config_set_offset(config, 0) == 0);
            CHECK(pmem2_config_set_length(config, 4096) == 0);
            CHECK(pmem2_map_new(&map, config, source) == PMEM2_E_LENGTH_UNALIGNED);
            CHECK(pmem2_config_set_length(config, 0) == 0);
        }
        CHECK(pmem2_map_new(&map, config, source) == 0);
        CHECK(pmem2_map_get_store_granularity(map) == PMEM2_GRANULARITY_CACHE_LINE);
        char *address = pmem2_map_get_address(map);
        CHECK(strcmp(address + 12345, "at 12345") == 0);
        pmem2_get_memcpy_fn(map)(address, id, 100, 0);
        CHECK(pmem2_deep_flush(map, address, 100) == 0);
        CHECK(pmem2_map_delete(&map) == 0);
        CHECK(pmem2_config_delete(&config) == 0);
        CHECK(pmem2_source_delete(&source) == 0);
        close(fd);
    }
}

/* FILE has a bad block at 8192. */
static void bad(const char *file)
{
    struct pmem2_source *source = NULL;
    struct pmem2_badblock_context *context = NULL;
    struct pmem2_badblock block;
    char page[4096];
    CHECK(pmem2_source_from_fd(&source, open(file, O_RDWR)) == 0);
    CHECK(pmem2_badblock_context_new(&context, source) == 0);
    CHECK(pmem2_badblock_next(context, &block) == 0);
    CHECK(block.offset <= 8192 && block.offset + block.length > 8192 && block.length <= 4096);
    CHECK(pmem2_badblock_next(context, &block) == PMEM2_E_NO_BAD_BLOCK_FOUND);
    CHECK(pmem2_source_pread_mcsafe(source, page, 4096, 8192) == PMEM2_E_IO_FAIL);
    CHECK(pmem2_source_pread_mcsafe(source, page, 4096, 0) == 0);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "probe") == 0)
        probe(argv[2], argv[3]);
    else if (argc == 3 && strcmp(argv[1], "bad") == 0)
        bad(argv[2]);
    else if (argc == 3 && strcmp(argv[1], "write") == 0)
        write_records(argv[2]);
    else if (argc == 4 && strcmp(argv[1], "check") == 0)
        check_records(argv[2], argv[3]);
    else
        return 2;
    printf("ok %s\n", argv[1]);
    return 0;
}
