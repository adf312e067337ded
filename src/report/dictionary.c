/* What the dictionary is like, and what linear maps reconstruct. */
#include "model_parts.h"

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
        json_array_append_new(values, orth_json_number(spectrum->eigenvalues[at]));
    }
    orth_json_set_integer(object, "d", spectrum->d);
    orth_json_set_integer(object, "rank", spectrum->rank);
    orth_json_set_number(object, "trace", spectrum->trace);
    orth_json_set_number(object, "condition", spectrum->condition);
    orth_json_set_number(object, "effective_rank", spectrum->effective_rank);
    orth_json_set_number(object, "participation", spectrum->participation);
    json_object_set_new(object, "index", index);
    json_object_set_new(object, "eigenvalues", values);
    return object;
}

static json_t *coherence_json(const orth_coherence *c, bool pairs)
{
    json_t *object = json_object();
    orth_json_set_number(object, "mean", c->mean);
    orth_json_set_number(object, "welch", c->welch);
    if (!pairs)
        return object;
    orth_json_set_number(object, "max", c->max);
    orth_json_set_number(object, "max_abs", c->max_abs);
    orth_json_set_number(object, "mean_abs", c->mean_abs);
    json_object_set_new(object, "max_pair",
                        json_pack("[I,I]", (json_int_t)c->max_pair[0], (json_int_t)c->max_pair[1]));
    return object;
}

void orth_report_geometry(const orth_geometry *g, json_t *model)
{
    if (!model)
        return;
    json_t *object = json_object();
    json_object_set_new(object, "stored", coherence_json(&g->stored, g->pairs));
    json_object_set_new(object, "unit", coherence_json(&g->unit, g->pairs));
    if (g->pairs)
        json_object_set_new(object, "cosines", orth_json_histogram(&g->cosines));
    orth_json_set_number(object, "norm_min", g->norm_min);
    orth_json_set_number(object, "norm_mean", g->norm_mean);
    orth_json_set_number(object, "norm_max", g->norm_max);
    orth_json_set_integer(object, "zero_rows", g->zero_rows);
    json_object_set_new(model, "geometry", object);
}

orth_status orth_report_frame(const orth_sae *sae, json_t *model)
{
    orth_spectrum frame = {0};
    ORTH_TRY(orth_frame_spectrum(sae, &frame));
    if (model)
        json_object_set_new(model, "frame", spectrum_json(&frame));
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
        json_array_append_new(fvu, orth_json_number(orth_pca_fvu(pca, r)));
        json_array_append_new(mse, orth_json_number(orth_pca_mse(pca, r)));
    }
    orth_json_set_integer(object, "tokens", pca->tokens);
    json_object_set_new(object, "covariance", spectrum_json(&pca->covariance));
    json_object_set_new(object, "rank", ranks);
    json_object_set_new(object, "fvu", fvu);
    json_object_set_new(object, "mse", mse);
    return object;
}

orth_status orth_report_pca(const orth_sae *sae, orth_dataset *dataset, bool skip, MPI_Comm world,
                            json_t *model)
{
    orth_pca pca = {0};
    ORTH_TRY(orth_pca_fit(dataset, NULL, sae, skip, world, &pca));
    if (model)
        json_object_set_new(model, "pca", pca_json(&pca));
    orth_pca_free(&pca);
    return ORTH_OK;
}
