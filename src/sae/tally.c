#include <orthant/sae/tally.h>

#include <orthant/base/memory.h>
#include <orthant/par/partition.h>

#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <string.h>

static const orth_exact_sum FULL = ~(orth_exact_sum)0;

/* Of a float's bits: the fraction, and by how much it is shifted to be in units of 2^-64. */
enum { FRACTION_BITS = 23, UNIT_SHIFT = 127 + FRACTION_BITS - 64, SUM_BITS = 128 };

orth_exact_sum orth_exact_add(orth_exact_sum a, orth_exact_sum b)
{
    return b > FULL - a ? FULL : a + b;
}

orth_exact_sum orth_exact_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    int exponent = (int)(bits >> FRACTION_BITS & 0xff);
    orth_exact_sum fraction = bits & ((1u << FRACTION_BITS) - 1);
    if (exponent > 0)
        fraction |= 1u << FRACTION_BITS;
    int shift = (exponent > 0 ? exponent : 1) - UNIT_SHIFT;
    if (shift > SUM_BITS - FRACTION_BITS - 1)
        return FULL;
    return shift >= 0 ? fraction << shift : shift > -FRACTION_BITS - 1 ? fraction >> -shift : 0;
}

double orth_exact_value(orth_exact_sum sum)
{
    return sum == FULL ? INFINITY : ldexp((double)sum, -64);
}

orth_status orth_tally_create(int64_t n_latent, int64_t examples, orth_tally *out)
{
    orth_tally tally = {.n_latent = n_latent, .examples = examples};
    orth_status status = ORTH_ALLOCATE(n_latent, "tallies of latents", &tally.entry);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(n_latent * examples, "examples of latents", &tally.example);
    if (status != ORTH_OK) {
        orth_tally_free(&tally);
        return status;
    }
    for (int64_t i = 0; i < n_latent * examples; i++)
        tally.example[i].row = -1;
    *out = tally;
    return ORTH_OK;
}

void orth_tally_free(orth_tally *tally)
{
    orth_free(tally->entry);
    orth_free(tally->example);
    memset(tally, 0, sizeof *tally);
}

static bool goes_before(orth_tally_example one, orth_tally_example other)
{
    if (other.row < 0 || one.value != other.value)
        return other.row < 0 || one.value > other.value;
    return one.row < other.row;
}

static void insert(orth_tally_example candidate, int64_t examples, orth_tally_example *list)
{
    int64_t place = examples - 1;
    if (examples == 0 || !goes_before(candidate, list[place]))
        return;
    for (; place > 0 && goes_before(candidate, list[place - 1]); place--)
        list[place] = list[place - 1];
    list[place] = candidate;
}

static void take(orth_tally *tally, int64_t latent, float value, int64_t row)
{
    orth_tally_entry *entry = tally->entry + latent;
    double wide = (double)value;
    entry->count++;
    entry->sum = orth_exact_add(entry->sum, orth_exact_of(value));
    entry->max = wide > entry->max ? wide : entry->max;
    insert((orth_tally_example){row, wide}, tally->examples,
           tally->example + latent * tally->examples);
}

void orth_tally_add(orth_tally *tally, const orth_code *code, int64_t first_row)
{
    int parts = omp_get_max_threads();
#pragma omp parallel for schedule(static, 1)
    for (int p = 0; p < parts; p++) {
        orth_range own = orth_partition(tally->n_latent, parts, p);
        for (int64_t t = 0; t < code->n_token; t++) {
            int64_t end = code->start[t + 1];
            int64_t e = orth_code_first(code, code->start[t], end, own.begin);
            for (; e < end && code->latent[e] < own.end; e++)
                take(tally, code->latent[e], code->value[e], first_row + t);
        }
    }
}

void orth_tally_merge(const orth_tally_entry *from, const orth_tally_example *from_examples,
                      int64_t examples, orth_tally_entry *entry, orth_tally_example *example)
{
    entry->count += from->count;
    entry->sum = orth_exact_add(entry->sum, from->sum);
    entry->max = from->max > entry->max ? from->max : entry->max;
    for (int64_t i = 0; i < examples && from_examples[i].row >= 0; i++)
        insert(from_examples[i], examples, example);
}
