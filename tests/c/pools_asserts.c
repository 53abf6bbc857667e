/* The headers: types, constants, and that they can be included alone and together. */
#include <libpmemlog.h>

#include <libpmemblk.h>

#include <stdio.h>

_Static_assert(PMEMLOG_MAJOR_VERSION == 1 && PMEMLOG_MINOR_VERSION == 1, "");
_Static_assert(PMEMBLK_MAJOR_VERSION == 1 && PMEMBLK_MINOR_VERSION == 1, "");
_Static_assert(PMEMLOG_MIN_POOL == 2097152 && PMEMLOG_MIN_PART == 2097152, "");
_Static_assert(PMEMBLK_MIN_POOL == 16785408 && PMEMBLK_MIN_PART == 2097152, "");
_Static_assert(PMEMBLK_MIN_BLK == 512 && sizeof(PMEMBLK_MIN_BLK) == sizeof(size_t), "");

int main(void)
{
    PMEMlogpool *(*open_log)(const char *) = pmemlog_open;
    int (*append)(PMEMlogpool *, const struct iovec *, int) = pmemlog_appendv;
    long long (*tell)(PMEMlogpool *) = pmemlog_tell;
    int (*read_block)(PMEMblkpool *, void *, long long) = pmemblk_read;
    int (*check)(const char *, size_t) = pmemblk_check;
    puts(open_log && append && tell && read_block && check ? "ok" : "not ok");
    return 0;
}
