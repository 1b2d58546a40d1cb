#include <llm/decoder.h>

#include <stdio.h>

/* What the building steps below share. */
typedef struct builder {
    gs_net *net;
    const gs_checkpoint *checkpoint;
    const gs_decoder_settings *settings;
    const gs_model_config *config;
    const gs_helper_names *name;
    gs_error *err;
    int64_t window;   /* of this layer, 0: none */
    bool sparse;      /* its mlp is a mixture of experts */
    char prefix[256]; /* of the node names, "model.layers.3." or "" */
} builder;

enum { NAME = 384 };

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

/* heads: 0, or so many slices of the row that are normalised by themselves. stem NULL: no norm. */
static gs_status norm(builder *b, const char *stem, int64_t width, int64_t heads, gs_edge *x, gs_edge **y) {
    char name[NAME];
    gs_node *node;
    gs_attr attr = {.eps = (float)b->config->norm_eps};
    *y = x;
    if (!stem) return GS_OK;
    attr.norm.plus_one = b->settings->helper->norm_plus_one;
    attr.norm.heads = heads;
    node_name(b, stem, name);
    GS_TRY(gs_net_add(b->net, GS_OP_RMSNORM, name, 1, &x, &attr, &node, b->err));
    GS_TRY(attach(b, node, GS_ROLE_WEIGHT, NULL, heads ? width / heads : width, 0));
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

static gs_status scale(builder *b, const char *stem, float factor, gs_edge *x, gs_edge **y) {
    gs_attr attr = {0};
    attr.scale.factor = factor;
    *y = x;
    return factor == 1 ? GS_OK : plain(b, GS_OP_SCALE, stem, 1, &x, &attr, y);
}

/* ---- attention ---- */

static gs_rope_kind rope_kind(gs_rope_scaling_kind kind) {
    switch (kind) {
    case GS_ROPE_SCALING_LINEAR: return GS_ROPE_LINEAR;
    case GS_ROPE_SCALING_LLAMA3: return GS_ROPE_LLAMA3;
    case GS_ROPE_SCALING_DYNAMIC: return GS_ROPE_DYNAMIC;
    case GS_ROPE_SCALING_YARN: return GS_ROPE_YARN;
    default: return GS_ROPE_PLAIN;
    }
}

static gs_attr rope_attr(const builder *b, int64_t heads) {
    const gs_model_config *c = b->config;
    const gs_rope_scaling *s = b->window ? &c->sliding_rope_scaling : &c->rope_scaling;
    gs_attr a = {0};
    a.rope.heads = heads;
    a.rope.head_dim = c->head_dim;
    a.rope.rotary_dim = c->rotary_dim == c->head_dim ? 0 : c->rotary_dim;
    a.rope.theta = b->window ? c->sliding_rope_theta : c->rope_theta;
    if (b->window && b->settings->helper->window_unscaled) return a;
    a.rope.kind = rope_kind(s->kind);
    a.rope.factor = s->factor;
    a.rope.low_freq_factor = s->low_freq_factor;
    a.rope.high_freq_factor = s->high_freq_factor;
    a.rope.original_positions = s->original_max_positions;
    if (s->kind != GS_ROPE_SCALING_YARN) return a;
    a.rope.beta_fast = s->beta_fast;
    a.rope.beta_slow = s->beta_slow;
    a.rope.attention_factor = s->attention_factor;
    return a;
}

/* Norm and rotation of queries or keys. */
static gs_status turn(builder *b, const char *norm_stem, const char *stem, int64_t heads, gs_edge **x) {
    int64_t width = heads * b->config->head_dim;
    GS_TRY(norm(b, norm_stem, width, b->settings->helper->qk_norm_whole ? 0 : heads, *x, x));
    if (b->settings->alibi) return GS_OK;
    gs_attr attr = rope_attr(b, heads);
    return plain(b, GS_OP_ROPE, stem, 1, x, &attr, x);
}

void gs_decoder_qkv_slices(const gs_network_helper *helper, int64_t heads, int64_t kv_heads, int64_t head_dim, gs_attr slice[3]) {
    int64_t d = head_dim, group = heads / kv_heads, stride = kv_heads > 1 ? (group + 2) * d : 0;
    if (helper->qkv_by_group) {
        slice[0] = (gs_attr){.slice = {0, group * d, stride, kv_heads}};
        slice[1] = (gs_attr){.slice = {group * d, d, stride, kv_heads}};
        slice[2] = (gs_attr){.slice = {(group + 1) * d, d, stride, kv_heads}};
    } else {
        slice[0] = (gs_attr){.slice = {0, heads * d, 0, 1}};
        slice[1] = (gs_attr){.slice = {heads * d, kv_heads * d, 0, 1}};
        slice[2] = (gs_attr){.slice = {(heads + kv_heads) * d, kv_heads * d, 0, 1}};
    }
}

static gs_status fused_qkv(builder *b, gs_edge *n, gs_edge *qkv[3]) {
    static const char *const stem[] = {"slice_q", "slice_k", "slice_v"};
    const gs_model_config *c = b->config;
    gs_attr slice[3];
    gs_edge *all;
    GS_TRY(linear(b, b->name->qkv, n, (c->heads + 2 * c->kv_heads) * c->head_dim, c->hidden, b->settings->qkv_bias, &all));
    gs_decoder_qkv_slices(b->settings->helper, c->heads, c->kv_heads, c->head_dim, slice);
    for (int i = 0; i < 3; i++) GS_TRY(plain(b, GS_OP_SLICE, stem[i], 1, &all, &slice[i], &qkv[i]));
    return GS_OK;
}

static gs_status separate_qkv(builder *b, gs_edge *n, gs_edge *qkv[3]) {
    const gs_model_config *c = b->config;
    bool bias = b->settings->qkv_bias;
    GS_TRY(linear(b, b->name->q, n, c->heads * c->head_dim, c->hidden, bias, &qkv[0]));
    GS_TRY(linear(b, b->name->k, n, c->kv_heads * c->head_dim, c->hidden, bias, &qkv[1]));
    return linear(b, b->name->v, n, c->kv_heads * c->head_dim, c->hidden, bias, &qkv[2]);
}

static gs_status attention(builder *b, gs_edge *n, gs_edge **y) {
    const gs_model_config *c = b->config;
    const gs_decoder_settings *s = b->settings;
    gs_edge *qkv[3], *heads;
    GS_TRY(b->name->qkv && !s->split_qkv ? fused_qkv(b, n, qkv) : separate_qkv(b, n, qkv));
    GS_TRY(turn(b, b->name->q_norm, "rope_q", c->heads, &qkv[0]));
    GS_TRY(turn(b, b->name->k_norm, "rope_k", c->kv_heads, &qkv[1]));
    gs_attr attr = {0};
    attr.attention.heads = c->heads;
    attr.attention.kv_heads = c->kv_heads;
    attr.attention.head_dim = c->head_dim;
    attr.attention.window = b->window;
    attr.attention.scale = s->attention_scale;
    attr.attention.softcap = s->attention_softcap;
    attr.attention.alibi = s->alibi;
    GS_TRY(plain(b, GS_OP_ATTENTION, "attention", 3, qkv, &attr, &heads));
    return linear(b, b->name->o, heads, c->hidden, c->heads * c->head_dim, s->o_bias, y);
}

/* ---- the rest of a block ---- */

static gs_status gate_and_up(builder *b, gs_edge *n, gs_edge *gate_up[2]) {
    const gs_model_config *c = b->config;
    bool bias = b->settings->mlp_bias;
    gs_edge *both;
    if (!b->name->gate_up || b->settings->split_gate_up) {
        GS_TRY(linear(b, b->name->gate, n, c->intermediate, c->hidden, bias, &gate_up[0]));
        return linear(b, b->name->up, n, c->intermediate, c->hidden, bias, &gate_up[1]);
    }
    GS_TRY(linear(b, b->name->gate_up, n, 2 * c->intermediate, c->hidden, bias, &both));
    gs_attr half = {.slice = {.width = c->intermediate, .count = 1}};
    GS_TRY(plain(b, GS_OP_SLICE, "slice_gate", 1, &both, &half, &gate_up[0]));
    half.slice.start = c->intermediate;
    return plain(b, GS_OP_SLICE, "slice_up", 1, &both, &half, &gate_up[1]);
}

static gs_status mlp(builder *b, gs_edge *n, gs_edge **y) {
    const gs_model_config *c = b->config;
    gs_edge *gate_up[2], *hidden;
    gs_op op = b->settings->activation;
    GS_TRY(gate_and_up(b, n, gate_up));
    GS_TRY(plain(b, op, gs_op_name(op), 2, gate_up, NULL, &hidden));
    return linear(b, b->name->down, hidden, c->hidden, c->intermediate, b->settings->mlp_bias, y);
}

/* ---- experts ---- */

/* A builder whose nodes are inside one expert. */
static gs_status inside(const builder *b, int64_t expert, builder *e) {
    char place[100];
    *e = *b;
    bool fits = gs_helper_block_name(b->name->expert, expert, place, sizeof place);
    int n = snprintf(e->prefix, sizeof e->prefix, "%s%s.", b->prefix, place);
    if (fits && n >= 0 && (size_t)n < sizeof e->prefix) return GS_OK;
    return GS_FAIL(b->err, GS_E_UNSUPPORTED, "the expert name '%.40s...' is too long", b->name->expert);
}

/* y = sum + share * expert(its rows of n); without a sum, i = 0, y = share * expert(...). */
static gs_status add_expert(builder *b, int64_t i, gs_edge *n, gs_edge *routing, gs_edge **sum) {
    const gs_decoder_settings *s = b->settings;
    int64_t hidden = b->config->hidden, width = s->expert_width;
    builder e;
    gs_edge *in[2] = {n, routing}, *x, *gate_up[2], *product, *out;
    gs_attr attr = {0};
    attr.select.expert = i;
    GS_TRY(inside(b, i, &e));
    GS_TRY(plain(&e, GS_OP_SELECT, "select", 2, in, &attr, &x));
    GS_TRY(linear(&e, b->name->expert_gate, x, width, hidden, false, &gate_up[0]));
    GS_TRY(linear(&e, b->name->expert_up, x, width, hidden, false, &gate_up[1]));
    GS_TRY(plain(&e, s->activation, gs_op_name(s->activation), 2, gate_up, NULL, &product));
    GS_TRY(linear(&e, b->name->expert_down, product, hidden, width, false, &out));
    gs_edge *first[2] = {out, routing}, *more[3] = {*sum, out, routing};
    if (i == 0) return plain(&e, GS_OP_ROUTED, "sum", 2, first, &attr, sum);
    return plain(&e, GS_OP_ROUTED_ADD, "sum", 3, more, &attr, sum);
}

static gs_status mixture(builder *b, gs_edge *n, gs_edge **y) {
    const gs_decoder_settings *s = b->settings;
    gs_edge *logits, *routing;
    gs_attr attr = {0};
    attr.route.top_k = s->experts_per_token;
    attr.route.renormalize = s->renormalize;
    GS_TRY(linear(b, b->name->router, n, s->experts, b->config->hidden, false, &logits));
    GS_TRY(plain(b, GS_OP_ROUTE, "route", 1, &logits, &attr, &routing));
    for (int64_t i = 0; i < s->experts; i++) GS_TRY(add_expert(b, i, n, routing, y));
    return GS_OK;
}

/* x + factor * branch */
static gs_status residual(builder *b, const char *scale_stem, const char *stem, gs_edge *x, gs_edge *branch, gs_edge **y) {
    GS_TRY(scale(b, scale_stem, b->settings->residual_scale, branch, &branch));
    gs_edge *sum[2] = {x, branch};
    return plain(b, GS_OP_ADD, stem, 2, sum, NULL, y);
}

static gs_status block(builder *b, gs_edge *x, gs_edge **y) {
    const gs_helper_names *name = b->name;
    int64_t width = b->config->hidden;
    gs_edge *n, *branch;
    GS_TRY(norm(b, name->attention_input_norm, width, 0, x, &n));
    GS_TRY(attention(b, n, &branch));
    GS_TRY(norm(b, name->attention_output_norm, width, 0, branch, &branch));
    GS_TRY(residual(b, "attention_scaled", "attention_residual", x, branch, &x));
    GS_TRY(norm(b, name->mlp_input_norm, width, 0, x, &n));
    GS_TRY(b->sparse ? mixture(b, n, &branch) : mlp(b, n, &branch));
    GS_TRY(norm(b, name->mlp_output_norm, width, 0, branch, &branch));
    return residual(b, "mlp_scaled", "mlp_residual", x, branch, y);
}

/* ---- both ends ---- */

static gs_status embed(builder *b, gs_edge *x, gs_edge **y) {
    gs_node *node;
    GS_TRY(gs_net_add(b->net, GS_OP_EMBEDDING, b->name->embed, 1, &x, NULL, &node, b->err));
    GS_TRY(attach(b, node, GS_ROLE_WEIGHT, NULL, b->config->vocab, b->config->hidden));
    return scale(b, "embedding_scaled", b->settings->embedding_scale, node->output, y);
}

static gs_status head(builder *b, bool tied, gs_edge *x, gs_edge **y) {
    const gs_decoder_settings *s = b->settings;
    gs_edge *n;
    gs_node *node;
    gs_attr attr = {0}, cap = {0};
    attr.linear.normalize_rows = s->normalize_head;
    GS_TRY(norm(b, b->name->final_norm, b->config->hidden, 0, x, &n));
    GS_TRY(gs_net_add(b->net, GS_OP_LINEAR, b->name->head, 1, &n, &attr, &node, b->err));
    GS_TRY(attach(b, node, GS_ROLE_WEIGHT, tied ? b->name->embed : NULL, b->config->vocab, b->config->hidden));
    GS_TRY(scale(b, "logits_scaled", s->logits_scale, node->output, y));
    cap.softcap.cap = s->logits_softcap;
    return s->logits_softcap > 0 ? plain(b, GS_OP_SOFTCAP, "logits_capped", 1, y, &cap, y) : GS_OK;
}

/* Net with its input and, once `y` is known, its output and dims. */
static gs_status start(builder *b, const gs_decoder_source *s, const char *name, gs_dims dims, gs_edge **x,
                       gs_error *err) {
    *b = (builder){.checkpoint = s->checkpoint, .settings = s->settings, .config = s->settings->config,
                   .name = &s->settings->helper->name, .err = err};
    char input[NAME];
    snprintf(input, sizeof input, "%s.input", name); /* one of its own in each segment: linears may read it */
    GS_TRY(gs_net_create(name, &b->net, err));
    return gs_net_input(b->net, input, dims, x, err);
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
    if (status == GS_OK) status = embed(&b, x, &y);
    return finish(&b, status, y, out);
}

gs_status gs_decoder_block(const gs_decoder_source *s, int layer, gs_net **out, gs_error *err) {
    builder b;
    gs_edge *x = NULL, *y = NULL;
    char name[100];
    const char *pattern = s->settings->helper->name.block;
    if (!gs_helper_block_name(pattern, layer, name, sizeof name))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "the block name '%.40s...' is too long", pattern);
    gs_dims dims = {.ndim = 1, .dim = {s->settings->config->hidden}};
    gs_status status = start(&b, s, name, dims, &x, err);
    if (status == GS_OK) {
        snprintf(b.prefix, sizeof b.prefix, "%s.", name);
        b.window = gs_decoder_window(s->settings, layer);
        b.sparse = gs_decoder_is_sparse(s->settings, layer);
        status = block(&b, x, &y);
    }
    return finish(&b, status, y, out);
}

gs_status gs_decoder_head(const gs_decoder_source *s, bool tied, gs_net **out, gs_error *err) {
    builder b;
    gs_edge *x = NULL, *y = NULL;
    gs_dims dims = {.ndim = 1, .dim = {s->settings->config->hidden}};
    gs_status status = start(&b, s, "head", dims, &x, err);
    if (status == GS_OK) status = head(&b, tied, x, &y);
    return finish(&b, status, y, out);
}
