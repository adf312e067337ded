/* What oneDNN makes of the encoder's product, in each precision: it knows matrix units (AMX) that
 * the kernels here do not. */
#include "trial_parts.h"

#include <orthant/base/memory.h>

#include <stddef.h>

#ifdef ORTH_HAVE_ONEDNN
#include <oneapi/dnnl/dnnl.h>

#include <stdio.h>
#include <string.h>

typedef struct product {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[3];
    void *data[3];
} product;

const char *orth_trial_onednn(void)
{
    static char text[64];
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, sizeof text, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
    return text;
}

static void product_close(orth_trial *t)
{
    product *p = t->own;
    if (!p)
        return;
    for (int i = 0; i < 3; i++) {
        if (p->memory[i])
            dnnl_memory_destroy(p->memory[i]);
        orth_free(p->data[i]);
    }
    if (p->primitive)
        dnnl_primitive_destroy(p->primitive);
    if (p->stream)
        dnnl_stream_destroy(p->stream);
    if (p->engine)
        dnnl_engine_destroy(p->engine);
    orth_free(p);
}

/* C (m, n) = A (m, k) B (n, k)^T of plain row-major arrays. False where the library has no such
 * product. */
static bool describe(product *p, const orth_trial_sizes *s, const dnnl_data_type_t types[3])
{
    dnnl_memory_desc_t arrays[3];
    dnnl_matmul_desc_t operation;
    dnnl_primitive_desc_t chosen = NULL;
    const dnnl_dims_t extents[3] = {
        {s->n_token, s->d_model}, {s->d_model, s->n_latent}, {s->n_token, s->n_latent}};
    const dnnl_format_tag_t tags[3] = {dnnl_ab, dnnl_ba, dnnl_ab};
    bool good =
        dnnl_engine_create(&p->engine, dnnl_cpu, 0) == dnnl_success &&
        dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags) == dnnl_success;
    for (int i = 0; i < 3 && good; i++)
        good = dnnl_memory_desc_init_by_tag(&arrays[i], 2, extents[i], types[i], tags[i]) ==
                   dnnl_success &&
               dnnl_memory_create(&p->memory[i], &arrays[i], p->engine, p->data[i]) == dnnl_success;
    good = good &&
           dnnl_matmul_desc_init(&operation, &arrays[0], &arrays[1], NULL, &arrays[2]) ==
               dnnl_success &&
           dnnl_primitive_desc_create(&chosen, &operation, NULL, p->engine, NULL) == dnnl_success &&
           dnnl_primitive_create(&p->primitive, chosen) == dnnl_success;
    if (chosen)
        dnnl_primitive_desc_destroy(chosen);
    return good;
}

/* The bits of small numbers in each type: ones, all of them, so that nothing overflows. */
static void fill(void *data, int64_t count, dnnl_data_type_t type)
{
    if (type == dnnl_f32)
        for (int64_t i = 0; i < count; i++)
            ((float *)data)[i] = 1.0f;
    else if (type == dnnl_bf16)
        for (int64_t i = 0; i < count; i++)
            ((uint16_t *)data)[i] = 0x3f80;
    else
        memset(data, 1, (size_t)count);
}

static orth_status product_open(orth_trial *t, const dnnl_data_type_t types[3])
{
    const orth_trial_sizes *s = &t->sizes;
    product *p = NULL;
    const int64_t counts[3] = {s->n_token * s->d_model, s->n_latent * s->d_model,
                               s->n_token * s->n_latent};
    ORTH_TRY(ORTH_ALLOCATE(1, "trial", &p));
    t->own = p;
    for (int i = 0; i < 3; i++)
        ORTH_TRY(
            orth_allocate(counts[i], (int64_t)dnnl_data_type_size(types[i]), "trial", &p->data[i]));
    for (int i = 0; i < 2; i++)
        fill(p->data[i], counts[i], types[i]);
    if (describe(p, s, types))
        t->work = 2.0 * (double)s->n_token * (double)s->n_latent * (double)s->d_model;
    return ORTH_OK;
}

static void product_run(orth_trial *t)
{
    const product *p = t->own;
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, p->memory[0]},
                                         {DNNL_ARG_WEIGHTS, p->memory[1]},
                                         {DNNL_ARG_DST, p->memory[2]}};
    dnnl_primitive_execute(p->primitive, p->stream, 3, arguments);
    dnnl_stream_wait(p->stream);
}

static orth_status open_fp32(orth_trial *t)
{
    return product_open(t, (const dnnl_data_type_t[]){dnnl_f32, dnnl_f32, dnnl_f32});
}

static orth_status open_bf16(orth_trial *t)
{
    return product_open(t, (const dnnl_data_type_t[]){dnnl_bf16, dnnl_bf16, dnnl_f32});
}

static orth_status open_int8(orth_trial *t)
{
    return product_open(t, (const dnnl_data_type_t[]){dnnl_u8, dnnl_s8, dnnl_s32});
}
#else
const char *orth_trial_onednn(void)
{
    return "";
}

/* work stays 0: not available */
static orth_status open_none(orth_trial *t)
{
    (void)t;
    return ORTH_OK;
}

#define open_fp32 open_none
#define open_bf16 open_none
#define open_int8 open_none
#define product_run NULL
#define product_close NULL
#endif

const orth_trial_kind orth_trial_onednn_fp32 = {"oneDNN fp32", ORTH_TRIAL_FP32, true,         0,
                                                open_fp32,     product_run,     product_close};
const orth_trial_kind orth_trial_onednn_bf16 = {"oneDNN bf16", ORTH_TRIAL_BF16, true,         0,
                                                open_bf16,     product_run,     product_close};
const orth_trial_kind orth_trial_onednn_int8 = {"oneDNN int8", ORTH_TRIAL_INT8, true,         0,
                                                open_int8,     product_run,     product_close};
