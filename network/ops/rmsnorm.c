/* y = x / sqrt(mean(x^2) + eps) * w + b; the bias, which few norms have, is added last. With `heads` each head's slice of
 * the row is normalised by itself, all with the same weight; with plus_one w is 1 + weight, rounded to f32. */
#include <network/ops/op.h>

#include <base/mem.h>

static gs_status infer(const gs_node *node, gs_dims *out, gs_error *err) {
    const gs_dims *in = &node->input[0]->dims;
    const gs_param *w = node->param[GS_ROLE_WEIGHT];
    int64_t heads = node->attr.norm.heads, width;
    GS_TRY(gs_op_check_ndim(node, 0, 1, err));
    if (heads < 0 || heads > GS_OP_MAX_HEADS)
        return GS_FAIL(err, GS_E_INVALID, "rmsnorm of %lld heads", (long long)heads);
    if (w->ndim != 1 || w->shape[0] < 1 || __builtin_mul_overflow(w->shape[0], heads ? heads : 1, &width) ||
        !gs_op_dim_fits(in->dim[0], width))
        return gs_op_misfit(node, GS_ROLE_WEIGHT, in, err);
    GS_TRY(gs_op_check_vector(node, GS_ROLE_BIAS, w->shape[0], err));
    if (!(node->attr.eps >= 0))
        return GS_FAIL(err, GS_E_INVALID, "rmsnorm with eps %g", (double)node->attr.eps);
    *out = (gs_dims){.ndim = 1, .dim = {width}};
    return GS_OK;
}

typedef struct state {
    float *weight, *bias; /* [width], or [width / heads]; bias NULL: none */
} state;

static void release(void *prepared) {
    state *s = prepared;
    gs_free(s->weight);
    gs_free(s->bias);
    gs_free(s);
}

static gs_status prepare(const gs_op_env *env, gs_node *node, gs_error *err) {
    state *s = gs_calloc(1, sizeof *s);
    if (!s) return gs_error_nomem(err, sizeof *s);
    gs_status status = gs_op_read(env, node->param[GS_ROLE_WEIGHT], &s->weight, err);
    if (status == GS_OK && node->param[GS_ROLE_BIAS])
        status = gs_op_read(env, node->param[GS_ROLE_BIAS], &s->bias, err);
    if (status != GS_OK) {
        release(s);
        return status;
    }
    int64_t n = gs_param_count(node->param[GS_ROLE_WEIGHT]);
    for (int64_t i = 0; i < n && node->attr.norm.plus_one; i++) s->weight[i] += 1.0f;
    node->prepared = s;
    return GS_OK;
}

static void norm_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const gs_op_call *call = ctx;
    const gs_kernels *k = call->env->kernels;
    const state *s = call->node->prepared;
    int64_t heads = call->node->attr.norm.heads ? call->node->attr.norm.heads : 1;
    int64_t n = gs_op_width(call->node->output) / heads;
    for (int64_t i = begin * heads; i < end * heads; i++) {
        float *y = call->out + i * n;
        k->rmsnorm_f32(n, call->in[0] + i * n, s->weight, call->node->attr.eps, y);
        if (s->bias) k->add_f32(n, y, s->bias, y);
    }
}

static gs_status forward(const gs_op_call *call, gs_error *err) {
    (void)err;
    gs_op_for_rows(call, norm_rows);
    return GS_OK;
}

static void describe(const gs_attr *attr, gs_strbuf *out) {
    gs_strbuf_printf(out, " eps %g", (double)attr->eps);
    if (attr->norm.heads) gs_strbuf_printf(out, " heads %lld", (long long)attr->norm.heads);
    if (attr->norm.plus_one) gs_strbuf_puts(out, " plus one");
}

/* A weight that serves every head, or has one added to it, has no value for a channel's factor. */
static bool is_rigid(const gs_attr *attr) { return attr->norm.heads || attr->norm.plus_one; }

const gs_op_class gs_op_class_RMSNORM = {
    .required = GS_ROLE_BIT(GS_ROLE_WEIGHT),
    .optional = GS_ROLE_BIT(GS_ROLE_BIAS),
    .in_place = 1,
    .infer = infer,
    .prepare = prepare,
    .forward = forward,
    .release = release,
    .scaling = GS_SCALED_BY_PARAMS,
    .is_rigid = is_rigid,
    .describe = describe,
};
