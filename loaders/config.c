#include <loaders/config.h>

#include <base/affix.h>
#include <base/utf8.h>

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
    RULE("sliding_window", window, false, (int64_t)1 << 40),
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
    if (!gs_utf8_is_plain(text, n)) return GS_FAIL(err, GS_E_FORMAT, "\"%s\" has control characters", key);
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
 * `rope_parameters` (transformers 5). */
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

static const gs_rope_scaling no_scaling = {.factor = 1, .attention_factor = 1};

static gs_rope_scaling_kind scaling_kind(const char *name) {
    static const struct {
        const char *name;
        gs_rope_scaling_kind kind;
    } kinds[] = {
        {"", GS_ROPE_SCALING_NONE},          {"default", GS_ROPE_SCALING_NONE},
        {"linear", GS_ROPE_SCALING_LINEAR},  {"llama3", GS_ROPE_SCALING_LLAMA3},
        {"dynamic", GS_ROPE_SCALING_DYNAMIC}, {"yarn", GS_ROPE_SCALING_YARN},
    };
    for (size_t i = 0; i < GS_COUNTOF(kinds); i++)
        if (strcmp(name, kinds[i].name) == 0) return kinds[i].kind;
    return GS_ROPE_SCALING_OTHER;
}

static bool is_there(const cJSON *object, const char *key) {
    const cJSON *item = gs_json_get(object, key);
    return item && !cJSON_IsNull(item);
}

static gs_status need(const cJSON *object, const char *key, gs_error *err) {
    return is_there(object, key) ? GS_OK : GS_FAIL(err, GS_E_FORMAT, "\"%s\" is missing", key);
}

static gs_status read_factor(const cJSON *rope, gs_rope_scaling *s, gs_error *err) {
    GS_TRY(need(rope, "factor", err));
    return read_positive(rope, "factor", 1e6, &s->factor, err);
}

static gs_status read_original(const cJSON *rope, gs_rope_scaling *s, gs_error *err) {
    static const char key[] = "original_max_position_embeddings";
    GS_TRY(gs_json_int(rope, key, &s->original_max_positions, err));
    if (s->original_max_positions < 1 || s->original_max_positions > (int64_t)1 << 40)
        return GS_FAIL(err, GS_E_FORMAT, "\"%s\" is %lld", key, (long long)s->original_max_positions);
    return GS_OK;
}

static gs_status read_llama3(const cJSON *rope, gs_rope_scaling *s, gs_error *err) {
    static const char *const keys[] = {"factor", "low_freq_factor", "high_freq_factor",
                                       "original_max_position_embeddings"};
    for (size_t i = 0; i < GS_COUNTOF(keys); i++) GS_TRY(need(rope, keys[i], err));
    GS_TRY(read_factor(rope, s, err));
    GS_TRY(read_positive(rope, keys[1], 1e6, &s->low_freq_factor, err));
    GS_TRY(read_positive(rope, keys[2], 1e6, &s->high_freq_factor, err));
    GS_TRY(read_original(rope, s, err));
    /* their difference is a divisor */
    if (s->low_freq_factor >= s->high_freq_factor)
        return GS_FAIL(err, GS_E_FORMAT, "low_freq_factor (%g) is not below high_freq_factor (%g)",
                       s->low_freq_factor, s->high_freq_factor);
    return GS_OK;
}

double gs_yarn_amplitude(double factor, double mscale) { return factor > 1 ? 0.1 * mscale * log(factor) + 1 : 1; }

static gs_status read_yarn(const cJSON *rope, int64_t max_positions, gs_rope_scaling *s, gs_error *err) {
    double mscale = 0, all = 0;
    s->original_max_positions = max_positions;
    s->beta_fast = 32;
    s->beta_slow = 1;
    GS_TRY(read_original(rope, s, err));
    s->factor = (double)max_positions / (double)s->original_max_positions;
    GS_TRY(read_positive(rope, "factor", 1e6, &s->factor, err));
    GS_TRY(read_positive(rope, "beta_fast", 1e6, &s->beta_fast, err));
    GS_TRY(read_positive(rope, "beta_slow", 1e6, &s->beta_slow, err));
    if (s->beta_slow >= s->beta_fast)
        return GS_FAIL(err, GS_E_FORMAT, "beta_slow (%g) is not below beta_fast (%g)", s->beta_slow, s->beta_fast);
    if (is_there(rope, "mscale")) GS_TRY(read_positive(rope, "mscale", 1e3, &mscale, err));
    if (is_there(rope, "mscale_all_dim")) GS_TRY(read_positive(rope, "mscale_all_dim", 1e3, &all, err));
    s->attention_factor = mscale > 0 && all > 0
                              ? gs_yarn_amplitude(s->factor, mscale) / gs_yarn_amplitude(s->factor, all)
                              : gs_yarn_amplitude(s->factor, 1);
    bool whole = true;
    GS_TRY(gs_json_bool(rope, "truncate", &whole, err));
    if (!whole) return GS_FAIL(err, GS_E_UNSUPPORTED, "\"truncate\" is false: the ramp of yarn has whole bounds here");
    return read_positive(rope, "attention_factor", 1e6, &s->attention_factor, err);
}

/* Tables of factors make it "longrope", whatever it is called: the first files that had them say "su" and "yarn". */
static gs_status read_kind(const cJSON *rope, gs_rope_scaling *s, gs_error *err) {
    bool tables = is_there(rope, "short_factor") || is_there(rope, "long_factor");
    GS_TRY(read_text(rope, "type", s->name, sizeof s->name, err));
    GS_TRY(read_text(rope, "rope_type", s->name, sizeof s->name, err));
    if (!s->name[0] && is_there(rope, "factor"))
        return GS_FAIL(err, GS_E_FORMAT, "a \"factor\" without a \"rope_type\"");
    s->kind = tables ? GS_ROPE_SCALING_OTHER : scaling_kind(s->name);
    return tables ? copy_text("rope_type", "longrope", s->name, sizeof s->name, err) : GS_OK;
}

/* Members that change angles ("alpha") or scores ("..._scaling_beta") in ways that no kind here has. */
static gs_status refuse_members(const cJSON *rope, gs_error *err) {
    const cJSON *member;
    cJSON_ArrayForEach(member, rope) {
        bool foreign = strcmp(member->string, "alpha") == 0 || gs_ends_with(member->string, "_scaling_beta");
        if (foreign && !cJSON_IsNull(member))
            return GS_FAIL(err, GS_E_UNSUPPORTED, "\"%.60s\" is not supported", member->string);
    }
    return GS_OK;
}

/* One object with rope_theta and the scaling's members. */
static gs_status read_scaling(const cJSON *rope, int64_t max_positions, double *theta, gs_rope_scaling *s,
                              gs_error *err) {
    GS_TRY(read_positive(rope, "rope_theta", 1e15, theta, err));
    GS_TRY(read_kind(rope, s, err));
    GS_TRY(refuse_members(rope, err));
    switch (s->kind) {
    case GS_ROPE_SCALING_LINEAR: return read_factor(rope, s, err);
    case GS_ROPE_SCALING_LLAMA3: return read_llama3(rope, s, err);
    case GS_ROPE_SCALING_YARN: return read_yarn(rope, max_positions, s, err);
    case GS_ROPE_SCALING_DYNAMIC:
        s->original_max_positions = max_positions;
        GS_TRY(read_original(rope, s, err));
        return read_factor(rope, s, err);
    default: return GS_OK;
    }
}

/* transformers 5 gives models with several attention kinds one object a kind. */
static bool is_per_layer_kind(const cJSON *rope) {
    const cJSON *member;
    cJSON_ArrayForEach(member, rope) {
        if (cJSON_IsObject(member)) return true;
    }
    return false;
}

static gs_status read_kinds(const cJSON *rope, gs_model_config *out, gs_error *err) {
    const cJSON *kind;
    cJSON_ArrayForEach(kind, rope) {
        bool full = strcmp(kind->string, "full_attention") == 0, sliding = strcmp(kind->string, "sliding_attention") == 0;
        if (cJSON_IsNull(kind)) continue;
        if (!(full || sliding) || !cJSON_IsObject(kind))
            return GS_FAIL(err, GS_E_UNSUPPORTED, "\"%.60s\" beside the parameters of full_attention and sliding_attention",
                           kind->string);
        GS_TRY(full ? read_scaling(kind, out->max_positions, &out->rope_theta, &out->rope_scaling, err)
                    : read_scaling(kind, out->max_positions, &out->sliding_rope_theta, &out->sliding_rope_scaling, err));
    }
    return GS_OK;
}

static gs_status read_rotary_dim(const cJSON *json, const cJSON *rope, gs_model_config *out, gs_error *err) {
    double part = 1;
    out->rotary_dim = out->head_dim;
    GS_TRY(read_positive(json, "partial_rotary_factor", 1, &part, err));
    if (rope && !is_per_layer_kind(rope)) GS_TRY(read_positive(rope, "partial_rotary_factor", 1, &part, err));
    out->rotary_dim = (int64_t)((double)out->head_dim * part);
    if (part < 1 && (out->rotary_dim < 2 || out->rotary_dim % 2))
        return GS_FAIL(err, GS_E_FORMAT, "\"partial_rotary_factor\" %g leaves %lld elements of heads of %lld to rotate",
                       part, (long long)out->rotary_dim, (long long)out->head_dim);
    return GS_OK;
}

static bool same_scaling(const gs_rope_scaling *a, const gs_rope_scaling *b) {
    return a->kind == b->kind && a->factor == b->factor && a->low_freq_factor == b->low_freq_factor
           && a->high_freq_factor == b->high_freq_factor && a->original_max_positions == b->original_max_positions
           && a->beta_fast == b->beta_fast && a->beta_slow == b->beta_slow && a->attention_factor == b->attention_factor;
}

/* Which of two spellings counts depends on the version of transformers, so they must say the same (of layers that see
 * everything, where kinds of layers differ). */
static gs_status check_spellings(const cJSON *json, const gs_model_config *c, gs_error *err) {
    const cJSON *old = gs_json_get(json, "rope_scaling");
    gs_rope_scaling s = no_scaling;
    double theta = c->rope_theta;
    if (!is_there(json, "rope_parameters") || !cJSON_IsObject(old) || !old->child) return GS_OK;
    gs_status status = read_scaling(old, c->max_positions, &theta, &s, err);
    if (status != GS_OK) gs_error_at(err, "rope_scaling");
    if (status != GS_OK) return status;
    if (theta == c->rope_theta && same_scaling(&s, &c->rope_scaling)) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "\"rope_scaling\" and \"rope_parameters\" disagree");
}

/* Some files keep this number outside of the scaling. Versions of transformers differ in which they take. */
static gs_status check_original(const cJSON *json, const gs_rope_scaling *s, gs_error *err) {
    static const char key[] = "original_max_position_embeddings";
    int64_t outside = s->original_max_positions;
    if (s->kind != GS_ROPE_SCALING_YARN && s->kind != GS_ROPE_SCALING_LLAMA3) return GS_OK;
    GS_TRY(gs_json_int(json, key, &outside, err));
    if (outside == s->original_max_positions) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "\"%s\" is %lld, but %lld by the rope scaling", key, (long long)outside,
                   (long long)s->original_max_positions);
}

static gs_status read_rope(const cJSON *json, gs_model_config *out, gs_error *err) {
    const cJSON *rope;
    bool kinds;
    out->rope_theta = 10000;
    out->rope_scaling = out->sliding_rope_scaling = no_scaling;
    GS_TRY(rope_object(json, &rope, err));
    GS_TRY(read_rotary_dim(json, rope, out, err));
    GS_TRY(read_positive(json, "rope_theta", 1e15, &out->rope_theta, err));
    out->sliding_rope_theta = out->rope_theta;
    kinds = rope && is_per_layer_kind(rope);
    gs_status status = GS_OK;
    if (kinds) status = read_kinds(rope, out, err);
    else if (rope) status = read_scaling(rope, out->max_positions, &out->rope_theta, &out->rope_scaling, err);
    if (status != GS_OK) gs_error_at(err, "%s", rope->string);
    if (status == GS_OK) status = check_spellings(json, out, err);
    if (status == GS_OK) status = check_original(json, &out->rope_scaling, err);
    if (status != GS_OK || kinds) return status;
    out->sliding_rope_theta = out->rope_theta;
    out->sliding_rope_scaling = out->rope_scaling;
    /* an older spelling of "the windowed layers have their own base, and no scaling" */
    if (!is_there(json, "rope_local_base_freq")) return GS_OK;
    out->sliding_rope_scaling = no_scaling;
    return read_positive(json, "rope_local_base_freq", 1e15, &out->sliding_rope_theta, err);
}

static gs_status read_all(const cJSON *json, gs_model_config *out, gs_error *err) {
    GS_TRY(read_text(json, "model_type", out->model_type, sizeof out->model_type, err));
    GS_TRY(read_architecture(json, out, err));
    GS_TRY(read_sizes(json, out, err));
    out->norm_eps = 1e-6;
    GS_TRY(read_positive(json, "rms_norm_eps", 1, &out->norm_eps, err));
    GS_TRY(read_rope(json, out, err));
    GS_TRY(gs_json_bool(json, "tie_word_embeddings", &out->tied, err));
    out->tied_is_said = is_there(json, "tie_word_embeddings");
    GS_TRY(gs_json_bool(json, "attention_bias", &out->attention_bias, err));
    GS_TRY(gs_json_bool(json, "mlp_bias", &out->mlp_bias, err));
    GS_TRY(copy_text("hidden_act", "silu", out->hidden_act, sizeof out->hidden_act, err));
    GS_TRY(read_text(json, "hidden_act", out->hidden_act, sizeof out->hidden_act, err));
    /* files that have both keep the other for readers that do not know this one */
    GS_TRY(read_text(json, "hidden_activation", out->hidden_act, sizeof out->hidden_act, err));
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

gs_status gs_model_config_positive(const gs_model_config *c, const char *key, double *out, gs_error *err) {
    return is_there(c->json, key) ? read_positive(c->json, key, 1e12, out, err) : GS_OK;
}

void gs_model_config_clear(gs_model_config *c) {
    cJSON_Delete(c->json);
    *c = (gs_model_config){.dtype = GS_DTYPE_NONE};
}
