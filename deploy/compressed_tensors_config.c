#include <deploy/compressed_tensors_config.h>

#include <base/mem.h>
#include <deploy/name_patterns.h>

#include <string.h>

enum { MAX_GROUPS = 4096 };

typedef struct group {
    gs_ct_rule rule;
    gs_name_patterns *targets;
} group;

struct gs_ct_config {
    gs_name_patterns *ignore;
    group *group;
    size_t count;
};

void gs_ct_config_destroy(gs_ct_config *c) {
    if (!c) return;
    for (size_t i = 0; i < c->count; i++) gs_name_patterns_destroy(c->group[i].targets);
    gs_name_patterns_destroy(c->ignore);
    gs_free(c->group);
    gs_free(c);
}

static bool is_there(const cJSON *object, const char *key) {
    const cJSON *item = gs_json_get(object, key);
    bool empty = item && (cJSON_IsObject(item) || cJSON_IsArray(item)) && !item->child;
    return item && !cJSON_IsNull(item) && !empty;
}

static gs_status refuse(gs_error *err, const char *what) {
    return GS_FAIL(err, GS_E_UNSUPPORTED, "%s: that is not computed here", what);
}

/* Members that change the arithmetic in ways we do not have. */
static gs_status check_whole(const cJSON *json, gs_error *err) {
    static const char *const formats[] = {"int-quantized", "naive-quantized", "pack-quantized", "mixed-precision"};
    const char *format = "int-quantized", *status = "compressed", *sparse = "dense";
    GS_TRY(gs_json_string(json, "format", &format, err));
    GS_TRY(gs_json_string(json, "quantization_status", &status, err));
    if (is_there(json, "kv_cache_scheme")) return refuse(err, "kv_cache_scheme is set");
    if (is_there(json, "transform_config")) return refuse(err, "transform_config is set");
    if (is_there(json, "sparsity_config")) {
        sparse = "?";
        GS_TRY(gs_json_string(gs_json_get(json, "sparsity_config"), "format", &sparse, err));
    }
    if (strcmp(sparse, "dense") != 0) return refuse(err, "sparsity_config names a sparse format");
    if (strcmp(status, "compressed") != 0 && strcmp(status, "frozen") != 0)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "quantization_status is '%s', not compressed", status);
    for (size_t i = 0; i < GS_COUNTOF(formats); i++)
        if (strcmp(format, formats[i]) == 0) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "the format '%s' is not read", format);
}

typedef struct args {
    int64_t num_bits, group_size;
    const char *type, *strategy;
    bool symmetric, dynamic;
} args;

/* "dynamic" may be true, false or the word "local", which is neither. */
static gs_status read_args(const cJSON *json, args *out, gs_error *err) {
    *out = (args){.num_bits = 8, .type = "int", .strategy = "", .symmetric = true};
    if (!cJSON_IsObject(json)) return GS_FAIL(err, GS_E_FORMAT, "the arguments of a group are no object");
    GS_TRY(gs_json_int(json, "num_bits", &out->num_bits, err));
    GS_TRY(gs_json_string(json, "type", &out->type, err));
    GS_TRY(gs_json_bool(json, "symmetric", &out->symmetric, err));
    GS_TRY(gs_json_int(json, "group_size", &out->group_size, err));
    GS_TRY(gs_json_string(json, "strategy", &out->strategy, err));
    if (cJSON_IsString(gs_json_get(json, "dynamic"))) return refuse(err, "a partly dynamic quantization");
    GS_TRY(gs_json_bool(json, "dynamic", &out->dynamic, err));
    if (strcmp(out->type, "int") != 0) return GS_FAIL(err, GS_E_UNSUPPORTED, "values of type '%s' are not read", out->type);
    if (out->num_bits == 8) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "values of %lld bits are not read, only of 8", (long long)out->num_bits);
}

/* Weights whose columns were reordered come with an index of groups; the other orders leave no trace. */
static gs_status check_order(const cJSON *json, gs_error *err) {
    const cJSON *order = gs_json_get(json, "actorder");
    const char *word = cJSON_IsString(order) ? order->valuestring : "";
    if (cJSON_IsTrue(order) || strcmp(word, "group") == 0 || strcmp(word, "dynamic") == 0)
        return refuse(err, "groups of reordered columns (actorder)");
    return GS_OK;
}

static gs_status read_weights(const cJSON *json, gs_ct_rule *rule, gs_error *err) {
    args a;
    GS_TRY(read_args(json, &a, err));
    GS_TRY(check_order(json, err));
    if (!a.symmetric) return refuse(err, "weights with zero points");
    if (a.dynamic) return refuse(err, "weights that are quantized while running");
    rule->one_scale = strcmp(a.strategy, "tensor") == 0;
    bool grouped = strcmp(a.strategy, "group") == 0;
    if (!rule->one_scale && !grouped && strcmp(a.strategy, "channel") != 0)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "weights with the strategy '%s' are not read", a.strategy);
    if (grouped && a.group_size < 1)
        return GS_FAIL(err, GS_E_FORMAT, "groups of %lld weights", (long long)a.group_size);
    rule->group_size = grouped ? a.group_size : 0;
    return GS_OK;
}

static gs_status read_inputs(const cJSON *json, gs_ct_rule *rule, gs_error *err) {
    args a;
    rule->scheme = GS_SCHEME_W8A16;
    if (!json || cJSON_IsNull(json)) return GS_OK;
    GS_TRY(read_args(json, &a, err));
    bool token = strcmp(a.strategy, "token") == 0, tensor = strcmp(a.strategy, "tensor") == 0;
    rule->scheme = token ? GS_SCHEME_W8A8_DYNAMIC : GS_SCHEME_W8A8;
    rule->input_asymmetric = !a.symmetric;
    if (!token && !tensor)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "inputs with the strategy '%s' are not read", a.strategy);
    if (token != a.dynamic)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "inputs with the strategy '%s', %s, are not read", a.strategy,
                       a.dynamic ? "dynamic" : "static");
    if (token && rule->input_asymmetric) return refuse(err, "asymmetric inputs of single tokens");
    if (rule->group_size) return refuse(err, "groups of weights with inputs in int8");
    return GS_OK;
}

static gs_status read_group(const cJSON *json, group *g, gs_error *err) {
    if (!cJSON_IsObject(json)) return GS_FAIL(err, GS_E_FORMAT, "it is no object");
    if (is_there(json, "output_activations")) return refuse(err, "output_activations are set");
    GS_TRY(gs_name_patterns_create(gs_json_get(json, "targets"), &g->targets, err));
    GS_TRY(read_weights(gs_json_get(json, "weights"), &g->rule, err));
    return read_inputs(gs_json_get(json, "input_activations"), &g->rule, err);
}

static gs_status fill(gs_ct_config *c, const cJSON *json, gs_error *err) {
    const cJSON *groups = gs_json_get(json, "config_groups"), *item;
    GS_TRY(check_whole(json, err));
    GS_TRY(gs_name_patterns_create(gs_json_get(json, "ignore"), &c->ignore, err));
    int count = cJSON_IsObject(groups) ? cJSON_GetArraySize(groups) : 0;
    if (count < 1 || count > MAX_GROUPS)
        return GS_FAIL(err, GS_E_FORMAT, "config_groups is no object of 1 to %d groups", MAX_GROUPS);
    c->group = gs_calloc((size_t)count, sizeof *c->group);
    if (!c->group) return gs_error_nomem(err, (size_t)count * sizeof *c->group);
    cJSON_ArrayForEach(item, groups) {
        gs_status status = read_group(item, &c->group[c->count++], err);
        if (status == GS_OK) continue;
        gs_error_at(err, "%.100s", item->string);
        return status;
    }
    return GS_OK;
}

gs_status gs_ct_config_create(const cJSON *json, gs_ct_config **out, gs_error *err) {
    *out = NULL;
    gs_ct_config *c = gs_calloc(1, sizeof *c);
    if (!c) return gs_error_nomem(err, sizeof *c);
    gs_status status = fill(c, json, err);
    if (status != GS_OK) {
        gs_error_at(err, "quantization_config");
        gs_ct_config_destroy(c);
        return status;
    }
    *out = c;
    return GS_OK;
}

gs_status gs_ct_config_find(const gs_ct_config *c, const char *linear, const gs_ct_rule **out, gs_error *err) {
    bool hit;
    *out = NULL;
    GS_TRY(gs_name_patterns_match(c->ignore, linear, &hit, err));
    if (hit) return GS_OK;
    for (size_t i = 0; i < c->count && !*out; i++) {
        GS_TRY(gs_name_patterns_match(c->group[i].targets, linear, &hit, err));
        if (hit) *out = &c->group[i].rule;
    }
    for (size_t i = 0; i < c->count && !*out; i++)
        if (gs_name_patterns_has(c->group[i].targets, "Linear")) *out = &c->group[i].rule;
    return GS_OK;
}
