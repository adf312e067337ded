#include "slope.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Parameters in double, as views into one array. */
typedef struct weights {
    const double *W_enc, *W_dec, *b_enc, *b_dec;
} weights;

static void *zeroed(int64_t count)
{
    void *block = calloc((size_t)count, sizeof(double));
    if (!block)
        abort();
    return block;
}

int64_t slope_size(const plain *p)
{
    return 2 * p->n * p->d + p->n + p->d;
}

static weights views(const plain *p, const double *all)
{
    int64_t size = p->n * p->d;
    return (weights){all, all + size, all + 2 * size, all + 2 * size + p->n};
}

static double *doubles_of(const plain *p)
{
    double *all = zeroed(slope_size(p)), *to = all;
    for (int64_t i = 0; i < p->n * p->d; i++)
        *to++ = (double)p->W_enc[i];
    for (int64_t i = 0; i < p->n * p->d; i++)
        *to++ = (double)p->W_dec[i];
    for (int64_t i = 0; i < p->n; i++)
        *to++ = (double)p->b_enc[i];
    for (int64_t j = 0; j < p->d; j++)
        *to++ = (double)p->b_dec[j];
    return all;
}

/* f (n) of one token: the pre-activations of the latents in `mask`. */
static void token_code(const plain *p, weights w, const bool *mask, int64_t t, double *f)
{
    for (int64_t i = 0; i < p->n; i++) {
        f[i] = 0.0;
        if (!mask[t * p->n + i])
            continue;
        f[i] = w.b_enc[i];
        for (int64_t j = 0; j < p->d; j++)
            f[i] += w.W_enc[i * p->d + j] * ((double)p->x[t * p->d + j] - w.b_dec[j]);
    }
}

/* out (d) = W_dec^T f + b_dec. */
static void token_decode(const plain *p, weights w, const double *f, double *out)
{
    memcpy(out, w.b_dec, (size_t)p->d * sizeof *out);
    for (int64_t i = 0; i < p->n; i++)
        for (int64_t j = 0; j < p->d && f[i] != 0.0; j++)
            out[j] += f[i] * w.W_dec[i * p->d + j];
}

static double square_of(const double *v, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += v[i] * v[i];
    return sum;
}

static int64_t n_nonzero(const plain *p)
{
    int64_t count = 0;
    for (int64_t t = 0; t < p->n_token; t++)
        count += p->valid[t] && p->norm[t] > 0.0;
    return count;
}

/* The reconstruction term of one token: |r|^2 weighted as the recipe says. */
static double reconstruction(const plain *p, const slope *s, int64_t t, const double *x_hat)
{
    double square = 0.0;
    for (int64_t j = 0; j < p->d; j++)
        square += pow(x_hat[j] - (double)p->x[t * p->d + j], 2.0);
    double size = (double)(plain_n_valid(p) * p->d);
    if (s->recipe->loss == ORTH_LOSS_MSE)
        return square / size;
    if (s->recipe->loss == ORTH_LOSS_MSE_SCALED)
        return square * s->mse_scale / size;
    return p->norm[t] > 0.0 ? square / (p->norm[t] * p->norm[t] * (double)n_nonzero(p)) : 0.0;
}

/* AuxK's term of one token; `work` has room for n + d. */
static double aux_term(const plain *p, const slope *s, weights w, int64_t t, const double *x_hat,
                       double *work)
{
    double *f = work, *prediction = work + p->n, size = (double)(plain_n_valid(p) * p->d);
    bool gao = s->recipe->aux == ORTH_AUX_GAO;
    if (s->recipe->aux == ORTH_AUX_NONE || (gao && !(s->variance > 0.0)) ||
        (!gao && s->n_dead == 0))
        return 0.0;
    token_code(p, w, s->aux, t, f);
    token_decode(p, w, f, prediction);
    for (int64_t j = 0; j < p->d; j++) {
        double missing = (double)p->x[t * p->d + j] - x_hat[j];
        prediction[j] -= gao ? s->target[t * p->d + j] : w.b_dec[j] + missing;
    }
    return s->recipe->aux_coefficient * square_of(prediction, p->d) / size /
           (gao ? s->variance : 1.0);
}

static slope_terms loss_of(const plain *p, const slope *s, const double *all)
{
    weights w = views(p, all);
    slope_terms terms = {0.0, 0.0, 0.0};
    double *f = zeroed(2 * p->n + 2 * p->d), *x_hat = f + p->n, *work = x_hat + p->d;
    double n_valid = (double)plain_n_valid(p);
    for (int64_t t = 0; t < p->n_token; t++) {
        if (!p->valid[t])
            continue;
        if (s->recipe->multi_k) {
            token_code(p, w, s->multi, t, f);
            token_decode(p, w, f, x_hat);
            terms.mse += reconstruction(p, s, t, x_hat) / 8.0;
        }
        token_code(p, w, s->mask, t, f);
        token_decode(p, w, f, x_hat);
        terms.mse += reconstruction(p, s, t, x_hat);
        double excess = sqrt(square_of(f, p->n)) - p->norm[t];
        terms.afa += s->recipe->afa_coefficient * excess * excess / n_valid;
        terms.aux += aux_term(p, s, w, t, x_hat, work);
    }
    free(f);
    return terms;
}

static void find_dead(const plain *p, const bool *idle, slope *s)
{
    double above = s->recipe->dead == ORTH_DEAD_TOKENS ? (double)1e-3f : 0.0;
    for (int64_t i = 0; i < p->n; i++) {
        s->dead[i] = idle && idle[i];
        for (int64_t t = 0; t < p->n_token; t++)
            if (s->mask[t * p->n + i] && (double)p->a[t * p->n + i] > above)
                s->dead[i] = false;
        s->n_dead += s->dead[i];
    }
}

/* Gao's target and its variance at the weights as they are. */
static void find_target(const plain *p, slope *s)
{
    double *all = doubles_of(p), *f = zeroed(p->n), n_valid = (double)plain_n_valid(p);
    weights w = views(p, all);
    for (int64_t t = 0; t < p->n_token; t++) {
        double *target = s->target + t * p->d;
        token_code(p, w, s->mask, t, f);
        token_decode(p, w, f, target);
        for (int64_t j = 0; j < p->d; j++)
            target[j] = (double)p->x[t * p->d + j] - target[j] + w.b_dec[j];
    }
    for (int64_t j = 0; j < p->d; j++) {
        double mean = 0.0;
        for (int64_t t = 0; t < p->n_token; t++)
            mean += p->valid[t] ? s->target[t * p->d + j] / n_valid : 0.0;
        for (int64_t t = 0; t < p->n_token; t++)
            if (p->valid[t])
                s->variance += pow(s->target[t * p->d + j] - mean, 2.0) / (n_valid * (double)p->d);
    }
    free(all);
    free(f);
}

void slope_begin(const plain *p, const orth_recipe *recipe, double mse_scale, const bool *idle,
                 slope *out)
{
    slope s = {.recipe = recipe, .mse_scale = mse_scale};
    s.mask = plain_mask(p);
    s.multi = plain_mask(p);
    s.aux = plain_mask(p);
    s.dead = zeroed(p->n);
    s.target = zeroed(p->n_token * p->d);
    if (recipe->selection == ORTH_SELECT_TOPK)
        plain_topk(p, recipe->k, NULL, s.mask);
    if (recipe->selection == ORTH_SELECT_TOPAFA)
        plain_topafa(p, recipe->target == ORTH_TARGET_CENTRED, s.mask);
    if (recipe->selection == ORTH_SELECT_BATCHTOPK)
        plain_batchtopk(p, recipe->k, s.mask);
    plain_topk(p, recipe->k * recipe->multi_k, NULL, s.multi);
    find_dead(p, idle, &s);
    plain_topk(p, recipe->aux_k, s.dead, s.aux);
    find_target(p, &s);
    *out = s;
}

void slope_end(slope *s)
{
    free(s->mask);
    free(s->multi);
    free(s->aux);
    free(s->dead);
    free(s->target);
    memset(s, 0, sizeof *s);
}

slope_terms slope_loss(const plain *p, const slope *s)
{
    double *all = doubles_of(p);
    slope_terms terms = loss_of(p, s, all);
    free(all);
    return terms;
}

void slope_gradient(const plain *p, const slope *s, double *gradient)
{
    const double h = 3e-5;
    double *all = doubles_of(p);
    for (int64_t i = 0; i < slope_size(p); i++) {
        double value = all[i];
        all[i] = value + h;
        slope_terms up = loss_of(p, s, all);
        all[i] = value - h;
        slope_terms down = loss_of(p, s, all);
        all[i] = value;
        gradient[i] = ((up.mse - down.mse) + (up.aux - down.aux) + (up.afa - down.afa)) / (2.0 * h);
    }
    free(all);
}

double slope_l0(const plain *p, const slope *s)
{
    double entries = 0.0;
    for (int64_t i = 0; i < p->n_token * p->n; i++)
        entries += s->mask[i];
    return entries / (double)plain_n_valid(p);
}

double slope_fvu(const plain *p, const slope *s)
{
    double residual = 0.0, spread = 0.0, n_valid = (double)plain_n_valid(p);
    for (int64_t j = 0; j < p->d; j++) {
        double mean = 0.0;
        for (int64_t t = 0; t < p->n_token; t++)
            mean += p->valid[t] ? (double)p->x[t * p->d + j] / n_valid : 0.0;
        for (int64_t t = 0; t < p->n_token; t++) {
            if (!p->valid[t])
                continue;
            residual += pow(s->target[t * p->d + j] - (double)p->b_dec[j], 2.0);
            spread += pow((double)p->x[t * p->d + j] - mean, 2.0);
        }
    }
    return residual / spread;
}
