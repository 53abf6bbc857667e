/* Prints how many mappings of the pool directory the process has after some allocations. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    const char *dir = argc > 1 ? argv[1] : getenv("VMMALLOC_POOL_DIR");
    char line[4096];
    int count = 0;
    for (size_t size = 1; size <= 1 << 20; size *= 2) {
        char *block = malloc(size);
        if (block == NULL)
            return 2;
        memset(block, 1, size);
        free(block);
    }
    FILE *maps = fopen("/proc/self/maps", "r");
    if (maps == NULL || dir == NULL)
        return 1;
    while (fgets(line, sizeof line, maps) != NULL)
        count += strstr(line, dir) != NULL;
    printf("mappings of the pool: %d\n", count);
    return 0;
}
