#include "output.h"

#include <orthant/app/verb.h>

#include <orthant/base/log.h>
#include <orthant/eval/code_file.h>
#include <orthant/eval/feed.h>
#include <orthant/run/model_source.h>

#include <inttypes.h>
#include <limits.h>

static const orth_option options[] = {
    {"data", ORTH_OPTION_LIST, "FILE...", NULL,
     "activation files or globs, one table in the listed order"},
    {"out", ORTH_OPTION_OUTPUT, "C.h5", NULL,
     "the HDF5 file to write: indptr [rows + 1] int64, latent [nnz] int32 (int64 for very many "
     "latents), value [nnz] float32; attributes n_latent, d_model, model"},
    {"batch", ORTH_OPTION_TEXT, "N", NULL,
     "consecutive rows of a batch, the last one has what is left; default: the model's "
     "train.batch; matters to batchtopk, which selects the k N largest of each batch"},
    {0}};

/* A model at work on a table. */
typedef struct session {
    orth_model_source source;
    orth_grid grid;
    orth_sae sae;
    orth_dataset *dataset;
    orth_workspace workspace;
    orth_feed *feed;
    orth_code_file *codes;
    const char *out;
    int64_t batch;
} session;

static orth_status open_session(const orth_call *call, MPI_Comm world, session *s)
{
    int64_t n_override, n_file;
    const char *const *overrides = orth_call_overrides(call, &n_override);
    const char *const *files = orth_call_list(call, "data", &n_file);
    s->out = orth_call_text(call, "out");
    if (n_file == 0)
        return orth_fail(ORTH_ERR_USAGE, "encode: --data is missing; name activation files");
    if (!s->out)
        return orth_fail(ORTH_ERR_USAGE, "encode: --out is missing; name the file to write");
    ORTH_TRY(orth_call_integer(call, "batch", 1, INT_MAX, &s->batch));
    ORTH_TRY(
        orth_model_open(orth_call_argument(call, 0), overrides, n_override, world, &s->source));
    if (s->batch == 0)
        s->batch = s->source.config.recipe.batch;
    ORTH_TRY(orth_dataset_open(files, n_file, s->source.config.data_dataset, world, &s->dataset));
    ORTH_TRY(orth_output_check("out", s->out, s->source.path, s->dataset, world));
    if (s->batch > orth_dataset_rows(s->dataset))
        s->batch = orth_dataset_rows(s->dataset);
    ORTH_TRY(orth_model_grid(&s->source, s->batch, world, &s->grid));
    return orth_model_load(&s->source, &s->grid, &s->sae);
}

static orth_status prepare(session *s)
{
    bool skip = s->source.config.data_nonfinite == ORTH_NONFINITE_SKIP;
    ORTH_TRY(orth_feed_open(s->dataset, &s->sae, s->batch, skip, &s->feed));
    ORTH_TRY(orth_workspace_create(&s->sae, s->batch, false, &s->workspace));
    return orth_code_file_create(s->out, &s->sae, s->source.path, orth_dataset_rows(s->dataset),
                                 s->batch, &s->codes);
}

static orth_status encode_all(session *s)
{
    orth_feed_batch batch;
    for (;;) {
        ORTH_TRY(orth_feed_next(s->feed, &s->workspace, &batch));
        if (batch.n_token == 0)
            break;
        ORTH_TRY(orth_code_file_add(s->codes, &s->workspace, batch.first_row));
    }
    if (orth_feed_skipped(s->feed) > 0)
        orth_log_warning("encode: %" PRId64 " rows with NaN or Inf have empty codes",
                         orth_feed_skipped(s->feed));
    orth_log_info("%s: %" PRId64 " tokens, %" PRId64 " entries", s->out,
                  orth_dataset_rows(s->dataset), orth_code_file_entries(s->codes));
    return ORTH_OK;
}

static orth_status encode(const orth_call *call, MPI_Comm world)
{
    session s = {0};
    orth_status status = open_session(call, world, &s);
    if (status == ORTH_OK)
        status = prepare(&s);
    if (status == ORTH_OK)
        status = encode_all(&s);
    status = orth_code_file_close(s.codes, status);
    orth_feed_close(s.feed);
    orth_workspace_free(&s.workspace);
    orth_sae_free(&s.sae);
    orth_dataset_close(s.dataset);
    orth_grid_free(&s.grid);
    orth_model_close(&s.source);
    return status;
}

const orth_verb orth_verb_encode = {.name = "encode",
                                    .usage = "MODEL --data FILE... --out C.h5",
                                    .summary = "write the codes of activations as CSR",
                                    .min_argument = 1,
                                    .max_argument = 1,
                                    .takes_set = true,
                                    .options = options,
                                    .run = encode};
