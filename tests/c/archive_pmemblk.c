/* Links with libpmemblk.a alone. */
#include <libpmemblk.h>
#include <stddef.h>

int main(int argc, char **argv)
{
    static const char block[512] = "x";
    PMEMblkpool *pool = argc > 1 ? pmemblk_create(argv[1], 512, PMEMBLK_MIN_POOL, 0600) : NULL;
    if (pool == NULL || pmemblk_write(pool, block, 0) != 0)
        return 1;
    pmemblk_close(pool);
    return 0;
}
