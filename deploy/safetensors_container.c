/* Safetensors shards with an index. Tensors go to shards in plan order, a new one where the next tensor would make
 * the open one too large; the order inside a shard is the writer's (loaders/safetensors.h). */
#include <base/file.h>
#include <base/map.h>
#include <base/mem.h>
#include <deploy/container.h>
#include <deploy/side_files.h>
#include <loaders/safetensors.h>

#include <stdio.h>
#include <string.h>

enum { SHARD_NAME = 128, HEADER_ENTRY = 320 /* what a header says of a tensor beside its name, at most */ };

typedef struct entry {
    char *name;
    gs_dtype dtype;
    int ndim;
    int64_t shape[GS_MAX_DIMS];
    uint64_t bytes, done;
    size_t shard;
} entry;

struct gs_container_file {
    char *dir;
    const gs_container_naming *naming;
    uint64_t max_shard_bytes;
    entry *entry;
    size_t count, capacity;
    gs_map by_name;
    size_t shards, open; /* number of shards; index of the open one, when file is not NULL */
    gs_safetensors_writer *file;
    uint64_t shard_bytes; /* of the shard being planned */
    uint64_t total, headers;
};

static void abort_file(gs_container_file *f) {
    if (!f) return;
    gs_safetensors_writer_abort(f->file);
    for (size_t i = 0; i < f->count; i++) gs_free(f->entry[i].name);
    gs_free(f->entry);
    gs_map_clear(&f->by_name);
    gs_free(f->dir);
    gs_free(f);
}

static gs_status create(gs_context *cx, const char *dir, const gs_container_naming *naming,
                        const gs_bundle_options *options, gs_container_file **out, gs_error *err) {
    (void)cx;
    gs_container_file *f = gs_calloc(1, sizeof *f);
    if (!f) return gs_error_nomem(err, sizeof *f);
    f->naming = naming;
    f->max_shard_bytes = options->max_shard_bytes;
    f->dir = gs_strdup(dir);
    if (!f->dir) {
        abort_file(f);
        return gs_error_nomem(err, strlen(dir) + 1);
    }
    *out = f;
    return GS_OK;
}

static gs_status grow(gs_container_file *f, gs_error *err) {
    if (f->count < f->capacity) return GS_OK;
    size_t capacity = f->capacity ? 2 * f->capacity : 256;
    entry *grown = gs_realloc(f->entry, capacity, sizeof *grown);
    if (!grown) return gs_error_nomem(err, capacity * sizeof *grown);
    f->entry = grown;
    f->capacity = capacity;
    return GS_OK;
}

static gs_status measure(entry *e, gs_error *err) {
    uint64_t n = 1;
    bool fits = gs_dtype_is_safetensors(e->dtype);
    if (!fits) return GS_FAIL(err, GS_E_INVALID, "tensor '%s': safetensors hold no %s", e->name, gs_dtype_name(e->dtype));
    for (int i = 0; i < e->ndim; i++) fits = fits && e->shape[i] >= 0 && !__builtin_mul_overflow(n, (uint64_t)e->shape[i], &n);
    if (!fits || !gs_dtype_bytes(e->dtype, n, &e->bytes))
        return GS_FAIL(err, GS_E_INVALID, "tensor '%s' is too large", e->name);
    return GS_OK;
}

static gs_status add(gs_container_file *f, entry *e, gs_error *err) {
    bool existed;
    GS_TRY(measure(e, err));
    GS_TRY(gs_map_put(&f->by_name, e->name, strlen(e->name), (int64_t)f->count, &existed, err));
    if (existed) return GS_FAIL(err, GS_E_INVALID, "tensor '%s' is there already", e->name);
    if (f->shards == 0 || (f->max_shard_bytes && f->shard_bytes > 0 && f->shard_bytes + e->bytes > f->max_shard_bytes)) {
        f->shards++;
        f->shard_bytes = 0;
    }
    f->shard_bytes += e->bytes;
    f->total += e->bytes;
    f->headers += 6 * strlen(e->name) + HEADER_ENTRY; /* 6: \u001f */
    e->shard = f->shards - 1;
    f->entry[f->count++] = *e;
    return GS_OK;
}

static gs_status plan(gs_container_file *f, const char *name, gs_dtype dtype, int ndim, const int64_t *shape,
                      gs_error *err) {
    entry e = {.dtype = dtype, .ndim = ndim};
    if (ndim < 0 || ndim > GS_MAX_DIMS) return GS_FAIL(err, GS_E_INVALID, "tensor '%s' has %d dimensions", name, ndim);
    if (ndim) memcpy(e.shape, shape, (size_t)ndim * sizeof *shape);
    GS_TRY(grow(f, err));
    e.name = gs_strdup(name);
    if (!e.name) return gs_error_nomem(err, strlen(name) + 1);
    gs_status status = add(f, &e, err);
    if (status != GS_OK) gs_free(e.name);
    return status;
}

static uint64_t bytes(gs_container_file *f) { return f->total + f->headers; }

static bool numbered(const gs_container_file *f) { return f->shards > 1 || f->naming->always_numbered; }

static void shard_name(const gs_container_file *f, size_t shard, char out[SHARD_NAME]) {
    const gs_container_naming *n = f->naming;
    if (numbered(f))
        snprintf(out, SHARD_NAME, "%s-%05zu-of-%05zu%s", n->stem, shard + 1, f->shards, n->extension);
    else
        snprintf(out, SHARD_NAME, "%s%s", n->stem, n->extension);
}

static gs_status open_shard(gs_container_file *f, size_t shard, gs_error *err) {
    char name[SHARD_NAME];
    shard_name(f, shard, name);
    GS_TRY(gs_safetensors_writer_create(&f->file, err));
    gs_safetensors_writer_format(f->file, f->naming->metadata);
    f->open = shard;
    for (size_t i = 0; i < f->count; i++) {
        const entry *e = &f->entry[i];
        if (e->shard == shard) GS_TRY(gs_safetensors_writer_plan(f->file, e->name, e->dtype, e->ndim, e->shape, err));
    }
    char *path = gs_path_join(f->dir, name);
    gs_status status = path ? gs_safetensors_writer_begin(f->file, path, err) : gs_error_nomem(err, 256);
    gs_free(path);
    return status;
}

static gs_status close_shard(gs_container_file *f, gs_error *err) {
    gs_safetensors_writer *file = f->file;
    f->file = NULL;
    return file ? gs_safetensors_writer_commit(file, err) : GS_OK;
}

static gs_status begin(gs_container_file *f, const gs_bundle_facts *facts, gs_error *err) {
    (void)facts;
    if (f->count == 0) return GS_FAIL(err, GS_E_INVALID, "nothing to write");
    return open_shard(f, 0, err);
}

static gs_status put(gs_container_file *f, size_t index, const void *data, size_t n, gs_error *err) {
    entry *e = &f->entry[index];
    if (!f->file || e->shard != f->open) {
        GS_TRY(close_shard(f, err));
        GS_TRY(open_shard(f, e->shard, err));
    }
    GS_TRY(gs_safetensors_writer_put(f->file, e->name, e->done, data, n, err));
    e->done += n;
    return GS_OK;
}

static gs_status write_index(gs_container_file *f, gs_error *err) {
    if (!f->naming->index || !numbered(f)) return GS_OK;
    gs_strbuf text = {0};
    gs_strbuf_printf(&text, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n  \"weight_map\": {",
                     (unsigned long long)f->total);
    for (size_t i = 0; i < f->count; i++) {
        char name[SHARD_NAME];
        shard_name(f, f->entry[i].shard, name);
        gs_strbuf_puts(&text, i ? ",\n    " : "\n    ");
        gs_strbuf_json(&text, f->entry[i].name, strlen(f->entry[i].name));
        gs_strbuf_printf(&text, ": \"%s\"", name);
    }
    gs_strbuf_puts(&text, "\n  }\n}\n");
    gs_status status = text.failed ? gs_error_nomem(err, text.len)
                                   : gs_side_write(f->dir, f->naming->index, gs_strbuf_text(&text), text.len, err);
    gs_strbuf_clear(&text);
    return status;
}

static gs_status complete(gs_container_file *f, gs_error *err) {
    for (size_t i = 0; i < f->count; i++) {
        const entry *e = &f->entry[i];
        if (e->done != e->bytes)
            return GS_FAIL(err, GS_E_INVALID, "tensor '%s': %llu of %llu bytes were put", e->name,
                           (unsigned long long)e->done, (unsigned long long)e->bytes);
    }
    GS_TRY(close_shard(f, err));
    return write_index(f, err);
}

static gs_status finish(gs_container_file *f, gs_error *err) {
    gs_status status = complete(f, err);
    abort_file(f); /* what is committed is no longer its */
    return status;
}

const gs_bundle_container gs_container_safetensors = {
    .create = create,
    .plan = plan,
    .bytes = bytes,
    .begin = begin,
    .put = put,
    .finish = finish,
    .abort = abort_file,
};
