/* [C, H, W] -> [C, 1, 1]: the mean over each channel's pixels, summed in double in order. */
#include <network/ops/op.h>

static gs_status infer(const gs_node *node, gs_dims *out, gs_error *err) {
    GS_TRY(gs_op_check_ndim(node, 0, 3, err));
    *out = (gs_dims){.ndim = 3, .dim = {node->input[0]->dims.dim[0], 1, 1}};
    return GS_OK;
}

static void pool_images(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const gs_op_call *call = ctx;
    const gs_dims *in = &call->node->input[0]->dims;
    int64_t channels = in->dim[0], pixels = in->dim[1] * in->dim[2];
    for (int64_t i = begin * channels; i < end * channels; i++) {
        double sum = 0;
        for (int64_t k = 0; k < pixels; k++) sum += (double)call->in[0][i * pixels + k];
        call->out[i] = (float)(sum / (double)pixels);
    }
}

static gs_status forward(const gs_op_call *call, gs_error *err) {
    (void)err;
    gs_op_for_rows(call, pool_images);
    return GS_OK;
}

const gs_op_class gs_op_class_GLOBAL_AVGPOOL = {
    .infer = infer,
    .forward = forward,
};
