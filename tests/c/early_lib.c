/* A library that allocates in its constructor, before the program and possibly before the allocator's own
 * constructor, and after everything else in its destructor. */
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCKS 6

/* The last two are larger than what the contract's reference survives. */
const size_t early_size[BLOCKS] = {1, 100, 70000, 1 << 20, 3 << 20, 6 << 20};
unsigned char *early_block[BLOCKS];
static char *kept;

static void fail(const char *text)
{
    if (write(1, text, strlen(text)) >= 0)
        _exit(99);
}

static void at_exit(void)
{
    char *p = malloc(5000);
    if (p == NULL)
        fail("atexit handler of the library: malloc gave NULL\n");
    free(p);
}

__attribute__((constructor(101))) static void begin(void)
{
    for (int i = 0; i < BLOCKS; i++) {
        early_block[i] = malloc(early_size[i]);
        if (early_block[i] == NULL)
            fail("constructor: malloc gave NULL\n");
        memset(early_block[i], 0x11 * (i + 1), early_size[i]);
    }
    free(malloc(10));
    kept = strdup("kept until the end");
    atexit(at_exit);
}

/* Runs after the destructors of everything that was loaded later. */
__attribute__((destructor(101))) static void end(void)
{
    char *p = NULL;
    if (strcmp(kept, "kept until the end") != 0)
        fail("destructor: a block changed\n");
    for (size_t size = 1; size <= 4 << 20; size *= 2) {
        char *q = malloc(size);
        if (q == NULL)
            fail("destructor: malloc gave NULL\n");
        memset(q, 1, size);
        free(q);
        p = realloc(p, size);
        if (p == NULL)
            fail("destructor: realloc gave NULL\n");
        if (malloc_usable_size(p) < size)
            fail("destructor: usable size\n");
    }
    if (posix_memalign((void **)&p, 4096, 100) != 0)
        fail("destructor: posix_memalign\n");
    free(p);
    free(kept);
}
