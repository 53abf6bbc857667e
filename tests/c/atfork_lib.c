/* A library whose fork handlers allocate, free and reallocate, registered by its constructor. */
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int atfork_handler_calls[3];

static char *carried[64]; /* allocated by the prepare handler, freed by the other two */

static void use_the_heap(void)
{
    for (size_t size = 8; size <= 2 << 20; size *= 2) {
        char *p = malloc(size), *q = calloc(1, size);
        if (p == NULL || q == NULL)
            abort();
        memset(p, 1, size);
        p = realloc(p, size + size / 2);
        if (p == NULL || p[size - 1] != 1)
            abort();
        free(p), free(q);
    }
}

static void prepare(void)
{
    atfork_handler_calls[0]++;
    use_the_heap();
    for (int i = 0; i < 64; i++)
        if ((carried[i] = malloc(16 + (size_t)i * 100)) == NULL)
            abort();
}

static void give_up_carried(void)
{
    for (int i = 0; i < 64; i++)
        free(carried[i]);
    use_the_heap();
}

static void parent(void)
{
    atfork_handler_calls[1]++;
    give_up_carried();
}

static void child(void)
{
    atfork_handler_calls[2]++;
    give_up_carried();
}

__attribute__((constructor(101))) static void register_handlers(void)
{
    if (pthread_atfork(prepare, parent, child) != 0)
        abort();
}
