#include <network/ops/op.h>

#include <base/mem.h>
#include <kernels/conv/conv.h>

#include <math.h>

typedef struct batchnorm {
    float *gamma, *beta, *mean, *variance; /* [channels] each */
} batchnorm;

static gs_status infer(const gs_node *node, gs_dims *out, gs_error *err) {
    const gs_dims *in = &node->input[0]->dims;
    const gs_param *w = node->param[GS_ROLE_WEIGHT];
    GS_TRY(gs_op_check_ndim(node, 0, 3, err));
    if (w->ndim != 1 || w->shape[0] < 1 || !gs_op_dim_fits(in->dim[0], w->shape[0]))
        return gs_op_misfit(node, GS_ROLE_WEIGHT, in, err);
    GS_TRY(gs_op_check_vector(node, GS_ROLE_BIAS, w->shape[0], err));
    GS_TRY(gs_op_check_vector(node, GS_ROLE_MEAN, w->shape[0], err));
    GS_TRY(gs_op_check_vector(node, GS_ROLE_VARIANCE, w->shape[0], err));
    *out = *in;
    out->dim[0] = w->shape[0];
    return GS_OK;
}

static void release(void *prepared) {
    batchnorm *b = prepared;
    gs_free(b->gamma);
    gs_free(b->beta);
    gs_free(b->mean);
    gs_free(b->variance);
    gs_free(b);
}

static gs_status read_all(const gs_op_env *env, const gs_node *node, batchnorm *b, gs_error *err) {
    GS_TRY(gs_op_read(env, node->param[GS_ROLE_WEIGHT], &b->gamma, err));
    GS_TRY(gs_op_read(env, node->param[GS_ROLE_BIAS], &b->beta, err));
    GS_TRY(gs_op_read(env, node->param[GS_ROLE_MEAN], &b->mean, err));
    GS_TRY(gs_op_read(env, node->param[GS_ROLE_VARIANCE], &b->variance, err));
    for (int64_t i = 0; i < node->param[GS_ROLE_VARIANCE]->shape[0]; i++) {
        double v = (double)b->variance[i] + (double)node->attr.eps;
        if (!(v > 0) || isinf(v))
            return GS_FAIL(err, GS_E_NUMERIC, "variance + eps is %g in channel %lld", v, (long long)i);
    }
    return GS_OK;
}

static gs_status prepare(const gs_op_env *env, gs_node *node, gs_error *err) {
    batchnorm *b = gs_calloc(1, sizeof *b);
    if (!b) return gs_error_nomem(err, sizeof *b);
    gs_status status = read_all(env, node, b, err);
    if (status != GS_OK) {
        release(b);
        return status;
    }
    node->prepared = b;
    return GS_OK;
}

static void norm_images(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const gs_op_call *call = ctx;
    const batchnorm *b = call->node->prepared;
    const gs_dims *in = &call->node->input[0]->dims;
    int64_t width = gs_op_width(call->node->output);
    gs_batchnorm2d_run(end - begin, in->dim[0], in->dim[1] * in->dim[2], call->in[0] + begin * width,
                       b->gamma, b->beta, b->mean, b->variance, call->node->attr.eps,
                       call->out + begin * width);
}

static gs_status forward(const gs_op_call *call, gs_error *err) {
    (void)err;
    gs_team_for(call->env->team, call->batch->rows, 1, norm_images, (void *)(uintptr_t)call);
    return GS_OK;
}

static void describe(const gs_attr *attr, gs_strbuf *out) {
    gs_strbuf_printf(out, " eps %g", (double)attr->eps);
}

const gs_op_class gs_op_class_BATCHNORM2D = {
    .required = GS_ROLE_BIT(GS_ROLE_WEIGHT) | GS_ROLE_BIT(GS_ROLE_BIAS) | GS_ROLE_BIT(GS_ROLE_MEAN) |
                GS_ROLE_BIT(GS_ROLE_VARIANCE),
    .in_place = 1,
    .infer = infer,
    .prepare = prepare,
    .forward = forward,
    .release = release,
    .describe = describe,
};
