/* Described linears become QLINEAR nodes on the stored tensors, whatever the format. */
#include <deploy/bundle_private.h>

#include <network/cache.h>
#include <network/rewrite.h>

#include <stdio.h>
#include <string.h>

/* What a scheme stores beside the weight. */
typedef enum stored_shape {
    TENSOR,  /* [1] */
    VECTOR,  /* [rows] */
    CHANNEL, /* [rows, 1] or [rows] */
    GROUP    /* as CHANNEL, or [rows, groups] */
} stored_shape;
typedef enum stored_need {
    NEEDED,
    CONSTANT, /* of a static linear: derived from the scales where it is not stored */
    SCALE     /* what it is derived from: needed then */
} stored_need;
typedef struct stored_role {
    gs_role role;
    stored_shape shape;
    stored_need need;
    int dtypes;
    gs_dtype dtype[3]; /* one of these */
} stored_role;

#define FLOATS 3, {GS_F32, GS_F16, GS_BF16}
#define STATIC(scale)                                                                                              \
    {GS_ROLE_INPUT_SCALE, TENSOR, NEEDED, FLOATS}, {GS_ROLE_INPUT_OFFSET, TENSOR, NEEDED, FLOATS},                 \
        {GS_ROLE_QUANT_BIAS, VECTOR, CONSTANT, 1, {GS_I32}}, {GS_ROLE_DEQ_SCALE, VECTOR, CONSTANT, 2, {GS_F32, GS_I64}}, \
        {GS_ROLE_WEIGHT_SCALE, CHANNEL, scale, FLOATS}, {GS_ROLE_WEIGHT_OFFSET, CHANNEL, scale, FLOATS}
enum { MAX_STORED = 6 };
static const stored_role stored[GS_SCHEME_COUNT][MAX_STORED + 1] = {
    [GS_SCHEME_W8A16] = {{GS_ROLE_WEIGHT_SCALE, GROUP, NEEDED, FLOATS}, {GS_ROLE_WEIGHT_OFFSET, GROUP, NEEDED, FLOATS}},
    [GS_SCHEME_W4A16] = {{GS_ROLE_WEIGHT_SCALE, GROUP, NEEDED, FLOATS}, {GS_ROLE_WEIGHT_OFFSET, GROUP, NEEDED, FLOATS}},
    [GS_SCHEME_W8A8_DYNAMIC] = {{GS_ROLE_WEIGHT_SCALE, CHANNEL, NEEDED, FLOATS},
                                {GS_ROLE_WEIGHT_OFFSET, CHANNEL, NEEDED, FLOATS}},
    /* the writer of msModelSlim's current line leaves the scales of static linears out */
    [GS_SCHEME_W8A8] = {STATIC(SCALE)},
    [GS_SCHEME_W8A8_MIX] = {STATIC(NEEDED)},
};

static bool has_dtype(const stored_role *s, gs_dtype dtype) {
    for (int i = 0; i < s->dtypes; i++)
        if (s->dtype[i] == dtype) return true;
    return false;
}

static bool has_shape(const stored_role *s, const gs_tensor *t, int64_t rows, int64_t cols) {
    int64_t n = s->shape == TENSOR ? 1 : rows;
    bool column = s->shape >= CHANNEL && t->ndim == 2 && t->shape[1] == 1;
    bool groups = s->shape == GROUP && t->ndim == 2 && t->shape[1] > 0 && cols % t->shape[1] == 0;
    return (t->ndim == 1 || column || groups) && t->shape[0] == n;
}

static const gs_tensor *find_role(const gs_bundle *b, const char *linear, gs_role role, char name[512]) {
    snprintf(name, 512, "%s.%s", linear, gs_role_name(role));
    return gs_checkpoint_find(b->stored, name);
}

/* Whether a linear that lacks the tensor computes all the same. */
static bool may_lack(const gs_bundle *b, const gs_node *node, const stored_role *s) {
    char name[512];
    bool derived = b->content.derives_static && !find_role(b, node->name, GS_ROLE_QUANT_BIAS, name) &&
                   !find_role(b, node->name, GS_ROLE_DEQ_SCALE, name);
    if (s->need == CONSTANT) return derived;
    return s->need == SCALE && !derived;
}

/* Hangs "<node>.<role>" on a QLINEAR. */
static gs_status attach(const gs_bundle *b, gs_net *net, gs_node *node, const stored_role *s, gs_error *err) {
    char name[512], shape[128];
    const gs_param *weight = node->param[GS_ROLE_WEIGHT];
    int64_t rows = weight->shape[0], cols = weight->shape[1];
    const gs_tensor *t = find_role(b, node->name, s->role, name);
    if (!t && may_lack(b, node, s)) return GS_OK;
    if (!t) return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is missing", name);
    if (has_shape(s, t, rows, cols) && has_dtype(s, t->dtype)) return gs_net_param_view(net, node, s->role, t, err);
    return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is %s %s, not %s%s [%lld%s]", name, gs_dtype_name(t->dtype),
                   gs_tensor_shape_text(t, shape, sizeof shape), gs_dtype_name(s->dtype[0]),
                   s->dtypes > 1 ? " or its like" : "", (long long)(s->shape == TENSOR ? 1 : rows),
                   s->shape == GROUP ? ", groups" : "");
}

/* bf16 consumers take deq_scale as f32, all others as f32 bits in an int64: the other form loads, and
 * computes nonsense (ascend-bundles.md 3.4), unless the format's consumers convert it. */
static gs_status check_deq_scale(const gs_bundle *b, const gs_node *node, gs_error *err) {
    const gs_param *p = node->param[GS_ROLE_DEQ_SCALE];
    gs_dtype want = b->content.compute == GS_BF16 ? GS_F32 : GS_I64;
    if (!p || p->dtype == want || (b->content.loose_deq_scale && p->dtype == GS_F32)) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is %s, a %s model needs %s", p->name, gs_dtype_name(p->dtype),
                   gs_dtype_torch_name(b->content.compute), gs_dtype_name(want));
}

/* A server fuses the linears that read one value and keeps the last one's input scale for all
 * (ascend-bundles.md 3.8). */
static gs_status check_shared(const gs_net *net, const gs_node *node, gs_role role, gs_error *err) {
    const gs_param *mine = node->param[role];
    const gs_node *other;
    for (int i = 0; mine && (other = gs_net_consumer(net, node->input[0], i)) && other != node; i++) {
        const gs_param *its = other->op == GS_OP_QLINEAR ? other->param[role] : NULL;
        float a, b;
        if (!its) continue;
        GS_TRY(gs_param_read_f32(mine, 0, 1, &a, err));
        GS_TRY(gs_param_read_f32(its, 0, 1, &b, err));
        if (a != b)
            return GS_FAIL(err, GS_E_FORMAT, "'%s' is %g, but '%s' of the same input is %g", mine->name, (double)a,
                           its->name, (double)b);
    }
    return GS_OK;
}

/* A float param must be stored as one, or in blocks that stand for floats (GGUF). */
static gs_status check_float(const gs_param *p, gs_error *err) {
    if (!p || !p->source || gs_dtype_is_float(p->dtype) || gs_dtype_block(p->dtype) > 1) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is described as FLOAT but stored as %s", p->name,
                   gs_dtype_name(p->dtype));
}

/* A bias that the architecture does not have, but a shift of the linear's or norm's input has brought. */
static gs_status attach_bias(const gs_bundle *b, gs_net *net, gs_node *node, gs_error *err) {
    char name[512];
    const gs_tensor *t = node->param[GS_ROLE_BIAS] ? NULL : find_role(b, node->name, GS_ROLE_BIAS, name);
    if (!t) return GS_OK;
    GS_TRY(gs_net_param_view(net, node, GS_ROLE_BIAS, t, err));
    return check_float(node->param[GS_ROLE_BIAS], err);
}

static bool is_zero(const gs_tensor *t) {
    for (uint64_t i = 0; i < t->bytes; i++)
        if (t->data[i]) return false;
    return true;
}

/* Servers of the other schemes have no place for it (ascend-bundles.md 3.6): there it stays an unknown tensor, unless it
 * says nothing. */
static bool may_bias(const gs_bundle *b, const gs_node *node) {
    char name[512];
    if (node->attr.quant.scheme == GS_SCHEME_W8A8) return true;
    const gs_tensor *t = b->content.spare_biases ? find_role(b, node->name, GS_ROLE_BIAS, name) : NULL;
    return t && is_zero(t);
}

static gs_attr arithmetic(const gs_bundle *b, gs_scheme scheme) {
    return (gs_attr){.quant = {.scheme = scheme, .compute = b->content.compute, .arith = b->options.arith,
                               .deq19 = b->options.deq19, .decode = b->options.decode,
                               .token_levels = b->content.token_levels}};
}

static gs_status rewrite_linear(const gs_bundle *b, gs_net *net, gs_node *node, gs_scheme scheme, gs_error *err) {
    const gs_param *weight = node->param[GS_ROLE_WEIGHT];
    if (weight->dtype != GS_I8)
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is described as %s but stored as %s", weight->name,
                       gs_scheme_name(scheme), gs_dtype_name(weight->dtype));
    gs_attr attr = arithmetic(b, scheme);
    GS_TRY(check_float(node->param[GS_ROLE_BIAS], err));
    GS_TRY(gs_net_replace(net, node, GS_OP_QLINEAR, &attr, &node, err));
    for (const stored_role *s = stored[scheme]; s->dtypes; s++) GS_TRY(attach(b, net, node, s, err));
    if (may_bias(b, node)) GS_TRY(attach_bias(b, net, node, err));
    GS_TRY(check_shared(net, node, GS_ROLE_INPUT_SCALE, err));
    GS_TRY(check_shared(net, node, GS_ROLE_INPUT_OFFSET, err));
    return check_deq_scale(b, node, err);
}

/* Keys and values as the cache holds them, where the linear that makes them stores a cache scale. */
static gs_status rewrite_cache(const gs_bundle *b, gs_net *net, gs_node *attention, int input, gs_error *err) {
    char name[512];
    const gs_node *linear = gs_cache_linear(attention, input), *producer = attention->input[input]->producer;
    const gs_tensor *scale = linear ? find_role(b, linear->name, GS_ROLE_CACHE_SCALE, name) : NULL;
    if (producer && producer->op == GS_OP_CACHE) return GS_OK;
    if (!scale && linear && b->content.caches) return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is missing", name);
    if (!scale) return GS_OK;
    gs_attr attr = arithmetic(b, GS_SCHEME_FLOAT);
    gs_node *cache;
    GS_TRY(gs_cache_insert(net, attention, input, &attr, &cache, err));
    GS_TRY(gs_net_param_view(net, cache, GS_ROLE_CACHE_SCALE, scale, err));
    const gs_tensor *offset = find_role(b, linear->name, GS_ROLE_CACHE_OFFSET, name);
    if (offset) GS_TRY(gs_net_param_view(net, cache, GS_ROLE_CACHE_OFFSET, offset, err));
    return GS_OK;
}

static gs_status rewrite_float(const gs_bundle *b, gs_net *net, gs_node *node, gs_error *err) {
    const gs_bundle_content *c = &b->content;
    if (node->op == GS_OP_LINEAR && c->rewrite) {
        gs_attr attr = arithmetic(b, GS_SCHEME_FLOAT);
        return c->rewrite(c->rules, net, node, &attr, err);
    }
    if (node->op == GS_OP_RMSNORM) GS_TRY(attach_bias(b, net, node, err));
    for (int r = 0; r < GS_ROLE_COUNT; r++) GS_TRY(check_float(node->param[r], err));
    if (node->op != GS_OP_LINEAR || !c->claims) return GS_OK;
    char linear[512];
    const char *weight = node->param[GS_ROLE_WEIGHT]->name;
    snprintf(linear, sizeof linear, "%.*s", (int)gs_name_stem(weight, "weight"), weight);
    /* of a tied head the weight is the embedding's, and so is the name that was looked up */
    if (strcmp(linear, node->name) != 0 || !c->claims(c->rules, linear)) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is stored as %s, but the configuration quantizes '%s'", weight,
                   gs_dtype_name(node->param[GS_ROLE_WEIGHT]->dtype), linear);
}

static gs_status rewrite_node(const gs_bundle *b, gs_net *net, gs_node *node, gs_error *err) {
    const gs_param *weight = node->param[GS_ROLE_WEIGHT];
    int64_t scheme = GS_SCHEME_FLOAT;
    if (node->op == GS_OP_ATTENTION) {
        GS_TRY(rewrite_cache(b, net, node, 1, err));
        return rewrite_cache(b, net, node, 2, err);
    }
    if (weight) gs_map_get(&b->content.scheme, weight->name, strlen(weight->name), &scheme);
    if (scheme == GS_SCHEME_FLOAT) return rewrite_float(b, net, node, err);
    if (node->op == GS_OP_LINEAR) return rewrite_linear(b, net, node, (gs_scheme)scheme, err);
    if (node->op == GS_OP_QLINEAR) return GS_OK; /* met again after a node was put before it */
    return GS_FAIL(err, GS_E_UNSUPPORTED, "tensor '%s' has type '%s', which is not computed here for a %s",
                   weight->name, gs_scheme_name((gs_scheme)scheme), gs_op_name(node->op));
}

gs_status gs_bundle_rewrite(void *bundle, gs_net *segment, gs_error *err) {
    for (int i = 0; i < gs_net_node_count(segment); i++)
        GS_TRY(rewrite_node(bundle, segment, gs_net_node(segment, i), err));
    return GS_OK;
}
