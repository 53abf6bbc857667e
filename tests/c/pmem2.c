/* libpmem2: the contract. */
#include "persist.h"

#include <libpmem2.h>

#define PAGE ((size_t)4096)

static struct pmem2_source *file_source(size_t length)
{
    struct pmem2_source *source = NULL;
    int fd = make_open(at("file"), (off_t)length);
    unlink(at("file"));
    ZERO(pmem2_source_from_fd(&source, fd));
    CHECK(source != NULL);
    return source;
}

static struct pmem2_source *memory_source(size_t length)
{
    struct pmem2_source *source = NULL;
    ZERO(pmem2_source_from_anon(&source, length));
    return source;
}

static struct pmem2_config *config(enum pmem2_granularity granularity)
{
    struct pmem2_config *made = NULL;
    ZERO(pmem2_config_new(&made));
    ZERO(pmem2_config_set_required_store_granularity(made, granularity));
    return made;
}

static struct pmem2_config *pages(void)
{
    return config(PMEM2_GRANULARITY_PAGE);
}

static struct pmem2_map *map_of(struct pmem2_config *c, struct pmem2_source *s)
{
    struct pmem2_map *map = NULL;
    ZERO(pmem2_map_new(&map, c, s));
    CHECK(map != NULL);
    return map;
}

#define MAP_FAILS(c, s, code)                                                                \
    do {                                                                                     \
        struct pmem2_map *map_ = NULL;                                                       \
        CHECK_EQ(pmem2_map_new(&map_, c, s), code);                                          \
        CHECK(map_ == NULL);                                                                 \
        CHECK(pmem2_errormsg()[0] != 0);                                                     \
    } while (0)

CASE(sources)
{
    struct pmem2_source *source = (void *)1;
    CHECK_EQ(pmem2_source_from_fd(&source, -1), PMEM2_E_INVALID_FILE_HANDLE);
    CHECK(source == NULL);
    CHECK_EQ(pmem2_source_from_fd(&source, 1000), PMEM2_E_INVALID_FILE_HANDLE);
    int fd = make_open(at("s"), 100);
    int write_only = open(at("s"), O_WRONLY);
    source = (void *)1;
    CHECK_EQ(pmem2_source_from_fd(&source, write_only), PMEM2_E_INVALID_FILE_HANDLE);
    CHECK(source == NULL);
    int directory = open(case_arguments[0], O_RDONLY | O_DIRECTORY);
    source = (void *)1;
    CHECK_EQ(pmem2_source_from_fd(&source, directory), PMEM2_E_INVALID_FILE_TYPE);
    CHECK(source == NULL);
    CHECK_EQ(pmem2_source_from_fd(&source, open("/dev/null", O_RDWR)), PMEM2_E_INVALID_FILE_TYPE);
    ZERO(pmem2_source_from_fd(&source, fd));
    int got = -1;
    ZERO(pmem2_source_get_fd(source, &got));
    CHECK_EQ(got, fd);
    size_t size = 0, alignment = 0;
    ZERO(pmem2_source_size(source, &size));
    CHECK_EQ(size, 100);
    ZERO(pmem2_source_alignment(source, &alignment));
    CHECK_EQ(alignment, PAGE);
    ZERO(pmem2_source_delete(&source));
    CHECK(source == NULL);
    CHECK(fcntl(fd, F_GETFD) != -1); /* not the source's to close */
    source = memory_source(12345);
    ZERO(pmem2_source_size(source, &size));
    CHECK_EQ(size, 12345);
    ZERO(pmem2_source_alignment(source, &alignment));
    CHECK_EQ(alignment, PAGE);
    CHECK_EQ(pmem2_source_get_fd(source, &got), PMEM2_E_FILE_DESCRIPTOR_NOT_SET);
    ZERO(pmem2_source_delete(&source));
    unlink(at("s"));
}

CASE(devices_behind_sources)
{
    struct pmem2_source *source = file_source(4096), *memory = memory_source(4096);
    uint64_t count;
    size_t length = 0;
    int node;
    CHECK_EQ(pmem2_source_device_usc(source, &count), PMEM2_E_NOSUPP);
    CHECK_EQ(pmem2_source_device_id(source, NULL, &length), PMEM2_E_NOSUPP);
    CHECK_EQ(pmem2_source_numa_node(source, &node), PMEM2_E_DAX_REGION_NOT_FOUND);
    CHECK_EQ(pmem2_source_numa_node(memory, &node), PMEM2_E_NOSUPP);
}

CASE(reads_and_writes)
{
    struct pmem2_source *source = file_source(10000), *memory = memory_source(4096);
    char text[] = "text", back[5] = "";
    ZERO(pmem2_source_pwrite_mcsafe(source, text, 5, 9995));
    ZERO(pmem2_source_pread_mcsafe(source, back, 5, 9995));
    CHECK(strcmp(back, "text") == 0);
    CHECK_EQ(pmem2_source_pread_mcsafe(source, back, 5, 9996), PMEM2_E_LENGTH_OUT_OF_RANGE);
    CHECK_EQ(pmem2_source_pwrite_mcsafe(source, text, 10001, 0), PMEM2_E_LENGTH_OUT_OF_RANGE);
    CHECK_EQ(pmem2_source_pread_mcsafe(memory, back, 1, 0), PMEM2_E_SOURCE_TYPE_NOT_SUPPORTED);
    /* The library of PMDK subtracts and gets a huge length. */
    int beyond = pmem2_source_pread_mcsafe(source, back, 5, 20000);
    CHECK(on_reference() ? beyond == 0 : beyond == PMEM2_E_LENGTH_OUT_OF_RANGE);
}

CASE(configurations)
{
    struct pmem2_config *c = NULL;
    ZERO(pmem2_config_new(&c));
    CHECK_EQ(pmem2_config_set_required_store_granularity(c, (enum pmem2_granularity)3),
             PMEM2_E_GRANULARITY_NOT_SUPPORTED);
    CHECK_EQ(pmem2_config_set_offset(c, (size_t)1 << 63), PMEM2_E_OFFSET_OUT_OF_RANGE);
    ZERO(pmem2_config_set_offset(c, 1));
    ZERO(pmem2_config_set_length(c, SIZE_MAX));
    CHECK_EQ(pmem2_config_set_sharing(c, (enum pmem2_sharing_type)2), PMEM2_E_INVALID_SHARING_VALUE);
    CHECK_EQ(pmem2_config_set_protection(c, 1), PMEM2_E_INVALID_PROT_FLAG);
    ZERO(pmem2_config_set_protection(c, PMEM2_PROT_NONE));
    ZERO(pmem2_config_set_protection(c, PMEM2_PROT_READ | PMEM2_PROT_WRITE | PMEM2_PROT_EXEC));
    ZERO(pmem2_config_set_vm_reservation(c, NULL, 77));
    ZERO(pmem2_config_delete(&c));
    CHECK(c == NULL);
}

CASE(refused_maps)
{
    struct pmem2_source *source = file_source(3 * PAGE + 5), *empty = file_source(0);
    struct pmem2_source *nothing = memory_source(0), *read_only = NULL;
    struct pmem2_config *c = NULL;
    ZERO(pmem2_config_new(&c));
    MAP_FAILS(c, source, PMEM2_E_GRANULARITY_NOT_SET);
    MAP_FAILS(config(PMEM2_GRANULARITY_CACHE_LINE), source, PMEM2_E_GRANULARITY_NOT_SUPPORTED);
    MAP_FAILS(config(PMEM2_GRANULARITY_BYTE), source, PMEM2_E_GRANULARITY_NOT_SUPPORTED);
    MAP_FAILS(pages(), empty, PMEM2_E_SOURCE_EMPTY);
    MAP_FAILS(pages(), nothing, PMEM2_E_SOURCE_EMPTY);
    c = pages();
    ZERO(pmem2_config_set_offset(c, 100));
    MAP_FAILS(c, source, PMEM2_E_OFFSET_UNALIGNED);
    c = pages();
    ZERO(pmem2_config_set_length(c, 100));
    MAP_FAILS(c, source, PMEM2_E_LENGTH_UNALIGNED);
    ZERO(pmem2_config_set_length(c, 4 * PAGE));
    MAP_FAILS(c, source, PMEM2_E_MAP_RANGE);
    ZERO(pmem2_config_set_length(c, (size_t)INT64_MAX & ~(PAGE - 1)));
    ZERO(pmem2_config_set_offset(c, (size_t)INT64_MAX & ~(PAGE - 1)));
    MAP_FAILS(c, source, PMEM2_E_MAP_RANGE);
    close(make_open(at("ro"), 8192));
    ZERO(pmem2_source_from_fd(&read_only, open(at("ro"), O_RDONLY)));
    MAP_FAILS(pages(), read_only, PMEM2_E_NO_ACCESS);
    c = pages();
    ZERO(pmem2_config_set_protection(c, PMEM2_PROT_READ));
    struct pmem2_map *map = map_of(c, read_only);
    ZERO(pmem2_map_delete(&map));
    c = pages();
    ZERO(pmem2_config_set_sharing(c, PMEM2_PRIVATE));
    map = map_of(c, read_only); /* private stores need no right to write */
    ((char *)pmem2_map_get_address(map))[0] = 1;
    ZERO(pmem2_map_delete(&map));
    unlink(at("ro"));
}

CASE(maps)
{
    struct pmem2_source *source = file_source(3 * PAGE + 5);
    struct pmem2_map *map = map_of(pages(), source);
    CHECK_EQ(pmem2_map_get_size(map), 3 * PAGE + 5);
    CHECK_EQ(pmem2_map_get_store_granularity(map), PMEM2_GRANULARITY_PAGE);
    char *base = pmem2_map_get_address(map);
    CHECK_EQ((uintptr_t)base % (2 * MIB), 0);
    strcpy(base + 3 * PAGE, "tail");
    pmem2_get_persist_fn(map)(base + 3 * PAGE, 5);
    char back[5];
    ZERO(pmem2_source_pread_mcsafe(source, back, 5, 3 * PAGE));
    CHECK(strcmp(back, "tail") == 0);
    ZERO(pmem2_deep_flush(map, base, 3 * PAGE + 5));
    CHECK_EQ(pmem2_deep_flush(map, base, 3 * PAGE + 6), PMEM2_E_DEEP_FLUSH_RANGE);
    CHECK_EQ(pmem2_deep_flush(map, base - 1, 1), PMEM2_E_DEEP_FLUSH_RANGE);
    struct pmem2_config *c = pages();
    ZERO(pmem2_config_set_offset(c, PAGE));
    ZERO(pmem2_config_set_length(c, PAGE));
    struct pmem2_map *part = map_of(c, source);
    CHECK_EQ(pmem2_map_get_size(part), PAGE);
    base[PAGE] = 'x';
    CHECK_EQ(*(char *)pmem2_map_get_address(part), 'x');
    ZERO(pmem2_map_delete(&part));
    CHECK(part == NULL);
    ZERO(pmem2_map_delete(&map));
    CHECK(map == NULL);
    /* Memory and private maps need no flush. */
    struct pmem2_source *memory = memory_source(PAGE);
    map = map_of(config(PMEM2_GRANULARITY_BYTE), memory);
    CHECK_EQ(pmem2_map_get_store_granularity(map), PMEM2_GRANULARITY_BYTE);
    CHECK_EQ(pmem2_deep_flush(map, pmem2_map_get_address(map), 1), PMEM2_E_NOSUPP);
    ZERO(pmem2_map_delete(&map));
    c = config(PMEM2_GRANULARITY_BYTE);
    ZERO(pmem2_config_set_sharing(c, PMEM2_PRIVATE));
    map = map_of(c, source);
    CHECK_EQ(pmem2_map_get_store_granularity(map), PMEM2_GRANULARITY_BYTE);
    ZERO(pmem2_map_delete(&map));
}

CASE(forced_granularity)
{
    struct pmem2_source *source = file_source(PAGE);
    static const struct {
        const char *text;
        enum pmem2_granularity granularity;
    } texts[] = {
        {"BYTE", PMEM2_GRANULARITY_BYTE},
        {"byte", PMEM2_GRANULARITY_BYTE},
        {"CACHE_LINE", PMEM2_GRANULARITY_CACHE_LINE},
        {"CacheLine", PMEM2_GRANULARITY_CACHE_LINE},
        {"PAGE", PMEM2_GRANULARITY_PAGE},
        {"nonsense", PMEM2_GRANULARITY_PAGE},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        ZERO(setenv("PMEM2_FORCE_GRANULARITY", texts[i].text, 1));
        struct pmem2_map *map = map_of(pages(), source);
        CHECK_EQ(pmem2_map_get_store_granularity(map), texts[i].granularity);
        ZERO(pmem2_map_delete(&map));
    }
}

/* Functions depend on the granularity alone. */
CASE(functions)
{
    static const char *names[] = {"BYTE", "CACHE_LINE", "PAGE"};
    static unsigned char from[9000];
    pmem2_memcpy_fn copies[3];
    for (size_t i = 0; i < sizeof from; i++)
        from[i] = (unsigned char)(i * 7);
    for (int g = 0; g < 3; g++) {
        ZERO(setenv("PMEM2_FORCE_GRANULARITY", names[g], 1));
        struct pmem2_map *map = map_of(pages(), file_source(4 * PAGE));
        struct pmem2_map *other = map_of(pages(), file_source(PAGE));
        CHECK(pmem2_get_persist_fn(map) == pmem2_get_persist_fn(other));
        CHECK(pmem2_get_flush_fn(map) == pmem2_get_flush_fn(other));
        CHECK(pmem2_get_drain_fn(map) == pmem2_get_drain_fn(other));
        CHECK(pmem2_get_memmove_fn(map) == pmem2_get_memcpy_fn(map));
        CHECK(pmem2_get_memset_fn(map) == pmem2_get_memset_fn(other));
        CHECK((pmem2_get_flush_fn(map) == pmem2_get_persist_fn(map)) == (g == 2));
        copies[g] = pmem2_get_memcpy_fn(map);
        unsigned char *base = pmem2_map_get_address(map);
        for (unsigned flags = 0; flags < 64; flags++) {
            for (size_t len = 0; len < sizeof from; len = len * 3 + 1) {
                memset(base, 0, 4 * PAGE);
                CHECK(copies[g](base + 13, from, len, flags) == base + 13);
                CHECK(memcmp(base + 13, from, len) == 0);
                CHECK_EQ(base[13 + len], 0);
                CHECK(pmem2_get_memmove_fn(map)(base + 20, base + 13, len, flags) == base + 20);
                CHECK(memcmp(base + 20, from, len) == 0);
                CHECK(pmem2_get_memset_fn(map)(base + 5, 0x17f, len, flags) == base + 5);
                CHECK(len == 0 || (base[5] == 0x7f && base[4 + len] == 0x7f));
            }
        }
        pmem2_get_persist_fn(map)(base + 100, 5000);
        pmem2_get_flush_fn(map)(base + 100, 5000);
        pmem2_get_drain_fn(map)();
        ZERO(pmem2_map_delete(&map));
        ZERO(pmem2_map_delete(&other));
    }
    CHECK(copies[0] != copies[1] && copies[1] != copies[2]);
}

/* What lies outside of any map is skipped. */
CASE(page_persist_skips_what_is_no_map)
{
    struct pmem2_map *map = map_of(pages(), file_source(PAGE));
    char *base = pmem2_map_get_address(map);
    pmem2_persist_fn persist = pmem2_get_persist_fn(map);
    persist(base - 10 * PAGE, 20 * PAGE);
    ZERO(pmem2_map_delete(&map));
    persist(base, PAGE);
}

CASE(existing_memory)
{
    struct pmem2_source *source = file_source(4 * PAGE);
    int fd;
    ZERO(pmem2_source_get_fd(source, &fd));
    char *base = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(base != MAP_FAILED);
    struct pmem2_map *map = NULL, *second = NULL;
    ZERO(pmem2_map_from_existing(&map, source, base, 4 * PAGE, PMEM2_GRANULARITY_CACHE_LINE));
    CHECK(pmem2_map_get_address(map) == base);
    CHECK_EQ(pmem2_map_get_size(map), 4 * PAGE);
    CHECK_EQ(pmem2_map_from_existing(&second, source, base + PAGE, PAGE, PMEM2_GRANULARITY_PAGE),
             PMEM2_E_MAP_EXISTS);
    pmem2_get_memset_fn(map)(base, 7, 100, 0);
    ZERO(pmem2_map_delete(&map));
    CHECK_EQ(base[99], 7); /* still mapped */
    if (on_reference())
        return; /* persisting would never return */
    ZERO(pmem2_map_from_existing(&map, source, base, 4 * PAGE, PMEM2_GRANULARITY_PAGE));
    pmem2_get_persist_fn(map)(base, 4 * PAGE);
    pmem2_get_memcpy_fn(map)(base, base + PAGE, 100, 0);
    ZERO(pmem2_map_delete(&map));
}

CASE(reservations)
{
    struct pmem2_vm_reservation *r = NULL;
    CHECK_EQ(pmem2_vm_reservation_new(&r, NULL, 100), PMEM2_E_LENGTH_UNALIGNED);
    CHECK_EQ(pmem2_vm_reservation_new(&r, (void *)100, PAGE), PMEM2_E_ADDRESS_UNALIGNED);
    ZERO(pmem2_vm_reservation_new(&r, NULL, 0));
    int deleted = pmem2_vm_reservation_delete(&r);
    CHECK(on_reference() ? deleted == -EINVAL : deleted == 0 && r == NULL);
    ZERO(pmem2_vm_reservation_new(&r, NULL, 10 * PAGE));
    char *base = pmem2_vm_reservation_get_address(r);
    CHECK_EQ((uintptr_t)base % (2 * MIB), 0);
    CHECK_EQ(pmem2_vm_reservation_get_size(r), 10 * PAGE);
    struct pmem2_vm_reservation *other = NULL;
    CHECK_EQ(pmem2_vm_reservation_new(&other, base + PAGE, PAGE), PMEM2_E_MAPPING_EXISTS);

    struct pmem2_source *memory = memory_source(2 * PAGE);
    struct pmem2_config *c = pages();
    struct pmem2_map *found = (void *)1;
    CHECK_EQ(pmem2_vm_reservation_map_find_first(r, &found), PMEM2_E_MAPPING_NOT_FOUND);
    CHECK(found == NULL);
    ZERO(pmem2_config_set_vm_reservation(c, r, PAGE + 1));
    MAP_FAILS(c, memory, PMEM2_E_OFFSET_UNALIGNED);
    ZERO(pmem2_config_set_vm_reservation(c, r, 9 * PAGE));
    MAP_FAILS(c, memory, PMEM2_E_LENGTH_OUT_OF_RANGE);
    ZERO(pmem2_config_set_vm_reservation(c, r, PAGE));
    struct pmem2_map *first = map_of(c, memory);
    CHECK(pmem2_map_get_address(first) == base + PAGE);
    MAP_FAILS(c, memory, PMEM2_E_MAPPING_EXISTS);
    ZERO(pmem2_config_set_vm_reservation(c, r, 2 * PAGE));
    MAP_FAILS(c, memory, PMEM2_E_MAPPING_EXISTS);
    ZERO(pmem2_config_set_vm_reservation(c, r, 5 * PAGE));
    struct pmem2_map *second = map_of(c, file_source(2 * PAGE));

    ZERO(pmem2_vm_reservation_map_find(r, 0, 10 * PAGE, &found));
    CHECK(found == first);
    ZERO(pmem2_vm_reservation_map_find(r, 2 * PAGE, PAGE, &found));
    CHECK(found == first);
    ZERO(pmem2_vm_reservation_map_find(r, 3 * PAGE, 3 * PAGE, &found));
    CHECK(found == second);
    CHECK_EQ(pmem2_vm_reservation_map_find(r, 3 * PAGE, 2 * PAGE, &found),
             PMEM2_E_MAPPING_NOT_FOUND);
    CHECK(found == NULL);
    ZERO(pmem2_vm_reservation_map_find_first(r, &found));
    CHECK(found == first);
    ZERO(pmem2_vm_reservation_map_find_last(r, &found));
    CHECK(found == second);
    ZERO(pmem2_vm_reservation_map_find_next(r, first, &found));
    CHECK(found == second);
    ZERO(pmem2_vm_reservation_map_find_prev(r, second, &found));
    CHECK(found == first);
    CHECK_EQ(pmem2_vm_reservation_map_find_next(r, second, &found), PMEM2_E_MAPPING_NOT_FOUND);
    CHECK_EQ(pmem2_vm_reservation_map_find_prev(r, first, &found), PMEM2_E_MAPPING_NOT_FOUND);

    CHECK_EQ(pmem2_vm_reservation_delete(&r), PMEM2_E_VM_RESERVATION_NOT_EMPTY);
    CHECK_EQ(pmem2_vm_reservation_shrink(r, 0, 0), PMEM2_E_LENGTH_OUT_OF_RANGE);
    CHECK_EQ(pmem2_vm_reservation_shrink(r, 0, 10 * PAGE), PMEM2_E_NOSUPP);
    CHECK_EQ(pmem2_vm_reservation_shrink(r, 3 * PAGE, PAGE), PMEM2_E_NOSUPP);
    CHECK_EQ(pmem2_vm_reservation_shrink(r, 9 * PAGE, 2 * PAGE), PMEM2_E_LENGTH_OUT_OF_RANGE);
    CHECK_EQ(pmem2_vm_reservation_shrink(r, 10 * PAGE, PAGE), PMEM2_E_OFFSET_OUT_OF_RANGE);
    CHECK_EQ(pmem2_vm_reservation_shrink(r, 1, PAGE), PMEM2_E_OFFSET_UNALIGNED);
    CHECK_EQ(pmem2_vm_reservation_shrink(r, 0, 1), PMEM2_E_LENGTH_UNALIGNED);
    CHECK_EQ(pmem2_vm_reservation_shrink(r, 6 * PAGE, 4 * PAGE), PMEM2_E_VM_RESERVATION_NOT_EMPTY);
    ZERO(pmem2_vm_reservation_shrink(r, 8 * PAGE, 2 * PAGE));
    CHECK_EQ(pmem2_vm_reservation_get_size(r), 8 * PAGE);
    ZERO(pmem2_vm_reservation_extend(r, 0));
    CHECK_EQ(pmem2_vm_reservation_extend(r, 1), PMEM2_E_LENGTH_UNALIGNED);
    ZERO(pmem2_vm_reservation_extend(r, PAGE));
    CHECK_EQ(pmem2_vm_reservation_get_size(r), 9 * PAGE);
    ZERO(pmem2_map_delete(&first));
    CHECK_EQ(pmem2_vm_reservation_map_find(r, PAGE, PAGE, &found), PMEM2_E_MAPPING_NOT_FOUND);
    ZERO(pmem2_vm_reservation_shrink(r, 0, PAGE));
    CHECK(pmem2_vm_reservation_get_address(r) == base + PAGE);
    ZERO(pmem2_map_delete(&second));
    ZERO(pmem2_vm_reservation_delete(&r));
}

static long address_space(void)
{
    long total = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%ld", &total) == 1);
    fclose(file);
    return total * (long)PAGE;
}

/* The library of PMDK leaves 2 MiB of addresses behind each time. */
CASE(reservations_leave_nothing_behind)
{
    long before = address_space();
    for (int i = 0; i < 500; i++) {
        struct pmem2_vm_reservation *r = NULL;
        ZERO(pmem2_vm_reservation_new(&r, NULL, 4 * MIB));
        ZERO(pmem2_vm_reservation_delete(&r));
    }
    long grown = address_space() - before;
    CHECK(on_reference() ? grown > (long)(500 * MIB) : grown < (long)(4 * MIB));
}

CASE(bad_blocks)
{
    struct pmem2_source *source = file_source(4 * PAGE), *memory = memory_source(PAGE);
    struct pmem2_badblock_context *context = NULL;
    struct pmem2_badblock block = {1, 2};
    char data[4 * 4096];
    memset(data, 'd', sizeof data);
    ZERO(pmem2_source_pwrite_mcsafe(source, data, sizeof data, 0));
    CHECK_EQ(pmem2_badblock_context_new(&context, memory), PMEM2_E_NOSUPP);
    ZERO(pmem2_badblock_context_new(&context, source));
    CHECK_EQ(pmem2_badblock_next(context, &block), PMEM2_E_NO_BAD_BLOCK_FOUND);
    CHECK(on_reference() || (block.offset == 0 && block.length == 0));
    block.offset = block.length = PAGE;
    ZERO(pmem2_badblock_clear(context, &block));
    ZERO(pmem2_source_pread_mcsafe(source, data, sizeof data, 0));
    CHECK_EQ(data[PAGE - 1], 'd');
    CHECK_EQ(nonzero_at(data + PAGE, PAGE), -1);
    CHECK_EQ(data[2 * PAGE], 'd');
    size_t size;
    ZERO(pmem2_source_size(source, &size));
    CHECK_EQ(size, 4 * PAGE);
    pmem2_badblock_context_delete(&context);
    CHECK(context == NULL);
}

CASE(errors)
{
    struct pmem2_map *map = NULL;
    struct pmem2_config *c = NULL;
    ZERO(pmem2_config_new(&c));
    CHECK_EQ(pmem2_map_new(&map, c, memory_source(PAGE)), PMEM2_E_GRANULARITY_NOT_SET);
    char expected[300], got[300] = "";
    snprintf(expected, sizeof expected, "call 7: %s\n", pmem2_errormsg());
    int ends[2], old = dup(2);
    ZERO(pipe(ends));
    CHECK(old >= 0 && dup2(ends[1], 2) == 2);
    pmem2_perror("call %d", 7);
    CHECK(dup2(old, 2) == 2);
    CHECK(read(ends[0], got, sizeof got - 1) > 0);
    CHECK(strcmp(got, expected) == 0);
#ifdef OWN_LIBRARY /* declared by PMDK, too, and missing there */
    CHECK_EQ(pmem2_err_to_errno(PMEM2_E_NOSUPP), ENOTSUP);
    CHECK_EQ(pmem2_err_to_errno(PMEM2_E_IO_FAIL), EINVAL);
    CHECK_EQ(pmem2_err_to_errno(-ENOMEM), ENOMEM);
#endif
}

static void *churn(void *reservation)
{
    for (int i = 0; i < 300; i++) {
        struct pmem2_config *c = pages();
        struct pmem2_source *s = memory_source(PAGE);
        struct pmem2_map *map = NULL;
        ZERO(pmem2_config_set_vm_reservation(c, reservation, (size_t)(i % 4) * PAGE));
        int result = pmem2_map_new(&map, c, s);
        CHECK(result == 0 || result == PMEM2_E_MAPPING_EXISTS);
        if (result == 0) {
            char *base = pmem2_map_get_address(map);
            base[0] = 1;
            ZERO(pmem2_map_delete(&map));
        }
        pmem2_config_delete(&c);
        pmem2_source_delete(&s);
    }
    return NULL;
}

CASE(threads_share_a_reservation)
{
    struct pmem2_vm_reservation *r = NULL;
    pthread_t threads[4];
    ZERO(pmem2_vm_reservation_new(&r, NULL, 4 * PAGE));
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, churn, r), 0);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    ZERO(pmem2_vm_reservation_delete(&r));
}
