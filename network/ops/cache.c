/* Keys or values as an int8 cache gives them back (ascend-bundles.md 3.7):
 *   y = (clamp(rne(x / s + o), -128, 127) - o) * s, each operation rounded to f32
 * with a scale and an offset for all channels or one a channel. GS_ARITH_CONSUMER rounds both to the compute dtype
 * first; GS_ARITH_WEIGHTS leaves values as they are. NaN stays NaN, the infinities saturate. */
#include <network/ops/op.h>
#include <network/ops/round.h>

#include <base/half.h>
#include <base/mem.h>

#include <math.h>
#include <string.h>

typedef struct state {
    float *scale, *offset; /* [width]; NULL: values stay as they are */
} state;

/* [1] or [width] of a float type. */
static gs_status check_role(const gs_node *node, gs_role role, int64_t width, gs_error *err) {
    const gs_param *p = node->param[role];
    if (!p || (p->ndim == 1 && gs_dtype_is_float(p->dtype) && (p->shape[0] == 1 || p->shape[0] == width))) return GS_OK;
    return gs_op_misfit(node, role, &node->input[0]->dims, err);
}

static gs_status infer(const gs_node *node, gs_dims *out, gs_error *err) {
    gs_dtype compute = node->attr.quant.compute;
    GS_TRY(gs_op_check_ndim(node, 0, 1, err));
    *out = node->input[0]->dims;
    if (out->dim[0] == 0) out->dim[0] = node->param[GS_ROLE_CACHE_SCALE]->ndim == 1
                                            ? node->param[GS_ROLE_CACHE_SCALE]->shape[0] : 0;
    if (compute != GS_F32 && compute != GS_F16 && compute != GS_BF16)
        return GS_FAIL(err, GS_E_INVALID, "a compute dtype of %s", gs_dtype_name(compute));
    if ((unsigned)node->attr.quant.arith > GS_ARITH_WEIGHTS)
        return GS_FAIL(err, GS_E_INVALID, "arithmetic %d", (int)node->attr.quant.arith);
    GS_TRY(check_role(node, GS_ROLE_CACHE_SCALE, out->dim[0], err));
    return check_role(node, GS_ROLE_CACHE_OFFSET, out->dim[0], err);
}

static void release(void *prepared) {
    state *s = prepared;
    gs_free(s->scale);
    gs_free(s->offset);
    gs_free(s);
}

/* The values of a role, one a channel; zeros where the node has none. */
static gs_status read_role(const gs_op_env *env, const gs_node *node, gs_role role, float **out, gs_error *err) {
    const gs_param *p = node->param[role];
    const gs_attr *a = &node->attr;
    int64_t width = gs_op_width(node->output);
    float *stored, *values = gs_calloc((size_t)width, sizeof *values);
    *out = values;
    if (!values) return gs_error_nomem(err, (size_t)width * sizeof *values);
    if (!p) return GS_OK;
    GS_TRY(gs_op_read(env, p, &stored, err));
    for (int64_t i = 0; i < width; i++) {
        float x = stored[p->shape[0] == 1 ? 0 : i];
        values[i] = a->quant.arith == GS_ARITH_CONSUMER ? gs_round_to(a->quant.compute, x) : x;
    }
    gs_free(stored);
    return GS_OK;
}

static gs_status check_values(const gs_node *node, const state *s, gs_error *err) {
    for (int64_t i = 0; i < gs_op_width(node->output); i++) {
        float o = s->offset[i];
        if (!isfinite(s->scale[i]) || !(s->scale[i] > 0))
            return GS_FAIL(err, GS_E_NUMERIC, "%s of channel %lld is %g", gs_role_name(GS_ROLE_CACHE_SCALE),
                           (long long)i, (double)s->scale[i]);
        if (!(o >= -128 && o <= 127 && o == rintf(o)))
            return GS_FAIL(err, GS_E_NUMERIC, "%s %g of channel %lld is no integer from -128 to 127",
                           gs_role_name(GS_ROLE_CACHE_OFFSET), (double)o, (long long)i);
    }
    return GS_OK;
}

static gs_status read_values(const gs_op_env *env, const gs_node *node, state *s, gs_error *err) {
    GS_TRY(read_role(env, node, GS_ROLE_CACHE_SCALE, &s->scale, err));
    GS_TRY(read_role(env, node, GS_ROLE_CACHE_OFFSET, &s->offset, err));
    return check_values(node, s, err);
}

static gs_status prepare(const gs_op_env *env, gs_node *node, gs_error *err) {
    state *s = gs_calloc(1, sizeof *s);
    if (!s) return gs_error_nomem(err, sizeof *s);
    gs_status status = node->attr.quant.arith == GS_ARITH_WEIGHTS ? GS_OK : read_values(env, node, s, err);
    if (status != GS_OK) {
        release(s);
        return status;
    }
    node->prepared = s;
    return GS_OK;
}

/* y may be x. The limits are integers, so clamping before rounding gives the same. */
static void cache_row(int64_t n, const float *x, const float *restrict scale, const float *restrict offset, float *y) {
    for (int64_t i = 0; i < n; i++) {
        float code = gs_round_even(gs_clamp(x[i] / scale[i] + offset[i], -128, 127));
        y[i] = (code - offset[i]) * scale[i];
    }
}

static void cache_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const gs_op_call *call = ctx;
    const state *s = call->node->prepared;
    int64_t n = gs_op_width(call->node->output);
    for (int64_t r = begin; r < end; r++) cache_row(n, call->in[0] + r * n, s->scale, s->offset, call->out + r * n);
}

static gs_status forward(const gs_op_call *call, gs_error *err) {
    (void)err;
    size_t bytes = (size_t)call->batch->rows * (size_t)gs_op_width(call->node->output) * sizeof(float);
    const state *s = call->node->prepared;
    if (s->scale) gs_op_for_rows(call, cache_rows);
    else if (call->out != call->in[0]) memcpy(call->out, call->in[0], bytes);
    return GS_OK;
}

static void describe(const gs_attr *attr, gs_strbuf *out) {
    if (attr->quant.arith == GS_ARITH_WEIGHTS) gs_strbuf_puts(out, " left float");
    else if (attr->quant.arith == GS_ARITH_CONSUMER) gs_strbuf_printf(out, " computed in %s", gs_dtype_name(attr->quant.compute));
}

const gs_op_class gs_op_class_CACHE = {
    .required = GS_ROLE_BIT(GS_ROLE_CACHE_SCALE),
    .optional = GS_ROLE_BIT(GS_ROLE_CACHE_OFFSET),
    .in_place = 1,
    .infer = infer,
    .prepare = prepare,
    .forward = forward,
    .release = release,
    .describe = describe,
};
