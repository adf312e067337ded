#include "output.h"

#include <orthant/app/verb.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/run/json_file.h>
#include <orthant/run/plan.h>

#include <jansson.h>

static const orth_option options[] = {
    {"ranks", ORTH_OPTION_TEXT, "N", NULL, "ranks that the job starts; must be given"},
    {"ranks-per-node", ORTH_OPTION_TEXT, "N", NULL, "ranks of a node; default: all on one"},
    {"threads", ORTH_OPTION_TEXT, "N", NULL,
     "threads of a rank; default: a node's share, as the bench file or this machine has"},
    {"bench", ORTH_OPTION_TEXT, "FILE", NULL,
     "what 'orthant bench --json' wrote on one node; without it times are rough"},
    {"latency", ORTH_OPTION_TEXT, "US", "5", "microseconds of a message between nodes"},
    {"bandwidth", ORTH_OPTION_TEXT, "GB/S", "10", "network of a node, 10^9 bytes a second"},
    {"density", ORTH_OPTION_TEXT, "X", NULL,
     "topafa: share of the latents that a token selects; default: 0.18 for time, 0.5 for memory"},
    {"memory", ORTH_OPTION_TEXT, "GIB", NULL, "memory of a node; default: this machine's"},
    {"d-model", ORTH_OPTION_TEXT, "N", NULL, "values of a token, for data that is not there yet"},
    {"json", ORTH_OPTION_OUTPUT, "FILE", NULL, "writes all figures, in bytes and seconds"},
    {NULL, ORTH_OPTION_FLAG, NULL, NULL, NULL},
};

static orth_status read_options(const orth_call *call, orth_plan_options *out)
{
    int64_t ranks = 0, per_node = 0, threads = 0;
    double latency = 0.0, bandwidth = 0.0, memory = 0.0;
    if (!orth_call_text(call, "ranks"))
        return orth_fail(ORTH_ERR_USAGE, "plan: --ranks is missing; say how many ranks will run");
    *out = (orth_plan_options){.bench = orth_call_text(call, "bench")};
    ORTH_TRY(orth_call_integer(call, "ranks", 1, 1 << 16, &ranks));
    ORTH_TRY(orth_call_integer(call, "ranks-per-node", 1, 1 << 16, &per_node));
    ORTH_TRY(orth_call_integer(call, "threads", 1, 1 << 16, &threads));
    ORTH_TRY(orth_call_number(call, "latency", 0.0, 1e6, &latency));
    ORTH_TRY(orth_call_number(call, "bandwidth", 1e-3, 1e6, &bandwidth));
    ORTH_TRY(orth_call_number(call, "density", 1e-6, 1.0, &out->density));
    ORTH_TRY(orth_call_number(call, "memory", 1e-3, 1e9, &memory));
    ORTH_TRY(orth_call_integer(call, "d-model", 1, 1 << 30, &out->d_model));
    out->ranks = (int)ranks;
    out->ranks_per_node = (int)per_node;
    out->threads = (int)threads;
    out->latency = latency * 1e-6;
    out->bandwidth = bandwidth * 1e9;
    out->memory = memory * 1024.0 * 1024.0 * 1024.0;
    return ORTH_OK;
}

/* Every rank plans the same; rank 0 tells. */
static orth_status tell(const orth_plan *plan, orth_json_file *file, bool wanted, int rank,
                        MPI_Comm world)
{
    if (rank == 0)
        orth_plan_print(plan, stdout);
    if (!wanted)
        return ORTH_OK;
    json_t *object = orth_plan_json(plan);
    orth_status status = orth_json_file_write(file, object, world);
    json_decref(object);
    return status;
}

/* What the job will read is not written over either. */
static orth_status check_output(const orth_call *call, const orth_config *config, MPI_Comm world)
{
    const char *path = orth_call_text(call, "json");
    const orth_strings lists[] = {
        config->data_files,
        config->data_eval_files,
        {.items = (char **)(uintptr_t)&config->init_file, .count = config->init_file != NULL}};
    for (size_t i = 0; path && i < sizeof lists / sizeof *lists; i++)
        ORTH_TRY(orth_output_check_names("json", path, (const char *const *)lists[i].items,
                                         lists[i].count, world));
    return ORTH_OK;
}

static orth_status make_and_tell(const orth_call *call, orth_config *config, orth_json_file *file,
                                 MPI_Comm world)
{
    int64_t n_override;
    int rank;
    orth_plan plan = {0};
    orth_plan_options how;
    const char *const *overrides = orth_call_overrides(call, &n_override);
    ORTH_MPI(MPI_Comm_rank(world, &rank));
    orth_status status = read_options(call, &how);
    if (status == ORTH_OK)
        status = orth_config_load(orth_call_argument(call, 0), overrides, n_override, config);
    status = orth_agree(world, status);
    if (status == ORTH_OK)
        status = check_output(call, config, world);
    if (status == ORTH_OK)
        status = orth_config_check_init(config);
    if (status == ORTH_OK)
        status = orth_plan_make(config, &how, &plan);
    status = orth_agree(world, status);
    if (status == ORTH_OK)
        status = tell(&plan, file, orth_call_text(call, "json") != NULL, rank, world);
    /* What does not fit is told as well, and then refused. */
    if (status == ORTH_OK)
        status = orth_plan_check(&plan);
    orth_plan_free(&plan);
    return status;
}

static orth_status plan(const orth_call *call, MPI_Comm world)
{
    orth_config config = {0};
    orth_json_file *file = NULL;
    const char *path = orth_call_text(call, "json");
    if (path)
        ORTH_TRY(orth_json_file_open(path, world, &file));
    orth_status status = make_and_tell(call, &config, file, world);
    orth_json_file_close(file);
    orth_config_free(&config);
    return status;
}

const orth_verb orth_verb_plan = {
    .name = "plan",
    .usage = "CONFIG.yaml --ranks N [--bench FILE] [--ranks-per-node N] [--threads N]",
    .summary = "tell grid, memory, time and bytes of a training job before it is submitted",
    .min_argument = 1,
    .max_argument = 1,
    .takes_set = true,
    .options = options,
    .run = plan};
