/* gelu(gate) * up with the tanh form of gelu (GLU Variants, Shazeer 2020, section 2). Inputs: gate, up. */
#include <network/ops/op.h>

static void geglu_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const gs_op_call *call = ctx;
    int64_t n = gs_op_width(call->node->output);
    for (int64_t r = begin; r < end; r++)
        call->env->kernels->geglu_f32(n, call->in[0] + r * n, call->in[1] + r * n, call->out + r * n);
}

static gs_status forward(const gs_op_call *call, gs_error *err) {
    (void)err;
    gs_op_for_rows(call, geglu_rows);
    return GS_OK;
}

const gs_op_class gs_op_class_GEGLU = {
    .in_place = 3,
    .infer = gs_op_infer_pair,
    .forward = forward,
    .scaling = GS_SCALED_BY_INPUT,
    .scale_input = 1, /* linear in up, not in gate */
};
