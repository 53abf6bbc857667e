/* Minimises two-level logic: covers of cubes are expanded and made irredundant, with tautology checks
 * that recurse over freshly allocated cofactors. Small and middle blocks, short lives, pointer arrays
 * that grow by realloc. */
#include "workload.h"

#include <string.h>

/* Two bits for each variable: 01 = must be false, 10 = must be true, 11 = either. */
struct cube {
    uint64_t bits;
    uint32_t literals; /* variables that are not 11 */
    uint32_t order;    /* position in the input, for the checksum */
};

struct cover {
    uint32_t count, capacity;
    struct cube **cubes;
};

static uint64_t all_variables(unsigned variables)
{
    return variables == 32 ? UINT64_MAX : (UINT64_C(1) << (2 * variables)) - 1;
}

static struct cover *cover_new(uint32_t capacity)
{
    struct cover *cover = checked(malloc(sizeof *cover));
    cover->count = 0;
    cover->capacity = capacity;
    cover->cubes = checked(malloc(capacity * sizeof *cover->cubes));
    return cover;
}

static void cover_add(struct cover *cover, uint64_t bits, unsigned variables, uint32_t order)
{
    if (cover->count == cover->capacity) {
        cover->capacity *= 2;
        cover->cubes = checked(realloc(cover->cubes, cover->capacity * sizeof *cover->cubes));
    }
    struct cube *cube = checked(malloc(sizeof *cube));
    uint64_t either = bits & bits >> 1 & UINT64_C(0x5555555555555555);
    cube->bits = bits;
    cube->literals = variables - (uint32_t)__builtin_popcountll(either);
    cube->order = order;
    cover->cubes[cover->count++] = cube;
}

static void cover_free(struct cover *cover)
{
    for (uint32_t i = 0; i < cover->count; i++)
        free(cover->cubes[i]);
    free(cover->cubes);
    free(cover);
}

static void cover_remove(struct cover *cover, uint32_t index)
{
    free(cover->cubes[index]);
    cover->cubes[index] = cover->cubes[--cover->count];
}

/* Two cubes meet if no variable is required both ways. */
static int cubes_meet(uint64_t a, uint64_t b)
{
    uint64_t both = a & b;
    return ((both | both >> 1) & UINT64_C(0x5555555555555555)) ==
           ((a | a >> 1) & UINT64_C(0x5555555555555555));
}

/* The cover seen from inside a cube; `skip` leaves one cube out (or is the count). */
static struct cover *cofactor(const struct cover *cover, uint64_t inside, uint32_t skip, unsigned variables)
{
    uint64_t all = all_variables(variables);
    struct cover *result = cover_new(4);
    for (uint32_t i = 0; i < cover->count; i++)
        if (i != skip && cubes_meet(cover->cubes[i]->bits, inside))
            cover_add(result, (cover->cubes[i]->bits | ~inside) & all, variables, cover->cubes[i]->order);
    return result;
}

/* Whether the cover is true everywhere. */
static int tautology(const struct cover *cover, unsigned variables)
{
    uint64_t all = all_variables(variables), once = all;
    uint32_t most = 0;
    unsigned splitter = 0, binate = 0;
    double minterms = 0;
    for (uint32_t i = 0; i < cover->count; i++) {
        if (cover->cubes[i]->literals == 0)
            return 1;
        minterms += 1.0 / (double)(UINT64_C(1) << cover->cubes[i]->literals);
        once &= cover->cubes[i]->bits;
    }
    if (minterms < 1)
        return 0;
    for (unsigned v = 0; v < variables; v++) {
        if (once >> (2 * v) & 3)
            continue; /* at most one polarity occurs */
        uint32_t uses = 0;
        for (uint32_t i = 0; i < cover->count; i++)
            uses += (cover->cubes[i]->bits >> (2 * v) & 3) != 3;
        if (uses > most) {
            most = uses;
            splitter = v;
            binate = 1;
        }
    }
    if (!binate)
        return 0; /* a unate cover without the full cube */
    for (uint64_t side = 1; side <= 2; side++) {
        uint64_t inside = all & ~((UINT64_C(3) ^ side) << (2 * splitter));
        struct cover *half = cofactor(cover, inside, cover->count, variables);
        int full = tautology(half, variables);
        cover_free(half);
        if (!full)
            return 0;
    }
    return 1;
}

static int covered(const struct cover *cover, uint64_t cube, uint32_t skip, unsigned variables)
{
    struct cover *inside = cofactor(cover, cube, skip, variables);
    int result = tautology(inside, variables);
    cover_free(inside);
    return result;
}

/* Drops literals as long as the cube stays inside the function; removes cubes it then contains. */
static void expand(struct cover *cover, const struct cover *function, unsigned variables)
{
    for (uint32_t i = 0; i < cover->count; i++) {
        uint64_t bits = cover->cubes[i]->bits;
        for (unsigned v = 0; v < variables; v++) {
            uint64_t raised = bits | UINT64_C(3) << (2 * v);
            if (raised != bits && covered(function, raised, function->count, variables))
                bits = raised;
        }
        uint32_t order = cover->cubes[i]->order;
        struct cube *old = cover->cubes[i];
        cover->count--;
        cover->cubes[i] = cover->cubes[cover->count];
        free(old);
        cover_add(cover, bits, variables, order);
        struct cube *grown = cover->cubes[cover->count - 1];
        cover->cubes[cover->count - 1] = cover->cubes[i];
        cover->cubes[i] = grown;
        for (uint32_t j = cover->count; j-- > i + 1;)
            if ((cover->cubes[j]->bits & ~bits) == 0)
                cover_remove(cover, j);
    }
}

static void make_irredundant(struct cover *cover, unsigned variables)
{
    for (uint32_t i = cover->count; i-- > 0;)
        if (covered(cover, cover->cubes[i]->bits, i, variables))
            cover_remove(cover, i);
}

static struct cover *random_cover(uint64_t *state, uint32_t cubes, unsigned variables)
{
    struct cover *cover = cover_new(4);
    for (uint32_t i = 0; i < cubes; i++) {
        uint64_t bits = 0;
        for (unsigned v = 0; v < variables; v++) {
            uint64_t draw = random_below(state, 10);
            bits |= (draw < 3 ? UINT64_C(1) : draw < 6 ? UINT64_C(2) : UINT64_C(3)) << (2 * v);
        }
        cover_add(cover, bits, variables, i);
    }
    return cover;
}

static void minimise(const struct options *options, struct outcome *outcome)
{
    uint64_t functions = scaled(options), sum = 0, state = random_stream(options->seed, 0);
    unsigned variables = (unsigned)options->slots;
    if (variables < 2 || variables > 32)
        fail("--slots is the number of variables, 2 to 32");
    for (uint64_t f = 0; f < functions; f++) {
        struct cover *function = random_cover(&state, (uint32_t)options->count, variables);
        struct cover *cover = cofactor(function, all_variables(variables), function->count, variables);
        uint32_t before;
        do {
            before = cover->count;
            expand(cover, function, variables);
            make_irredundant(cover, variables);
        } while (cover->count < before);
        for (uint32_t i = 0; i < function->count; i++)
            if (!covered(cover, function->cubes[i]->bits, cover->count, variables))
                fail("a minimised function lost a cube");
        for (uint32_t i = 0; i < cover->count; i++)
            sum += cover->cubes[i]->literals + cover->cubes[i]->bits * 31;
        sum += cover->count;
        cover_free(cover);
        cover_free(function);
    }
    outcome->ops = functions;
    outcome->checksum = sum;
}
const struct workload workload_minimise = {
    "minimise", "minimise random two-level logic (slots = variables, count = cubes)", minimise};
