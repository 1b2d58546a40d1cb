/* PTQConfig: what a post-training quantization is asked to do, and which combinations are
 * legal. The words are Golden Stick's (`golden-stick.md` 1.12, 2.2), so its users recognise
 * them; the check refuses what its matrix refuses, naming the offending pair.
 */
#ifndef GS_PTQ_CONFIG_H
#define GS_PTQ_CONFIG_H

#include <network/net.h>

typedef enum gs_ptq_mode { GS_PTQ_QUANTIZE, GS_PTQ_DEPLOY } gs_ptq_mode;
typedef enum gs_backend { GS_BACKEND_NONE, GS_BACKEND_ASCEND } gs_backend;
typedef enum gs_quant_dtype { GS_QUANT_NONE, GS_QUANT_INT8, GS_QUANT_INT4 } gs_quant_dtype;
typedef enum gs_outliers {
    GS_OUTLIERS_NONE, GS_OUTLIERS_SMOOTH, GS_OUTLIERS_AWQ, GS_OUTLIERS_OSP, GS_OUTLIERS_OSL
} gs_outliers;
typedef enum gs_recovery { GS_RECOVERY_NONE, GS_RECOVERY_GPTQ } gs_recovery;
typedef enum gs_granularity {
    GS_PER_TENSOR, GS_PER_CHANNEL, GS_PER_GROUP, GS_PER_TOKEN
} gs_granularity;
/* scale of a symmetric int8 weight row with m = max|w|:
 * ASCEND m/127 (what msModelSlim writes), GOLDENSTICK 2m/255. */
typedef enum gs_scale_convention { GS_SCALE_ASCEND, GS_SCALE_GOLDENSTICK } gs_scale_convention;
/* Whose arithmetic is imitated, step by step in the model's dtype (compat_quant.h); NONE: ours. */
typedef enum gs_compat {
    GS_COMPAT_NONE, GS_COMPAT_MSMODELSLIM_V1, GS_COMPAT_MSMODELSLIM_V0, GS_COMPAT_GOLDENSTICK
} gs_compat;

typedef struct gs_ptq_config gs_ptq_config;

/* A policy for layers whose dotted name matches `pattern` at its start (PCRE2). config NULL:
 * leave them float. A name that two policies match is an error; one that none matches gets the
 * net's config. Mode and backend always come from the net's config. */
typedef struct gs_layer_policy {
    const char *pattern;
    const gs_ptq_config *config;
} gs_layer_policy;

struct gs_ptq_config {
    gs_ptq_mode mode;
    gs_backend backend;
    /* a linear whose dotted name contains one of these stays float */
    const char *const *opname_blacklist;
    size_t opname_blacklist_count;
    gs_quant_dtype weight_quant_dtype, act_quant_dtype, kvcache_quant_dtype;
    gs_outliers outliers_suppression;
    gs_recovery precision_recovery;
    gs_granularity weight_quant_granularity, act_quant_granularity, kvcache_quant_granularity;
    /* 0, or with PER_GROUP weights only the columns that share a scale: 64 | 128 | 256; int8 weights with float
     * activations take any, because formats have their own */
    int64_t group_size;
    bool mixed; /* with per-tensor int8 activations: W8A8_MIX, whose prefill is per token */
    bool desc_act;      /* GPTQ option */
    const gs_layer_policy *layer_policies;
    size_t layer_policy_count;
    gs_scale_convention scale_convention;
    gs_dtype compute;   /* dtype the bundle is for: F16, BF16 or F32 */
    gs_dtype scale_dtype; /* F16: the format stores weight scales so, whatever `compute` is; any other: as `compute` */
    /* calibration showed keys at every position the model has: an int8 cache needs no room for further rotation */
    bool every_position_seen;
    gs_compat compat;   /* of the net's config alone */
};

/* int8 weights per channel, no activations: W8A16; blacklist {"lm_head"}; backend ASCEND. */
gs_ptq_config gs_ptq_config_w8a16(void);
/* Legality matrix, of this config and of every policy's. GS_E_INVALID names the rule. */
gs_status gs_ptq_config_check(const gs_ptq_config *c, gs_error *err) GS_NODISCARD;
/* GS_E_INVALID naming what this config, or a policy's, asks for that is legal but that no algorithm here does. */
gs_status gs_ptq_config_check_done(const gs_ptq_config *c, gs_error *err) GS_NODISCARD;
/* int8 weights and activations, per tensor (W8A8) or per token (W8A8_DYNAMIC). */
gs_ptq_config gs_ptq_config_w8a8(bool per_token);
/* What a linear becomes under this config: FLOAT, W8A16, W8A8, W8A8_DYNAMIC or W8A8_MIX. */
gs_scheme gs_ptq_config_scheme(const gs_ptq_config *c);
/* "A16W8", "A8W8", "A16W4", "C8" ...: Golden Stick's tag. Static text. */
const char *gs_ptq_config_tag(const gs_ptq_config *c);

/* Which config serves a layer. */
typedef struct gs_layer_rules gs_layer_rules;
gs_status gs_layer_rules_create(const gs_ptq_config *c, gs_layer_rules **out, gs_error *err) GS_NODISCARD;
void gs_layer_rules_destroy(gs_layer_rules *r);
/* *config: the layer's config, or NULL to leave it float, with *reason ("blacklist 'lm_head'").
 * GS_E_INVALID when two policies match. */
gs_status gs_layer_rules_find(const gs_layer_rules *r, const char *name, const gs_ptq_config **config,
                              char reason[64], gs_error *err) GS_NODISCARD;
/* The same for a linear of a net: one that chooses experts (network/routing.h) stays float whatever the config says. */
gs_status gs_layer_rules_find_linear(const gs_layer_rules *r, const gs_net *net, const gs_node *linear,
                                     const gs_ptq_config **config, char reason[64], gs_error *err) GS_NODISCARD;

#endif
