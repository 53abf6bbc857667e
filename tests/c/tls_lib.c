/* A library with thread-local data too large for the static TLS block. */
#include <string.h>

static __thread char large[40000];
static __thread int small = 42;

int tls_touch(int value)
{
    int before = small;
    memset(large, value, sizeof large);
    small = value;
    return before;
}
