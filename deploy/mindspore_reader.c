/* MindSpore Golden Stick's bundles (golden-stick.md 3.3): quantization_description.json gives every tensor a type,
 * model.safetensors.index.json names the quant-model-* files. Names are Hugging Face's but for the embedding.
 *
 * Beside a weight stand weight_scale T [n] or [k/g, n] and weight_offset I32 of the same shape; of static linears also
 * input_scale and input_offset: T and I32 [1] for the generic back end, T and I8 [k] with deq_scale and quant_bias for
 * Ascend. There the one scale is repeated; a vector that is not constant has a smoothing in it, which would have to
 * divide each channel of the input, and is refused. */
#include <deploy/mindspore_tensors.h>

#include <base/file.h>
#include <base/mem.h>

#include <stdio.h>
#include <string.h>

static const char description_name[] = "quantization_description.json";
enum { MAX_DESCRIPTION = 100 << 20, MAX_OFFSET = 1 << 24 /* integers that a float holds */ };

typedef struct linear {
    gs_bundle_content *content;
    const char *stem;
    int64_t n, k;
} linear;

static bool detect(const char *path, const cJSON *config, const gs_bundle_open_options *options) {
    (void)config, (void)options;
    char *file = gs_path_is_dir(path) ? gs_path_join(path, description_name) : NULL;
    bool there = file && gs_path_exists(file);
    gs_free(file);
    return there;
}

static const gs_tensor *find(const linear *l, gs_role role) {
    char name[512];
    snprintf(name, sizeof name, "%s.%s", l->stem, gs_role_name(role));
    return gs_checkpoint_find(l->content->checkpoint, name);
}

static gs_status wrong(const gs_tensor *t, const char *want, gs_error *err) {
    char text[128];
    return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is %s %s, not %s", t->name, gs_dtype_name(t->dtype),
                   gs_tensor_shape_text(t, text, sizeof text), want);
}

/* A scale or offset of weights, [n] or [groups, n], turned over to [n, groups] of f32. */
static gs_status add_of_weight(const linear *l, gs_role role, gs_error *err) {
    const gs_tensor *t = find(l, role);
    void *data;
    float x;
    if (!t) return GS_FAIL(err, GS_E_FORMAT, "tensor '%s.%s' is missing", l->stem, gs_role_name(role));
    bool scale = role == GS_ROLE_WEIGHT_SCALE, typed = scale ? gs_dtype_is_float(t->dtype) : t->dtype == GS_I32;
    int64_t groups = t->ndim == 2 ? t->shape[0] : 1;
    if (!typed || t->ndim < 1 || t->ndim > 2 || t->shape[t->ndim - 1] != l->n || groups < 1 || l->k % groups != 0)
        return wrong(t, scale ? "a float [n] or [groups, n]" : "I32 [n] or [groups, n]", err);
    float *row = gs_alloc((size_t)l->n * sizeof *row);
    if (!row) return gs_error_nomem(err, (size_t)l->n * sizeof *row);
    gs_status status = gs_content_make(l->content, l->stem, role, GS_F32, l->n, groups, &data, err);
    for (int64_t g = 0; g < groups && status == GS_OK; g++) {
        if (scale) status = gs_tensor_read_f32(t, g, 1, row, err);
        for (int64_t i = 0; i < l->n && status == GS_OK; i++) {
            int64_t offset = scale ? 0 : gs_tensor_integer(t, g * l->n + i);
            x = scale ? row[i] : (float)offset;
            ((float *)data)[i * groups + g] = x;
            if (offset > MAX_OFFSET || offset < -MAX_OFFSET)
                status = GS_FAIL(err, GS_E_FORMAT, "'%s' of channel %lld is %lld", t->name, (long long)i, (long long)offset);
        }
    }
    gs_free(row);
    return status;
}

static gs_status add_of_input(const linear *l, gs_role role, gs_error *err) {
    const gs_tensor *t = find(l, role);
    if (!t) return GS_FAIL(err, GS_E_FORMAT, "tensor '%s.%s' is missing", l->stem, gs_role_name(role));
    return gs_mindspore_add_input(l->content, l->stem, role, t, l->k, err);
}

/* deq_scale and quant_bias are in canonical form; a bias is the model's. */
static gs_status add_as_stored(const linear *l, gs_role role, gs_error *err) {
    const gs_tensor *t = find(l, role);
    return t ? gs_content_add(l->content, t, t->name, err) : GS_OK;
}

static gs_status add_weight(const linear *l, const gs_tensor *t, gs_scheme scheme, gs_error *err) {
    const gs_tensor *scale = find(l, GS_ROLE_WEIGHT_SCALE);
    if (t->dtype != GS_I8 || t->ndim != 2) return wrong(t, "I8 [n, k]", err);
    if (scheme == GS_SCHEME_W4A16 && scale && scale->ndim > 0 && scale->shape[scale->ndim - 1] == 2 * t->shape[1] &&
        t->shape[0] != 2 * t->shape[1])
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' holds 4-bit codes of two output channels a byte, transposed for Ascend, "
                       "which are not read", t->name);
    GS_TRY(gs_content_quantized(l->content, t->name, scheme, err));
    return gs_content_add(l->content, t, t->name, err);
}

static gs_status add_linear(gs_bundle_content *c, const gs_tensor *t, gs_scheme scheme, gs_error *err) {
    static const gs_role input[] = {GS_ROLE_INPUT_SCALE, GS_ROLE_INPUT_OFFSET};
    size_t stem = gs_name_stem(t->name, "weight");
    char *name = gs_content_keep(c, stem + 1, err);
    if (!name) return GS_E_NOMEM;
    memcpy(name, t->name, stem);
    linear l = {c, name, t->ndim ? t->shape[0] : 1, t->ndim == 2 ? t->shape[1] : 1};
    GS_TRY(add_weight(&l, t, scheme, err));
    if (l.n < 1 || l.k < 1) return wrong(t, "a matrix", err);
    GS_TRY(add_of_weight(&l, GS_ROLE_WEIGHT_SCALE, err));
    GS_TRY(add_of_weight(&l, GS_ROLE_WEIGHT_OFFSET, err));
    if (scheme != GS_SCHEME_W8A8) return GS_OK;
    for (size_t i = 0; i < GS_COUNTOF(input); i++) GS_TRY(add_of_input(&l, input[i], err));
    GS_TRY(add_as_stored(&l, GS_ROLE_DEQ_SCALE, err));
    return add_as_stored(&l, GS_ROLE_QUANT_BIAS, err);
}

/* The model's own tensors, under Hugging Face's name. */
static gs_status add_float(gs_bundle_content *c, const gs_tensor *t, gs_error *err) {
    size_t stem = gs_name_stem(t->name, "embedding_table");
    if (!stem) return gs_content_add(c, t, t->name, err);
    char *base = gs_content_keep(c, stem + 1, err);
    if (!base) return GS_E_NOMEM;
    memcpy(base, t->name, stem);
    const char *name = gs_content_name(c, base, GS_ROLE_WEIGHT, err);
    return name ? gs_content_add(c, t, name, err) : GS_E_NOMEM;
}

typedef struct types {
    const cJSON *json;
    gs_map scheme; /* tensor name -> gs_scheme, GS_SCHEME_COUNT for a type that is none */
} types;

/* The type of a tensor's own module decides what stands beside its weight. */
static gs_status add(gs_bundle_content *c, const types *description, const gs_tensor *t, gs_error *err) {
    static const gs_role roles[] = {GS_ROLE_WEIGHT_SCALE, GS_ROLE_WEIGHT_OFFSET, GS_ROLE_INPUT_SCALE,
                                    GS_ROLE_INPUT_OFFSET, GS_ROLE_DEQ_SCALE,     GS_ROLE_QUANT_BIAS};
    int64_t type;
    if (!gs_map_get(&description->scheme, t->name, strlen(t->name), &type))
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is stored but not described", t->name);
    if (type == GS_SCHEME_FLOAT) return add_float(c, t, err);
    if (type == GS_SCHEME_COUNT || type == GS_SCHEME_W8A8_MIX)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "tensor '%s' has type '%s', which is not computed here", t->name,
                       gs_json_get(description->json, t->name)->valuestring);
    if (gs_name_stem(t->name, "weight")) return add_linear(c, t, (gs_scheme)type, err);
    if (gs_name_stem(t->name, "bias")) return gs_content_add(c, t, t->name, err);
    for (size_t i = 0; i < GS_COUNTOF(roles); i++) {
        char name[512];
        size_t stem = gs_name_stem(t->name, gs_role_name(roles[i]));
        snprintf(name, sizeof name, "%.*s.weight", (int)stem, t->name);
        bool fits = i < 2 || type == GS_SCHEME_W8A8; /* only static linears have the others */
        if (stem && fits && gs_checkpoint_find(c->checkpoint, name)) return GS_OK;
    }
    return GS_FAIL(err, GS_E_UNSUPPORTED, "tensor '%s' of type '%s' is not computed here", t->name,
                   gs_scheme_name((gs_scheme)type));
}

static gs_status index_types(const gs_bundle_content *c, types *t, gs_error *err) {
    const cJSON *item;
    if (!cJSON_IsObject(t->json)) return GS_FAIL(err, GS_E_FORMAT, "the description is no JSON object");
    cJSON_ArrayForEach(item, t->json) {
        if (!cJSON_IsString(item)) return GS_FAIL(err, GS_E_FORMAT, "the type of '%s' is no string", item->string);
        const gs_model_config *config = gs_checkpoint_config(c->checkpoint);
        bool tied_head = (config->tied || !config->tied_is_said) && strcmp(item->string, "lm_head.weight") == 0;
        if (!tied_head && !gs_checkpoint_find(c->checkpoint, item->string))
            return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is described but not stored", item->string);
        GS_TRY(gs_map_put(&t->scheme, item->string, strlen(item->string), gs_scheme_from_name(item->valuestring), NULL,
                          err));
    }
    return GS_OK;
}

static gs_status add_all(gs_bundle_content *c, const cJSON *description, gs_error *err) {
    types t = {.json = description};
    gs_status status = index_types(c, &t, err);
    for (size_t i = 0; status == GS_OK && i < gs_checkpoint_count(c->checkpoint); i++)
        status = add(c, &t, gs_checkpoint_at(c->checkpoint, i), err);
    gs_map_clear(&t.scheme);
    if (status != GS_OK) gs_error_at(err, "%s", description_name);
    return status;
}

static gs_status open_bundle(const char *path, const gs_bundle_open_options *options, gs_bundle_content *c, gs_error *err) {
    cJSON *description;
    char *file = gs_path_join(path, description_name);
    if (!file) return gs_error_nomem(err, 256);
    gs_status status = gs_json_load(file, MAX_DESCRIPTION, &description, err);
    gs_free(file);
    GS_TRY(status);
    c->derives_static = c->loose_deq_scale = true;
    status = gs_content_open(c, path, "model", gs_content_foreign_config(path, options), err);
    if (status == GS_OK) status = gs_content_compute(c, err);
    if (status == GS_OK) status = add_all(c, description, err);
    cJSON_Delete(description);
    return status;
}

const gs_bundle_reader gs_bundle_reader_mindspore = {
    .name = "mindspore",
    .about = "MindSpore Golden Stick's description and safetensors",
    .detect = detect,
    .open = open_bundle,
};
