/* The quantization_config of a compressed-tensors checkpoint (ascend-bundles.md 7.1), checked: what is computed here is
 * in a rule, all else is refused with a reason. Unknown members are ignored, as older readers of theirs do not. */
#ifndef GS_DEPLOY_COMPRESSED_TENSORS_CONFIG_H
#define GS_DEPLOY_COMPRESSED_TENSORS_CONFIG_H

#include <base/json.h>
#include <network/net.h>

typedef struct gs_ct_config gs_ct_config;

/* How the linears of one group are quantized. */
typedef struct gs_ct_rule {
    gs_scheme scheme;        /* W8A16, W8A8 or W8A8_DYNAMIC */
    bool one_scale;          /* of weights, for the whole tensor; else per channel or group */
    int64_t group_size;      /* 0: per channel */
    bool input_asymmetric;   /* static inputs have a zero point */
} gs_ct_rule;

/* json: the quantization_config object, borrowed until destroy. GS_E_UNSUPPORTED for 4-bit or float types, asymmetric
 * weights, strategies, caches, sparsity and transforms that are not computed here. */
gs_status gs_ct_config_create(const cJSON *json, gs_ct_config **out, gs_error *err) GS_NODISCARD;
void gs_ct_config_destroy(gs_ct_config *c); /* NULL ok */
/* The rule of a linear, NULL where it stays float. The first group that targets it by name, else the one that
 * targets "Linear". */
gs_status gs_ct_config_find(const gs_ct_config *c, const char *linear, const gs_ct_rule **out,
                            gs_error *err) GS_NODISCARD;

#endif
