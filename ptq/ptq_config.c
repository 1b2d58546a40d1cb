#include <ptq/ptq_config.h>

static const char *const default_blacklist[] = {"lm_head"};

gs_ptq_config gs_ptq_config_w8a16(void) {
    return (gs_ptq_config){
        .mode = GS_PTQ_QUANTIZE,
        .backend = GS_BACKEND_ASCEND,
        .opname_blacklist = default_blacklist,
        .opname_blacklist_count = 1,
        .weight_quant_dtype = GS_QUANT_INT8,
        .weight_quant_granularity = GS_PER_CHANNEL,
        .act_quant_granularity = GS_PER_TENSOR,
        .kvcache_quant_granularity = GS_PER_CHANNEL,
        .scale_convention = GS_SCALE_ASCEND,
        .compute = GS_F16,
        .scale_dtype = GS_DTYPE_NONE,
    };
}

gs_ptq_config gs_ptq_config_w8a8(bool per_token) {
    gs_ptq_config c = gs_ptq_config_w8a16();
    c.act_quant_dtype = GS_QUANT_INT8;
    c.act_quant_granularity = per_token ? GS_PER_TOKEN : GS_PER_TENSOR;
    return c;
}

gs_scheme gs_ptq_config_scheme(const gs_ptq_config *c) {
    if (c->weight_quant_dtype == GS_QUANT_NONE) return GS_SCHEME_FLOAT;
    if (c->act_quant_dtype == GS_QUANT_NONE) return GS_SCHEME_W8A16;
    if (c->mixed) return GS_SCHEME_W8A8_MIX;
    return c->act_quant_granularity == GS_PER_TOKEN ? GS_SCHEME_W8A8_DYNAMIC : GS_SCHEME_W8A8;
}

const char *gs_ptq_config_tag(const gs_ptq_config *c) {
    static const char *const tag[3][2][2] = {
        {{"float", "C8"}, {"A8", "A8C8"}},
        {{"A16W8", "A16W8C8"}, {"A8W8", "A8W8C8"}},
        {{"A16W4", "A16W4C8"}, {"A8W4", "A8W4C8"}},
    };
    return tag[c->weight_quant_dtype][c->act_quant_dtype != GS_QUANT_NONE]
              [c->kvcache_quant_dtype != GS_QUANT_NONE];
}

static gs_status refuse(const gs_ptq_config *c, const char *rule, gs_error *err) {
    return GS_FAIL(err, GS_E_INVALID, "%s: %s", gs_ptq_config_tag(c), rule);
}

static gs_status check_group(const gs_ptq_config *c, gs_error *err) {
    bool grouped = c->weight_quant_granularity == GS_PER_GROUP;
    if (!grouped && c->group_size != 0) return refuse(c, "a group size needs per-group weights", err);
    if (!grouped) return GS_OK;
    bool any = c->weight_quant_dtype == GS_QUANT_INT8 && c->act_quant_dtype == GS_QUANT_NONE;
    if (any && c->group_size < 1) return refuse(c, "per-group weights need a group size", err);
    if (!any && c->group_size != 64 && c->group_size != 128 && c->group_size != 256)
        return refuse(c, "per-group weights need a group size of 64, 128 or 256", err);
    return GS_OK;
}

static gs_status check_granularity(const gs_ptq_config *c, gs_error *err) {
    if (c->weight_quant_granularity != GS_PER_CHANNEL && c->weight_quant_granularity != GS_PER_GROUP)
        return refuse(c, "weights are quantized per channel or per group", err);
    if (c->act_quant_granularity != GS_PER_TENSOR && c->act_quant_granularity != GS_PER_TOKEN)
        return refuse(c, "activations are quantized per tensor or per token", err);
    if (c->kvcache_quant_granularity != GS_PER_CHANNEL && c->kvcache_quant_granularity != GS_PER_TOKEN)
        return refuse(c, "the KV cache is quantized per channel or per token", err);
    return check_group(c, err);
}

static gs_status check_int8(const gs_ptq_config *c, gs_error *err) {
    bool act = c->act_quant_dtype != GS_QUANT_NONE, kv = c->kvcache_quant_dtype != GS_QUANT_NONE;
    bool per_token = c->act_quant_granularity == GS_PER_TOKEN;
    if (!act) {
        if (c->outliers_suppression != GS_OUTLIERS_NONE)
            return refuse(c, "int8 weights alone take no outlier suppression", err);
        return GS_OK;
    }
    if (c->outliers_suppression == GS_OUTLIERS_AWQ || c->precision_recovery == GS_RECOVERY_GPTQ)
        return refuse(c, "int8 weights with int8 activations take neither AWQ nor GPTQ", err);
    if (c->weight_quant_granularity != GS_PER_CHANNEL)
        return refuse(c, "int8 activations need per-channel weights", err);
    if (per_token) {
        if (c->outliers_suppression != GS_OUTLIERS_NONE && c->outliers_suppression != GS_OUTLIERS_SMOOTH)
            return refuse(c, "per-token activations take SMOOTH or no outlier suppression", err);
        return GS_OK;
    }
    if (c->outliers_suppression == GS_OUTLIERS_OSL && kv)
        return refuse(c, "outlier suppression lite does not combine with an int8 KV cache", err);
    return GS_OK;
}

static gs_status check_int4(const gs_ptq_config *c, gs_error *err) {
    bool act = c->act_quant_dtype != GS_QUANT_NONE;
    if (c->kvcache_quant_dtype != GS_QUANT_NONE)
        return refuse(c, "int4 weights do not combine with an int8 KV cache", err);
    if (act) {
        if (c->act_quant_granularity != GS_PER_TOKEN || c->weight_quant_granularity != GS_PER_GROUP ||
            c->precision_recovery != GS_RECOVERY_GPTQ || c->outliers_suppression != GS_OUTLIERS_NONE)
            return refuse(c, "int4 weights with int8 activations need per-token activations, "
                             "per-group weights and GPTQ", err);
        return GS_OK;
    }
    if (c->outliers_suppression != GS_OUTLIERS_NONE && c->outliers_suppression != GS_OUTLIERS_AWQ)
        return refuse(c, "int4 weights take AWQ or no outlier suppression", err);
    if (c->outliers_suppression == GS_OUTLIERS_AWQ && c->precision_recovery == GS_RECOVERY_GPTQ)
        return refuse(c, "AWQ and GPTQ do not combine", err);
    return GS_OK;
}

static gs_status check_one(const gs_ptq_config *c, gs_error *err) {
    GS_TRY(check_granularity(c, err));
    if (c->compute != GS_F16 && c->compute != GS_BF16 && c->compute != GS_F32)
        return refuse(c, "the compute dtype is float16, bfloat16 or float32", err);
    if (c->mixed && (c->act_quant_dtype != GS_QUANT_INT8 || c->act_quant_granularity != GS_PER_TENSOR))
        return refuse(c, "a mix of static and per-token activations needs int8 activations per tensor", err);
    if (c->act_quant_dtype == GS_QUANT_INT4 || c->kvcache_quant_dtype == GS_QUANT_INT4)
        return refuse(c, "activations and the KV cache are int8 or float", err);
    if (c->desc_act && c->precision_recovery != GS_RECOVERY_GPTQ)
        return refuse(c, "desc_act is an option of GPTQ", err);
    switch (c->weight_quant_dtype) {
    case GS_QUANT_INT8:
        return check_int8(c, err);
    case GS_QUANT_INT4:
        return check_int4(c, err);
    default:
        break;
    }
    if (c->act_quant_dtype != GS_QUANT_NONE)
        return refuse(c, "activations are not quantized while weights stay float", err);
    if (c->outliers_suppression != GS_OUTLIERS_NONE || c->precision_recovery != GS_RECOVERY_NONE)
        return refuse(c, "float weights take neither outlier suppression nor recovery", err);
    return GS_OK;
}

gs_status gs_ptq_config_check(const gs_ptq_config *c, gs_error *err) {
    if (c->backend != GS_BACKEND_ASCEND)
        return GS_FAIL(err, GS_E_INVALID, "the backend must be ASCEND");
    GS_TRY(check_one(c, err));
    for (size_t i = 0; i < c->layer_policy_count; i++) {
        const gs_ptq_config *policy = c->layer_policies[i].config;
        if (!policy) continue;
        gs_status status = check_one(policy, err);
        if (status != GS_OK) {
            gs_error_at(err, "policy '%s'", c->layer_policies[i].pattern);
            return status;
        }
    }
    return GS_OK;
}

/* Static text; NULL: nothing is missing. */
static const char *missing(const gs_ptq_config *c) {
    static const char *const suppression[] = {
        [GS_OUTLIERS_AWQ] = "AWQ", [GS_OUTLIERS_OSP] = "outlier suppression plus", [GS_OUTLIERS_OSL] = "outlier suppression lite"};
    if (c->weight_quant_dtype == GS_QUANT_INT4) return "quantization to int4";
    if (c->kvcache_quant_dtype != GS_QUANT_NONE && c->kvcache_quant_granularity != GS_PER_CHANNEL)
        return "quantization of the KV cache per token";
    if (c->precision_recovery == GS_RECOVERY_GPTQ) return "GPTQ";
    return (size_t)c->outliers_suppression < GS_COUNTOF(suppression) ? suppression[c->outliers_suppression] : "this";
}

gs_status gs_ptq_config_check_done(const gs_ptq_config *c, gs_error *err) {
    const char *what = missing(c);
    for (size_t i = 0; i < c->layer_policy_count && !what; i++) {
        const gs_ptq_config *policy = c->layer_policies[i].config;
        if (!policy) continue;
        what = missing(policy);
        if (!what && policy->kvcache_quant_dtype != GS_QUANT_NONE && c->kvcache_quant_dtype == GS_QUANT_NONE)
            what = "a KV cache in int8 for some layers alone";
    }
    return what ? GS_FAIL(err, GS_E_INVALID, "%s: %s is not implemented", gs_ptq_config_tag(c), what) : GS_OK;
}
