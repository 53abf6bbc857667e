/* Something for a debugger to look at. */
#include <stdio.h>
#include <stdlib.h>

struct item {
    int number;
    const char *name;
    struct item *next;
};

static struct item *head;

__attribute__((noinline)) int twice(int value)
{
    return value * 2;
}

int main(void)
{
    for (int i = 0; i < 3; i++) {
        struct item *item = malloc(sizeof *item);
        if (item == NULL)
            return 1;
        *item = (struct item){i, "an item", head};
        head = item;
    }
    printf("%d\n", twice(21));
    return 0;
}
