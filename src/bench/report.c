/* The report of `orthant bench` as a table and as JSON. */
#include "parts.h"

#include <orthant/par/agree.h>
#include <orthant/run/json_value.h>

#include <jansson.h>
#include <math.h>
#include <string.h>

static const double GIGA = 1e9;

/* ---- rates for planning ---- */

/* The first such step without AuxK; `encode` auto: whatever encodes. */
static const orth_bench_step *find_step(const orth_bench_report *report,
                                        orth_selection_kind selection, orth_encode_kind encode)
{
    for (int i = 0; i < report->n_step; i++)
        if (report->steps[i].selection == selection && !strstr(report->steps[i].name, "AuxK") &&
            (encode == ORTH_ENCODE_AUTO || report->steps[i].encode == encode))
            return &report->steps[i];
    return NULL;
}

static double entries_of(const orth_bench_step *step)
{
    return step->density * (double)step->n_latent * (double)step->batch;
}

static double values_of(const orth_bench_step *step)
{
    return (double)step->n_latent * (double)step->batch;
}

/* Operations of the encoder's product a second, selection included; NaN without such a step. */
static double encode_rate(const orth_bench_report *report, orth_encode_kind encode)
{
    const orth_bench_step *step = find_step(report, ORTH_SELECT_TOPK, encode);
    if (!step)
        return NAN;
    return 2.0 * values_of(step) * (double)step->d_model /
           (step->phase[ORTH_PHASE_ENCODE] + step->phase[ORTH_PHASE_SELECT]);
}

static double select_time(const orth_bench_report *report, orth_selection_kind selection)
{
    const orth_bench_step *step = find_step(report, selection, ORTH_ENCODE_AUTO);
    return step ? step->phase[ORTH_PHASE_SELECT] * GIGA / values_of(step) : NAN;
}

/* The token groups share the rows among them, */
static double update_rate(const orth_bench_report *report)
{
    const orth_bench_step *step = find_step(report, ORTH_SELECT_TOPK, ORTH_ENCODE_AUTO);
    if (!step)
        return NAN;
    return 48.0 * (double)step->n_latent * (double)step->d_model / step->phase[ORTH_PHASE_UPDATE];
}

/* and the ranks of a group its tokens. */
static double elementwise_rate(const orth_bench_report *report)
{
    const orth_bench_step *step = find_step(report, ORTH_SELECT_TOPK, ORTH_ENCODE_AUTO);
    if (!step)
        return NAN;
    return 32.0 * (double)step->batch * (double)step->d_model /
           (step->phase[ORTH_PHASE_EXCHANGE] + step->phase[ORTH_PHASE_LOSS] +
            step->phase[ORTH_PHASE_OTHER]);
}

/* ---- JSON ---- */

static json_t *positive(double value)
{
    return value > 0.0 ? orth_json_number(value) : json_null();
}

static json_t *machine_object(const orth_bench_report *r)
{
    return json_pack("{s:I,s:I,s:i,s:s,s:s,s:s,s:s,s:s,s:o,s:o,s:o,s:o,s:o,s:o}", "cores",
                     (json_int_t)r->cores, "threads", (json_int_t)r->threads, "ranks", r->ranks,
                     "isa", r->isa, "blas", r->blas, "sgemm", r->sgemm, "bf16", r->bf16, "int8",
                     r->int8, "sgemm_gflops", positive(r->limit[ORTH_TRIAL_FP32] / GIGA),
                     "bf16_gflops", positive(r->limit[ORTH_TRIAL_BF16] / GIGA), "int8_gops",
                     positive(r->limit[ORTH_TRIAL_INT8] / GIGA), "triad_gbs",
                     positive(r->limit[ORTH_TRIAL_MEMORY] / GIGA), "allreduce_gbs",
                     orth_json_number(r->allreduce / GIGA), "write_gbs",
                     orth_json_number(r->write / GIGA));
}

static json_t *kernel_array(const orth_bench_report *r)
{
    json_t *array = json_array();
    for (int i = 0; i < r->n_kernel; i++) {
        const orth_bench_kernel *k = &r->kernels[i];
        json_array_append_new(array, json_pack("{s:s,s:o,s:o}", "name", k->name,
                                               k->bytes ? "gbs" : "gflops",
                                               orth_json_number(k->rate / GIGA), "of_limit",
                                               orth_json_number(k->of_limit)));
    }
    return array;
}

/* `operations`: of each entry and dimension. */
static json_t *sparse_array(const orth_bench_report *r, orth_phase phase, double operations)
{
    json_t *array = json_array();
    for (int i = 0; i < r->n_step; i++) {
        const orth_bench_step *step = &r->steps[i];
        bool again = step->selection == ORTH_SELECT_TOPK &&
                     step != find_step(r, ORTH_SELECT_TOPK, ORTH_ENCODE_AUTO);
        if (again || strstr(step->name, "AuxK"))
            continue;
        double rate = operations * entries_of(step) * (double)step->d_model / step->phase[phase];
        json_array_append_new(array,
                              json_pack("{s:o,s:o}", "density", orth_json_number(step->density),
                                        "gflops", orth_json_number(rate / GIGA)));
    }
    return array;
}

static json_t *rates_object(const orth_bench_report *r)
{
    return json_pack(
        "{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "encode_fp32_gflops",
        orth_json_number(encode_rate(r, ORTH_ENCODE_FP32) / GIGA), "encode_bf16_gflops",
        orth_json_number(encode_rate(r, ORTH_ENCODE_BF16) / GIGA), "encode_int8_gops",
        orth_json_number(encode_rate(r, ORTH_ENCODE_INT8) / GIGA), "select_topk_ns_per_value",
        orth_json_number(select_time(r, ORTH_SELECT_TOPK)), "select_topafa_ns_per_value",
        orth_json_number(select_time(r, ORTH_SELECT_TOPAFA)), "decode",
        sparse_array(r, ORTH_PHASE_DECODE, 2.0), "gradient",
        sparse_array(r, ORTH_PHASE_GRADIENT, 6.0), "update_gbs",
        orth_json_number(update_rate(r) / GIGA), "elementwise_gbs",
        orth_json_number(elementwise_rate(r) / GIGA), "exchange_gbs",
        orth_json_number(r->exchange / GIGA));
}

static json_t *phase_object(const double *seconds)
{
    json_t *object = json_object();
    for (int p = 0; p < ORTH_PHASE_COUNT; p++)
        if (seconds[p] > 0.0)
            json_object_set_new(object, orth_phase_name((orth_phase)p), json_real(seconds[p]));
    return object;
}

static json_t *step_array(const orth_bench_report *r)
{
    json_t *array = json_array();
    for (int i = 0; i < r->n_step; i++) {
        const orth_bench_step *s = &r->steps[i];
        json_array_append_new(
            array,
            json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:I}", "name",
                      s->name, "selection", orth_selection_names[s->selection], "encode",
                      orth_encode_names[s->encode], "batch", (json_int_t)s->batch, "d_model",
                      (json_int_t)s->d_model, "n_latent", (json_int_t)s->n_latent, "density",
                      orth_json_number(s->density), "seconds", orth_json_number(s->seconds), "in_S",
                      orth_json_number(s->in_S), "tokens_per_s", orth_json_number(s->tokens_per_s),
                      "evaluation_seconds", orth_json_number(s->evaluation_seconds),
                      "evaluation_of_encode", orth_json_number(s->evaluation_of_encode), "phase",
                      phase_object(s->phase), "bytes_moved", orth_json_number(s->bytes_moved),
                      "peak_memory", (json_int_t)s->peak_memory));
    }
    return array;
}

static json_t *series_array(const orth_bench_report *r)
{
    json_t *array = json_array();
    for (int i = 0; i < r->n_series; i++) {
        const orth_bench_doubling *s = &r->series[i];
        json_array_append_new(
            array, json_pack("{s:s,s:I,s:I,s:I,s:o,s:o,s:o}", "doubled", s->name, "batch",
                             (json_int_t)s->batch, "d_model", (json_int_t)s->d_model, "n_latent",
                             (json_int_t)s->n_latent, "base_seconds",
                             orth_json_number(s->base_seconds), "seconds",
                             orth_json_number(s->seconds), "ratio", orth_json_number(s->ratio)));
    }
    return array;
}

static json_t *options_object(const orth_bench_options *o)
{
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "batch", (json_int_t)o->batch, "d_model",
                     (json_int_t)o->d_model, "n_latent", (json_int_t)o->n_latent, "k",
                     (json_int_t)o->k, "n_group", (json_int_t)o->n_group, "n_shard",
                     (json_int_t)o->n_shard, "repetitions", (json_int_t)o->repetitions);
}

static json_t *report_object(const orth_bench_report *r)
{
    json_t *reader = json_pack("{s:o,s:o,s:o}", "warm_gbs", orth_json_number(r->reader_warm / GIGA),
                               "cold_gbs", orth_json_number(r->reader_cold / GIGA), "of_step",
                               orth_json_number(r->reader_of_step));
    json_t *checkpoint = json_pack(
        "{s:I,s:o,s:o,s:o,s:o}", "bytes", (json_int_t)r->checkpoint_bytes, "write_gbs",
        orth_json_number(r->write / GIGA), "checkpoint_gbs", orth_json_number(r->checkpoint / GIGA),
        "verified_gbs", orth_json_number(r->checkpoint_verified / GIGA), "of_write",
        orth_json_number(r->checkpoint_of_write));
    return json_pack("{s:i,s:s,s:b,s:s?,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "version", 1,
                     "orthant", ORTH_VERSION, "quick", r->options.quick, "only", r->options.only,
                     "options", options_object(&r->options), "machine", machine_object(r),
                     "yardstick_s", orth_json_number(r->yardstick), "kernels", kernel_array(r),
                     "rates", rates_object(r), "steps", step_array(r), "series", series_array(r),
                     "reader", reader, "checkpoint", checkpoint);
}

orth_status orth_bench_write(const orth_bench_report *report, orth_json_file *file, MPI_Comm world)
{
    json_t *object = report_object(report);
    orth_status status = orth_agree(
        world,
        object ? ORTH_OK : orth_fail(ORTH_ERR_ENVIRONMENT, "bench: out of memory; free some"));
    if (status == ORTH_OK)
        status = orth_json_file_write(file, object, world);
    json_decref(object);
    return status;
}

/* ---- text ---- */

static void print_limit(FILE *out, const char *what, double rate, const char *unit,
                        const char *name)
{
    if (rate > 0.0)
        fprintf(out, "  %-28s %10.1f %-8s %s\n", what, rate / GIGA, unit, name);
}

static void print_machine(const orth_bench_report *r, FILE *out)
{
    fprintf(out, "orthant %s: %lld cores, %d rank%s as %lld groups x %lld shards, %lld threads\n",
            ORTH_VERSION, (long long)r->cores, r->ranks, r->ranks == 1 ? "" : "s",
            (long long)r->options.n_group, (long long)r->options.n_shard, (long long)r->threads);
    fprintf(out, "kernels %s\nBLAS %s\n\nThe machine's limits\n", r->isa, r->blas);
    print_limit(out, "fp32 product", r->limit[ORTH_TRIAL_FP32], "GFLOP/s", r->sgemm);
    print_limit(out, "bf16 product", r->limit[ORTH_TRIAL_BF16], "GFLOP/s", r->bf16);
    print_limit(out, "int8 product", r->limit[ORTH_TRIAL_INT8], "GOP/s", r->int8);
    print_limit(out, "memory, triad", r->limit[ORTH_TRIAL_MEMORY], "GB/s", "");
    print_limit(out, "sum over all ranks", r->allreduce, "GB/s", "");
    print_limit(out, "sequential write, fsync", r->write, "GB/s", "");
    fprintf(out, "\nS = %.4f s: the product %lld x %lld x %lld (batch, d_model, n_latent) in %s\n",
            r->yardstick, (long long)r->options.batch, (long long)r->options.d_model,
            (long long)r->options.n_latent, r->sgemm);
}

static void print_kernels(const orth_bench_report *r, FILE *out)
{
    if (r->n_kernel > 0)
        fprintf(out, "\nKernels                                         of the limit\n");
    for (int i = 0; i < r->n_kernel; i++) {
        const orth_bench_kernel *k = &r->kernels[i];
        fprintf(out, "  %-28s %10.1f %-8s %5.2f\n", k->name, k->rate / GIGA,
                k->bytes ? "GB/s" : "GFLOP/s", k->of_limit);
    }
}

static void print_steps(const orth_bench_report *r, FILE *out)
{
    if (r->n_step > 0)
        fprintf(out, "\nOne step                encode  density        s    in S  tokens/s   GB "
                     "moved  peak MiB  phases in ms\n");
    for (int i = 0; i < r->n_step; i++) {
        const orth_bench_step *s = &r->steps[i];
        fprintf(out, "  %-21s %-6s %7.2f%% %8.4f %7.2f %9.0f %10.2f %9.0f ", s->name,
                orth_encode_names[s->encode], 100.0 * s->density, s->seconds, s->in_S,
                s->tokens_per_s, s->bytes_moved / GIGA, (double)s->peak_memory / 1048576.0);
        for (int p = 0; p < ORTH_PHASE_COUNT; p++)
            if (s->phase[p] >= 0.001 * s->seconds)
                fprintf(out, " %s %.1f", orth_phase_name((orth_phase)p), 1e3 * s->phase[p]);
        fprintf(out, "\n");
    }
}

/* What evaluation adds to encoding. */
static void print_evaluation(const orth_bench_report *r, FILE *out)
{
    if (r->n_step > 0)
        fprintf(out, "\nEvaluation of a batch   encode        s  tokens/s  of the encode rate\n");
    for (int i = 0; i < r->n_step; i++) {
        const orth_bench_step *s = &r->steps[i];
        fprintf(out, "  %-21s %-6s %8.4f %9.0f  %.0f %%\n", s->name, orth_encode_names[s->encode],
                s->evaluation_seconds, (double)s->batch / s->evaluation_seconds,
                100.0 * s->evaluation_of_encode);
    }
}

static void print_files(const orth_bench_report *r, FILE *out)
{
    if (isfinite(r->reader_warm)) {
        fprintf(out, "\nReader: %.2f GB/s with a warm cache, %.2f GB/s after it was dropped",
                r->reader_warm / GIGA, r->reader_cold / GIGA);
        if (isfinite(r->reader_of_step))
            fprintf(out, "; %.0f times what the fastest step consumes", r->reader_of_step);
        fprintf(out, "\n");
    }
    if (isfinite(r->checkpoint))
        fprintf(out,
                "Checkpoint of %.1f MiB: %.2f GB/s, %.0f %% of plain writes (%.2f GB/s); read "
                "again and compared %.2f GB/s\n",
                (double)r->checkpoint_bytes / 1048576.0, r->checkpoint / GIGA,
                100.0 * r->checkpoint_of_write, r->write / GIGA, r->checkpoint_verified / GIGA);
}

void orth_bench_print(const orth_bench_report *r, FILE *out)
{
    print_machine(r, out);
    print_kernels(r, out);
    print_steps(r, out);
    print_evaluation(r, out);
    if (r->n_series > 0)
        fprintf(out, "\nDoubled                    from s      to s    ratio\n");
    for (int i = 0; i < r->n_series; i++)
        fprintf(out, "  %-21s %9.4f %9.4f %8.2f\n", r->series[i].name, r->series[i].base_seconds,
                r->series[i].seconds, r->series[i].ratio);
    print_files(r, out);
}
