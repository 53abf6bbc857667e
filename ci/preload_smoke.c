/*
 * Exercises the malloc family from several threads and across fork, and says whose malloc it was.
 * usage: preload_smoke [NAME]     fails unless malloc comes from a library whose path has NAME in it
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 8, ROUNDS = 4000, SLOTS = 64 };

struct block {
    unsigned char *bytes;
    size_t size;
    unsigned char stamp;
};

/* Blocks handed from thread to thread: freed by another thread than the one that allocated them. */
static struct block exchange[SLOTS];
static pthread_mutex_t exchange_lock = PTHREAD_MUTEX_INITIALIZER;

static void die(const char *what) {
    fprintf(stderr, "preload_smoke: %s\n", what);
    _exit(1);
}

static uint32_t next(uint32_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static void check_and_free(struct block *block) {
    if (block->bytes == NULL)
        return;
    if (malloc_usable_size(block->bytes) < block->size)
        die("usable size below the size asked for");
    for (size_t i = 0; i < block->size; i++)
        if (block->bytes[i] != block->stamp)
            die("the content of a block changed");
    free(block->bytes);
    block->bytes = NULL;
}

static struct block make(uint32_t *seed) {
    size_t size = 1 + next(seed) % (next(seed) % 16 == 0 ? 300000 : 2000);
    struct block block = { NULL, size, (unsigned char)next(seed) };
    size_t align = 1;
    switch (next(seed) % 4) {
    case 0:
        block.bytes = malloc(size);
        break;
    case 1:
        block.bytes = calloc(1, size);
        for (size_t i = 0; block.bytes != NULL && i < size; i++)
            if (block.bytes[i] != 0)
                die("calloc gave bytes that are not zero");
        break;
    case 2:
        align = (size_t)16 << next(seed) % 9;
        if (posix_memalign((void **)&block.bytes, align, size) != 0)
            block.bytes = NULL;
        break;
    default:
        block.bytes = malloc(1 + size / 2);
        if (block.bytes != NULL) {
            block.bytes[0] = 77;
            block.bytes = realloc(block.bytes, size);
            if (block.bytes != NULL && block.bytes[0] != 77)
                die("realloc lost a byte");
        }
    }
    if (block.bytes == NULL)
        die("out of memory");
    if ((uintptr_t)block.bytes % align != 0)
        die("wrong alignment");
    memset(block.bytes, block.stamp, size);
    return block;
}

static void *work(void *argument) {
    uint32_t seed = (uint32_t)(uintptr_t)argument * 2654435761u + 1;
    struct block mine[SLOTS] = { 0 };
    for (int round = 0; round < ROUNDS; round++) {
        size_t slot = next(&seed) % SLOTS;
        if (next(&seed) % 4 == 0) {
            pthread_mutex_lock(&exchange_lock);
            struct block other = exchange[slot];
            exchange[slot] = mine[slot];
            pthread_mutex_unlock(&exchange_lock);
            mine[slot] = other;
        }
        check_and_free(&mine[slot]);
        mine[slot] = make(&seed);
    }
    for (size_t slot = 0; slot < SLOTS; slot++)
        check_and_free(&mine[slot]);
    return NULL;
}

static void run_threads(uintptr_t first) {
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)(first + i)) != 0)
            die("no thread");
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/*
 * The child works on its own copy while the parent's thread goes on. It starts no thread: the user-mode emulator
 * (7.2) stops with an assertion when a child forked from a threaded process creates one.
 */
static void run_fork(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, (void *)(uintptr_t)99) != 0)
        die("no thread");
    char *shared = strdup("parent");
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (child == 0) {
        pthread_mutex_init(&exchange_lock, NULL);
        memset(exchange, 0, sizeof exchange);
        strcpy(shared, "child");
        work((void *)(uintptr_t)200);
        _exit(strcmp(shared, "child") == 0 ? 0 : 1);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        die("the child failed");
    if (strcmp(shared, "parent") != 0)
        die("the child wrote into the parent's heap");
    free(shared);
    pthread_join(thread, NULL);
}

int main(int argc, char **argv) {
    Dl_info info;
    void *entry = dlsym(RTLD_DEFAULT, "malloc");
    if (entry == NULL || dladdr(entry, &info) == 0 || info.dli_fname == NULL)
        die("dladdr");
    if (argc > 1 && strstr(info.dli_fname, argv[1]) == NULL)
        die(info.dli_fname);
    run_threads(1);
    run_fork();
    errno = 0;
    void *volatile huge = malloc(PTRDIFF_MAX);
    if (huge != NULL || errno != ENOMEM)
        die("a request beyond every limit did not fail with ENOMEM");
    for (size_t slot = 0; slot < SLOTS; slot++)
        check_and_free(&exchange[slot]);
    puts("preload_smoke: passed");
    return 0;
}
