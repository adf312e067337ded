/* What the dictionary is like, and what linear maps reconstruct. */
#include "model_parts.h"

#include <orthant/eval/geometry.h>
#include <orthant/eval/pca.h>
#include <orthant/eval/spectrum.h>

/* Spectra are curves of at most so many points; the first ones, where they fall, are all there. */
enum { MOST_POINTS = 2000, FIRST_POINTS = 500 };

/* The index of point i of `points` among `count` values. */
static int64_t place(int64_t i, int64_t points, int64_t count)
{
    if (count <= MOST_POINTS || i < FIRST_POINTS)
        return i;
    return FIRST_POINTS +
           (i - FIRST_POINTS) * (count - 1 - FIRST_POINTS) / (points - 1 - FIRST_POINTS);
}

static json_t *spectrum_json(const orth_spectrum *spectrum)
{
    json_t *object = json_object(), *index = json_array(), *values = json_array();
    int64_t points = spectrum->d < MOST_POINTS ? spectrum->d : MOST_POINTS;
    for (int64_t i = 0; i < points; i++) {
        int64_t at = place(i, points, spectrum->d);
        json_array_append_new(index, json_integer((json_int_t)at + 1));
        json_array_append_new(values, orth_report_number(spectrum->eigenvalues[at]));
    }
    orth_report_set_integer(object, "d", spectrum->d);
    orth_report_set_integer(object, "rank", spectrum->rank);
    orth_report_set_number(object, "trace", spectrum->trace);
    orth_report_set_number(object, "condition", spectrum->condition);
    orth_report_set_number(object, "effective_rank", spectrum->effective_rank);
    orth_report_set_number(object, "participation", spectrum->participation);
    orth_report_set(object, "index", index);
    orth_report_set(object, "eigenvalues", values);
    return object;
}

static json_t *coherence_json(const orth_coherence *c, bool pairs)
{
    json_t *object = json_object();
    orth_report_set_number(object, "mean", c->mean);
    orth_report_set_number(object, "welch", c->welch);
    if (!pairs)
        return object;
    orth_report_set_number(object, "max", c->max);
    orth_report_set_number(object, "max_abs", c->max_abs);
    orth_report_set_number(object, "mean_abs", c->mean_abs);
    orth_report_set(object, "max_pair",
                    json_pack("[I,I]", (json_int_t)c->max_pair[0], (json_int_t)c->max_pair[1]));
    return object;
}

static json_t *histogram_json(const orth_histogram *histogram)
{
    json_t *object = json_object(), *counts = json_array();
    for (int64_t i = 0; i < histogram->bins; i++)
        json_array_append_new(counts, json_integer((json_int_t)histogram->counts[i]));
    orth_report_set(object, "edges", orth_report_numbers(histogram->edges, histogram->bins + 1));
    orth_report_set(object, "counts", counts);
    return object;
}

static void tell_geometry(const orth_geometry *g, json_t *model)
{
    json_t *object = json_object();
    orth_report_set(object, "stored", coherence_json(&g->stored, g->pairs));
    orth_report_set(object, "unit", coherence_json(&g->unit, g->pairs));
    if (g->pairs)
        orth_report_set(object, "cosines", histogram_json(&g->cosines));
    orth_report_set_number(object, "norm_min", g->norm_min);
    orth_report_set_number(object, "norm_mean", g->norm_mean);
    orth_report_set_number(object, "norm_max", g->norm_max);
    orth_report_set_integer(object, "zero_rows", g->zero_rows);
    orth_report_set(model, "geometry", object);
}

orth_status orth_report_geometry(const orth_sae *sae, bool pairs, json_t *model)
{
    orth_geometry geometry = {0};
    ORTH_TRY(orth_geometry_measure(sae, pairs, &geometry));
    if (model)
        tell_geometry(&geometry, model);
    orth_geometry_free(&geometry);
    return ORTH_OK;
}

orth_status orth_report_frame(const orth_sae *sae, json_t *model)
{
    orth_spectrum frame = {0};
    ORTH_TRY(orth_frame_spectrum(sae, &frame));
    if (model)
        orth_report_set(model, "frame", spectrum_json(&frame));
    orth_spectrum_free(&frame);
    return ORTH_OK;
}

static json_t *pca_json(const orth_pca *pca)
{
    json_t *object = json_object(), *ranks = json_array(), *fvu = json_array(), *mse = json_array();
    int64_t d = pca->covariance.d, points = d + 1 < MOST_POINTS ? d + 1 : MOST_POINTS;
    for (int64_t i = 0; i < points; i++) {
        int64_t r = place(i, points, d + 1);
        json_array_append_new(ranks, json_integer((json_int_t)r));
        json_array_append_new(fvu, orth_report_number(orth_pca_fvu(pca, r)));
        json_array_append_new(mse, orth_report_number(orth_pca_mse(pca, r)));
    }
    orth_report_set_integer(object, "tokens", pca->tokens);
    orth_report_set(object, "covariance", spectrum_json(&pca->covariance));
    orth_report_set(object, "rank", ranks);
    orth_report_set(object, "fvu", fvu);
    orth_report_set(object, "mse", mse);
    return object;
}

orth_status orth_report_pca(const orth_sae *sae, orth_dataset *dataset, bool skip, MPI_Comm world,
                            json_t *model)
{
    orth_pca pca = {0};
    ORTH_TRY(orth_pca_fit(dataset, NULL, sae, skip, world, &pca));
    if (model)
        orth_report_set(model, "pca", pca_json(&pca));
    orth_pca_free(&pca);
    return ORTH_OK;
}
