#include <network/ops/op.h>

static void relu_elements(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const gs_op_call *call = ctx;
    call->env->kernels->relu_f32(end - begin, call->in[0] + begin, call->out + begin);
}

static gs_status forward(const gs_op_call *call, gs_error *err) {
    (void)err;
    gs_op_for_elements(call, relu_elements);
    return GS_OK;
}

const gs_op_class gs_op_class_RELU = {
    .in_place = 1,
    .infer = gs_op_infer_same,
    .forward = forward,
    .scaling = GS_SCALED_BY_INPUT, /* by positive factors */
};
