/* One call of each kind, with sizes that nobody else uses, for a look at the log of the debug twin. */
#include <malloc.h>
#include <stdlib.h>

int main(void)
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
    return 0;
}
