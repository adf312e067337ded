#ifndef ORTHANT_SAE_RECIPE_H
#define ORTHANT_SAE_RECIPE_H

#include <stdbool.h>
#include <stdint.h>

/**
 * What is trained: every published recipe is a set of these values, not a code path of its own.
 * The names of the choices are the configuration's; each array ends in NULL and is in enum order.
 */
typedef enum orth_selection_kind {
    ORTH_SELECT_TOPK,      ///< k largest per token (Gao et al. 2024, section 2.3)
    ORTH_SELECT_TOPAFA,    ///< as many as match the input norm (Lee et al. 2025, section 5)
    ORTH_SELECT_BATCHTOPK, ///< k B largest of the global batch
    ORTH_SELECT_JUMPRELU   ///< all above a threshold of their own (Rajamanoharan et al. 2024)
} orth_selection_kind;
extern const char *const orth_selection_names[];

/** Whether model.k means something to the selection. */
bool orth_selection_uses_k(orth_selection_kind kind);

/** Whether the selection can be trained; jumprelu's thresholds only come with a model. */
bool orth_selection_trains(orth_selection_kind kind);

typedef enum orth_afa_target {
    ORTH_TARGET_CENTRED, ///< t = |x - b_dec| (the authors' code)
    ORTH_TARGET_RAW      ///< t = |x| (the text of the paper)
} orth_afa_target;
extern const char *const orth_target_names[];

typedef enum orth_input_norm {
    ORTH_INPUT_NONE,
    ORTH_INPUT_LAYERNORM,
    ORTH_INPUT_UNIT,
    ORTH_INPUT_SCALE
} orth_input_norm;
extern const char *const orth_input_names[];

typedef enum orth_init_scheme { ORTH_INIT_GAO, ORTH_INIT_KAIMING, ORTH_INIT_FILE } orth_init_scheme;
extern const char *const orth_init_names[];

typedef enum orth_loss_kind {
    ORTH_LOSS_MSE_SCALED,
    ORTH_LOSS_MSE,
    ORTH_LOSS_NORMALISED
} orth_loss_kind;
extern const char *const orth_loss_names[];

typedef enum orth_aux_variant { ORTH_AUX_GAO, ORTH_AUX_TOPAFA, ORTH_AUX_NONE } orth_aux_variant;
extern const char *const orth_aux_names[];

typedef enum orth_dead_variant { ORTH_DEAD_TOKENS, ORTH_DEAD_BATCHES } orth_dead_variant;
extern const char *const orth_dead_names[];

typedef enum orth_decoder_norm {
    ORTH_DECODER_GAO,    ///< normalise, project, then clip
    ORTH_DECODER_TOPAFA, ///< clip, then project and normalise
    ORTH_DECODER_NONE    ///< clip only
} orth_decoder_norm;
extern const char *const orth_decoder_names[];

/** Arithmetic of the encoder [compute.encode]; the codes have the same bits with each. */
typedef enum orth_encode_kind {
    ORTH_ENCODE_AUTO, ///< what the instruction set and the sizes favour
    ORTH_ENCODE_FP32,
    ORTH_ENCODE_BF16, ///< certified screening (kern/screen.h)
    ORTH_ENCODE_INT8
} orth_encode_kind;
extern const char *const orth_encode_names[];

/** The recipe (RECIPES.md of the design; configuration keys in brackets). */
typedef struct orth_recipe {
    int64_t seed;                  ///< [run.seed]
    orth_input_norm input;         ///< [input.norm]
    int64_t n_latent;              ///< [model.n_latent]; 0: 16 d_model
    orth_selection_kind selection; ///< [model.selection]
    int64_t k;                     ///< [model.k]
    bool b_enc;                    ///< [model.b_enc]
    bool relu_first;               ///< [topk.relu_first] same result either way
    orth_afa_target target;        ///< [topafa.target]
    orth_init_scheme init;         ///< [init.scheme]
    orth_loss_kind loss;           ///< [loss.kind]
    int64_t multi_k;               ///< [loss.multi_k]; 0: none
    double mse_scale;              ///< [loss.mse_scale]; 0: auto, from the sample
    orth_aux_variant aux;          ///< [aux.variant]
    double aux_coefficient;        ///< [aux.coefficient]
    int64_t aux_k;                 ///< [aux.k]; 0: d_model / 2
    orth_dead_variant dead;        ///< [dead.variant]
    int64_t dead_tokens;           ///< [dead.tokens]
    int64_t dead_batches;          ///< [dead.batches]
    double afa_coefficient;        ///< [afa.coefficient]
    int64_t batch;                 ///< [train.batch] tokens in the global batch
    double lr;                     ///< [train.lr]
    double beta1;                  ///< [train.beta1]
    double beta2;                  ///< [train.beta2]
    double eps;                    ///< [train.eps]
    double clip;                   ///< [train.clip]; 0: none
    int64_t warmup;                ///< [train.warmup] steps
    double decay;                  ///< [train.decay] share of the run
    orth_decoder_norm decoder;     ///< [train.decoder_norm]
    double ema;                    ///< [train.ema]; 0: none
} orth_recipe;

#endif
