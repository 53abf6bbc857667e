/* Large blocks that grow with no room behind them: content, errno and isolation after a fork. Written for
 * pools of 512 MiB. */
#include "case.h"

enum { BLOCKS = 2, PINS = 200 };

struct block {
    char *start;
    size_t size;
    uint64_t number;
};

/* Each page says whose it is, and which one. */
static void mark(const struct block *b, size_t from)
{
    for (size_t at = from / 4096 * 4096; at + 4096 <= b->size; at += 4096)
        *(uint64_t *)(void *)(b->start + at) = b->number << 32 | at / 4096;
}

static void check_marks(const struct block *b, size_t len)
{
    for (size_t at = 0; at + 4096 <= len; at += 4096)
        CHECK_EQ(*(uint64_t *)(void *)(b->start + at), b->number << 32 | at / 4096);
}

static void *pin[PINS];
static size_t pins;

/* Blocks that grow in turn find each other, or something small, behind them. Gives the number of those that
 * got another address. */
static int grow(struct block *blocks, size_t most)
{
    int moves = 0;
    for (;;) {
        for (int i = 0; i < BLOCKS; i++) {
            struct block *b = &blocks[i];
            size_t old = b->size;
            char *start = b->start;
            CHECK(pins < PINS);
            pin[pins++] = OK(malloc(300 * KIB));
            b->size = old + old / 2 + 5000;
            if (b->size > most)
                return moves;
            b->start = OK(realloc(start, b->size));
            moves += b->start != start;
            CHECK_GE(malloc_usable_size(b->start), b->size);
            check_marks(b, old);
            mark(b, old);
        }
    }
}

static void begin(struct block *blocks)
{
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = (struct block){OK(malloc(5 * MIB)), 5 * MIB, 1 + i};
        mark(&blocks[i], 0);
    }
}

CASE(large_blocks_keep_their_content)
{
    struct block blocks[BLOCKS];
    begin(blocks);
    CHECK_GE(grow(blocks, 100 * MIB), 3);
    for (int i = 0; i < BLOCKS; i++)
        free(blocks[i].start);
    /* What was moved is not taken for zero. */
    for (size_t size = 3 * MIB; size < 100 * MIB; size = size * 3 / 2) {
        char *zero = OK(calloc(1, size));
        for (size_t at = 0; at < size; at += 8)
            CHECK_EQ(*(uint64_t *)(void *)(zero + at), 0);
        memset(zero, 1, size);
        free(zero);
    }
}

CASE(a_block_that_finds_no_place_is_as_before)
{
    struct block blocks[BLOCKS];
    begin(blocks);
    grow(blocks, 60 * MIB);
    CHECK_FAILS(realloc(blocks[0].start, 600 * MIB), ENOMEM);
    CHECK_FAILS(realloc(blocks[0].start, 450 * MIB), ENOMEM);
    blocks[0].size = malloc_usable_size(blocks[0].start);
    check_marks(&blocks[0], 5 * MIB);
    check_marks(&blocks[1], 5 * MIB);
}

CASE(parent_and_child_after_moves)
{
    struct block blocks[BLOCKS];
    begin(blocks);
    grow(blocks, 40 * MIB);
    for (int i = 0; i < BLOCKS; i++)
        blocks[i].size = malloc_usable_size(blocks[i].start);
    for (int i = 0; i < BLOCKS; i++)
        mark(&blocks[i], 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    for (int i = 0; i < BLOCKS; i++) {
        check_marks(&blocks[i], blocks[i].size);
        blocks[i].number += pid == 0 ? 100 : 10;
        mark(&blocks[i], 0);
    }
    grow(blocks, 80 * MIB);
    for (int i = 0; i < BLOCKS; i++)
        check_marks(&blocks[i], 20 * MIB);
    if (pid == 0)
        _exit(0);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    for (int i = 0; i < BLOCKS; i++)
        check_marks(&blocks[i], 20 * MIB);
}
