#include <orthant/sae/code.h>

#include <orthant/base/memory.h>
#include <orthant/par/partition.h>

#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* Of a transposition: latents whose lists grow at a time, entries that a visit of a token should
 * find, tokens that are fetched ahead. */
enum { LEAST_BLOCK = 128, MOST_BLOCK = 4096, VISITED = 32, AHEAD = 8 };

static orth_status grow(void **array, int64_t count, int64_t size, const char *what)
{
    void *larger = orth_realloc(*array, (size_t)(count * size));
    if (!larger)
        return orth_fail(ORTH_ERR_ENVIRONMENT,
                         "%s: out of memory for %lld entries; use more ranks or a smaller batch",
                         what, (long long)count);
    *array = larger;
    return ORTH_OK;
}

int64_t orth_code_first(const orth_code *code, int64_t begin, int64_t end, int64_t latent)
{
    while (begin < end) {
        int64_t middle = begin + (end - begin) / 2;
        if (code->latent[middle] < latent)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
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

/* Scratch: counts of each thread's tokens, later a place for each token. */
static orth_status reserve_transposed(orth_code_transposed *out, int64_t n_latent, int64_t entries,
                                      int64_t places)
{
    if (n_latent > out->latent_capacity || !out->start) {
        ORTH_TRY(grow((void **)&out->start, n_latent + 1, sizeof *out->start, "transposed codes"));
        out->latent_capacity = n_latent;
    }
    if (places > out->place_capacity || !out->place) {
        ORTH_TRY(grow((void **)&out->place, places, sizeof *out->place, "transposed codes"));
        out->place_capacity = places;
    }
    if (entries > out->capacity || !out->token) {
        int64_t capacity = entries + entries / 4 + 1024;
        ORTH_TRY(grow((void **)&out->token, capacity, sizeof *out->token, "transposed codes"));
        ORTH_TRY(grow((void **)&out->value, capacity, sizeof *out->value, "transposed codes"));
        out->capacity = capacity;
    }
    return ORTH_OK;
}

/* Where each latent's entries begin. */
static void count_entries(const orth_code *code, int64_t n_latent, int64_t parts,
                          orth_code_transposed *out)
{
    const int64_t *start = code->start;
    int64_t n_token = code->n_token, place = 0;
    memset(out->place, 0, (size_t)(parts * n_latent) * sizeof *out->place);
#pragma omp parallel for schedule(static, 1)
    for (int64_t p = 0; p < parts; p++) {
        int64_t *count = out->place + p * n_latent;
        for (int64_t e = start[n_token * p / parts]; e < start[n_token * (p + 1) / parts]; e++)
            count[code->latent[e]]++;
    }
    for (int64_t i = 0; i < n_latent; i++) {
        out->start[i] = place;
        for (int64_t p = 0; p < parts; p++)
            place += out->place[p * n_latent + i];
    }
    out->start[n_latent] = place;
}

/* The first of [begin, end) that is not below `least` in an ascending array. */
static int64_t lower_bound(const uint32_t *values, int64_t begin, int64_t end, int64_t least)
{
    while (begin < end) {
        int64_t middle = begin + (end - begin) / 2;
        if ((int64_t)values[middle] < least)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

/* The first latent that begins at `entry` or later. */
static int64_t latent_at(const orth_code_transposed *columns, int64_t entry)
{
    int64_t begin = 0, end = columns->n_latent;
    while (begin < end) {
        int64_t middle = begin + (end - begin) / 2;
        if (columns->start[middle] < entry)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

/*
 * The entries of some latents, block by block of them: so few lists grow at a time that their ends
 * stay in the cache. at[t] walks through the entries of token t.
 */
static void fill_lists(const orth_code *code, orth_range latents, int64_t block, int64_t *at,
                       orth_code_transposed *out)
{
    int64_t to[MOST_BLOCK];
    for (int64_t t = 0; t < code->n_token; t++)
        at[t] = lower_bound(code->latent, code->start[t], code->start[t + 1], latents.begin);
    for (int64_t first = latents.begin; first < latents.end; first += block) {
        int64_t end = first + block < latents.end ? first + block : latents.end;
        memcpy(to, out->start + first, (size_t)(end - first) * sizeof *to);
        for (int64_t t = 0; t < code->n_token; t++) {
            if (t + AHEAD < code->n_token) {
                __builtin_prefetch(code->latent + at[t + AHEAD]);
                __builtin_prefetch(code->value + at[t + AHEAD]);
            }
            int64_t e = at[t];
            for (; e < code->start[t + 1] && code->latent[e] < end; e++) {
                int64_t place = to[code->latent[e] - first]++;
                out->token[place] = (uint32_t)t;
                out->value[place] = code->value[e];
            }
            at[t] = e;
        }
    }
}

orth_status orth_code_transpose(const orth_code *code, int64_t n_latent, orth_code_transposed *out)
{
    int parts = omp_get_max_threads();
    int64_t entries = orth_code_entries(code), n_token = code->n_token;
    /* Counts of more parts would cost more to add up than they save. */
    int64_t counted = entries / (4 * n_latent + 1) + 1;
    counted = counted < parts ? counted : parts;
    int64_t places = counted * n_latent > parts * n_token ? counted * n_latent : parts * n_token;
    ORTH_TRY(reserve_transposed(out, n_latent, entries, places + 1));
    out->n_latent = n_latent;
    count_entries(code, n_latent, counted, out);
    /* A visit of a token should find some entries. */
    int64_t block = entries > 0 ? VISITED * n_latent * n_token / entries : 1;
    block = block < LEAST_BLOCK ? LEAST_BLOCK : block > MOST_BLOCK ? MOST_BLOCK : block;
#pragma omp parallel for schedule(static, 1)
    for (int p = 0; p < parts; p++) {
        orth_range mine = {p == 0 ? 0 : latent_at(out, entries * p / parts),
                           p + 1 == parts ? n_latent : latent_at(out, entries * (p + 1) / parts)};
        fill_lists(code, mine, block, out->place + p * n_token, out);
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
