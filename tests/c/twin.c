/* One call of each kind, with sizes that nobody else uses, for a look at the log of the debug twin. With the path of a
 * plugin, it allocates too. */
#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    void *q = NULL, *p = malloc(4321);
    p = realloc(p, 5432);
    free(p);
    free(calloc(3, 77777));
    free(memalign(64, 6543));
    free(aligned_alloc(128, 7654));
    if (posix_memalign(&q, 256, 8765) != 0)
        return 1;
    free(q);
    free(valloc(9876));
    free(pvalloc(10987));
    if (argc > 1) {
        void *plugin = dlopen(argv[1], RTLD_LAZY);
        void *(*allocate)(size_t) = plugin == NULL ? NULL : (void *(*)(size_t))dlsym(plugin, "plugin_malloc");
        if (allocate == NULL)
            return 2;
        free(allocate(4321));
    }
    return 0;
}
