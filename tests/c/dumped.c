/* Ends with a core file, and a block that a test looks for in it. */
#include "dumped.h"

int main(void)
{
    end_with_a_core(malloc(DUMPED_BYTES));
}
