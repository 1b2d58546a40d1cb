#include <network/net_private.h>
#include <network/ops/op.h>

#include <string.h>

static gs_status infer(const gs_node *node, gs_dims *out, gs_error *err) {
    const gs_dims *in = &node->input[0]->dims;
    int64_t count = 1;
    char text[128];
    *out = (gs_dims){.ndim = 1};
    for (int i = 0; i < in->ndim; i++)
        if (in->dim[i] == 0) return GS_OK; /* known at run time */
    if (!gs_dims_count(in, &count))
        return GS_FAIL(err, GS_E_INVALID, "%s is too large to flatten",
                       gs_op_dims_text(in, text, sizeof text));
    out->dim[0] = count;
    return GS_OK;
}

static gs_status forward(const gs_op_call *call, gs_error *err) {
    (void)err;
    size_t count = (size_t)call->batch->rows * (size_t)gs_op_width(call->node->output);
    if (call->out != call->in[0]) memcpy(call->out, call->in[0], count * sizeof *call->out);
    return GS_OK;
}

const gs_op_class gs_op_class_FLATTEN = {
    .in_place = 1,
    .infer = infer,
    .forward = forward,
};
