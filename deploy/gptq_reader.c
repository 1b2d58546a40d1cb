/* The GPTQ container (ascend-bundles.md 7.2) with 8-bit codes, as AutoGPTQ and GPTQModel write it: qweight I32 [k/4, n],
 * four codes of one column of the transposed weight in a word; qzeros I32 [G, n/4]; scales [G, n]; g_idx I32 [k].
 * A weight is (code - zero) * scale with unsigned codes; ours are signed, both less 128.
 *
 * The settings stand in config.json's quantization_config, or in quantize_config.json beside it. Versions: "gptq"
 * stores zeros less one, "gptq_v2" as they are. */
#include <deploy/bundle_reader.h>

#include <base/file.h>
#include <base/half.h>
#include <base/mem.h>

#include <stdio.h>
#include <string.h>

static const char side_file[] = "quantize_config.json";
enum { MAX_SIDE_FILE = 16 << 20 };

typedef struct settings {
    int64_t group_size; /* -1: the whole row */
    int zero_bias;      /* what is added to a stored zero */
} settings;

typedef struct linear {
    gs_bundle_content *content;
    const settings *settings;
    char *stem;
    const gs_tensor *qweight;
    int64_t n, k, groups;
} linear;

static char *side_path(const char *path) {
    char *file = gs_path_join(path, side_file);
    if (file && gs_path_exists(file)) return file;
    gs_free(file);
    return NULL;
}

static bool detect(const char *path, const cJSON *config, const gs_bundle_open_options *options) {
    (void)options;
    if (gs_config_has_method(config, "gptq")) return true;
    /* AWQ's older tool writes a file of that name too, but says so */
    if (!config || gs_json_get(config, "quantization_config")) return false;
    char *file = side_path(path);
    cJSON *json = NULL;
    bool there = file && gs_json_load(file, MAX_SIDE_FILE, &json, NULL) == GS_OK && gs_json_get(json, "bits") &&
                 !gs_json_get(json, "zero_point");
    cJSON_Delete(json);
    gs_free(file);
    return there;
}

static bool is_filled(const cJSON *item) {
    if (!item || cJSON_IsNull(item) || cJSON_IsFalse(item)) return false;
    return item->child || (!cJSON_IsObject(item) && !cJSON_IsArray(item));
}

static gs_status read_settings(const cJSON *json, settings *s, gs_error *err) {
    int64_t bits = 0;
    const char *format = "gptq", *pack = "int32";
    s->group_size = -1;
    GS_TRY(gs_json_int(json, "bits", &bits, err));
    GS_TRY(gs_json_int(json, "group_size", &s->group_size, err));
    GS_TRY(gs_json_string(json, "checkpoint_format", &format, err));
    GS_TRY(gs_json_string(json, "pack_dtype", &pack, err));
    if (bits != 8) return GS_FAIL(err, GS_E_UNSUPPORTED, "codes of %lld bits are not read, only of 8", (long long)bits);
    if (s->group_size != -1 && s->group_size < 1)
        return GS_FAIL(err, GS_E_FORMAT, "group_size is %lld", (long long)s->group_size);
    if (strcmp(pack, "int32") != 0) return GS_FAIL(err, GS_E_UNSUPPORTED, "pack_dtype is '%s', not int32", pack);
    if (is_filled(gs_json_get(json, "dynamic")))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "settings of single modules ('dynamic') are not read");
    bool first = strcmp(format, "gptq") == 0;
    if (!first && strcmp(format, "gptq_v2") != 0)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "the checkpoint_format '%s' is not read", format);
    s->zero_bias = first;
    return GS_OK;
}

static gs_status load_settings(const char *path, const cJSON *config, settings *s, gs_error *err) {
    const cJSON *inside = gs_json_get(config, "quantization_config");
    if (inside) {
        gs_status status = read_settings(inside, s, err);
        if (status != GS_OK) gs_error_at(err, "quantization_config");
        return status;
    }
    cJSON *json;
    char *file = side_path(path);
    if (!file) return GS_FAIL(err, GS_E_FORMAT, "there is no quantization_config and no %s", side_file);
    gs_status status = gs_json_load(file, MAX_SIDE_FILE, &json, err);
    if (status == GS_OK) {
        status = read_settings(json, s, err);
        if (status != GS_OK) gs_error_at(err, "%s", side_file);
        cJSON_Delete(json);
    }
    gs_free(file);
    return status;
}

static gs_status find(const linear *l, const char *suffix, const gs_tensor **out, gs_error *err) {
    char name[512];
    snprintf(name, sizeof name, "%s.%s", l->stem, suffix);
    *out = gs_checkpoint_find(l->content->checkpoint, name);
    return *out ? GS_OK : GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is missing", name);
}

static gs_status wrong(const gs_tensor *t, int64_t rows, int64_t cols, gs_error *err) {
    char text[128];
    return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is %s %s, which does not fit [%lld, %lld]", t->name,
                   gs_dtype_name(t->dtype), gs_tensor_shape_text(t, text, sizeof text), (long long)rows, (long long)cols);
}

static bool is_matrix(const gs_tensor *t, int64_t rows, int64_t cols) {
    return t->ndim == 2 && t->shape[0] == rows && t->shape[1] == cols;
}

/* Column i belongs to group i / group_size: other orders (desc_act) would gather scales column by column. */
static gs_status check_index(const linear *l, gs_error *err) {
    char name[512];
    snprintf(name, sizeof name, "%s.g_idx", l->stem);
    const gs_tensor *t = gs_checkpoint_find(l->content->checkpoint, name);
    if (!t) return GS_OK;
    if (t->dtype != GS_I32 || t->ndim != 1 || t->shape[0] != l->k) return wrong(t, l->k, 1, err);
    int64_t g = l->k / l->groups;
    for (int64_t i = 0; i < l->k; i++)
        if (gs_tensor_integer(t, i) != i / g)
            return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' puts column %lld into group %lld, not %lld: columns in another "
                           "order (desc_act) are not read", name, (long long)i, (long long)gs_tensor_integer(t, i),
                           (long long)(i / g));
    return GS_OK;
}

static gs_status measure(linear *l, gs_error *err) {
    const gs_tensor *w = l->qweight;
    if (w->dtype != GS_I32 || w->ndim != 2 || w->shape[0] < 1 || w->shape[1] < 1) return wrong(w, 1, 1, err);
    l->n = w->shape[1];
    l->k = 4 * w->shape[0]; /* of mapped bytes: no overflow */
    int64_t g = l->settings->group_size == -1 ? l->k : l->settings->group_size;
    if (l->k % g != 0 || l->n % 4 != 0)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "[%lld, %lld] of '%s' are no whole groups of %lld and words of 4",
                       (long long)l->n, (long long)l->k, l->stem, (long long)g);
    l->groups = l->k / g;
    return check_index(l, err);
}

static gs_status add_weight(linear *l, gs_error *err) {
    gs_tensor t = *l->qweight;
    t.dtype = GS_I8;
    t.shape[0] = l->n;
    t.shape[1] = l->k;
    t.codes = GS_CODES_GPTQ8;
    const char *name = gs_content_name(l->content, l->stem, GS_ROLE_WEIGHT, err);
    if (!name) return GS_E_NOMEM;
    GS_TRY(gs_content_quantized(l->content, name, GS_SCHEME_W8A16, err));
    return gs_content_add(l->content, &t, name, err);
}

/* [G, n] turned over to [n, G], bits as they are. */
static gs_status add_scales(linear *l, gs_error *err) {
    const gs_tensor *t;
    void *to;
    GS_TRY(find(l, "scales", &t, err));
    bool fits = t->dtype == GS_F16 || t->dtype == GS_BF16 || t->dtype == GS_F32;
    if (!fits || !is_matrix(t, l->groups, l->n)) return wrong(t, l->groups, l->n, err);
    size_t size = t->dtype == GS_F32 ? 4 : 2;
    GS_TRY(gs_content_make(l->content, l->stem, GS_ROLE_WEIGHT_SCALE, t->dtype, l->n, l->groups, &to, err));
    for (int64_t g = 0; g < l->groups; g++)
        for (int64_t i = 0; i < l->n; i++)
            memcpy((uint8_t *)to + size * (size_t)(i * l->groups + g), t->data + size * (size_t)(g * l->n + i), size);
    return GS_OK;
}

/* Zeros of signed codes. The first version cannot store 0: what its tool writes for it is 255, and its readers' plus one
 * makes 256 or 0, which differ; refused. */
static gs_status add_zeros(linear *l, gs_error *err) {
    const gs_tensor *t;
    void *to;
    GS_TRY(find(l, "qzeros", &t, err));
    if (t->dtype != GS_I32 || !is_matrix(t, l->groups, l->n / 4)) return wrong(t, l->groups, l->n / 4, err);
    GS_TRY(gs_content_make(l->content, l->stem, GS_ROLE_WEIGHT_OFFSET, GS_F32, l->n, l->groups, &to, err));
    for (int64_t g = 0; g < l->groups; g++) {
        for (int64_t i = 0; i < l->n; i++) {
            int zero = t->data[g * l->n + i] + l->settings->zero_bias;
            if (zero > 255)
                return GS_FAIL(err, GS_E_FORMAT, "the zero of channel %lld, group %lld in '%s' is %d", (long long)i,
                               (long long)g, t->name, zero);
            ((float *)to)[i * l->groups + g] = (float)(zero - 128);
        }
    }
    return GS_OK;
}

static gs_status add_linear(gs_bundle_content *c, const settings *s, const gs_tensor *qweight, size_t stem, gs_error *err) {
    linear l = {.content = c, .settings = s, .qweight = qweight, .stem = gs_content_keep(c, stem + 1, err)};
    if (!l.stem) return GS_E_NOMEM;
    memcpy(l.stem, qweight->name, stem);
    GS_TRY(measure(&l, err));
    GS_TRY(add_weight(&l, err));
    GS_TRY(add_scales(&l, err));
    return add_zeros(&l, err);
}

/* A linear comes with its qweight. */
static gs_status add(gs_bundle_content *c, const settings *s, const gs_tensor *t, gs_error *err) {
    static const char *const others[] = {"qzeros", "scales", "g_idx"};
    size_t stem = gs_name_stem(t->name, "qweight");
    if (stem) return add_linear(c, s, t, stem, err);
    for (size_t i = 0; i < GS_COUNTOF(others); i++) {
        char name[512];
        stem = gs_name_stem(t->name, others[i]);
        if (!stem) continue;
        snprintf(name, sizeof name, "%.*s.qweight", (int)stem, t->name);
        if (gs_checkpoint_find(c->checkpoint, name)) return GS_OK;
    }
    return gs_content_add(c, t, t->name, err);
}

static gs_status open_bundle(const char *path, const gs_bundle_open_options *options, gs_bundle_content *c, gs_error *err) {
    settings s;
    char *model = gs_path_join(path, "model.safetensors"), *index = gs_path_join(path, "model.safetensors.index.json");
    if (!model || !index) {
        gs_free(model);
        gs_free(index);
        return gs_error_nomem(err, 512);
    }
    bool usual = gs_path_exists(model) || gs_path_exists(index);
    gs_free(model);
    gs_free(index);
    (void)options;
    GS_TRY(gs_content_open(c, path, usual ? "model" : "gptq_model", NULL, err));
    GS_TRY(gs_content_compute(c, err));
    GS_TRY(load_settings(path, gs_checkpoint_config(c->checkpoint)->json, &s, err));
    c->spare_biases = true;
    for (size_t i = 0; i < gs_checkpoint_count(c->checkpoint); i++)
        GS_TRY(add(c, &s, gs_checkpoint_at(c->checkpoint, i), err));
    return GS_OK;
}

const gs_bundle_reader gs_bundle_reader_gptq = {
    .name = "gptq",
    .about = "the GPTQ container with 8-bit codes, for vLLM and transformers",
    .detect = detect,
    .open = open_bundle,
};
