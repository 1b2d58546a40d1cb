/* One GGUF file: the model's configuration and its source's vocabulary as metadata, then the tensors. It is never cut into
 * shards; max_shard_bytes is for formats whose loaders expect that. */
#include <deploy/container.h>

#include <base/mem.h>
#include <loaders/gguf_hf.h>
#include <loaders/tokenizer.h>

#include <string.h>

enum { QUANTIZATION_VERSION = 2, LATER_PAIRS = 256 /* bytes of the pairs that begin adds, at most */ };

struct gs_container_file {
    gs_context *cx;
    char *path;
    gs_gguf_writer *w;
    gs_dtype dtype;
    float *divisors; /* of the rotary frequencies, [count]; a tensor of their own in front of all others */
    int64_t count;
};

static void abort_file(gs_container_file *f) {
    if (!f) return;
    gs_gguf_writer_abort(f->w);
    gs_free(f->divisors);
    gs_free(f->path);
    gs_free(f);
}

/* A vocabulary in GGUF's words already stays what it is. */
static gs_status put_vocabulary(gs_container_file *f, const gs_checkpoint *source, gs_error *err) {
    const gs_gguf *g = gs_checkpoint_gguf(source);
    if (g) return gs_gguf_writer_copy(f->w, g, "tokenizer.", err);
    gs_strbuf why = {0};
    gs_status status =
        gs_tokenizer_put_gguf(gs_checkpoint_path(source), gs_checkpoint_config(source), f->w, &why, err);
    if (status == GS_OK && why.len) gs_log(f->cx, GS_LOG_WARN, "%s", gs_strbuf_text(&why));
    gs_strbuf_clear(&why);
    return status;
}

/* What the source calls the model: "_name_or_path" of config.json may be a path on somebody's machine, its end is a name. */
static gs_status put_name(gs_container_file *f, const gs_checkpoint *source, gs_error *err) {
    const gs_gguf *g = gs_checkpoint_gguf(source);
    const char *path = NULL;
    if (g) return gs_gguf_writer_copy(f->w, g, "general.name", err);
    GS_TRY(gs_json_string(gs_checkpoint_config(source)->json, "_name_or_path", &path, err));
    const char *slash = path ? strrchr(path, '/') : NULL, *name = slash ? slash + 1 : path;
    return name && *name ? gs_gguf_writer_string(f->w, "general.name", name, strlen(name), err) : GS_OK;
}

static gs_status plan_divisors(gs_container_file *f, const gs_checkpoint *source, gs_error *err) {
    GS_TRY(gs_gguf_hf_rope_divisors(gs_checkpoint_config(source), &f->divisors, &f->count, err));
    return f->count ? gs_gguf_writer_plan(f->w, "rope_freqs.weight", GS_F32, 1, &f->count, err) : GS_OK;
}

static gs_status prepare(gs_container_file *f, const char *dir, const gs_container_naming *naming,
                         const gs_checkpoint *source, gs_error *err) {
    f->path = gs_container_path(dir, naming, err);
    if (!f->path) return GS_E_NOMEM;
    GS_TRY(gs_gguf_writer_create(&f->w, err));
    GS_TRY(gs_gguf_hf_put_config(gs_checkpoint_config(source), f->w, err));
    GS_TRY(put_name(f, source, err));
    GS_TRY(put_vocabulary(f, source, err));
    return plan_divisors(f, source, err);
}

static gs_status create(gs_context *cx, const char *dir, const gs_container_naming *naming,
                        const gs_bundle_options *options, gs_container_file **out, gs_error *err) {
    gs_container_file *f = gs_calloc(1, sizeof *f);
    if (!f) return gs_error_nomem(err, sizeof *f);
    f->cx = cx;
    f->dtype = options->dtype;
    gs_status status = prepare(f, dir, naming, options->source, err);
    if (status == GS_OK) *out = f;
    else abort_file(f);
    return status;
}

static gs_status plan(gs_container_file *f, const char *name, gs_dtype dtype, int ndim, const int64_t *shape,
                      gs_error *err) {
    return gs_gguf_writer_plan(f->w, name, dtype, ndim, shape, err);
}

static uint64_t bytes(gs_container_file *f) { return gs_gguf_writer_bytes(f->w) + LATER_PAIRS; }

/* llama.cpp's number for what most of a file is. */
static uint32_t file_type(gs_dtype dtype, bool quantized) {
    if (quantized) return 7;
    return dtype == GS_F16 ? 1 : dtype == GS_BF16 ? 32 : 0;
}

static gs_status begin(gs_container_file *f, const gs_bundle_facts *facts, gs_error *err) {
    bool quantized = facts->quantized > 0;
    GS_TRY(gs_gguf_writer_u32(f->w, "general.file_type", file_type(f->dtype, quantized), err));
    if (quantized) GS_TRY(gs_gguf_writer_u32(f->w, "general.quantization_version", QUANTIZATION_VERSION, err));
    GS_TRY(gs_gguf_writer_begin(f->w, f->path, err));
    return f->count ? gs_gguf_writer_put(f->w, 0, f->divisors, (size_t)f->count * sizeof *f->divisors, err) : GS_OK;
}

static gs_status put(gs_container_file *f, size_t index, const void *data, size_t n, gs_error *err) {
    return gs_gguf_writer_put(f->w, index + (f->count > 0), data, n, err);
}

static gs_status finish(gs_container_file *f, gs_error *err) {
    gs_gguf_writer *w = f->w;
    f->w = NULL;
    gs_status status = gs_gguf_writer_commit(w, err);
    abort_file(f);
    return status;
}

const gs_bundle_container gs_container_gguf = {
    .create = create,
    .plan = plan,
    .bytes = bytes,
    .begin = begin,
    .put = put,
    .finish = finish,
    .abort = abort_file,
};
