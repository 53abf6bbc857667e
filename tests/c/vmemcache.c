/* The tables of the contract: every function, every error number, the edges. */
#include "vmemcache.h"

static const enum vmemcache_repl_p POLICIES[] = {VMEMCACHE_REPLACEMENT_NONE,
                                                 VMEMCACHE_REPLACEMENT_LRU};

/* ---- settings ---- */

CASE(handles_are_made_and_deleted)
{
    VMEMcache *first = make_handle(), *second = make_handle();
    CHECK(first != second);
    vmemcache_delete(first);
    vmemcache_delete(second);
    VMEMcache *cache = make_cache();
    CHECK_OK(put_number(cache, 1, 100));
    vmemcache_delete(cache);
}

CASE(sizes_have_limits)
{
    static const size_t refused[] = {0, 1, 1024 * 1024 - 1, (size_t)1 << 56, ((size_t)1 << 56) + 1,
                                     SIZE_MAX};
    static const size_t taken[] = {1024 * 1024, 1024 * 1024 + 1, 10 * MIB, ((size_t)1 << 56) - 1};
    VMEMcache *cache = make_handle();
    for (size_t i = 0; i < ARRAY_LENGTH(refused); i++)
        CHECK_REFUSED(vmemcache_set_size(cache, refused[i]), EINVAL);
    for (size_t i = 0; i < ARRAY_LENGTH(taken); i++)
        CHECK_OK(vmemcache_set_size(cache, taken[i]));
    CHECK_OK(vmemcache_set_size(cache, VMEMCACHE_MIN_POOL));
    CHECK_OK(vmemcache_add(cache, directory()));
    for (size_t i = 0; i < ARRAY_LENGTH(refused); i++)
        CHECK_REFUSED(vmemcache_set_size(cache, refused[i]), EALREADY);
    for (size_t i = 0; i < ARRAY_LENGTH(taken); i++)
        CHECK_REFUSED(vmemcache_set_size(cache, taken[i]), EALREADY);
}

CASE(extent_sizes_have_a_lower_limit)
{
    static const size_t refused[] = {0, 1, 255};
    static const size_t taken[] = {256, 257, 4096, SIZE_MAX};
    VMEMcache *cache = make_handle();
    for (size_t i = 0; i < ARRAY_LENGTH(refused); i++)
        CHECK_REFUSED(vmemcache_set_extent_size(cache, refused[i]), EINVAL);
    for (size_t i = 0; i < ARRAY_LENGTH(taken); i++)
        CHECK_OK(vmemcache_set_extent_size(cache, taken[i]));
    CHECK_OK(vmemcache_set_extent_size(cache, 257));
    CHECK_OK(vmemcache_add(cache, directory()));
    CHECK_REFUSED(vmemcache_set_extent_size(cache, 256), EALREADY);
}

CASE(policies_are_set_before_the_pool)
{
    for (size_t i = 0; i < ARRAY_LENGTH(POLICIES); i++) {
        VMEMcache *cache = make_handle();
        CHECK_OK(vmemcache_set_eviction_policy(cache, POLICIES[1 - i]));
        CHECK_OK(vmemcache_set_eviction_policy(cache, POLICIES[i]));
        CHECK_OK(vmemcache_add(cache, directory()));
        CHECK_REFUSED(vmemcache_set_eviction_policy(cache, POLICIES[i]), EALREADY);
        /* And it is the one that works. */
        CHECK_OK(put_number(cache, 1, 10));
        if (POLICIES[i] == VMEMCACHE_REPLACEMENT_LRU)
            CHECK_OK(vmemcache_evict(cache, NULL, 0));
        else
            CHECK_REFUSED(vmemcache_evict(cache, NULL, 0), ESRCH);
        vmemcache_delete(cache);
    }
}

CASE(the_policy_is_lru_unless_set)
{
    VMEMcache *cache = make_handle();
    CHECK_OK(vmemcache_add(cache, directory()));
    for (uint64_t i = 0; i < 3; i++)
        CHECK_OK(put_number(cache, i, 10));
    CHECK_OK(vmemcache_evict(cache, NULL, 0));
    CHECK(!has_number(cache, 0) && has_number(cache, 1));
}

/* ---- the pool ---- */

CASE(a_pool_is_added_once)
{
    VMEMcache *cache = make_cache();
    CHECK_REFUSED(vmemcache_add(cache, directory()), EBUSY);
    CHECK_REFUSED(vmemcache_add(cache, NULL), EBUSY);
    CHECK_REFUSED(vmemcache_add(cache, "/nowhere/at/all"), EBUSY);
    CHECK_OK(put_number(cache, 1, 10));
}

CASE(an_extent_larger_than_the_pool_is_refused)
{
    VMEMcache *cache = set_up(MIB, MIB + 1, VMEMCACHE_REPLACEMENT_LRU);
    CHECK_REFUSED(vmemcache_add(cache, directory()), EINVAL);
    CHECK_REFUSED(vmemcache_add(cache, NULL), EINVAL);
    CHECK_OK(vmemcache_set_extent_size(cache, SIZE_MAX));
    CHECK_REFUSED(vmemcache_add(cache, directory()), EINVAL);
    CHECK_OK(vmemcache_set_extent_size(cache, MIB));
    CHECK_OK(vmemcache_add(cache, directory()));
    CHECK_OK(put_number(cache, 1, 10));
    check_number(cache, 1, 10);
}

CASE(paths_are_checked)
{
    static char file[5000];
    VMEMcache *cache = set_up(MIB, 256, VMEMCACHE_REPLACEMENT_LRU);
    CHECK_TOLD(vmemcache_add(cache, NULL), EINVAL, "invalid (NULL) path");
    CHECK_REFUSED(vmemcache_add(cache, "/dev/null"), EINVAL);
    CHECK_REFUSED(vmemcache_add(cache, "/dev/zero"), EINVAL);
    CHECK_REFUSED(vmemcache_add(cache, "/nowhere/at/all"), ENOENT);
    CHECK_REFUSED(vmemcache_add(cache, ""), ENOENT);
    snprintf(file, sizeof file, "%s/regular", directory());
    int fd = open(file, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    close(fd);
    CHECK_TOLD(vmemcache_add(cache, file), ENOTDIR, "open: Not a directory");
    CHECK_EQ(unlink(file), 0);
    memset(file, 'x', sizeof file - 1);
    file[0] = '/';
    CHECK_REFUSED(vmemcache_add(cache, file), ENAMETOOLONG);
    /* File systems without nameless files, which do not take others either. */
    CHECK_REFUSED(vmemcache_add(cache, "/proc"), ENOENT);
    CHECK_REFUSED(vmemcache_add(cache, "/sys"), EACCES);
    /* After all that the handle is as good as new. */
    CHECK_OK(vmemcache_set_size(cache, 2 * MIB));
    CHECK_OK(vmemcache_set_extent_size(cache, 512));
    CHECK_OK(vmemcache_set_eviction_policy(cache, VMEMCACHE_REPLACEMENT_NONE));
    CHECK_OK(vmemcache_add(cache, directory()));
    CHECK_OK(put_number(cache, 1, MIB + MIB / 2));
    check_number(cache, 1, MIB + MIB / 2);
}

CASE(a_pool_has_one_mebibyte_unless_set)
{
    VMEMcache *cache = make_handle();
    CHECK_OK(vmemcache_add(cache, directory()));
    CHECK_OK(put_number(cache, 1, 900 * KIB));
    CHECK_REFUSED(put_number(cache, 2, MIB + 1), ENOSPC);
    check_number(cache, 1, 900 * KIB);
}

CASE(without_a_size_the_extent_may_be_larger)
{
    VMEMcache *cache = make_handle();
    CHECK_OK(vmemcache_set_extent_size(cache, 2 * MIB));
    CHECK_OK(vmemcache_add(cache, directory()));
    CHECK_OK(put_number(cache, 1, 100));
    CHECK_OK(put_number(cache, 2, 100));
    CHECK_STAT(cache, ENTRIES, 1);
    check_number(cache, 2, 100);
}

/* The mappings of files in the directory: flags, length, address. */
struct mapped {
    size_t count, bytes;
    uintptr_t address;
    char flags[5];
};

static struct mapped mapped(void)
{
    struct mapped all = {0, 0, 0, ""};
    char line[8192];
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        unsigned long first, last;
        char flags[5];
        int name = 0;
        if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %n", &first, &last, flags, &name) >= 3
            && strncmp(line + name, directory(), strlen(directory())) == 0) {
            all.count++;
            all.bytes += last - first;
            all.address = first;
            memcpy(all.flags, flags, 5);
        }
    }
    fclose(maps);
    return all;
}

static size_t names_in_directory(void)
{
    size_t count = 0;
    DIR *dir = opendir(directory());
    CHECK(dir != NULL);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

CASE(the_file_has_no_name_and_no_descriptor)
{
    size_t open_before = descriptors(), names = names_in_directory();
    CHECK_EQ(mapped().count, 0);
    VMEMcache *cache = make_cache_of(8 * MIB, 256, VMEMCACHE_REPLACEMENT_LRU);
    CHECK_EQ(descriptors(), open_before);
    CHECK_EQ(names_in_directory(), names);
    struct mapped pool = mapped();
    CHECK_EQ(pool.count, 1);
    CHECK_EQ(pool.bytes, 8 * MIB);
    CHECK_EQ(pool.address % (4 * MIB), 0);
    CHECK(strcmp(pool.flags, "rw-s") == 0);
    vmemcache_delete(cache);
    CHECK_EQ(mapped().count, 0);
    CHECK_EQ(descriptors(), open_before);
}

CASE(pools_are_rounded_up_to_pages)
{
    VMEMcache *cache = make_cache_of(MIB + 1, 256, VMEMCACHE_REPLACEMENT_LRU);
    CHECK_EQ(mapped().bytes, 0x101000);
    vmemcache_delete(cache);
}

/* ---- put ---- */

CASE(values_are_put_and_read_back)
{
    static const size_t sizes[] = {0, 1, 7, 8, 63, 64, 223, 224, 225, 255, 256, 257, 1000, 4095, 4096,
                                   4097, 17920, 65536, 100001, 300000};
    for (size_t p = 0; p < ARRAY_LENGTH(POLICIES); p++) {
        VMEMcache *cache = make_cache_of(4 * MIB, 256, POLICIES[p]);
        for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++)
            CHECK_OK(put_number(cache, i, sizes[i]));
        for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++)
            check_number(cache, i, sizes[i]);
        for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++)
            CHECK_OK(vmemcache_evict(cache, KEY(i)));
        CHECK_EMPTY(cache);
        vmemcache_delete(cache);
    }
}

CASE(a_value_larger_than_the_pool_evicts_nothing)
{
    for (size_t p = 0; p < ARRAY_LENGTH(POLICIES); p++) {
        VMEMcache *cache = make_cache_of(MIB, 256, POLICIES[p]);
        for (uint64_t i = 0; i < 10; i++)
            CHECK_OK(put_number(cache, i, 1000));
        CHECK_REFUSED(put_number(cache, 100, MIB + 1), ENOSPC);
        /* Lengths that no memory holds: the value is not looked at. */
        CHECK_REFUSED(vmemcache_put(cache, KEY(100), "x", opaque(SIZE_MAX)), ENOSPC);
        CHECK_REFUSED(vmemcache_put(cache, KEY(100), "x", opaque(SIZE_MAX / 2)), ENOSPC);
        CHECK_STAT(cache, ENTRIES, 10);
        CHECK_STAT(cache, EVICT, 0);
        CHECK_STAT(cache, PUT, 10);
        vmemcache_delete(cache);
    }
}

CASE(a_value_as_large_as_the_pool_does_not_fit)
{
    for (size_t p = 0; p < ARRAY_LENGTH(POLICIES); p++) {
        VMEMcache *cache = make_cache_of(MIB, 256, POLICIES[p]);
        CHECK_OK(put_number(cache, 1, 1000));
        CHECK_REFUSED(put_number(cache, 2, MIB), ENOSPC);
        CHECK_STAT(cache, PUT, 1);
        CHECK(!has_number(cache, 2));
        /* And the cache goes on. */
        CHECK_OK(put_number(cache, 3, 1000));
        check_number(cache, 3, 1000);
        vmemcache_delete(cache);
    }
}

CASE(a_value_of_nearly_the_pool_fits)
{
    /* As much as the reference stores in 1 MiB. */
    for (size_t p = 0; p < ARRAY_LENGTH(POLICIES); p++) {
        VMEMcache *cache = make_cache_of(MIB, 256, POLICIES[p]);
        CHECK_OK(put_number(cache, 1, 1040352));
        check_number(cache, 1, 1040352);
        if (POLICIES[p] == VMEMCACHE_REPLACEMENT_LRU)
            CHECK_OK(put_number(cache, 2, 1040352));
        else
            CHECK_REFUSED(put_number(cache, 2, 1040352), ENOSPC);
        CHECK_STAT(cache, ENTRIES, 1);
        vmemcache_delete(cache);
    }
}

CASE(room_is_made_one_entry_at_a_time)
{
    struct evictions evicted = {0};
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_evict(cache, note_eviction, &evicted);
    uint64_t number = 0;
    for (; evicted.count == 0; number++)
        CHECK_OK(put_number(cache, number, 5000));
    CHECK_EQ(evicted.count, 1);
    /* Entries of one size: each put evicts one, the oldest. */
    for (int i = 0; i < 500; i++, number++) {
        size_t before = evicted.count;
        CHECK_OK(put_number(cache, number, 5000));
        CHECK_EQ(evicted.count, before + 1);
        CHECK_EQ(evicted.numbers[before], before);
    }
    /* One that is three times as large evicts at most three or four. */
    size_t before = evicted.count;
    CHECK_OK(put_number(cache, number, 15000));
    CHECK_GE(4, evicted.count - before);
    CHECK_GE(evicted.count - before, 2);
    CHECK_STAT(cache, EVICT, evicted.count);
}

CASE(any_value_that_fits_the_free_space_is_stored)
{
    /* Free space in single extents that are not neighbours. */
    VMEMcache *cache = make_cache_without_policy();
    uint64_t count = 0;
    while (put_number(cache, count, 200) == 0)
        count++;
    CHECK_EQ(errno, ENOSPC);
    CHECK_GE(count, 3000);
    unsigned long long full = STAT(cache, POOL_SIZE_USED);
    for (uint64_t i = 0; i < count; i += 2)
        CHECK_OK(vmemcache_evict(cache, KEY(i)));
    unsigned long long room = full - STAT(cache, POOL_SIZE_USED);
    CHECK_GE(room, full / 3);
    CHECK_OK(put_number(cache, count, room / 10 * 8));
    check_number(cache, count, room / 10 * 8);
    for (uint64_t i = 1; i < count; i += 2)
        check_number(cache, i, 200);
}

CASE(without_a_policy_a_full_cache_refuses)
{
    VMEMcache *cache = make_cache_without_policy();
    uint64_t count = 0;
    while (put_number(cache, count, 10000) == 0)
        count++;
    CHECK_EQ(errno, ENOSPC);
    CHECK_REFUSED(put_number(cache, count, 10000), ENOSPC);
    CHECK_GE(count, 95);
    CHECK_STAT(cache, ENTRIES, count);
    CHECK_STAT(cache, PUT, count);
    CHECK_STAT(cache, EVICT, 0);
    for (uint64_t i = 0; i < count; i++)
        check_number(cache, i, 10000);
    CHECK_OK(vmemcache_evict(cache, KEY(3)));
    CHECK_OK(put_number(cache, count, 10000));
}

CASE(a_key_is_put_once)
{
    for (size_t p = 0; p < ARRAY_LENGTH(POLICIES); p++) {
        VMEMcache *cache = make_cache_of(MIB, 256, POLICIES[p]);
        CHECK_OK(vmemcache_put(cache, KEY(5), "first", 6));
        CHECK_REFUSED(vmemcache_put(cache, KEY(5), "second", 7), EEXIST);
        char value[16];
        CHECK_EQ(vmemcache_get(cache, KEY(5), value, sizeof value, 0, NULL), 6);
        CHECK(strcmp(value, "first") == 0);
        CHECK_STAT(cache, PUT, 1);
        CHECK_STAT(cache, ENTRIES, 1);
        CHECK_OK(vmemcache_evict(cache, KEY(5)));
        CHECK_OK(vmemcache_put(cache, KEY(5), "second", 7));
        CHECK_EQ(vmemcache_get(cache, KEY(5), value, sizeof value, 0, NULL), 7);
        CHECK(strcmp(value, "second") == 0);
        vmemcache_delete(cache);
    }
}

CASE(keys_are_bytes_of_any_length)
{
    static char long_key[100000];
    static const char *const keys[] = {"", "a", "ab", "b", "a\0", "a\0b", "\0", "\0\0", "\xff\xff"};
    static const size_t lengths[] = {0, 1, 2, 1, 2, 3, 1, 2, 2};
    VMEMcache *cache = make_cache_of(4 * MIB, 256, VMEMCACHE_REPLACEMENT_LRU);
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++)
        CHECK_OK(vmemcache_put(cache, keys[i], lengths[i], &i, sizeof i));
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        size_t value = 4711;
        CHECK_EQ(vmemcache_get(cache, keys[i], lengths[i], &value, sizeof value, 0, NULL),
                 sizeof value);
        CHECK_EQ(value, i);
    }
    /* Keys that differ in their last byte only, of all lengths around powers of two, and a long one. */
    size_t count = 0;
    for (size_t length = 1; length <= sizeof long_key; length = length < 300 ? length + 1 : length * 10 / 3) {
        for (int last = 1; last < 3; last++) {
            long_key[length - 1] = (char)last;
            CHECK_OK(vmemcache_put(cache, long_key, length, &length, sizeof length));
            count++;
        }
        long_key[length - 1] = 0;
    }
    size_t longest = sizeof long_key;
    CHECK_OK(vmemcache_put(cache, long_key, longest, &longest, sizeof longest));
    for (size_t length = 1; length <= sizeof long_key; length = length < 300 ? length + 1 : length * 10 / 3) {
        for (int last = 1; last < 3; last++) {
            size_t value = 0;
            long_key[length - 1] = (char)last;
            CHECK_EQ(vmemcache_get(cache, long_key, length, &value, sizeof value, 0, NULL),
                     sizeof value);
            CHECK_EQ(value, length);
        }
        long_key[length - 1] = 0;
    }
    CHECK_EQ(vmemcache_exists(cache, long_key, sizeof long_key, NULL), 1);
    CHECK_EQ(vmemcache_exists(cache, long_key, sizeof long_key - 1, NULL), 0);
    CHECK_STAT(cache, ENTRIES, ARRAY_LENGTH(keys) + count + 1);
    evict_all(cache);
    CHECK_EMPTY(cache);
}

CASE(nothing_is_a_key_and_a_value)
{
    char byte = 'x';
    size_t size = 4711;
    VMEMcache *cache = make_cache();
    CHECK_OK(vmemcache_put(cache, NULL, 0, NULL, 0));
    CHECK_GE(8, STAT(cache, POOL_SIZE_USED));
    CHECK_STAT(cache, ENTRIES, 1);
    CHECK_EQ(vmemcache_get(cache, NULL, 0, &byte, 1, 0, &size), 0);
    CHECK_EQ(size, 0);
    CHECK_EQ(byte, 'x');
    /* The same key, by another address. */
    CHECK_REFUSED(vmemcache_put(cache, "", 0, "1", 1), EEXIST);
    CHECK_EQ(vmemcache_exists(cache, "", 0, &size), 1);
    CHECK_OK(vmemcache_evict(cache, "", 0));
    CHECK_EQ(vmemcache_exists(cache, NULL, 0, NULL), 0);
    CHECK_EMPTY(cache);
    /* Entries without values take hardly more space of the pool than their keys. */
    for (uint64_t i = 0; i < 10000; i++)
        CHECK_OK(vmemcache_put(cache, KEY(i), NULL, 0));
    CHECK_GE(10000 * (8 + 8), STAT(cache, POOL_SIZE_USED));
    CHECK_STAT(cache, HEAP_ENTRIES, 1);
    CHECK_STAT(cache, ENTRIES, 10000);
    CHECK_STAT(cache, EVICT, 1);
    CHECK_EQ(evict_all(cache), 10000);
    CHECK_EMPTY(cache);
}

CASE(addresses_that_are_missing_are_refused)
{
    char byte;
    VMEMcache *cache = make_cache();
    CHECK_REFUSED(vmemcache_put(cache, NULL, 1, "x", 1), EINVAL);
    CHECK_REFUSED(vmemcache_put(cache, KEY(1), NULL, 1), EINVAL);
    CHECK_REFUSED(vmemcache_get(cache, NULL, 1, &byte, 1, 0, NULL), EINVAL);
    CHECK_REFUSED(vmemcache_exists(cache, NULL, 1, NULL), EINVAL);
    CHECK_REFUSED(vmemcache_get_stat(cache, VMEMCACHE_STAT_PUT, NULL, 8), EINVAL);
    CHECK_STAT(cache, ENTRIES, 0);
    CHECK_STAT(cache, GET, 0);
}

/* ---- get ---- */

CASE(offsets_and_buffers_choose_a_part)
{
    static const size_t offsets[] = {0, 1, 2, 4, 16, 18, 31, 32, 33, 100, SIZE_MAX, SIZE_MAX / 2};
    static const size_t rooms[] = {0, 1, 16, 31, 32, 33, 64};
    unsigned char value[32], buffer[80];
    VMEMcache *cache = make_cache();
    stamp(value, sizeof value, 7);
    CHECK_OK(vmemcache_put(cache, KEY(7), value, sizeof value));
    for (size_t i = 0; i < ARRAY_LENGTH(offsets); i++) {
        for (size_t j = 0; j < ARRAY_LENGTH(rooms); j++) {
            size_t left = offsets[i] < 32 ? 32 - offsets[i] : 0;
            size_t wanted = rooms[j] < left ? rooms[j] : left, size = 4711;
            memset(buffer, 0xee, sizeof buffer);
            CHECK_EQ(vmemcache_get(cache, KEY(7), buffer, rooms[j], offsets[i], &size), wanted);
            CHECK_EQ(size, 32);
            if (wanted != 0)
                CHECK(memcmp(buffer, value + offsets[i], wanted) == 0);
            for (size_t k = wanted; k < sizeof buffer; k++)
                CHECK_EQ(buffer[k], 0xee);
            CHECK_EQ(vmemcache_get(cache, KEY(7), buffer, rooms[j], offsets[i], NULL), wanted);
            size = 4711;
            CHECK_EQ(vmemcache_get(cache, KEY(7), NULL, rooms[j], offsets[i], &size), 0);
            CHECK_EQ(size, 32);
        }
    }
}

CASE(parts_of_values_in_many_pieces)
{
    /* Holes of one extent, filled by one value. */
    static unsigned char value[200000], buffer[200000];
    uint64_t state = 42;
    VMEMcache *cache = make_cache_without_policy();
    uint64_t count = 0;
    while (put_number(cache, count, 200) == 0)
        count++;
    for (uint64_t i = 0; i < count; i += 2)
        CHECK_OK(vmemcache_evict(cache, KEY(i)));
    for (size_t i = 0; i < sizeof value; i++)
        value[i] = (unsigned char)(next_random(&state) >> 32);
    CHECK_OK(vmemcache_put(cache, KEY(count), value, sizeof value));
    for (int i = 0; i < 3000; i++) {
        size_t offset = next_random(&state) % (sizeof value + 1000);
        size_t room = next_random(&state) % (i % 2 != 0 ? 1000 : sizeof value);
        size_t left = offset < sizeof value ? sizeof value - offset : 0;
        size_t wanted = room < left ? room : left, size = 0;
        CHECK_EQ(vmemcache_get(cache, KEY(count), buffer, room, offset, &size), wanted);
        CHECK_EQ(size, sizeof value);
        if (wanted != 0)
            CHECK(memcmp(buffer, value + offset, wanted) == 0);
    }
}

CASE(a_miss_is_enoent_and_leaves_everything)
{
    size_t size = 4711;
    char byte = 'x';
    VMEMcache *cache = make_cache();
    CHECK_REFUSED(vmemcache_set_size(cache, MIB), EALREADY);
    char *text = strdup(vmemcache_errormsg());
    CHECK(text != NULL && text[0] != 0);
    CHECK_REFUSED(vmemcache_get(cache, KEY(1), &byte, 1, 0, &size), ENOENT);
    CHECK_TEXT(vmemcache_errormsg(), text);
    CHECK_EQ(size, 4711);
    CHECK_EQ(byte, 'x');
    CHECK_REFUSED(vmemcache_get(cache, KEY(1), NULL, 0, 0, NULL), ENOENT);
    CHECK_STAT(cache, GET, 2);
    CHECK_STAT(cache, MISS, 2);
    CHECK_STAT(cache, HIT, 0);
    free(text);
}

/* ---- exists ---- */

CASE(exists_tells_and_counts_nothing)
{
    struct evictions evicted = {0};
    size_t size = 4711;
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_evict(cache, note_eviction, &evicted);
    vmemcache_callback_on_miss(cache, note_eviction, &evicted);
    CHECK_EQ(vmemcache_exists(cache, KEY(0), &size), 0);
    CHECK_EQ(size, 4711);
    for (uint64_t i = 0; i < 3; i++)
        CHECK_OK(put_number(cache, i, 100 + i));
    for (uint64_t i = 0; i < 3; i++) {
        CHECK_EQ(vmemcache_exists(cache, KEY(i), &size), 1);
        CHECK_EQ(size, 100 + i);
        CHECK_EQ(vmemcache_exists(cache, KEY(i), NULL), 1);
    }
    CHECK_EQ(vmemcache_exists(cache, KEY(0), NULL), 1); /* no use: it stays the oldest */
    CHECK_EQ(evicted.count, 0);
    CHECK_STAT(cache, GET, 0);
    CHECK_STAT(cache, HIT, 0);
    CHECK_STAT(cache, MISS, 0);
    CHECK_OK(vmemcache_evict(cache, NULL, 0));
    CHECK_EQ(evicted.numbers[0], 0);
    CHECK_EQ(vmemcache_exists(cache, KEY(0), NULL), 0);
}

/* ---- evict ---- */

CASE(entries_are_evicted_by_key_and_by_recency)
{
    struct evictions evicted = {0};
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_evict(cache, note_eviction, &evicted);
    CHECK_REFUSED(vmemcache_evict(cache, NULL, 0), ESRCH);
    CHECK_REFUSED(vmemcache_evict(cache, KEY(1)), ENOENT);
    for (uint64_t i = 0; i < 5; i++)
        CHECK_OK(put_number(cache, i, 300));
    CHECK_OK(vmemcache_evict(cache, KEY(2)));
    CHECK_REFUSED(vmemcache_evict(cache, KEY(2)), ENOENT);
    CHECK_OK(vmemcache_evict(cache, NULL, 8)); /* whatever the length */
    CHECK_OK(vmemcache_evict(cache, NULL, 0));
    CHECK_OK(vmemcache_evict(cache, KEY(4)));
    CHECK_OK(vmemcache_evict(cache, NULL, SIZE_MAX));
    CHECK_REFUSED(vmemcache_evict(cache, NULL, 0), ESRCH);
    static const uint64_t order[] = {2, 0, 1, 4, 3};
    CHECK_EQ(evicted.count, 5);
    for (size_t i = 0; i < 5; i++)
        CHECK_EQ(evicted.numbers[i], order[i]);
    CHECK_STAT(cache, EVICT, 5);
    CHECK_EMPTY(cache);
}

/* ---- recency ---- */

static uint64_t next_victim(VMEMcache *cache, struct evictions *evicted)
{
    size_t before = evicted->count;
    CHECK_OK(vmemcache_evict(cache, NULL, 0));
    CHECK_EQ(evicted->count, before + 1);
    return evicted->numbers[before % ARRAY_LENGTH(evicted->numbers)];
}

CASE(the_least_recently_used_entry_goes_first)
{
    struct evictions evicted = {0};
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_evict(cache, note_eviction, &evicted);
    for (uint64_t i = 0; i < 4; i++)
        CHECK_OK(put_number(cache, i, 50));
    check_number(cache, 0, 50);
    check_number(cache, 1, 50);
    check_number(cache, 0, 50);
    static const uint64_t order[] = {2, 3, 1, 0};
    for (size_t i = 0; i < 4; i++)
        CHECK_EQ(next_victim(cache, &evicted), order[i]);
}

CASE(gets_of_any_kind_are_uses_and_failed_puts_are_none)
{
    struct evictions evicted = {0};
    size_t size;
    char byte;
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_evict(cache, note_eviction, &evicted);
    for (uint64_t i = 0; i < 6; i++)
        CHECK_OK(put_number(cache, i, 50));
    CHECK_EQ(vmemcache_get(cache, KEY(0), NULL, 0, 0, &size), 0);   /* for the size */
    CHECK_EQ(vmemcache_get(cache, KEY(2), &byte, 1, 49, NULL), 1);  /* a part */
    CHECK_EQ(vmemcache_get(cache, KEY(1), &byte, 1, 500, NULL), 0); /* nothing */
    CHECK_REFUSED(put_number(cache, 3, 50), EEXIST);
    CHECK_REFUSED(put_number(cache, 4, 2 * MIB), ENOSPC);
    CHECK_EQ(has_number(cache, 5), 1);
    static const uint64_t order[] = {3, 4, 5, 0, 2, 1};
    for (size_t i = 0; i < 6; i++)
        CHECK_EQ(next_victim(cache, &evicted), order[i]);
}

/* Against a list that is kept here. */
CASE(the_order_is_exact)
{
    enum { KEYS = 64 };
    struct evictions evicted = {0};
    uint64_t state = 4242, list[KEYS];
    size_t held = 0;
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_evict(cache, note_eviction, &evicted);
    for (int step = 0; step < 200000; step++) {
        uint64_t key = next_random(&state) % KEYS;
        size_t at = 0;
        while (at < held && list[at] != key)
            at++;
        unsigned what = (unsigned)(next_random(&state) % 100);
        if (what < 60) {
            size_t size = 0;
            ssize_t got = vmemcache_get(cache, KEY(key), NULL, 0, 0, &size);
            CHECK_EQ(got, at < held ? 0 : -1);
            if (at < held) {
                memmove(list + at, list + at + 1, (held - at - 1) * sizeof *list);
                list[held - 1] = key;
            }
        } else if (what < 85) {
            CHECK_EQ(put_number(cache, key, 20), at < held ? -1 : 0);
            if (at == held)
                list[held++] = key;
        } else if (what < 92) {
            CHECK_EQ(vmemcache_evict(cache, KEY(key)), at < held ? 0 : -1);
            if (at < held) {
                memmove(list + at, list + at + 1, (held - at - 1) * sizeof *list);
                held--;
            }
        } else if (held > 0) {
            CHECK_EQ(next_victim(cache, &evicted), list[0]);
            memmove(list, list + 1, --held * sizeof *list);
        }
        CHECK_EQ(has_number(cache, key), (at = 0, ({
            while (at < held && list[at] != key)
                at++;
            at < held;
        })));
    }
    CHECK_STAT(cache, ENTRIES, held);
}

/* ---- callbacks ---- */

static int unlucky; /* calls of a callback that was replaced */

static void must_not_be_called(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    (void)cache, (void)key, (void)key_size, (void)arg;
    unlucky++;
}

CASE(the_last_registration_counts)
{
    struct evictions evicted = {0}, missed = {0};
    VMEMcache *cache = make_handle();
    vmemcache_callback_on_evict(cache, must_not_be_called, NULL);
    vmemcache_callback_on_evict(cache, note_eviction, &evicted);
    vmemcache_callback_on_miss(cache, must_not_be_called, NULL);
    CHECK_OK(vmemcache_add(cache, directory()));
    vmemcache_callback_on_miss(cache, note_eviction, &missed);
    CHECK_OK(put_number(cache, 1, 10));
    CHECK_OK(put_number(cache, 2, 10));
    CHECK_OK(put_number(cache, 3, 10));
    CHECK_OK(vmemcache_evict(cache, KEY(1)));
    CHECK_REFUSED(vmemcache_get(cache, KEY(1), NULL, 0, 0, NULL), ENOENT);
    CHECK_EQ(evicted.count, 1);
    CHECK_EQ(missed.count, 1);
    vmemcache_callback_on_evict(cache, NULL, NULL);
    vmemcache_callback_on_miss(cache, NULL, NULL);
    CHECK_OK(vmemcache_evict(cache, KEY(2)));
    CHECK_REFUSED(vmemcache_get(cache, KEY(2), NULL, 0, 0, NULL), ENOENT);
    CHECK_EQ(evicted.count, 1);
    CHECK_EQ(missed.count, 1);
    CHECK_EQ(unlucky, 0);
}

CASE(callbacks_are_called_for_what_they_are_for)
{
    struct evictions evicted = {0}, missed = {0};
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_evict(cache, note_eviction, &evicted);
    vmemcache_callback_on_miss(cache, note_eviction, &missed);
    CHECK_OK(put_number(cache, 1, 10));
    check_number(cache, 1, 10);
    CHECK_EQ(vmemcache_exists(cache, KEY(2), NULL), 0);
    CHECK_REFUSED(vmemcache_evict(cache, KEY(2)), ENOENT);
    CHECK_REFUSED(put_number(cache, 1, 10), EEXIST);
    CHECK_EQ(evicted.count + missed.count, 0);
    CHECK_REFUSED(vmemcache_get(cache, KEY(2), NULL, 0, 0, NULL), ENOENT);
    CHECK_EQ(missed.count, 1);
    CHECK_EQ(missed.numbers[0], 2);
    /* Not when the cache is deleted. */
    vmemcache_delete(cache);
    CHECK_EQ(evicted.count, 0);
}

static pthread_t caller;
static const void *callers_key;
static int called;

static void checks_its_arguments(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    CHECK(cache == *(VMEMcache **)arg);
    CHECK(pthread_equal(pthread_self(), caller));
    CHECK_EQ(key_size, 3);
    CHECK(memcmp(key, "abc", 3) == 0);
    CHECK(callers_key == NULL || key == callers_key);
    called++;
}

static void *evicts(void *cache)
{
    caller = pthread_self();
    CHECK_OK(vmemcache_evict(cache, "abc", 3));
    return NULL;
}

CASE(callbacks_get_the_handle_the_key_and_their_argument)
{
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_evict(cache, checks_its_arguments, &cache);
    vmemcache_callback_on_miss(cache, checks_its_arguments, &cache);
    CHECK_OK(vmemcache_put(cache, "abc", 3, "x", 1));
    pthread_t thread;
    START(thread, evicts, cache);
    JOIN(thread);
    CHECK_EQ(called, 1);
    caller = pthread_self();
    callers_key = "abc"; /* on_miss gets the key of the call itself */
    CHECK_REFUSED(vmemcache_get(cache, callers_key, 3, NULL, 0, 0, NULL), ENOENT);
    CHECK_EQ(called, 2);
}

/* What the rules allow inside of on_evict. */
static int inside;

static void uses_the_cache(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    uint64_t number;
    (void)arg;
    CHECK_EQ(key_size, sizeof number);
    memcpy(&number, key, sizeof number);
    if (inside++ > 0)
        return;
    /* The entry is still there, for all threads, and gets of it are hits. */
    unsigned long long hits = STAT(cache, HIT), gets = STAT(cache, GET);
    CHECK_EQ(has_number(cache, number), 1);
    check_number(cache, number, 1000);
    CHECK_STAT(cache, HIT, hits + 1);
    CHECK_STAT(cache, GET, gets + 1);
    CHECK_REFUSED(put_number(cache, number, 1000), EEXIST);
    /* It leaves already: no effect, no second call. */
    CHECK_OK(vmemcache_evict(cache, key, key_size));
    CHECK_EQ(inside, 1);
    CHECK_EQ(has_number(cache, number), 1);
    /* Another leaves, with a call of its own. */
    CHECK_OK(vmemcache_evict(cache, NULL, 0));
    CHECK_EQ(inside, 2);
    CHECK_EQ(has_number(cache, number), 1);
    CHECK_OK(put_number(cache, number + 1000, 1000));
}

CASE(calls_inside_of_on_evict)
{
    for (int by_key = 0; by_key < 2; by_key++) {
        VMEMcache *cache = make_cache();
        inside = 0;
        vmemcache_callback_on_evict(cache, uses_the_cache, NULL);
        for (uint64_t i = 0; i < 5; i++)
            CHECK_OK(put_number(cache, i, 1000));
        CHECK_OK(vmemcache_evict(cache, by_key ? (const void *)&(uint64_t){0} : NULL, 8));
        CHECK_EQ(inside, 2);
        CHECK_STAT(cache, EVICT, 2);
        CHECK_STAT(cache, ENTRIES, 4);
        CHECK_EQ(has_number(cache, 0), 0);
        CHECK_EQ(has_number(cache, 1), 0);
        CHECK_EQ(has_number(cache, 2), 1);
        CHECK_EQ(has_number(cache, 1000), 1);
        CHECK_EQ(evict_all(cache), 4);
        CHECK_EMPTY(cache);
        vmemcache_delete(cache);
    }
}

/* What on_miss does with the pending key. */
static size_t miss_size; /* of the value it puts; 0 for nothing */

static void puts_the_key(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    uint64_t number;
    (void)arg;
    CHECK_EQ(key_size, sizeof number);
    memcpy(&number, key, sizeof number);
    if (miss_size != 0)
        CHECK_OK(put_number(cache, number, miss_size));
}

CASE(a_put_inside_of_on_miss_satisfies_the_get)
{
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_miss(cache, puts_the_key, NULL);
    miss_size = 1000;
    check_number(cache, 1, 1000);
    CHECK_STAT(cache, GET, 1);
    CHECK_STAT(cache, MISS, 1);
    CHECK_STAT(cache, HIT, 0);
    CHECK_STAT(cache, PUT, 1);
    check_number(cache, 1, 1000);
    CHECK_STAT(cache, GET, 2);
    CHECK_STAT(cache, MISS, 1);
    CHECK_STAT(cache, HIT, 1);
    /* Parts, as of an entry. */
    unsigned char whole[1000], part[1000];
    for (uint64_t number = 10; number < 40; number++) {
        size_t offset = number % 3 == 0 ? 0 : number * 33, room = number * 7, size = 0;
        size_t left = offset < 1000 ? 1000 - offset : 0, wanted = room < left ? room : left;
        stamp(whole, sizeof whole, number);
        memset(part, 0xee, sizeof part);
        CHECK_EQ(vmemcache_get(cache, KEY(number), part, room, offset, &size), wanted);
        CHECK_EQ(size, 1000);
        CHECK(wanted == 0 || memcmp(part, whole + offset, wanted) == 0);
        CHECK_EQ(part[wanted], 0xee);
    }
    size_t size = 0;
    CHECK_EQ(vmemcache_get(cache, KEY(50), NULL, 0, 0, &size), 0);
    CHECK_EQ(size, 1000);
    miss_size = 0;
    CHECK_REFUSED(vmemcache_get(cache, KEY(51), NULL, 0, 0, NULL), ENOENT);
}

static void puts_twice(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    (void)arg;
    CHECK_OK(vmemcache_put(cache, key, key_size, "first", 6));
    CHECK_REFUSED(vmemcache_put(cache, key, key_size, "second!", 8), EEXIST);
    CHECK_OK(vmemcache_evict(cache, key, key_size));
    CHECK_OK(vmemcache_put(cache, key, key_size, "third....", 10));
}

CASE(the_first_put_inside_of_on_miss_counts)
{
    char text[16] = "";
    size_t size = 0;
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_miss(cache, puts_twice, NULL);
    CHECK_EQ(vmemcache_get(cache, KEY(1), text, sizeof text, 0, &size), 6);
    CHECK_EQ(size, 6);
    CHECK(strcmp(text, "first") == 0);
    CHECK_EQ(vmemcache_get(cache, KEY(1), text, sizeof text, 0, &size), 10);
}

static void puts_too_much(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    size_t size = *(size_t *)arg;
    char *value = malloc(size);
    CHECK(value != NULL);
    stamp(value, size, 99);
    CHECK_REFUSED(vmemcache_put(cache, key, key_size, value, size), ENOSPC);
    free(value);
}

CASE(a_put_that_fails_satisfies_the_get)
{
    size_t size = 4 * MIB, found = 0;
    char *value = malloc(size);
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_miss(cache, puts_too_much, &size);
    CHECK_EQ(vmemcache_get(cache, KEY(99), value, size, 0, &found), size);
    CHECK_EQ(found, size);
    CHECK_STAMP(value, size, 99);
    CHECK_STAT(cache, MISS, 1);
    CHECK_STAT(cache, HIT, 0);
    CHECK_STAT(cache, PUT, 0);
    CHECK_EQ(has_number(cache, 99), 0);
    free(value);
}

static void puts_another(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    char longer[16] = {0};
    (void)arg;
    CHECK_EQ(key_size, 8);
    memcpy(longer, key, 8);
    CHECK_OK(vmemcache_put(cache, longer, 9, "longer", 7));
    CHECK_OK(vmemcache_put(cache, longer, 7, "shorter", 8));
    longer[0]++;
    CHECK_OK(vmemcache_put(cache, longer, 8, "other", 6));
}

CASE(a_put_of_another_key_does_not_satisfy)
{
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_miss(cache, puts_another, NULL);
    size_t size = 4711;
    CHECK_REFUSED(vmemcache_get(cache, KEY(5), NULL, 0, 0, &size), ENOENT);
    CHECK_EQ(size, 4711);
    CHECK_STAT(cache, ENTRIES, 3);
}

static void *puts_five(void *cache)
{
    CHECK_OK(put_number(cache, 5, 100));
    return NULL;
}

static void lets_another_thread_put(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    pthread_t thread;
    (void)key, (void)key_size, (void)arg;
    START(thread, puts_five, cache);
    JOIN(thread);
}

CASE(a_put_by_another_thread_does_not_satisfy)
{
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_miss(cache, lets_another_thread_put, NULL);
    CHECK_REFUSED(vmemcache_get(cache, KEY(5), NULL, 0, 0, NULL), ENOENT);
    check_number(cache, 5, 100);
}

static void evicts_and_gets(VMEMcache *cache, const void *key, size_t key_size, void *arg)
{
    int *depth = arg;
    CHECK_REFUSED(vmemcache_evict(cache, key, key_size), ENOENT);
    if (++*depth < 100) {
        /* The same key again: a miss inside of a miss. */
        CHECK_REFUSED(vmemcache_get(cache, key, key_size, NULL, 0, 0, NULL), ENOENT);
    }
}

CASE(gets_may_miss_inside_of_on_miss)
{
    int depth = 0;
    VMEMcache *cache = make_cache();
    vmemcache_callback_on_miss(cache, evicts_and_gets, &depth);
    CHECK_REFUSED(vmemcache_get(cache, KEY(5), NULL, 0, 0, NULL), ENOENT);
    CHECK_EQ(depth, 100);
    CHECK_STAT(cache, MISS, 100);
    CHECK_STAT(cache, GET, 100);
}

/* ---- statistics ---- */

CASE(statistics_are_checked)
{
    unsigned long long value = 4711;
    VMEMcache *cache = make_cache();
    static const size_t sizes[] = {0, 1, 4, 7, 9, 16, SIZE_MAX};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        CHECK_REFUSED(vmemcache_get_stat(cache, VMEMCACHE_STAT_PUT, &value, sizes[i]), EINVAL);
        CHECK_REFUSED(vmemcache_get_stat(cache, VMEMCACHE_STATS_NUM, &value, sizes[i]), EINVAL);
    }
    static const int unknown[] = {9, 10, 1000, -1, -1000, 0x7fffffff};
    for (size_t i = 0; i < ARRAY_LENGTH(unknown); i++)
        CHECK_REFUSED(vmemcache_get_stat(cache, (enum vmemcache_statistic)unknown[i], &value, 8),
                      EINVAL);
    CHECK_EQ(value, 4711);
    for (int i = 0; i < VMEMCACHE_STATS_NUM; i++)
        CHECK_EQ(statistic(cache, (enum vmemcache_statistic)i), i == VMEMCACHE_STAT_HEAP_ENTRIES);
}

CASE(statistics_are_exact)
{
    for (size_t p = 0; p < ARRAY_LENGTH(POLICIES); p++) {
        VMEMcache *cache = make_cache_of(2 * MIB, 256, POLICIES[p]);
        unsigned long long dram = 0, pool = 0;
        for (uint64_t i = 0; i < 100; i++) {
            CHECK_OK(put_number(cache, i, 1000));
            CHECK_GE(STAT(cache, DRAM_SIZE_USED), dram + 1);
            CHECK_GE(STAT(cache, POOL_SIZE_USED), pool + 1000);
            dram = STAT(cache, DRAM_SIZE_USED);
            pool = STAT(cache, POOL_SIZE_USED);
        }
        CHECK_GE(2 * MIB, pool);
        for (uint64_t i = 0; i < 150; i++)
            CHECK_EQ(vmemcache_get(cache, KEY(i), NULL, 0, 0, NULL), i < 100 ? 0 : -1);
        CHECK_STAT(cache, PUT, 100);
        CHECK_STAT(cache, GET, 150);
        CHECK_STAT(cache, HIT, 100);
        CHECK_STAT(cache, MISS, 50);
        CHECK_STAT(cache, EVICT, 0);
        CHECK_STAT(cache, ENTRIES, 100);
        for (uint64_t i = 0; i < 100; i += 2)
            CHECK_OK(vmemcache_evict(cache, KEY(i)));
        CHECK_STAT(cache, EVICT, 50);
        CHECK_STAT(cache, ENTRIES, 50);
        CHECK_STAT(cache, PUT, 100);
        CHECK_GE(dram * 6 / 10, STAT(cache, DRAM_SIZE_USED));
        CHECK_GE(pool * 6 / 10, STAT(cache, POOL_SIZE_USED));
        CHECK_GE(STAT(cache, HEAP_ENTRIES), 40);
        for (uint64_t i = 1; i < 100; i += 2)
            CHECK_OK(vmemcache_evict(cache, KEY(i)));
        CHECK_STAT(cache, EVICT, 100);
        CHECK_EMPTY(cache);
        vmemcache_delete(cache);
    }
}

CASE(a_long_key_counts)
{
    static char key[50000];
    VMEMcache *cache = make_cache();
    CHECK_OK(vmemcache_put(cache, key, sizeof key, "x", 1));
    CHECK_GE(STAT(cache, DRAM_SIZE_USED) + STAT(cache, POOL_SIZE_USED), sizeof key);
    CHECK_OK(vmemcache_evict(cache, key, sizeof key));
    CHECK_EMPTY(cache);
}

CASE(a_pool_that_is_exactly_full_has_no_free_region)
{
    VMEMcache *cache = make_cache_without_policy();
    size_t fits = 1000 * KIB, does_not = MIB;
    while (does_not - fits > 1) { /* the largest value of all */
        size_t size = (fits + does_not) / 2;
        if (put_number(cache, 1, size) == 0) {
            CHECK_OK(vmemcache_evict(cache, KEY(1)));
            fits = size;
        } else {
            CHECK_EQ(errno, ENOSPC);
            does_not = size;
        }
    }
    CHECK_OK(put_number(cache, 1, fits));
    CHECK_STAT(cache, HEAP_ENTRIES, 0);
    CHECK_OK(vmemcache_evict(cache, KEY(1)));
    CHECK_EMPTY(cache);
}

/* ---- for benchmarks ---- */

CASE(only_the_index_is_used_when_asked)
{
    char byte = 'x';
    VMEMcache *cache = make_cache();
    CHECK_OK(put_number(cache, 1, 100));
    vmemcache_bench_set(cache, VMEMCACHE_BENCH_INDEX_ONLY, 1);
    unsigned long long used = STAT(cache, POOL_SIZE_USED);
    CHECK_OK(put_number(cache, 2, 5000));
    CHECK_REFUSED(put_number(cache, 2, 5000), EEXIST);
    CHECK_GE(used + 100, STAT(cache, POOL_SIZE_USED)); /* no value */
    size_t size = 4711;
    CHECK_EQ(vmemcache_get(cache, KEY(2), &byte, 1, 0, &size), 0);
    CHECK_EQ(size, 4711);
    CHECK_EQ(byte, 'x');
    CHECK_EQ(vmemcache_exists(cache, KEY(2), &size), 1);
    CHECK_EQ(size, 0);
    CHECK_REFUSED(vmemcache_get(cache, KEY(3), &byte, 1, 0, &size), ENOENT);
    CHECK_REFUSED(vmemcache_evict(cache, KEY(2)), ESRCH);
    CHECK_REFUSED(vmemcache_evict(cache, NULL, 0), ESRCH);
    vmemcache_bench_set(cache, VMEMCACHE_BENCH_INDEX_ONLY, 0);
    check_number(cache, 1, 100);
    CHECK_OK(vmemcache_evict(cache, KEY(1)));
    CHECK_OK(put_number(cache, 3, 5000));
    check_number(cache, 3, 5000);
    vmemcache_delete(cache);
}

CASE(values_are_not_copied_when_asked)
{
    unsigned char value[1000], buffer[1000];
    size_t size = 0;
    VMEMcache *cache = make_cache();
    stamp(value, sizeof value, 1);
    CHECK_OK(vmemcache_put(cache, KEY(1), value, sizeof value));
    vmemcache_bench_set(cache, VMEMCACHE_BENCH_NO_MEMCPY, 1);
    CHECK_OK(vmemcache_put(cache, KEY(2), value, sizeof value));
    CHECK_STAT(cache, ENTRIES, 2);
    memset(buffer, 0xee, sizeof buffer);
    CHECK_EQ(vmemcache_get(cache, KEY(1), buffer, sizeof buffer, 10, &size), 990);
    CHECK_EQ(size, 1000);
    for (size_t i = 0; i < sizeof buffer; i++)
        CHECK_EQ(buffer[i], 0xee);
    vmemcache_bench_set(cache, VMEMCACHE_BENCH_NO_MEMCPY, 0);
    CHECK_EQ(vmemcache_get(cache, KEY(1), buffer, sizeof buffer, 0, &size), 1000);
    CHECK_STAMP(buffer, 1000, 1);
    CHECK_EQ(vmemcache_get(cache, KEY(2), buffer, sizeof buffer, 0, &size), 1000);
    CHECK_EQ(evict_all(cache), 2);
    CHECK_EMPTY(cache);
}

CASE(a_prefaulted_pool_costs_no_faults)
{
    struct rusage before, after;
    VMEMcache *cache = set_up(16 * MIB, 256, VMEMCACHE_REPLACEMENT_LRU);
    vmemcache_bench_set(cache, VMEMCACHE_BENCH_PREFAULT, 1); /* nothing to touch yet */
    CHECK_OK(vmemcache_add(cache, directory()));
    CHECK_OK(put_number(cache, 1, 300000));
    vmemcache_bench_set(cache, VMEMCACHE_BENCH_PREFAULT, 1);
    check_number(cache, 1, 300000);
    static char value[100000];
    stamp(value, sizeof value, 3);
    CHECK_EQ(getrusage(RUSAGE_SELF, &before), 0);
    for (uint64_t i = 100; i < 240; i++)
        CHECK_OK(vmemcache_put(cache, KEY(i), value, sizeof value));
    CHECK_EQ(getrusage(RUSAGE_SELF, &after), 0);
    /* 3400 pages without. */
    CHECK_GE(300, after.ru_minflt - before.ru_minflt);
}

CASE(unknown_switches_tell_and_do_nothing)
{
    VMEMcache *cache = make_cache();
    CHECK_TEXT(vmemcache_errormsg(), "");
    vmemcache_bench_set(cache, VMEMCACHE_BENCH_NO_ALLOC, 1);
    CHECK(vmemcache_errormsg()[0] != 0);
    char first[200];
    snprintf(first, sizeof first, "%s", vmemcache_errormsg());
    vmemcache_bench_set(cache, (enum vmemcache_bench_cfg)77, 1);
    CHECK(strcmp(vmemcache_errormsg(), first) != 0);
    vmemcache_bench_set(cache, (enum vmemcache_bench_cfg)-1, 1);
    CHECK_OK(put_number(cache, 1, 100));
    check_number(cache, 1, 100);
}

/* ---- error texts ---- */

static void *has_no_text(void *other)
{
    CHECK(vmemcache_errormsg() != NULL && vmemcache_errormsg() != other);
    CHECK_TEXT(vmemcache_errormsg(), "");
    VMEMcache *cache = make_handle();
    CHECK_TOLD(vmemcache_add(cache, NULL), EINVAL, "invalid (NULL) path");
    vmemcache_delete(cache);
    return NULL;
}

CASE(each_thread_has_its_own_text)
{
    CHECK(vmemcache_errormsg() != NULL);
    CHECK_TEXT(vmemcache_errormsg(), "");
    const char *place = vmemcache_errormsg();
    VMEMcache *cache = make_cache();
    CHECK_REFUSED(vmemcache_add(cache, directory()), EBUSY);
    CHECK(vmemcache_errormsg() == place && place[0] != 0);
    char *text = strdup(place);
    CHECK_OK(put_number(cache, 1, 10)); /* a success clears nothing */
    CHECK_TEXT(place, text);
    for (int i = 0; i < 100; i++) {
        pthread_t thread;
        START(thread, has_no_text, (void *)place);
        JOIN(thread);
    }
    CHECK_TEXT(place, text);
    free(text);
}

CASE(every_failure_has_a_text)
{
    VMEMcache *cache = set_up(MIB, 256, VMEMCACHE_REPLACEMENT_LRU);
    char last[8192] = "";
#define CHECK_ANOTHER_TEXT(call)                                                             \
    do {                                                                                     \
        CHECK_EQ((call), -1);                                                                \
        if (strcmp(vmemcache_errormsg(), last) == 0)                                         \
            FAIL("%s left the text \"%s\"", #call, last);                                    \
        snprintf(last, sizeof last, "%s", vmemcache_errormsg());                             \
        if (strchr(last, '\n') != NULL || strlen(last) < 5)                                  \
            FAIL("%s gave the text \"%s\"", #call, last);                                    \
    } while (0)
    CHECK_ANOTHER_TEXT(vmemcache_set_size(cache, 5));
    CHECK_ANOTHER_TEXT(vmemcache_set_extent_size(cache, 5));
    CHECK_ANOTHER_TEXT(vmemcache_add(cache, "/nowhere"));
    CHECK_TEXT(last, "open: No such file or directory");
    CHECK_ANOTHER_TEXT(vmemcache_add(cache, "/dev/null"));
    CHECK_OK(vmemcache_add(cache, directory()));
    CHECK_ANOTHER_TEXT(vmemcache_add(cache, directory()));
    CHECK_ANOTHER_TEXT(vmemcache_set_size(cache, MIB));
    CHECK_ANOTHER_TEXT(vmemcache_set_extent_size(cache, 256));
    CHECK_ANOTHER_TEXT(vmemcache_set_eviction_policy(cache, VMEMCACHE_REPLACEMENT_LRU));
    CHECK_ANOTHER_TEXT(vmemcache_evict(cache, KEY(1)));
    CHECK_ANOTHER_TEXT(vmemcache_evict(cache, NULL, 0));
    CHECK_ANOTHER_TEXT(put_number(cache, 1, MIB + 1));
    CHECK_OK(put_number(cache, 1, 10));
    CHECK_ANOTHER_TEXT(put_number(cache, 1, 10));
    unsigned long long value;
    CHECK_ANOTHER_TEXT(vmemcache_get_stat(cache, VMEMCACHE_STAT_PUT, &value, 4));
    CHECK_ANOTHER_TEXT(vmemcache_get_stat(cache, VMEMCACHE_STATS_NUM, &value, 8));
}

/* ---- space ---- */

CASE(extents_need_no_power_of_two)
{
    static const size_t extents[] = {256, 257, 300, 1000, 4096, 5000, 65536, 100001, 512 * KIB};
    for (size_t i = 0; i < ARRAY_LENGTH(extents); i++) {
        VMEMcache *cache = make_cache_of(4 * MIB, extents[i], VMEMCACHE_REPLACEMENT_LRU);
        uint64_t state = 1;
        for (uint64_t number = 0; number < 2000; number++) {
            size_t size = next_random(&state) % 3000;
            CHECK_OK(put_number(cache, number, size));
            check_number(cache, number, size);
        }
        CHECK_GE(STAT(cache, ENTRIES), 6);
        evict_all(cache);
        CHECK_EMPTY(cache);
        vmemcache_delete(cache);
    }
}

CASE(an_extent_may_be_the_pool)
{
    for (size_t p = 0; p < ARRAY_LENGTH(POLICIES); p++) {
        VMEMcache *cache = make_cache_of(MIB, MIB, POLICIES[p]);
        CHECK_OK(put_number(cache, 1, 100));
        check_number(cache, 1, 100);
        if (POLICIES[p] == VMEMCACHE_REPLACEMENT_LRU) {
            CHECK_OK(put_number(cache, 2, 200));
            check_number(cache, 2, 200);
        } else {
            CHECK_REFUSED(put_number(cache, 2, 200), ENOSPC);
            check_number(cache, 1, 100);
        }
        CHECK_STAT(cache, ENTRIES, 1);
        vmemcache_delete(cache);
    }
}

CASE(payload_shares_are_at_least_those_of_the_reference)
{
    static const struct {
        size_t value, per_mille;
    } shares[] = {{64, 249}, {224, 874}, {256, 499}, {1024, 799}, {4096, 940}, {65536, 994}};
    for (size_t i = 0; i < ARRAY_LENGTH(shares); i++) {
        size_t size = 64 * MIB, count = 0;
        static char value[65536];
        VMEMcache *cache = make_cache_of(size, 256, VMEMCACHE_REPLACEMENT_NONE);
        while (vmemcache_put(cache, KEY(count), value, shares[i].value) == 0)
            count++;
        CHECK_EQ(errno, ENOSPC);
        CHECK_GE(count * shares[i].value * 1000 / size, shares[i].per_mille);
        vmemcache_delete(cache);
    }
}

CASE(values_of_every_size_survive_each_other)
{
    enum { KEYS = 400 };
    size_t sizes[KEYS] = {0};
    uint64_t state = 777;
    VMEMcache *cache = make_cache_of(4 * MIB, 256, VMEMCACHE_REPLACEMENT_LRU);
    for (int step = 0; step < 30000; step++) {
        uint64_t key = next_random(&state) % KEYS;
        size_t found = 0;
        if (vmemcache_exists(cache, KEY(key), &found) == 1) {
            CHECK_EQ(found, sizes[key]);
            check_number(cache, key, sizes[key]);
            if (step % 3 == 0)
                CHECK_OK(vmemcache_evict(cache, KEY(key)));
        } else {
            unsigned bits = (unsigned)(next_random(&state) % 17);
            sizes[key] = next_random(&state) % ((size_t)2 << bits);
            CHECK_OK(put_number(cache, key, sizes[key]));
            check_number(cache, key, sizes[key]);
        }
    }
    evict_all(cache);
    CHECK_EMPTY(cache);
}
