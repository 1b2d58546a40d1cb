/* compressed-tensors (ascend-bundles.md 7.1), as llm-compressor writes it for vLLM: config.json says how linears are
 * quantized, their tensors stand beside each other in model*.safetensors. int8 weights are stored plain, or packed with
 * 128 added; scales are per tensor, channel or group. */
#include <deploy/bundle_reader.h>
#include <deploy/compressed_tensors_config.h>

#include <stdio.h>
#include <string.h>

static bool detect(const char *path, const cJSON *config, const gs_bundle_open_options *options) {
    (void)path, (void)options;
    return gs_config_has_method(config, "compressed-tensors");
}

/* Suffixes of a quantized linear's tensors, all of which its weight brings along. */
static const char *const parts[] = {"weight_packed", "weight_scale", "weight_shape", "input_scale", "input_zero_point"};

typedef struct linear {
    gs_bundle_content *content;
    const char *stem;
    const gs_ct_rule *rule;
    gs_tensor weight; /* canonical */
} linear;

static const gs_tensor *find(const linear *l, const char *suffix) {
    char name[512];
    snprintf(name, sizeof name, "%s.%s", l->stem, suffix);
    return gs_checkpoint_find(l->content->checkpoint, name);
}

static gs_status missing(const linear *l, const char *suffix, gs_error *err) {
    return GS_FAIL(err, GS_E_FORMAT, "tensor '%s.%s' is missing", l->stem, suffix);
}

static gs_status wrong(const gs_tensor *t, const char *want, gs_error *err) {
    char text[128];
    return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is %s %s, not %s", t->name, gs_dtype_name(t->dtype),
                   gs_tensor_shape_text(t, text, sizeof text), want);
}

/* weight_packed holds ceil(k / 4) words a row, and weight_shape says what k is. */
static gs_status unpack(linear *l, const gs_tensor *packed, gs_error *err) {
    const gs_tensor *shape = find(l, "weight_shape");
    if (!shape) return missing(l, "weight_shape", err);
    if (shape->ndim != 1 || shape->shape[0] != 2 || (shape->dtype != GS_I64 && shape->dtype != GS_I32))
        return wrong(shape, "I64 [2]", err);
    int64_t n = gs_tensor_integer(shape, 0), k = gs_tensor_integer(shape, 1);
    if (packed->ndim != 2 || packed->dtype != GS_I32) return wrong(packed, "I32 [n, k/4]", err);
    if (k < 1 || n != packed->shape[0] || k / 4 + (k % 4 != 0) != packed->shape[1])
        return GS_FAIL(err, GS_E_FORMAT, "weight_shape of '%s' says [%lld, %lld], which are not the words of [%lld, %lld]",
                       l->stem, (long long)n, (long long)k, (long long)packed->shape[0], (long long)packed->shape[1]);
    if (k % 4 != 0)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "rows of %lld codes in '%s' end within a word, which is not read",
                       (long long)k, packed->name);
    l->weight = *packed;
    l->weight.dtype = GS_I8;
    l->weight.shape[1] = k;
    l->weight.codes = GS_CODES_BIASED;
    return GS_OK;
}

static gs_status read_weight(linear *l, gs_error *err) {
    const gs_tensor *packed = find(l, "weight_packed"), *plain = find(l, "weight");
    if (packed && plain) return GS_FAIL(err, GS_E_FORMAT, "'%s' has a weight and a weight_packed", l->stem);
    if (packed) return unpack(l, packed, err);
    if (!plain) return missing(l, "weight", err);
    if (plain->dtype != GS_I8 || plain->ndim != 2) return wrong(plain, "I8 [n, k]", err);
    if (find(l, "weight_shape")) return GS_FAIL(err, GS_E_FORMAT, "'%s' has a weight_shape, but is not packed", l->stem);
    l->weight = *plain;
    return GS_OK;
}

static gs_status add_named(linear *l, const gs_tensor *t, gs_role role, gs_error *err) {
    const char *name = gs_content_name(l->content, l->stem, role, err);
    return name ? gs_content_add(l->content, t, name, err) : GS_E_NOMEM;
}

/* The one scale of a tensor, for every channel. */
static gs_status spread(linear *l, const gs_tensor *scale, gs_error *err) {
    void *data;
    float value;
    if (gs_tensor_count(scale) != 1 || !gs_dtype_is_float(scale->dtype)) return wrong(scale, "one float", err);
    GS_TRY(gs_tensor_read_f32(scale, 0, 1, &value, err));
    GS_TRY(gs_content_make(l->content, l->stem, GS_ROLE_WEIGHT_SCALE, GS_F32, l->weight.shape[0], 1, &data, err));
    for (int64_t i = 0; i < l->weight.shape[0]; i++) ((float *)data)[i] = value;
    return GS_OK;
}

static gs_status add_scales(linear *l, gs_error *err) {
    const gs_tensor *scale = find(l, "weight_scale");
    int64_t k = l->weight.shape[1], g = l->rule->group_size, groups = g ? k / g : 1;
    void *zeros;
    if (!scale) return missing(l, "weight_scale", err);
    if (g && k % g != 0)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "%lld columns of '%s' in groups of %lld", (long long)k, l->stem, (long long)g);
    if (l->rule->one_scale) {
        GS_TRY(spread(l, scale, err));
    } else {
        bool fits = scale->ndim == 2 ? scale->shape[1] == groups : scale->ndim == 1 && groups == 1;
        if (!fits || scale->shape[0] != l->weight.shape[0]) return wrong(scale, "a scale for each channel or group", err);
        GS_TRY(add_named(l, scale, GS_ROLE_WEIGHT_SCALE, err));
    }
    return gs_content_make(l->content, l->stem, GS_ROLE_WEIGHT_OFFSET, GS_F32, l->weight.shape[0], groups, &zeros,
                           err);
}

/* One float for all inputs, and its zero point: x = (code - zero point) * scale. */
static gs_status add_inputs(linear *l, gs_error *err) {
    const gs_tensor *scale = find(l, "input_scale"), *zero = find(l, "input_zero_point");
    void *to;
    if (l->rule->scheme != GS_SCHEME_W8A8) {
        const gs_tensor *extra = scale ? scale : zero;
        if (!extra) return GS_OK;
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is stored, but its inputs are not static", extra->name);
    }
    if (!scale) return missing(l, "input_scale", err);
    if (gs_tensor_count(scale) != 1 || !gs_dtype_is_float(scale->dtype)) return wrong(scale, "one float", err);
    GS_TRY(gs_content_make(l->content, l->stem, GS_ROLE_INPUT_SCALE, GS_F32, 1, 0, &to, err));
    GS_TRY(gs_tensor_read_f32(scale, 0, 1, to, err));
    GS_TRY(gs_content_make(l->content, l->stem, GS_ROLE_INPUT_OFFSET, GS_F32, 1, 0, &to, err));
    if (!zero && l->rule->input_asymmetric) return missing(l, "input_zero_point", err);
    if (!zero) return GS_OK;
    if (gs_tensor_count(zero) != 1 || (zero->dtype != GS_I8 && zero->dtype != GS_I32 && zero->dtype != GS_I64))
        return wrong(zero, "I8 [1]", err);
    *(float *)to = (float)gs_tensor_integer(zero, 0);
    if (l->rule->input_asymmetric || *(float *)to == 0) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is not 0, but its inputs are symmetric", zero->name);
}

static gs_status add_linear(gs_bundle_content *c, const char *stem, gs_error *err) {
    linear l = {.content = c, .stem = stem};
    GS_TRY(gs_ct_config_find(c->rules, stem, &l.rule, err));
    if (!l.rule) return GS_FAIL(err, GS_E_FORMAT, "'%s' is stored in codes, but not quantized in config.json", stem);
    GS_TRY(read_weight(&l, err));
    const char *name = gs_content_name(c, stem, GS_ROLE_WEIGHT, err);
    if (!name) return GS_E_NOMEM;
    GS_TRY(gs_content_add(c, &l.weight, name, err));
    GS_TRY(gs_content_quantized(c, name, l.rule->scheme, err));
    GS_TRY(add_scales(&l, err));
    return add_inputs(&l, err);
}

/* "<stem>.weight" of a quantized linear: what says so is its scale. */
static bool has_scale(const gs_bundle_content *c, const char *weight, size_t stem) {
    char name[512];
    snprintf(name, sizeof name, "%.*s.weight_scale", (int)stem, weight);
    return gs_checkpoint_find(c->checkpoint, name) != NULL;
}

/* A linear comes with its packed or integer weight; its other tensors are skipped, but may not be without it. */
static gs_status add(gs_bundle_content *c, const gs_tensor *t, gs_error *err) {
    char name[512];
    size_t packed = gs_name_stem(t->name, "weight_packed"), plain = gs_name_stem(t->name, "weight");
    bool quantized = plain && (t->dtype == GS_I8 || has_scale(c, t->name, plain));
    if (packed || quantized) {
        char *stem = gs_content_keep(c, (packed ? packed : plain) + 1, err);
        if (!stem) return GS_E_NOMEM;
        memcpy(stem, t->name, packed ? packed : plain);
        return add_linear(c, stem, err);
    }
    for (size_t i = 0; i < GS_COUNTOF(parts); i++) {
        size_t stem = gs_name_stem(t->name, parts[i]);
        if (!stem) continue;
        snprintf(name, sizeof name, "%.*s.weight", (int)stem, t->name);
        bool owned = gs_checkpoint_find(c->checkpoint, name);
        snprintf(name, sizeof name, "%.*s.weight_packed", (int)stem, t->name);
        if (!owned && !gs_checkpoint_find(c->checkpoint, name))
            return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' belongs to no weight", t->name);
        return GS_OK;
    }
    return gs_content_add(c, t, t->name, err);
}

static bool claims(const void *rules, const char *name) {
    const gs_ct_rule *rule;
    /* what cannot be matched is not known to be float */
    return gs_ct_config_find(rules, name, &rule, NULL) != GS_OK || rule;
}

static void release(void *rules) { gs_ct_config_destroy(rules); }

static gs_status open_bundle(const char *path, const gs_bundle_open_options *options, gs_bundle_content *c, gs_error *err) {
    gs_ct_config *rules;
    (void)options;
    GS_TRY(gs_content_open(c, path, "model", NULL, err));
    GS_TRY(gs_content_compute(c, err));
    const cJSON *config = gs_checkpoint_config(c->checkpoint)->json;
    GS_TRY(gs_ct_config_create(gs_json_get(config, "quantization_config"), &rules, err));
    c->rules = rules;
    c->release = release;
    c->claims = claims;
    c->derives_static = true;
    c->token_levels = 127.5f; /* the package's rule for a symmetric range of 8 bits */
    for (size_t i = 0; i < gs_checkpoint_count(c->checkpoint); i++)
        GS_TRY(add(c, gs_checkpoint_at(c->checkpoint, i), err));
    return GS_OK;
}

const gs_bundle_reader gs_bundle_reader_compressed_tensors = {
    .name = "compressed-tensors",
    .about = "llm-compressor's int8 checkpoints, for vLLM and transformers",
    .detect = detect,
    .open = open_bundle,
};
