#include <loaders/checkpoint.h>

#include <base/affix.h>
#include <base/map.h>
#include <base/mem.h>
#include <base/strbuf.h>
#include <loaders/gguf_hf.h>

#include <string.h>

struct gs_checkpoint {
    gs_container container;
    char *path;
    gs_model_config config;
    gs_shards *shards; /* safetensors */
    gs_gguf *gguf;     /* GGUF, with its Hugging Face view */
    gs_gguf_hf *hf;
    gs_map by_name; /* name -> place, of GGUF's or of presented tensors; empty: the shards know */
    gs_tensor *presented; /* by a format's reader, NULL: the files' own tensors; names owned */
    size_t npresented;
    gs_checkpoint_dropper *drop; /* of presented tensors, or NULL */
    const void *drop_ctx;
};

static void free_presented(gs_tensor *tensors, size_t n) {
    for (size_t i = 0; tensors && i < n; i++) gs_free((char *)(uintptr_t)tensors[i].name);
    gs_free(tensors);
}

void gs_checkpoint_close(gs_checkpoint *c) {
    if (!c) return;
    gs_model_config_clear(&c->config);
    gs_map_clear(&c->by_name);
    free_presented(c->presented, c->npresented);
    gs_gguf_hf_destroy(c->hf);
    gs_gguf_close(c->gguf);
    gs_shards_close(c->shards);
    gs_free(c->path);
    gs_free(c);
}

/* "x.gguf" in the directory, for a hint; "" when there is none. */
static void find_gguf(const char *dir, char *out, size_t size) {
    char **names = NULL;
    size_t count = 0;
    out[0] = 0;
    if (gs_dir_list(dir, &names, &count, NULL) != GS_OK) return;
    for (size_t i = 0; i < count && !out[0]; i++) {
        size_t n = strlen(names[i]);
        if (n < size && gs_ends_with(names[i], ".gguf")) memcpy(out, names[i], n + 1);
    }
    gs_strlist_free(names, count);
}

static gs_status no_config(const char *dir, gs_error *err) {
    char gguf[256];
    find_gguf(dir, gguf, sizeof gguf);
    GS_FAIL(err, GS_E_FORMAT, "'%s' has no config.json", dir);
    if (gguf[0]) gs_error_hint(err, "for the GGUF model in there give the file: %s", gguf);
    else gs_error_hint(err, "give the directory of a Hugging Face checkpoint, or a GGUF file");
    return GS_E_FORMAT;
}

static gs_status load_config(gs_checkpoint *c, const char *dir, gs_error *err) {
    char *path = gs_path_join(dir, "config.json");
    if (!path) return gs_error_nomem(err, strlen(dir) + 16);
    gs_status status = gs_path_exists(path) ? gs_model_config_load(path, &c->config, err) : no_config(dir, err);
    gs_free(path);
    return status;
}

static gs_status open_dir(gs_checkpoint *c, const char *stem, gs_error *err) {
    c->container = GS_CONTAINER_SAFETENSORS;
    GS_TRY(load_config(c, c->path, err));
    GS_TRY(gs_shards_open_dir(c->path, stem ? stem : "model", &c->shards, err));
    if (gs_shards_are_torch(c->shards)) c->container = GS_CONTAINER_TORCH;
    return GS_OK;
}

static gs_status index_gguf(gs_checkpoint *c, gs_error *err) {
    size_t count = gs_gguf_hf_count(c->hf);
    GS_TRY(gs_map_reserve(&c->by_name, count, err));
    for (size_t i = 0; i < count; i++) {
        const char *name = gs_gguf_hf_at(c->hf, i)->name;
        bool twice;
        GS_TRY(gs_map_put(&c->by_name, name, strlen(name), (int64_t)i, &twice, err));
        if (twice) return GS_FAIL(err, GS_E_FORMAT, "two tensors are called '%.200s'", name);
    }
    return GS_OK;
}

static gs_status view_gguf(gs_checkpoint *c, gs_error *err) {
    cJSON *json;
    GS_TRY(gs_gguf_hf_create(c->gguf, &c->hf, err));
    GS_TRY(index_gguf(c, err));
    GS_TRY(gs_gguf_hf_config(c->hf, &json, err));
    gs_status status = gs_model_config_from_json(json, &c->config, err);
    if (status != GS_OK) cJSON_Delete(json);
    return status;
}

static gs_status open_gguf(gs_checkpoint *c, gs_error *err) {
    c->container = GS_CONTAINER_GGUF;
    GS_TRY(gs_gguf_open(c->path, &c->gguf, err));
    gs_status status = view_gguf(c, err);
    if (status != GS_OK) gs_error_at(err, "%s", c->path);
    return status;
}

/* By its first bytes: names of files lie. */
static gs_status is_gguf(const char *path, bool *yes, gs_error *err) {
    gs_filemap file;
    GS_TRY(gs_filemap_open(&file, path, err));
    *yes = file.size >= 4 && memcmp(file.data, "GGUF", 4) == 0;
    gs_filemap_close(&file);
    return GS_OK;
}

/* A directory that only holds a GGUF file stands for it: what a bundle of that format is. */
static gs_status open_dir_or_gguf(gs_checkpoint *c, const char *stem, gs_error *err) {
    char *config = gs_path_join(c->path, "config.json");
    if (!config) return gs_error_nomem(err, strlen(c->path) + 16);
    bool other = gs_path_exists(config) || gs_shards_in_dir(c->path);
    char *file = other ? NULL : gs_dir_only_file(c->path, ".gguf");
    gs_free(config);
    if (!file) return open_dir(c, stem, err);
    gs_free(c->path);
    c->path = file;
    return open_gguf(c, err);
}

static gs_status open_any(gs_checkpoint *c, const char *stem, gs_error *err) {
    bool gguf = false;
    if (gs_path_is_dir(c->path)) return open_dir_or_gguf(c, stem, err);
    GS_TRY(is_gguf(c->path, &gguf, err));
    if (gguf) return open_gguf(c, err);
    GS_FAIL(err, GS_E_FORMAT, "'%s' is neither a directory nor a GGUF file", c->path);
    gs_error_hint(err, "for safetensors give the directory that also holds config.json");
    return GS_E_FORMAT;
}

gs_status gs_checkpoint_open(const char *path, const char *stem, gs_checkpoint **out,
                             gs_error *err) {
    *out = NULL;
    gs_checkpoint *c = gs_calloc(1, sizeof *c);
    if (!c) return gs_error_nomem(err, sizeof *c);
    c->path = gs_strdup(path);
    gs_status status = c->path ? open_any(c, stem, err) : gs_error_nomem(err, strlen(path) + 1);
    if (status == GS_OK) *out = c;
    else gs_checkpoint_close(c);
    return status;
}

static gs_status open_parts(gs_checkpoint *c, const gs_checkpoint_parts *parts, gs_error *err) {
    c->container = GS_CONTAINER_SAFETENSORS;
    if (parts->index && parts->nfiles)
        return GS_FAIL(err, GS_E_INVALID, "'%s': an index and a list of files", c->path);
    GS_TRY(load_config(c, parts->config ? parts->config : c->path, err));
    if (!parts->index) return gs_shards_open_files(c->path, parts->files, parts->nfiles, &c->shards, err);
    char *path = gs_path_join(c->path, parts->index);
    if (!path) return gs_error_nomem(err, strlen(c->path) + strlen(parts->index) + 2);
    gs_status status = gs_shards_open_index(path, &c->shards, err);
    gs_free(path);
    return status;
}

gs_status gs_checkpoint_open_parts(const char *path, const gs_checkpoint_parts *parts, gs_checkpoint **out,
                                   gs_error *err) {
    *out = NULL;
    gs_checkpoint *c = gs_calloc(1, sizeof *c);
    if (!c) return gs_error_nomem(err, sizeof *c);
    c->path = gs_strdup(path);
    gs_status status = c->path ? open_parts(c, parts, err) : gs_error_nomem(err, strlen(path) + 1);
    if (status == GS_OK) *out = c;
    else gs_checkpoint_close(c);
    return status;
}

/* Copies with names of their own; *map gets their places. */
static gs_status copy_presented(const gs_tensor *tensors, size_t n, gs_tensor *copies, gs_map *map, gs_error *err) {
    GS_TRY(gs_map_reserve(map, n, err));
    for (size_t i = 0; i < n; i++) {
        const char *name = tensors[i].name;
        bool twice;
        GS_TRY(gs_tensor_check(&tensors[i], err));
        copies[i] = tensors[i];
        copies[i].name = gs_strdup(name);
        if (!copies[i].name) return gs_error_nomem(err, strlen(name) + 1);
        /* a map borrows its keys */
        GS_TRY(gs_map_put(map, copies[i].name, strlen(name), (int64_t)i, &twice, err));
        if (twice) return GS_FAIL(err, GS_E_FORMAT, "two tensors are called '%.200s'", name);
    }
    return GS_OK;
}

gs_status gs_checkpoint_present(gs_checkpoint *c, const gs_tensor *tensors, size_t n, gs_error *err) {
    gs_map map = {0};
    gs_tensor *copies = gs_calloc(n + 1, sizeof *copies);
    if (!copies) return gs_error_nomem(err, n * sizeof *copies);
    gs_status status = copy_presented(tensors, n, copies, &map, err);
    if (status != GS_OK) {
        gs_map_clear(&map);
        free_presented(copies, n);
        return status;
    }
    gs_map_clear(&c->by_name);
    free_presented(c->presented, c->npresented);
    c->by_name = map;
    c->presented = copies;
    c->npresented = n;
    return GS_OK;
}

gs_container gs_checkpoint_container(const gs_checkpoint *c) {
    return c->container;
}

static const struct {
    const char *word, *title;
} containers[GS_CONTAINER_COUNT] = {
#define X(name, word, title) {word, title},
    GS_CONTAINER_LIST(X)
#undef X
};

const char *gs_container_name(gs_container container) {
    return containers[container].word;
}

const char *gs_container_title(gs_container container) {
    return containers[container].title;
}

const char *gs_checkpoint_path(const gs_checkpoint *c) {
    return c->path;
}

const gs_model_config *gs_checkpoint_config(const gs_checkpoint *c) {
    return &c->config;
}

const gs_gguf *gs_checkpoint_gguf(const gs_checkpoint *c) {
    return c->gguf;
}

size_t gs_checkpoint_count(const gs_checkpoint *c) {
    if (c->presented) return c->npresented;
    return c->gguf ? gs_gguf_hf_count(c->hf) : gs_shards_count(c->shards);
}

const gs_tensor *gs_checkpoint_at(const gs_checkpoint *c, size_t i) {
    if (i >= gs_checkpoint_count(c)) return NULL;
    if (c->presented) return &c->presented[i];
    return c->gguf ? gs_gguf_hf_at(c->hf, i) : gs_shards_at(c->shards, i);
}

const gs_tensor *gs_checkpoint_find(const gs_checkpoint *c, const char *name) {
    int64_t i;
    if (!c->gguf && !c->presented) return gs_shards_find(c->shards, name);
    return gs_map_get(&c->by_name, name, strlen(name), &i) ? gs_checkpoint_at(c, (size_t)i) : NULL;
}

void gs_checkpoint_drop_by(gs_checkpoint *c, gs_checkpoint_dropper *drop, const void *ctx) {
    c->drop = drop;
    c->drop_ctx = ctx;
}

void gs_checkpoint_drop(const gs_checkpoint *c, const gs_tensor *t) {
    if (c->drop) c->drop(c->drop_ctx, t);
    if (c->gguf) gs_filemap_drop_bytes(gs_gguf_file(c->gguf), t->data, t->bytes);
    else gs_shards_drop(c->shards, t);
}

/* Rows lie one after the other, and none shares its bytes. */
static bool has_plain_rows(const gs_tensor *t, int64_t rows) {
    return rows > 0 && t->order == GS_ROWS_AS_STORED && t->codes != GS_CODES_GPTQ8 && t->codes != GS_CODES_INT4_ROWS;
}

void gs_checkpoint_drop_view(void *checkpoint, const gs_tensor *t) { gs_checkpoint_drop(checkpoint, t); }

void gs_checkpoint_drop_rows(const gs_checkpoint *c, const gs_tensor *t, int64_t row0, int64_t n) {
    int64_t rows, cols;
    gs_tensor part = *t;
    gs_tensor_matrix(t, &rows, &cols);
    if (!has_plain_rows(t, rows)) return;
    part.data += (uint64_t)row0 * (t->bytes / (uint64_t)rows);
    part.bytes = (uint64_t)n * (t->bytes / (uint64_t)rows);
    gs_checkpoint_drop(c, &part);
}

uint64_t gs_checkpoint_bytes(const gs_checkpoint *c) {
    uint64_t sum = 0; /* of ranges of mapped files: no overflow */
    for (size_t i = 0; i < gs_checkpoint_count(c); i++) sum += gs_checkpoint_at(c, i)->bytes;
    return sum;
}
