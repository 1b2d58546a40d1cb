/* The rows of x that go to one expert, zeros for others. Inputs: x, routing. */
#include <network/ops/routed_rows.h>

#include <string.h>

static gs_status infer(const gs_node *node, gs_dims *out, gs_error *err) {
    GS_TRY(gs_op_check_ndim(node, 0, 1, err));
    GS_TRY(gs_routed_check(node, 1, err));
    return gs_op_infer_same(node, out, err);
}

static void select_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const gs_op_call *call = ctx;
    int64_t n = gs_op_width(call->node->output);
    for (int64_t r = begin; r < end; r++) {
        float *y = call->out + r * n;
        if (gs_routed_share(call, 1, r) != 0) memcpy(y, call->in[0] + r * n, (size_t)n * sizeof *y);
        else memset(y, 0, (size_t)n * sizeof *y);
    }
}

static gs_status forward(const gs_op_call *call, gs_error *err) {
    (void)err;
    gs_op_for_rows(call, select_rows);
    return GS_OK;
}

const gs_op_class gs_op_class_SELECT = {
    .infer = infer,
    .forward = forward,
    .describe = gs_routed_describe,
};
