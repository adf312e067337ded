/* Products with codes: row by row and tile by tile, against plain loops and each other, and the
 * transposed code, on any number of threads. */
#include "check_mpi.h"
#include "plain.h"

#include <orthant/sae/decode.h>
#include <orthant/sae/gradient.h>
#include <orthant/sae/step.h>

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* Not multiples of tiles (96 rows of 64 columns), of vectors or of the chunks of latents (64); more
 * tokens than are taken together (8 tiles). */
enum { LATENTS = 150, WIDTH = 84, TOKENS = 900, MANY = 1000 };

/* A model and tokens on one rank, a code of a given density, and gradients to its reconstruction.
 */
typedef struct fixture {
    plain p;
    orth_grid grid;
    orth_sae sae;
    orth_batch batch;
    orth_code code;
    orth_product_scratch scratch;
    float *upstream; ///< (tokens, d)
    float *pull;     ///< (tokens)
} fixture;

/* Entries of the first TOKENS tokens where a pseudo-random number is below `share`; none later. Of
 * those one in seven tokens, and one in eleven latents, have none; latents 5 and 9 have them all.
 */
static void make_code(fixture *f, double share)
{
    const plain *p = &f->p;
    ck_assert(orth_code_begin(&f->code, p->n_token) == ORTH_OK);
    ck_assert(orth_code_reserve(&f->code, p->n_token * p->n) == ORTH_OK);
    int64_t e = 0;
    for (int64_t t = 0; t < p->n_token; t++) {
        for (int64_t i = 0; i < p->n && t < TOKENS; i++) {
            bool drawn = 0.5 + 0.5 * plain_uniform(7, t * p->n + i) < share;
            if (i == 5 || i == 9 || (drawn && t % 7 != 3 && i % 11 != 4)) {
                f->code.latent[e] = (uint32_t)i;
                f->code.value[e++] = (float)(0.1 + fabs(plain_uniform(8, t * p->n + i)));
            }
        }
        f->code.start[t + 1] = e;
    }
    f->code.n_token = p->n_token;
}

static fixture open_fixture(int64_t n_token, double share)
{
    fixture f = {.p = plain_create(LATENTS, WIDTH, n_token)};
    plain *p = &f.p;
    orth_recipe recipe = {.n_latent = p->n, .batch = n_token, .k = 1, .aux_k = 1};
    plain_random(p, 5);
    ck_assert(orth_grid_create(MPI_COMM_SELF, 1, 1, &f.grid) == ORTH_OK);
    ck_assert(orth_sae_create(&f.grid, &recipe, p->d, true, &f.sae) == ORTH_OK);
    f.sae.grid = NULL; /* set by its users: fixtures are returned by value */
    memcpy(f.sae.weights.W_dec, p->W_dec, (size_t)(p->n * p->d) * sizeof(float));
    ck_assert(orth_batch_create(n_token, p->d, &f.batch) == ORTH_OK);
    f.batch.n_token = n_token;
    memcpy(f.batch.x, p->x, (size_t)(n_token * p->d) * sizeof(float));
    ck_assert(orth_product_scratch_create(true, &f.scratch) == ORTH_OK);
    f.upstream = malloc((size_t)(n_token * p->d) * sizeof(float));
    f.pull = malloc((size_t)n_token * sizeof(float));
    for (int64_t j = 0; j < n_token * p->d; j++)
        f.upstream[j] = (float)plain_uniform(9, j);
    for (int64_t t = 0; t < n_token; t++)
        f.pull[t] = (float)plain_uniform(10, t);
    make_code(&f, share);
    return f;
}

static void close_fixture(fixture *f)
{
    free(f->upstream);
    free(f->pull);
    orth_code_free(&f->code);
    orth_product_scratch_free(&f->scratch);
    orth_batch_free(&f->batch);
    orth_sae_free(&f->sae);
    orth_grid_free(&f->grid);
    plain_free(&f->p);
}

/* The largest difference of n values, relative to the largest wanted. */
static double off(const float *value, const double *wanted, int64_t n)
{
    double worst = 0.0, largest = 0.0;
    for (int64_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double)value[i] - wanted[i]));
        largest = fmax(largest, fabs(wanted[i]));
    }
    return worst / largest;
}

static void exact_decode(const fixture *f, double *out)
{
    int64_t d = f->p.d;
    for (int64_t t = 0; t < f->p.n_token; t++)
        for (int64_t e = f->code.start[t]; e < f->code.start[t + 1]; e++)
            for (int64_t j = 0; j < d; j++)
                out[t * d + j] +=
                    (double)f->code.value[e] * (double)f->p.W_dec[f->code.latent[e] * d + j];
}

/* As if the dictionary had more latents, which have no entry: of many more, row by row at any
 * density. Whole tiles of them are not there to be touched. */
static void decode_wide(const fixture *f, int64_t n_latent, orth_product_scratch *scratch,
                        float *out)
{
    int64_t rows = (LATENTS + ORTH_TILE_ROWS - 1) / ORTH_TILE_ROWS * ORTH_TILE_ROWS;
    float *weights = calloc((size_t)(rows * WIDTH), sizeof *weights);
    orth_sae wide = f->sae;
    memcpy(weights, f->p.W_dec, LATENTS * WIDTH * sizeof *weights);
    wide.weights.W_dec = weights;
    wide.own.end = wide.own.begin + n_latent;
    ck_assert(orth_decode(&wide, &f->code, scratch, out) == ORTH_OK);
    free(weights);
}

static void check_decode(double share)
{
    fixture f = open_fixture(TOKENS, share);
    int64_t size = f.p.n_token * f.p.d;
    float *out = malloc((size_t)size * sizeof *out), *other = malloc((size_t)size * sizeof *out);
    double *wanted = calloc((size_t)size, sizeof *wanted);
    exact_decode(&f, wanted);
    f.sae.grid = &f.grid;
    memset(out, 0x7f, (size_t)size * sizeof *out);
    ck_assert(orth_decode(&f.sae, &f.code, &f.scratch, out) == ORTH_OK);
    ck_assert_double_lt(off(out, wanted, size), 2e-6);
    decode_wide(&f, LATENTS * MANY, &f.scratch, other);
    ck_assert(memcmp(out, other, (size_t)size * sizeof *out) == 0);
    decode_wide(&f, LATENTS * 4, &f.scratch, other);
    ck_assert(memcmp(out, other, (size_t)size * sizeof *out) == 0);
    free(out);
    free(other);
    free(wanted);
    close_fixture(&f);
}

static const double shares[] = {0.003, 0.01, 0.06, 0.18, 0.5, 0.9, 1.1};
enum { N_SHARE = sizeof shares / sizeof *shares };

START_TEST(decoding_at_every_density)
{
    for (int threads = 1; threads <= 3; threads += 2) {
        omp_set_num_threads(threads);
        for (int i = 0; i < N_SHARE; i++)
            check_decode(shares[i]);
    }
    omp_set_num_threads(1);
}
END_TEST

typedef struct block {
    float W_enc[LATENTS * WIDTH], W_dec[LATENTS * WIDTH], b_enc[LATENTS];
} block;

static void add_branches(fixture *f, const orth_branch branches[2], orth_range rows, block *out)
{
    memset(out, 0x7f, sizeof *out); /* what was there before does not matter */
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = rows.begin; i < rows.end; i += ORTH_CHUNK_LATENTS) {
        int64_t end = i + ORTH_CHUNK_LATENTS < rows.end ? i + ORTH_CHUNK_LATENTS : rows.end;
        int64_t at = (i - rows.begin) * WIDTH;
        orth_block_gradient mine = {out->W_enc + at, out->W_dec + at, out->b_enc + i - rows.begin};
        orth_gradient_chunk(&f->sae, &f->batch, branches, 2, (orth_range){i, end}, &f->scratch,
                            &mine);
    }
}

/* The gradient of two branches, the second without a pull and with its own upstream. */
static void compute_block(fixture *f, orth_range rows, block *out)
{
    orth_code_transposed columns = {0};
    f->sae.grid = &f->grid;
    ck_assert(orth_code_transpose(&f->code, f->p.n, &columns) == ORTH_OK);
    const orth_branch branches[2] = {{&columns, f->upstream, f->pull, NULL},
                                     {&columns, f->batch.x, NULL, NULL}};
    add_branches(f, branches, rows, out);
    orth_code_transposed_free(&columns);
}

typedef struct exact_block {
    double W_enc[LATENTS * WIDTH], W_dec[LATENTS * WIDTH], b_enc[LATENTS];
} exact_block;

static void add_entry(const fixture *f, int64_t t, int64_t i, double value, const float *upstream,
                      double pull, exact_block *out)
{
    int64_t d = f->p.d;
    double g = pull * value;
    for (int64_t j = 0; j < d; j++) {
        g += (double)upstream[t * d + j] * (double)f->p.W_dec[i * d + j];
        out->W_dec[i * d + j] += value * (double)upstream[t * d + j];
    }
    for (int64_t j = 0; j < d; j++)
        out->W_enc[i * d + j] += g * (double)f->p.x[t * d + j];
    out->b_enc[i] += g;
}

static void exact_gradient(const fixture *f, exact_block *out)
{
    memset(out, 0, sizeof *out);
    for (int64_t t = 0; t < f->p.n_token; t++)
        for (int64_t e = f->code.start[t]; e < f->code.start[t + 1]; e++) {
            double value = (double)f->code.value[e];
            add_entry(f, t, f->code.latent[e], value, f->upstream, (double)f->pull[t], out);
            add_entry(f, t, f->code.latent[e], value, f->p.x, 0.0, out);
        }
}

/* Also as if there were many more tokens, which have no entry: row by row at any density. The same
 * bits. */
static void check_gradient(double share)
{
    static block own, far;
    static exact_block exact;
    fixture f = open_fixture(TOKENS, share);
    exact_gradient(&f, &exact);
    compute_block(&f, (orth_range){0, LATENTS}, &own);
    f.batch.n_token *= MANY;
    compute_block(&f, (orth_range){0, LATENTS}, &far);
    ck_assert_double_lt(off(own.W_enc, exact.W_enc, LATENTS * WIDTH), 2e-6);
    ck_assert_double_lt(off(own.W_dec, exact.W_dec, LATENTS * WIDTH), 2e-6);
    ck_assert_double_lt(off(own.b_enc, exact.b_enc, LATENTS), 2e-6);
    ck_assert(memcmp(&own, &far, sizeof own) == 0);
    close_fixture(&f);
}

START_TEST(gradients_at_every_density)
{
    for (int i = 0; i < N_SHARE; i++)
        check_gradient(shares[i]);
}
END_TEST

/* A block of rows is the same bits on any number of threads, and in any chunks. */
START_TEST(gradients_do_not_depend_on_threads)
{
    static block one, other;
    for (int way = 0; way < 2; way++) {
        omp_set_num_threads(3); /* scratch for three */
        fixture f = open_fixture(TOKENS, way ? 0.3 : 0.02);
        omp_set_num_threads(1);
        compute_block(&f, (orth_range){0, LATENTS}, &one);
        for (int threads = 2; threads <= 3; threads++) {
            omp_set_num_threads(threads);
            compute_block(&f, (orth_range){0, LATENTS}, &other);
            ck_assert(memcmp(&one, &other, sizeof one) == 0);
        }
        omp_set_num_threads(1);
        compute_block(&f, (orth_range){7, LATENTS}, &other);
        size_t rest = LATENTS - 7;
        ck_assert(memcmp(one.W_enc + 7 * WIDTH, other.W_enc, rest * WIDTH * sizeof(float)) == 0);
        ck_assert(memcmp(one.W_dec + 7 * WIDTH, other.W_dec, rest * WIDTH * sizeof(float)) == 0);
        ck_assert(memcmp(one.b_enc + 7, other.b_enc, rest * sizeof(float)) == 0);
        close_fixture(&f);
    }
}
END_TEST

START_TEST(transposing_keeps_every_entry_in_order)
{
    for (int threads = 1; threads <= 4; threads++)
        for (int s = 0; s < 3; s++) {
            omp_set_num_threads(threads);
            fixture f = open_fixture(TOKENS, 0.4 * s);
            orth_code_transposed columns = {0};
            ck_assert(orth_code_transpose(&f.code, f.p.n, &columns) == ORTH_OK);
            int64_t e = 0, wrong = 0;
            for (int64_t i = 0; i < f.p.n; i++) {
                wrong += columns.start[i] != e;
                for (int64_t t = 0; t < f.p.n_token; t++)
                    for (int64_t c = f.code.start[t]; c < f.code.start[t + 1]; c++)
                        if (f.code.latent[c] == i) {
                            wrong += columns.token[e] != t;
                            wrong +=
                                memcmp(columns.value + e++, f.code.value + c, sizeof(float)) != 0;
                        }
            }
            ck_assert_int_eq(wrong, 0);
            ck_assert(columns.start[f.p.n] == e && e == orth_code_entries(&f.code));
            orth_code_transposed_free(&columns);
            close_fixture(&f);
        }
    omp_set_num_threads(1);
}
END_TEST

/* The hash is a sum over entries: of parts with shifted indices it is the whole's. */
START_TEST(the_hash_of_a_code_adds_up)
{
    fixture f = open_fixture(TOKENS, 0.1);
    orth_code *code = &f.code;
    uint64_t whole = orth_code_hash(code, 1000, 64), parts = 0;
    for (int64_t t = 0; t < code->n_token; t++) {
        orth_code one = *code;
        int64_t start[2] = {code->start[t], code->start[t + 1]};
        one.start = start;
        one.n_token = 1;
        parts += orth_code_hash(&one, 1000 + t, 64);
    }
    ck_assert(whole == parts);
    ck_assert(whole != orth_code_hash(code, 1001, 64));
    ck_assert(whole != orth_code_hash(code, 1000, 65));
    code->value[3] = nextafterf(code->value[3], 0.0f);
    ck_assert(whole != orth_code_hash(code, 1000, 64));
    close_fixture(&f);
}
END_TEST

/* The code's entries of the listed latents. */
static void keep_listed(const fixture *f, const orth_dead *dead, orth_code *out)
{
    bool listed[LATENTS] = {false};
    int64_t entries = 0;
    ck_assert(orth_code_begin(out, f->p.n_token) == ORTH_OK);
    ck_assert(orth_code_reserve(out, orth_code_entries(&f->code)) == ORTH_OK);
    for (int64_t i = 0; i < dead->n_own; i++)
        listed[dead->index[i]] = true;
    for (int64_t t = 0; t < f->p.n_token; t++) {
        for (int64_t e = f->code.start[t]; e < f->code.start[t + 1]; e++)
            if (listed[f->code.latent[e]]) {
                out->latent[entries] = f->code.latent[e];
                out->value[entries++] = f->code.value[e];
            }
        out->start[t + 1] = entries;
    }
    out->n_token = f->p.n_token;
}

/* Decoding, and the gradient of a first branch, of a code of the dead latents only, which are taken
 * out or stay; with the fixture's code as the second branch. */
static void compute_dead(fixture *f, const orth_dead *dead, int64_t capacity, float *decoded,
                         block *out)
{
    orth_code code = {0};
    orth_compact compact;
    orth_code_transposed columns = {0}, others = {0};
    keep_listed(f, dead, &code);
    ck_assert(orth_compact_create(&f->sae, &compact) == ORTH_OK);
    ck_assert_int_eq(compact.capacity, LATENTS / ORTH_COMPACT_SHARE);
    compact.capacity = capacity;
    orth_compact_begin(&f->sae, dead, &compact);
    ck_assert(compact.used == (dead->n_own <= capacity));
    ck_assert(orth_compact_decode(&f->sae, &compact, &code, &f->scratch, decoded) == ORTH_OK);
    ck_assert(orth_code_transpose(&code, orth_compact_latents(&f->sae, &compact), &columns) ==
              ORTH_OK);
    ck_assert(orth_code_transpose(&f->code, f->p.n, &others) == ORTH_OK);
    orth_branch branches[2] = {{&columns, f->upstream, NULL, NULL},
                               {&others, f->batch.x, f->pull, NULL}};
    orth_compact_gradient(&f->sae, &f->batch, &f->scratch, &compact, branches);
    ck_assert((branches[0].ready != NULL) == compact.used);
    add_branches(f, branches, (orth_range){0, LATENTS}, out);
    orth_code_free(&code);
    orth_code_transposed_free(&columns);
    orth_code_transposed_free(&others);
    orth_compact_free(&compact);
}

static void check_dead(double share, const orth_dead *dead)
{
    static block own, other;
    static float decoded[TOKENS * WIDTH], taken[TOKENS * WIDTH];
    fixture f = open_fixture(TOKENS, share);
    f.sae.grid = &f.grid;
    compute_dead(&f, dead, -1, decoded, &own);
    compute_dead(&f, dead, LATENTS / ORTH_COMPACT_SHARE, taken, &other);
    ck_assert(memcmp(decoded, taken, sizeof decoded) == 0);
    ck_assert(memcmp(&own, &other, sizeof own) == 0);
    close_fixture(&f);
}

/* Dead latents that are taken out of the dictionary change no bit: as many as there is room for,
 * first and last among them; one; none. */
START_TEST(dead_latents_taken_out)
{
    enum { MOST = LATENTS / ORTH_COMPACT_SHARE };
    uint32_t index[MOST];
    for (int i = 0; i < MOST; i++)
        index[i] = (uint32_t)(i * (LATENTS - 1) / (MOST - 1));
    const orth_dead lists[] = {{.index = index, .n_own = MOST},
                               {.index = index + 5, .n_own = 1},
                               {.index = index, .n_own = 0}};
    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        for (int i = 0; i < N_SHARE; i++)
            for (int l = 0; l < 3; l++)
                check_dead(shares[i], lists + l);
    }
    omp_set_num_threads(1);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("density");
    TCase *cases = tcase_create("density");
    tcase_set_timeout(cases, 0);
    tcase_add_test(cases, decoding_at_every_density);
    tcase_add_test(cases, gradients_at_every_density);
    tcase_add_test(cases, gradients_do_not_depend_on_threads);
    tcase_add_test(cases, transposing_keeps_every_entry_in_order);
    tcase_add_test(cases, the_hash_of_a_code_adds_up);
    tcase_add_test(cases, dead_latents_taken_out);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return orth_check_main(make);
}
