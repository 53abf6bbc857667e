/* Factors products of two primes by continued fractions, with arbitrary-precision numbers that are
 * allocated afresh by each operation: very many small blocks with short lives, among them the
 * relations, which live until the number is factored. */
#include "workload.h"

#include <string.h>

struct big {
    uint32_t length; /* digits in use; 0 is the number zero */
    uint32_t digit[]; /* least significant first */
};

static struct big *big_new(uint32_t length)
{
    struct big *number = checked(malloc(sizeof *number + length * sizeof(uint32_t)));
    number->length = length;
    return number;
}

static struct big *big_trim(struct big *number)
{
    while (number->length && number->digit[number->length - 1] == 0)
        number->length--;
    return number;
}

static struct big *big_from(uint64_t value)
{
    struct big *number = big_new(2);
    number->digit[0] = (uint32_t)value;
    number->digit[1] = (uint32_t)(value >> 32);
    return big_trim(number);
}

static struct big *big_copy(const struct big *a)
{
    struct big *copy = big_new(a->length);
    memcpy(copy->digit, a->digit, a->length * sizeof(uint32_t));
    return copy;
}

/* Frees the old value of a variable and takes the new one. */
static void big_set(struct big **variable, struct big *value)
{
    free(*variable);
    *variable = value;
}

static int big_compare(const struct big *a, const struct big *b)
{
    if (a->length != b->length)
        return a->length < b->length ? -1 : 1;
    for (uint32_t i = a->length; i-- > 0;)
        if (a->digit[i] != b->digit[i])
            return a->digit[i] < b->digit[i] ? -1 : 1;
    return 0;
}

static int big_is(const struct big *a, uint32_t value)
{
    return value == 0 ? a->length == 0 : a->length == 1 && a->digit[0] == value;
}

static struct big *big_add(const struct big *a, const struct big *b)
{
    if (a->length < b->length) {
        const struct big *swap = a;
        a = b;
        b = swap;
    }
    struct big *sum = big_new(a->length + 1);
    uint64_t carry = 0;
    for (uint32_t i = 0; i < a->length; i++) {
        carry += (uint64_t)a->digit[i] + (i < b->length ? b->digit[i] : 0);
        sum->digit[i] = (uint32_t)carry;
        carry >>= 32;
    }
    sum->digit[a->length] = (uint32_t)carry;
    return big_trim(sum);
}

/* a - b, with a >= b. */
static struct big *big_subtract(const struct big *a, const struct big *b)
{
    struct big *difference = big_new(a->length);
    int64_t borrow = 0;
    for (uint32_t i = 0; i < a->length; i++) {
        borrow += (int64_t)a->digit[i] - (i < b->length ? b->digit[i] : 0);
        difference->digit[i] = (uint32_t)borrow;
        borrow >>= 32;
    }
    return big_trim(difference);
}

static struct big *big_multiply(const struct big *a, const struct big *b)
{
    struct big *product = big_new(a->length + b->length);
    memset(product->digit, 0, product->length * sizeof(uint32_t));
    for (uint32_t i = 0; i < a->length; i++) {
        uint64_t carry = 0;
        for (uint32_t j = 0; j < b->length; j++) {
            carry += (uint64_t)a->digit[i] * b->digit[j] + product->digit[i + j];
            product->digit[i + j] = (uint32_t)carry;
            carry >>= 32;
        }
        product->digit[i + b->length] = (uint32_t)carry;
    }
    return big_trim(product);
}

static uint32_t big_modulo_small(const struct big *a, uint32_t divisor)
{
    uint64_t rest = 0;
    for (uint32_t i = a->length; i-- > 0;)
        rest = ((rest << 32) | a->digit[i]) % divisor;
    return (uint32_t)rest;
}

static struct big *big_divide_small(const struct big *a, uint32_t divisor)
{
    struct big *quotient = big_new(a->length);
    uint64_t rest = 0;
    for (uint32_t i = a->length; i-- > 0;) {
        rest = (rest << 32) | a->digit[i];
        quotient->digit[i] = (uint32_t)(rest / divisor);
        rest %= divisor;
    }
    return big_trim(quotient);
}

/* Schoolbook long division; either result may be NULL. */
static void big_divide(const struct big *a, const struct big *b, struct big **quotient, struct big **rest)
{
    if (big_compare(a, b) < 0) {
        if (quotient)
            *quotient = big_from(0);
        if (rest)
            *rest = big_copy(a);
        return;
    }
    if (b->length == 1) {
        if (rest)
            *rest = big_from(big_modulo_small(a, b->digit[0]));
        if (quotient)
            *quotient = big_divide_small(a, b->digit[0]);
        return;
    }
    unsigned shift = (unsigned)__builtin_clz(b->digit[b->length - 1]);
    uint32_t n = b->length, m = a->length - n;
    struct big *u = big_new(a->length + 1), *v = big_new(n), *q = big_new(m + 1);
    u->digit[a->length] = shift ? a->digit[a->length - 1] >> (32 - shift) : 0;
    for (uint32_t i = a->length; i-- > 0;)
        u->digit[i] = (a->digit[i] << shift) | (shift && i ? a->digit[i - 1] >> (32 - shift) : 0);
    for (uint32_t i = n; i-- > 0;)
        v->digit[i] = (b->digit[i] << shift) | (shift && i ? b->digit[i - 1] >> (32 - shift) : 0);
    for (uint32_t j = m + 1; j-- > 0;) {
        uint64_t top = ((uint64_t)u->digit[j + n] << 32) | u->digit[j + n - 1];
        uint64_t guess = top / v->digit[n - 1], left = top % v->digit[n - 1];
        while (guess >> 32 || guess * v->digit[n - 2] > ((left << 32) | u->digit[j + n - 2])) {
            guess--;
            left += v->digit[n - 1];
            if (left >> 32)
                break;
        }
        int64_t borrow = 0;
        uint64_t carry = 0;
        for (uint32_t i = 0; i < n; i++) {
            carry += guess * v->digit[i];
            borrow += (int64_t)u->digit[i + j] - (uint32_t)carry;
            u->digit[i + j] = (uint32_t)borrow;
            borrow >>= 32;
            carry >>= 32;
        }
        borrow += (int64_t)u->digit[j + n] - (int64_t)carry;
        u->digit[j + n] = (uint32_t)borrow;
        if (borrow < 0) { /* one too many: add the divisor back */
            guess--;
            uint64_t sum = 0;
            for (uint32_t i = 0; i < n; i++) {
                sum += (uint64_t)u->digit[i + j] + v->digit[i];
                u->digit[i + j] = (uint32_t)sum;
                sum >>= 32;
            }
            u->digit[j + n] += (uint32_t)sum;
        }
        q->digit[j] = (uint32_t)guess;
    }
    if (rest) {
        struct big *r = big_new(n);
        for (uint32_t i = 0; i < n; i++)
            r->digit[i] = (u->digit[i] >> shift) | (shift ? (uint32_t)((uint64_t)u->digit[i + 1] << (32 - shift)) : 0);
        *rest = big_trim(r);
    }
    if (quotient)
        *quotient = big_trim(q);
    else
        free(q);
    free(u);
    free(v);
}

static struct big *big_quotient(const struct big *a, const struct big *b)
{
    struct big *quotient;
    big_divide(a, b, &quotient, NULL);
    return quotient;
}

static struct big *big_modulo(const struct big *a, const struct big *b)
{
    struct big *rest;
    big_divide(a, b, NULL, &rest);
    return rest;
}

/* Largest number whose square is at most a, by Newton's method from above. */
static struct big *big_root(const struct big *a)
{
    struct big *x = big_new(a->length / 2 + 1);
    memset(x->digit, 0, x->length * sizeof(uint32_t));
    x->digit[x->length - 1] = UINT32_MAX;
    for (;;) {
        struct big *quotient = big_quotient(a, x), *sum = big_add(x, quotient);
        struct big *next = big_divide_small(sum, 2);
        free(quotient);
        free(sum);
        if (big_compare(next, x) >= 0) {
            free(next);
            return x;
        }
        big_set(&x, next);
    }
}

static struct big *big_gcd(const struct big *a, const struct big *b)
{
    struct big *x = big_copy(a), *y = big_copy(b);
    while (y->length) {
        struct big *rest = big_modulo(x, y);
        free(x);
        x = y;
        y = rest;
    }
    free(y);
    return x;
}

enum { BASE = 64, RELATIONS = BASE + 12 };

/* square(a) = (-1)^sign * product of base[i]^exponent[i]  (mod n) */
struct relation {
    struct big *a;
    uint64_t history[2]; /* which relations were multiplied into this row during elimination */
    uint64_t parity[2];  /* bit 0: sign; bit i + 1: exponent i is odd */
    uint8_t *exponent;   /* BASE counts */
    uint8_t sign;
};

/* a * b modulo a number below 2^63, by doubling where the product does not fit: no 128-bit division,
 * which would come from a support library. */
static uint64_t multiply_modulo(uint64_t a, uint64_t b, uint64_t modulus)
{
    if (modulus >> 32 == 0)
        return a * b % modulus;
    uint64_t product = 0;
    for (; b; b >>= 1) {
        if (b & 1) {
            product += a;
            product -= product >= modulus ? modulus : 0;
        }
        a += a;
        a -= a >= modulus ? modulus : 0;
    }
    return product;
}

static uint64_t power_modulo(uint64_t base, uint64_t exponent, uint64_t modulus)
{
    uint64_t result = 1;
    for (base %= modulus; exponent; exponent >>= 1) {
        if (exponent & 1)
            result = multiply_modulo(result, base, modulus);
        base = multiply_modulo(base, base, modulus);
    }
    return result;
}

/* Miller-Rabin with bases that are exact below 2^64. */
static int is_prime(uint64_t n)
{
    static const uint64_t witnesses[] = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37};
    uint64_t odd = n - 1;
    unsigned twos = 0;
    if (n < 2)
        return 0;
    for (unsigned i = 0; i < 12; i++)
        if (n % witnesses[i] == 0)
            return n == witnesses[i];
    for (; odd % 2 == 0; twos++)
        odd /= 2;
    for (unsigned i = 0; i < 12; i++) {
        uint64_t x = power_modulo(witnesses[i], odd, n);
        if (x == 1 || x == n - 1)
            continue;
        unsigned round = 1;
        for (; round < twos && x != n - 1; round++)
            x = multiply_modulo(x, x, n);
        if (x != n - 1)
            return 0;
    }
    return 1;
}

static uint64_t random_prime(uint64_t *state, unsigned bits)
{
    uint64_t candidate = (next_random(state) >> (64 - bits)) | (UINT64_C(1) << (bits - 1)) | 1;
    while (!is_prime(candidate))
        candidate += 2;
    return candidate;
}

/* Small primes that can divide the terms: those for which n is a square, and the divisors of n. */
static void choose_base(const struct big *n, uint32_t *base)
{
    unsigned found = 0;
    base[found++] = 2;
    for (uint32_t p = 3; found < BASE; p += 2) {
        uint32_t rest = big_modulo_small(n, p);
        if (is_prime(p) && (rest == 0 || power_modulo(rest, (p - 1) / 2, p) == 1))
            base[found++] = p;
    }
}

/* Divides a term by the base; NULL if something is left over. */
static uint8_t *smooth_exponents(const struct big *term, const uint32_t *base)
{
    uint8_t *exponent = checked(calloc(BASE, 1));
    struct big *rest = big_copy(term);
    for (unsigned i = 0; i < BASE && !big_is(rest, 1); i++)
        while (big_modulo_small(rest, base[i]) == 0) {
            big_set(&rest, big_divide_small(rest, base[i]));
            exponent[i]++;
        }
    int smooth = big_is(rest, 1);
    free(rest);
    if (!smooth) {
        free(exponent);
        return NULL;
    }
    return exponent;
}

/* Multiplies the relations of one dependency together; the proper factor of n, or NULL. */
static struct big *factor_of(const struct big *n, const struct relation *relations, const uint64_t *history,
                             const uint32_t *base)
{
    struct big *x = big_from(1), *y = big_from(1), *factor = NULL;
    uint32_t exponent[BASE] = {0};
    for (unsigned r = 0; r < RELATIONS; r++)
        if (history[r / 64] >> (r % 64) & 1) {
            struct big *product = big_multiply(x, relations[r].a);
            big_set(&x, big_modulo(product, n));
            free(product);
            for (unsigned i = 0; i < BASE; i++)
                exponent[i] += relations[r].exponent[i];
        }
    for (unsigned i = 0; i < BASE; i++)
        for (uint32_t e = 0; e < exponent[i] / 2; e++) {
            struct big *prime = big_from(base[i]), *product = big_multiply(y, prime);
            big_set(&y, big_modulo(product, n));
            free(prime);
            free(product);
        }
    struct big *difference = big_compare(x, y) >= 0 ? big_subtract(x, y) : big_subtract(y, x);
    if (difference->length) {
        factor = big_gcd(difference, n);
        if (big_is(factor, 1) || big_compare(factor, n) == 0)
            big_set(&factor, NULL);
    }
    free(difference);
    free(x);
    free(y);
    return factor;
}

/* Gaussian elimination over the parities; tries each dependency it finds. */
static struct big *eliminate(const struct big *n, struct relation *relations, const uint32_t *base)
{
    uint8_t used[RELATIONS] = {0};
    for (unsigned column = 0; column <= BASE; column++) {
        unsigned pivot = 0;
        while (pivot < RELATIONS && (used[pivot] || !(relations[pivot].parity[column / 64] >> (column % 64) & 1)))
            pivot++;
        if (pivot == RELATIONS)
            continue;
        used[pivot] = 1;
        for (unsigned r = 0; r < RELATIONS; r++)
            if (r != pivot && relations[r].parity[column / 64] >> (column % 64) & 1)
                for (unsigned w = 0; w < 2; w++) {
                    relations[r].parity[w] ^= relations[pivot].parity[w];
                    relations[r].history[w] ^= relations[pivot].history[w];
                }
    }
    for (unsigned r = 0; r < RELATIONS; r++)
        if (!used[r]) {
            struct big *factor = factor_of(n, relations, relations[r].history, base);
            if (factor)
                return factor;
        }
    return NULL;
}

/* Expands the square root of multiplier * n and collects smooth terms. */
static struct big *factor_with(const struct big *n, uint32_t multiplier, uint64_t *steps)
{
    struct big *m = big_from(multiplier), *kn = big_multiply(n, m), *root = big_root(kn);
    struct big *one = big_from(1), *p = big_from(0), *q = big_from(1), *quotient = big_copy(root);
    struct big *a_before = big_from(1), *a = big_modulo(root, n), *factor = NULL;
    struct relation relations[RELATIONS];
    uint32_t base[BASE];
    unsigned found = 0, odd = 1;
    choose_base(kn, base);
    for (uint64_t step = 0; found < RELATIONS && step < 4000000; step++) {
        struct big *product = big_multiply(quotient, q);
        big_set(&p, big_subtract(product, p));
        free(product);
        struct big *square = big_multiply(p, p), *difference = big_subtract(kn, square);
        big_set(&q, big_quotient(difference, q));
        free(square);
        free(difference);
        if (big_compare(q, one) == 0)
            break; /* the expansion repeats from here */
        uint8_t *exponent = smooth_exponents(q, base);
        if (exponent) {
            struct relation *relation = &relations[found];
            *relation = (struct relation){.a = big_copy(a), .exponent = exponent, .sign = (uint8_t)odd};
            relation->history[found / 64] = UINT64_C(1) << (found % 64);
            relation->parity[0] = odd;
            for (unsigned i = 0; i < BASE; i++)
                if (exponent[i] & 1)
                    relation->parity[(i + 1) / 64] |= UINT64_C(1) << ((i + 1) % 64);
            found++;
        }
        struct big *sum = big_add(root, p);
        big_set(&quotient, big_quotient(sum, q));
        free(sum);
        product = big_multiply(quotient, a);
        sum = big_add(product, a_before);
        free(product);
        free(a_before);
        a_before = a;
        a = big_modulo(sum, n);
        free(sum);
        odd ^= 1;
        (*steps)++;
    }
    if (found == RELATIONS)
        factor = eliminate(n, relations, base);
    for (unsigned r = 0; r < found; r++) {
        free(relations[r].a);
        free(relations[r].exponent);
    }
    struct big *const numbers[] = {m, kn, root, one, p, q, quotient, a_before, a};
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
        free(numbers[i]);
    return factor;
}

static void primes(const struct options *options, struct outcome *outcome)
{
    static const uint32_t multipliers[] = {1, 2, 3, 5, 6, 7, 10, 11, 13, 14, 15, 17, 19, 21, 22, 23};
    uint64_t numbers = scaled(options), sum = 0, steps = 0, state = random_stream(options->seed, 0);
    if (options->count < 32 || options->count > 120)
        fail("--count is the size of the numbers in bits, 32 to 120");
    for (uint64_t i = 0; i < numbers; i++) {
        struct big *p = big_from(random_prime(&state, (unsigned)options->count / 2));
        struct big *q = big_from(random_prime(&state, (unsigned)(options->count + 1) / 2));
        struct big *n = big_multiply(p, q), *factor = NULL;
        for (unsigned m = 0; !factor && m < sizeof multipliers / sizeof *multipliers; m++)
            factor = factor_with(n, multipliers[m], &steps);
        if (!factor)
            fail("a number was not factored");
        struct big *rest = big_modulo(n, factor);
        if (rest->length || (big_compare(factor, p) != 0 && big_compare(factor, q) != 0))
            fail("a factor is wrong");
        sum = sum * 31 + factor->digit[0] + steps;
        free(rest);
        free(factor);
        free(n);
        free(p);
        free(q);
    }
    outcome->ops = numbers;
    outcome->checksum = sum;
}
const struct workload workload_primes = {
    "primes", "factor products of two primes with allocated bigints (count = bits)", primes};
