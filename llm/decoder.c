#include <llm/decoder.h>

#include <math.h>
#include <stdio.h>

/* What the building steps below share. */
typedef struct builder {
    gs_net *net;
    const gs_checkpoint *checkpoint;
    const gs_model_config *config;
    gs_error *err;
    char prefix[128]; /* of the node names, "model.layers.3." or "" */
} builder;

enum { NAME = 256 };

static void node_name(const builder *b, const char *stem, char out[NAME]) {
    snprintf(out, NAME, "%s%s", b->prefix, stem);
}

/* Hangs tensor "<owner>.<role>" on the node (or plans it) and checks its shape: [rows, cols], or [rows] when
 * cols is 0. `owner` NULL: the node's own name. */
static gs_status attach(builder *b, gs_node *node, gs_role role, const char *owner, int64_t rows,
                        int64_t cols) {
    char name[NAME + 16];
    snprintf(name, sizeof name, "%s.%s", owner ? owner : node->name, gs_role_name(role));
    if (!b->checkpoint) {
        const int64_t shape[2] = {rows, cols};
        return gs_net_param_new(b->net, node, role, name, GS_F32, cols ? 2 : 1, shape, NULL, b->err);
    }
    const gs_tensor *t = gs_checkpoint_find(b->checkpoint, name);
    char want[64], got[128];
    if (cols)
        snprintf(want, sizeof want, "[%lld, %lld]", (long long)rows, (long long)cols);
    else
        snprintf(want, sizeof want, "[%lld]", (long long)rows);
    if (!t) return GS_FAIL(b->err, GS_E_FORMAT, "tensor '%s' %s is missing", name, want);
    bool fits = t->ndim == (cols ? 2 : 1) && t->shape[0] == rows && (!cols || t->shape[1] == cols);
    if (!fits)
        return GS_FAIL(b->err, GS_E_FORMAT, "tensor '%s' is %s, config.json asks for %s", name,
                       gs_tensor_shape_text(t, got, sizeof got), want);
    return gs_net_param_view(b->net, node, role, t, b->err);
}

static gs_status linear(builder *b, const char *stem, gs_edge *x, int64_t out, int64_t in, bool bias,
                        gs_edge **y) {
    char name[NAME];
    gs_node *node;
    node_name(b, stem, name);
    GS_TRY(gs_net_add(b->net, GS_OP_LINEAR, name, 1, &x, NULL, &node, b->err));
    GS_TRY(attach(b, node, GS_ROLE_WEIGHT, NULL, out, in));
    if (bias) GS_TRY(attach(b, node, GS_ROLE_BIAS, NULL, out, 0));
    *y = node->output;
    return GS_OK;
}

static gs_status norm(builder *b, const char *stem, gs_edge *x, gs_edge **y) {
    char name[NAME];
    gs_node *node;
    gs_attr attr = {.eps = (float)b->config->norm_eps};
    node_name(b, stem, name);
    GS_TRY(gs_net_add(b->net, GS_OP_RMSNORM, name, 1, &x, &attr, &node, b->err));
    GS_TRY(attach(b, node, GS_ROLE_WEIGHT, NULL, b->config->hidden, 0));
    *y = node->output;
    return GS_OK;
}

static gs_status plain(builder *b, gs_op op, const char *stem, int n, gs_edge *const *x,
                       const gs_attr *attr, gs_edge **y) {
    char name[NAME];
    gs_node *node;
    node_name(b, stem, name);
    GS_TRY(gs_net_add(b->net, op, name, n, x, attr, &node, b->err));
    *y = node->output;
    return GS_OK;
}

static gs_attr rope_attr(const gs_model_config *c, int64_t heads) {
    gs_attr a = {0};
    a.rope.heads = heads;
    a.rope.head_dim = c->head_dim;
    a.rope.theta = c->rope_theta;
    if (c->rope_scaling.kind == GS_ROPE_SCALING_LINEAR) a.rope.kind = GS_ROPE_LINEAR;
    if (c->rope_scaling.kind == GS_ROPE_SCALING_LLAMA3) a.rope.kind = GS_ROPE_LLAMA3;
    a.rope.factor = c->rope_scaling.factor;
    a.rope.low_freq_factor = c->rope_scaling.low_freq_factor;
    a.rope.high_freq_factor = c->rope_scaling.high_freq_factor;
    a.rope.original_positions = c->rope_scaling.original_max_positions;
    return a;
}

static gs_status attention(builder *b, const gs_network_helper *h, gs_edge *n, gs_edge **y) {
    const gs_model_config *c = b->config;
    int64_t q_dim = c->heads * c->head_dim, kv_dim = c->kv_heads * c->head_dim;
    gs_edge *q, *k, *v, *heads;
    bool bias = c->attention_bias || h->qkv_bias;
    GS_TRY(linear(b, h->name.q, n, q_dim, c->hidden, bias, &q));
    GS_TRY(linear(b, h->name.k, n, kv_dim, c->hidden, bias, &k));
    GS_TRY(linear(b, h->name.v, n, kv_dim, c->hidden, bias, &v));
    gs_attr rope_q = rope_attr(c, c->heads), rope_k = rope_attr(c, c->kv_heads);
    GS_TRY(plain(b, GS_OP_ROPE, "rope_q", 1, &q, &rope_q, &q));
    GS_TRY(plain(b, GS_OP_ROPE, "rope_k", 1, &k, &rope_k, &k));
    gs_attr attr = {0};
    attr.attention.heads = c->heads;
    attr.attention.kv_heads = c->kv_heads;
    attr.attention.head_dim = c->head_dim;
    attr.attention.scale = (float)(1.0 / sqrt((double)c->head_dim));
    gs_edge *qkv[3] = {q, k, v};
    GS_TRY(plain(b, GS_OP_ATTENTION, "attention", 3, qkv, &attr, &heads));
    return linear(b, h->name.o, heads, c->hidden, q_dim, c->attention_bias && !h->qkv_bias, y);
}

static gs_status mlp(builder *b, const gs_network_helper *h, gs_edge *n, gs_edge **y) {
    const gs_model_config *c = b->config;
    gs_edge *gate_up[2], *hidden;
    GS_TRY(linear(b, h->name.gate, n, c->intermediate, c->hidden, c->mlp_bias, &gate_up[0]));
    GS_TRY(linear(b, h->name.up, n, c->intermediate, c->hidden, c->mlp_bias, &gate_up[1]));
    GS_TRY(plain(b, GS_OP_SWIGLU, "swiglu", 2, gate_up, NULL, &hidden));
    return linear(b, h->name.down, hidden, c->hidden, c->intermediate, c->mlp_bias, y);
}

static gs_status block(builder *b, const gs_network_helper *h, gs_edge *x, gs_edge **y) {
    gs_edge *sum[2] = {x, NULL}, *n;
    GS_TRY(norm(b, h->name.input_norm, x, &n));
    GS_TRY(attention(b, h, n, &sum[1]));
    GS_TRY(plain(b, GS_OP_ADD, "attention_residual", 2, sum, NULL, &x));
    GS_TRY(norm(b, h->name.post_norm, x, &n));
    sum[0] = x;
    GS_TRY(mlp(b, h, n, &sum[1]));
    return plain(b, GS_OP_ADD, "mlp_residual", 2, sum, NULL, y);
}

static gs_status embed(builder *b, const gs_network_helper *h, gs_edge *x, gs_edge **y) {
    gs_node *node;
    GS_TRY(gs_net_add(b->net, GS_OP_EMBEDDING, h->name.embed, 1, &x, NULL, &node, b->err));
    GS_TRY(attach(b, node, GS_ROLE_WEIGHT, NULL, b->config->vocab, b->config->hidden));
    *y = node->output;
    return GS_OK;
}

static gs_status head(builder *b, const gs_network_helper *h, bool tied, gs_edge *x, gs_edge **y) {
    gs_edge *n;
    gs_node *node;
    GS_TRY(norm(b, h->name.final_norm, x, &n));
    GS_TRY(gs_net_add(b->net, GS_OP_LINEAR, h->name.head, 1, &n, NULL, &node, b->err));
    GS_TRY(attach(b, node, GS_ROLE_WEIGHT, tied ? h->name.embed : NULL, b->config->vocab,
                  b->config->hidden));
    *y = node->output;
    return GS_OK;
}

/* Net with its input and, once `y` is known, its output and dims. */
static gs_status start(builder *b, const gs_decoder_source *s, const char *name, gs_dims dims, gs_edge **x,
                       gs_error *err) {
    *b = (builder){.checkpoint = s->checkpoint, .config = s->config, .err = err};
    GS_TRY(gs_net_create(name, &b->net, err));
    return gs_net_input(b->net, "x", dims, x, err);
}

static gs_status finish(builder *b, gs_status status, gs_edge *y, gs_net **out) {
    if (status == GS_OK) status = gs_net_output(b->net, y, b->err);
    if (status == GS_OK) status = gs_net_infer(b->net, b->err);
    if (status != GS_OK) {
        gs_net_destroy(b->net);
        return status;
    }
    *out = b->net;
    return GS_OK;
}

gs_status gs_decoder_embed(const gs_decoder_source *s, gs_net **out, gs_error *err) {
    builder b;
    gs_edge *x = NULL, *y = NULL;
    gs_status status = start(&b, s, "embedding", (gs_dims){0}, &x, err);
    if (status == GS_OK) status = embed(&b, s->helper, x, &y);
    return finish(&b, status, y, out);
}

gs_status gs_decoder_block(const gs_decoder_source *s, int layer, gs_net **out, gs_error *err) {
    builder b;
    gs_edge *x = NULL, *y = NULL;
    char name[100];
    /* the format is data of this program, one %d (network_helper.h) */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(name, sizeof name, s->helper->name.block, layer);
#pragma GCC diagnostic pop
    gs_dims dims = {.ndim = 1, .dim = {s->config->hidden}};
    gs_status status = start(&b, s, name, dims, &x, err);
    if (status == GS_OK) {
        snprintf(b.prefix, sizeof b.prefix, "%s.", name);
        status = block(&b, s->helper, x, &y);
    }
    return finish(&b, status, y, out);
}

gs_status gs_decoder_head(const gs_decoder_source *s, bool tied, gs_net **out, gs_error *err) {
    builder b;
    gs_edge *x = NULL, *y = NULL;
    gs_dims dims = {.ndim = 1, .dim = {s->config->hidden}};
    gs_status status = start(&b, s, "head", dims, &x, err);
    if (status == GS_OK) status = head(&b, s->helper, tied, x, &y);
    return finish(&b, status, y, out);
}
