/* A linear with a quantized weight.
 *
 * GS_ARITH_CONSUMER computes as its server does (ascend-bundles.md 3.5): the server holds scales, offsets and biases in its
 * compute dtype T, so they are rounded to it first.
 *   W8A16, W4A16: w = (q - o) * s in f32, one rounding each, and for bf16 products w is rounded once more. Activations stay
 *     float. The offset's sign is MindIE's and msModelSlim's; vllm-ascend adds it: only 0 is right in both.
 *   W8A8: r = T(1/s), xq = clamp(rne(x*r + o)); y = T((sum xq wq + quant_bias) * deq_scale). Where neither deq_scale nor
 *     quant_bias is stored they are derived from T(weight_scale) and T(bias) (network/static_constants.h).
 *   W8A8_DYNAMIC: s_t = max|x_t| / 127, xq = rne(x / s_t); y = T(sum xq wq * s_w * s_t + bias).
 *   W8A8_MIX: W8A8 to decode (attr.quant.decode), else W8A8_DYNAMIC.
 * GS_ARITH_EXACT: nothing is rounded to T; s_t = max|x_t| / attr.quant.token_levels. W8A8: xq = clamp(rne(x/s) + o), y = (sum xq wq - o sum wq) * (s * s_w) + bias in
 *   f32; from deq_scale and quant_bias where weight_scale is not stored.
 * GS_ARITH_WEIGHTS: w = (q - o) * s_w and a float product, whatever the scheme; s_w = deq_scale / input_scale where
 *   weight_scale is not stored, and a bias that is stored inside quant_bias alone is taken out of it.
 * Scales are [n], [n, 1] or, where activations stay float, [n, k/g]: g columns share one. Integer products refuse a
 * weight_offset that is not 0. */
#include <network/net_private.h>
#include <network/ops/qlinear.h>
#include <network/ops/routed_rows.h>

#include <base/mem.h>

typedef struct state {
    gs_packed_linear *packed; /* activations stay float, else NULL */
    gs_int8_linear *int8;
} state;

static gs_status wrong(const gs_node *node, gs_role role, const char *want, int64_t n, gs_error *err) {
    const gs_param *p = node->param[role];
    char text[256];
    return GS_FAIL(err, GS_E_INVALID, "%s %s%s is not %s [%lld]", gs_role_name(role), gs_dtype_name(p->dtype),
                   gs_shape_text(p->ndim, p->shape, text, sizeof text), want, (long long)n);
}

/* [n] or [n, 1] of a float type. */
static gs_status check_channel(const gs_node *node, gs_role role, int64_t n, gs_error *err) {
    const gs_param *p = node->param[role];
    bool fits = !p || ((p->ndim == 1 || (p->ndim == 2 && p->shape[1] == 1)) && p->shape[0] == n &&
                       gs_dtype_is_float(p->dtype));
    return fits ? GS_OK : wrong(node, role, "float", n, err);
}

/* [n], [n, 1] or [n, groups] of a float type, where groups divide k; both alike. */
static gs_status check_groups(const gs_node *node, gs_role role, int64_t n, int64_t k, gs_error *err) {
    const gs_param *p = node->param[role], *scale = node->param[GS_ROLE_WEIGHT_SCALE];
    if (!p || p->ndim != 2 || p->shape[1] == 1) return check_channel(node, role, n, err);
    bool fits = p->shape[0] == n && p->shape[1] > 0 && k % p->shape[1] == 0 && gs_dtype_is_float(p->dtype);
    return fits && scale ? GS_OK : wrong(node, role, "float groups for rows", n, err);
}

static gs_status check_scales(const gs_node *node, int64_t n, int64_t k, gs_error *err) {
    const gs_param *scale = node->param[GS_ROLE_WEIGHT_SCALE], *offset = node->param[GS_ROLE_WEIGHT_OFFSET];
    gs_scheme scheme = node->attr.quant.scheme;
    bool grouped = scheme == GS_SCHEME_W8A16 || scheme == GS_SCHEME_W4A16;
    if (!grouped) {
        GS_TRY(check_channel(node, GS_ROLE_WEIGHT_SCALE, n, err));
        return check_channel(node, GS_ROLE_WEIGHT_OFFSET, n, err);
    }
    GS_TRY(check_groups(node, GS_ROLE_WEIGHT_SCALE, n, k, err));
    GS_TRY(check_groups(node, GS_ROLE_WEIGHT_OFFSET, n, k, err));
    if (!offset || gs_param_count(offset) == gs_param_count(scale)) return GS_OK;
    return wrong(node, GS_ROLE_WEIGHT_OFFSET, "as many values as weight_scale", gs_param_count(scale), err);
}

static gs_status check_static(const gs_node *node, int64_t n, gs_error *err) {
    const gs_param *bias = node->param[GS_ROLE_QUANT_BIAS], *deq = node->param[GS_ROLE_DEQ_SCALE];
    GS_TRY(check_channel(node, GS_ROLE_INPUT_SCALE, 1, err));
    GS_TRY(check_channel(node, GS_ROLE_INPUT_OFFSET, 1, err));
    if (bias && (bias->ndim != 1 || bias->shape[0] != n || bias->dtype != GS_I32))
        return wrong(node, GS_ROLE_QUANT_BIAS, "I32", n, err);
    if (deq && (deq->ndim != 1 || deq->shape[0] != n || (deq->dtype != GS_F32 && deq->dtype != GS_I64)))
        return wrong(node, GS_ROLE_DEQ_SCALE, "F32 or I64", n, err);
    return GS_OK;
}

/* Roles that a scheme cannot do without; static constants follow from a weight_scale when both are absent. */
static unsigned needed_roles(const gs_node *node) {
    static const unsigned needed[GS_SCHEME_COUNT] = {
        [GS_SCHEME_W8A16] = GS_ROLE_BIT(GS_ROLE_WEIGHT_SCALE),
        [GS_SCHEME_W4A16] = GS_ROLE_BIT(GS_ROLE_WEIGHT_SCALE),
        [GS_SCHEME_W8A8] = GS_ROLE_BIT(GS_ROLE_INPUT_SCALE) | GS_ROLE_BIT(GS_ROLE_INPUT_OFFSET),
        [GS_SCHEME_W8A8_DYNAMIC] = GS_ROLE_BIT(GS_ROLE_WEIGHT_SCALE),
        [GS_SCHEME_W8A8_MIX] = GS_ROLE_BIT(GS_ROLE_WEIGHT_SCALE) | GS_ROLE_BIT(GS_ROLE_INPUT_SCALE) |
                               GS_ROLE_BIT(GS_ROLE_INPUT_OFFSET),
    };
    const unsigned constants = GS_ROLE_BIT(GS_ROLE_QUANT_BIAS) | GS_ROLE_BIT(GS_ROLE_DEQ_SCALE);
    gs_scheme scheme = node->attr.quant.scheme;
    if ((unsigned)scheme >= GS_SCHEME_COUNT) return 0;
    bool fixed = scheme == GS_SCHEME_W8A8 || scheme == GS_SCHEME_W8A8_MIX;
    bool derived = node->param[GS_ROLE_WEIGHT_SCALE] && !node->param[GS_ROLE_QUANT_BIAS] &&
                   !node->param[GS_ROLE_DEQ_SCALE];
    return needed[scheme] | (fixed && !derived ? constants : 0);
}

static gs_status check_roles(const gs_node *node, gs_error *err) {
    unsigned needed = needed_roles(node);
    gs_scheme scheme = node->attr.quant.scheme;
    if (!needed) return GS_FAIL(err, GS_E_UNSUPPORTED, "scheme %s", gs_scheme_name(scheme));
    for (int r = 0; r < GS_ROLE_COUNT; r++)
        if ((needed >> r & 1u) && !node->param[r])
            return GS_FAIL(err, GS_E_INVALID, "%s has no %s", gs_scheme_name(scheme), gs_role_name((gs_role)r));
    return GS_OK;
}

static gs_status infer(const gs_node *node, gs_dims *out, gs_error *err) {
    const gs_param *w = node->param[GS_ROLE_WEIGHT];
    gs_dtype compute = node->attr.quant.compute;
    GS_TRY(gs_packed_linear_infer(node, out, err));
    GS_TRY(check_roles(node, err));
    if (compute != GS_F32 && compute != GS_F16 && compute != GS_BF16)
        return GS_FAIL(err, GS_E_INVALID, "a compute dtype of %s", gs_dtype_name(compute));
    if ((unsigned)node->attr.quant.arith > GS_ARITH_WEIGHTS)
        return GS_FAIL(err, GS_E_INVALID, "arithmetic %d", (int)node->attr.quant.arith);
    if (w->dtype != GS_I8)
        return GS_FAIL(err, GS_E_INVALID, "weight is %s, not I8", gs_dtype_name(w->dtype));
    GS_TRY(check_scales(node, w->shape[0], w->shape[1], err));
    return check_static(node, w->shape[0], err);
}

gs_scheme gs_qlinear_scheme(const gs_node *node) {
    if (node->attr.quant.scheme != GS_SCHEME_W8A8_MIX) return node->attr.quant.scheme;
    return node->attr.quant.decode ? GS_SCHEME_W8A8 : GS_SCHEME_W8A8_DYNAMIC;
}

static bool stays_float(const gs_node *node) {
    gs_scheme scheme = gs_qlinear_scheme(node);
    return node->attr.quant.arith == GS_ARITH_WEIGHTS || scheme == GS_SCHEME_W8A16 || scheme == GS_SCHEME_W4A16;
}

static void release(void *prepared) {
    state *s = prepared;
    if (s->packed) gs_packed_linear_release(s->packed);
    gs_int8_linear_release(s->int8);
    gs_free(s);
}

static gs_status prepare(const gs_op_env *env, gs_node *node, gs_error *err) {
    state *s = gs_calloc(1, sizeof *s);
    if (!s) return gs_error_nomem(err, sizeof *s);
    gs_status status = stays_float(node) ? gs_qlinear_float_prepare(env, node, &s->packed, err)
                                         : gs_int8_linear_create(env, node, &s->int8, err);
    if (status != GS_OK) {
        gs_free(s);
        return status;
    }
    node->prepared = s;
    return GS_OK;
}

static gs_status forward(const gs_op_call *call, gs_error *err) {
    const state *s = call->node->prepared;
    return s->packed ? gs_routed_rows_run(gs_packed_linear_run, s->packed, call, err)
                     : gs_routed_rows_run(gs_int8_linear_run, s->int8, call, err);
}

static void describe(const gs_attr *attr, gs_strbuf *out) {
    gs_strbuf_printf(out, " %s computed", gs_scheme_name(attr->quant.scheme));
    if (attr->quant.arith == GS_ARITH_CONSUMER)
        gs_strbuf_printf(out, " in %s%s", gs_dtype_name(attr->quant.compute), attr->quant.deq19 ? " deq19" : "");
    else
        gs_strbuf_puts(out, attr->quant.arith == GS_ARITH_EXACT ? " exactly" : " with float activations");
    if (attr->quant.decode) gs_strbuf_puts(out, " to decode");
}

const gs_op_class gs_op_class_QLINEAR = {
    .required = GS_ROLE_BIT(GS_ROLE_WEIGHT),
    .optional = GS_ROLE_BIT(GS_ROLE_WEIGHT_SCALE) | GS_ROLE_BIT(GS_ROLE_WEIGHT_OFFSET) |
                GS_ROLE_BIT(GS_ROLE_INPUT_SCALE) | GS_ROLE_BIT(GS_ROLE_INPUT_OFFSET) |
                GS_ROLE_BIT(GS_ROLE_QUANT_BIAS) | GS_ROLE_BIT(GS_ROLE_DEQ_SCALE) | GS_ROLE_BIT(GS_ROLE_BIAS),
    .infer = infer,
    .prepare = prepare,
    .forward = forward,
    .release = release,
    .describe = describe,
};
