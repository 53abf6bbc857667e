/* Gravitation of n bodies: an octree is built from allocated nodes at each step, walked and freed.
 * Mostly arithmetic; shows what the placement of the nodes does to the walk. */
#include "workload.h"

#include <math.h>
#include <string.h>

struct body {
    double place[3], speed[3], force[3], mass;
};

struct node {
    double centre[3]; /* of the cube */
    double half;
    double weighted[3]; /* sum of mass * place, then the centre of mass */
    double mass;
    const struct body *body; /* a leaf's only body */
    struct node *child[8];
};

static struct node *node_new(const double *centre, double half)
{
    struct node *node = checked(calloc(1, sizeof *node));
    memcpy(node->centre, centre, sizeof node->centre);
    node->half = half;
    return node;
}

static void node_free(struct node *node)
{
    if (!node)
        return;
    for (int i = 0; i < 8; i++)
        node_free(node->child[i]);
    free(node);
}

static void insert(struct node *node, const struct body *body, int depth)
{
    for (int axis = 0; axis < 3; axis++)
        node->weighted[axis] += body->mass * body->place[axis];
    if (node->mass == 0 || depth == 0) { /* an empty leaf, or bodies that lie too close to part */
        node->mass += body->mass;
        node->body = node->body ? node->body : body;
        return;
    }
    node->mass += body->mass;
    const struct body *moving[2] = {body, node->body};
    node->body = NULL;
    for (int i = 0; i < 2 && moving[i]; i++) {
        int octant = 0;
        double centre[3];
        for (int axis = 0; axis < 3; axis++) {
            int above = moving[i]->place[axis] >= node->centre[axis];
            octant |= above << axis;
            centre[axis] = node->centre[axis] + (above ? 0.5 : -0.5) * node->half;
        }
        if (!node->child[octant])
            node->child[octant] = node_new(centre, node->half / 2);
        insert(node->child[octant], moving[i], depth - 1);
    }
}

static void pull(const struct node *node, struct body *body)
{
    if (node->body == body)
        return;
    double delta[3], square = 1e-6;
    for (int axis = 0; axis < 3; axis++) {
        delta[axis] = node->weighted[axis] / node->mass - body->place[axis];
        square += delta[axis] * delta[axis];
    }
    int leaf = node->body != NULL;
    if (!leaf && 4 * node->half * node->half > 0.64 * square) {
        for (int i = 0; i < 8; i++)
            if (node->child[i])
                pull(node->child[i], body);
        return;
    }
    double strength = node->mass / (square * sqrt(square));
    for (int axis = 0; axis < 3; axis++)
        body->force[axis] += strength * delta[axis];
}

static double unit_random(uint64_t *state) { return (double)(next_random(state) >> 11) * 0x1p-53; }

static void nbody(const struct options *options, struct outcome *outcome)
{
    uint64_t steps = scaled(options), count = options->count, sum = 0;
    uint64_t state = random_stream(options->seed, 0);
    struct body *bodies = own_pages(count * sizeof *bodies);
    for (uint64_t i = 0; i < count; i++) {
        bodies[i].mass = 1.0 / (double)count;
        for (int axis = 0; axis < 3; axis++) /* denser towards the middle */
            bodies[i].place[axis] = (unit_random(&state) - 0.5) * unit_random(&state);
    }
    for (uint64_t step = 0; step < steps; step++) {
        struct node *root = node_new((const double[3]){0, 0, 0}, 16);
        for (uint64_t i = 0; i < count; i++)
            insert(root, &bodies[i], 40);
        for (uint64_t i = 0; i < count; i++) {
            memset(bodies[i].force, 0, sizeof bodies[i].force);
            pull(root, &bodies[i]);
        }
        for (uint64_t i = 0; i < count; i++)
            for (int axis = 0; axis < 3; axis++) {
                bodies[i].speed[axis] += 0.001 * bodies[i].force[axis];
                double place = bodies[i].place[axis] + 0.001 * bodies[i].speed[axis];
                bodies[i].place[axis] = place > 15 || place < -15 ? 0 : place;
            }
        node_free(root);
    }
    for (uint64_t i = 0; i < count; i++)
        for (int axis = 0; axis < 3; axis++) {
            uint64_t bits;
            memcpy(&bits, &bodies[i].place[axis], sizeof bits);
            sum = sum * 31 + bits;
        }
    outcome->ops = steps;
    outcome->checksum = sum;
}
const struct workload workload_nbody = {
    "nbody", "n-body simulation over an octree of allocated nodes (count = bodies)", nbody};
