/* A linear with a quantized weight, computed as its consumer does (ascend-bundles.md 3.5): the
 * consumer holds scales, offsets and biases in its compute dtype T, so they are rounded to it first.
 *
 * W8A16: w = (q + o) * s in f32, one rounding each, and for bf16 products w is rounded once more.
 * Activations stay float.
 * W8A8: r = T(1/s), xq = clamp(rne(x*r + o)); y = T((sum xq wq + quant_bias) * deq_scale).
 * W8A8_DYNAMIC: s_t = max|x_t| / 127, xq = rne(x / s_t); y = T(sum xq wq * s_w * s_t + bias). */
#include <network/net_private.h>
#include <network/ops/qlinear.h>

#include <base/half.h>
#include <base/mem.h>

#include <math.h>

typedef struct state {
    gs_packed_linear *packed; /* W8A16, else NULL */
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

static gs_status check_static(const gs_node *node, int64_t n, gs_error *err) {
    const gs_param *bias = node->param[GS_ROLE_QUANT_BIAS], *deq = node->param[GS_ROLE_DEQ_SCALE];
    GS_TRY(check_channel(node, GS_ROLE_INPUT_SCALE, 1, err));
    GS_TRY(check_channel(node, GS_ROLE_INPUT_OFFSET, 1, err));
    if (bias->ndim != 1 || bias->shape[0] != n || bias->dtype != GS_I32)
        return wrong(node, GS_ROLE_QUANT_BIAS, "I32", n, err);
    if (deq->ndim != 1 || deq->shape[0] != n || (deq->dtype != GS_F32 && deq->dtype != GS_I64))
        return wrong(node, GS_ROLE_DEQ_SCALE, "F32 or I64", n, err);
    return GS_OK;
}

static gs_status check_roles(const gs_node *node, gs_error *err) {
    static const unsigned needed[GS_SCHEME_COUNT] = {
        [GS_SCHEME_W8A16] = GS_ROLE_BIT(GS_ROLE_WEIGHT_SCALE),
        [GS_SCHEME_W8A8] = GS_ROLE_BIT(GS_ROLE_INPUT_SCALE) | GS_ROLE_BIT(GS_ROLE_INPUT_OFFSET) |
                           GS_ROLE_BIT(GS_ROLE_QUANT_BIAS) | GS_ROLE_BIT(GS_ROLE_DEQ_SCALE),
        [GS_SCHEME_W8A8_DYNAMIC] = GS_ROLE_BIT(GS_ROLE_WEIGHT_SCALE),
    };
    gs_scheme scheme = node->attr.quant.scheme;
    if ((unsigned)scheme >= GS_SCHEME_COUNT || !needed[scheme])
        return GS_FAIL(err, GS_E_UNSUPPORTED, "scheme %s", gs_scheme_name(scheme));
    for (int r = 0; r < GS_ROLE_COUNT; r++)
        if ((needed[scheme] >> r & 1u) && !node->param[r])
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
    if (w->dtype != GS_I8)
        return GS_FAIL(err, GS_E_INVALID, "weight is %s, not I8", gs_dtype_name(w->dtype));
    GS_TRY(check_channel(node, GS_ROLE_WEIGHT_SCALE, w->shape[0], err));
    GS_TRY(check_channel(node, GS_ROLE_WEIGHT_OFFSET, w->shape[0], err));
    return node->attr.quant.scheme == GS_SCHEME_W8A8 ? check_static(node, w->shape[0], err) : GS_OK;
}

gs_status gs_qlinear_read(const gs_op_env *env, const gs_node *node, gs_role role, bool positive, float **out,
                          gs_error *err) {
    const gs_param *p = node->param[role];
    gs_dtype compute = node->attr.quant.compute;
    GS_TRY(gs_op_read(env, p, out, err));
    for (int64_t i = 0; i < p->shape[0]; i++) {
        float x = gs_round_to(compute, (*out)[i]);
        if (isfinite(x) && (!positive || x > 0)) {
            (*out)[i] = x;
            continue;
        }
        gs_status status = GS_FAIL(err, GS_E_NUMERIC, "%s of row %lld is %g, %g as %s", gs_role_name(role),
                                   (long long)i, (double)(*out)[i], (double)x, gs_dtype_name(compute));
        gs_free(*out);
        *out = NULL;
        return status;
    }
    return GS_OK;
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
    gs_status status = node->attr.quant.scheme == GS_SCHEME_W8A16
                           ? gs_qlinear_w8a16_prepare(env, node, &s->packed, err)
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
    return s->packed ? gs_packed_linear_run(s->packed, call, err) : gs_int8_linear_run(s->int8, call, err);
}

static void describe(const gs_attr *attr, gs_strbuf *out) {
    gs_strbuf_printf(out, " %s computed in %s", gs_scheme_name(attr->quant.scheme),
                     gs_dtype_name(attr->quant.compute));
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
