#include <deploy/bundle_reader.h>

#include <base/affix.h>
#include <base/file.h>
#include <base/mem.h>

#include <stdio.h>
#include <string.h>

/* Room for one more; NULL: no memory, the old array stays. */
static void *grow(void *array, size_t count, size_t *cap, size_t size) {
    if (count < *cap) return array;
    size_t room = *cap ? 2 * *cap : 64;
    void *more = gs_realloc(array, room, size);
    if (more) *cap = room;
    return more;
}

void *gs_content_keep(gs_bundle_content *c, size_t bytes, gs_error *err) {
    void **kept = grow(c->kept, c->nkept, &c->kept_cap, sizeof *kept);
    void *block = kept ? gs_calloc(1, bytes) : NULL;
    if (kept) c->kept = kept;
    if (!block) {
        gs_error_nomem(err, bytes);
        return NULL;
    }
    c->kept[c->nkept++] = block;
    return block;
}

const char *gs_content_name(gs_bundle_content *c, const char *stem, gs_role role, gs_error *err) {
    size_t size = strlen(stem) + strlen(gs_role_name(role)) + 2;
    char *name = gs_content_keep(c, size, err);
    if (name) snprintf(name, size, "%s.%s", stem, gs_role_name(role));
    return name;
}

gs_status gs_content_add(gs_bundle_content *c, const gs_tensor *t, const char *name, gs_error *err) {
    gs_tensor *tensor = grow(c->tensor, c->count, &c->cap, sizeof *tensor);
    if (!tensor) return gs_error_nomem(err, (c->count + 1) * sizeof *tensor);
    c->tensor = tensor;
    tensor[c->count] = *t;
    tensor[c->count++].name = name;
    return GS_OK;
}

gs_status gs_content_make(gs_bundle_content *c, const char *stem, gs_role role, gs_dtype dtype, int64_t rows,
                          int64_t cols, void **data, gs_error *err) {
    gs_tensor t = {.dtype = dtype, .ndim = cols ? 2 : 1, .shape = {rows, cols}};
    size_t elements;
    if (rows < 1 || cols < 0 || !gs_mul_size((size_t)rows, cols ? (size_t)cols : 1, &elements) ||
        !gs_dtype_bytes(dtype, elements, &t.bytes))
        return GS_FAIL(err, GS_E_FORMAT, "'%s.%s' has a size of [%lld, %lld]", stem, gs_role_name(role),
                       (long long)rows, (long long)cols);
    const char *name = gs_content_name(c, stem, role, err);
    if (!name) return GS_E_NOMEM;
    *data = gs_content_keep(c, (size_t)t.bytes, err);
    if (!*data) return GS_E_NOMEM;
    t.data = *data;
    return gs_content_add(c, &t, name, err);
}

gs_status gs_content_quantized(gs_bundle_content *c, const char *weight, gs_scheme scheme, gs_error *err) {
    c->linears[scheme]++;
    return gs_map_put(&c->scheme, weight, strlen(weight), scheme, NULL, err);
}

void gs_content_clear(gs_bundle_content *c) {
    gs_checkpoint_close(c->checkpoint);
    if (c->release) c->release(c->rules);
    gs_map_clear(&c->scheme);
    gs_free(c->tensor);
    for (size_t i = 0; i < c->nkept; i++) gs_free(c->kept[i]);
    gs_free(c->kept);
    *c = (gs_bundle_content){0};
}

gs_status gs_content_compute(gs_bundle_content *c, gs_error *err) {
    c->compute = gs_checkpoint_config(c->checkpoint)->dtype;
    if (c->compute == GS_F16 || c->compute == GS_BF16 || c->compute == GS_F32) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "config.json names no usable torch_dtype");
}

/* The one name of the list with that beginning and end; *found counts them. */
static const char *only(char **names, size_t count, const char *prefix, const char *end, size_t *found) {
    const char *one = NULL;
    *found = 0;
    for (size_t i = 0; i < count; i++) {
        if (!gs_starts_with(names[i], prefix) || !gs_ends_with(names[i], end)) continue;
        one = names[i];
        ++*found;
    }
    return one;
}

static gs_status choose_files(char **names, size_t count, const char *prefix, gs_checkpoint_parts *parts,
                              const char **file, gs_error *err) {
    size_t indices, files;
    parts->index = only(names, count, prefix, ".safetensors.index.json", &indices);
    *file = only(names, count, prefix, ".safetensors", &files);
    if (indices > 1)
        return GS_FAIL(err, GS_E_FORMAT, "there are %zu files %s*.safetensors.index.json", indices, prefix);
    if (parts->index) return GS_OK;
    if (files != 1)
        return GS_FAIL(err, GS_E_FORMAT, "there are %zu files %s*.safetensors and no index of them", files, prefix);
    parts->files = file;
    parts->nfiles = 1;
    return GS_OK;
}

static bool has_config(const char *path) {
    char *file = gs_path_join(path, "config.json");
    bool there = file && gs_path_exists(file);
    gs_free(file);
    return there;
}

const char *gs_content_foreign_config(const char *path, const gs_bundle_open_options *options) {
    return options->config && !has_config(path) ? options->config : NULL;
}

static gs_status check_config_there(const char *path, const char *config, gs_error *err) {
    if (has_config(config ? config : path)) return GS_OK;
    GS_FAIL(err, GS_E_FORMAT, "%s has no config.json", config ? config : "it"); /* the caller puts the path before it */
    gs_error_hint(err, "name the directory of the model it was made from: --config MODEL_DIR");
    return GS_E_FORMAT;
}

gs_status gs_content_open(gs_bundle_content *c, const char *path, const char *prefix, const char *config,
                          gs_error *err) {
    gs_checkpoint_parts parts = {.config = config};
    const char *file;
    char **names = NULL;
    size_t count = 0;
    GS_TRY(check_config_there(path, config, err));
    GS_TRY(gs_dir_list(path, &names, &count, err));
    gs_status status = choose_files(names, count, prefix, &parts, &file, err);
    if (status == GS_OK) status = gs_checkpoint_open_parts(path, &parts, &c->checkpoint, err);
    gs_strlist_free(names, count);
    return status;
}

int64_t gs_tensor_integer(const gs_tensor *t, int64_t i) {
    int64_t wide;
    int32_t word;
    switch (t->dtype) {
    case GS_I8: return ((const int8_t *)t->data)[i];
    case GS_I32: memcpy(&word, t->data + 4 * i, sizeof word); return word; /* little-endian, as the file */
    default: memcpy(&wide, t->data + 8 * i, sizeof wide); return wide;
    }
}

size_t gs_name_stem(const char *name, const char *suffix) {
    size_t n = strlen(name), k = strlen(suffix);
    if (n < k + 2 || name[n - k - 1] != '.' || strcmp(name + n - k, suffix) != 0) return 0;
    return n - k - 1;
}

bool gs_config_has_method(const cJSON *config, const char *method) {
    const cJSON *word = gs_json_get(gs_json_get(config, "quantization_config"), "quant_method");
    return cJSON_IsString(word) && strcmp(word->valuestring, method) == 0;
}
