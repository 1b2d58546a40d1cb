#include <loaders/config.h>

#include <math.h>
#include <string.h>

/* One integer of the file: where it goes, whether it must be there, its largest value.
 * The limits only keep products inside 64 bits; real models are far below them. */
typedef struct size_rule {
    const char *key;
    size_t offset;
    bool required;
    int64_t limit;
} size_rule;

#define RULE(key, member, required, limit)                                     \
    {key, offsetof(gs_model_config, member), required, limit}

static const size_rule size_rules[] = {
    RULE("vocab_size", vocab, true, (int64_t)1 << 24),
    RULE("hidden_size", hidden, true, (int64_t)1 << 20),
    RULE("intermediate_size", intermediate, true, (int64_t)1 << 22),
    RULE("num_hidden_layers", layers, true, 4096),
    RULE("num_attention_heads", heads, true, (int64_t)1 << 14),
    RULE("num_key_value_heads", kv_heads, false, (int64_t)1 << 14),
    RULE("head_dim", head_dim, false, (int64_t)1 << 14),
    /* the second wins over the first where both are there */
    RULE("model_max_length", max_positions, false, (int64_t)1 << 40),
    RULE("max_position_embeddings", max_positions, false, (int64_t)1 << 40),
};

static gs_status missing(const cJSON *json, const char *key, gs_error *err) {
    GS_FAIL(err, GS_E_FORMAT, "\"%s\" is missing", key);
    if (cJSON_IsObject(gs_json_get(json, "text_config")))
        gs_error_hint(err, "sizes inside \"text_config\" mark a multimodal model, "
                           "which is not supported");
    else
        gs_error_hint(err, "this should be the config.json of a decoder-only language model");
    return GS_E_FORMAT;
}

static gs_status read_size(const cJSON *json, const size_rule *rule, gs_model_config *out,
                           gs_error *err) {
    int64_t *value = (int64_t *)(void *)((char *)out + rule->offset);
    const cJSON *item = gs_json_get(json, rule->key);
    if (!item || cJSON_IsNull(item))
        return rule->required ? missing(json, rule->key, err) : GS_OK;
    /* some tokenizer-minded files write 1e30 for "no limit" */
    if (!rule->required && cJSON_IsNumber(item) && item->valuedouble > (double)rule->limit
        && value == &out->max_positions) {
        *value = rule->limit;
        return GS_OK;
    }
    GS_TRY(gs_json_int(json, rule->key, value, err));
    if (*value < 1 || *value > rule->limit)
        return GS_FAIL(err, GS_E_FORMAT, "\"%s\" is %lld, outside 1..%lld", rule->key,
                       (long long)*value, (long long)rule->limit);
    return GS_OK;
}

/* Heads: kv heads default to heads, head_dim to hidden/heads; heads share kv heads evenly. */
static gs_status complete_heads(gs_model_config *c, gs_error *err) {
    if (c->kv_heads == 0) c->kv_heads = c->heads;
    if (c->heads % c->kv_heads != 0)
        return GS_FAIL(err, GS_E_FORMAT,
                       "num_attention_heads (%lld) is not a multiple of num_key_value_heads (%lld)",
                       (long long)c->heads, (long long)c->kv_heads);
    if (c->head_dim) return GS_OK;
    if (c->hidden % c->heads != 0)
        return GS_FAIL(err, GS_E_FORMAT,
                       "without \"head_dim\", hidden_size (%lld) must be a multiple of "
                       "num_attention_heads (%lld)",
                       (long long)c->hidden, (long long)c->heads);
    c->head_dim = c->hidden / c->heads;
    return GS_OK;
}

static gs_status read_sizes(const cJSON *json, gs_model_config *out, gs_error *err) {
    out->max_positions = 2048;
    for (size_t i = 0; i < GS_COUNTOF(size_rules); i++)
        GS_TRY(read_size(json, &size_rules[i], out, err));
    return complete_heads(out, err);
}

/* A number inside (0, limit]. */
static gs_status read_positive(const cJSON *json, const char *key, double limit, double *out,
                               gs_error *err) {
    GS_TRY(gs_json_double(json, key, out, err));
    if (!(*out > 0 && *out <= limit))
        return GS_FAIL(err, GS_E_FORMAT, "\"%s\" is %g, outside 0 (excluded) to %g", key,
                       *out, limit);
    return GS_OK;
}

static gs_status copy_text(const char *key, const char *text, char *out, size_t size,
                           gs_error *err) {
    size_t n = strlen(text);
    if (n >= size)
        return GS_FAIL(err, GS_E_FORMAT, "\"%s\": '%.40s...' is longer than %zu bytes", key, text,
                       size - 1);
    memcpy(out, text, n + 1);
    return GS_OK;
}

static gs_status read_text(const cJSON *json, const char *key, char *out, size_t size,
                           gs_error *err) {
    const char *text = NULL;
    GS_TRY(gs_json_string(json, key, &text, err));
    return text ? copy_text(key, text, out, size, err) : GS_OK;
}

static gs_status read_architecture(const cJSON *json, gs_model_config *out, gs_error *err) {
    const cJSON *list = gs_json_get(json, "architectures");
    if (!list || cJSON_IsNull(list)) return GS_OK;
    if (!cJSON_IsArray(list) || (list->child && !cJSON_IsString(list->child)))
        return GS_FAIL(err, GS_E_FORMAT, "\"architectures\" is not a list of strings");
    if (!list->child) return GS_OK;
    return copy_text("architectures", list->child->valuestring, out->architecture,
                     sizeof out->architecture, err);
}

static gs_status read_dtype(const cJSON *json, gs_model_config *out, gs_error *err) {
    const char *name = NULL, *key = "dtype";
    GS_TRY(gs_json_string(json, key, &name, err));
    if (!name) GS_TRY(gs_json_string(json, key = "torch_dtype", &name, err));
    out->dtype = GS_DTYPE_NONE;
    if (!name || strcmp(name, "auto") == 0) return GS_OK;
    out->dtype = gs_dtype_from_torch(name);
    if (out->dtype != GS_DTYPE_NONE) return GS_OK;
    GS_FAIL(err, GS_E_UNSUPPORTED, "\"%s\" is '%.40s'", key, name);
    gs_error_hint(err, "known are float32, float16, bfloat16 and float64");
    return GS_E_UNSUPPORTED;
}

/* The parameters of rotary scaling live in `rope_scaling`, or with rope_theta in
 * `rope_parameters` (transformers 5), which wins where both are there. */
static gs_status rope_object(const cJSON *json, const cJSON **rope, gs_error *err) {
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    *rope = NULL;
    for (size_t i = 0; i < GS_COUNTOF(keys); i++) {
        const cJSON *item = gs_json_get(json, keys[i]);
        if (!item || cJSON_IsNull(item)) continue;
        if (!cJSON_IsObject(item))
            return GS_FAIL(err, GS_E_FORMAT, "\"%s\" is not an object", keys[i]);
        *rope = item;
    }
    return GS_OK;
}

static gs_rope_scaling_kind scaling_kind(const char *name) {
    if (strcmp(name, "") == 0 || strcmp(name, "default") == 0) return GS_ROPE_SCALING_NONE;
    if (strcmp(name, "linear") == 0) return GS_ROPE_SCALING_LINEAR;
    if (strcmp(name, "llama3") == 0) return GS_ROPE_SCALING_LLAMA3;
    return GS_ROPE_SCALING_OTHER;
}

/* transformers 5 gives models with several attention kinds one object a kind. */
static bool is_per_layer_kind(const cJSON *rope) {
    const cJSON *member;
    cJSON_ArrayForEach(member, rope) {
        if (cJSON_IsObject(member)) return true;
    }
    return false;
}

static gs_status need(const cJSON *object, const char *key, gs_error *err) {
    const cJSON *item = gs_json_get(object, key);
    if (item && !cJSON_IsNull(item)) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "\"%s\" is missing", key);
}

static gs_status read_linear(const cJSON *rope, gs_rope_scaling *s, gs_error *err) {
    GS_TRY(need(rope, "factor", err));
    return read_positive(rope, "factor", 1e6, &s->factor, err);
}

static gs_status read_llama3(const cJSON *rope, gs_rope_scaling *s, gs_error *err) {
    static const char *const keys[] = {"factor", "low_freq_factor", "high_freq_factor",
                                       "original_max_position_embeddings"};
    for (size_t i = 0; i < GS_COUNTOF(keys); i++) GS_TRY(need(rope, keys[i], err));
    GS_TRY(read_positive(rope, keys[0], 1e6, &s->factor, err));
    GS_TRY(read_positive(rope, keys[1], 1e6, &s->low_freq_factor, err));
    GS_TRY(read_positive(rope, keys[2], 1e6, &s->high_freq_factor, err));
    GS_TRY(gs_json_int(rope, keys[3], &s->original_max_positions, err));
    if (s->original_max_positions < 1 || s->original_max_positions > (int64_t)1 << 40)
        return GS_FAIL(err, GS_E_FORMAT, "\"%s\" is %lld", keys[3],
                       (long long)s->original_max_positions);
    /* their difference is a divisor */
    if (s->low_freq_factor >= s->high_freq_factor)
        return GS_FAIL(err, GS_E_FORMAT, "low_freq_factor (%g) is not below high_freq_factor (%g)",
                       s->low_freq_factor, s->high_freq_factor);
    return GS_OK;
}

static gs_status read_scaling(const cJSON *rope, gs_rope_scaling *s, gs_error *err) {
    if (is_per_layer_kind(rope)) {
        s->kind = GS_ROPE_SCALING_OTHER;
        return copy_text("rope_parameters", "per layer kind", s->name, sizeof s->name, err);
    }
    GS_TRY(read_text(rope, "type", s->name, sizeof s->name, err));
    GS_TRY(read_text(rope, "rope_type", s->name, sizeof s->name, err));
    s->kind = scaling_kind(s->name);
    if (s->kind == GS_ROPE_SCALING_LINEAR) return read_linear(rope, s, err);
    if (s->kind == GS_ROPE_SCALING_LLAMA3) return read_llama3(rope, s, err);
    return GS_OK;
}

static gs_status read_rope(const cJSON *json, gs_model_config *out, gs_error *err) {
    const cJSON *rope;
    out->rope_theta = 10000;
    out->rope_scaling = (gs_rope_scaling){.factor = 1};
    GS_TRY(rope_object(json, &rope, err));
    GS_TRY(read_positive(json, "rope_theta", 1e15, &out->rope_theta, err));
    if (!rope) return GS_OK;
    GS_TRY(read_positive(rope, "rope_theta", 1e15, &out->rope_theta, err));
    gs_status status = read_scaling(rope, &out->rope_scaling, err);
    if (status != GS_OK) gs_error_at(err, "%s", rope->string);
    return status;
}

static gs_status read_all(const cJSON *json, gs_model_config *out, gs_error *err) {
    GS_TRY(read_text(json, "model_type", out->model_type, sizeof out->model_type, err));
    GS_TRY(read_architecture(json, out, err));
    GS_TRY(read_sizes(json, out, err));
    out->norm_eps = 1e-6;
    GS_TRY(read_positive(json, "rms_norm_eps", 1, &out->norm_eps, err));
    GS_TRY(read_rope(json, out, err));
    GS_TRY(gs_json_bool(json, "tie_word_embeddings", &out->tied, err));
    GS_TRY(gs_json_bool(json, "attention_bias", &out->attention_bias, err));
    GS_TRY(gs_json_bool(json, "mlp_bias", &out->mlp_bias, err));
    GS_TRY(copy_text("hidden_act", "silu", out->hidden_act, sizeof out->hidden_act, err));
    GS_TRY(read_text(json, "hidden_activation", out->hidden_act, sizeof out->hidden_act, err));
    GS_TRY(read_text(json, "hidden_act", out->hidden_act, sizeof out->hidden_act, err));
    return read_dtype(json, out, err);
}

gs_status gs_model_config_from_json(cJSON *json, gs_model_config *out, gs_error *err) {
    *out = (gs_model_config){.dtype = GS_DTYPE_NONE};
    if (!cJSON_IsObject(json)) return GS_FAIL(err, GS_E_FORMAT, "not a JSON object");
    GS_TRY(read_all(json, out, err));
    out->json = json;
    return GS_OK;
}

gs_status gs_model_config_load(const char *path, gs_model_config *out, gs_error *err) {
    enum { MAX_BYTES = 16 << 20 };
    cJSON *json;
    *out = (gs_model_config){.dtype = GS_DTYPE_NONE};
    GS_TRY(gs_json_load(path, MAX_BYTES, &json, err));
    gs_status status = gs_model_config_from_json(json, out, err);
    if (status != GS_OK) {
        gs_error_at(err, "%s", path);
        cJSON_Delete(json);
    }
    return status;
}

void gs_model_config_clear(gs_model_config *c) {
    cJSON_Delete(c->json);
    *c = (gs_model_config){.dtype = GS_DTYPE_NONE};
}
