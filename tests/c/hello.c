/* The smallest program: one allocation, one line. */
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    char *block = malloc(100);
    if (block == NULL)
        return 1;
    snprintf(block, 100, "hello");
    puts(block);
    free(block);
    return 0;
}
