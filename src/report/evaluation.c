/* A model at work on held-out tokens. */
#include "model_parts.h"

#include <orthant/par/agree.h>
#include <orthant/run/evaluate.h>

/* The ZF plot of a page, where a few thousand points look like all of them. */
enum { MOST_POINTS = 4000 };

/* Keep evenly spaced points. */
static void thin(json_t *zf, const char *name)
{
    const json_t *all = json_object_get(zf, name);
    size_t count = json_array_size(all);
    if (count <= MOST_POINTS)
        return;
    json_t *some = json_array();
    for (size_t i = 0; i < MOST_POINTS; i++)
        json_array_append(some, json_array_get(all, i * count / MOST_POINTS));
    json_object_set_new(zf, name, some);
}

static orth_status tell(const orth_evaluation *evaluation, json_t *model)
{
    json_t *object = NULL;
    if (!model)
        return ORTH_OK;
    ORTH_TRY(orth_evaluation_json(evaluation, true, &object));
    json_t *zf = json_object_get(object, "zf");
    orth_json_set_integer(zf, "points", (int64_t)json_array_size(json_object_get(zf, "z")));
    thin(zf, "z");
    thin(zf, "f");
    json_object_set_new(model, "evaluation", object);
    return ORTH_OK;
}

/* What the page of latents costs beyond the evaluation: nearest ones for all pairs. */
static orth_status begin_latents(const orth_report_options *options, const orth_sae *sae,
                                 orth_latents **out)
{
    orth_latents_options how = ORTH_LATENTS_DEFAULT;
    how.examples = options->examples;
    if (!options->pairs)
        how.neighbours = 0;
    return options->latents > 0 ? orth_latents_create(sae, &how, out) : ORTH_OK;
}

/* The figures of the page that take the tokens one by one. */
static orth_status evaluate(const orth_report_options *options, const orth_sae *sae,
                            const orth_geometry *geometry, orth_evaluation_options *how,
                            orth_report_tables *tables, int64_t table, MPI_Comm world,
                            json_t *model)
{
    orth_evaluation evaluation = {0};
    orth_latents *latents = NULL;
    orth_status status = orth_agree(world, begin_latents(options, sae, &latents));
    how->eps = options->pairs;
    how->geometry = geometry;
    how->latents = latents;
    if (status == ORTH_OK)
        status = orth_evaluate(sae, orth_report_table(tables, table), how, &evaluation);
    if (status == ORTH_OK)
        status = orth_agree(world, tell(&evaluation, model));
    if (status == ORTH_OK && latents)
        status = orth_report_latents(options, sae, latents, tables, table, model);
    orth_latents_free(latents);
    orth_evaluation_free(&evaluation);
    return status;
}

static orth_status evaluate_loaded(const orth_report_options *options,
                                   const orth_model_source *source, const orth_sae *sae,
                                   orth_report_tables *tables, int64_t table, MPI_Comm world,
                                   json_t *model)
{
    orth_geometry geometry = {0};
    orth_evaluation_options how = {.batch = options->batch,
                                   .skip = source->config.data_nonfinite == ORTH_NONFINITE_SKIP};
    if (how.batch == 0)
        how.batch = source->config.recipe.batch;
    /* All pairs of latents are multiplied once, for the evaluation too. */
    ORTH_TRY(orth_geometry_measure(sae, options->pairs, &geometry));
    orth_status status = evaluate(options, sae, &geometry, &how, tables, table, world, model);
    orth_report_geometry(&geometry, model);
    orth_geometry_free(&geometry);
    if (status == ORTH_OK && options->spectra)
        status = orth_report_frame(sae, model);
    if (status == ORTH_OK && options->spectra)
        status = orth_report_pca(sae, orth_report_table(tables, table), how.skip, world, model);
    return status;
}

orth_status orth_report_evaluate(const orth_report_options *options,
                                 const orth_model_source *source, orth_report_tables *tables,
                                 int64_t table, MPI_Comm world, json_t *model)
{
    orth_grid grid = {0};
    orth_sae sae = {0};
    int64_t batch = options->batch > 0 ? options->batch : source->config.recipe.batch;
    orth_json_set_integer(model, "table", table);
    ORTH_TRY(orth_model_grid(source, batch, world, &grid));
    orth_status status = orth_model_load(source, &grid, &sae);
    if (status == ORTH_OK)
        status = evaluate_loaded(options, source, &sae, tables, table, world, model);
    orth_sae_free(&sae);
    orth_grid_free(&grid);
    return status;
}
