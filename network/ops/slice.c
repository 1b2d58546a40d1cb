/* Some channels of the input: `count` pieces of `width`, `stride` apart from `start` on, laid end to end. What takes the
 * parts of a fused projection apart: [q | k | v] with one piece each, or pieces of every group. */
#include <network/ops/op.h>

#include <string.h>

static const int64_t LIMIT = (int64_t)1 << 40; /* channels; keeps products from overflowing */

/* One past the last channel read. */
static int64_t end_of(const gs_attr *a) { return a->slice.start + (a->slice.count - 1) * a->slice.stride + a->slice.width; }

static bool is_possible(const gs_attr *a) {
    if (a->slice.start < 0 || a->slice.start > LIMIT || a->slice.width < 1 || a->slice.width > LIMIT) return false;
    if (a->slice.count < 1 || a->slice.count > GS_OP_MAX_HEADS) return false;
    if (a->slice.count == 1) return a->slice.stride >= 0 && a->slice.stride <= LIMIT;
    return a->slice.stride >= a->slice.width && a->slice.stride <= LIMIT;
}

static gs_status infer(const gs_node *node, gs_dims *out, gs_error *err) {
    const gs_attr *a = &node->attr;
    GS_TRY(gs_op_check_ndim(node, 0, 1, err));
    int64_t in = node->input[0]->dims.dim[0];
    if (!is_possible(a))
        return GS_FAIL(err, GS_E_INVALID, "a slice of %lld x %lld channels from %lld on, %lld apart", (long long)a->slice.count,
                       (long long)a->slice.width, (long long)a->slice.start, (long long)a->slice.stride);
    if (in && end_of(a) > in)
        return GS_FAIL(err, GS_E_INVALID, "a slice up to channel %lld does not fit an input of %lld", (long long)end_of(a),
                       (long long)in);
    *out = (gs_dims){.ndim = 1, .dim = {a->slice.count * a->slice.width}};
    return GS_OK;
}

static void slice_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const gs_op_call *call = ctx;
    const gs_attr *a = &call->node->attr;
    int64_t in = gs_op_width(call->node->input[0]), width = a->slice.width;
    float *y = call->out + begin * width * a->slice.count;
    for (int64_t r = begin; r < end; r++)
        for (int64_t i = 0; i < a->slice.count; i++, y += width)
            memcpy(y, call->in[0] + r * in + a->slice.start + i * a->slice.stride, (size_t)width * sizeof *y);
}

static gs_status forward(const gs_op_call *call, gs_error *err) {
    (void)err;
    gs_op_for_rows(call, slice_rows);
    return GS_OK;
}

static int64_t source_channel(const gs_node *node, int64_t channel) {
    const gs_attr *a = &node->attr;
    return a->slice.start + channel / a->slice.width * a->slice.stride + channel % a->slice.width;
}

static void describe(const gs_attr *attr, gs_strbuf *out) {
    gs_strbuf_printf(out, " start %lld width %lld", (long long)attr->slice.start, (long long)attr->slice.width);
    if (attr->slice.count > 1)
        gs_strbuf_printf(out, " stride %lld count %lld", (long long)attr->slice.stride, (long long)attr->slice.count);
}

const gs_op_class gs_op_class_SLICE = {
    .infer = infer,
    .forward = forward,
    .scaling = GS_SCALED_BY_INPUT,
    .scale_source = source_channel,
    .describe = describe,
};
