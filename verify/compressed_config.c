#include <verify/compressed.h>

#include <base/mem.h>

#include <string.h>

enum { MOST_GROUPS = 4096 };

static const char *const config_keys[] = {"quant_method", "format", "quantization_status", "version", "global_compression_ratio",
                                          "kv_cache_scheme", "config_groups", "ignore", "sparsity_config", "transform_config", NULL};
static const char *const group_keys[] = {"targets", "weights", "input_activations", "output_activations", "format", NULL};
static const char *const argument_keys[] = {"num_bits", "type", "symmetric", "group_size", "strategy", "block_structure",
                                            "dynamic", "actorder", "observer", "observer_kwargs", "scale_dtype", "zp_dtype", NULL};

static bool is_set(const cJSON *object, const char *key) {
    const cJSON *item = gs_json_get(object, key);
    bool empty = item && (cJSON_IsObject(item) || cJSON_IsArray(item)) && !item->child;
    return item && !cJSON_IsNull(item) && !empty;
}

static const char *word(const cJSON *object, const char *key) {
    const cJSON *item = gs_json_get(object, key);
    return cJSON_IsString(item) ? item->valuestring : "";
}

static int64_t whole(const cJSON *object, const char *key) {
    int64_t v = 0;
    return gs_json_is_int(gs_json_get(object, key), &v) ? v : 0;
}

static bool is(const char *a, const char *b) { return strcmp(a, b) == 0; }

static bool that(gs_subject *s, bool holds, const char *about, const char *what, const char *got) {
    return gs_report_that(&s->report, GS_CHECK_CT_CONFIG, holds, about, "%s: '%.40s'", what, got);
}

static void read_weights(gs_subject *s, const cJSON *weights, gs_ct_group *g) {
    const char *strategy = word(weights, "strategy"), *order = word(weights, "actorder");
    gs_verify_known_keys(s, GS_CHECK_CT_CONFIG, weights, argument_keys);
    g->bits = whole(weights, "num_bits");
    bool fine = (g->bits == 8 || g->bits == 4) && is(word(weights, "type"), "int") && cJSON_IsTrue(gs_json_get(weights, "symmetric"));
    gs_report_that(&s->report, GS_CHECK_CT_CONFIG, fine, g->name, "weights of %lld bits, type '%.20s': symmetric integers of 4 or 8 bits expected",
                   (long long)g->bits, word(weights, "type"));
    if (g->bits != 4) g->bits = 8;
    bool grouped = is(strategy, "group");
    g->one_scale = is(strategy, "tensor");
    if (grouped) g->group = whole(weights, "group_size");
    gs_report_that(&s->report, GS_CHECK_CT_CONFIG, grouped ? g->group > 0 : is(strategy, "channel") || g->one_scale, g->name,
                   "weights with strategy '%.20s' and group_size %lld", strategy, (long long)whole(weights, "group_size"));
    if (g->group < 0) g->group = 0;
    that(s, !cJSON_IsTrue(gs_json_get(weights, "dynamic")), g->name, "weights cannot be dynamic", "true");
    that(s, !is(order, "group") && !is(order, "dynamic"), g->name, "columns in another order are not checked", order);
}

static void read_input(gs_subject *s, const cJSON *input, gs_ct_group *g) {
    const cJSON *dynamic = gs_json_get(input, "dynamic"), *symmetric = gs_json_get(input, "symmetric");
    bool is_dynamic = cJSON_IsTrue(dynamic);
    gs_verify_known_keys(s, GS_CHECK_CT_CONFIG, input, argument_keys);
    that(s, whole(input, "num_bits") == 8 && is(word(input, "type"), "int"), g->name, "activations are no 8-bit integers", word(input, "type"));
    that(s, cJSON_IsBool(symmetric) && (!is_dynamic || cJSON_IsTrue(symmetric)), g->name, "activations of tokens are symmetric", "symmetric");
    that(s, !dynamic || cJSON_IsBool(dynamic), g->name, "neither dynamic nor static", "dynamic");
    that(s, is(word(input, "strategy"), is_dynamic ? "token" : "tensor"), g->name,
         is_dynamic ? "dynamic activations, not of tokens" : "static activations, not of the tensor", word(input, "strategy"));
    g->type = is_dynamic ? GS_TYPE_W8A8_DYNAMIC : GS_TYPE_W8A8;
    g->symmetric_input = cJSON_IsTrue(symmetric);
    that(s, g->bits == 8 && g->group == 0, g->name, "int8 activations want 8-bit weights without groups", word(input, "strategy"));
}

/* vLLM takes weights alone in packed form only, and packed ones alone. */
static void read_format(gs_subject *s, const cJSON *config, const cJSON *group, gs_ct_group *g, bool has_input) {
    const char *format = word(config, "format");
    bool mixed = is(format, "mixed-precision");
    if (mixed || word(group, "format")[0]) format = word(group, "format");
    g->packed = is(format, "pack-quantized");
    bool fits = has_input ? is(format, "int-quantized") || is(format, "naive-quantized") : g->packed;
    that(s, fits, g->name, has_input ? "the format of quantized activations is int-quantized" : "the format of weights alone is pack-quantized",
         format);
}

static gs_status read_group(gs_subject *s, const cJSON *config, const cJSON *group, gs_ct_group *g, gs_error *err) {
    const cJSON *input = gs_json_get(group, "input_activations"), *targets = gs_json_get(group, "targets");
    bool has_input = cJSON_IsObject(input);
    g->name = group->string;
    gs_verify_known_keys(s, GS_CHECK_CT_CONFIG, group, group_keys);
    that(s, cJSON_IsArray(targets) && targets->child, g->name, "it has no targets", "targets");
    that(s, !is_set(group, "output_activations"), g->name, "no server quantizes outputs", "output_activations");
    that(s, has_input || !is_set(group, "input_activations"), g->name, "no object", "input_activations");
    read_weights(s, gs_json_get(group, "weights"), g);
    g->type = g->bits == 4 ? GS_TYPE_W4A16 : GS_TYPE_W8A16;
    if (has_input) read_input(s, input, g);
    read_format(s, config, group, g, has_input);
    return gs_patterns_create(s, GS_CHECK_CT_CONFIG, g->name, targets, &g->targets, err);
}

static void check_whole(gs_subject *s, const cJSON *config) {
    const char *status = word(config, "quantization_status"), *sparse = word(gs_json_get(config, "sparsity_config"), "format");
    gs_verify_known_keys(s, GS_CHECK_CT_CONFIG, config, config_keys);
    that(s, is(status, "compressed") || is(status, "frozen") || !gs_json_get(config, "quantization_status"), "quantization_status",
         "the tensors are stored as what they were trained as", status);
    that(s, !is_set(config, "kv_cache_scheme"), "kv_cache_scheme", "scales of caches are not checked", "kv_cache_scheme");
    that(s, !is_set(config, "transform_config"), "transform_config", "transforms are not checked", "transform_config");
    that(s, !is_set(config, "sparsity_config") || is(sparse, "dense"), "sparsity_config", "sparse weights are not checked", sparse);
}

gs_status gs_ct_groups_read(gs_subject *s, const cJSON *config, gs_ct_groups *out, gs_error *err) {
    const cJSON *groups = gs_json_get(config, "config_groups"), *item;
    int n = cJSON_IsObject(groups) ? cJSON_GetArraySize(groups) : 0;
    check_whole(s, config);
    GS_TRY(gs_patterns_create(s, GS_CHECK_CT_CONFIG, "ignore", gs_json_get(config, "ignore"), &out->ignore, err));
    if (!gs_report_that(&s->report, GS_CHECK_CT_CONFIG, n > 0 && n <= MOST_GROUPS, "config_groups", "no object of 1 to %d groups", MOST_GROUPS))
        return GS_OK;
    out->group = gs_calloc((size_t)n, sizeof *out->group);
    if (!out->group) return gs_error_nomem(err, (size_t)n * sizeof *out->group);
    cJSON_ArrayForEach(item, groups) GS_TRY(read_group(s, config, item, &out->group[out->count++], err));
    return GS_OK;
}

void gs_ct_groups_clear(gs_ct_groups *g) {
    for (int i = 0; i < g->count; i++) gs_patterns_destroy(g->group[i].targets);
    gs_patterns_destroy(g->ignore);
    gs_free(g->group);
    *g = (gs_ct_groups){0};
}

static bool same(const gs_ct_group *a, const gs_ct_group *b) {
    return a->type == b->type && a->bits == b->bits && a->group == b->group && a->one_scale == b->one_scale &&
           a->packed == b->packed && a->symmetric_input == b->symmetric_input;
}

const gs_ct_group *gs_ct_groups_find(gs_subject *s, const gs_ct_groups *g, const char *linear) {
    const gs_ct_group *found = NULL;
    gs_meets nearest = GS_MEETS_NOT;
    bool ignored = gs_patterns_meet(g->ignore, linear) != GS_MEETS_NOT;
    for (int i = 0; i < g->count; i++) {
        const gs_ct_group *one = &g->group[i];
        gs_meets how = gs_patterns_meet(one->targets, linear);
        if (how == GS_MEETS_NOT || how < nearest) continue;
        if (how == nearest)
            gs_report_that(&s->report, GS_CHECK_CT_CONFIG, same(found, one), linear, "%.60s and %.60s claim it and differ", found->name, one->name);
        else found = one;
        nearest = how;
    }
    return ignored ? NULL : found;
}

static void check_endless(gs_subject *s, const gs_patterns *p, const char *about) {
    const char *endless = gs_patterns_endless(p);
    that(s, !endless, about, "an expression that takes too long to match", endless ? endless : "");
}

void gs_ct_groups_idle(gs_subject *s, const gs_ct_groups *g) {
    check_endless(s, g->ignore, "ignore");
    for (int i = 0; i < g->count; i++) {
        const char *idle = gs_patterns_idle(g->group[i].targets);
        check_endless(s, g->group[i].targets, g->group[i].name);
        that(s, !idle, g->group[i].name, "a target meets no linear of this architecture", idle ? idle : "");
    }
}
