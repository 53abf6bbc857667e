/* The assertions of the contract's own test list, in a pool of 16 MiB unless a case says otherwise. */
#include "case.h"

CASE(blocks_of_all_sizes_fit_together)
{
    void *block[20];
    size_t count = 0, total = 0;
    for (size_t size = 4 * MIB; size >= 8; size /= 2, count++) {
        block[count] = OK(malloc(size));
        stamp(block[count], size, size);
        total += size;
    }
    CHECK_GE(total, 7 * MIB);
    count = 0;
    for (size_t size = 4 * MIB; size >= 8; size /= 2, count++) {
        CHECK_STAMP(block[count], size, size);
        free(block[count]);
    }
}

CASE(calloc_is_always_zero)
{
    for (int i = 0; i < 100; i++) {
        char *p = OK(calloc(1, 3584));
        CHECK_EQ(nonzero_at(p, 3584), -1);
        memset(p, 0xff, 3584);
        free(p);
    }
}

CASE(realloc_keeps_and_grows)
{
    int *p = OK(malloc(sizeof(int)));
    *p = 123456;
    p = OK(realloc(p, 10 * sizeof(int)));
    CHECK_EQ(*p, 123456);
    for (int i = 1; i < 10; i++)
        p[i] = i;
    p = OK(realloc(p, sizeof(int)));
    CHECK_EQ(*p, 123456);
    free(p);
}

CASE(eight_byte_blocks_until_null)
{
    struct link *chain = NULL;
    CHECK_GE(fill(&chain, 8, SIZE_MAX / 2), 100000);
    free_chain(&chain);
}

CASE(freed_blocks_serve_other_sizes)
{
    for (size_t size = 4 * MIB; size >= 8; size /= 2) {
        struct link *chain = NULL;
        size_t count = fill(&chain, size, SIZE_MAX / 2);
        CHECK_GE(count, 1);
        for (struct link *p = chain; p != NULL; p = p->next)
            if (size > sizeof *p)
                memset(p + 1, 0xee, size - sizeof *p);
        free_chain(&chain);
    }
    /* 4 bytes: no room for a link. */
    static void *block[4 << 20];
    size_t count = 0;
    while (count < ARRAY_LENGTH(block) && (block[count] = malloc(4)) != NULL)
        count++;
    CHECK_GE(count, 100000);
    while (count > 0)
        free(block[--count]);
}

CASE(small_alignments_and_huge_ones_give_a_block)
{
    for (size_t alignment = 4 * MIB; alignment >= 2; alignment /= 2) {
        int *m = OK(memalign(alignment, 4)), *a, *p = NULL;
        *m = 1;
        CHECK(((uintptr_t)m & (alignment - 1)) == 0);
        free(m);
        a = OK(aligned_alloc(alignment, 4));
        *a = 1;
        CHECK(((uintptr_t)a & (alignment - 1)) == 0);
        free(a);
        CHECK_EQ(posix_memalign((void **)&p, alignment, 4), 0);
        *p = 1;
        CHECK(((uintptr_t)p & (alignment - 1)) == 0);
        free(p);
    }
}

CASE(page_allocations)
{
    for (size_t size = 4; size <= 8192; size *= 2) {
        for (int i = 0; i < 10; i++) {
            char *v = OK(valloc(size)), *p = OK(pvalloc(size));
            CHECK(((uintptr_t)v & 4095) == 0);
            CHECK(((uintptr_t)p & 4095) == 0);
            CHECK_EQ(malloc_usable_size(p), (size + 4095) & ~(size_t)4095);
            memset(v, 1, size);
            memset(p, 2, size);
            CHECK_EQ(v[size - 1], 1);
            free(v), free(p);
        }
    }
}
