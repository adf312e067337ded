/* How fast a node is: from the result of bench on one, else rough figures. */
#include "plan_parts.h"

#include <orthant/kern/screen.h>
#include <orthant/kern/table.h>

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

static const double GIGA = 1e9;

/* ---- rough rates ---- */

/* One core of the last years at 3 GHz, fp32, by kernel set. Sparse products reach less, and the
 * more the denser they are, whatever the set: they wait for memory. */
static double core_flops(const char *set)
{
    if (strncmp(set, "avx512", 6) == 0)
        return 80e9;
    return strcmp(set, "avx2") == 0 ? 45e9 : 1.5e9;
}

static orth_plan_curve rough_curve(double cores, double dense, double sparse)
{
    orth_plan_curve curve = {.count = 4};
    const double density[] = {0.001, 0.01, 0.1, 0.5}, share[] = {0.0, 0.1, 0.3, 0.8};
    for (int i = 0; i < curve.count; i++) {
        double rate = sparse + share[i] * dense;
        curve.density[i] = density[i];
        curve.flops[i] = cores * (rate < dense ? rate : dense);
    }
    return curve;
}

static void rough(int threads, orth_plan_rates *out)
{
    const char *set = orth_kernels_get()->name;
    double cores = (double)sysconf(_SC_NPROCESSORS_ONLN), flops = core_flops(set);
    /* A socket's memory does not grow with its cores: about 12 GB/s each up to a few of them. */
    double memory = 12.0 * GIGA * (cores < 16.0 ? cores : 16.0);
    if (cores < 1.0)
        cores = threads;
    *out = (orth_plan_rates){.rough = true,
                             .threads = cores,
                             .update = memory,
                             .elementwise = memory,
                             .exchange = 2.0 * GIGA,
                             .storage = 0.5 * GIGA,
                             .storage_verified = 0.3 * GIGA,
                             .select_topafa = 4e-9 / cores};
    out->encode[ORTH_ENCODE_FP32] = cores * flops;
    if (orth_kernels_get()->screen_bf16->faster)
        out->encode[ORTH_ENCODE_BF16] = 1.6 * cores * flops;
    if (orth_kernels_get()->screen_int8->faster)
        out->encode[ORTH_ENCODE_INT8] = 2.1 * cores * flops;
    out->decode = rough_curve(cores, flops, 6e9);
    out->gradient = rough_curve(cores, flops, 8e9);
    snprintf(out->why_rough, sizeof out->why_rough,
             "give --bench FILE for times that can be relied on");
    snprintf(out->machine, sizeof out->machine, "%s kernels, %.0f cores like most", set, cores);
}

/* ---- rates of bench ---- */

typedef struct bench_file {
    const char *path;
    const json_t *machine;
    const json_t *rates;
    const json_t *checkpoint;
    const json_t *root;
} bench_file;

static orth_status lacks(const bench_file *file, const char *what)
{
    return orth_fail(ORTH_ERR_DATA,
                     "%.500s: no %s, as a result of 'orthant bench --json' has it; run bench again "
                     "with this version",
                     file->path, what);
}

/* A positive number of the object, times `unit`; `fallback` (0: none) where it is missing or null.
 */
static orth_status number(const bench_file *file, const json_t *object, const char *key,
                          double unit, double fallback, double *out)
{
    const json_t *value = json_object_get(object, key);
    *out = fallback;
    if (!value || json_is_null(value))
        return fallback > 0.0 ? ORTH_OK : lacks(file, key);
    if (!json_is_number(value) || !(json_number_value(value) > 0.0))
        return lacks(file, key);
    *out = json_number_value(value) * unit;
    return ORTH_OK;
}

static orth_status curve(const bench_file *file, const char *key, orth_plan_curve *out)
{
    const json_t *points = json_object_get(file->rates, key);
    size_t count = json_array_size(points);
    out->count = 0;
    if (count == 0 || count > ORTH_PLAN_DENSITIES)
        return lacks(file, key);
    for (size_t i = 0; i < count; i++) {
        double density, flops;
        const json_t *point = json_array_get(points, i);
        ORTH_TRY(number(file, point, "density", 1.0, 0.0, &density));
        ORTH_TRY(number(file, point, "gflops", GIGA, 0.0, &flops));
        int at = out->count++;
        for (; at > 0 && out->density[at - 1] > density; at--) {
            out->density[at] = out->density[at - 1];
            out->flops[at] = out->flops[at - 1];
        }
        out->density[at] = density;
        out->flops[at] = flops;
    }
    return ORTH_OK;
}

/* Rates that this machine lacks are null: 0 here. */
static double optional(const bench_file *file, const char *key)
{
    double value = json_number_value(json_object_get(file->rates, key));
    return value > 0.0 ? value * GIGA : 0.0;
}

/* With --only most parts measure nothing that rates follow from. */
static orth_status check_complete(const bench_file *file)
{
    bool complete = json_is_number(json_object_get(file->rates, "update_gbs"));
    if (complete || !json_is_string(json_object_get(file->root, "only")))
        return ORTH_OK;
    return orth_fail(
        ORTH_ERR_DATA,
        "%.500s: has no rates: made with --only; run 'orthant bench --json' without it",
        file->path);
}

static void judge_sizes(const bench_file *file, orth_plan_rates *out)
{
    const json_t *options = json_object_get(file->root, "options");
    out->d_model = json_number_value(json_object_get(options, "d_model"));
    out->rough = json_is_true(json_object_get(file->root, "quick"));
    if (out->rough)
        snprintf(out->why_rough, sizeof out->why_rough, "measured with --quick");
}

static orth_status read_rates(const bench_file *file, orth_plan_rates *out)
{
    double cores, allreduce, sgemm, write;
    const char *isa = json_string_value(json_object_get(file->machine, "isa"));
    memset(out, 0, sizeof *out);
    ORTH_TRY(check_complete(file));
    ORTH_TRY(number(file, file->machine, "cores", 1.0, 0.0, &cores));
    ORTH_TRY(number(file, file->machine, "threads", 1.0, cores, &out->threads));
    ORTH_TRY(number(file, file->machine, "sgemm_gflops", GIGA, 0.0, &sgemm));
    ORTH_TRY(number(file, file->machine, "allreduce_gbs", GIGA, 2.0 * GIGA, &allreduce));
    ORTH_TRY(number(file, file->machine, "write_gbs", GIGA, 0.5 * GIGA, &write));
    ORTH_TRY(number(file, file->checkpoint, "checkpoint_gbs", GIGA, 0.8 * write, &out->storage));
    ORTH_TRY(number(file, file->checkpoint, "verified_gbs", GIGA, 0.5 * out->storage,
                    &out->storage_verified));
    /* The product alone runs at about the speed of the library's, where bench did not encode so. */
    ORTH_TRY(number(file, file->rates, "encode_fp32_gflops", GIGA, 0.9 * sgemm,
                    &out->encode[ORTH_ENCODE_FP32]));
    out->encode[ORTH_ENCODE_BF16] = optional(file, "encode_bf16_gflops");
    out->encode[ORTH_ENCODE_INT8] = optional(file, "encode_int8_gops");
    ORTH_TRY(number(file, file->rates, "select_topafa_ns_per_value", 1e-9, 1e-9 / cores,
                    &out->select_topafa));
    ORTH_TRY(number(file, file->rates, "update_gbs", GIGA, 0.0, &out->update));
    ORTH_TRY(number(file, file->rates, "elementwise_gbs", GIGA, 0.0, &out->elementwise));
    ORTH_TRY(number(file, file->rates, "exchange_gbs", GIGA, allreduce, &out->exchange));
    ORTH_TRY(curve(file, "decode", &out->decode));
    ORTH_TRY(curve(file, "gradient", &out->gradient));
    judge_sizes(file, out);
    snprintf(out->machine, sizeof out->machine, "%s kernels, %.0f cores, %.0f threads, %.80s",
             isa ? isa : "unnamed", cores, out->threads, file->path);
    return ORTH_OK;
}

orth_status orth_plan_rates_load(const char *path, int threads, orth_plan_rates *out)
{
    if (!path) {
        rough(threads, out);
        return ORTH_OK;
    }
    json_error_t error;
    if (access(path, R_OK) != 0)
        return orth_fail(ORTH_ERR_USAGE,
                         "--bench %.500s: cannot be read: %s; give the file that 'orthant bench "
                         "--json' wrote",
                         path, strerror(errno));
    json_t *root = json_load_file(path, 0, &error);
    bench_file file = {path, json_object_get(root, "machine"), json_object_get(root, "rates"),
                       json_object_get(root, "checkpoint"), root};
    orth_status status;
    if (!root)
        status = orth_fail(ORTH_ERR_DATA, "%.500s: line %d: %s; run 'orthant bench --json' again",
                           path, error.line, error.text);
    else if (!json_is_object(file.machine) || !json_is_object(file.rates))
        status = lacks(&file, "machine and rates");
    else
        status = read_rates(&file, out);
    json_decref(root);
    return status;
}

double orth_plan_curve_at(const orth_plan_curve *c, double density)
{
    int i = 0;
    if (c->count == 1 || density <= c->density[0])
        return c->flops[0];
    while (i < c->count - 2 && density > c->density[i + 1])
        i++;
    if (density >= c->density[i + 1])
        return c->flops[i + 1];
    double part = log(density / c->density[i]) / log(c->density[i + 1] / c->density[i]);
    return c->flops[i] * pow(c->flops[i + 1] / c->flops[i], part);
}
