/* A binary tree of 2^depth nodes is built in the order of a depth-first walk, summed and freed. */
#include "workload.h"

struct node {
    struct node *left, *right;
    uint64_t value;
};

static struct node *build(unsigned depth, uint64_t value)
{
    struct node *node = checked(malloc(sizeof *node));
    node->value = value;
    node->left = depth ? build(depth - 1, 2 * value) : NULL;
    node->right = depth ? build(depth - 1, 2 * value + 1) : NULL;
    return node;
}

static uint64_t add_up(const struct node *node)
{
    return node ? node->value + add_up(node->left) + add_up(node->right) : 0;
}

static void release(struct node *node)
{
    if (!node)
        return;
    release(node->left);
    release(node->right);
    free(node);
}

static void tree(const struct options *options, struct outcome *outcome)
{
    uint64_t rounds = scaled(options);
    if (options->count < 1 || options->count > 30)
        fail("--count is the depth of the tree, 1 to 30");
    for (uint64_t round = 0; round < rounds; round++) {
        struct node *root = build((unsigned)options->count - 1, 1);
        outcome->checksum += add_up(root);
        release(root);
        outcome->ops += (UINT64_C(1) << options->count) - 1;
    }
}
const struct workload workload_tree = {
    "tree", "build, sum and free a binary tree (count = depth)", tree};
