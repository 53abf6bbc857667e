/* Every call, errno and text of libvmem's contract, table by table. */
#include "vmem.h"
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

/* The compiler must not know. */
static void *opaque_null(void)
{
    return (void *)(uintptr_t)opaque(0);
}

/* ---- vmem_create: the checks, in their order ---- */

CASE(create_checks_the_size_first)
{
    CHECK_REFUSED(vmem_create("./", 0), EINVAL, "size 0 smaller than 14680064");
    CHECK_REFUSED(vmem_create("./", 1), EINVAL, "size 1 smaller than 14680064");
    CHECK_REFUSED(vmem_create(NULL, 100), EINVAL, "size 100 smaller than 14680064");
    CHECK_REFUSED(vmem_create("/nowhere", VMEM_MIN_POOL - 1), EINVAL,
                  "size 14680063 smaller than 14680064");
}

CASE(create_checks_the_path_second)
{
    CHECK_REFUSED(vmem_create(NULL, VMEM_MIN_POOL), EINVAL, "invalid (NULL) path");
    CHECK_REFUSED(vmem_create(NULL, opaque(SIZE_MAX)), EINVAL, "invalid (NULL) path");
}

CASE(create_tells_what_access_told)
{
    static char name[400] = "/tmp/";
    CHECK_REFUSED(vmem_create("/etc/passwd/x", VMEM_MIN_POOL), ENOTDIR,
                  "os_access \"/etc/passwd/x\": Not a directory");
    CHECK_REFUSED(vmem_create("/etc/passwd/x", opaque((size_t)1 << 63)), ENOTDIR,
                  "os_access \"/etc/passwd/x\": Not a directory");
    memset(name + 5, 'n', sizeof name - 6);
    CHECK_FAILS(vmem_create(name, VMEM_MIN_POOL), ENAMETOOLONG);
    CHECK(strncmp(vmem_errormsg(), "os_access \"/tmp/nnn", 19) == 0);
    CHECK(strstr(vmem_errormsg(), "nnn\": File name too long") != NULL);
}

CASE(create_refuses_devices_without_a_text)
{
    CHECK_TEXT(vmem_errormsg(), "");
    CHECK_FAILS(vmem_create("/dev/null", VMEM_MIN_POOL), EINVAL);
    CHECK_TEXT(vmem_errormsg(), "");
    CHECK_FAILS(vmem_create(NULL, VMEM_MIN_POOL), EINVAL);
    CHECK_REFUSED(vmem_create("/dev/zero", opaque((size_t)1 << 63)), EINVAL, "invalid (NULL) path");
}

CASE(create_refuses_sizes_that_no_file_can_have)
{
    CHECK_REFUSED(vmem_create(directory(), opaque((size_t)1 << 63)), EFBIG,
                  "invalid size (9223372036854775808) for os_off_t");
    CHECK_REFUSED(vmem_create("/nowhere", opaque((size_t)1 << 63)), EFBIG,
                  "invalid size (9223372036854775808) for os_off_t");
    CHECK_FAILS(vmem_create(directory(), opaque(SIZE_MAX / 2 + 4097)), EFBIG);
    /* Rounded up, this one wraps to 0. */
    CHECK_REFUSED(vmem_create(directory(), opaque(SIZE_MAX)), EINVAL,
                  "posix_fallocate: Invalid argument");
    CHECK(vmem_create(directory(), opaque((size_t)1 << 62)) == NULL);
    CHECK(errno == ENOSPC || errno == EFBIG);
    CHECK(strncmp(vmem_errormsg(), "posix_fallocate: ", 17) == 0);
}

CASE(create_tells_why_there_is_no_file)
{
    CHECK_REFUSED(vmem_create("/nowhere", VMEM_MIN_POOL), ENOENT, "open: No such file or directory");
    CHECK_REFUSED(vmem_create("", VMEM_MIN_POOL), ENOENT, "open: No such file or directory");
    CHECK_REFUSED(vmem_create("/nowhere", opaque(SIZE_MAX)), ENOENT,
                  "open: No such file or directory");
    CHECK_REFUSED(vmem_create("/etc/passwd", VMEM_MIN_POOL), ENOTDIR, "open: Not a directory");
    CHECK_REFUSED(vmem_create("/proc", VMEM_MIN_POOL), ENOENT, "mkstemp: No such file or directory");
}

/* Named as a directory, they are not opened: of a device, that could do something. */
CASE(create_takes_no_other_kind_of_file)
{
    char path[] = "/tmp/vmem-case-XXXXXX", name[64];
    CHECK(mkdtemp(path) != NULL);
    snprintf(name, sizeof name, "%s/x", path);
    static const mode_t kinds[] = {S_IFIFO, S_IFSOCK, S_IFREG, S_IFBLK};
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
        if (kinds[i] == S_IFBLK && geteuid() != 0)
            continue; /* only root can make one */
        CHECK_EQ(mknod(name, kinds[i] | 0600, makedev(7, 250)), 0);
        CHECK_REFUSED(vmem_create(name, VMEM_MIN_POOL), ENOTDIR, "open: Not a directory");
        CHECK_EQ(unlink(name), 0);
    }
    CHECK_EQ(symlink("nowhere", name), 0);
    CHECK_REFUSED(vmem_create(name, VMEM_MIN_POOL), ENOENT, "open: No such file or directory");
    CHECK(unlink(name) == 0 && symlink("x", name) == 0);
    CHECK_FAILS(vmem_create(name, VMEM_MIN_POOL), ELOOP);
    CHECK(unlink(name) == 0 && symlink(directory(), name) == 0);
    vmem_delete(vmem_create(name, VMEM_MIN_POOL));
    CHECK(unlink(name) == 0 && rmdir(path) == 0);
}

CASE(create_tells_that_there_are_no_descriptors)
{
    struct rlimit limit = {3, 3};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    CHECK_REFUSED(vmem_create(directory(), VMEM_MIN_POOL), EMFILE, "open: Too many open files");
}

CASE(create_tells_that_it_may_not)
{
    char path[] = "/tmp/vmem-case-XXXXXX";
    CHECK(mkdtemp(path) != NULL && chmod(path, 0500) == 0);
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0)
            CHECK(setgid(65534) == 0 && setuid(65534) == 0 && chdir("/") == 0);
        errno = 0;
        VMEM *vmp = vmem_create(path, VMEM_MIN_POOL);
        int error = errno;
        CHECK(vmp == NULL);
        CHECK_EQ(error, EACCES);
        /* Below a directory that may not be searched. */
        CHECK(strstr(vmem_errormsg(), ": Permission denied") != NULL);
        _exit(0);
    }
    CHECK_CHILD(child);
    CHECK_EQ(rmdir(path), 0);
}

CASE(create_raises_no_signal_at_the_limit_of_file_sizes)
{
    struct rlimit limit = {VMEM_MIN_POOL, VMEM_MIN_POOL};
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    CHECK_REFUSED(vmem_create(directory(), 2 * VMEM_MIN_POOL), EFBIG,
                  "posix_fallocate: File too large");
    VMEM *vmp = vmem_create(directory(), VMEM_MIN_POOL);
    CHECK(vmp != NULL);
    vmem_delete(vmp);
}

CASE(create_tells_that_there_is_no_address_space)
{
    struct rlimit limit = {64 * MIB, 64 * MIB};
    CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
    CHECK_FAILS(vmem_create(directory(), 128 * MIB), ENOMEM);
    CHECK(strncmp(vmem_errormsg(), "mmap ", 5) == 0);
    CHECK(strstr(vmem_errormsg(), ": Cannot allocate memory") != NULL);
}

CASE(create_success_leaves_errno_and_text_alone)
{
    CHECK_FAILS(vmem_create(NULL, VMEM_MIN_POOL), EINVAL);
    errno = 4711;
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    CHECK_EQ(errno, 4711);
    CHECK_TEXT(vmem_errormsg(), "invalid (NULL) path");
    vmem_delete(vmp);
    CHECK_EQ(errno, 4711);
}

/* ---- what a pool is ---- */

static VMEM *faulting;

static void on_fault(int number)
{
    CHECK_EQ(number, SIGSEGV);
    vmem_delete(faulting);
    say("ok %s\n", case_name);
    _exit(0);
}

CASE(reading_the_handle_faults_and_the_handler_can_delete)
{
    faulting = make_pool(VMEM_MIN_POOL);
    signal(SIGSEGV, on_fault);
    int seen = *(volatile char *)faulting;
    FAIL("the handle reads as %d", seen);
}

CASE(writing_to_the_end_of_the_handle_page_faults)
{
    faulting = make_pool(VMEM_MIN_POOL);
    signal(SIGSEGV, on_fault);
    ((volatile char *)faulting)[4095] = 1;
    FAIL("the handle can be written to");
}

/* The line of /proc/self/maps that begins at an address. */
static void mapping_at(const void *address, char *line, int room)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char start[40];
    snprintf(start, sizeof start, "%lx-", (unsigned long)address);
    CHECK(maps != NULL);
    while (fgets(line, room, maps) != NULL)
        if (strncmp(line, start, strlen(start)) == 0) {
            fclose(maps);
            return;
        }
    FAIL("no mapping begins at %p", address);
}

CASE(a_pool_is_a_shared_mapping_of_an_unnamed_file_without_descriptor)
{
    char line[4400], name[4200];
    struct stat status;
    size_t before = descriptors(), size = VMEM_MIN_POOL + 1;
    VMEM *vmp = vmem_create(directory(), size);
    CHECK(vmp != NULL);
    CHECK_EQ(descriptors(), before);
    CHECK_EQ((uintptr_t)vmp % CHUNK, 0);
    mapping_at(vmp, line, sizeof line);
    CHECK(strstr(line, " ---s ") != NULL && strstr(line, "(deleted)") != NULL);
    mapping_at((char *)vmp + 4096, line, sizeof line);
    CHECK(strstr(line, " rw-s ") != NULL);
    CHECK(strstr(line, directory()) != NULL);
    unsigned long first, last;
    CHECK_EQ(sscanf(line, "%lx-%lx", &first, &last), 2);
    CHECK_EQ(last - (unsigned long)vmp, VMEM_MIN_POOL + 4096); /* rounded up to pages */
    if (geteuid() == 0) { /* others may not look */
        snprintf(name, sizeof name, "/proc/self/map_files/%lx-%lx", first, last);
        CHECK_EQ(stat(name, &status), 0);
        CHECK_EQ(status.st_nlink, 0);
        CHECK_EQ(status.st_mode & 0777, 0600);
        CHECK_GE((size_t)status.st_blocks * 512, VMEM_MIN_POOL); /* all of it, at once */
    }
    DIR *dir = opendir(directory());
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        CHECK(strncmp(entry->d_name, "vmem.", 5) != 0);
    closedir(dir);
    vmem_delete(vmp);
    CHECK_TEXT(place_of(vmp).flags, "");
}

/* ---- vmem_create_in_region ---- */

CASE(region_checks_the_address_first)
{
    char *p = region(VMEM_MIN_POOL, 0), text[100];
    snprintf(text, sizeof text, "addr %p not aligned to pagesize 4096", (void *)(p + 8));
    CHECK_REFUSED(vmem_create_in_region(p + 8, VMEM_MIN_POOL), EINVAL, text);
    CHECK_REFUSED(vmem_create_in_region(p + 8, 0), EINVAL, text);
}

CASE(region_checks_the_size_second)
{
    char *p = region(VMEM_MIN_POOL, 0);
    CHECK_REFUSED(vmem_create_in_region(p, 0), EINVAL, "size 0 smaller than 14680064");
    CHECK_REFUSED(vmem_create_in_region(p, VMEM_MIN_POOL - 1), EINVAL,
                  "size 14680063 smaller than 14680064");
    CHECK_EQ(nonzero_at(p, VMEM_MIN_POOL), -1);
}

CASE(region_handles_are_addresses_at_any_page)
{
    static const size_t offsets[] = {0, 4096, 2 * MIB, CHUNK - 4096};
    for (size_t i = 0; i < ARRAY_LENGTH(offsets); i++) {
        char *p = region(VMEM_MIN_POOL, offsets[i]);
        memset(p, 0x5a, VMEM_MIN_POOL); /* what was there does not matter */
        VMEM *vmp = vmem_create_in_region(p, VMEM_MIN_POOL);
        CHECK(vmp == (void *)p);
        for (int n = 0; n < 300; n++) {
            int *block = OK(vmem_malloc(vmp, sizeof(int)));
            CHECK_INSIDE(vmp, VMEM_MIN_POOL, block);
            *block = n;
        }
        CHECK_EQ(nonzero_at(OK(vmem_calloc(vmp, 1, MIB)), MIB), -1);
        CHECK_EQ(vmem_check(vmp), 1);
        CHECK_TEXT(place_of(p).flags, "---p");
        vmem_delete(vmp);
        CHECK_TEXT(place_of(p).flags, "rw-p");
        memset(p, 0, VMEM_MIN_POOL);
    }
}

CASE(region_size_need_not_be_pages)
{
    char *p = region(VMEM_MIN_POOL + 4096, 0);
    VMEM *vmp = vmem_create_in_region(p, VMEM_MIN_POOL + 100);
    struct link *chain = NULL;
    CHECK(vmp == (void *)p);
    CHECK_GE(fill_pool(vmp, &chain, 64), 1);
    for (struct link *block = chain; block != NULL; block = block->next)
        CHECK((char *)block + 64 <= p + VMEM_MIN_POOL + 100);
    vmem_delete(vmp);
}

CASE(region_can_be_mapped_anew_without_deleting)
{
    char *p = region(VMEM_MIN_POOL, 0);
    for (int round = 0; round < 3; round++) {
        VMEM *vmp = vmem_create_in_region(p, VMEM_MIN_POOL);
        CHECK(vmp == (void *)p);
        stamp(OK(vmem_malloc(vmp, 1000)), 1000, 1);
        CHECK_EQ(vmem_check(vmp), 1);
        CHECK(mmap(p, VMEM_MIN_POOL, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p);
    }
}

/* ---- delete and check ---- */

CASE(deleting_twice_is_told)
{
    char text[64];
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    vmem_free(vmp, OK(vmem_malloc(vmp, 100)));
    vmem_delete(vmp);
    errno = 0;
    vmem_delete(vmp);
    CHECK_EQ(errno, EINVAL);
    snprintf(text, sizeof text, "invalid pool handle: 0x%lx", (unsigned long)vmp);
    CHECK_TEXT(vmem_errormsg(), text);
    CHECK_EQ(vmem_check(vmp), -1);
}

CASE(check_is_one_for_a_sound_pool)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    struct link *chain = NULL;
    CHECK_EQ(vmem_check(vmp), 1);
    fill_pool(vmp, &chain, 100);
    CHECK_EQ(vmem_check(vmp), 1);
    free_pool_chain(vmp, &chain);
    errno = 4711;
    CHECK_EQ(vmem_check(vmp), 1);
    CHECK_EQ(errno, 4711);
    vmem_delete(vmp);
}

CASE(check_finds_pools_over_the_same_memory)
{
    char *p = region(2 * VMEM_MIN_POOL, 0);
    VMEM *first = vmem_create_in_region(p, VMEM_MIN_POOL);
    CHECK_EQ(vmem_check(first), 1);
    VMEM *second = vmem_create_in_region(p + VMEM_MIN_POOL / 2, VMEM_MIN_POOL);
    CHECK(first != NULL && second != NULL);
    memset(OK(vmem_malloc(second, MIB)), 0xff, MIB);
    CHECK_EQ(vmem_check(first), 0);
    CHECK(strstr(vmem_errormsg(), "in common") != NULL);
    CHECK_EQ(vmem_check(second), 0);
    vmem_delete(second);
    CHECK(vmem_check(second) != 1);
    vmem_delete(first);
    CHECK(vmem_check(first) != 1);
    CHECK(vmem_check(second) != 1);
}

CASE(neighbours_do_not_overlap)
{
    char *p = region(2 * VMEM_MIN_POOL, 0);
    VMEM *first = vmem_create_in_region(p, VMEM_MIN_POOL);
    VMEM *second = vmem_create_in_region(p + VMEM_MIN_POOL, VMEM_MIN_POOL);
    CHECK_EQ(vmem_check(first), 1);
    CHECK_EQ(vmem_check(second), 1);
}

/* ---- allocation ---- */

CASE(malloc_of_nothing_gives_unique_blocks)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    void *a = OK(vmem_malloc(vmp, 0)), *b = OK(vmem_malloc(vmp, 0));
    CHECK(a != b);
    CHECK_EQ(vmem_malloc_usable_size(vmp, a), 8);
    CHECK(OK(vmem_calloc(vmp, 0, 100)) != OK(vmem_calloc(vmp, 100, 0)));
    CHECK(OK(vmem_realloc(vmp, NULL, 0)) != a);
    CHECK(OK(vmem_aligned_alloc(vmp, 64, 0)) != a);
}

CASE(failures_set_enomem_and_no_text)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    void *kept = OK(vmem_malloc(vmp, 1000));
    stamp(kept, 1000, 7);
    CHECK_FAILS(vmem_malloc(vmp, VMEM_MIN_POOL), ENOMEM);
    CHECK_FAILS(vmem_malloc(vmp, opaque(SIZE_MAX)), ENOMEM);
    CHECK_FAILS(vmem_malloc(vmp, opaque(SIZE_MAX - 4095)), ENOMEM);
    CHECK_FAILS(vmem_malloc(vmp, opaque((size_t)PTRDIFF_MAX)), ENOMEM);
    CHECK_FAILS(vmem_calloc(vmp, opaque(SIZE_MAX / 2), 3), ENOMEM);
    CHECK_FAILS(vmem_calloc(vmp, opaque((size_t)1 << 40), 1), ENOMEM);
    CHECK_FAILS(vmem_realloc(vmp, kept, opaque(SIZE_MAX)), ENOMEM);
    CHECK_FAILS(vmem_realloc(vmp, kept, 2 * VMEM_MIN_POOL), ENOMEM);
    CHECK_FAILS(vmem_realloc(vmp, NULL, opaque(SIZE_MAX)), ENOMEM);
    CHECK_FAILS(vmem_aligned_alloc(vmp, 64, opaque(SIZE_MAX)), ENOMEM);
    CHECK_FAILS(vmem_aligned_alloc(vmp, opaque((size_t)1 << 63), 8), ENOMEM);
    CHECK_FAILS(vmem_aligned_alloc(vmp, opaque((size_t)1 << 63), opaque(SIZE_MAX)), ENOMEM);
    CHECK_STAMP(kept, 1000, 7);
    CHECK_TEXT(vmem_errormsg(), "");
    struct link *chain = NULL;
    for (size_t size = MIB; size >= 8; size /= 2)
        fill_pool(vmp, &chain, size);
    CHECK_FAILS(vmem_strdup(vmp, "a text that is longer than the smallest block"), ENOMEM);
    CHECK_FAILS(vmem_wcsdup(vmp, L"a text that is longer than the smallest block"), ENOMEM);
    CHECK_TEXT(vmem_errormsg(), "");
    free_pool_chain(vmp, &chain);
    OK(vmem_strdup(vmp, "a text that is longer than the smallest block"));
}

CASE(free_of_null_does_nothing_and_free_keeps_errno)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    static const size_t sizes[] = {1, 100, 5000, 300000, 5 * MIB};
    errno = 777;
    vmem_free(vmp, NULL);
    CHECK_EQ(errno, 777);
    for (int round = 0; round < 100; round++)
        for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
            void *p = OK(vmem_malloc(vmp, sizes[i]));
            errno = 777;
            vmem_free(vmp, p);
            CHECK_EQ(errno, 777);
        }
}

CASE(calloc_is_zero_also_for_used_memory)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    static const size_t sizes[] = {1, 8, 48, 1000, 3584, 5000, 70000, 300000, 3 * MIB};
    for (int round = 0; round < 100; round++)
        for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
            unsigned char *p = OK(vmem_calloc(vmp, 1, sizes[i]));
            CHECK_EQ(nonzero_at(p, sizes[i]), -1);
            memset(p, 0xff, vmem_malloc_usable_size(vmp, p));
            vmem_free(vmp, p);
        }
    vmem_delete(vmp);
}

CASE(realloc_of_null_allocates_and_to_nothing_frees)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    void *p = OK(vmem_realloc(vmp, NULL, 12 * MIB));
    errno = 4711;
    CHECK(vmem_realloc(vmp, p, 0) == NULL);
    CHECK_EQ(errno, 4711);
    OK(vmem_malloc(vmp, 12 * MIB)); /* there is room again */
}

CASE(realloc_keeps_content)
{
    static const size_t sizes[] = {1,    8,     16,    100,    1000,   4096,   4097,
                                   20000, 65536, 262144, 262145, 300000, MIB, 3 * MIB};
    VMEM *vmp = make_pool(16 * MIB);
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++)
        for (size_t j = 0; j < ARRAY_LENGTH(sizes); j++) {
            size_t from = sizes[i], to = sizes[j], kept = from < to ? from : to;
            char *p = OK(vmem_malloc(vmp, from));
            stamp(p, from, i * 100 + j);
            p = OK(vmem_realloc(vmp, p, to));
            CHECK_GE(vmem_malloc_usable_size(vmp, p), to);
            CHECK_INSIDE(vmp, 16 * MIB, p);
            if (kept >= 8)
                CHECK_STAMP(p, kept / 8 * 8, i * 100 + j);
            vmem_free(vmp, p);
        }
    int *four = OK(vmem_malloc(vmp, 4));
    *four = 4711;
    four = OK(vmem_realloc(vmp, four, 40));
    CHECK_EQ(*four, 4711);
}

CASE(aligned_alloc_takes_powers_of_two_only)
{
    static const size_t bad[] = {0, 3, 5, 6, 7, 12, 24, 100, 4097, SIZE_MAX};
    VMEM *vmp = make_pool(16 * MIB);
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++)
        CHECK_FAILS(vmem_aligned_alloc(vmp, opaque(bad[i]), 100), EINVAL);
    CHECK_TEXT(vmem_errormsg(), "");
    for (size_t alignment = 1; alignment <= CHUNK; alignment *= 2)
        for (size_t size = 0; size <= 5000; size = size * 4 + 1) {
            char *p = OK(vmem_aligned_alloc(vmp, alignment, size));
            CHECK(((uintptr_t)p & (alignment - 1)) == 0);
            CHECK_INSIDE(vmp, 16 * MIB, p);
            CHECK_GE(vmem_malloc_usable_size(vmp, p), size);
            memset(p, 1, vmem_malloc_usable_size(vmp, p));
            vmem_free(vmp, p);
        }
    CHECK_EQ(vmem_check(vmp), 1);
}

CASE(strings_are_copied_with_their_end)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    char *text = OK(vmem_strdup(vmp, "text")), *empty = OK(vmem_strdup(vmp, ""));
    wchar_t *wide = OK(vmem_wcsdup(vmp, L"wide \x20ac")), *none = OK(vmem_wcsdup(vmp, L""));
    CHECK_TEXT(text, "text");
    CHECK_TEXT(empty, "");
    CHECK(wcscmp(wide, L"wide \x20ac") == 0);
    CHECK(none[0] == 0);
    CHECK_GE(vmem_malloc_usable_size(vmp, wide), 7 * sizeof(wchar_t));
    CHECK_INSIDE(vmp, VMEM_MIN_POOL, text);
    CHECK_INSIDE(vmp, VMEM_MIN_POOL, wide);
}

CASE(copying_null_faults)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    for (int wide = 0; wide < 2; wide++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            signal(SIGSEGV, SIG_DFL);
            if (wide)
                vmem_wcsdup(vmp, opaque_null());
            else
                vmem_strdup(vmp, opaque_null());
            _exit(0);
        }
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK(WIFSIGNALED(status));
        CHECK_EQ(WTERMSIG(status), SIGSEGV);
    }
}

CASE(usable_size_is_what_may_be_used)
{
    static const struct {
        size_t size, slack;
    } table[] = {{10, 8},        {100, 16},     {200, 32},     {500, 64},    {1000, 128},
                 {2000, 256},    {3000, 512},   {MIB, CHUNK},  {2 * MIB, CHUNK}, {3 * MIB, CHUNK},
                 {5 * MIB, CHUNK}, {9 * MIB, CHUNK}};
    VMEM *vmp = make_pool(28 * MIB);
    CHECK_EQ(vmem_malloc_usable_size(vmp, NULL), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        void *p = OK(vmem_malloc(vmp, table[i].size));
        size_t usable = vmem_malloc_usable_size(vmp, p);
        CHECK_GE(usable, table[i].size);
        CHECK_GE(table[i].size + table[i].slack, usable);
        memset(p, 0xff, usable);
        vmem_free(vmp, p);
    }
    vmem_free(vmp, OK(vmem_malloc(vmp, 9 * MIB)));
    CHECK_EQ(vmem_check(vmp), 1);
}

CASE(blocks_are_aligned)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    for (size_t size = 0; size < 5000; size += 1 + size / 20) {
        char *p = OK(vmem_malloc(vmp, size));
        CHECK(((uintptr_t)p & (size <= 8 ? 7 : 15)) == 0);
    }
}

CASE(any_pool_may_be_named_when_freeing)
{
    VMEM *one = make_pool(VMEM_MIN_POOL), *other = make_pool(VMEM_MIN_POOL);
    static const size_t sizes[] = {8, 1000, 300000, 5 * MIB};
    for (int round = 0; round < 50; round++)
        for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
            char *p = OK(vmem_malloc(one, sizes[i]));
            stamp(p, sizes[i], i);
            CHECK_GE(vmem_malloc_usable_size(other, p), sizes[i]);
            p = OK(vmem_realloc(other, p, sizes[i] + 100));
            CHECK_INSIDE(one, VMEM_MIN_POOL, p);
            CHECK_STAMP(p, sizes[i], i);
            vmem_free(other, p);
        }
    CHECK_EQ(vmem_check(one), 1);
    CHECK_EQ(vmem_check(other), 1);
    int mine;
    CHECK_EQ(vmem_malloc_usable_size(one, &mine), 0);
}

/* ---- the library as a whole ---- */

CASE(versions_are_compared)
{
    errno = 4711;
    CHECK(vmem_check_version(VMEM_MAJOR_VERSION, VMEM_MINOR_VERSION) == NULL);
    CHECK(vmem_check_version(1, 0) == NULL);
    CHECK_TEXT(vmem_errormsg(), "");
    const char *text = vmem_check_version(2, 1);
    CHECK_TEXT(text, "libvmem major version mismatch (need 2, found 1)");
    CHECK(text == vmem_errormsg());
    CHECK_TEXT(vmem_check_version(0, 0), "libvmem major version mismatch (need 0, found 1)");
    CHECK_TEXT(vmem_check_version(1, 2), "libvmem minor version mismatch (need 2, found 1)");
    CHECK_TEXT(vmem_check_version(2, 9), "libvmem major version mismatch (need 2, found 1)");
    CHECK_EQ(errno, 4711);
}

static void *errors_of_a_thread(void *place)
{
    CHECK_TEXT(vmem_errormsg(), "");
    vmem_check_version(3, 0);
    CHECK_TEXT(vmem_errormsg(), "libvmem major version mismatch (need 3, found 1)");
    CHECK(vmem_errormsg() != place);
    return NULL;
}

CASE(each_thread_has_its_own_text)
{
    vmem_check_version(2, 0);
    for (int i = 0; i < 100; i++) {
        pthread_t thread;
        START(thread, errors_of_a_thread, (void *)vmem_errormsg());
        JOIN(thread);
    }
    CHECK_TEXT(vmem_errormsg(), "libvmem major version mismatch (need 2, found 1)");
}

static size_t mallocs, frees, null_frees, other_calls;
static int failing;

static void *counted_malloc(size_t size)
{
    if (failing) {
        errno = ENOMEM;
        return NULL;
    }
    mallocs++;
    uint64_t *p = malloc(size + 16);
    p[0] = 0x1122334455667788; /* must come back */
    return p + 2;
}

static void counted_free(void *pointer)
{
    if (pointer == NULL) {
        null_frees++;
        return;
    }
    uint64_t *p = pointer;
    CHECK_EQ(p[-2], 0x1122334455667788);
    p[-2] = 0;
    frees++;
    free(p - 2);
}

static void *counted_realloc(void *pointer, size_t size)
{
    other_calls++;
    return realloc(pointer, size);
}

static char *counted_strdup(const char *text)
{
    other_calls++;
    return strdup(text);
}

CASE(own_functions_are_called_and_balance)
{
    vmem_set_funcs(counted_malloc, counted_free, counted_realloc, counted_strdup, NULL);
    for (int round = 0; round < 20; round++) {
        VMEM *pools[4];
        for (int i = 0; i < 4; i++) {
            pools[i] = make_pool(VMEM_MIN_POOL);
            vmem_free(pools[i], OK(vmem_malloc(pools[i], 128)));
            OK(vmem_calloc(pools[i], 1, 128));
            OK(vmem_aligned_alloc(pools[i], 64, 128));
        }
        CHECK_GE(mallocs, 4);
        CHECK_GE(frees + 4, mallocs);
        for (int i = 0; i < 4; i++)
            vmem_delete(pools[i]);
        CHECK_EQ(mallocs, frees);
    }
    CHECK_EQ(null_frees, 0);
    CHECK_EQ(other_calls, 0);
}

CASE(own_functions_that_fail_fail_the_allocation)
{
    failing = 1;
    vmem_set_funcs(counted_malloc, counted_free, counted_realloc, counted_strdup, NULL);
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    CHECK_FAILS(vmem_malloc(vmp, 100), ENOMEM);
    CHECK_FAILS(vmem_calloc(vmp, 1, 100), ENOMEM);
    CHECK_FAILS(vmem_aligned_alloc(vmp, 64, 100), ENOMEM);
    CHECK_FAILS(vmem_realloc(vmp, NULL, 100), ENOMEM);
    CHECK_FAILS(vmem_strdup(vmp, "text"), ENOMEM);
    vmem_delete(vmp);
    CHECK_EQ(mallocs + frees + null_frees + other_calls, 0);
    /* When memory comes back, so do pools. */
    vmp = make_pool(VMEM_MIN_POOL);
    CHECK_FAILS(vmem_malloc(vmp, 100), ENOMEM);
    failing = 0;
    OK(vmem_malloc(vmp, 100));
    vmem_delete(vmp);
    CHECK_EQ(mallocs, frees);
    CHECK_GE(mallocs, 1);
}

CASE(one_own_function_is_not_enough)
{
    vmem_set_funcs(counted_malloc, NULL, NULL, NULL, NULL);
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    OK(vmem_malloc(vmp, 100));
    vmem_delete(vmp);
    CHECK_EQ(mallocs + frees, 0);
}

CASE(functions_that_come_after_the_first_pool_are_not_used)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    vmem_set_funcs(counted_malloc, counted_free, NULL, NULL, NULL);
    OK(vmem_malloc(vmp, 100));
    vmem_delete(vmp);
    vmp = make_pool(VMEM_MIN_POOL);
    OK(vmem_malloc(vmp, 100));
    vmem_delete(vmp);
    CHECK_EQ(mallocs + frees, 0);
}

CASE(functions_can_be_taken_back_before_the_first_pool)
{
    vmem_set_funcs(counted_malloc, counted_free, NULL, NULL, NULL);
    vmem_set_funcs(NULL, NULL, NULL, NULL, NULL);
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    OK(vmem_malloc(vmp, 100));
    vmem_delete(vmp);
    CHECK_EQ(mallocs + frees, 0);
}

static void *first_call(void *vmp)
{
    return vmem_malloc(vmp, 100);
}

CASE(threads_that_come_first_together_balance)
{
    vmem_set_funcs(counted_malloc, counted_free, NULL, NULL, NULL);
    for (int round = 0; round < 50; round++) {
        pthread_t threads[4];
        VMEM *vmp = make_pool(VMEM_MIN_POOL);
        for (int i = 0; i < 4; i++)
            START(threads[i], first_call, vmp);
        for (int i = 0; i < 4; i++) {
            void *block;
            CHECK_EQ(pthread_join(threads[i], &block), 0);
            CHECK(block != NULL);
        }
        vmem_delete(vmp);
        CHECK_EQ(mallocs, frees);
    }
}

/* ---- statistics ---- */

static char printed[1 << 16];
static size_t printed_length, printed_lines;

static void collect(const char *text)
{
    size_t length = strlen(text);
    CHECK(printed_length + length < sizeof printed);
    if (length > 0 && text[0] == '<')
        return; /* a line of the debug log */
    CHECK(length > 0 && text[length - 1] == '\n');
    CHECK(strchr(text, '\n') == text + length - 1);
    memcpy(printed + printed_length, text, length + 1);
    printed_length += length;
    printed_lines++;
}

static const char *statistics(VMEM *vmp, const char *options)
{
    printed_length = printed_lines = 0;
    errno = 4711;
    vmem_stats_print(vmp, options);
    CHECK_EQ(errno, 4711);
    CHECK(strncmp(printed, "___ Begin jemalloc statistics ___\n", 34) == 0);
    const char *end = "\n--- End jemalloc statistics ---\n";
    CHECK(printed_length > strlen(end));
    CHECK_TEXT(printed + printed_length - strlen(end), end);
    return printed;
}

/* Each of the texts is in the output, at the start of a line, in this order. */
static void check_lines(const char *output, const char *const *lines, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char wanted[200];
        snprintf(wanted, sizeof wanted, "\n%s", lines[i]);
        const char *found = strstr(output, wanted);
        if (found == NULL)
            FAIL("no line \"%s\" where it should be in\n%s", lines[i], output);
        output = found + 1;
    }
}

static const char *const general_lines[] = {
    "Version: ", "Assertions ", "Run-time option settings:\n", "  opt.abort: ", "  opt.lg_chunk: ",
    "  opt.dss: \"", "  opt.narenas: ", "  opt.lg_dirty_mult: ", "  opt.stats_print: ",
    "  opt.junk: ", "  opt.quarantine: ", "  opt.redzone: ", "  opt.zero: ", "  opt.tcache: ",
    "  opt.lg_tcache_max: ", "CPUs: ", "Arenas: ", "Pointer size: 8\n", "Quantum size: 16\n",
    "Page size: 4096\n", "Min active:dirty page ratio per arena: ", "Chunk size: 4194304 (2^22)\n",
    "Allocated: ", "Current active ceiling: ", "chunks: nchunks   highchunks    curchunks\n",
};
static const char *const arena_lines[] = {
    "assigned threads: ", "dss allocation precedence: ", "dirty pages: ",
    "            allocated      nmalloc      ndalloc    nrequests\n", "small:   ", "large:   ",
    "huge:    ", "total:   ", "active:  ", "mapped:  ",
};
static const char bins_line[] =
    "bins:     bin  size regs pgs    allocated      nmalloc      ndalloc    nrequests       nfills"
    "     nflushes      newruns       reruns      curruns\n";
static const char large_line[] =
    "large:   size pages      nmalloc      ndalloc    nrequests      curruns\n";

CASE(statistics_have_the_known_lines)
{
    vmem_set_funcs(NULL, NULL, NULL, NULL, collect);
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    OK(vmem_malloc(vmp, 400));
    OK(vmem_malloc(vmp, MIB));
    const char *output = statistics(vmp, NULL);
    check_lines(output, general_lines, ARRAY_LENGTH(general_lines));
    check_lines(output, arena_lines, ARRAY_LENGTH(arena_lines));
    CHECK(strstr(output, "\n\narenas[0]:\nassigned threads: ") != NULL);
    CHECK(strstr(output, bins_line) != NULL && strstr(output, large_line) != NULL);
    CHECK(strstr(output, "Merged arenas stats:") == NULL);
    /* What is in use: a slot of 416 or fewer bytes, and a mebibyte. */
    unsigned allocated, active, mapped, blocks, freed, requests;
    CHECK_EQ(sscanf(strstr(output, "\nAllocated: "), "\nAllocated: %u, active: %u, mapped: %u\n",
                    &allocated, &active, &mapped), 3);
    CHECK_GE(allocated, MIB + 400);
    CHECK_GE(MIB + 512 + 4096, allocated); /* under valgrind blocks are a little larger */
    CHECK_EQ(mapped, VMEM_MIN_POOL);
    CHECK_GE(active, allocated);
    CHECK_EQ(sscanf(strstr(output, "\nsmall: "), "\nsmall: %u %u %u %u\n", &allocated, &blocks,
                    &freed, &requests), 4);
    CHECK_EQ(blocks - freed, 1);
    CHECK_EQ(sscanf(strstr(output, "\nlarge: "), "\nlarge: %u %u %u %u\n", &allocated, &blocks,
                    &freed, &requests), 4);
    CHECK_EQ(blocks - freed, 1);
}

CASE(statistics_leave_out_what_they_are_told_to)
{
    vmem_set_funcs(NULL, NULL, NULL, NULL, collect);
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    OK(vmem_malloc(vmp, 400));
    CHECK(strstr(statistics(vmp, "g"), "Version: ") == NULL);
    CHECK(strstr(printed, "arenas[0]:") != NULL);
    CHECK(strstr(statistics(vmp, "a"), "arenas[0]:") == NULL);
    CHECK(strstr(printed, "\nMerged arenas stats:\n") != NULL);
    CHECK(strstr(statistics(vmp, "am"), "assigned threads") == NULL);
    CHECK(strstr(statistics(vmp, "b"), "bins:") == NULL);
    CHECK(strstr(printed, "large:   size") != NULL);
    CHECK(strstr(statistics(vmp, "l"), "large:   size") == NULL);
    CHECK(strstr(printed, "bins:") != NULL);
    statistics(vmp, "gmabl");
    CHECK_EQ(printed_lines, 2);
    statistics(vmp, "xyz"); /* unknown letters mean nothing */
    check_lines(printed, general_lines, ARRAY_LENGTH(general_lines));
}

CASE(statistics_go_to_standard_error_by_themselves)
{
    int ends[2];
    char text[64] = "";
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    CHECK(pipe2(ends, O_NONBLOCK) == 0 && dup2(ends[1], 2) == 2);
    vmem_stats_print(vmp, "gmabl");
    CHECK_GE(read(ends[0], text, sizeof text - 1), 34);
    CHECK(strncmp(text, "___ Begin jemalloc statistics ___\n", 34) == 0);
}

/* Statistics count the threads that are there, not those that were. */
static void *use_and_end(void *vmp)
{
    for (int i = 0; i < 200; i++)
        vmem_free(vmp, OK(vmem_malloc(vmp, 100)));
    return NULL;
}

CASE(statistics_count_the_threads_that_are_there)
{
    vmem_set_funcs(NULL, NULL, NULL, NULL, collect);
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        START(thread, use_and_end, vmp);
        JOIN(thread);
    }
    unsigned threads;
    const char *line = strstr(statistics(vmp, "g"), "\nassigned threads: ");
    CHECK(line != NULL);
    CHECK_EQ(sscanf(line, "\nassigned threads: %u", &threads), 1);
    CHECK_GE(2, threads);
}

CASE(the_print_function_can_be_taken_back)
{
    int ends[2];
    char text[64] = "";
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    vmem_set_funcs(NULL, NULL, NULL, NULL, collect);
    statistics(vmp, "gmabl");
    vmem_set_funcs(NULL, NULL, NULL, NULL, NULL);
    printed_lines = 0;
    CHECK(pipe2(ends, O_NONBLOCK) == 0 && dup2(ends[1], 2) == 2);
    vmem_stats_print(vmp, "gmabl");
    CHECK_EQ(printed_lines, 0);
    CHECK_GE(read(ends[0], text, sizeof text - 1), 34);
}

CASE(a_thousand_pools_live_at_once)
{
    static VMEM *pools[1000];
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY}; /* 14 GiB of addresses */
    CHECK_EQ(setrlimit(RLIMIT_DATA, &limit), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(pools); i++) {
        char *p = mmap(NULL, VMEM_MIN_POOL, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        CHECK(p != MAP_FAILED);
        pools[i] = vmem_create_in_region(p, VMEM_MIN_POOL);
        if (pools[i] == NULL)
            FAIL("no pool %zu: %s", i, vmem_errormsg());
        *(size_t *)OK(vmem_malloc(pools[i], sizeof(size_t))) = i;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(pools); i += 100)
        CHECK_EQ(vmem_check(pools[i]), 1);
    for (size_t i = 0; i < ARRAY_LENGTH(pools); i++)
        vmem_delete(pools[i]);
}

/* ---- concurrency and fork ---- */

static void *hand_over(void *vmp)
{
    static _Atomic(struct link *) shelf;
    uint64_t random = (uint64_t)(uintptr_t)&random;
    for (int i = 0; i < 20000; i++) {
        size_t size = 8 + next_random(&random) % 2000;
        struct link *block = vmem_malloc(vmp, size);
        if (block == NULL)
            continue;
        stamp(block, size < 16 ? 8 : 16, i);
        block = __atomic_exchange_n((struct link **)&shelf, block, __ATOMIC_ACQ_REL);
        vmem_free(vmp, block); /* from another thread, often */
    }
    return NULL;
}

CASE(any_thread_may_free_any_block)
{
    pthread_t threads[4];
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    for (int i = 0; i < 4; i++)
        START(threads[i], hand_over, vmp);
    for (int i = 0; i < 4; i++)
        JOIN(threads[i]);
    CHECK_EQ(vmem_check(vmp), 1);
    vmem_delete(vmp);
}

static void *use_then_wait(void *argument)
{
    VMEM **vmp = argument;
    for (int i = 0; i < 200; i++)
        vmem_free(*vmp, OK(vmem_malloc(*vmp, 64)));
    __atomic_store_n(&vmp[1], NULL, __ATOMIC_RELEASE);
    while (__atomic_load_n(&vmp[1], __ATOMIC_ACQUIRE) == NULL)
        sleep_ms(1);
    /* The pool it knew is gone; another one lies at the same address. */
    for (int i = 0; i < 200; i++)
        vmem_free(*vmp, OK(vmem_malloc(*vmp, 64)));
    return NULL;
}

CASE(threads_may_outlive_a_pool)
{
    char *p = region(VMEM_MIN_POOL, 0);
    VMEM *state[2] = {vmem_create_in_region(p, VMEM_MIN_POOL), (VMEM *)p};
    pthread_t thread;
    START(thread, use_then_wait, state);
    while (__atomic_load_n(&state[1], __ATOMIC_ACQUIRE) != NULL)
        sleep_ms(1);
    vmem_delete(state[0]);
    CHECK(vmem_create_in_region(p, VMEM_MIN_POOL) == (void *)p);
    __atomic_store_n(&state[1], (VMEM *)p, __ATOMIC_RELEASE);
    JOIN(thread);
    CHECK_EQ(vmem_check((VMEM *)p), 1);
}

CASE(a_child_allocates_without_harm_to_the_parent)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    char *old[100], *young[100];
    for (int i = 0; i < 100; i++)
        stamp(old[i] = OK(vmem_malloc(vmp, 1000)), 1000, i);
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 100; i++)
            CHECK_STAMP(old[i], 1000, i);
        for (int i = 0; i < 50; i++)
            vmem_free(vmp, old[i]);
        for (int round = 0; round < 1000; round++) {
            char *p = OK(vmem_malloc(vmp, 1000));
            memset(p, 0xff, 1000);
            vmem_free(vmp, p);
        }
        struct link *chain = NULL;
        CHECK_GE(fill_pool(vmp, &chain, 1000), 1000);
        for (struct link *p = chain; p != NULL; p = p->next)
            memset(p + 1, 0xee, 1000 - sizeof *p);
        vmem_delete(vmp);
        _exit(0);
    }
    for (int i = 0; i < 100; i++)
        stamp(young[i] = OK(vmem_malloc(vmp, 1000)), 1000, 1000 + i);
    CHECK_CHILD(child);
    for (int i = 0; i < 100; i++) {
        CHECK_STAMP(old[i], 1000, i);
        CHECK_STAMP(young[i], 1000, 1000 + i);
    }
    CHECK_EQ(vmem_check(vmp), 1);
    vmem_delete(vmp);
}

CASE(a_child_that_ends_or_execs_leaves_the_pool_alone)
{
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    char *p = OK(vmem_malloc(vmp, 1000));
    stamp(p, 1000, 1);
    for (int round = 0; round < 20; round++) {
        pid_t child = fork();
        if (child == 0) {
            if (round % 2 == 0)
                execl("/bin/true", "true", (char *)NULL);
            _exit(0);
        }
        CHECK_CHILD(child);
    }
    CHECK_STAMP(p, 1000, 1);
    vmem_delete(vmp);
}

static int stop;

static void *allocate_until_stopped(void *vmp)
{
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
        vmem_free(vmp, vmem_malloc(vmp, 100));
    return NULL;
}

CASE(forks_while_threads_allocate_leave_no_lock)
{
    pthread_t threads[2];
    VMEM *vmp = make_pool(VMEM_MIN_POOL);
    for (int i = 0; i < 2; i++)
        START(threads[i], allocate_until_stopped, vmp);
    for (int round = 0; round < 50; round++) {
        pid_t child = fork();
        if (child == 0) {
            VMEM *own = make_pool(VMEM_MIN_POOL);
            OK(vmem_malloc(own, 100));
            OK(vmem_malloc(vmp, 100));
            vmem_delete(own);
            _exit(0);
        }
        CHECK_CHILD(child);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++)
        JOIN(threads[i]);
    CHECK_EQ(vmem_check(vmp), 1);
}
