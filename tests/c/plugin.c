/* A library to be opened at run time, also with RTLD_DEEPBIND. */
#include <stdlib.h>
#include <string.h>

void *plugin_malloc(size_t size)
{
    return malloc(size);
}

char *plugin_strdup(const char *text)
{
    return strdup(text);
}

void plugin_free(void *block)
{
    free(block);
}
