#include <deploy/stored.h>

#include <stdio.h>
#include <string.h>

gs_scheme gs_node_scheme(const gs_node *node) {
    return node->op == GS_OP_QLINEAR ? node->attr.quant.scheme : GS_SCHEME_FLOAT;
}

void gs_node_weight_shape(const gs_node *node, int64_t *n, int64_t *k) {
    *n = *k = 0;
    if (node->param[GS_ROLE_WEIGHT]) gs_param_matrix(node->param[GS_ROLE_WEIGHT], n, k);
}

int64_t gs_node_groups(const gs_node *node) {
    const gs_param *scale = node->param[GS_ROLE_WEIGHT_SCALE];
    if (!scale) return 0;
    return scale->ndim < 2 ? 1 : scale->shape[1];
}

gs_stored gs_stored_param(const gs_node *node, const gs_param *p, gs_dtype dtype, const char *type, gs_encoder *encode) {
    gs_stored t = {.dtype = dtype, .ndim = p->ndim, .type = type, .node = node, .param = p, .encode = encode};
    memcpy(t.shape, p->shape, sizeof t.shape);
    snprintf(t.name, sizeof t.name, "%s", p->name);
    return t;
}

gs_status gs_stored_make(gs_stored *t, const gs_node *node, const char *suffix, const gs_param *p, gs_dtype dtype,
                         int64_t a, int64_t b, const char *type, gs_encoder *encode, gs_error *err) {
    *t = (gs_stored){.dtype = dtype, .ndim = b > 0 ? 2 : 1, .shape = {a, b}, .type = type, .node = node, .param = p,
                     .encode = encode};
    int len = snprintf(t->name, sizeof t->name, "%s%s", node->name, suffix);
    if (len < 0 || (size_t)len >= sizeof t->name) return GS_FAIL(err, GS_E_INVALID, "'%.100s...': the name is too long", node->name);
    return GS_OK;
}

gs_dtype gs_exact_dtype(const gs_bundle_options *o, const gs_param *p) {
    return gs_values_exact(p, o->dtype) ? o->dtype : GS_F32;
}

gs_status gs_emit(const gs_emission *e, const char *suffix, const gs_param *p, gs_dtype dtype, int64_t a, int64_t b,
                  gs_encoder *encode, gs_error *err) {
    gs_stored t;
    GS_TRY(gs_stored_make(&t, e->node, suffix, p, dtype, a, b, e->type, encode, err));
    return e->emit(e->ctx, &t, err);
}

gs_status gs_emit_floats(const gs_emission *e, gs_error *err) {
    for (int r = 0; r < GS_ROLE_COUNT; r++) {
        const gs_param *p = e->node->param[r];
        if (!p || (e->node->op == GS_OP_RMSNORM && r == GS_ROLE_BIAS && gs_norm_bias_is_idle(e->node))) continue;
        gs_stored t = gs_stored_param(e->node, p, e->o->dtype, e->type, gs_encode_float);
        GS_TRY(e->emit(e->ctx, &t, err));
    }
    return GS_OK;
}

gs_status gs_permits_qlinear(const gs_node *node, gs_error *err) {
    if (node->op != GS_OP_QLINEAR) return GS_OK;
    gs_scheme s = node->attr.quant.scheme;
    const gs_param *offset = node->param[GS_ROLE_WEIGHT_OFFSET];
    int64_t n, k, groups = gs_node_groups(node);
    bool floats = s == GS_SCHEME_W8A16 || s == GS_SCHEME_W4A16;
    bool constants = node->param[GS_ROLE_DEQ_SCALE] && node->param[GS_ROLE_QUANT_BIAS];
    if (groups == 0 && !(s == GS_SCHEME_W8A8 && constants))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': it has no weight scales", node->name);
    gs_node_weight_shape(node, &n, &k);
    if (groups > 1 && k % groups)
        return GS_FAIL(err, GS_E_INVALID, "'%s': %lld columns in %lld groups", node->name, (long long)k, (long long)groups);
    if (groups > 1 && !floats)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': int8 activations with %lld weight scales a row", node->name, (long long)groups);
    if (!floats && offset && gs_values_nonzero(offset))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': int8 activations with weight offsets, which no server computes", node->name);
    return GS_OK;
}

gs_status gs_permits_plain(const char *format, const gs_node *node, gs_error *err) {
    if (node->param[GS_ROLE_CACHE_SCALE])
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': %s carries no int8 key-value cache", node->name, format);
    if (node->op == GS_OP_RMSNORM && node->param[GS_ROLE_BIAS] && !gs_norm_bias_is_idle(node))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': %s carries no bias of a norm", node->name, format);
    return GS_OK;
}

bool gs_norm_bias_is_idle(const gs_node *node) {
    const gs_param *bias = node->param[GS_ROLE_BIAS];
    return bias && gs_param_ready(bias) && !gs_values_nonzero(bias);
}
