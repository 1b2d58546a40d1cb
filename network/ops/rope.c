#include <network/ops/op.h>
#include <network/ops/rope_table.h>

#include <base/mem.h>

#include <math.h>
#include <string.h>

/* "positive": also finite and no NaN */
static bool positive(double x) { return x > 0 && isfinite(x); }

static gs_status check_attr(const gs_attr *attr, gs_error *err) {
    int64_t heads = attr->rope.heads, head_dim = attr->rope.head_dim;
    if (heads < 1 || heads > GS_OP_MAX_HEADS || head_dim < 2 || head_dim > GS_OP_MAX_HEADS ||
        head_dim % 2 != 0 || !positive(attr->rope.theta))
        return GS_FAIL(err, GS_E_INVALID, "rope of %lld heads of %lld with theta %g", (long long)heads,
                       (long long)head_dim, attr->rope.theta);
    bool known = attr->rope.kind == GS_ROPE_PLAIN || attr->rope.kind == GS_ROPE_LINEAR ||
                 attr->rope.kind == GS_ROPE_LLAMA3;
    if (!known) return GS_FAIL(err, GS_E_UNSUPPORTED, "rope scaling %d", (int)attr->rope.kind);
    if (attr->rope.kind != GS_ROPE_PLAIN && !positive(attr->rope.factor))
        return GS_FAIL(err, GS_E_INVALID, "rope scaling by %g", attr->rope.factor);
    double low = attr->rope.low_freq_factor, high = attr->rope.high_freq_factor;
    bool ordered = positive(low) && positive(high) && low < high && attr->rope.original_positions >= 1;
    if (attr->rope.kind == GS_ROPE_LLAMA3 && !ordered)
        return GS_FAIL(err, GS_E_INVALID, "rope scaling between frequencies %g and %g of %lld positions",
                       low, high, (long long)attr->rope.original_positions);
    return GS_OK;
}

static gs_status infer(const gs_node *node, gs_dims *out, gs_error *err) {
    const gs_dims *in = &node->input[0]->dims;
    int64_t heads = node->attr.rope.heads, head_dim = node->attr.rope.head_dim;
    GS_TRY(check_attr(&node->attr, err));
    GS_TRY(gs_op_check_ndim(node, 0, 1, err));
    if (!gs_op_dim_fits(in->dim[0], heads * head_dim))
        return GS_FAIL(err, GS_E_INVALID, "%lld heads of %lld do not fit an input of %lld",
                       (long long)heads, (long long)head_dim, (long long)in->dim[0]);
    *out = (gs_dims){.ndim = 1, .dim = {heads * head_dim}};
    return GS_OK;
}

static void release(void *prepared) {
    gs_rope_table_clear(prepared);
    gs_free(prepared);
}

static gs_status prepare(const gs_op_env *env, gs_node *node, gs_error *err) {
    (void)env;
    gs_rope_table *t = gs_calloc(1, sizeof *t);
    if (!t) return gs_error_nomem(err, sizeof *t);
    gs_status status = gs_rope_table_init(t, &node->attr, err);
    if (status != GS_OK) {
        release(t);
        return status;
    }
    node->prepared = t;
    return GS_OK;
}

/* The sequence that holds a row: the last that starts at or before it and is not empty. */
static int64_t sequence_of(const gs_batch *b, int64_t row) {
    int64_t low = 0, high = b->sequences - 1;
    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2;
        if (b->starts[middle] <= row) low = middle;
        else high = middle - 1;
    }
    return low;
}

static void rotate_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const gs_op_call *call = ctx;
    const gs_rope_table *t = call->node->prepared;
    int64_t heads = call->node->attr.rope.heads, head_dim = call->node->attr.rope.head_dim;
    int64_t n = heads * head_dim;
    for (int64_t r = begin; r < end; r++) {
        int64_t position = r - call->batch->starts[sequence_of(call->batch, r)];
        float *y = call->out + r * n;
        if (call->out != call->in[0]) memcpy(y, call->in[0] + r * n, (size_t)n * sizeof *y);
        for (int64_t h = 0; h < heads; h++)
            call->env->kernels->rope_f32(t->half, t->cosine + position * t->half,
                                         t->sine + position * t->half, y + h * head_dim);
    }
}

static gs_status forward(const gs_op_call *call, gs_error *err) {
    const gs_batch *b = call->batch;
    int64_t longest = 0;
    GS_TRY(gs_op_check_sequences(call, err));
    for (int64_t s = 0; s < b->sequences; s++) {
        int64_t length = b->starts[s + 1] - b->starts[s];
        if (length > longest) longest = length;
    }
    GS_TRY(gs_rope_table_grow(call->node->prepared, call->env->team, longest, err));
    gs_op_for_rows(call, rotate_rows);
    return GS_OK;
}

static void describe(const gs_attr *attr, gs_strbuf *out) {
    gs_strbuf_printf(out, " heads %lld head_dim %lld theta %g", (long long)attr->rope.heads,
                     (long long)attr->rope.head_dim, attr->rope.theta);
    if (attr->rope.kind == GS_ROPE_LINEAR) gs_strbuf_printf(out, " linear factor %g", attr->rope.factor);
    if (attr->rope.kind == GS_ROPE_LLAMA3)
        gs_strbuf_printf(out, " llama3 factor %g low %g high %g original %lld", attr->rope.factor,
                         attr->rope.low_freq_factor, attr->rope.high_freq_factor,
                         (long long)attr->rope.original_positions);
}

const gs_op_class gs_op_class_ROPE = {
    .in_place = 1,
    .infer = infer,
    .prepare = prepare,
    .forward = forward,
    .release = release,
    .describe = describe,
};
