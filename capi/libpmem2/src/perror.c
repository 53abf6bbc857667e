/* pmem2_perror: in C, because it takes the arguments of printf. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

const char *pmem2_errormsg(void);

__attribute__((format(printf, 1, 2))) void pmem2_perror(const char *format, ...)
{
    int saved = errno;
    va_list arguments;
    va_start(arguments, format);
    flockfile(stderr);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, ": %s\n", pmem2_errormsg());
    funlockfile(stderr);
    va_end(arguments);
    errno = saved;
}
