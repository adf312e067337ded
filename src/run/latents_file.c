/* What was found of the latents, as JSON: rank 0 writes slab after slab. */
#include <orthant/run/latents_file.h>

#include <orthant/par/agree.h>
#include <orthant/par/alive.h>
#include <orthant/run/json_value.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static json_t *integer(int64_t value)
{
    return json_integer((json_int_t)value);
}

/* The tokens around an example. */
static void set_context(json_t *object, const orth_context *context)
{
    if (context->document >= 0)
        orth_json_set_integer(object, "document", context->document);
    if (context->count == 0)
        return;
    json_t *tokens = json_array(), *strings = json_array();
    for (int64_t i = 0; i < context->count; i++) {
        json_array_append_new(tokens, integer(context->token[i]));
        json_array_append_new(strings,
                              context->string[i] ? json_string(context->string[i]) : json_null());
    }
    orth_json_set_integer(object, "place", context->place);
    json_object_set_new(object, "tokens", tokens);
    json_object_set_new(object, "strings", strings);
}

static orth_status add_example(const orth_latents_text *text, const orth_latent_example *example,
                               json_t *array)
{
    int64_t row_in_file;
    json_t *object = json_object();
    const char *file = orth_dataset_locate(text->dataset, example->row, &row_in_file);
    json_array_append_new(array, object);
    orth_json_set_integer(object, "row", example->row);
    orth_json_set_number(object, "value", example->value);
    orth_json_set_text(object, "file", file);
    orth_json_set_integer(object, "row_in_file", row_in_file);
    if (!text->text)
        return ORTH_OK;
    orth_context context;
    ORTH_TRY(orth_text_context(text->text, example->row, text->before, text->after, &context));
    set_context(object, &context);
    return ORTH_OK;
}

static orth_status add_examples(const orth_latents_text *text, const orth_latents_slab *slab,
                                int64_t i, json_t *object)
{
    json_t *examples = json_array();
    json_object_set_new(object, "examples", examples);
    for (int64_t e = 0; e < slab->examples; e++) {
        const orth_latent_example *example = slab->example + i * slab->examples + e;
        if (example->row >= 0)
            ORTH_TRY(add_example(text, example, examples));
    }
    return ORTH_OK;
}

static json_t *describe(const orth_latents_slab *slab, int64_t i)
{
    const orth_latent *latent = slab->latent + i;
    json_t *object = json_object(), *neighbours = json_array();
    orth_json_set_integer(object, "latent", slab->range.begin + i);
    orth_json_set_integer(object, "count", latent->count);
    orth_json_set_number(object, "frequency", latent->frequency);
    orth_json_set_number(object, "sum", latent->sum);
    orth_json_set_number(object, "mean", latent->mean);
    orth_json_set_number(object, "max", latent->max);
    json_object_set_new(object, "dead", json_boolean(latent->dead));
    json_object_set_new(object, "dense", json_boolean(latent->dense));
    for (int64_t m = 0; m < slab->neighbours; m++) {
        const orth_latent_neighbour *near = slab->neighbour + i * slab->neighbours + m;
        if (near->latent >= 0)
            json_array_append_new(neighbours,
                                  json_pack("{s:I,s:o}", "latent", (json_int_t)near->latent,
                                            "cosine", orth_json_number(near->cosine)));
    }
    json_object_set_new(object, "neighbours", neighbours);
    return object;
}

static orth_status add_object(const json_t *object, orth_json_file *file)
{
    char *text = json_dumps(object, JSON_REAL_PRECISION(17));
    orth_status status =
        text ? orth_json_file_add(file, text)
             : orth_fail(ORTH_ERR_ENVIRONMENT, "out of memory for a latent's text; free memory");
    free(text);
    return status;
}

static orth_status write_slab(const orth_latents_text *text, const orth_latents_slab *slab,
                              orth_json_file *file)
{
    for (int64_t i = 0; i < orth_range_size(slab->range); i++) {
        json_t *object = describe(slab, i);
        orth_status status = add_examples(text, slab, i, object);
        if (status == ORTH_OK && slab->range.begin + i > 0)
            status = orth_json_file_add(file, ",\n");
        if (status == ORTH_OK)
            status = add_object(object, file);
        json_decref(object);
        ORTH_TRY(status);
        orth_alive();
    }
    return ORTH_OK;
}

/* What comes before the latents: an object, opened again for one more key. */
static orth_status write_head(const orth_sae *sae, const char *model, int64_t tokens, double dense,
                              orth_json_file *file)
{
    json_t *head =
        json_pack("{s:o,s:o,s:I,s:I,s:f}", "model", orth_json_text(model), "step",
                  orth_json_step(sae->step), "n_latent", (json_int_t)sae->recipe.n_latent, "tokens",
                  (json_int_t)tokens, "dense_above", dense);
    char *text = json_dumps(head, JSON_REAL_PRECISION(17));
    orth_status status = ORTH_OK;
    if (!text)
        status = orth_fail(ORTH_ERR_ENVIRONMENT, "out of memory for a latents file; free memory");
    if (status == ORTH_OK) {
        text[strlen(text) - 1] = '\0';
        status = orth_json_file_add(file, text);
    }
    if (status == ORTH_OK)
        status = orth_json_file_add(file, ", \"latents\": [\n");
    free(text);
    json_decref(head);
    return status;
}

orth_status orth_latents_write(const orth_latents *latents, const orth_sae *sae, const char *model,
                               int64_t tokens, const orth_latents_text *text, orth_json_file *file)
{
    MPI_Comm world = sae->grid->world;
    int64_t size = orth_latents_slab_size(latents), n = sae->recipe.n_latent;
    orth_status status = ORTH_OK;
    if (file)
        status = write_head(sae, model, tokens, orth_latents_dense(latents), file);
    for (int64_t begin = 0; begin < n; begin += size) {
        orth_latents_slab slab = {0};
        orth_range range = {begin, begin + size < n ? begin + size : n};
        ORTH_TRY(orth_agree(world, status));
        status = orth_latents_gather(latents, range, &slab);
        if (status == ORTH_OK && file)
            status = write_slab(text, &slab, file);
        orth_latents_slab_free(&slab);
    }
    if (file && status == ORTH_OK)
        status = orth_json_file_add(file, "\n]}\n");
    return orth_json_file_end(file, status, world);
}
