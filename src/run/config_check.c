#include "keys.h"

#include <stdlib.h>

/* Latents of a top-AFA dictionary: its sums of 40-bit integers must stay within 64 bits. */
#define TOPAFA_LATENT_MOST (INT64_C(1) << 24)

/* Where key `path` was given, or `other` when it was not; text in `out`. */
static const char *place_of(const orth_config_loader *loader, const char *path, const char *other,
                            char out[ORTH_PLACE_ROOM])
{
    orth_origin origin = loader->origins[orth_key_find(path)];
    if (!origin.source && other)
        origin = loader->origins[orth_key_find(other)];
    return orth_origin_text(origin, out);
}

static orth_status check_length(orth_config_loader *loader)
{
    orth_config *config = loader->config;
    char a[ORTH_PLACE_ROOM], b[ORTH_PLACE_ROOM];
    const char *names[3];
    int count = 0;
    if (config->run_steps)
        names[count++] = "run.steps";
    if (config->run_tokens)
        names[count++] = "run.tokens";
    if (config->run_epochs)
        names[count++] = "run.epochs";
    if (count > 1)
        return orth_fail(ORTH_ERR_USAGE,
                         "%s: %s and %s (%s) both give the length of the run; give one (or set "
                         "the other to none)",
                         place_of(loader, names[1], NULL, a), names[1], names[0],
                         place_of(loader, names[0], NULL, b));
    if (count == 0)
        config->run_epochs = 1;
    int64_t tokens;
    if (__builtin_mul_overflow(config->run_steps, config->recipe.batch, &tokens))
        return orth_fail(ORTH_ERR_USAGE,
                         "%s: run.steps: %lld steps of %lld tokens are more than 64 bits count; "
                         "give fewer",
                         place_of(loader, "run.steps", NULL, a), (long long)config->run_steps,
                         (long long)config->recipe.batch);
    return ORTH_OK;
}

static orth_status check_sizes(const orth_config_loader *loader)
{
    const orth_recipe *recipe = &loader->config->recipe;
    char place[ORTH_PLACE_ROOM];
    bool uses_k = orth_selection_uses_k(recipe->selection);
    int64_t n = recipe->n_latent;
    if (n > 0 && uses_k && recipe->k > n)
        return orth_fail(ORTH_ERR_USAGE,
                         "%s: model.k: %lld is out of range: larger than model.n_latent, which is "
                         "%lld; give an integer from 1 to %lld",
                         place_of(loader, "model.k", "model.n_latent", place), (long long)recipe->k,
                         (long long)n, (long long)n);
    if (recipe->multi_k && recipe->selection != ORTH_SELECT_TOPK)
        return orth_fail(
            ORTH_ERR_USAGE,
            "%s: loss.multi_k: %s has no k of each token that could be multiplied; set "
            "it to none or model.selection to topk",
            place_of(loader, "loss.multi_k", NULL, place), orth_selection_names[recipe->selection]);
    if (n > 0 && recipe->multi_k && recipe->k * recipe->multi_k > n)
        return orth_fail(ORTH_ERR_USAGE,
                         "%s: loss.multi_k: %lld times model.k (%lld) is out of range: larger than "
                         "model.n_latent, which is %lld; give a smaller factor",
                         place_of(loader, "loss.multi_k", NULL, place), (long long)recipe->multi_k,
                         (long long)recipe->k, (long long)n);
    if (recipe->selection == ORTH_SELECT_TOPAFA && n > TOPAFA_LATENT_MOST)
        return orth_fail(ORTH_ERR_USAGE,
                         "%s: model.n_latent: %lld is out of range: topafa allows at most 2^24; "
                         "give a smaller dictionary",
                         place_of(loader, "model.n_latent", NULL, place), (long long)n);
    return ORTH_OK;
}

orth_status orth_config_check(orth_config_loader *loader)
{
    const orth_config *config = loader->config;
    char place[ORTH_PLACE_ROOM];
    ORTH_TRY(check_length(loader));
    ORTH_TRY(check_sizes(loader));
    if (config->recipe.init == ORTH_INIT_FILE && !config->init_file)
        return orth_fail(ORTH_ERR_USAGE,
                         "%s: init.scheme: file needs init.file; name a file or folder",
                         place_of(loader, "init.scheme", NULL, place));
    if (config->eval_every && config->data_eval_files.count == 0)
        return orth_fail(ORTH_ERR_USAGE,
                         "%s: eval.every needs data.eval_files; name held-out files or set it to "
                         "none",
                         place_of(loader, "eval.every", NULL, place));
    return ORTH_OK;
}

orth_status orth_config_check_init(const orth_config *config)
{
    if (!config->init_file || config->recipe.init == ORTH_INIT_FILE)
        return ORTH_OK;
    return orth_fail(ORTH_ERR_USAGE,
                     "init.file: is given, but init.scheme is %s; set init.scheme: file",
                     orth_init_names[config->recipe.init]);
}

orth_status orth_config_require_training(const orth_config *config, const char *name)
{
    if (!config->run_dir)
        return orth_fail(ORTH_ERR_USAGE,
                         "%.1000s: run.dir is missing; give the run's folder in the file or by "
                         "--set run.dir=FOLDER",
                         name);
    if (config->data_files.count == 0)
        return orth_fail(ORTH_ERR_USAGE,
                         "%.1000s: data.files is missing; give activation files in the file or by "
                         "--set data.files=FILE",
                         name);
    return orth_config_check_init(config);
}
