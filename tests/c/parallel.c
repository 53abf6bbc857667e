/* OpenMP: threads that come from a library, allocate and free each other's blocks. */
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    enum { COUNT = 100000 };
    static int *block[COUNT];
    long sum = 0;
#pragma omp parallel for num_threads(4) schedule(dynamic, 100)
    for (int i = 0; i < COUNT; i++) {
        block[i] = malloc(sizeof(int) * (size_t)(1 + i % 50));
        if (block[i] != NULL)
            *block[i] = i;
    }
#pragma omp parallel for num_threads(4) schedule(static) reduction(+ : sum)
    for (int i = 0; i < COUNT; i++) {
        if (block[COUNT - 1 - i] != NULL)
            sum += *block[COUNT - 1 - i];
        free(block[COUNT - 1 - i]);
    }
    printf("%ld\n", sum);
    return 0;
}
