/* A linear with a quantized weight, computed as its consumer does.
 *
 * W8A16: the consumer holds scale and offset in its compute dtype, so they are rounded to it
 * first; then w = (q + o) * s in f32, one rounding each, and for bf16 products w is rounded once
 * more. Activations stay float. */
#include <network/net_private.h>
#include <network/ops/packed_linear.h>

#include <base/half.h>
#include <base/mem.h>

#include <math.h>

static gs_status check_channel(const gs_node *node, gs_role role, int64_t n, gs_error *err) {
    const gs_param *p = node->param[role];
    char text[256];
    if (!p) return GS_OK;
    bool fits = (p->ndim == 1 || (p->ndim == 2 && p->shape[1] == 1)) && p->shape[0] == n &&
                gs_dtype_is_float(p->dtype);
    if (fits) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "%s %s%s is not float [%lld, 1]", gs_role_name(role),
                   gs_dtype_name(p->dtype), gs_shape_text(p->ndim, p->shape, text, sizeof text),
                   (long long)n);
}

static gs_status infer(const gs_node *node, gs_dims *out, gs_error *err) {
    const gs_param *w = node->param[GS_ROLE_WEIGHT];
    gs_dtype compute = node->attr.quant.compute;
    GS_TRY(gs_packed_linear_infer(node, out, err));
    if (node->attr.quant.scheme != GS_SCHEME_W8A16)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "scheme %s", gs_scheme_name(node->attr.quant.scheme));
    if (compute != GS_F32 && compute != GS_F16 && compute != GS_BF16)
        return GS_FAIL(err, GS_E_INVALID, "a compute dtype of %s", gs_dtype_name(compute));
    if (w->dtype != GS_I8)
        return GS_FAIL(err, GS_E_INVALID, "weight is %s, not I8", gs_dtype_name(w->dtype));
    GS_TRY(check_channel(node, GS_ROLE_WEIGHT_SCALE, w->shape[0], err));
    return check_channel(node, GS_ROLE_WEIGHT_OFFSET, w->shape[0], err);
}

static float rounded_to(gs_dtype compute, float x) {
    if (compute == GS_BF16) return gs_bf16_to_f32(gs_f32_to_bf16(x));
    if (compute == GS_F16) return gs_f16_to_f32(gs_f32_to_f16(x));
    return x;
}

/* [n] values of a param in the compute dtype; `positive`: scales. */
static gs_status read_channel(const gs_op_env *env, const gs_node *node, gs_role role, bool positive,
                              float **out, gs_error *err) {
    const gs_param *p = node->param[role];
    gs_dtype compute = node->attr.quant.compute;
    GS_TRY(gs_op_read(env, p, out, err));
    for (int64_t i = 0; i < p->shape[0]; i++) {
        float x = rounded_to(compute, (*out)[i]);
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

typedef struct dequantize_job {
    const gs_op_env *env;
    int64_t cols;
    const int8_t *codes;
    const float *scale, *offset; /* offset NULL: 0 */
    void *rows;
    float *scratch; /* [workers, cols], for bf16 */
} dequantize_job;

static void dequantize_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    const dequantize_job *j = ctx;
    const gs_kernels *k = j->env->kernels;
    for (int64_t r = begin; r < end; r++) {
        const int8_t *q = j->codes + r * j->cols;
        float offset = j->offset ? j->offset[r] : 0.0f;
        if (j->env->type == GS_GEMM_BF16) {
            float *row = j->scratch + worker * j->cols;
            k->dequantize_s8(j->cols, q, j->scale[r], offset, row);
            k->convert_f32_bf16(j->cols, row, (uint16_t *)j->rows + r * j->cols);
        } else {
            k->dequantize_s8(j->cols, q, j->scale[r], offset, (float *)j->rows + r * j->cols);
        }
    }
}

static gs_status dequantize(dequantize_job *j, const gs_param *w, gs_error *err) {
    size_t bytes;
    j->codes = gs_param_stored(w);
    j->cols = w->shape[1];
    if (!j->codes) return GS_FAIL(err, GS_E_INVALID, "weight '%s' has no values, or reordered ones", w->name);
    if (!gs_mul_size((size_t)gs_team_size(j->env->team) * sizeof(float), (size_t)j->cols, &bytes))
        return gs_error_nomem(err, SIZE_MAX);
    GS_TRY(gs_weight_rows_alloc(j->env, w, &j->rows, err));
    if (j->env->type == GS_GEMM_BF16 && !(j->scratch = gs_alloc(bytes))) {
        gs_free(j->rows);
        return gs_error_nomem(err, bytes);
    }
    gs_team_for(j->env->team, w->shape[0], GS_OP_ROWS, dequantize_rows, j);
    gs_free(j->scratch);
    return GS_OK;
}

static gs_status prepare(const gs_op_env *env, gs_node *node, gs_error *err) {
    const gs_param *w = node->param[GS_ROLE_WEIGHT];
    float *scale = NULL, *offset = NULL;
    dequantize_job j = {.env = env};
    gs_packed_linear *packed;
    gs_status status = read_channel(env, node, GS_ROLE_WEIGHT_SCALE, true, &scale, err);
    if (status == GS_OK && node->param[GS_ROLE_WEIGHT_OFFSET])
        status = read_channel(env, node, GS_ROLE_WEIGHT_OFFSET, false, &offset, err);
    j.scale = scale;
    j.offset = offset;
    if (status == GS_OK) status = dequantize(&j, w, err);
    gs_free(scale);
    gs_free(offset);
    GS_TRY(status);
    gs_op_dropped(env, w);
    gs_weight_rows rows = {.data = j.rows, .own = j.rows};
    GS_TRY(gs_packed_linear_create(env, node, rows, NULL, &packed, err));
    node->prepared = packed;
    return GS_OK;
}

static void describe(const gs_attr *attr, gs_strbuf *out) {
    gs_strbuf_printf(out, " %s computed in %s", gs_scheme_name(attr->quant.scheme),
                     gs_dtype_name(attr->quant.compute));
}

const gs_op_class gs_op_class_QLINEAR = {
    .required = GS_ROLE_BIT(GS_ROLE_WEIGHT) | GS_ROLE_BIT(GS_ROLE_WEIGHT_SCALE),
    .optional = GS_ROLE_BIT(GS_ROLE_WEIGHT_OFFSET) | GS_ROLE_BIT(GS_ROLE_BIAS),
    .infer = infer,
    .prepare = prepare,
    .forward = gs_packed_linear_forward,
    .release = gs_packed_linear_release,
    .describe = describe,
};
