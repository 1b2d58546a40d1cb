/* Shares of experts: p = softmax of the row in f32 (exp_sum_f32 with the row's maximum, then one division each); the top_k
 * largest are kept, of equal ones those of lower index, all others become 0; with renormalize the kept ones are divided by
 * their sum, added in ascending order of experts in f32. NaN or +inf in a row makes NaN of what is kept. */
#include <network/ops/op.h>

#include <math.h>

static gs_status infer(const gs_node *node, gs_dims *out, gs_error *err) {
    int64_t top_k = node->attr.route.top_k;
    GS_TRY(gs_op_check_ndim(node, 0, 1, err));
    int64_t experts = node->input[0]->dims.dim[0];
    if (top_k < 1 || top_k > GS_OP_MAX_HEADS || (experts && top_k > experts))
        return GS_FAIL(err, GS_E_INVALID, "%lld of %lld experts", (long long)top_k, (long long)experts);
    return gs_op_infer_same(node, out, err);
}

/* Marks the largest that has no mark, which is a sign: softmax has none. */
static void mark_largest(int64_t n, float *p) {
    int64_t best = -1;
    for (int64_t i = 0; i < n; i++)
        if (!signbit(p[i]) && (best < 0 || p[i] > p[best])) best = i;
    p[best] = -p[best];
}

static void route_row(const gs_op_call *call, int64_t n, const float *x, float *p) {
    const gs_attr *a = &call->node->attr;
    float sum = call->env->kernels->exp_sum_f32(n, x, call->env->kernels->max_f32(n, x), p), top = 0;
    for (int64_t i = 0; i < n; i++) p[i] = fabsf(p[i] / sum);
    for (int64_t k = 0; k < a->route.top_k; k++) mark_largest(n, p);
    for (int64_t i = 0; i < n; i++) {
        p[i] = signbit(p[i]) ? -p[i] : 0.0f;
        top += p[i];
    }
    for (int64_t i = 0; a->route.renormalize && i < n; i++)
        if (p[i] != 0) p[i] /= top;
}

static void route_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const gs_op_call *call = ctx;
    int64_t n = gs_op_width(call->node->output);
    for (int64_t r = begin; r < end; r++) route_row(call, n, call->in[0] + r * n, call->out + r * n);
}

static gs_status forward(const gs_op_call *call, gs_error *err) {
    (void)err;
    gs_op_for_rows(call, route_rows);
    return GS_OK;
}

static void describe(const gs_attr *attr, gs_strbuf *out) {
    gs_strbuf_printf(out, " top %lld%s", (long long)attr->route.top_k, attr->route.renormalize ? " renormalized" : "");
}

const gs_op_class gs_op_class_ROUTE = {
    .in_place = 1,
    .infer = infer,
    .forward = forward,
    .describe = describe,
};
