#include "plain.h"

#include <orthant/base/random.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One latent of one token, to be sorted. */
typedef struct item {
    double strength;
    int64_t token, latent;
} item;

static void *zeroed(int64_t count, size_t size)
{
    void *block = calloc((size_t)(count > 0 ? count : 1), size);
    if (!block)
        abort();
    return block;
}

plain plain_create(int64_t n, int64_t d, int64_t n_token)
{
    plain p = {.n = n, .d = d, .n_token = n_token};
    p.W_enc = zeroed(n * d, sizeof *p.W_enc);
    p.W_dec = zeroed(n * d, sizeof *p.W_dec);
    p.b_enc = zeroed(n, sizeof *p.b_enc);
    p.b_dec = zeroed(d, sizeof *p.b_dec);
    p.threshold = zeroed(n, sizeof *p.threshold);
    p.x = zeroed(n_token * d, sizeof *p.x);
    p.valid = zeroed(n_token, sizeof *p.valid);
    p.a = zeroed(n_token * n, sizeof *p.a);
    p.norm = zeroed(n_token, sizeof *p.norm);
    p.norm_centred = zeroed(n_token, sizeof *p.norm_centred);
    for (int64_t t = 0; t < n_token; t++)
        p.valid[t] = true;
    return p;
}

void plain_free(plain *p)
{
    void *blocks[] = {p->W_enc, p->W_dec, p->b_enc, p->b_dec, p->threshold,
                      p->x,     p->valid, p->a,     p->norm,  p->norm_centred};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        free(blocks[i]);
    memset(p, 0, sizeof *p);
}

double plain_uniform(int64_t seed, int64_t i)
{
    return 2.0 * orth_random_uniform((uint64_t)seed, ORTH_RANDOM_TEST, 1, (uint64_t)i) - 1.0;
}

void plain_random(plain *p, int64_t seed)
{
    for (int64_t i = 0; i < p->n; i++) {
        double square = 0.0, length = 1.0 + 0.2 * plain_uniform(seed + 1, i);
        for (int64_t j = 0; j < p->d; j++) {
            p->W_enc[i * p->d + j] = (float)plain_uniform(seed + 2, i * p->d + j);
            square += pow(plain_uniform(seed + 3, i * p->d + j), 2.0);
        }
        for (int64_t j = 0; j < p->d; j++)
            p->W_dec[i * p->d + j] =
                (float)(plain_uniform(seed + 3, i * p->d + j) * length / sqrt(square));
        p->b_enc[i] = (float)(0.2 * plain_uniform(seed + 4, i));
        p->threshold[i] = i % 3 ? (float)(0.5 + 0.5 * plain_uniform(seed + 7, i)) : 0.0f;
    }
    for (int64_t j = 0; j < p->d; j++)
        p->b_dec[j] = (float)(0.3 * plain_uniform(seed + 5, j));
    for (int64_t j = 0; j < p->n_token * p->d; j++)
        p->x[j] = (float)(1.5 * plain_uniform(seed + 6, j));
}

static void encode_token(plain *p, int64_t t)
{
    int64_t d = p->d;
    const float *x = p->x + t * d;
    double square = 0.0, square_centred = 0.0;
    for (int64_t j = 0; j < d; j++) {
        float centred = x[j] - p->b_dec[j];
        square += (double)x[j] * (double)x[j];
        square_centred += (double)centred * (double)centred;
    }
    p->norm[t] = sqrt(square);
    p->norm_centred[t] = sqrt(square_centred);
    for (int64_t i = 0; i < p->n; i++) {
        float sum = 0.0f;
        for (int64_t j = 0; j < d; j++)
            sum = fmaf(x[j] - p->b_dec[j], p->W_enc[i * d + j], sum);
        p->a[t * p->n + i] = sum + p->b_enc[i];
    }
}

void plain_encode(plain *p)
{
    for (int64_t t = 0; t < p->n_token; t++)
        encode_token(p, t);
}

bool *plain_mask(const plain *p)
{
    return zeroed(p->n_token * p->n, sizeof(bool));
}

int64_t plain_n_valid(const plain *p)
{
    int64_t count = 0;
    for (int64_t t = 0; t < p->n_token; t++)
        count += p->valid[t];
    return count;
}

/* Stronger first, then the lower token, then the lower latent. */
static int item_order(const void *a, const void *b)
{
    const item *x = a, *y = b;
    if (x->strength != y->strength)
        return x->strength > y->strength ? -1 : 1;
    if (x->token != y->token)
        return x->token < y->token ? -1 : 1;
    return x->latent < y->latent ? -1 : x->latent > y->latent;
}

void plain_topk(const plain *p, int64_t k, const bool *among, bool *mask)
{
    item *items = zeroed(p->n, sizeof *items);
    memset(mask, 0, (size_t)(p->n_token * p->n) * sizeof *mask);
    for (int64_t t = 0; t < p->n_token; t++) {
        int64_t count = 0;
        for (int64_t i = 0; i < p->n && p->valid[t]; i++)
            if (!among || among[i])
                items[count++] = (item){fmax(0.0, (double)p->a[t * p->n + i]), t, i};
        qsort(items, (size_t)count, sizeof *items, item_order);
        for (int64_t e = 0; e < count && e < k; e++)
            mask[t * p->n + items[e].latent] = items[e].strength > 0.0;
    }
    free(items);
}

void plain_batchtopk(const plain *p, int64_t k, bool *mask)
{
    item *items = zeroed(p->n_token * p->n, sizeof *items);
    int64_t count = 0, limit = k * plain_n_valid(p);
    memset(mask, 0, (size_t)(p->n_token * p->n) * sizeof *mask);
    for (int64_t t = 0; t < p->n_token; t++)
        for (int64_t i = 0; i < p->n && p->valid[t]; i++)
            items[count++] = (item){fmax(0.0, (double)p->a[t * p->n + i]), t, i};
    qsort(items, (size_t)count, sizeof *items, item_order);
    for (int64_t e = 0; e < count && e < limit; e++)
        mask[items[e].token * p->n + items[e].latent] = items[e].strength > 0.0;
    free(items);
}

void plain_jumprelu(const plain *p, bool *mask)
{
    for (int64_t t = 0; t < p->n_token; t++)
        for (int64_t i = 0; i < p->n; i++) {
            float a = p->a[t * p->n + i];
            mask[t * p->n + i] = p->valid[t] && a > 0.0f && a > p->threshold[i];
        }
}

static double decoder_norm(const plain *p, int64_t i)
{
    double square = 0.0;
    for (int64_t j = 0; j < p->d; j++)
        square += (double)p->W_dec[i * p->d + j] * (double)p->W_dec[i * p->d + j];
    return sqrt(square);
}

/* How many of a token's n sorted entries are kept: 1 + the first minimum of |sqrt(c_j) - t|, with
 * the sums in units of t^2 / 2^38 and the last of them replaced by 1e8. */
static int64_t kept_of(const item *items, int64_t n, double t)
{
    uint64_t sum = 0;
    int64_t kept = 1;
    double least = INFINITY, square = t * t;
    if (t == 0.0)
        return 1;
    for (int64_t j = 0; j < n; j++) {
        double units = items[j].strength * 0x1p38 / square;
        if (items[j].strength > 0.0)
            sum += (uint64_t)fmin(0x1p39, fmax(1.0, nearbyint(fmin(units, 0x1p40))));
        double c = j == n - 1 ? 1e8 * 0x1p38 / square : (double)sum;
        double distance = fabs(sqrt(c) - 0x1p19);
        if (distance < least) {
            least = distance;
            kept = j + 1;
        }
    }
    return kept;
}

void plain_topafa(const plain *p, bool centred, bool *mask)
{
    item *items = zeroed(p->n, sizeof *items);
    memset(mask, 0, (size_t)(p->n_token * p->n) * sizeof *mask);
    for (int64_t t = 0; t < p->n_token; t++) {
        if (!p->valid[t])
            continue;
        for (int64_t i = 0; i < p->n; i++) {
            double part = fmax(0.0, (double)p->a[t * p->n + i]) * decoder_norm(p, i);
            items[i] = (item){part * part, t, i};
        }
        qsort(items, (size_t)p->n, sizeof *items, item_order);
        int64_t kept = kept_of(items, p->n, centred ? p->norm_centred[t] : p->norm[t]);
        for (int64_t e = 0; e < kept; e++)
            mask[t * p->n + items[e].latent] = items[e].strength > 0.0;
    }
    free(items);
}
