#include <orthant/app/verb.h>

#include <orthant/par/agree.h>
#include <orthant/run/config.h>
#include <orthant/run/trainer.h>

static const orth_option options[] = {{"resume", ORTH_OPTION_TEXT, "auto|never|PATH", "auto",
                                       "auto: the newest valid checkpoint in run.dir, else a fresh "
                                       "start; never: a fresh start, refused "
                                       "when there are checkpoints; or a checkpoint's path"},
                                      {0}};

/* Every rank reads the file; what they read must be the same. */
static orth_status load(const orth_call *call, orth_config *config, MPI_Comm world)
{
    int64_t n_override;
    const char *path = orth_call_argument(call, 0);
    const char *const *overrides = orth_call_overrides(call, &n_override);
    ORTH_TRY(orth_agree(world, orth_config_load(path, overrides, n_override, config)));
    ORTH_TRY(orth_agree(world, orth_config_require_training(config, path)));
    return orth_config_same(config, world);
}

static orth_status train(const orth_call *call, MPI_Comm world)
{
    orth_config config = {0};
    orth_status status = load(call, &config, world);
    if (status == ORTH_OK)
        status = orth_train(&config, orth_call_text(call, "resume"), orth_call_quiet(call), world);
    orth_config_free(&config);
    return status;
}

const orth_verb orth_verb_train = {.name = "train",
                                   .usage = "CONFIG.yaml",
                                   .summary = "train a sparse autoencoder as a configuration says",
                                   .min_argument = 1,
                                   .max_argument = 1,
                                   .takes_set = true,
                                   .stops_safely = true,
                                   .options = options,
                                   .help = orth_config_help,
                                   .run = train};
