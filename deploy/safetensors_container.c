/* Safetensors shards with an index. Tensors go to shards in plan order, a new one where the next tensor would make
 * the open one too large; the order inside a shard is the writer's (loaders/safetensors.h). */
#include <base/file.h>
#include <base/mem.h>
#include <deploy/container.h>
#include <deploy/side_files.h>
#include <loaders/safetensors.h>
#include <loaders/tensor_plan.h>

#include <stdio.h>
#include <string.h>

enum { SHARD_NAME = 128, HEADER_ENTRY = 320 /* what a header says of a tensor beside its name, at most */ };

struct gs_container_file {
    char *dir;
    const gs_container_naming *naming;
    uint64_t max_shard_bytes;
    gs_tensor_plan plan;
    size_t *first; /* of each shard: its first tensor; it ends where the next begins */
    size_t shards, shards_cap, open; /* open: index of the open shard, when file is not NULL */
    gs_safetensors_writer *file;
    uint64_t shard_bytes; /* of the shard being planned */
    uint64_t headers;
};

static void abort_file(gs_container_file *f) {
    if (!f) return;
    gs_safetensors_writer_abort(f->file);
    gs_tensor_plan_clear(&f->plan);
    gs_free(f->first);
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

/* Room for one shard more. */
static gs_status grow(gs_container_file *f, gs_error *err) {
    if (f->shards < f->shards_cap) return GS_OK;
    size_t cap = f->shards_cap ? 2 * f->shards_cap : 16;
    size_t *grown = gs_realloc(f->first, cap, sizeof *grown);
    if (!grown) return gs_error_nomem(err, cap * sizeof *grown);
    f->first = grown;
    f->shards_cap = cap;
    return GS_OK;
}

static gs_status plan(gs_container_file *f, const char *name, gs_dtype dtype, int ndim, const int64_t *shape,
                      gs_error *err) {
    size_t i = f->plan.count;
    if (!gs_dtype_is_safetensors(dtype))
        return GS_FAIL(err, GS_E_INVALID, "tensor '%s': safetensors hold no %s", name, gs_dtype_name(dtype));
    GS_TRY(grow(f, err));
    GS_TRY(gs_tensor_plan_add(&f->plan, name, dtype, ndim, shape, err));
    uint64_t n = f->plan.entry[i].bytes;
    if (f->shards == 0 || (f->max_shard_bytes && f->shard_bytes > 0 && f->shard_bytes + n > f->max_shard_bytes)) {
        f->first[f->shards++] = i;
        f->shard_bytes = 0;
    }
    f->shard_bytes += n;
    f->headers += 6 * strlen(name) + HEADER_ENTRY; /* 6: \u001f */
    return GS_OK;
}

static uint64_t bytes(gs_container_file *f) { return f->plan.total + f->headers; }

static size_t end_of(const gs_container_file *f, size_t shard) {
    return shard + 1 < f->shards ? f->first[shard + 1] : f->plan.count;
}

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
    for (size_t i = f->first[shard]; i < end_of(f, shard); i++) {
        const gs_planned *t = &f->plan.entry[i];
        GS_TRY(gs_safetensors_writer_plan(f->file, t->name, t->dtype, t->ndim, t->shape, err));
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
    if (f->plan.count == 0) return GS_FAIL(err, GS_E_INVALID, "nothing to write");
    return open_shard(f, 0, err);
}

/* Closes shards up to that one, and opens it; also those whose tensors are all empty, which nobody puts. */
static gs_status move_to(gs_container_file *f, size_t shard, gs_error *err) {
    while (f->open < shard) {
        GS_TRY(close_shard(f, err));
        GS_TRY(open_shard(f, f->open + 1, err));
    }
    return GS_OK;
}

static gs_status put(gs_container_file *f, size_t index, const void *data, size_t n, gs_error *err) {
    size_t shard = f->open;
    if (!f->file) return GS_FAIL(err, GS_E_INVALID, "nothing can be put before begin");
    GS_TRY(gs_tensor_plan_put(&f->plan, index, n, err));
    while (index >= end_of(f, shard)) shard++;
    GS_TRY(move_to(f, shard, err));
    return gs_safetensors_writer_put(f->file, f->plan.entry[index].name, f->plan.done - n, data, n, err);
}

static gs_status write_index(gs_container_file *f, gs_error *err) {
    if (!f->naming->index || !numbered(f)) return GS_OK;
    gs_strbuf text = {0};
    gs_strbuf_printf(&text, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n  \"weight_map\": {",
                     (unsigned long long)f->plan.total);
    for (size_t i = 0, shard = 0; i < f->plan.count; i++) {
        char name[SHARD_NAME];
        const char *tensor = f->plan.entry[i].name;
        while (i >= end_of(f, shard)) shard++;
        shard_name(f, shard, name);
        gs_strbuf_puts(&text, i ? ",\n    " : "\n    ");
        gs_strbuf_json(&text, tensor, strlen(tensor));
        gs_strbuf_printf(&text, ": \"%s\"", name);
    }
    gs_strbuf_puts(&text, "\n  }\n}\n");
    gs_status status = text.failed ? gs_error_nomem(err, text.len)
                                   : gs_side_write(f->dir, f->naming->index, gs_strbuf_text(&text), text.len, err);
    gs_strbuf_clear(&text);
    return status;
}

static gs_status complete(gs_container_file *f, gs_error *err) {
    if (!f->file) return GS_FAIL(err, GS_E_INVALID, "finish before begin");
    GS_TRY(gs_tensor_plan_complete(&f->plan, err));
    GS_TRY(move_to(f, f->shards - 1, err));
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
