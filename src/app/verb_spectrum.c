#include "output.h"

#include <orthant/app/verb.h>
#include <orthant/base/log.h>
#include <orthant/foreign/sae_folder.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/par/phase.h>
#include <orthant/run/checkpoint.h>
#include <orthant/run/dictionary_json.h>
#include <orthant/run/evaluate.h>
#include <orthant/run/json_value.h>
#include <orthant/run/model_source.h>

#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const orth_option options[] = {
    {"data", ORTH_OPTION_LIST, "FILE...", NULL,
     "with a MODEL: activations whose covariance and principal components are told, in the model's "
     "normalised input space, beside the model's own reconstruction"},
    {"fit", ORTH_OPTION_LIST, "FILE...", NULL,
     "other activations to fit the principal components to, so that those they are tested on are "
     "held out as they are for the model; default: the same"},
    {"json", ORTH_OPTION_OUTPUT, "FILE", NULL, "writes all figures; the keys are below"},
    {"skip-pairs", ORTH_OPTION_FLAG, NULL, NULL,
     "leaves out what takes all pairs of latents (max, mean_abs, histogram), whose cost grows with "
     "the square of n_latent; means and mean squares stay"},
    {"batch", ORTH_OPTION_TEXT, "N", NULL,
     "consecutive rows of a batch of the model; default: its train.batch"},
    {"dataset", ORTH_OPTION_TEXT, "NAME", NULL,
     "dataset of the activation files; default: the model's data.dataset, else activations"},
    {0}};

static void help(FILE *out)
{
    fprintf(
        out,
        "A MODEL is a run directory, a checkpoint or an exported folder; other files are DATA.\n"
        "\nKeys of --json (d = d_model, n = n_latent; w_i the rows of W_dec):\n"
        "  geometry  of a model: stored {...} of the products w_i . w_j of all pairs i != j, unit\n"
        "            {...} of the same rows divided by their lengths: max, mean, max_abs, "
        "mean_abs,\n"
        "            mean_square, welch (no n unit vectors have a smaller max_abs), max_pair [i, "
        "j],\n"
        "            max_abs_pair; unit.histogram {edges, counts} over the n (n - 1) / 2 pairs;\n"
        "            norm {min, mean, max} of |w_i|; zero_rows\n"
        "  frame     of a model: W_dec^T W_dec (d x d): eigenvalues [d] descending, trace, rank,\n"
        "            condition (null when rank < d), effective_rank (exp of the entropy of the\n"
        "            eigenvalues' shares), participation (ratio)\n"
        "  covariance  of activations (divisor: tokens): the same keys\n"
        "  pca       tokens, skipped (fitted), test_tokens, test_skipped, variance (of the "
        "tested,\n"
        "            summed over d), rank [0, 1, 2, 4 ... d], fvu [], mse [] of the best linear\n"
        "            reconstruction of each rank; with a model sae {l0, fvu, mse, rank (l0 "
        "rounded,\n"
        "            at most d), pca_fvu, pca_mse (at that rank)}\n");
}

typedef struct session {
    orth_model_source source; ///< of a model
    orth_grid grid;
    orth_sae sae;
    bool model;
    orth_dataset *data, *fit;
    const char *json_path; ///< NULL: none is wanted
    orth_json_file *json;  ///< rank 0
    orth_geometry geometry;
    orth_spectrum frame;
    orth_pca pca;
    orth_evaluation evaluation;
    double seconds;
} session;

/* ---- what is given ---- */

/* A folder is a model, and a file with the mark of a checkpoint or that stands for a folder. */
static orth_status is_model(const char *path, MPI_Comm world, bool *out)
{
    int rank, folder = 0;
    bool foreign = false;
    struct stat info;
    ORTH_MPI(MPI_Comm_rank(world, &rank));
    if (rank == 0)
        folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    ORTH_TRY(orth_broadcast(&folder, 1, MPI_INT, 0, world));
    ORTH_TRY(orth_sae_folder_recognise(path, world, &foreign));
    *out = folder || foreign;
    if (*out)
        return ORTH_OK;
    orth_status status = orth_checkpoint_recognise(path, world, out);
    if (status == ORTH_OK || status == ORTH_ERR_ENVIRONMENT)
        return status;
    /* A pattern, or no file: opening it as activations tells which. */
    orth_error_clear();
    return ORTH_OK;
}

static orth_status open_model(const orth_call *call, int64_t batch, MPI_Comm world, session *s)
{
    int64_t n_override;
    const char *const *overrides = orth_call_overrides(call, &n_override);
    if (orth_call_arguments(call) > 1)
        return orth_fail(ORTH_ERR_USAGE,
                         "spectrum: %s is a model and %s comes after it; give one model, and "
                         "activations after --data",
                         orth_call_argument(call, 0), orth_call_argument(call, 1));
    ORTH_TRY(
        orth_model_open(orth_call_argument(call, 0), overrides, n_override, world, &s->source));
    if (batch == 0)
        batch = s->source.config.recipe.batch;
    ORTH_TRY(orth_model_grid(&s->source, batch, world, &s->grid));
    return orth_model_load(&s->source, &s->grid, &s->sae);
}

static orth_status open_data(const orth_call *call, MPI_Comm world, session *s)
{
    int64_t n_data, n_fit;
    const char *const *data = orth_call_list(call, "data", &n_data);
    const char *const *fit = orth_call_list(call, "fit", &n_fit);
    const char *dataset = orth_call_text(call, "dataset");
    if (!dataset)
        dataset = s->model ? s->source.config.data_dataset : "activations";
    if (s->model && n_data == 0 && n_fit > 0)
        return orth_fail(ORTH_ERR_USAGE, "spectrum: --fit without --data: name the activations to "
                                         "test on too");
    if (s->model && n_data > 0)
        ORTH_TRY(orth_dataset_open(data, n_data, dataset, world, &s->data));
    if (!s->model) {
        int count = orth_call_arguments(call);
        const char *files[count];
        if (n_data > 0)
            return orth_fail(ORTH_ERR_USAGE,
                             "spectrum: --data goes with a model, and %s is none; name activations "
                             "before the options",
                             orth_call_argument(call, 0));
        for (int i = 0; i < count; i++)
            files[i] = orth_call_argument(call, i);
        ORTH_TRY(orth_dataset_open(files, count, dataset, world, &s->data));
    }
    if (n_fit > 0)
        ORTH_TRY(orth_dataset_open(fit, n_fit, dataset, world, &s->fit));
    return ORTH_OK;
}

static orth_status check_output(const session *s, MPI_Comm world)
{
    const char *model = s->model ? s->source.path : "";
    if (s->json_path && s->data)
        ORTH_TRY(orth_output_check("json", s->json_path, model, s->data, world));
    if (s->json_path && s->fit)
        ORTH_TRY(orth_output_check("json", s->json_path, model, s->fit, world));
    return ORTH_OK;
}

static orth_status open_session(const orth_call *call, MPI_Comm world, int64_t *batch, session *s)
{
    ORTH_TRY(orth_call_integer(call, "batch", 1, INT_MAX, batch));
    ORTH_TRY(is_model(orth_call_argument(call, 0), world, &s->model));
    if (s->model)
        ORTH_TRY(open_model(call, *batch, world, s));
    s->json_path = orth_call_text(call, "json");
    if (s->json_path)
        ORTH_TRY(orth_json_file_open(s->json_path, world, &s->json));
    ORTH_TRY(open_data(call, world, s));
    return check_output(s, world);
}

/* ---- what is found ---- */

static orth_status measure(const orth_call *call, int64_t batch, MPI_Comm world, session *s)
{
    bool skip = s->model && s->source.config.data_nonfinite == ORTH_NONFINITE_SKIP;
    orth_evaluation_options how = {.batch = batch, .skip = skip};
    if (how.batch == 0 && s->model)
        how.batch = s->source.config.recipe.batch;
    if (s->model) {
        ORTH_TRY(orth_geometry_measure(&s->sae, !orth_call_flag(call, "skip-pairs"), &s->geometry));
        ORTH_TRY(orth_frame_spectrum(&s->sae, &s->frame));
    }
    if (!s->data)
        return ORTH_OK;
    ORTH_TRY(orth_pca_fit(s->fit ? s->fit : s->data, s->fit ? s->data : NULL,
                          s->model ? &s->sae : NULL, skip, world, &s->pca));
    if (!s->model)
        return ORTH_OK;
    orth_log_info("spectrum: the model on %" PRId64 " tokens", orth_dataset_rows(s->data));
    return orth_evaluate(&s->sae, s->data, &how, &s->evaluation);
}

static int64_t rank_of(const session *s)
{
    int64_t rank = llround(s->evaluation.quality.l0), d = s->sae.d_model;
    return rank < d ? rank : d;
}

/* ---- as JSON ---- */

static json_t *sae_json(const session *s)
{
    json_t *object = json_object();
    int64_t rank = rank_of(s);
    orth_json_set_number(object, "l0", s->evaluation.quality.l0);
    orth_json_set_number(object, "fvu", s->evaluation.quality.fvu);
    orth_json_set_number(object, "mse", s->evaluation.quality.mse);
    orth_json_set_integer(object, "rank", rank);
    orth_json_set_number(object, "pca_fvu", orth_pca_fvu(&s->pca, rank));
    orth_json_set_number(object, "pca_mse", orth_pca_mse(&s->pca, rank));
    return object;
}

static json_t *session_json(const session *s)
{
    json_t *object = json_object();
    if (s->model) {
        orth_json_set_text(object, "model", s->source.path);
        json_object_set_new(object, "step", orth_json_step(s->sae.step));
        orth_json_set_integer(object, "n_latent", s->sae.recipe.n_latent);
        orth_json_set_integer(object, "d_model", s->sae.d_model);
        json_object_set_new(object, "geometry", orth_geometry_json(&s->geometry));
        json_object_set_new(object, "frame", orth_spectrum_json(&s->frame));
    } else {
        orth_json_set_integer(object, "d_model", s->pca.covariance.d);
    }
    if (s->data) {
        json_t *pca = orth_pca_json(&s->pca);
        if (s->model)
            json_object_set_new(pca, "sae", sae_json(s));
        json_object_set_new(object, "covariance", orth_spectrum_json(&s->pca.covariance));
        json_object_set_new(object, "pca", pca);
    }
    orth_json_set_number(object, "seconds", s->seconds);
    return object;
}

/* ---- as a table ---- */

static void print_coherence(const char *label, const orth_coherence *c, double mean_square)
{
    printf("%-20smean %.6g, mean square %.6g", label, c->mean, mean_square);
    if (!isnan(c->max))
        printf(", max %.6g (latents %" PRId64 ", %" PRId64 "), absolute: mean %.6g, max %.6g "
               "(%" PRId64 ", %" PRId64 ")",
               c->max, c->max_pair[0], c->max_pair[1], c->mean_abs, c->max_abs, c->max_abs_pair[0],
               c->max_abs_pair[1]);
    printf("\n");
}

static void print_spectrum(const char *label, const orth_spectrum *spectrum)
{
    printf("%-20slargest %.6g, smallest %.6g, condition %.6g, rank %" PRId64 " of %" PRId64
           ", effective rank %.6g, participation ratio %.6g\n",
           label, spectrum->eigenvalues[0], spectrum->eigenvalues[spectrum->d - 1],
           spectrum->condition, spectrum->rank, spectrum->d, spectrum->effective_rank,
           spectrum->participation);
}

static void print_model(const session *s)
{
    const orth_geometry *g = &s->geometry;
    char step[ORTH_STEP_ROOM];
    printf("model               %s\n", s->source.path);
    printf("                    %s%" PRId64 " latents of %" PRId64 "\n",
           orth_model_step_text(s->sae.step, step), s->sae.recipe.n_latent, s->sae.d_model);
    print_coherence("rows as stored", &g->stored, g->mean_square);
    print_coherence("unit rows", &g->unit, g->mean_square_unit);
    printf("%-20s%.6g, its square %.6g\n", "Welch bound", g->unit.welch,
           g->unit.welch * g->unit.welch);
    printf("%-20smin %.6g, mean %.6g, max %.6g, %" PRId64 " rows of zeros\n", "lengths of rows",
           g->norm_min, g->norm_mean, g->norm_max, g->zero_rows);
    print_spectrum("frame operator", &s->frame);
}

static void print_pca(const session *s)
{
    int64_t d = s->pca.covariance.d;
    printf("%-20s%" PRId64 " fitted, %" PRId64 " tested%s\n", "tokens", s->pca.tokens,
           s->pca.test_tokens, s->fit ? ", held out" : "");
    print_spectrum("covariance", &s->pca.covariance);
    printf("%-20s%12s %12s\n", "principal components", "fvu", "mse");
    for (int64_t r = 1; r <= d; r *= 2)
        printf("  rank %-13" PRId64 "%12.6g %12.6g\n", r, orth_pca_fvu(&s->pca, r),
               orth_pca_mse(&s->pca, r));
    if (!s->model)
        return;
    int64_t rank = rank_of(s);
    printf("  rank %-4" PRId64 "as l0    %12.6g %12.6g\n", rank, orth_pca_fvu(&s->pca, rank),
           orth_pca_mse(&s->pca, rank));
    printf("SAE, l0 %-12.6g%12.6g %12.6g\n", s->evaluation.quality.l0, s->evaluation.quality.fvu,
           s->evaluation.quality.mse);
}

static orth_status tell(const session *s, MPI_Comm world)
{
    int rank;
    ORTH_MPI(MPI_Comm_rank(world, &rank));
    if (rank == 0 && s->model)
        print_model(s);
    if (rank == 0 && s->data)
        print_pca(s);
    if (!s->json_path)
        return ORTH_OK;
    json_t *object = s->json ? session_json(s) : NULL;
    orth_status status = ORTH_OK;
    if (s->json && !object)
        status = orth_fail(ORTH_ERR_ENVIRONMENT, "spectrum: out of memory for its JSON");
    status = orth_agree(world, status);
    if (status == ORTH_OK)
        status = orth_json_file_write(s->json, object, world);
    json_decref(object);
    return status;
}

static orth_status spectrum(const orth_call *call, MPI_Comm world)
{
    session s = {0};
    int64_t batch = 0;
    double start = orth_now();
    orth_status status = open_session(call, world, &batch, &s);
    if (status == ORTH_OK)
        status = measure(call, batch, world, &s);
    s.seconds = orth_now() - start;
    if (status == ORTH_OK)
        status = tell(&s, world);
    orth_geometry_free(&s.geometry);
    orth_spectrum_free(&s.frame);
    orth_pca_free(&s.pca);
    orth_evaluation_free(&s.evaluation);
    orth_json_file_close(s.json);
    orth_dataset_close(s.data);
    orth_dataset_close(s.fit);
    orth_sae_free(&s.sae);
    orth_grid_free(&s.grid);
    orth_model_close(&s.source);
    return status;
}

const orth_verb orth_verb_spectrum = {
    .name = "spectrum",
    .usage = "MODEL|DATA... [--data FILE...] [--fit FILE...] [--json FILE]",
    .summary = "measure a dictionary's geometry and frame operator, and principal components of "
               "activations",
    .min_argument = 1,
    .max_argument = INT_MAX,
    .takes_set = true,
    .options = options,
    .help = help,
    .run = spectrum};
