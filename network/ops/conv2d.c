/* Cross-correlation of [C, H, W] images with an OIHW weight, as every framework's conv2d. In
 * bf16 mode it stays f32: only matrix products are narrowed. */
#include <network/ops/op.h>

#include <base/mem.h>
#include <kernels/conv/conv.h>

typedef struct conv {
    float *weight, *bias; /* OIHW; [O] or NULL */
} conv;

static gs_conv2d_shape shape_of(const gs_node *node, int64_t batch) {
    const gs_dims *in = &node->input[0]->dims;
    const int64_t *w = node->param[GS_ROLE_WEIGHT]->shape;
    return (gs_conv2d_shape){.batch = batch, .in_channels = in->dim[0], .height = in->dim[1],
                             .width = in->dim[2], .out_channels = w[0], .kernel_h = w[2],
                             .kernel_w = w[3], .stride = node->attr.conv.stride,
                             .padding = node->attr.conv.padding,
                             .dilation = node->attr.conv.dilation, .groups = node->attr.conv.groups};
}

static gs_status infer(const gs_node *node, gs_dims *out, gs_error *err) {
    const gs_dims *in = &node->input[0]->dims;
    const gs_param *w = node->param[GS_ROLE_WEIGHT];
    int64_t groups = node->attr.conv.groups, height = 0, width = 0;
    GS_TRY(gs_op_check_ndim(node, 0, 3, err));
    /* divided, not multiplied: the shape may come from a file */
    bool fits = w->ndim == 4 && groups >= 1 && w->shape[1] >= 1 &&
                (in->dim[0] == 0 || (in->dim[0] % groups == 0 && in->dim[0] / groups == w->shape[1]));
    if (!fits) return gs_op_misfit(node, GS_ROLE_WEIGHT, in, err);
    GS_TRY(gs_op_check_vector(node, GS_ROLE_BIAS, w->shape[0], err));
    if (in->dim[0] && in->dim[1] && in->dim[2]) {
        gs_conv2d_shape shape = shape_of(node, 1);
        GS_TRY(gs_conv2d_output(&shape, &height, &width, err));
    }
    *out = (gs_dims){.ndim = 3, .dim = {w->shape[0], height, width}};
    return GS_OK;
}

static void release(void *prepared) {
    conv *c = prepared;
    gs_free(c->weight);
    gs_free(c->bias);
    gs_free(c);
}

static gs_status prepare(const gs_op_env *env, gs_node *node, gs_error *err) {
    conv *c = gs_calloc(1, sizeof *c);
    if (!c) return gs_error_nomem(err, sizeof *c);
    gs_status status = gs_op_read(env, node->param[GS_ROLE_WEIGHT], &c->weight, err);
    if (status == GS_OK && node->param[GS_ROLE_BIAS])
        status = gs_op_read(env, node->param[GS_ROLE_BIAS], &c->bias, err);
    if (status != GS_OK) {
        release(c);
        return status;
    }
    node->prepared = c;
    return GS_OK;
}

static gs_status forward(const gs_op_call *call, gs_error *err) {
    const conv *c = call->node->prepared;
    gs_conv2d_shape shape = shape_of(call->node, call->batch->rows);
    return gs_conv2d_run(call->env->team, &shape, call->in[0], c->weight, c->bias, call->out, err);
}

static void describe(const gs_attr *attr, gs_strbuf *out) {
    gs_strbuf_printf(out, " stride %lld padding %lld dilation %lld groups %lld",
                     (long long)attr->conv.stride, (long long)attr->conv.padding,
                     (long long)attr->conv.dilation, (long long)attr->conv.groups);
}

const gs_op_class gs_op_class_CONV2D = {
    .required = GS_ROLE_BIT(GS_ROLE_WEIGHT),
    .optional = GS_ROLE_BIT(GS_ROLE_BIAS),
    .infer = infer,
    .prepare = prepare,
    .forward = forward,
    .release = release,
    .describe = describe,
};
