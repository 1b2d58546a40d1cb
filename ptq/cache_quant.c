#include <ptq/cache_quant.h>

#include <base/mem.h>
#include <network/cache.h>
#include <ptq/act_quant.h>
#include <ptq/compat_quant.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Scales of one cached value; found again by the linear that makes it. */
typedef struct cached {
    char *linear;
    int64_t width;
    float *scale; /* [width] */
} cached;

typedef struct cache_quant {
    gs_comp_algo base;
    const gs_ptq_config *config;
    gs_comp_algo *inner;
    gs_observer_source *source;
    void *source_ctx;
    cached *value;
    size_t count, capacity;
} cache_quant;

static void clear_cached(cached *c) {
    gs_free(c->linear);
    gs_free(c->scale);
    *c = (cached){0};
}

static const cached *find(const cache_quant *a, const char *linear) {
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->value[i].linear, linear) == 0) return &a->value[i];
    return NULL;
}

/* ---- deciding ---- */

static gs_status maker_of(const gs_node *attention, int input, gs_node **out, gs_error *err) {
    *out = gs_cache_linear(attention, input);
    if (*out) return GS_OK;
    if (gs_cache_fused(attention)) {
        gs_status status = GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': its queries, keys and values are one linear, and bundles have "
                                                          "no place for the scales of a fused cache", attention->name);
        gs_error_hint(err, "--kv-cache none");
        return status;
    }
    return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': no linear makes its %s, so its int8 cache has no name", attention->name,
                   input == 1 ? "keys" : "values");
}

gs_status gs_cache_quant_check(const gs_net *net, gs_error *err) {
    for (int i = 0; i < gs_net_node_count(net); i++) {
        const gs_node *node = gs_net_node(net, i);
        gs_node *linear;
        if (node->op != GS_OP_ATTENTION) continue;
        for (int input = 1; input <= 2; input++) GS_TRY(maker_of(node, input, &linear, err));
    }
    return GS_OK;
}

static float scale_of(const gs_ptq_config *c, float most) {
    return c->compat ? gs_compat_act(c->compat, c->compute, -most, most, true).scale
                     : gs_act_params_from_range(-most, most, true, c->compute).scale;
}

/* The channel that rotation mixes with j, or j. */
static int64_t partner(const gs_node *rope, int64_t j) {
    if (!rope || rope->op != GS_OP_ROPE) return j;
    int64_t dim = rope->attr.rope.head_dim, rotated = rope->attr.rope.rotary_dim ? rope->attr.rope.rotary_dim : dim;
    int64_t half = rotated / 2, within = j % dim;
    if (within >= rotated) return j;
    return within < half ? j + half : j - half;
}

static float range_of(const cache_quant *a, const gs_observer *o, const gs_node *producer, int64_t j) {
    int64_t other = a->config->compat || a->config->every_position_seen ? j : partner(producer, j);
    float mine = gs_observer_absmax(o, j);
    return other == j ? mine : (float)hypot((double)mine, (double)gs_observer_absmax(o, other));
}

static gs_status make_scales(const cache_quant *a, const gs_observer *o, const char *linear, const gs_node *producer,
                             cached *out, gs_error *err) {
    out->linear = gs_strdup(linear);
    out->width = o->width;
    out->scale = gs_calloc((size_t)o->width, sizeof *out->scale);
    if (!out->linear || !out->scale) return gs_error_nomem(err, (size_t)o->width * sizeof *out->scale);
    for (int64_t j = 0; j < o->width; j++) out->scale[j] = scale_of(a->config, range_of(a, o, producer, j));
    return GS_OK;
}

/* Takes c. */
static gs_status add(cache_quant *a, cached *c, gs_error *err) {
    if (a->count == a->capacity) {
        size_t capacity = a->capacity ? 2 * a->capacity : 64;
        cached *grown = gs_realloc(a->value, capacity, sizeof *grown);
        if (!grown) return gs_error_nomem(err, capacity * sizeof *grown);
        a->value = grown;
        a->capacity = capacity;
    }
    a->value[a->count++] = *c;
    *c = (cached){0};
    return GS_OK;
}

static gs_status decide_input(cache_quant *a, gs_node *attention, int input, gs_error *err) {
    gs_node *linear;
    gs_observer observer = {0};
    cached c = {0};
    GS_TRY(maker_of(attention, input, &linear, err));
    gs_status status = a->source(a->source_ctx, attention->input[input]->name, &observer, err);
    if (status == GS_OK) status = make_scales(a, &observer, linear->name, attention->input[input]->producer, &c, err);
    if (status == GS_OK) status = add(a, &c, err);
    clear_cached(&c);
    gs_observer_clear(&observer);
    return status;
}

static void lend_drop(cache_quant *a) { gs_comp_algo_set_drop(a->inner, a->base.drop, a->base.drop_ctx); }

static gs_status decide(gs_comp_algo *algo, gs_context *cx, gs_net *net, gs_error *err) {
    cache_quant *a = (cache_quant *)algo;
    lend_drop(a);
    GS_TRY(gs_comp_algo_decide(a->inner, cx, net, err));
    for (int i = 0; i < gs_net_node_count(net); i++) {
        gs_node *node = gs_net_node(net, i);
        if (node->op != GS_OP_ATTENTION) continue;
        for (int input = 1; input <= 2; input++) GS_TRY(decide_input(a, node, input, err));
    }
    return GS_OK;
}

static gs_status settle(gs_comp_algo *algo, gs_context *cx, gs_error *err) {
    return gs_comp_algo_settle(((cache_quant *)algo)->inner, cx, err);
}

/* ---- applying ---- */

static gs_status plan_param(gs_net *net, gs_node *node, const char *linear, gs_role role, int64_t width, gs_error *err) {
    char name[512];
    snprintf(name, sizeof name, "%s.%s", linear, gs_role_name(role));
    return gs_net_param_new(net, node, role, name, GS_F32, 1, &width, NULL, err);
}

static gs_status insert(cache_quant *a, gs_net *net, gs_node *attention, int input, gs_error *err) {
    gs_attr attr = {.quant = {.compute = a->config->compute}};
    int64_t width = attention->input[input]->dims.dim[0];
    gs_node *linear, *node;
    GS_TRY(maker_of(attention, input, &linear, err));
    GS_TRY(gs_cache_insert(net, attention, input, &attr, &node, err));
    GS_TRY(plan_param(net, node, linear->name, GS_ROLE_CACHE_SCALE, width, err));
    return plan_param(net, node, linear->name, GS_ROLE_CACHE_OFFSET, width, err);
}

static gs_status apply(gs_comp_algo *algo, gs_net *net, gs_error *err) {
    cache_quant *a = (cache_quant *)algo;
    GS_TRY(gs_comp_algo_apply(a->inner, net, err));
    for (int i = 0; i < gs_net_node_count(net); i++) {
        gs_node *node = gs_net_node(net, i);
        if (node->op != GS_OP_ATTENTION || node->input[1]->producer->op == GS_OP_CACHE) continue;
        GS_TRY(insert(a, net, node, 1, err));
        GS_TRY(insert(a, net, node, 2, err));
        i = -1; /* nodes were inserted before it */
    }
    return GS_OK;
}

/* ---- converting ---- */

static gs_status fill(const cache_quant *a, gs_node *node, gs_error *err) {
    gs_param *scale = node->param[GS_ROLE_CACHE_SCALE], *offset = node->param[GS_ROLE_CACHE_OFFSET];
    char linear[512];
    size_t n = strlen(scale->name) - strlen(gs_role_name(GS_ROLE_CACHE_SCALE)) - 1;
    snprintf(linear, sizeof linear, "%.*s", (int)n, scale->name);
    const cached *c = find(a, linear);
    if (!c || c->width != gs_param_count(scale)) return GS_FAIL(err, GS_E_INVALID, "'%s': nothing was decided", scale->name);
    GS_TRY(gs_param_allocate(scale, err));
    GS_TRY(gs_param_allocate(offset, err));
    memcpy(scale->data, c->scale, (size_t)c->width * sizeof *c->scale);
    memset(offset->data, 0, (size_t)gs_param_bytes(offset));
    return GS_OK;
}

/* The inner algorithm's rows become this one's. */
static gs_status take_summary(cache_quant *a, gs_error *err) {
    gs_summary *from = &a->inner->summary;
    for (size_t i = 0; i < from->count; i++) {
        gs_layer_summary *row;
        GS_TRY(gs_summary_add(&a->base.summary, from->layer[i].name, &row, err));
        char *name = row->name;
        *row = from->layer[i];
        row->name = name;
    }
    gs_summary_clear(from);
    return GS_OK;
}

static gs_status convert(gs_comp_algo *algo, gs_context *cx, gs_net *net, gs_error *err) {
    cache_quant *a = (cache_quant *)algo;
    lend_drop(a);
    GS_TRY(gs_comp_algo_convert(a->inner, cx, net, err));
    GS_TRY(take_summary(a, err));
    for (int i = 0; i < gs_net_node_count(net); i++) {
        gs_node *node = gs_net_node(net, i);
        if (node->op == GS_OP_CACHE) GS_TRY(fill(a, node, err));
    }
    return GS_OK;
}

static const gs_algo_callbacks *callbacks(gs_comp_algo *algo) {
    return gs_comp_algo_callbacks(((cache_quant *)algo)->inner);
}

static void destroy(gs_comp_algo *algo) {
    cache_quant *a = (cache_quant *)algo;
    for (size_t i = 0; i < a->count; i++) clear_cached(&a->value[i]);
    gs_free(a->value);
    gs_comp_algo_destroy(a->inner);
    gs_free(a);
}

static const gs_comp_algo_class cache_quant_class = {
    .name = "CacheQuant",
    .decide = decide,
    .settle = settle,
    .apply = apply,
    .callbacks = callbacks,
    .convert = convert,
    .destroy = destroy,
};

gs_comp_algo *gs_cache_quant_inner(gs_comp_algo *algo) {
    return algo->class == &cache_quant_class ? ((cache_quant *)algo)->inner : algo;
}

static gs_status create(const gs_ptq_config *config, gs_comp_algo *inner, cache_quant **out, gs_error *err) {
    GS_TRY(gs_ptq_config_check(config, err));
    GS_TRY(gs_ptq_config_check_done(config, err));
    if (config->kvcache_quant_dtype != GS_QUANT_INT8)
        return GS_FAIL(err, GS_E_INVALID, "%s has no int8 key-value cache", gs_ptq_config_tag(config));
    *out = gs_calloc(1, sizeof **out);
    if (!*out) return gs_error_nomem(err, sizeof **out);
    **out = (cache_quant){.base = {.class = &cache_quant_class, .save = true}, .config = config, .inner = inner};
    return GS_OK;
}

gs_status gs_cache_quant_create(const gs_ptq_config *config, gs_comp_algo *inner, gs_observer_source *source,
                                void *source_ctx, gs_comp_algo **out, gs_error *err) {
    cache_quant *a;
    gs_status status = create(config, inner, &a, err);
    if (status != GS_OK) {
        gs_comp_algo_destroy(inner);
        return status;
    }
    a->source = source;
    a->source_ctx = source_ctx;
    *out = &a->base;
    return GS_OK;
}
