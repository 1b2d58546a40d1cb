/* y = cap * tanh(x / cap): values stay within (-cap, cap) (Gemma 2, 2024, section 2). */
#include <network/ops/op.h>

#include <math.h>

static gs_status infer(const gs_node *node, gs_dims *out, gs_error *err) {
    float cap = node->attr.softcap.cap;
    if (!isfinite(cap) || !(cap > 0)) return GS_FAIL(err, GS_E_INVALID, "a soft cap of %g", (double)cap);
    return gs_op_infer_same(node, out, err);
}

static void cap_elements(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const gs_op_call *call = ctx;
    call->env->kernels->softcap_f32(end - begin, call->in[0] + begin, call->node->attr.softcap.cap, call->out + begin);
}

static gs_status forward(const gs_op_call *call, gs_error *err) {
    (void)err;
    gs_op_for_elements(call, cap_elements);
    return GS_OK;
}

static void describe(const gs_attr *attr, gs_strbuf *out) { gs_strbuf_printf(out, " cap %g", (double)attr->softcap.cap); }

const gs_op_class gs_op_class_SOFTCAP = {
    .in_place = 1,
    .infer = infer,
    .forward = forward,
    .describe = describe,
};
