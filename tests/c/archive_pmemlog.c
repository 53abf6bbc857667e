/* Links with libpmemlog.a alone. */
#include <libpmemlog.h>
#include <stddef.h>

int main(int argc, char **argv)
{
    PMEMlogpool *log = argc > 1 ? pmemlog_create(argv[1], PMEMLOG_MIN_POOL, 0600) : NULL;
    if (log == NULL || pmemlog_append(log, "x", 1) != 0)
        return 1;
    pmemlog_close(log);
    return 0;
}
