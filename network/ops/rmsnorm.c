#include <network/ops/op.h>

#include <base/mem.h>

static gs_status infer(const gs_node *node, gs_dims *out, gs_error *err) {
    const gs_dims *in = &node->input[0]->dims;
    const gs_param *w = node->param[GS_ROLE_WEIGHT];
    GS_TRY(gs_op_check_ndim(node, 0, 1, err));
    if (w->ndim != 1 || w->shape[0] < 1 || !gs_op_dim_fits(in->dim[0], w->shape[0]))
        return gs_op_misfit(node, GS_ROLE_WEIGHT, in, err);
    if (!(node->attr.eps >= 0))
        return GS_FAIL(err, GS_E_INVALID, "rmsnorm with eps %g", (double)node->attr.eps);
    *out = (gs_dims){.ndim = 1, .dim = {w->shape[0]}};
    return GS_OK;
}

static gs_status prepare(const gs_op_env *env, gs_node *node, gs_error *err) {
    float *weight;
    GS_TRY(gs_op_read(env, node->param[GS_ROLE_WEIGHT], &weight, err));
    node->prepared = weight;
    return GS_OK;
}

static void norm_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const gs_op_call *call = ctx;
    int64_t n = gs_op_width(call->node->output);
    for (int64_t r = begin; r < end; r++)
        call->env->kernels->rmsnorm_f32(n, call->in[0] + r * n, call->node->prepared,
                                        call->node->attr.eps, call->out + r * n);
}

static gs_status forward(const gs_op_call *call, gs_error *err) {
    (void)err;
    gs_op_for_rows(call, norm_rows);
    return GS_OK;
}

static void describe(const gs_attr *attr, gs_strbuf *out) {
    gs_strbuf_printf(out, " eps %g", (double)attr->eps);
}

const gs_op_class gs_op_class_RMSNORM = {
    .required = GS_ROLE_BIT(GS_ROLE_WEIGHT),
    .in_place = 1,
    .infer = infer,
    .prepare = prepare,
    .forward = forward,
    .release = gs_free,
    .scaling = GS_SCALED_BY_PARAMS,
    .describe = describe,
};
