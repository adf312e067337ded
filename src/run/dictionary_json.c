#include <orthant/run/dictionary_json.h>

#include <orthant/run/json_value.h>

#include <jansson.h>

static json_t *pair_json(const int64_t *pair)
{
    if (pair[0] < 0)
        return json_null();
    return json_pack("[I, I]", (json_int_t)pair[0], (json_int_t)pair[1]);
}

static json_t *coherence_json(const orth_coherence *coherence, double mean_square)
{
    json_t *object = json_object();
    orth_json_set_number(object, "max", coherence->max);
    orth_json_set_number(object, "mean", coherence->mean);
    orth_json_set_number(object, "max_abs", coherence->max_abs);
    orth_json_set_number(object, "mean_abs", coherence->mean_abs);
    orth_json_set_number(object, "mean_square", mean_square);
    orth_json_set_number(object, "welch", coherence->welch);
    json_object_set_new(object, "max_pair", pair_json(coherence->max_pair));
    json_object_set_new(object, "max_abs_pair", pair_json(coherence->max_abs_pair));
    return object;
}

json_t *orth_geometry_json(const orth_geometry *geometry)
{
    json_t *object = json_object(), *norm = json_object();
    json_t *unit = coherence_json(&geometry->unit, geometry->mean_square_unit);
    if (geometry->pairs)
        json_object_set_new(unit, "histogram", orth_json_histogram(&geometry->cosines));
    orth_json_set_number(norm, "min", geometry->norm_min);
    orth_json_set_number(norm, "mean", geometry->norm_mean);
    orth_json_set_number(norm, "max", geometry->norm_max);
    json_object_set_new(object, "stored", coherence_json(&geometry->stored, geometry->mean_square));
    json_object_set_new(object, "unit", unit);
    json_object_set_new(object, "norm", norm);
    orth_json_set_integer(object, "zero_rows", geometry->zero_rows);
    return object;
}

json_t *orth_spectrum_json(const orth_spectrum *spectrum)
{
    json_t *object = json_object();
    json_object_set_new(object, "eigenvalues",
                        orth_json_numbers(spectrum->eigenvalues, spectrum->d));
    orth_json_set_number(object, "trace", spectrum->trace);
    orth_json_set_integer(object, "rank", spectrum->rank);
    orth_json_set_number(object, "condition", spectrum->condition);
    orth_json_set_number(object, "effective_rank", spectrum->effective_rank);
    orth_json_set_number(object, "participation", spectrum->participation);
    return object;
}

json_t *orth_pca_json(const orth_pca *pca)
{
    json_t *object = json_object(), *rank = json_array(), *fvu = json_array(), *mse = json_array();
    int64_t d = pca->covariance.d;
    for (int64_t r = 0; r <= d;) {
        json_array_append_new(rank, json_integer((json_int_t)r));
        json_array_append_new(fvu, orth_json_number(orth_pca_fvu(pca, r)));
        json_array_append_new(mse, orth_json_number(orth_pca_mse(pca, r)));
        int64_t next = r == 0 ? 1 : 2 * r;
        r = next > d && r < d ? d : next;
    }
    orth_json_set_integer(object, "tokens", pca->tokens);
    orth_json_set_integer(object, "skipped", pca->skipped);
    orth_json_set_integer(object, "test_tokens", pca->test_tokens);
    orth_json_set_integer(object, "test_skipped", pca->test_skipped);
    orth_json_set_number(object, "variance", pca->variance);
    json_object_set_new(object, "rank", rank);
    json_object_set_new(object, "fvu", fvu);
    json_object_set_new(object, "mse", mse);
    return object;
}

json_t *orth_match_json(const orth_match *match, bool each)
{
    static const char *const names[] = {"p5", "p25", "p50", "p75", "p95"};
    json_t *object = json_object();
    orth_json_set_integer(object, "n_latent", match->n_latent);
    orth_json_set_number(object, "mean", match->mean);
    orth_json_set_number(object, "min", match->min);
    orth_json_set_number(object, "max", match->max);
    for (int q = 0; q < 5; q++)
        orth_json_set_number(object, names[q], match->quantiles[q]);
    orth_json_set_integer(object, "above_0.7", match->above_07);
    orth_json_set_integer(object, "above_0.9", match->above_09);
    json_object_set_new(object, "histogram", orth_json_histogram(&match->histogram));
    if (each && match->nearest) {
        json_t *nearest = json_array();
        for (int64_t i = 0; i < match->n_latent; i++)
            json_array_append_new(nearest, json_integer((json_int_t)match->nearest[i]));
        json_object_set_new(object, "nearest", nearest);
        json_object_set_new(object, "cosines", orth_json_numbers(match->cosines, match->n_latent));
    }
    return object;
}
