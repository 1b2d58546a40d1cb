/* y = x * factor, rounded once: the multipliers some families put on embeddings, branches and logits. */
#include <network/ops/op.h>

#include <math.h>

static gs_status infer(const gs_node *node, gs_dims *out, gs_error *err) {
    float factor = node->attr.scale.factor;
    if (!isfinite(factor) || factor == 0) return GS_FAIL(err, GS_E_INVALID, "a scale of %g", (double)factor);
    return gs_op_infer_same(node, out, err);
}

static void scale_elements(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const gs_op_call *call = ctx;
    call->env->kernels->scale_f32(end - begin, call->in[0] + begin, call->node->attr.scale.factor, call->out + begin);
}

static gs_status forward(const gs_op_call *call, gs_error *err) {
    (void)err;
    gs_op_for_elements(call, scale_elements);
    return GS_OK;
}

static void describe(const gs_attr *attr, gs_strbuf *out) { gs_strbuf_printf(out, " by %g", (double)attr->scale.factor); }

const gs_op_class gs_op_class_SCALE = {
    .in_place = 1,
    .infer = infer,
    .forward = forward,
    .scaling = GS_SCALED_BY_INPUT,
    .describe = describe,
};
