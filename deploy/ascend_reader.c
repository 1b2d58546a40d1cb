/* Bundles of msModelSlim, and our own for the same servers (ascend-bundles.md 3, 4, 5): a description file that gives
 * every stored tensor a type, and safetensors called quant_model_weight*.
 *
 * Older writers differ in names: quant_model_description_<type>.json, other weights stems, no config.json (V0), norms
 * stored twice ("norm.module.*"). A description without a version keeps 4-bit codes one a byte. */
#include <deploy/bundle_reader.h>

#include <base/affix.h>
#include <base/file.h>
#include <base/mem.h>

#include <stdio.h>
#include <string.h>

static const char description_name[] = "quant_model_description.json";
static const char old_beginning[] = "quant_model_description_";
enum { MAX_DESCRIPTION = 100 << 20 /* MindIE's own limit (ascend-bundles.md 1, rule 8) */, MAX_TYPE_NAME = 40 };

typedef struct reading {
    gs_bundle_content *content;
    char *file; /* of the description */
    cJSON *json;
    gs_map type; /* tensor name -> gs_scheme, GS_SCHEME_COUNT for one that is none */
    bool versioned;
    int64_t group_size;
} reading;

static bool is_old_name(const char *name) {
    return gs_starts_with(name, old_beginning) && gs_ends_with(name, ".json");
}

/* The description's name in the directory, in fresh memory; NULL: there is none. *ambiguous: several old ones. */
static char *find_description(const char *path, bool *ambiguous) {
    char **names = NULL, *found = NULL;
    size_t count = 0, old = 0;
    *ambiguous = false;
    if (!gs_path_is_dir(path) || gs_dir_list(path, &names, &count, NULL) != GS_OK) return NULL;
    for (size_t i = 0; i < count; i++) {
        bool exact = strcmp(names[i], description_name) == 0;
        if (!exact && !is_old_name(names[i])) continue;
        old += !exact;
        if (found && !exact) continue;
        gs_free(found);
        found = gs_strdup(names[i]);
    }
    *ambiguous = old > 1 && found && strcmp(found, description_name) != 0;
    gs_strlist_free(names, count);
    return found;
}

static bool detect(const char *path, const cJSON *config, const gs_bundle_open_options *options) {
    (void)config, (void)options;
    bool ambiguous;
    char *name = find_description(path, &ambiguous);
    gs_free(name);
    return name != NULL;
}

/* Globals are the keys that name no tensor. */
static bool is_global(const char *key) {
    static const char *const globals[] = {"version",        "model_quant_type", "metadata",
                                          "group_size",     "optional",         "kv_cache_type",
                                          "kv_quant_type",  "fa_quant_type",    "indexer_quant_type",
                                          "reduce_quant_type"};
    for (size_t i = 0; i < GS_COUNTOF(globals); i++)
        if (strcmp(globals[i], key) == 0) return true;
    return false;
}

/* Every listed tensor is stored; a head that is not must be tied (where config.json does not say, the family does). */
static gs_status check_listed(const reading *r, const char *name, gs_error *err) {
    const gs_checkpoint *c = r->content->checkpoint;
    if (gs_checkpoint_find(c, name)) return GS_OK;
    const gs_model_config *config = gs_checkpoint_config(c);
    if ((config->tied || !config->tied_is_said) && strcmp(name, "lm_head.weight") == 0) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is described but not stored", name);
}

static gs_status index_types(reading *r, gs_error *err) {
    const cJSON *item;
    cJSON_ArrayForEach(item, r->json) {
        if (is_global(item->string)) continue;
        if (!cJSON_IsString(item))
            return GS_FAIL(err, GS_E_FORMAT, "the type of '%s' is no string", item->string);
        GS_TRY(check_listed(r, item->string, err));
        GS_TRY(gs_map_put(&r->type, item->string, strlen(item->string), gs_scheme_from_name(item->valuestring), NULL,
                          err));
    }
    return GS_OK;
}

/* It is shown as it is. */
static bool is_type_name(const char *text) {
    size_t n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");
    return n > 0 && n <= MAX_TYPE_NAME && text[n] == 0;
}

static gs_status read_globals(reading *r, gs_error *err) {
    const char *dominant = "FLOAT", *version = NULL, *cache = NULL;
    GS_TRY(gs_json_string(r->json, "model_quant_type", &dominant, err));
    GS_TRY(gs_json_string(r->json, "version", &version, err));
    GS_TRY(gs_json_string(r->json, "kv_cache_type", &cache, err));
    if (!cache) GS_TRY(gs_json_string(r->json, "kv_quant_type", &cache, err));
    GS_TRY(gs_json_int(r->json, "group_size", &r->group_size, err));
    r->versioned = version != NULL;
    if (!is_type_name(dominant))
        return GS_FAIL(err, GS_E_FORMAT, "model_quant_type '%.40s' is no name of a type", dominant);
    if (cache && strcmp(cache, "C8") != 0)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "a key-value cache of type '%s' is not computed here", cache);
    r->content->caches = cache != NULL;
    char *kept = gs_content_keep(r->content, strlen(dominant) + 1, err);
    if (!kept) return GS_E_NOMEM;
    memcpy(kept, dominant, strlen(dominant) + 1);
    r->content->dominant = kept;
    return GS_OK;
}

static gs_status read_description(reading *r, const char *path, gs_error *err) {
    char *file = gs_path_join(path, r->file);
    if (!file) return gs_error_nomem(err, 256);
    gs_status status = gs_json_load(file, MAX_DESCRIPTION, &r->json, err);
    gs_free(file);
    GS_TRY(status);
    if (!cJSON_IsObject(r->json)) return GS_FAIL(err, GS_E_FORMAT, "the description is no JSON object");
    GS_TRY(read_globals(r, err));
    return index_types(r, err);
}

/* msModelSlim's old anti-outlier form stores a smoothed norm as "norm.*" and once more as "norm.module.*"; MindIE takes
 * the second pair for quantized readers and the first for float ones. They hold the same bytes
 * (reference v0-w8a8-static-m1-oldnames: both equal the one pair of v0-w8a8-static-m1, the smoothed weights), so the
 * first pair stands for both; two that differ would be two networks. *is: the name is one of the second pair. */
static gs_status check_module(const reading *r, const gs_tensor *t, bool *is, gs_error *err) {
    char name[512];
    size_t stem = gs_name_stem(t->name, "module.weight");
    if (!stem) stem = gs_name_stem(t->name, "module.bias");
    *is = stem > 0;
    if (!stem) return GS_OK;
    snprintf(name, sizeof name, "%.*s%s", (int)stem, t->name, t->name + stem + sizeof ".module" - 1);
    const gs_tensor *first = gs_checkpoint_find(r->content->checkpoint, name);
    if (first && first->dtype == t->dtype && first->bytes == t->bytes && memcmp(first->data, t->data, t->bytes) == 0)
        return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' is not equal to '%s': quantized and float linears would read two norms",
                   t->name, name);
}

/* Which way the nibbles of a W4A16 weight lie, and its real shape (ascend-bundles.md 5.2). */
static gs_status unpack_int4(const reading *r, gs_tensor *t, gs_error *err) {
    char name[512], text[128];
    snprintf(name, sizeof name, "%.*s.weight_scale", (int)gs_name_stem(t->name, "weight"), t->name);
    const gs_tensor *scale = gs_checkpoint_find(r->content->checkpoint, name);
    if (!scale) return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is missing", name);
    if (!r->versioned || t->ndim != 2 || t->dtype != GS_I8) return GS_OK; /* else the network's own checks see it */
    bool rows = r->group_size > 0;
    t->codes = rows ? GS_CODES_INT4_ROWS : GS_CODES_INT4_COLUMNS;
    gs_tensor_shape_text(t, text, sizeof text);
    t->shape[rows ? 0 : 1] *= 2; /* of mapped bytes: no overflow */
    if (scale->ndim > 0 && scale->shape[0] == t->shape[0]) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is %s: not two codes a byte of the %lld rows that its scales have",
                   t->name, text, (long long)(scale->ndim ? scale->shape[0] : 1));
}

static gs_status add(reading *r, const gs_tensor *stored, gs_error *err) {
    gs_tensor t = *stored;
    int64_t type;
    bool again;
    if (!gs_map_get(&r->type, t.name, strlen(t.name), &type))
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is stored but not described", t.name);
    GS_TRY(check_module(r, &t, &again, err));
    if (again) return GS_OK;
    bool weight = gs_name_stem(t.name, "weight") > 0;
    if (weight && type == GS_SCHEME_COUNT)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "tensor '%s' has type '%s', which is not computed here", t.name,
                       gs_json_get(r->json, t.name)->valuestring);
    if (weight && type == GS_SCHEME_W4A16) GS_TRY(unpack_int4(r, &t, err));
    if (weight && type != GS_SCHEME_FLOAT) GS_TRY(gs_content_quantized(r->content, t.name, (gs_scheme)type, err));
    return gs_content_add(r->content, &t, t.name, err);
}

/* A foreign config.json may be of another dtype than the bundle, whose FLOAT matrices have the model's. */
static gs_status compute_of_tensors(gs_bundle_content *c, gs_error *err) {
    for (size_t i = 0; i < gs_checkpoint_count(c->checkpoint); i++) {
        const gs_tensor *t = gs_checkpoint_at(c->checkpoint, i);
        if (t->ndim != 2 || !gs_name_stem(t->name, "weight")) continue;
        if (t->dtype != GS_F16 && t->dtype != GS_BF16 && t->dtype != GS_F32) continue;
        c->compute = t->dtype;
        return GS_OK;
    }
    return gs_content_compute(c, err);
}

static gs_status read_all(reading *r, const char *path, const gs_bundle_open_options *options, gs_error *err) {
    gs_bundle_content *c = r->content;
    const char *config = gs_content_foreign_config(path, options);
    GS_TRY(gs_content_open(c, path, "quant_model_weight", config, err));
    GS_TRY(config ? compute_of_tensors(c, err) : gs_content_compute(c, err));
    /* MindIE's writer has only this form, and its reader takes it (ascend-bundles.md 5.2) */
    c->loose_deq_scale = strcmp(r->file, description_name) != 0;
    gs_status status = read_description(r, path, err);
    for (size_t i = 0; status == GS_OK && i < gs_checkpoint_count(c->checkpoint); i++)
        status = add(r, gs_checkpoint_at(c->checkpoint, i), err);
    if (status != GS_OK) gs_error_at(err, "%s", r->file);
    return status;
}

static gs_status open_bundle(const char *path, const gs_bundle_open_options *options, gs_bundle_content *c, gs_error *err) {
    bool ambiguous;
    reading r = {.content = c, .file = find_description(path, &ambiguous)};
    gs_status status;
    if (!r.file)
        status = gs_error_nomem(err, 256);
    else if (ambiguous)
        status = GS_FAIL(err, GS_E_FORMAT, "there are several files %s*.json", old_beginning);
    else
        status = read_all(&r, path, options, err);
    gs_map_clear(&r.type);
    cJSON_Delete(r.json);
    gs_free(r.file);
    return status;
}

const gs_bundle_reader gs_bundle_reader_ascend = {
    .name = "ascend",
    .about = "msModelSlim's description and safetensors, for vllm-ascend and MindIE",
    .detect = detect,
    .open = open_bundle,
};
