/* What a program may do to itself while its heap lies in a pool: descriptors, limits, stacks, signals,
 * identity, libraries. Written for a lazy pool of 64 MiB; every case allocates after the change.
 *
 * Arguments: path of libplugin.so, path of libtls_lib.so. Cases named root_* need root. */
#include "load.h"

#include <dlfcn.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>

static struct set before, after;

/* The heap still does everything: old data is there, new data fits, memory goes back. */
static void check_heap(void)
{
    set_check(&before, 1);
    for (int round = 0; round < 3; round++) {
        set_fill(&after, 12 * MIB, 2);
        set_check(&after, 2);
        set_free(&after);
        malloc_trim(0);
        char *zero = OK(calloc(1, 2 * MIB));
        CHECK_EQ(nonzero_at(zero, 2 * MIB), -1);
        memset(zero, 1, 2 * MIB);
        free(zero);
    }
    set_check(&before, 1);
}

/* ---- descriptors and directories ---- */

CASE(all_descriptors_closed)
{
    set_fill(&before, 2 * MIB, 1);
    CHECK_EQ(close_range(3, ~0U, 0), 0);
    check_heap();
}

CASE(all_descriptors_closed_one_by_one)
{
    set_fill(&before, 2 * MIB, 1);
    for (int fd = 3; fd < 70000; fd++)
        close(fd);
    check_heap();
}

/* The numbers of the closed descriptors belong to another file now: nobody writes to it, changes its
 * size or punches holes into it. */
CASE(descriptor_numbers_taken_over)
{
    int number[64], count = 0;
    struct stat file;
    set_fill(&before, 2 * MIB, 1);
    for (int fd = 3; fd < 70000 && count < 64; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            number[count++] = fd;
    CHECK_EQ(close_range(3, ~0U, 0), 0);
    FILE *other = tmpfile();
    CHECK(other != NULL);
    int fd = fileno(other);
    static char content[100000];
    stamp(content, sizeof content, 5);
    CHECK_EQ(write(fd, content, sizeof content), sizeof content);
    for (int i = 0; i < count; i++)
        CHECK(number[i] == fd || dup2(fd, number[i]) == number[i]);
    check_heap();
    set_free(&before);
    malloc_trim(0);
    CHECK_EQ(fstat(fd, &file), 0);
    CHECK_EQ(file.st_size, sizeof content);
    CHECK_EQ(pread(fd, content, sizeof content, 0), sizeof content);
    CHECK_STAMP(content, sizeof content, 5);
}

CASE(no_descriptor_is_left_to_an_executed_program)
{
    struct stat dir, file;
    const char *path = getenv("VMMALLOC_POOL_DIR");
    CHECK(path != NULL && stat(path, &dir) == 0);
    DIR *fds = opendir("/proc/self/fd");
    CHECK(fds != NULL);
    for (struct dirent *entry; (entry = readdir(fds)) != NULL;) {
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] != '.' && fd > 2 && fstat(fd, &file) == 0 && file.st_dev == dir.st_dev
            && (fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0)
            FAIL("descriptor %d stays open across exec", fd);
    }
    closedir(fds);
}

CASE(descriptors_0_to_9_are_not_used)
{
    struct stat dir, file;
    const char *path = getenv("VMMALLOC_POOL_DIR");
    free(malloc(1));
    CHECK(path != NULL && stat(path, &dir) == 0);
    for (int fd = 3; fd < 10; fd++)
        CHECK(fstat(fd, &file) != 0 || file.st_dev != dir.st_dev || file.st_nlink != 0);
}

CASE(the_directory_is_empty_and_removable)
{
    const char *path = getenv("VMMALLOC_POOL_DIR");
    set_fill(&before, 2 * MIB, 1);
    CHECK_EQ(rmdir(path), 0);
    check_heap();
    CHECK_EQ(mkdir(path, 0700), 0);
}

CASE(the_working_directory_is_removed)
{
    char place[] = "/tmp/pmem-e2e-cwd-XXXXXX";
    set_fill(&before, 2 * MIB, 1);
    CHECK(mkdtemp(place) != NULL && chdir(place) == 0 && rmdir(place) == 0);
    check_heap();
}

CASE(root_chroot)
{
    set_fill(&before, 2 * MIB, 1);
    CHECK_EQ(chroot("/proc"), 0);
    CHECK_EQ(chdir("/"), 0);
    check_heap();
}

CASE(root_setuid)
{
    set_fill(&before, 2 * MIB, 1);
    CHECK_EQ(setresgid(65534, 65534, 65534), 0);
    CHECK_EQ(setresuid(65534, 65534, 65534), 0);
    check_heap();
    pid_t pid = fork();
    if (pid == 0) {
        check_heap();
        _exit(0);
    }
    CHECK_CHILD(pid);
}

CASE(root_mlockall)
{
    set_fill(&before, 2 * MIB, 1);
    CHECK_EQ(mlockall(MCL_CURRENT | MCL_FUTURE), 0);
    check_heap();
}

/* ---- limits ---- */

static void limit(int resource, rlim_t value)
{
    struct rlimit limits = {value, value};
    CHECK_EQ(setrlimit(resource, &limits), 0);
}

/* Under a limit a request may fail, but only with ENOMEM, and what is held stays right. */
static void check_heap_may_fail(void)
{
    for (int round = 0; round < 3; round++) {
        struct link *chain = NULL;
        for (size_t size = 16; size <= 4 * MIB; size *= 2)
            fill(&chain, size, MIB + size);
        free_chain(&chain);
        malloc_trim(0);
        set_check(&before, 1);
    }
    /* What was freed a moment ago can be had again without new resources. */
    set_free(&before);
    free(OK(malloc(100)));
}

CASE(file_size_limit_after_the_start)
{
    set_fill(&before, 2 * MIB, 1);
    limit(RLIMIT_FSIZE, 4096);
    check_heap_may_fail();
}

CASE(address_space_limit_after_the_start)
{
    set_fill(&before, 2 * MIB, 1);
    limit(RLIMIT_AS, 1 * MIB);
    check_heap_may_fail();
}

CASE(data_limit_after_the_start)
{
    set_fill(&before, 2 * MIB, 1);
    limit(RLIMIT_DATA, 0);
    check_heap_may_fail();
}

CASE(descriptor_limit_after_the_start)
{
    set_fill(&before, 2 * MIB, 1);
    limit(RLIMIT_NOFILE, 3);
    check_heap();
}

/* ---- seccomp ---- */

/* Lets the listed system calls fail with `code`. */
static void forbid(const int *calls, int count, int code)
{
    struct sock_filter filter[64];
    int n = 0;
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                               offsetof(struct seccomp_data, nr));
    for (int i = 0; i < count; i++) {
        filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], 0, 1);
        filter[n++] = (struct sock_filter)BPF_STMT(
            BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ((unsigned)code & SECCOMP_RET_DATA));
    }
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {(unsigned short)n, filter};
    CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

CASE(a_sandbox_forbids_files)
{
    static const int calls[] = {SYS_openat, SYS_fallocate, SYS_ftruncate, SYS_memfd_create, SYS_fstat,
                                SYS_newfstatat, SYS_mremap, SYS_prctl};
    set_fill(&before, 2 * MIB, 1);
    forbid(calls, ARRAY_LENGTH(calls), EPERM);
    check_heap();
}

/* What a user at the quota sees, on a file system that is far from full. */
CASE(an_exceeded_quota_shows_as_enomem)
{
    static const int calls[] = {SYS_fallocate};
    set_fill(&before, 2 * MIB, 1);
    forbid(calls, ARRAY_LENGTH(calls), EDQUOT);
    for (size_t size = 64; size <= 8 * MIB; size *= 8) {
        struct link *chain = NULL;
        fill(&chain, size, SIZE_MAX / 2); /* ends with NULL and ENOMEM */
        free_chain(&chain);
    }
    check_heap_may_fail();
}

CASE(a_sandbox_knows_no_madvise)
{
    static const int calls[] = {SYS_madvise};
    set_fill(&before, 2 * MIB, 1);
    forbid(calls, ARRAY_LENGTH(calls), ENOSYS);
    check_heap();
}

CASE(a_sandbox_forbids_everything_unusual)
{
    static const int calls[] = {SYS_openat, SYS_fallocate, SYS_ftruncate, SYS_memfd_create, SYS_fstat,
                                SYS_newfstatat, SYS_mremap, SYS_prctl, SYS_madvise};
    set_fill(&before, 2 * MIB, 1);
    forbid(calls, ARRAY_LENGTH(calls), EPERM);
    check_heap_may_fail();
}

/* ---- stacks ---- */

static ucontext_t main_context, coroutine;
static int coroutine_finished;

static void use_everything(void)
{
    for (size_t size = 8; size <= 4 * MIB; size *= 2) {
        char *p = OK(malloc(size)), *q = OK(memalign(64, size));
        memset(p, 1, size);
        p = OK(realloc(p, size + size / 2));
        q[0] = 1;
        free(p), free(q);
        free(OK(calloc(3, size / 2)));
    }
    struct link *chain = NULL;
    fill(&chain, 100, 4 * MIB);
    free_chain(&chain);
    malloc_trim(0);
    free(malloc(opaque(SIZE_MAX / 2)));
}

static void run_coroutine(void)
{
    use_everything();
    coroutine_finished = 1;
}

/* Stacks with a page below that nobody may touch. */
static void *guarded_stack(size_t size)
{
    char *low = mmap(NULL, size + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(low != MAP_FAILED);
    CHECK_EQ(mprotect(low, 4096, PROT_NONE), 0);
    return low + 4096;
}

static void *switch_to_coroutine(void *size)
{
    coroutine_finished = 0;
    CHECK_EQ(getcontext(&coroutine), 0);
    coroutine.uc_stack.ss_size = (size_t)size;
    coroutine.uc_stack.ss_sp = guarded_stack((size_t)size);
    coroutine.uc_link = &main_context;
    makecontext(&coroutine, run_coroutine, 0);
    CHECK_EQ(swapcontext(&main_context, &coroutine), 0);
    CHECK_EQ(coroutine_finished, 1);
    return NULL;
}

CASE(a_coroutine_on_16_kib)
{
    switch_to_coroutine((void *)(16 * KIB));
}

CASE(a_coroutine_on_8_kib)
{
    switch_to_coroutine((void *)(8 * KIB));
}

/* The first allocation of a thread happens on the small stack. */
CASE(a_coroutine_of_a_fresh_thread)
{
    pthread_t thread;
    START(thread, switch_to_coroutine, (void *)(8 * KIB));
    JOIN(thread);
}

static void *use_everything_in_a_thread(void *unused)
{
    use_everything();
    return unused;
}

CASE(a_thread_on_the_smallest_stack)
{
    pthread_attr_t smallest;
    pthread_t thread;
    pthread_attr_init(&smallest);
    CHECK_EQ(pthread_attr_setstacksize(&smallest, (size_t)sysconf(_SC_THREAD_STACK_MIN)), 0);
    CHECK_EQ(pthread_create(&thread, &smallest, use_everything_in_a_thread, NULL), 0);
    JOIN(thread);
}

static void handle_by_allocating(int signal)
{
    (void)signal;
    use_everything();
    coroutine_finished = 1;
}

CASE(a_signal_handler_on_an_alternate_stack)
{
    stack_t stack = {.ss_sp = guarded_stack(16 * KIB), .ss_size = 16 * KIB};
    struct sigaction action = {.sa_handler = handle_by_allocating, .sa_flags = SA_ONSTACK};
    CHECK_EQ(sigaltstack(&stack, NULL), 0);
    CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    set_fill(&before, 2 * MIB, 1);
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(coroutine_finished, 1);
    set_check(&before, 1);
}

/* ---- signals ---- */

static volatile int alarms;

static void count_alarm(int signal)
{
    (void)signal;
    alarms++;
}

CASE(a_storm_of_signals)
{
    struct sigaction action = {.sa_handler = count_alarm}; /* no SA_RESTART: calls end with EINTR */
    struct itimerval often = {{0, 100}, {0, 100}};
    CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
    CHECK_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
    set_fill(&before, 2 * MIB, 1);
    double end = seconds() + 1;
    while (seconds() < end)
        check_heap();
    CHECK_GE(alarms, 100);
}

static volatile int signal_seen;

static void allocate_in_handler(int signal)
{
    (void)signal;
    void *p = malloc(100);
    if (p == NULL)
        _exit(9);
    free(p);
    signal_seen++;
}

/* Not promised by any standard, but common: a handler that allocates while the program waits. */
CASE(a_handler_allocates_while_the_program_sleeps)
{
    struct sigaction action = {.sa_handler = allocate_in_handler};
    struct itimerval often = {{0, 500}, {0, 500}};
    CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
    free(OK(malloc(100)));
    CHECK_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
    while (signal_seen < 300)
        pause();
}

CASE(no_signal_disposition_is_changed)
{
    free(OK(malloc(100)));
    for (int number = 1; number < 32; number++) {
        struct sigaction action;
        if (number == SIGKILL || number == SIGSTOP)
            continue;
        CHECK_EQ(sigaction(number, NULL, &action), 0);
        CHECK(action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN);
    }
    sigset_t blocked;
    CHECK_EQ(sigprocmask(SIG_BLOCK, NULL, &blocked), 0);
    for (int number = 1; number < 32; number++)
        CHECK_EQ(sigismember(&blocked, number), 0);
}

CASE(no_thread_is_started)
{
    set_fill(&before, 8 * MIB, 1);
    DIR *tasks = opendir("/proc/self/task");
    int count = 0;
    CHECK(tasks != NULL);
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(tasks);
    CHECK_EQ(count, 1);
}

/* ---- libraries and foreign blocks ---- */

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

CASE(blocks_of_the_c_library_are_taken)
{
    static const size_t sizes[] = {0, 24, 100, 5000, 200000, 8 * MIB};
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
            size_t size = sizes[i];
            errno = 777;
            free(__libc_malloc(size));
            CHECK_EQ(errno, 777);
            void *p = __libc_malloc(size);
            CHECK_GE(malloc_usable_size(p), size);
            stamp(p, size, i);
            p = OK(realloc(p, size * 2 + 50));
            CHECK_STAMP(p, size / 8 * 8, i);
            free(p);
            p = __libc_memalign(256, size);
            stamp(p, size, i);
            p = OK(realloc(p, size / 2 + 1));
            CHECK_STAMP(p, size / 16 * 8, i);
            free(p);
            CHECK(realloc(__libc_calloc(1, size), opaque(0)) == NULL);
            p = __libc_malloc(size);
            CHECK_FAILS(realloc(p, opaque(SIZE_MAX / 2)), ENOMEM);
            free(p);
        }
    }
}

CASE(c_library_frees_its_own_blocks)
{
    for (int i = 0; i < 1000; i++)
        __libc_free(__libc_realloc(__libc_malloc((size_t)i), (size_t)i * 3));
    set_fill(&before, 2 * MIB, 1);
    check_heap();
}

static void *(*plugin_malloc)(size_t);
static char *(*plugin_strdup)(const char *);
static void (*plugin_free)(void *);

static void open_plugin(int flags)
{
    CHECK(case_arguments[0] != NULL);
    void *library = dlopen(case_arguments[0], RTLD_NOW | flags);
    if (library == NULL)
        FAIL("%s", dlerror());
    plugin_malloc = (void *(*)(size_t))dlsym(library, "plugin_malloc");
    plugin_strdup = (char *(*)(const char *))dlsym(library, "plugin_strdup");
    plugin_free = (void (*)(void *))dlsym(library, "plugin_free");
    CHECK(plugin_malloc != NULL && plugin_strdup != NULL && plugin_free != NULL);
}

CASE(a_plugin_exchanges_blocks_with_the_program)
{
    open_plugin(0);
    for (size_t size = 1; size <= 4 * MIB; size *= 2) {
        void *p = plugin_malloc(size);
        CHECK_IN_POOL(p);
        memset(p, 1, size);
        free(p);
        plugin_free(OK(malloc(size)));
        plugin_free(plugin_malloc(size));
    }
    char *word = plugin_strdup("a word");
    CHECK_IN_POOL(word);
    free(word);
}

/* Such a plugin allocates with the C library's malloc; its blocks reach our free and realloc. (The
 * reverse direction cannot be helped by any preloaded library: the plugin calls the C library's free.) */
CASE(a_deepbind_plugin_gives_its_blocks_to_the_program)
{
    open_plugin(RTLD_DEEPBIND);
    for (size_t size = 1; size <= 4 * MIB; size *= 2) {
        char *p = plugin_malloc(size);
        CHECK_GE(malloc_usable_size(p), size);
        stamp(p, size, 1);
        p = OK(realloc(p, size * 2));
        CHECK_STAMP(p, size / 8 * 8, 1);
        free(p);
        free(plugin_malloc(size));
        plugin_free(plugin_malloc(size));
    }
    free(plugin_strdup("a word"));
}

static volatile int stop_touching;
static int (*volatile tls_touch)(int);
static pthread_barrier_t round_start, round_end;

static void *touch_every_round(void *unused)
{
    for (;;) {
        pthread_barrier_wait(&round_start);
        if (stop_touching)
            return unused;
        CHECK_EQ(tls_touch(7), 42);
        CHECK_EQ(tls_touch(8), 7);
        pthread_barrier_wait(&round_end);
    }
}

CASE(a_library_with_thread_local_data_comes_and_goes)
{
    pthread_t thread[4];
    CHECK(case_arguments[0] != NULL && case_arguments[1] != NULL);
    pthread_barrier_init(&round_start, NULL, 5);
    pthread_barrier_init(&round_end, NULL, 5);
    for (int i = 0; i < 4; i++)
        START(thread[i], touch_every_round, NULL);
    for (int round = 0; round < 300; round++) {
        void *library = dlopen(case_arguments[1], RTLD_NOW);
        if (library == NULL)
            FAIL("%s", dlerror());
        tls_touch = (int (*)(int))dlsym(library, "tls_touch");
        CHECK(dlsym(library, "no_such_symbol") == NULL);
        pthread_barrier_wait(&round_start);
        CHECK_EQ(tls_touch(1), 42);
        pthread_barrier_wait(&round_end);
        CHECK_EQ(dlclose(library), 0);
    }
    stop_touching = 1;
    pthread_barrier_wait(&round_start);
    for (int i = 0; i < 4; i++)
        JOIN(thread[i]);
}
