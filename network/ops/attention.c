/* Causal grouped-query attention; inputs: q, k, v. The arithmetic is kernels/attention's. */
#include <kernels/attention/attention.h>
#include <network/ops/op.h>

#include <math.h>

static gs_status check_input(const gs_node *node, int input, int64_t heads, int64_t head_dim,
                             gs_error *err) {
    int64_t dim = node->input[input]->dims.dim[0];
    GS_TRY(gs_op_check_ndim(node, input, 1, err));
    if (gs_op_dim_fits(dim, heads * head_dim)) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "%lld heads of %lld do not fit input %d of %lld", (long long)heads,
                   (long long)head_dim, input, (long long)dim);
}

static gs_status infer(const gs_node *node, gs_dims *out, gs_error *err) {
    int64_t heads = node->attr.attention.heads, kv_heads = node->attr.attention.kv_heads;
    int64_t head_dim = node->attr.attention.head_dim, window = node->attr.attention.window;
    if (heads < 1 || heads > GS_OP_MAX_HEADS || kv_heads < 1 || heads % kv_heads != 0 || head_dim < 1 ||
        head_dim > GS_OP_MAX_HEADS || window < 0)
        return GS_FAIL(err, GS_E_INVALID, "attention of %lld heads over %lld of dimension %lld, window %lld",
                       (long long)heads, (long long)kv_heads, (long long)head_dim, (long long)window);
    float softcap = node->attr.attention.softcap;
    if (!(softcap >= 0) || !isfinite(softcap))
        return GS_FAIL(err, GS_E_INVALID, "attention with a soft cap of %g", (double)softcap);
    GS_TRY(check_input(node, 0, heads, head_dim, err));
    GS_TRY(check_input(node, 1, kv_heads, head_dim, err));
    GS_TRY(check_input(node, 2, kv_heads, head_dim, err));
    *out = (gs_dims){.ndim = 1, .dim = {heads * head_dim}};
    return GS_OK;
}

static gs_status forward(const gs_op_call *call, gs_error *err) {
    const gs_attr *a = &call->node->attr;
    gs_attention_shape shape = {.heads = a->attention.heads, .kv_heads = a->attention.kv_heads,
                                .head_dim = a->attention.head_dim, .scale = a->attention.scale,
                                .window = a->attention.window, .softcap = a->attention.softcap,
                                .alibi = a->attention.alibi};
    GS_TRY(gs_op_check_sequences(call, err));
    return gs_attention_run(call->env->team, call->env->type, &shape, call->batch->sequences,
                            call->batch->starts, call->in[0], call->in[1], call->in[2], call->out, err);
}

/* A query head's output mixes the values of the key-value head it shares. */
static int64_t value_channel(const gs_node *node, int64_t channel) {
    int64_t dim = node->attr.attention.head_dim;
    int64_t share = node->attr.attention.heads / node->attr.attention.kv_heads;
    return channel / dim / share * dim + channel % dim;
}

static void describe(const gs_attr *attr, gs_strbuf *out) {
    gs_strbuf_printf(out, " heads %lld/%lld head_dim %lld scale %g", (long long)attr->attention.heads,
                     (long long)attr->attention.kv_heads, (long long)attr->attention.head_dim,
                     (double)attr->attention.scale);
    if (attr->attention.window)
        gs_strbuf_printf(out, " window %lld", (long long)attr->attention.window);
    if (attr->attention.softcap > 0) gs_strbuf_printf(out, " softcap %g", (double)attr->attention.softcap);
    if (attr->attention.alibi) gs_strbuf_puts(out, " alibi");
}

const gs_op_class gs_op_class_ATTENTION = {
    .infer = infer,
    .forward = forward,
    .scaling = GS_SCALED_BY_INPUT,
    .scale_input = 2,
    .scale_source = value_channel,
    .describe = describe,
};
