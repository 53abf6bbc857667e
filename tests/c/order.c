/* What tools that watch threads should say of a program whose heap is in a pool. */
#include "order.h"

static void *zeroed(size_t size)
{
    return calloc(1, size);
}

static const struct heap own = {malloc, zeroed, realloc, free};

CASE(threads_in_order)
{
    CHECK_IN_POOL(OK(malloc(10)));
    exchange_blocks(&own);
}

CASE(threads_without_order)
{
    race_for_a_block(&own);
}

CASE(threads_in_order_anywhere)
{
    exchange_blocks(&own);
}
