/* What an expert's output adds: share * y, of rows that go to it. ROUTED (y, routing) starts the sum with it, zeros for other
 * rows; ROUTED_ADD (sum, y, routing) adds it, product and sum each rounded, and leaves other rows as they are. */
#include <network/ops/routed_rows.h>

#include <string.h>

static gs_status infer_first(const gs_node *node, gs_dims *out, gs_error *err) {
    GS_TRY(gs_op_check_ndim(node, 0, 1, err));
    GS_TRY(gs_routed_check(node, 1, err));
    return gs_op_infer_same(node, out, err);
}

static gs_status infer_add(const gs_node *node, gs_dims *out, gs_error *err) {
    GS_TRY(gs_op_check_ndim(node, 0, 1, err));
    GS_TRY(gs_routed_check(node, 2, err));
    return gs_op_infer_pair(node, out, err);
}

static void start_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const gs_op_call *call = ctx;
    int64_t n = gs_op_width(call->node->output);
    for (int64_t r = begin; r < end; r++) {
        float share = gs_routed_share(call, 1, r), *y = call->out + r * n;
        if (share != 0) call->env->kernels->scale_f32(n, call->in[0] + r * n, share, y);
        else memset(y, 0, (size_t)n * sizeof *y);
    }
}

static void add_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const gs_op_call *call = ctx;
    int64_t n = gs_op_width(call->node->output);
    for (int64_t r = begin; r < end; r++) {
        float share = gs_routed_share(call, 2, r), *y = call->out + r * n;
        const float *sum = call->in[0] + r * n;
        if (share != 0) call->env->kernels->add_scaled_f32(n, sum, share, call->in[1] + r * n, y);
        else if (y != sum) memcpy(y, sum, (size_t)n * sizeof *y);
    }
}

static gs_status forward_first(const gs_op_call *call, gs_error *err) {
    (void)err;
    gs_op_for_rows(call, start_rows);
    return GS_OK;
}

static gs_status forward_add(const gs_op_call *call, gs_error *err) {
    (void)err;
    gs_op_for_rows(call, add_rows);
    return GS_OK;
}

const gs_op_class gs_op_class_ROUTED = {
    .in_place = 1,
    .infer = infer_first,
    .forward = forward_first,
    .describe = gs_routed_describe,
};

const gs_op_class gs_op_class_ROUTED_ADD = {
    .in_place = 1,
    .infer = infer_add,
    .forward = forward_add,
    .describe = gs_routed_describe,
};
