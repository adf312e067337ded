/* The latents that the page shows, column by column. */
#include "model_parts.h"

#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/alive.h>
#include <orthant/par/collective.h>

#include <stdlib.h>
#include <string.h>

/* A latent that may be shown. */
typedef struct candidate {
    int64_t latent, count;
} candidate;

/* The most frequent ones so far: those beyond `most` go when the room is full. */
typedef struct choice {
    candidate *candidate; ///< (2 most)
    int64_t count, most;
    int64_t dead, dense, total;
} choice;

static int more_frequent(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return (x->latent > y->latent) - (x->latent < y->latent);
}

static int by_latent(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    return (x->latent > y->latent) - (x->latent < y->latent);
}

static void cut(choice *c)
{
    qsort(c->candidate, (size_t)c->count, sizeof *c->candidate, more_frequent);
    if (c->count > c->most)
        c->count = c->most;
}

static void consider(choice *c, const orth_latents_slab *slab)
{
    for (int64_t i = 0; i < orth_range_size(slab->range); i++) {
        const orth_latent *latent = &slab->latent[i];
        if (c->count == 2 * c->most)
            cut(c);
        c->candidate[c->count++] = (candidate){slab->range.begin + i, latent->count};
        c->dead += latent->dead;
        c->dense += latent->dense;
        c->total++;
    }
}

/* The columns of the table. */
typedef struct columns {
    json_t *latent, *count, *frequency, *mean, *max, *examples, *nearest;
} columns;

static json_t *examples_of(const orth_latents_slab *slab, int64_t i)
{
    const orth_latent_example *example = &slab->example[i * slab->examples];
    json_t *flat = json_array();
    for (int64_t e = 0; e < slab->examples && example[e].row >= 0; e++) {
        json_array_append_new(flat, json_integer((json_int_t)example[e].row));
        json_array_append_new(flat, orth_json_number(example[e].value));
    }
    return flat;
}

static json_t *nearest_of(const orth_latents_slab *slab, int64_t i)
{
    json_t *flat = json_array();
    for (int64_t k = 0; k < slab->neighbours; k++) {
        const orth_latent_neighbour *near = &slab->neighbour[i * slab->neighbours + k];
        if (near->latent < 0)
            break;
        json_array_append_new(flat, json_integer((json_int_t)near->latent));
        json_array_append_new(flat, orth_json_number(near->cosine));
    }
    return flat;
}

static orth_status want_examples(const orth_latents_slab *slab, int64_t i,
                                 orth_report_tables *tables, int64_t table)
{
    const orth_latent_example *example = &slab->example[i * slab->examples];
    for (int64_t e = 0; e < slab->examples && example[e].row >= 0; e++)
        ORTH_TRY(orth_report_table_want(tables, table, example[e].row));
    return ORTH_OK;
}

static orth_status write_slab(const orth_latents_slab *slab, const choice *c, int64_t *next,
                              columns *out, orth_report_tables *tables, int64_t table)
{
    for (; *next < c->count && c->candidate[*next].latent < slab->range.end; ++*next) {
        int64_t i = c->candidate[*next].latent - slab->range.begin;
        const orth_latent *latent = &slab->latent[i];
        json_array_append_new(out->latent, json_integer((json_int_t)c->candidate[*next].latent));
        json_array_append_new(out->count, json_integer((json_int_t)latent->count));
        json_array_append_new(out->frequency, orth_json_number(latent->frequency));
        json_array_append_new(out->mean, orth_json_number(latent->mean));
        json_array_append_new(out->max, orth_json_number(latent->max));
        json_array_append_new(out->examples, examples_of(slab, i));
        json_array_append_new(out->nearest, nearest_of(slab, i));
        ORTH_TRY(want_examples(slab, i, tables, table));
    }
    return ORTH_OK;
}

/* Rank 0 looks at all latents twice, a slab at a time: to choose, and to write. */
static orth_status for_slabs(const orth_sae *sae, const orth_latents *latents, choice *c,
                             columns *out, orth_report_tables *tables, int64_t table)
{
    int64_t n = sae->recipe.n_latent, size = orth_latents_slab_size(latents), next = 0;
    orth_status status = ORTH_OK;
    for (int64_t begin = 0; begin < n; begin += size) {
        orth_latents_slab slab = {0};
        orth_range range = {begin, begin + size < n ? begin + size : n};
        ORTH_TRY(orth_latents_gather(latents, range, &slab));
        if (sae->grid->rank == 0 && status == ORTH_OK) {
            if (out)
                status = write_slab(&slab, c, &next, out, tables, table);
            else
                consider(c, &slab);
        }
        orth_latents_slab_free(&slab);
        orth_alive();
    }
    return orth_agree(sae->grid->world, status);
}

static void tell(const choice *c, const columns *out, bool has_text, json_t *model)
{
    json_t *object = json_object();
    orth_json_set_integer(object, "n_latent", c->total);
    orth_json_set_integer(object, "dead", c->dead);
    orth_json_set_integer(object, "dense", c->dense);
    orth_json_set_number(object, "dense_above", ORTH_LATENTS_DEFAULT.dense);
    json_object_set_new(object, "has_text", json_boolean(has_text));
    json_object_set_new(object, "latent", out->latent);
    json_object_set_new(object, "count", out->count);
    json_object_set_new(object, "frequency", out->frequency);
    json_object_set_new(object, "mean", out->mean);
    json_object_set_new(object, "max", out->max);
    json_object_set_new(object, "examples", out->examples);
    json_object_set_new(object, "nearest", out->nearest);
    json_object_set_new(model, "latents", object);
}

orth_status orth_report_latents(const orth_report_options *options, const orth_sae *sae,
                                const orth_latents *latents, orth_report_tables *tables,
                                int64_t table, json_t *model)
{
    int64_t n = sae->recipe.n_latent;
    choice c = {.most = options->latents < n ? options->latents : n};
    columns out = {0};
    orth_status status = ORTH_ALLOCATE(2 * c.most, "latents of the page", &c.candidate);
    status = orth_agree(sae->grid->world, status);
    if (status == ORTH_OK)
        status = for_slabs(sae, latents, &c, NULL, tables, table);
    if (status == ORTH_OK && model) {
        cut(&c);
        qsort(c.candidate, (size_t)c.count, sizeof *c.candidate, by_latent);
        out = (columns){json_array(), json_array(), json_array(), json_array(),
                        json_array(), json_array(), json_array()};
    }
    if (status == ORTH_OK)
        status = for_slabs(sae, latents, &c, &out, tables, table);
    if (model && out.latent)
        tell(&c, &out, orth_report_table_has_text(tables, table), model);
    orth_free(c.candidate);
    return status;
}
