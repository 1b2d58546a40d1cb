/* One MindSpore checkpoint. Its loaders read one file whole, so it is never cut into shards. */
#include <deploy/container.h>

#include <base/mem.h>
#include <loaders/mindspore_ckpt.h>

struct gs_container_file {
    char *path;
    gs_mindspore_ckpt_writer *w;
};

static void abort_file(gs_container_file *f) {
    if (!f) return;
    gs_mindspore_ckpt_writer_abort(f->w);
    gs_free(f->path);
    gs_free(f);
}

static gs_status prepare(gs_container_file *f, const char *dir, const gs_container_naming *naming, gs_error *err) {
    f->path = gs_container_path(dir, naming, err);
    return f->path ? gs_mindspore_ckpt_writer_create(&f->w, err) : GS_E_NOMEM;
}

static gs_status create(gs_context *cx, const char *dir, const gs_container_naming *naming,
                        const gs_bundle_options *options, gs_container_file **out, gs_error *err) {
    (void)cx;
    (void)options;
    gs_container_file *f = gs_calloc(1, sizeof *f);
    if (!f) return gs_error_nomem(err, sizeof *f);
    gs_status status = prepare(f, dir, naming, err);
    if (status == GS_OK) *out = f;
    else abort_file(f);
    return status;
}

static gs_status plan(gs_container_file *f, const char *name, gs_dtype dtype, int ndim, const int64_t *shape,
                      gs_error *err) {
    return gs_mindspore_ckpt_writer_plan(f->w, name, dtype, ndim, shape, err);
}

static uint64_t bytes(gs_container_file *f) { return gs_mindspore_ckpt_writer_bytes(f->w); }

static gs_status begin(gs_container_file *f, const gs_bundle_facts *facts, gs_error *err) {
    (void)facts;
    return gs_mindspore_ckpt_writer_begin(f->w, f->path, err);
}

static gs_status put(gs_container_file *f, size_t index, const void *data, size_t n, gs_error *err) {
    return gs_mindspore_ckpt_writer_put(f->w, index, data, n, err);
}

static gs_status finish(gs_container_file *f, gs_error *err) {
    gs_mindspore_ckpt_writer *w = f->w;
    f->w = NULL;
    gs_status status = gs_mindspore_ckpt_writer_commit(w, err);
    abort_file(f);
    return status;
}

const gs_bundle_container gs_container_mindspore_ckpt = {
    .create = create,
    .plan = plan,
    .bytes = bytes,
    .begin = begin,
    .put = put,
    .finish = finish,
    .abort = abort_file,
};
