/* fork() with a heap in a pool. Written for a pool of 64 MiB.
 *
 * Cases named any_* hold for every value of VMMALLOC_FORK, also 0, where parent and child share the data.
 * The others hold for the values that isolate them. */
#include "load.h"

#include <linux/close_range.h>
#include <pty.h>
#include <spawn.h>
#include <sys/syscall.h>

extern char **environ;

static struct set before, after;

static pid_t fork_checked(void)
{
    pid_t pid = fork();
    if (pid < 0)
        FAIL("fork");
    return pid;
}

/* ---- for every mode ---- */

CASE(any_child_exits_at_once)
{
    set_fill(&before, 4 * MIB, 1);
    for (int i = 0; i < 20; i++) {
        pid_t pid = fork_checked();
        if (pid == 0)
            _exit(0);
        CHECK_CHILD(pid);
        free(OK(malloc(100000)));
    }
    set_check(&before, 1);
}

CASE(any_child_executes_a_program)
{
    set_fill(&before, 4 * MIB, 1);
    for (int i = 0; i < 5; i++) {
        pid_t pid = fork_checked();
        if (pid == 0) {
            execl("/proc/self/exe", "fork", "exec_target", (char *)NULL);
            FAIL("exec");
        }
        CHECK_CHILD(pid);
        set_check(&before, 1);
    }
}

/* What any_child_executes_a_program executes: a process with a pool of its own. */
CASE(exec_target)
{
    set_fill(&before, MIB, 3);
    CHECK_IN_POOL(before.block[0]);
    set_check(&before, 3);
}

CASE(any_child_allocates_while_the_parent_waits)
{
    set_fill(&before, 4 * MIB, 1);
    pid_t pid = fork_checked();
    if (pid == 0) {
        set_check(&before, 1);
        set_fill(&after, 4 * MIB, 2);
        set_check(&after, 2);
        set_check(&before, 1);
        set_free(&after);
        _exit(0);
    }
    CHECK_CHILD(pid);
    set_check(&before, 1);
    set_fill(&after, 4 * MIB, 3);
    set_check(&after, 3);
}

CASE(any_vfork_child_allocates_and_frees)
{
    set_fill(&before, 4 * MIB, 1);
    for (int i = 0; i < 50; i++) {
        pid_t pid = vfork();
        if (pid == 0) {
            /* Legal on Linux: the child runs in the parent's memory while the parent waits. */
            void *small = malloc(100), *large = malloc(300000);
            if (small != NULL && large != NULL)
                free(small), free(large);
            _exit(small == NULL || large == NULL);
        }
        CHECK_CHILD(pid);
    }
    set_check(&before, 1);
    set_fill(&after, 4 * MIB, 2);
    set_check(&before, 1);
}

CASE(any_posix_spawn_system_and_popen)
{
    set_fill(&before, 4 * MIB, 1);
    struct load load;
    load_start(&load, 2, 64 * KIB);
    for (int i = 0; i < 5; i++) {
        char *arguments[] = {"sh", "-c", "exit 0", NULL};
        pid_t pid;
        CHECK_EQ(posix_spawn(&pid, "/bin/sh", NULL, NULL, arguments, environ), 0);
        CHECK_CHILD(pid);
        CHECK_EQ(system("exit 3"), 3 << 8);
        FILE *pipe = popen("echo a word", "r");
        char line[100] = "";
        CHECK(pipe != NULL && fgets(line, sizeof line, pipe) != NULL);
        CHECK_EQ(pclose(pipe), 0);
        CHECK(strcmp(line, "a word\n") == 0);
    }
    load_stop(&load);
    set_check(&before, 1);
}

/* ---- isolation ---- */

/* Both sides write into the common blocks and allocate new ones; neither sees the other. */
static void check_isolation(size_t bytes)
{
    struct gate to_child, to_parent;
    gate_open(&to_child), gate_open(&to_parent);
    set_fill(&before, bytes, 1);
    pid_t pid = fork_checked();
    if (pid == 0) {
        set_check(&before, 1);
        set_stamp(&before, 2);
        set_fill(&after, bytes / 8, 20);
        gate_pass(&to_parent);
        gate_wait(&to_child);
        set_check(&before, 2);
        set_check(&after, 20);
        set_free(&before);
        set_free(&after);
        set_fill(&after, bytes / 2, 21);
        set_check(&after, 21);
        _exit(0);
    }
    gate_wait(&to_parent);
    set_check(&before, 1);
    set_stamp(&before, 3);
    set_fill(&after, bytes / 8, 30);
    gate_pass(&to_child);
    CHECK_CHILD(pid);
    set_check(&before, 3);
    set_check(&after, 30);
    set_free(&before);
    set_free(&after);
    set_fill(&after, bytes / 2, 31);
    set_check(&after, 31);
    set_free(&after);
    for (int i = 0; i < 2; i++)
        close(to_child.end[i]), close(to_parent.end[i]);
}

CASE(parent_and_child_are_isolated)
{
    check_isolation(12 * MIB);
}

CASE(parent_and_child_are_isolated_again_and_again)
{
    for (int i = 0; i < 10; i++)
        check_isolation(4 * MIB);
}

CASE(parent_and_child_are_isolated_under_load)
{
    struct load load;
    load_start(&load, 4, 64 * KIB);
    for (int i = 0; i < 5; i++)
        check_isolation(4 * MIB);
    load_stop(&load);
}

CASE(blocks_allocated_on_both_sides_are_isolated)
{
    enum { ROUNDS = 10, PER_ROUND = 500 };
    struct gate to_child, to_parent;
    gate_open(&to_child), gate_open(&to_parent);
    set_fill(&before, 2 * MIB, 1);
    set_free(&before); /* leaves caches and free lists that both inherit */
    pid_t pid = fork_checked();
    struct gate *mine = pid == 0 ? &to_child : &to_parent;
    struct gate *other = pid == 0 ? &to_parent : &to_child;
    uint64_t seed = pid == 0 ? 5 : 6;
    static unsigned char *block[ROUNDS * PER_ROUND];
    int count = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < PER_ROUND; i++, count++) {
            size_t size = 16 + (size_t)count * 37 % 3000;
            block[count] = OK(malloc(size));
            stamp(block[count], size, seed + (uint64_t)count * 8);
        }
        gate_pass(other);
        gate_wait(mine);
        for (int i = 0; i < count; i++)
            CHECK_STAMP(block[i], 16 + (size_t)i * 37 % 3000, seed + (uint64_t)i * 8);
    }
    if (pid == 0)
        _exit(0);
    CHECK_CHILD(pid);
}

CASE(child_keeps_what_the_parent_frees_and_gives_back)
{
    struct gate to_child;
    gate_open(&to_child);
    set_fill(&before, 12 * MIB, 1);
    pid_t pid = fork_checked();
    if (pid == 0) {
        gate_wait(&to_child);
        set_check(&before, 1);
        set_free(&before);
        set_fill(&after, 12 * MIB, 2);
        set_check(&after, 2);
        _exit(0);
    }
    set_free(&before);
    malloc_trim(0);
    for (int i = 0; i < 30; i++) {
        free(OK(malloc(1000)));
        sleep_ms(10); /* the decay is set to 100 ms */
    }
    set_fill(&after, 12 * MIB, 3);
    gate_pass(&to_child);
    CHECK_CHILD(pid);
    set_check(&after, 3);
}

CASE(parent_keeps_what_the_child_frees_and_gives_back)
{
    set_fill(&before, 12 * MIB, 1);
    pid_t pid = fork_checked();
    if (pid == 0) {
        set_free(&before);
        malloc_trim(0);
        for (int i = 0; i < 30; i++) {
            free(OK(malloc(1000)));
            sleep_ms(10);
        }
        set_fill(&after, 12 * MIB, 2);
        set_check(&after, 2);
        _exit(0);
    }
    CHECK_CHILD(pid);
    set_check(&before, 1);
    set_free(&before);
    malloc_trim(0);
    set_fill(&after, 12 * MIB, 3);
    set_check(&after, 3);
}

CASE(memory_given_back_before_the_fork_is_usable_on_both_sides)
{
    set_fill(&before, 12 * MIB, 1);
    set_free(&before);
    malloc_trim(0);
    check_isolation(8 * MIB);
}

CASE(calloc_is_zero_on_both_sides)
{
    set_fill(&before, 12 * MIB, 1);
    set_free(&before);
    pid_t pid = fork_checked();
    for (size_t size = 16; size <= 2 * MIB; size *= 2) {
        char *p = OK(calloc(1, size));
        CHECK_EQ(nonzero_at(p, size), -1);
        memset(p, pid == 0 ? 1 : 2, size);
    }
    if (pid == 0)
        _exit(0);
    CHECK_CHILD(pid);
}

CASE(large_blocks_grow_on_both_sides)
{
    size_t size = MIB;
    char *p = OK(malloc(size));
    stamp(p, MIB, 1);
    pid_t pid = fork_checked();
    for (; size < 12 * MIB; size += MIB) {
        p = OK(realloc(p, size + MIB));
        CHECK_STAMP(p, MIB, 1);
        memset(p + size, pid == 0 ? 1 : 2, MIB);
    }
    for (size_t i = MIB; i < size; i += 4096)
        CHECK_EQ(p[i], pid == 0 ? 1 : 2);
    if (pid == 0)
        _exit(0);
    CHECK_CHILD(pid);
}

CASE(child_can_fill_the_pool_and_recovers)
{
    set_fill(&before, 4 * MIB, 1);
    pid_t pid = fork_checked();
    struct link *chain = NULL;
    size_t first = fill(&chain, 10000, SIZE_MAX / 2);
    CHECK_GE(first * 10000, pool_bytes() / 10 * 8);
    free_chain(&chain);
    CHECK_GE(fill(&chain, 10000, SIZE_MAX / 2), first - first / 50);
    free_chain(&chain);
    set_check(&before, 1);
    if (pid == 0)
        _exit(0);
    CHECK_CHILD(pid);
}

/* ---- nesting ---- */

static void *allocate_sixteen_blocks(void *stop)
{
    int *block[16];
    while (!*(volatile int *)stop) {
        for (int i = 0; i < 16; i++) {
            block[i] = malloc(sizeof(int) << i);
            CHECK(block[i] != NULL);
            *block[i] = i;
        }
        for (int i = 0; i < 16; i++) {
            CHECK_EQ(*block[i], i);
            free(block[i]);
        }
    }
    return NULL;
}

/* Each process checks the blocks of all its ancestors under its own values, with two threads that
 * allocate while it forks. */
static void nest(int depth, int most, int execute)
{
    pthread_t thread[2];
    volatile int stop = 0;
    int *block[16];
    for (int i = 0; i < 2; i++)
        START(thread[i], allocate_sixteen_blocks, (void *)&stop);
    for (int i = 0; i < 16; i++) {
        block[i] = OK(malloc(sizeof(int)));
        *block[i] = depth * 100 + i;
    }
    pid_t pid = -1;
    if (depth < most) {
        pid = fork_checked();
        if (pid == 0) {
            for (int i = 0; i < 16; i++) {
                CHECK_EQ(*block[i], depth * 100 + i);
                *block[i] = -1; /* must stay invisible to the parent */
            }
            nest(depth + 1, most, execute);
            for (int i = 0; i < 16; i++) {
                CHECK_EQ(*block[i], -1);
                free(block[i]);
            }
            if (depth + 1 == most && execute) {
                execl("/bin/echo", "echo", "the last child", (char *)NULL);
                FAIL("exec");
            }
            _exit(0);
        }
    }
    stop = 1;
    for (int i = 0; i < 2; i++)
        JOIN(thread[i]);
    if (pid > 0)
        CHECK_CHILD(pid);
    for (int i = 0; i < 16; i++) {
        CHECK_EQ(*block[i], depth * 100 + i);
        free(block[i]);
    }
}

CASE(four_nested_forks_with_threads)
{
    nest(0, 4, 0);
}

CASE(four_nested_forks_with_threads_and_exec)
{
    nest(0, 4, 1);
}

/* As nest, with blocks that nobody else writes: these may be shared. */
static void nest_apart(int depth, int most)
{
    pthread_t thread[2];
    volatile int stop = 0;
    struct set own;
    for (int i = 0; i < 2; i++)
        START(thread[i], allocate_sixteen_blocks, (void *)&stop);
    set_fill(&own, 200 * KIB, (uint64_t)depth + 1);
    pid_t pid = depth < most ? fork_checked() : -1;
    if (pid == 0) {
        set_check(&own, (uint64_t)depth + 1); /* of the parent, which does not write it */
        nest_apart(depth + 1, most);
        if (depth + 1 == most) {
            execl("/bin/echo", "echo", "the last child", (char *)NULL);
            FAIL("exec");
        }
        _exit(0);
    }
    stop = 1;
    for (int i = 0; i < 2; i++)
        JOIN(thread[i]);
    if (pid > 0)
        CHECK_CHILD(pid);
    set_check(&own, (uint64_t)depth + 1);
    set_free(&own);
}

CASE(any_four_nested_forks_with_threads_and_exec)
{
    nest_apart(0, 4);
}

CASE(any_thousand_forks_under_load)
{
    struct load load;
    load_start(&load, 4, 16 * KIB);
    set_fill(&before, MIB, 1);
    for (int i = 0; i < 1000; i++) {
        pid_t pid = fork_checked();
        if (pid == 0) {
            unsigned char *small = malloc(50), *large = malloc(200000);
            CHECK(small != NULL && large != NULL);
            stamp(large, 200000, (uint64_t)i);
            if (i % 50 == 0)
                set_check(&before, 1);
            CHECK_STAMP(large, 200000, (uint64_t)i);
            free(small), free(large);
            _exit(0);
        }
        CHECK_CHILD(pid);
    }
    load_stop(&load);
    set_check(&before, 1);
}

CASE(forty_generations)
{
    set_fill(&before, 2 * MIB, 1);
    for (int generation = 1; generation <= 40; generation++) {
        pid_t pid = fork_checked();
        if (pid != 0) {
            CHECK_CHILD(pid);
            set_check(&before, (uint64_t)generation);
            if (generation == 1)
                return;
            _exit(0);
        }
        set_check(&before, (uint64_t)generation);
        set_stamp(&before, (uint64_t)generation + 1);
        set_fill(&after, MIB, 7);
        set_check(&after, 7);
        set_free(&after);
    }
    _exit(0);
}

/* ---- threads ---- */

static void *exit_child_many_times(void *unused)
{
    (void)unused;
    for (int i = 0; i < 40; i++) {
        pid_t pid = fork_checked();
        if (pid == 0) {
            free(OK(malloc(100)));
            free(OK(malloc(100000)));
            _exit(0);
        }
        CHECK_CHILD(pid);
    }
    return NULL;
}

CASE(four_threads_fork_at_once)
{
    pthread_t thread[4];
    struct load load;
    load_start(&load, 2, 16 * KIB);
    for (int i = 0; i < 4; i++)
        START(thread[i], exit_child_many_times, NULL);
    for (int i = 0; i < 4; i++)
        JOIN(thread[i]);
    load_stop(&load);
}

static void *start_threads_until(void *stop)
{
    while (!*(volatile int *)stop) {
        pthread_t thread;
        START(thread, (void *(*)(void *))strdup, "a word");
        void *word;
        CHECK_EQ(pthread_join(thread, &word), 0);
        free(word);
    }
    return NULL;
}

CASE(fork_while_threads_start_and_end)
{
    pthread_t thread[2];
    volatile int stop = 0;
    for (int i = 0; i < 2; i++)
        START(thread[i], start_threads_until, (void *)&stop);
    exit_child_many_times(NULL);
    stop = 1;
    for (int i = 0; i < 2; i++)
        JOIN(thread[i]);
}

CASE(child_of_a_threaded_parent_starts_threads)
{
    struct load load, own;
    load_start(&load, 4, 64 * KIB);
    for (int i = 0; i < 5; i++) {
        pid_t pid = fork_checked();
        if (pid == 0) {
            load_start(&own, 4, 64 * KIB);
            sleep_ms(20);
            load_stop(&own);
            set_fill(&after, 2 * MIB, 2);
            set_check(&after, 2);
            exit(0);
        }
        CHECK_CHILD(pid);
    }
    load_stop(&load);
}

static void *fork_in_a_thread(void *unused)
{
    (void)unused;
    check_isolation(2 * MIB);
    pid_t pid = fork_checked();
    if (pid == 0) {
        free(OK(malloc(5000)));
        pthread_exit(NULL); /* the last thread of the child: the process exits with 0 */
    }
    CHECK_CHILD(pid);
    return NULL;
}

CASE(a_thread_forks_and_its_copy_ends_as_a_thread)
{
    pthread_t thread;
    START(thread, fork_in_a_thread, NULL);
    JOIN(thread);
}

/* Blocks the vanished threads of the parent had cached or were holding stay usable in the child. */
CASE(child_reuses_the_memory_of_vanished_threads)
{
    struct load load;
    load_start(&load, 16, 64 * KIB);
    sleep_ms(50);
    pid_t pid = fork_checked();
    if (pid == 0) {
        struct link *chain = NULL;
        size_t bytes = 1000 * fill(&chain, 1000, SIZE_MAX / 2);
        /* 16 threads hold at most 64 blocks each, at most 64 KiB big; the rest must be had. */
        CHECK_GE(bytes, pool_bytes() / 2);
        free_chain(&chain);
        _exit(0);
    }
    load_stop(&load);
    CHECK_CHILD(pid);
}

struct waiting {
    pthread_mutex_t lock;
    pthread_cond_t condition;
    int state;
};

static void *wait_for_state(void *argument)
{
    struct waiting *waiting = argument;
    pthread_mutex_lock(&waiting->lock);
    waiting->state = 1;
    pthread_cond_broadcast(&waiting->condition);
    while (waiting->state != 2)
        pthread_cond_wait(&waiting->condition, &waiting->lock);
    pthread_mutex_unlock(&waiting->lock);
    return NULL;
}

CASE(a_thread_waiting_in_the_heap_wakes_up_after_the_fork)
{
    struct waiting *waiting = OK(malloc(sizeof *waiting));
    pthread_mutex_init(&waiting->lock, NULL);
    pthread_cond_init(&waiting->condition, NULL);
    waiting->state = 0;
    pthread_t thread;
    START(thread, wait_for_state, waiting);
    pthread_mutex_lock(&waiting->lock);
    while (waiting->state != 1)
        pthread_cond_wait(&waiting->condition, &waiting->lock);
    pthread_mutex_unlock(&waiting->lock);
    pid_t pid = fork_checked();
    if (pid == 0)
        _exit(0);
    CHECK_CHILD(pid);
    pthread_mutex_lock(&waiting->lock);
    waiting->state = 2;
    pthread_cond_broadcast(&waiting->condition);
    pthread_mutex_unlock(&waiting->lock);
    JOIN(thread);
}

/* ---- the surroundings ---- */

CASE(the_pool_directory_is_removed)
{
    CHECK_EQ(rmdir(getenv("VMMALLOC_POOL_DIR")), 0);
    check_isolation(4 * MIB);
}

CASE(the_working_directory_changes)
{
    CHECK_EQ(chdir("/"), 0);
    check_isolation(4 * MIB);
}

CASE(all_descriptors_are_closed)
{
    set_fill(&after, MIB, 9);
    CHECK_EQ(close_range(3, ~0U, 0), 0);
    set_check(&after, 9);
    set_free(&after);
    check_isolation(4 * MIB);
    check_isolation(4 * MIB);
}

CASE(all_descriptor_numbers_are_reused)
{
    int number[64], count = 0, limit = 65536;
    struct stat file;
    set_fill(&after, MIB, 9);
    for (int fd = 3; fd < limit && count < 64; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            number[count++] = fd;
    CHECK_EQ(close_range(3, ~0U, 0), 0);
    FILE *other = tmpfile();
    CHECK(other != NULL);
    int fd = fileno(other);
    CHECK_EQ(write(fd, "content", 7), 7);
    for (int i = 0; i < count; i++)
        CHECK(number[i] == fd || dup2(fd, number[i]) == number[i]);
    set_check(&after, 9);
    set_free(&after);
    check_isolation(4 * MIB);
    CHECK_EQ(fstat(fd, &file), 0);
    CHECK_EQ(file.st_size, 7);
    char text[8] = "";
    CHECK_EQ(pread(fd, text, 7, 0), 7);
    CHECK(strcmp(text, "content") == 0);
}

CASE(fork_fails_for_want_of_processes)
{
    set_fill(&before, 4 * MIB, 1);
    const char *dir = getenv("VMMALLOC_POOL_DIR");
    /* The limit does not hold for root. The user it becomes may still write to the directory. */
    if (geteuid() == 0) {
        CHECK(dir == NULL || chmod(dir, 0777) == 0);
        CHECK_EQ(setresuid(54321, 54321, 54321), 0);
    }
    struct rlimit none = {0, 0};
    CHECK_EQ(setrlimit(RLIMIT_NPROC, &none), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(fork(), -1);
        CHECK_EQ(errno, EAGAIN);
        set_check(&before, 1);
        set_fill(&after, 2 * MIB, 2);
        set_check(&after, 2);
        set_free(&after);
    }
}

CASE(daemon_works)
{
    struct gate done;
    gate_open(&done);
    set_fill(&before, 4 * MIB, 1);
    pid_t pid = fork_checked();
    if (pid == 0) {
        CHECK_EQ(daemon(0, 1), 0);
        set_check(&before, 1);
        set_free(&before);
        set_fill(&after, 4 * MIB, 2);
        set_check(&after, 2);
        gate_pass(&done);
        _exit(0);
    }
    CHECK_CHILD(pid);
    close(done.end[1]);
    gate_wait(&done);
    set_check(&before, 1);
}

CASE(forkpty_works)
{
    int terminal;
    set_fill(&before, 4 * MIB, 1);
    pid_t pid = forkpty(&terminal, NULL, NULL, NULL);
    CHECK(pid >= 0);
    if (pid == 0) {
        set_check(&before, 1);
        set_stamp(&before, 2);
        set_fill(&after, MIB, 3);
        printf("child speaks\n");
        exit(0);
    }
    char text[100] = "";
    CHECK_GE(read(terminal, text, sizeof text - 1), 5);
    CHECK(strncmp(text, "child", 5) == 0);
    CHECK_CHILD(pid);
    set_check(&before, 1);
}

static void fork_at_exit(void)
{
    pid_t pid = fork_checked();
    if (pid == 0) {
        set_check(&before, 1);
        set_stamp(&before, 2);
        set_fill(&after, MIB, 3);
        _exit(0);
    }
    CHECK_CHILD(pid);
    set_check(&before, 1);
}

CASE(an_exit_handler_forks)
{
    set_fill(&before, 4 * MIB, 1);
    atexit(fork_at_exit);
}

/* ---- forks that run no handlers ---- */

CASE(a_raw_fork_child_cannot_spoil_the_blocks_of_the_parent)
{
    set_fill(&before, 4 * MIB, 1);
    set_fill(&after, MIB, 2);
    set_free(&after);
    pid_t pid = _Fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        set_fill(&after, 4 * MIB, 3);
        set_check(&after, 3);
        set_free(&after);
        _exit(0);
    }
    CHECK_CHILD(pid);
    set_check(&before, 1);
    set_fill(&after, 4 * MIB, 4);
    set_check(&after, 4);
    set_check(&before, 1);
}

CASE(a_raw_fork_child_and_its_parent_share_no_new_block)
{
    struct gate to_child, to_parent;
    gate_open(&to_child), gate_open(&to_parent);
    set_fill(&before, 4 * MIB, 1);
    set_free(&before);
    pid_t pid = _Fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        set_fill(&after, 4 * MIB, 2);
        gate_pass(&to_parent);
        gate_wait(&to_child);
        set_check(&after, 2);
        _exit(0);
    }
    gate_wait(&to_parent);
    set_fill(&after, 4 * MIB, 3);
    gate_pass(&to_child);
    CHECK_CHILD(pid);
    set_check(&after, 3);
}

/* What a child does with what it inherited and with new blocks, of every kind of call. */
static void use_what_was_inherited(uint64_t seed)
{
    set_check(&before, 1);
    for (int i = 0; i < before.count; i++) {
        size_t usable = malloc_usable_size(before.block[i]);
        CHECK_GE(usable, before.size[i]);
        switch (i % 4) {
        case 0: free(before.block[i]); break;
        case 1: {
            unsigned char *larger = OK(realloc(before.block[i], usable + 100000));
            CHECK(larger != before.block[i]);
            CHECK_STAMP(larger, before.size[i], 100000 + (uint64_t)i);
            memset(larger, 7, usable + 100000);
            free(larger);
            break;
        }
        case 2: CHECK(OK(realloc(before.block[i], before.size[i] / 2 + 1)) == before.block[i]); break;
        }
    }
    for (size_t size = 1; size <= 2 * MIB; size = size * 3 / 2 + 1) {
        char *zero = OK(calloc(1, size)), *aligned = OK(memalign(4096, size));
        CHECK_EQ(nonzero_at(zero, size), -1);
        CHECK_EQ((uintptr_t)aligned % 4096, 0);
        memset(zero, 1, size), memset(aligned, 2, size);
        free(zero), free(aligned);
    }
    malloc_trim(0);
    set_fill(&after, 4 * MIB, seed);
    set_check(&after, seed);
}

CASE(a_raw_fork_child_frees_what_it_inherited_without_harm)
{
    struct gate to_child, to_parent;
    gate_open(&to_child), gate_open(&to_parent);
    set_fill(&before, 4 * MIB, 1);
    pid_t pid = _Fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        use_what_was_inherited(2);
        gate_pass(&to_parent);
        gate_wait(&to_child);
        set_check(&after, 2);
        set_free(&after);
        exit(0);
    }
    gate_wait(&to_parent);
    set_check(&before, 1);
    set_fill(&after, 4 * MIB, 3);
    set_check(&before, 1);
    set_free(&before);
    set_fill(&before, 8 * MIB, 4);
    gate_pass(&to_child);
    CHECK_CHILD(pid);
    set_check(&after, 3);
    set_check(&before, 4);
}

static void *allocate_in_a_thread(void *unused)
{
    (void)unused;
    void *block[100];
    for (int i = 0; i < 100; i++)
        memset(block[i] = OK(malloc((size_t)i * 100 + 1)), i, (size_t)i * 100 + 1);
    for (int i = 0; i < 100; i++)
        free(block[i]);
    return NULL;
}

/* The child finds locks that are held by threads which it does not have. */
CASE(a_raw_fork_child_of_a_threaded_parent_allocates)
{
    struct load load;
    load_start(&load, 4, 64 * KIB);
    set_fill(&before, MIB, 1);
    for (int i = 0; i < 300; i++) {
        pid_t pid = i % 2 ? _Fork() : (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        CHECK(pid >= 0);
        if (pid == 0) {
            if (i % 10 == 0)
                use_what_was_inherited(2);
            void *small = OK(malloc(50)), *medium = OK(malloc(5000)), *large = OK(malloc(500000));
            memset(small, 2, 50), memset(medium, 2, 5000), memset(large, 2, 500000);
            free(small), free(medium), free(large);
            _exit(0);
        }
        CHECK_CHILD(pid);
    }
    load_stop(&load);
    set_check(&before, 1);
}

CASE(a_raw_fork_child_forks_and_starts_threads)
{
    set_fill(&before, 2 * MIB, 1);
    for (int i = 0; i < 10; i++) {
        pid_t pid = _Fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            pthread_t thread[3];
            set_fill(&after, MIB, 2);
            for (int k = 0; k < 3; k++)
                START(thread[k], allocate_in_a_thread, NULL);
            pid_t inner = fork_checked();
            if (inner == 0) {
                set_check(&before, 1);
                set_check(&after, 2);
                set_stamp(&after, 5);
                set_free(&after);
                set_fill(&after, 2 * MIB, 3);
                set_check(&after, 3);
                _exit(0);
            }
            CHECK_CHILD(inner);
            for (int k = 0; k < 3; k++)
                JOIN(thread[k]);
            set_check(&after, 2);
            exit(0);
        }
        set_fill(&after, MIB, 4);
        CHECK_CHILD(pid);
        set_check(&after, 4);
        set_free(&after);
        set_check(&before, 1);
    }
}

CASE(a_raw_fork_child_executes_a_program)
{
    set_fill(&before, 2 * MIB, 1);
    pid_t pid = _Fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        free(OK(malloc(1000)));
        execl("/proc/self/exe", "fork", "exec_target", (char *)NULL);
        FAIL("exec");
    }
    CHECK_CHILD(pid);
    set_check(&before, 1);
}

/* A child that a fork with handlers made is told from one without, also when it forks raw itself. */
CASE(a_raw_fork_child_of_a_fork_child_is_recognised)
{
    set_fill(&before, 2 * MIB, 1);
    pid_t pid = fork_checked();
    if (pid == 0) {
        set_fill(&after, 2 * MIB, 2);
        set_free(&after);
        set_fill(&after, 2 * MIB, 2);
        pid_t inner = _Fork();
        CHECK(inner >= 0);
        if (inner == 0) {
            set_check(&after, 2);
            set_free(&after);
            set_fill(&after, 4 * MIB, 3);
            set_check(&after, 3);
            _exit(0);
        }
        CHECK_CHILD(inner);
        set_check(&after, 2);
        set_free(&after);
        set_fill(&after, 4 * MIB, 4);
        set_check(&after, 4);
        _exit(0);
    }
    CHECK_CHILD(pid);
    set_check(&before, 1);
}

static void allocate_and_leave(int signal)
{
    (void)signal;
    for (int i = 0; i < 1000; i++)
        free(OK(malloc((size_t)i * 300)));
    set_check(&before, 1);
    _exit(7);
}

/* For a file system without room for a second copy: what ends the process holds every lock. */
CASE(a_refused_fork_leaves_no_lock_to_a_handler)
{
    struct load load;
    signal(SIGABRT, allocate_and_leave);
    set_fill(&before, 12 * MIB, 1);
    load_start(&load, 3, 4 * KIB);
    fork();
    FAIL("the fork was not refused");
}

/* For a file system that has no room for a second copy. */
CASE(fork_with_twelve_mib_in_use)
{
    check_isolation(12 * MIB);
}
