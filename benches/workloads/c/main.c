/* Entry: parses the command line, runs one workload, prints one line of results. */
#include "workload.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* A named case: a workload with the parameters of one row of the tables. */
struct preset {
    const char *name;
    const char *group;
    const struct workload *workload;
    struct options options;
};

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)

static const struct preset presets[] = {
    {"pair16", "micro", &workload_pair, {.size = 16, .ops = 40000000}},
    {"pair1000", "micro", &workload_pair, {.size = 1000, .ops = 30000000}},
    {"pair8k", "micro", &workload_pair, {.size = 8 * KIB, .ops = 20000000}},
    {"pair40k", "micro", &workload_pair, {.size = 40 * KIB, .ops = 10000000}},
    {"pair200k", "micro", &workload_pair, {.size = 200 * KIB, .ops = 10000000}},
    {"pair2m", "micro", &workload_pair, {.size = 2 * MIB, .ops = 300000}},
    {"lifo64", "micro", &workload_batch, {.size = 64, .count = 1000, .order = "lifo", .ops = 25000000}},
    {"fifo64", "micro", &workload_batch, {.size = 64, .count = 1000, .order = "fifo", .ops = 25000000}},
    {"random64", "micro", &workload_batch, {.size = 64, .count = 1000, .order = "random", .ops = 25000000}},
    {"fifo1000", "micro", &workload_batch, {.size = 1000, .count = 200, .order = "fifo", .ops = 5000000}},
    {"lifo64-big", "micro", &workload_batch, {.size = 64, .count = 1000000, .order = "lifo", .ops = 4000000}},
    {"random64-big", "micro", &workload_batch, {.size = 64, .count = 1000000, .order = "random", .ops = 2000000}},
    {"churn-small", "micro", &workload_churn, {.min = 16, .max = 1 * KIB, .slots = 10000, .ops = 12000000}},
    {"churn-medium", "micro", &workload_churn, {.min = 16, .max = 8 * KIB, .slots = 100000, .ops = 3000000}},
    {"churn-large", "micro", &workload_churn, {.min = 4 * KIB, .max = 256 * KIB, .slots = 2000, .ops = 2000000}},
    {"churn-big", "micro", &workload_churn, {.min = 16, .max = 2 * KIB, .slots = 1000000, .ops = 2000000}},
    {"calloc", "micro", &workload_calloc, {.min = 16, .max = 4 * KIB, .slots = 1000, .ops = 5000000}},
    {"realloc-grow", "micro", &workload_realloc_grow, {.min = 16, .max = 1 * MIB, .ops = 3000}},
    {"realloc-string", "micro", &workload_realloc_string, {.min = 16, .max = 2 * KIB, .ops = 40000}},
    {"memalign", "micro", &workload_memalign, {.min = 16, .max = 2 * KIB, .slots = 1000, .ops = 4000000}},
    {"large1m", "large", &workload_large, {.size = 1 * MIB, .ops = 20000}},
    {"large64m", "large", &workload_large, {.size = 64 * MIB, .ops = 30}},
    {"malloc-large", "large", &workload_large_set, {.min = 5 * MIB, .max = 25 * MIB, .slots = 20, .ops = 100}},
    {"primes", "program-like", &workload_primes, {.count = 68, .ops = 120}},
    {"minimise", "program-like", &workload_minimise, {.slots = 12, .count = 40, .ops = 1000}},
    {"nbody", "program-like", &workload_nbody, {.count = 4000, .ops = 20}},
    {"lifetimes", "program-like", &workload_lifetimes, {.min = 16, .max = 1000, .count = 100, .ops = 12000}},
    {"simple", "program-like", &workload_simple, {.min = 16, .max = 1 * KIB, .ops = 12000000}},
    {"tree", "program-like", &workload_tree, {.count = 21, .ops = 4}},
    {"long-run", "program-like", &workload_long_run, {.min = 32, .max = 256 * KIB, .size = 32 * MIB, .ops = 16}},
    {"fragmentation", "fragmentation", &workload_long_run, {.min = 32, .max = 256 * KIB, .size = 64 * MIB, .count = 12000, .ops = 1500}},
    {"start", "program-like", &workload_start, {.ops = 300}},
    {"server", "threads", &workload_server, {.threads = 2, .min = 8, .max = 1000, .slots = 5000, .count = 50000, .ops = 80}},
    {"handover64", "threads", &workload_handover, {.threads = 2, .size = 64, .count = 128, .ops = 8000000}},
    {"handover1000", "threads", &workload_handover, {.threads = 2, .size = 1000, .count = 128, .ops = 3000000}},
    {"exchange", "threads", &workload_exchange, {.threads = 2, .min = 16, .max = 1000, .count = 1024, .ops = 6000000}},
    {"lifetimes-shared", "threads", &workload_lifetimes_shared, {.threads = 2, .min = 16, .max = 4000, .count = 60, .ops = 4000}},
    {"cache-scratch", "threads", &workload_cache_scratch, {.threads = 2, .size = 8, .count = 2000, .ops = 60000}},
    {"cache-thrash", "threads", &workload_cache_thrash, {.threads = 2, .size = 8, .count = 2000, .ops = 60000}},
    {"mixed-stress", "threads", &workload_mixed_stress, {.threads = 2, .min = 16, .max = 64 * KIB, .slots = 1000, .count = 20000, .ops = 120}},
    {"retain", "threads", &workload_retain, {.threads = 2, .min = 16, .max = 8000, .slots = 4000, .count = 20000, .ops = 50}},
    {"simple-threads", "threads", &workload_simple_threads, {.threads = 2, .min = 4, .max = 32 * KIB, .slots = 1024, .ops = 20000000}},
    {"short-threads", "threads", &workload_short_threads, {.threads = 1, .min = 16, .max = 1000, .count = 100, .ops = 10000}},
};

static const struct workload *const workloads[] = {
    &workload_pair, &workload_batch, &workload_churn, &workload_calloc, &workload_realloc_grow,
    &workload_realloc_string, &workload_memalign, &workload_large, &workload_large_set,
    &workload_primes, &workload_minimise, &workload_nbody, &workload_lifetimes, &workload_simple,
    &workload_tree, &workload_long_run, &workload_start, &workload_server, &workload_handover,
    &workload_exchange, &workload_lifetimes_shared, &workload_cache_scratch, &workload_cache_thrash,
    &workload_mixed_stress, &workload_retain, &workload_simple_threads, &workload_short_threads,
};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

_Noreturn void fail(const char *what)
{
    /* The allocator may be what failed: no stdio. */
    static const char prefix[] = "pmem-workloads: ";
    ssize_t ignored = write(2, prefix, sizeof prefix - 1);
    ignored = write(2, what, strlen(what));
    ignored = write(2, "\n", 1);
    (void)ignored;
    _exit(3);
}

uint64_t scaled(const struct options *options)
{
    double units = (double)options->ops * options->scale;
    return units < 1 ? 1 : (uint64_t)units;
}

uint64_t resident_bytes(void)
{
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    if (got <= 0)
        return 0;
    text[got] = '\0';
    char *second = strchr(text, ' ');
    return second ? strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

void *own_pages(size_t bytes)
{
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (pages == MAP_FAILED)
        fail("cannot map bookkeeping memory");
    return pages;
}

void give_own_pages(void *pages, size_t bytes)
{
    munmap(pages, bytes);
}

void run_threads(uint64_t threads, void *(*body)(void *), void *arguments, size_t stride)
{
    pthread_t ids[256];
    if (threads > LENGTH(ids))
        fail("at most 256 threads");
    for (uint64_t i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, body, (char *)arguments + i * stride) != 0)
            fail("cannot create a thread");
    for (uint64_t i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
}

/* CPU time of this process and the children it waited for, in microseconds. */
static uint64_t cpu_time(void)
{
    uint64_t sum = 0;
    const int whose[] = {RUSAGE_SELF, RUSAGE_CHILDREN};
    for (size_t i = 0; i < LENGTH(whose); i++) {
        struct rusage usage;
        getrusage(whose[i], &usage);
        sum += (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000;
        sum += (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    }
    return sum;
}

static void usage(FILE *out)
{
    fputs("usage: pmem-workloads NAME [--OPTION VALUE]...\n"
          "       pmem-workloads list\n"
          "\n"
          "NAME is a case of the list below, or a workload with parameters of your own.\n"
          "Options: --scale F, --seed N, --ops N, --size B, --min B, --max B, --count N, --slots N,\n"
          "         --threads N, --order lifo|fifo|random\n"
          "Prints: name, units of work done, checksum (the same under every allocator), CPU time of the work\n"
          "without the start of the process.\n"
          "\nWorkloads:\n",
          out);
    for (size_t i = 0; i < LENGTH(workloads); i++)
        fprintf(out, "  %-18s %s\n", workloads[i]->name, workloads[i]->summary);
    fputs("\nCases:\n", out);
    for (size_t i = 0; i < LENGTH(presets); i++)
        fprintf(out, "  %-18s %s\n", presets[i].name, presets[i].workload->name);
}

/* One case per line for the harness: name, group, threads. */
static void list(void)
{
    for (size_t i = 0; i < LENGTH(presets); i++)
        printf("%s\t%s\t%" PRIu64 "\n", presets[i].name, presets[i].group,
               presets[i].options.threads ? presets[i].options.threads : 1);
}

static _Noreturn void bad_usage(const char *problem, const char *value)
{
    fprintf(stderr, "pmem-workloads: %s '%s'; see 'pmem-workloads help'\n", problem, value);
    exit(2);
}

static uint64_t number(const char *option, const char *text)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || value == 0)
        bad_usage(option, text);
    return value;
}

static void parse(struct options *options, int argc, char **argv)
{
    const struct {
        const char *name;
        uint64_t *value;
    } numbers[] = {
        {"--size", &options->size},   {"--min", &options->min},     {"--max", &options->max},
        {"--count", &options->count}, {"--slots", &options->slots}, {"--ops", &options->ops},
        {"--seed", &options->seed},   {"--threads", &options->threads},
    };
    for (int i = 0; i < argc; i += 2) {
        if (i + 1 == argc)
            bad_usage("no value for", argv[i]);
        const char *name = argv[i], *text = argv[i + 1];
        size_t n = 0;
        while (n < LENGTH(numbers) && strcmp(numbers[n].name, name) != 0)
            n++;
        if (n < LENGTH(numbers)) {
            *numbers[n].value = number(name, text);
        } else if (strcmp(name, "--scale") == 0) {
            char *end;
            options->scale = strtod(text, &end);
            if (end == text || *end || !(options->scale > 0))
                bad_usage("--scale", text);
        } else if (strcmp(name, "--order") == 0) {
            options->order = text;
        } else {
            bad_usage("unknown option", name);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0) {
        usage(stdout);
        return 0;
    }
    if (strcmp(argv[1], "list") == 0) {
        list();
        return 0;
    }
    if (strcmp(argv[1], "instruction-probe") == 0)
        return instruction_probe(argc - 2, argv + 2);

    const struct workload *workload = NULL;
    /* Parameters of a bare workload name: small but sensible. */
    struct options options = {.size = 64, .min = 16, .max = 1024, .count = 1000, .slots = 1000,
                              .ops = 1000, .threads = 1, .order = "fifo"};
    for (size_t i = 0; i < LENGTH(workloads); i++)
        if (strcmp(workloads[i]->name, argv[1]) == 0)
            workload = workloads[i];
    for (size_t i = 0; i < LENGTH(presets); i++)
        if (strcmp(presets[i].name, argv[1]) == 0) {
            workload = presets[i].workload;
            options = presets[i].options;
        }
    if (!workload)
        bad_usage("unknown workload", argv[1]);
    options.seed = 42;
    options.scale = 1;
    if (options.threads == 0)
        options.threads = 1;
    parse(&options, argc - 2, argv + 2);
    if (options.min > options.max)
        bad_usage("--min is above --max for", argv[1]);

    struct outcome outcome = {0};
    uint64_t before = cpu_time();
    workload->run(&options, &outcome);
    printf("workload=%s ops=%" PRIu64 " checksum=%016" PRIx64 " work_us=%" PRIu64, argv[1], outcome.ops,
           outcome.checksum, cpu_time() - before);
    if (outcome.live_bytes)
        printf(" live_bytes=%" PRIu64 " rss_bytes=%" PRIu64 " rss_worst_permille=%" PRIu64
               " rss_churn_bytes=%" PRIu64 " pages_bytes=%" PRIu64 " pages_churn_bytes=%" PRIu64,
               outcome.live_bytes, outcome.rss_bytes, outcome.rss_worst, outcome.rss_churn,
               outcome.pages_bytes, outcome.pages_churn);
    putchar('\n');
    return fflush(stdout) == 0 ? 0 : 1;
}
