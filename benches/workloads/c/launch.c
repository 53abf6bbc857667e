/* pmem-launch: runs one program and reports what the whole process tree used.
 *
 * A child inherits the peak resident set of the process that started it, so a benchmark must not be
 * started from a large process: this launcher touches little more than libc. Descendants that lose
 * their parent are adopted, so that wait accounts for them too.
 *
 * usage: pmem-launch --report FILE [--timeout SECONDS] [--set NAME=VALUE]... -- PROGRAM [ARGUMENT]...
 * FILE receives one line of JSON. Exit status: 0 if the program was started, whatever became of it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { MOST_SETTINGS = 64 };

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "pmem-launch: %s: %s\n", what, strerror(errno));
    exit(1);
}

static long long now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static long long microseconds(struct timeval time) { return time.tv_sec * 1000000LL + time.tv_usec; }

/* The environment of the program: ours, with the settings added or replaced. */
static char **environment(char **settings, int count)
{
    int length = 0;
    while (environ[length])
        length++;
    char **merged = calloc((size_t)length + (size_t)count + 1, sizeof *merged);
    if (!merged)
        die("environment");
    int used = 0;
    for (int i = 0; i < length; i++) {
        int replaced = 0;
        for (int s = 0; s < count; s++) {
            size_t name = (size_t)(strchr(settings[s], '=') - settings[s]) + 1;
            replaced |= strncmp(environ[i], settings[s], name) == 0;
        }
        if (!replaced)
            merged[used++] = environ[i];
    }
    for (int s = 0; s < count; s++)
        merged[used++] = settings[s];
    return merged;
}

/* Starts the program in a process group of its own. The child shares our memory until it has started,
 * which is how it reports the error number if it cannot. */
static __attribute__((noinline)) pid_t start(char **program, char **variables, const sigset_t *signals,
                                             volatile int *failure)
{
    pid_t child = vfork();
    if (child == 0) {
        setpgid(0, 0);
        sigprocmask(SIG_SETMASK, signals, NULL);
        execvpe(program[0], program, variables);
        *failure = errno;
        _exit(127);
    }
    if (child < 0)
        die("vfork");
    return child;
}

int main(int argc, char **argv)
{
    const char *report = NULL;
    long timeout = 600;
    char *settings[MOST_SETTINGS];
    int count = 0, at = 1;
    for (; at < argc && strcmp(argv[at], "--") != 0; at += 2) {
        if (at + 1 == argc)
            break;
        if (strcmp(argv[at], "--report") == 0)
            report = argv[at + 1];
        else if (strcmp(argv[at], "--timeout") == 0)
            timeout = strtol(argv[at + 1], NULL, 10);
        else if (strcmp(argv[at], "--set") == 0 && count < MOST_SETTINGS && strchr(argv[at + 1], '='))
            settings[count++] = argv[at + 1];
        else
            break;
    }
    if (at + 1 >= argc || strcmp(argv[at], "--") != 0 || !report || timeout < 1) {
        fputs("usage: pmem-launch --report FILE [--timeout SECONDS] [--set NAME=VALUE]... -- PROGRAM [ARGUMENT]...\n",
              stderr);
        return 2;
    }
    char **program = argv + at + 1, **variables = environment(settings, count);
    int out = open(report, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (out < 0)
        die(report);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
        die("prctl");
    sigset_t ended, old;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ended, &old);

    volatile int failure = 0;
    long long started = now_ns(), finished = 0;
    pid_t child = start(program, variables, &old, &failure);
    if (failure) {
        waitpid(child, NULL, 0);
        errno = failure;
        die(program[0]);
    }

    int status = 0, timed_out = 0;
    for (;;) {
        int ended_status;
        pid_t ended_child = waitpid(-1, &ended_status, WNOHANG);
        if (ended_child == child) {
            status = ended_status;
            finished = now_ns();
        }
        if (ended_child > 0)
            continue;
        if (ended_child < 0 && errno == ECHILD)
            break;
        long long left = timeout * 1000000000LL - (now_ns() - started);
        if (left <= 0) {
            /* What left the process group is given five seconds to notice, then left behind. */
            timed_out = 1;
            kill(-child, SIGKILL);
            left = 1000000000LL;
            if (now_ns() - started > (timeout + 5) * 1000000000LL)
                break;
        }
        struct timespec wait = {left / 1000000000LL, left % 1000000000LL};
        sigtimedwait(&ended, NULL, &wait);
    }
    if (!finished)
        finished = now_ns();

    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    dprintf(out,
            "{\"exit_status\":%d,\"signal\":%d,\"timed_out\":%s,\"wall_us\":%lld,\"user_us\":%lld,\"system_us\":%lld,"
            "\"peak_rss_kib\":%ld,\"minor_faults\":%ld,\"major_faults\":%ld,\"voluntary_switches\":%ld,"
            "\"involuntary_switches\":%ld}\n",
            WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : 0,
            timed_out ? "true" : "false", (finished - started) / 1000, microseconds(usage.ru_utime),
            microseconds(usage.ru_stime), usage.ru_maxrss, usage.ru_minflt, usage.ru_majflt, usage.ru_nvcsw,
            usage.ru_nivcsw);
    close(out);
    return 0;
}
