/* After a fork the heap of the parent comes back to its pool. Written for a pool of 64 MiB with
 * VMMALLOC_FORK=1 and VMMALLOC_HOME_MS=200.
 *
 * Pages that are away are private mappings of the pool; what is stored into them is anonymous memory of the
 * process. Cases named threads_* have more than one thread when the heap comes home, which takes the
 * right to hold back writers (userfaultfd). */
#include "load.h"

#include <linux/close_range.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/syscall.h>
#include <ucontext.h>

enum { BLOCKS = 160 };
static const size_t BLOCK = 128 * KIB;

/* Blocks of 20 MiB together, and small ones that lie in slabs. */
static unsigned char *block[BLOCKS];
static struct set small;

static void fill_heap(uint64_t seed)
{
    for (int i = 0; i < BLOCKS; i++) {
        block[i] = OK(malloc(BLOCK + (size_t)i % 7 * 4096));
        stamp(block[i], BLOCK, seed + (uint64_t)i);
    }
    set_fill(&small, 4 * MIB, seed);
}

static void stamp_heap(uint64_t seed)
{
    for (int i = 0; i < BLOCKS; i++)
        stamp(block[i], BLOCK, seed + (uint64_t)i);
    set_stamp(&small, seed);
}

static void check_heap(uint64_t seed)
{
    for (int i = 0; i < BLOCKS; i++)
        CHECK_STAMP(block[i], BLOCK, seed + (uint64_t)i);
    set_check(&small, seed);
}

/* Anonymous memory of the process in bytes. */
static size_t anonymous(void)
{
    char text[4096] = "";
    int fd = open("/proc/self/status", O_RDONLY);
    CHECK(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
    close(fd);
    char *line = strstr(text, "RssAnon:");
    CHECK(line != NULL);
    return strtoul(line + 8, NULL, 10) * 1024;
}

/* What a process does all the time: it allocates, on slow paths too. */
static void work(void)
{
    void *large = OK(malloc(400000));
    free(large);
}

static void work_for(long ms)
{
    for (double end = seconds() + (double)ms / 1000; seconds() < end; sleep_ms(2))
        work();
}

static int is_away(const void *address)
{
    return place_of(address).flags[3] == 'p';
}

static int blocks_away(void)
{
    int away = 0;
    for (int i = 0; i < BLOCKS; i++)
        away += is_away(block[i]);
    return away;
}

/* The configured time, and as much again for a slow machine. */
static const long IN_TIME = 400;

/* Everything is at home, DRAM as before (5 % and what a test needs itself), and stays so when it is written. */
static void check_home(size_t anonymous_before, uint64_t seed)
{
    size_t most = anonymous_before + anonymous_before / 20 + 256 * KIB;
    work_for(IN_TIME);
    for (int more = 0; more < 20 && (blocks_away() > 0 || anonymous() > most); more++)
        work_for(100);
    CHECK_EQ(blocks_away(), 0);
    check_heap(seed);
    CHECK_GE(most, anonymous());
    stamp_heap(seed + 1);
    CHECK_GE(most, anonymous());
    check_heap(seed + 1);
}

static pid_t fork_checked(void)
{
    pid_t pid = fork();
    if (pid < 0)
        FAIL("fork");
    return pid;
}

CASE(all_pages_come_home_when_the_child_has_ended)
{
    fill_heap(1);
    size_t before = anonymous();
    for (int round = 0; round < 3; round++) {
        struct gate end;
        gate_open(&end);
        pid_t pid = fork_checked();
        if (pid == 0) {
            gate_wait(&end);
            check_heap(round * 10 + 1);
            _exit(0);
        }
        CHECK_EQ(blocks_away(), BLOCKS);
        stamp_heap(round * 10 + 10);
        CHECK_GE(anonymous(), before + 16 * MIB);
        gate_pass(&end);
        CHECK_CHILD(pid);
        check_home(before, round * 10 + 10);
    }
}

/* Pages that nobody stores into come home as well: else the next store would be lost to DRAM. */
CASE(unwritten_pages_come_home)
{
    fill_heap(1);
    size_t before = anonymous();
    pid_t pid = fork_checked();
    if (pid == 0)
        _exit(0);
    CHECK_CHILD(pid);
    check_home(before, 1);
}

CASE(pages_come_home_when_the_child_has_executed_a_program)
{
    struct gate end;
    gate_open(&end);
    fill_heap(1);
    size_t before = anonymous();
    pid_t pid = fork_checked();
    if (pid == 0) {
        CHECK_EQ(dup2(end.end[0], 0), 0);
        close(end.end[1]);
        execl("/bin/cat", "cat", (char *)NULL);
        FAIL("exec");
    }
    close(end.end[0]);
    stamp_heap(5);
    check_home(before, 5);
    CHECK_EQ(kill(pid, 0), 0);
    close(end.end[1]);
    CHECK_CHILD(pid);
}

/* As long as a descendant may read what it inherited nothing changes for it, whatever it did to its
 * descriptors. */
static void hold_on(int generations, int closes)
{
    struct gate end, done;
    gate_open(&end), gate_open(&done);
    fill_heap(1);
    size_t before = anonymous();
    pid_t pid = fork_checked();
    if (pid == 0) {
        CHECK_EQ(dup2(end.end[0], 0), 0);
        if (closes)
            CHECK_EQ(close_range(3, ~0U, 0), 0);
        for (int i = 1; i < generations; i++) {
            pid_t inner = i % 2 ? fork_checked() : _Fork();
            if (inner > 0)
                _exit(0);
        }
        char byte;
        CHECK_EQ(read(0, &byte, 1), 1);
        check_heap(1);
        _exit(0);
    }
    stamp_heap(5);
    work_for(3 * IN_TIME);
    malloc_trim(0);
    CHECK_EQ(blocks_away(), BLOCKS);
    gate_pass(&end);
    if (generations == 1)
        CHECK_CHILD(pid);
    check_home(before, 5);
}

CASE(nothing_comes_home_while_the_child_lives)
{
    hold_on(1, 0);
}

CASE(nothing_comes_home_while_a_child_without_descriptors_lives)
{
    hold_on(1, 1);
}

CASE(nothing_comes_home_while_a_grandchild_lives)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    hold_on(4, 1);
    int status;
    while (wait(&status) > 0)
        CHECK_EQ(status, 0);
}

CASE(the_last_of_several_children_counts)
{
    struct gate end[3];
    pid_t pid[3];
    fill_heap(1);
    size_t before = anonymous();
    for (int i = 0; i < 3; i++) {
        gate_open(&end[i]);
        pid[i] = fork_checked();
        if (pid[i] == 0) {
            gate_wait(&end[i]);
            check_heap(i == 0 ? 1 : (uint64_t)i * 10);
            _exit(0);
        }
        stamp_heap((uint64_t)(i + 1) * 10);
    }
    for (int i = 0; i < 3; i++) {
        work_for(IN_TIME);
        CHECK_EQ(blocks_away(), BLOCKS);
        gate_pass(&end[(i + 1) % 3]);
        CHECK_CHILD(pid[(i + 1) % 3]);
    }
    check_home(before, 30);
}

CASE(the_next_fork_may_come_in_between)
{
    fill_heap(1);
    size_t before = anonymous();
    for (int i = 0; i < 60; i++) {
        pid_t pid = fork_checked();
        if (pid == 0) {
            sleep_ms(i % 5);
            check_heap((uint64_t)i + 1);
            _exit(0);
        }
        stamp_heap((uint64_t)i + 2);
        work_for(i % 7 * 20);
        CHECK_CHILD(pid);
        work_for(i % 3 * 40);
    }
    check_home(before, 61);
}

CASE(a_thousand_forks_and_execs_cost_no_dram)
{
    fill_heap(1);
    for (int i = 0; i < 5; i++)
        work();
    size_t before = anonymous();
    for (int i = 0; i < 1000; i++) {
        pid_t pid = fork_checked();
        if (pid == 0) {
            execl("/bin/true", "true", (char *)NULL);
            FAIL("exec");
        }
        if (i % 2)
            CHECK_CHILD(pid);
        else
            CHECK_EQ(waitpid(pid, NULL, 0), pid);
        stamp(block[i % BLOCKS], BLOCK, 1 + (uint64_t)(i % BLOCKS));
        work();
    }
    check_home(before, 1);
}

/* ---- what must not be moved ---- */

static void check_stays_away(void)
{
    for (int i = 0; i < 3; i++) {
        work_for(IN_TIME);
        malloc_trim(0);
    }
    CHECK_EQ(blocks_away(), BLOCKS);
    check_heap(5);
}

static void leave(void)
{
    fill_heap(1);
    pid_t pid = fork_checked();
    if (pid == 0)
        _exit(0);
    CHECK_CHILD(pid);
    stamp_heap(5);
}

/* For VMMALLOC_HOME_MS=off. */
CASE(off_means_off)
{
    leave();
    check_stays_away();
    for (int i = 0; i < BLOCKS; i++)
        free(block[i]);
    fill_heap(7);
    check_heap(7);
}

CASE(locked_pages_stay)
{
    leave();
    CHECK_EQ(mlock(block[3], 4096), 0);
    check_stays_away();
    CHECK_EQ(munlock(block[3], 4096), 0);
    check_home(anonymous(), 5);
}

CASE(pages_of_which_the_program_changed_the_protection_stay)
{
    leave();
    char *page = (char *)(((uintptr_t)block[5] + 4095) / 4096 * 4096);
    CHECK_EQ(mprotect(page, 4096, PROT_READ), 0);
    check_stays_away();
    CHECK(strcmp(place_of(page).flags, "r--p") == 0);
    CHECK_EQ(mprotect(page, 4096, PROT_READ | PROT_WRITE), 0);
    check_home(anonymous(), 5);
}

CASE(asynchronous_requests_keep_pages_away)
{
    unsigned long context = 0;
    leave();
    CHECK_EQ(syscall(SYS_io_setup, 8, &context), 0);
    check_stays_away();
    CHECK_EQ(syscall(SYS_io_destroy, context), 0);
    check_home(anonymous(), 5);
}

CASE(without_descriptors_nothing_moves_and_nothing_breaks)
{
    leave();
    CHECK_EQ(close_range(3, ~0U, 0), 0);
    for (int i = 0; i < 5; i++) {
        check_stays_away();
        pid_t pid = fork_checked();
        if (pid == 0) {
            check_heap(5);
            stamp_heap(6);
            check_heap(6);
            _exit(0);
        }
        CHECK_CHILD(pid);
    }
}

/* It is not known then when the child is gone. */
CASE(without_a_free_descriptor_nothing_moves_and_nothing_breaks)
{
    fill_heap(1);
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int last = open("/dev/null", O_RDONLY);
    CHECK(last > 0);
    limit.rlim_cur = (rlim_t)last + 1;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    CHECK_EQ(open("/dev/null", O_RDONLY), -1);
    for (int i = 0; i < 3; i++) {
        pid_t pid = fork_checked();
        if (pid == 0) {
            check_heap(i == 0 ? 1 : 5);
            _exit(0);
        }
        stamp_heap(5);
        CHECK_CHILD(pid);
    }
    close(last); /* what is needed to look */
    check_stays_away();
}

static ucontext_t main_context, coroutine;

static void allocate_on_a_stack_in_the_heap(void)
{
    work_for(3 * IN_TIME);
    check_heap(5);
}

/* The stack is among the pages that are to be moved. */
CASE(a_coroutine_with_its_stack_in_the_heap_allocates)
{
    enum { STACK = 256 << 10 };
    char *stack = OK(malloc(STACK));
    leave();
    CHECK_EQ(getcontext(&coroutine), 0);
    coroutine.uc_stack.ss_sp = stack;
    coroutine.uc_stack.ss_size = STACK;
    coroutine.uc_link = &main_context;
    makecontext(&coroutine, allocate_on_a_stack_in_the_heap, 0);
    CHECK_EQ(swapcontext(&main_context, &coroutine), 0);
    check_home(anonymous(), 5);
}

/* ---- stores while the heap comes home ---- */

static volatile uint64_t *counter[BLOCKS];
static uint64_t expected[BLOCKS];

static void count_up(int signal)
{
    (void)signal;
    for (int i = 0; i < BLOCKS; i++) {
        expected[i]++;
        *counter[i] = *counter[i] + 1;
    }
}

static void place_counters(void)
{
    for (int i = 0; i < BLOCKS; i++)
        counter[i] = OK(calloc(1, 20000 + (size_t)i * 512));
}

CASE(stores_of_signal_handlers_are_kept)
{
    fill_heap(1);
    place_counters();
    struct itimerval timer = {{0, 300}, {0, 300}};
    struct sigaction action = {.sa_handler = count_up, .sa_flags = SA_RESTART};
    CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
    CHECK_EQ(setitimer(ITIMER_REAL, &timer, NULL), 0);
    for (int round = 0; round < 5; round++) {
        pid_t pid = fork_checked();
        if (pid == 0)
            _exit(0);
        CHECK_CHILD(pid);
        work_for(IN_TIME);
    }
    struct itimerval never = {{0, 0}, {0, 0}};
    CHECK_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
    for (int i = 0; i < BLOCKS; i++)
        CHECK_EQ(*counter[i], expected[i]);
    CHECK_GE(expected[0], 1000);
    check_home(anonymous(), 1);
}

static volatile int stop;

static void *count_in_a_thread(void *argument)
{
    uint64_t rounds = 0;
    (void)argument;
    while (!stop) {
        for (int i = 0; i < BLOCKS; i++) {
            CHECK_EQ(*counter[i], expected[i]);
            expected[i]++;
            *counter[i] = expected[i];
        }
        rounds++;
    }
    CHECK_GE(rounds, 100);
    return NULL;
}

/* The kernel stores too, on behalf of read(). */
static void *read_in_a_thread(void *argument)
{
    unsigned char *target = argument;
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    for (uint64_t round = 0; !stop; round++) {
        unsigned char bytes[600];
        stamp(bytes, sizeof bytes, round);
        for (int page = 0; page < 64; page++) {
            CHECK_EQ(write(ends[1], bytes, sizeof bytes), (ssize_t)sizeof bytes);
            CHECK_EQ(read(ends[0], target + page * 4096 + 3800, sizeof bytes), (ssize_t)sizeof bytes);
        }
        for (int page = 0; page < 64; page++)
            CHECK_STAMP(target + page * 4096 + 3800, sizeof bytes, round);
    }
    close(ends[0]), close(ends[1]);
    return NULL;
}

static void store_while_pages_come_home(int rounds)
{
    pthread_t counting, reading[2];
    fill_heap(1);
    place_counters();
    unsigned char *target[2] = {OK(malloc(66 * 4096)), OK(malloc(66 * 4096))};
    size_t before = anonymous();
    START(counting, count_in_a_thread, NULL);
    for (int i = 0; i < 2; i++)
        START(reading[i], read_in_a_thread, target[i]);
    for (int round = 0; round < rounds; round++) {
        pid_t pid = fork_checked();
        if (pid == 0) {
            check_heap((uint64_t)round + 1);
            _exit(0);
        }
        stamp_heap((uint64_t)round + 2);
        CHECK_CHILD(pid);
        work_for(IN_TIME);
        for (int more = 0; more < 20 && blocks_away() > 0; more++)
            work_for(100);
        CHECK_EQ(blocks_away(), 0);
        check_heap((uint64_t)round + 2);
    }
    stop = 1;
    JOIN(counting);
    for (int i = 0; i < 2; i++)
        JOIN(reading[i]);
    for (int i = 0; i < BLOCKS; i++)
        CHECK_EQ(*counter[i], expected[i]);
    check_home(before + MIB, (uint64_t)rounds + 1);
}

CASE(threads_store_while_their_pages_come_home)
{
    store_while_pages_come_home(8);
}

/* A device that everybody may open gives the right, too. */
CASE(threads_with_the_device_need_no_right)
{
    char folder[] = "/tmp/home-case-XXXXXX", node[64];
    struct stat device;
    if (stat("/dev/userfaultfd", &device) != 0) {
        say("no /dev/userfaultfd: NOT CHECKED\n"); /* before Linux 6.1 */
        return;
    }
    CHECK(mkdtemp(folder) != NULL);
    CHECK_EQ(unshare(CLONE_NEWNS), 0); /* nobody else sees it */
    CHECK_EQ(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    CHECK_EQ(mount("none", folder, "tmpfs", 0, NULL), 0);
    snprintf(node, sizeof node, "%s/node", folder);
    CHECK_EQ(mknod(node, S_IFCHR | 0666, device.st_rdev), 0);
    CHECK_EQ(chmod(node, 0666), 0);
    CHECK_EQ(mount(node, "/dev/userfaultfd", NULL, MS_BIND, NULL), 0);
    CHECK_EQ(umount2(folder, MNT_DETACH), 0);
    CHECK_EQ(rmdir(folder), 0);
    CHECK_EQ(setresuid(54321, 54321, 54321), 0);
    CHECK_EQ((int)syscall(SYS_userfaultfd, O_CLOEXEC), -1);
    store_while_pages_come_home(2);
}

CASE(threads_allocate_while_the_heap_comes_home)
{
    struct load load;
    fill_heap(1);
    load_start(&load, 4, 64 * KIB);
    for (int round = 0; round < 20; round++) {
        pid_t pid = fork_checked();
        if (pid == 0) {
            check_heap((uint64_t)round + 1);
            _exit(0);
        }
        stamp_heap((uint64_t)round + 2);
        CHECK_CHILD(pid);
        work_for(60 + round % 4 * 40);
        check_heap((uint64_t)round + 2);
    }
    load_stop(&load);
    check_home(anonymous(), 21);
}

CASE(threads_and_files_for_direct_reads_keep_pages_away)
{
    pthread_t counting;
    int direct = open("/proc/self/exe", O_RDONLY | O_DIRECT);
    CHECK(direct >= 0);
    place_counters();
    START(counting, count_in_a_thread, NULL);
    leave();
    check_stays_away();
    close(direct);
    check_home(anonymous() + 8 * MIB, 5);
    stop = 1;
    JOIN(counting);
}

/* ---- without the right to hold back writers ---- */

CASE(unprivileged_threads_get_freed_pages_home_at_once)
{
    pthread_t counting;
    CHECK_EQ(setresuid(54321, 54321, 54321), 0);
    place_counters();
    START(counting, count_in_a_thread, NULL);
    leave();
    work_for(IN_TIME);
    CHECK_EQ(blocks_away(), BLOCKS);
    check_heap(5);
    size_t away = anonymous();
    for (int i = 0; i < BLOCKS; i++)
        free(block[i]);
    CHECK_GE(away - 16 * MIB, anonymous());
    for (int i = 0; i < BLOCKS; i++) {
        block[i] = OK(malloc(BLOCK));
        memset(block[i], 1, BLOCK);
    }
    CHECK_GE(away - 16 * MIB, anonymous());
    stop = 1;
    JOIN(counting);
    set_check(&small, 5);
    /* Now there is one thread again. */
    work_for(3 * IN_TIME);
    for (int i = 0; i < small.count; i++)
        CHECK(!is_away(small.block[i]));
    set_check(&small, 5);
    for (int i = 0; i < BLOCKS; i++)
        CHECK_EQ(*counter[i], expected[i]);
}

CASE(unprivileged_single_threads_get_all_pages_home)
{
    CHECK_EQ(setresuid(54321, 54321, 54321), 0);
    leave();
    check_home(anonymous() - 16 * MIB, 5);
}
