#include <orthant/sae/code.h>

#include <orthant/base/memory.h>

#include <omp.h>
#include <stdlib.h>
#include <string.h>

static orth_status grow(void **array, int64_t count, int64_t size, const char *what)
{
    void *larger = realloc(*array, (size_t)(count * size));
    if (!larger)
        return orth_fail(ORTH_ERR_ENVIRONMENT,
                         "%s: out of memory for %lld entries; use more ranks or a smaller batch",
                         what, (long long)count);
    *array = larger;
    return ORTH_OK;
}

orth_status orth_code_begin(orth_code *code, int64_t n_token)
{
    if (n_token > code->token_capacity || !code->start) {
        ORTH_TRY(grow((void **)&code->start, n_token + 1, sizeof *code->start, "codes"));
        code->token_capacity = n_token;
    }
    code->start[0] = 0;
    code->n_token = 0;
    return ORTH_OK;
}

/* A quarter more than needed: pages that stay untouched cost nothing, moves are rare. */
orth_status orth_code_reserve(orth_code *code, int64_t entries)
{
    if (entries <= code->capacity && code->latent)
        return ORTH_OK;
    int64_t capacity = entries + entries / 4 + 1024;
    ORTH_TRY(grow((void **)&code->latent, capacity, sizeof *code->latent, "codes"));
    ORTH_TRY(grow((void **)&code->value, capacity, sizeof *code->value, "codes"));
    code->capacity = capacity;
    return ORTH_OK;
}

static orth_status reserve_transposed(orth_code_transposed *out, int64_t n_latent, int64_t entries,
                                      int threads)
{
    if (n_latent > out->latent_capacity || !out->start) {
        ORTH_TRY(grow((void **)&out->start, n_latent + 1, sizeof *out->start, "transposed codes"));
        out->latent_capacity = n_latent;
    }
    if (threads * n_latent > out->place_capacity || !out->place) {
        int64_t count = threads * n_latent + 1;
        ORTH_TRY(grow((void **)&out->place, count, sizeof *out->place, "transposed codes"));
        out->place_capacity = count;
    }
    if (entries > out->capacity || !out->token) {
        int64_t capacity = entries + entries / 4 + 1024;
        ORTH_TRY(grow((void **)&out->token, capacity, sizeof *out->token, "transposed codes"));
        ORTH_TRY(grow((void **)&out->value, capacity, sizeof *out->value, "transposed codes"));
        out->capacity = capacity;
    }
    return ORTH_OK;
}

/* Where each part's entries of each latent begin: counts become places, latent after latent. */
static void counts_to_places(orth_code_transposed *out, int64_t n_latent, int parts)
{
    int64_t place = 0;
    for (int64_t i = 0; i < n_latent; i++) {
        out->start[i] = place;
        for (int p = 0; p < parts; p++) {
            int64_t count = out->place[p * n_latent + i];
            out->place[p * n_latent + i] = place;
            place += count;
        }
    }
    out->start[n_latent] = place;
}

orth_status orth_code_transpose(const orth_code *code, int64_t n_latent, orth_code_transposed *out)
{
    int parts = omp_get_max_threads();
    ORTH_TRY(reserve_transposed(out, n_latent, orth_code_entries(code), parts));
    out->n_latent = n_latent;
    memset(out->place, 0, (size_t)(parts * n_latent) * sizeof *out->place);
    const int64_t *start = code->start;
    int64_t n_token = code->n_token;
#pragma omp parallel for schedule(static, 1)
    for (int p = 0; p < parts; p++) {
        int64_t *count = out->place + p * n_latent;
        for (int64_t e = start[n_token * p / parts]; e < start[n_token * (p + 1) / parts]; e++)
            count[code->latent[e]]++;
    }
    counts_to_places(out, n_latent, parts);
#pragma omp parallel for schedule(static, 1)
    for (int p = 0; p < parts; p++) {
        int64_t *place = out->place + p * n_latent;
        for (int64_t t = n_token * p / parts; t < n_token * (p + 1) / parts; t++)
            for (int64_t e = start[t]; e < start[t + 1]; e++) {
                int64_t to = place[code->latent[e]]++;
                out->token[to] = (uint32_t)t;
                out->value[to] = code->value[e];
            }
    }
    return ORTH_OK;
}

/* The finaliser of MurmurHash3 (Appleby, public domain constants): every input bit matters. */
static uint64_t mix(uint64_t h)
{
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdULL;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53ULL;
    return h ^ h >> 33;
}

uint64_t orth_code_hash(const orth_code *code, int64_t first_token, int64_t first_latent)
{
    uint64_t sum = 0;
    for (int64_t t = 0; t < code->n_token; t++) {
        uint64_t token = mix((uint64_t)(first_token + t) + 0x9e3779b97f4a7c15ULL);
        for (int64_t e = code->start[t]; e < code->start[t + 1]; e++) {
            uint32_t bits;
            memcpy(&bits, code->value + e, sizeof bits);
            sum += mix(mix(token + (uint64_t)first_latent + code->latent[e]) + bits);
        }
    }
    return sum;
}

void orth_code_free(orth_code *code)
{
    free(code->start);
    free(code->latent);
    free(code->value);
    memset(code, 0, sizeof *code);
}

void orth_code_transposed_free(orth_code_transposed *code)
{
    free(code->start);
    free(code->token);
    free(code->value);
    free(code->place);
    memset(code, 0, sizeof *code);
}
