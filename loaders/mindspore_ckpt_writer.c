#include <loaders/mindspore_ckpt.h>

#include <loaders/mindspore_dtype.h>
#include <loaders/tensor_plan.h>
#include <loaders/tokenizer/wire.h>

#include <base/mem.h>
#include <base/strbuf.h>

#include <string.h>

/* What MindSpore puts into one entry: protobuf messages end at 2 GiB. */
#define SLICE_BYTES ((uint64_t)512 << 20)

struct gs_mindspore_ckpt_writer {
    gs_tensor_plan plan;
    uint64_t slice;
    uint64_t bytes; /* of the file */
    gs_strbuf head; /* scratch */
    gs_outfile *file;
    size_t headed; /* tensors before this one have all their entries' heads */
    uint64_t headed_bytes; /* of the tensor `headed`: the data that its heads so far announce */
};

gs_status gs_mindspore_ckpt_writer_create(gs_mindspore_ckpt_writer **out, gs_error *err) {
    *out = gs_calloc(1, sizeof **out);
    if (!*out) return gs_error_nomem(err, sizeof **out);
    (*out)->slice = SLICE_BYTES;
    return GS_OK;
}

void gs_mindspore_ckpt_writer_slice(gs_mindspore_ckpt_writer *w, uint64_t bytes) {
    w->slice = bytes ? bytes : SLICE_BYTES;
}

void gs_mindspore_ckpt_writer_abort(gs_mindspore_ckpt_writer *w) {
    if (!w) return;
    gs_outfile_abort(w->file);
    gs_tensor_plan_clear(&w->plan);
    gs_strbuf_clear(&w->head);
    gs_free(w);
}

static const char *dtype_word(gs_dtype dtype) {
#define X(name, word) \
    if (dtype == GS_##name) return word;
    GS_MINDSPORE_DTYPE_LIST(X)
#undef X
    return NULL;
}

static uint64_t slice_at(const gs_mindspore_ckpt_writer *w, const gs_planned *t, uint64_t done) {
    return t->bytes - done < w->slice ? t->bytes - done : w->slice;
}

/* All of an entry but its n bytes of data, which come last in it. The lengths stand in front of what they measure, so the
 * inner messages are made first. */
static void put_head(gs_mindspore_ckpt_writer *w, const gs_planned *t, uint64_t n) {
    const char *word = dtype_word(t->dtype);
    gs_strbuf tensor = {0}, entry = {0};
    for (int i = 0; i < t->ndim; i++) gs_wire_put_varint(&tensor, 1, (uint64_t)t->shape[i]);
    gs_wire_put_bytes(&tensor, 2, word, strlen(word));
    gs_wire_put_length(&tensor, 3, n);
    gs_wire_put_bytes(&entry, 1, t->name, strlen(t->name));
    gs_wire_put_length(&entry, 2, tensor.len + n);
    gs_strbuf_append(&entry, tensor.data, tensor.len);
    gs_strbuf_reset(&w->head);
    gs_wire_put_length(&w->head, 1, entry.len + n);
    gs_strbuf_append(&w->head, entry.data, entry.len);
    w->head.failed |= tensor.failed || entry.failed;
    gs_strbuf_clear(&tensor);
    gs_strbuf_clear(&entry);
}

static gs_status make_head(gs_mindspore_ckpt_writer *w, const gs_planned *t, uint64_t n, gs_error *err) {
    put_head(w, t, n);
    return w->head.failed ? gs_error_nomem(err, w->head.len) : GS_OK;
}

gs_status gs_mindspore_ckpt_writer_plan(gs_mindspore_ckpt_writer *w, const char *name, gs_dtype dtype, int ndim,
                                        const int64_t *shape, gs_error *err) {
    if (w->file) return GS_FAIL(err, GS_E_INVALID, "the file is begun, the plan is fixed");
    if (!dtype_word(dtype))
        return GS_FAIL(err, GS_E_INVALID, "tensor '%.200s': MindSpore has no dtype %s", name, gs_dtype_name(dtype));
    GS_TRY(gs_tensor_plan_add(&w->plan, name, dtype, ndim, shape, err));
    const gs_planned *t = &w->plan.entry[w->plan.count - 1];
    for (uint64_t done = 0, n = 1; n > 0 && (done == 0 || done < t->bytes); done += n) {
        n = slice_at(w, t, done);
        GS_TRY(make_head(w, t, n, err));
        w->bytes += w->head.len + n;
    }
    return GS_OK;
}

uint64_t gs_mindspore_ckpt_writer_bytes(const gs_mindspore_ckpt_writer *w) { return w->bytes; }

gs_status gs_mindspore_ckpt_writer_begin(gs_mindspore_ckpt_writer *w, const char *path, gs_error *err) {
    if (w->file) return GS_FAIL(err, GS_E_INVALID, "the file is begun already");
    return gs_outfile_create(path, &w->file, err);
}

static gs_status next_head(gs_mindspore_ckpt_writer *w, gs_error *err) {
    const gs_planned *t = &w->plan.entry[w->headed];
    uint64_t n = slice_at(w, t, w->headed_bytes);
    GS_TRY(make_head(w, t, n, err));
    GS_TRY(gs_outfile_write(w->file, w->head.data, w->head.len, err));
    w->headed_bytes += n;
    return GS_OK;
}

/* Tensors without bytes are entries too. */
static gs_status head_empty_ones(gs_mindspore_ckpt_writer *w, size_t end, gs_error *err) {
    for (; w->headed < end; w->headed++, w->headed_bytes = 0)
        if (w->plan.entry[w->headed].bytes == 0) GS_TRY(next_head(w, err));
    return GS_OK;
}

gs_status gs_mindspore_ckpt_writer_put(gs_mindspore_ckpt_writer *w, size_t index, const void *data, size_t n,
                                       gs_error *err) {
    if (!w->file) return GS_FAIL(err, GS_E_INVALID, "nothing can be put before begin");
    GS_TRY(gs_tensor_plan_put(&w->plan, index, n, err));
    GS_TRY(head_empty_ones(w, index, err));
    uint64_t at = w->plan.done - n;
    for (const uint8_t *p = data; n > 0;) {
        if (at == w->headed_bytes) GS_TRY(next_head(w, err));
        size_t part = w->headed_bytes - at < n ? (size_t)(w->headed_bytes - at) : n;
        GS_TRY(gs_outfile_write(w->file, p, part, err));
        p += part;
        at += part;
        n -= part;
    }
    return GS_OK;
}

static gs_status complete(gs_mindspore_ckpt_writer *w, gs_error *err) {
    if (!w->file) return GS_FAIL(err, GS_E_INVALID, "commit before begin");
    GS_TRY(gs_tensor_plan_complete(&w->plan, err));
    return head_empty_ones(w, w->plan.count, err);
}

gs_status gs_mindspore_ckpt_writer_commit(gs_mindspore_ckpt_writer *w, gs_error *err) {
    gs_status status = complete(w, err);
    if (status == GS_OK) {
        gs_outfile *file = w->file;
        w->file = NULL;
        status = gs_outfile_commit(file, err);
    }
    gs_mindspore_ckpt_writer_abort(w);
    return status;
}
