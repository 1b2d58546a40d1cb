#include <loaders/gguf_writer.h>

#include <loaders/gguf_metadata.h>
#include <loaders/tensor_plan.h>

#include <base/half.h>
#include <base/mem.h>
#include <base/strbuf.h>
#include <base/utf8.h>

#include <string.h>

enum { VERSION = 3, MAX_DIMS = 4, FIXED_BYTES = 4 + 4 + 8 + 8 };

struct gs_gguf_writer {
    gs_strbuf pairs; /* as they stand in the file */
    char **keys;
    size_t key_count, key_cap;
    gs_map key_index;
    gs_tensor_plan plan;
    uint64_t infos;  /* bytes of the tensor infos */
    uint64_t tensors; /* bytes of the data section, padding included */
    gs_outfile *file; /* NULL before begin */
    size_t padded;    /* tensors whose padding is written */
};

gs_status gs_gguf_writer_create(gs_gguf_writer **out, gs_error *err) {
    *out = gs_calloc(1, sizeof **out);
    return *out ? GS_OK : gs_error_nomem(err, sizeof **out);
}

void gs_gguf_writer_abort(gs_gguf_writer *w) {
    if (!w) return;
    gs_outfile_abort(w->file);
    gs_strbuf_clear(&w->pairs);
    gs_map_clear(&w->key_index);
    for (size_t i = 0; i < w->key_count; i++) gs_free(w->keys[i]);
    gs_free(w->keys);
    gs_tensor_plan_clear(&w->plan);
    gs_free(w);
}

static uint64_t aligned(uint64_t n) { return (n + GS_GGUF_ALIGNMENT - 1) / GS_GGUF_ALIGNMENT * GS_GGUF_ALIGNMENT; }

static gs_status check_planning(const gs_gguf_writer *w, gs_error *err) {
    return w->file ? GS_FAIL(err, GS_E_INVALID, "the header is written, the plan is fixed") : GS_OK;
}

/* ---- little-endian pieces */

static void put_int(gs_strbuf *out, uint64_t v, int bytes) {
    char raw[8];
    for (int i = 0; i < bytes; i++) raw[i] = (char)(uint8_t)(v >> 8 * i);
    gs_strbuf_append(out, raw, (size_t)bytes);
}

static void put_str(gs_strbuf *out, const char *s, size_t len) {
    put_int(out, len, 8);
    gs_strbuf_append(out, s, len);
}

/* ---- pairs */

static bool is_text(const char *s, size_t n) {
    while (n > 0) {
        size_t step = gs_utf8_sequence(s, n);
        if (!step || *s == 0) return false;
        s += step;
        n -= step;
    }
    return true;
}

static gs_status remember_key(gs_gguf_writer *w, const char *key, size_t len, gs_error *err) {
    bool taken;
    if (w->key_count == w->key_cap) {
        size_t cap = w->key_cap ? 2 * w->key_cap : 32;
        char **more = gs_realloc(w->keys, cap, sizeof *more);
        if (!more) return gs_error_nomem(err, cap * sizeof *more);
        w->keys = more;
        w->key_cap = cap;
    }
    char *copy = gs_strndup(key, len);
    if (!copy) return gs_error_nomem(err, len + 1);
    w->keys[w->key_count++] = copy;
    GS_TRY(gs_map_put(&w->key_index, copy, len, 0, &taken, err));
    return taken ? GS_FAIL(err, GS_E_INVALID, "metadata '%.200s' is there already", copy) : GS_OK;
}

/* The key and the type of its value, which the caller appends. */
static gs_status begin_pair(gs_gguf_writer *w, const char *key, size_t len, gs_gguf_type type, gs_error *err) {
    GS_TRY(check_planning(w, err));
    if (len < 1 || len > GS_GGUF_MAX_NAME || !is_text(key, len))
        return GS_FAIL(err, GS_E_INVALID, "'%.*s' cannot be a metadata key", gs_gguf_shown((gs_gguf_str){key, len}), key);
    GS_TRY(remember_key(w, key, len, err));
    put_str(&w->pairs, key, len);
    put_int(&w->pairs, type, 4);
    return GS_OK;
}

static gs_status end_pair(const gs_gguf_writer *w, gs_error *err) {
    return w->pairs.failed ? gs_error_nomem(err, w->pairs.len) : GS_OK;
}

static gs_status put_scalar(gs_gguf_writer *w, const char *key, gs_gguf_type type, uint64_t bits, int bytes,
                            gs_error *err) {
    GS_TRY(begin_pair(w, key, strlen(key), type, err));
    put_int(&w->pairs, bits, bytes);
    return end_pair(w, err);
}

gs_status gs_gguf_writer_u32(gs_gguf_writer *w, const char *key, uint32_t v, gs_error *err) {
    return put_scalar(w, key, GS_GGUF_U32, v, 4, err);
}

gs_status gs_gguf_writer_i32(gs_gguf_writer *w, const char *key, int32_t v, gs_error *err) {
    return put_scalar(w, key, GS_GGUF_I32, (uint32_t)v, 4, err);
}

gs_status gs_gguf_writer_u64(gs_gguf_writer *w, const char *key, uint64_t v, gs_error *err) {
    return put_scalar(w, key, GS_GGUF_U64, v, 8, err);
}

gs_status gs_gguf_writer_f32(gs_gguf_writer *w, const char *key, float v, gs_error *err) {
    return put_scalar(w, key, GS_GGUF_F32, gs_f32_bits(v), 4, err);
}

gs_status gs_gguf_writer_bool(gs_gguf_writer *w, const char *key, bool v, gs_error *err) {
    return put_scalar(w, key, GS_GGUF_BOOL, v, 1, err);
}

gs_status gs_gguf_writer_string(gs_gguf_writer *w, const char *key, const char *v, size_t len, gs_error *err) {
    GS_TRY(begin_pair(w, key, strlen(key), GS_GGUF_STRING, err));
    put_str(&w->pairs, v, len);
    return end_pair(w, err);
}

static gs_status begin_array(gs_gguf_writer *w, const char *key, gs_gguf_type element, size_t count, gs_error *err) {
    GS_TRY(begin_pair(w, key, strlen(key), GS_GGUF_ARRAY, err));
    put_int(&w->pairs, element, 4);
    put_int(&w->pairs, count, 8);
    return GS_OK;
}

gs_status gs_gguf_writer_f32s(gs_gguf_writer *w, const char *key, const float *v, size_t count, gs_error *err) {
    GS_TRY(begin_array(w, key, GS_GGUF_F32, count, err));
    for (size_t i = 0; i < count; i++) put_int(&w->pairs, gs_f32_bits(v[i]), 4);
    return end_pair(w, err);
}

gs_status gs_gguf_writer_i32s(gs_gguf_writer *w, const char *key, const int32_t *v, size_t count, gs_error *err) {
    GS_TRY(begin_array(w, key, GS_GGUF_I32, count, err));
    for (size_t i = 0; i < count; i++) put_int(&w->pairs, (uint32_t)v[i], 4);
    return end_pair(w, err);
}

gs_status gs_gguf_writer_strings(gs_gguf_writer *w, const char *key, const gs_gguf_str *v, size_t count,
                                 gs_error *err) {
    GS_TRY(begin_array(w, key, GS_GGUF_STRING, count, err));
    for (size_t i = 0; i < count; i++) put_str(&w->pairs, v[i].data, v[i].len);
    return end_pair(w, err);
}

gs_status gs_gguf_writer_copy(gs_gguf_writer *w, const gs_gguf *g, const char *prefix, gs_error *err) {
    const gs_gguf_metadata *m = gs_gguf_pairs(g);
    size_t len = strlen(prefix);
    for (size_t i = 0; i < m->count; i++) {
        const gs_gguf_pair *p = &m->pairs[i];
        size_t bytes;
        if (p->key.len < len || memcmp(p->key.data, prefix, len)) continue;
        GS_TRY(begin_pair(w, p->key.data, p->key.len, p->type, err));
        const uint8_t *value = gs_gguf_pair_bytes(m, p, &bytes);
        gs_strbuf_append(&w->pairs, value, bytes);
    }
    return end_pair(w, err);
}

/* ---- tensors */

static gs_status check_tensor(const char *name, gs_dtype dtype, int ndim, const int64_t *shape, gs_error *err) {
    uint32_t id;
    if (!gs_gguf_dtype_id(dtype, &id))
        return GS_FAIL(err, GS_E_INVALID, "tensor '%.200s': GGUF has no dtype %s", name, gs_dtype_name(dtype));
    if (ndim < 1 || ndim > MAX_DIMS || strlen(name) > GS_GGUF_MAX_NAME)
        return GS_FAIL(err, GS_E_INVALID, "tensor '%.200s': %d dimensions, GGUF has 1 to %d", name, ndim, MAX_DIMS);
    for (int i = 0; i < ndim; i++)
        if (shape[i] == 0) return GS_FAIL(err, GS_E_INVALID, "tensor '%.200s': dimension %d is 0", name, i);
    return GS_OK;
}

gs_status gs_gguf_writer_plan(gs_gguf_writer *w, const char *name, gs_dtype dtype, int ndim, const int64_t *shape,
                              gs_error *err) {
    GS_TRY(check_planning(w, err));
    GS_TRY(check_tensor(name, dtype, ndim, shape, err));
    GS_TRY(gs_tensor_plan_add(&w->plan, name, dtype, ndim, shape, err));
    w->infos += 8 + strlen(name) + 4 + 8 * (uint64_t)ndim + 4 + 8;
    w->tensors += aligned(w->plan.entry[w->plan.count - 1].bytes);
    return GS_OK;
}

uint64_t gs_gguf_writer_bytes(const gs_gguf_writer *w) {
    return aligned(FIXED_BYTES + w->pairs.len + w->infos) + w->tensors;
}

static void put_infos(const gs_gguf_writer *w, gs_strbuf *out) {
    uint64_t offset = 0;
    for (size_t i = 0; i < w->plan.count; i++) {
        const gs_planned *t = &w->plan.entry[i];
        uint32_t id = 0;
        (void)gs_gguf_dtype_id(t->dtype, &id); /* planning checked it */
        put_str(out, t->name, strlen(t->name));
        put_int(out, (uint64_t)t->ndim, 4);
        for (int d = t->ndim - 1; d >= 0; d--) put_int(out, (uint64_t)t->shape[d], 8);
        put_int(out, id, 4);
        put_int(out, offset, 8);
        offset += aligned(t->bytes);
    }
}

static const char zeros[GS_GGUF_ALIGNMENT];

static void put_header(const gs_gguf_writer *w, gs_strbuf *out) {
    gs_strbuf_puts(out, "GGUF");
    put_int(out, VERSION, 4);
    put_int(out, w->plan.count, 8);
    put_int(out, w->key_count, 8);
    gs_strbuf_append(out, w->pairs.data, w->pairs.len);
    put_infos(w, out);
    gs_strbuf_append(out, zeros, (size_t)(aligned(out->len) - out->len));
}

gs_status gs_gguf_writer_begin(gs_gguf_writer *w, const char *path, gs_error *err) {
    gs_strbuf header = {0};
    GS_TRY(check_planning(w, err));
    GS_TRY(end_pair(w, err));
    put_header(w, &header);
    gs_status status = header.failed ? gs_error_nomem(err, header.len) : gs_outfile_create(path, &w->file, err);
    if (status == GS_OK) status = gs_outfile_write(w->file, header.data, header.len, err);
    gs_strbuf_clear(&header);
    return status;
}

/* Zeros behind every complete tensor before `end`. */
static gs_status pad_until(gs_gguf_writer *w, size_t end, gs_error *err) {
    for (; w->padded < end; w->padded++) {
        uint64_t bytes = w->plan.entry[w->padded].bytes;
        GS_TRY(gs_outfile_write(w->file, zeros, (size_t)(aligned(bytes) - bytes), err));
    }
    return GS_OK;
}

gs_status gs_gguf_writer_put(gs_gguf_writer *w, size_t index, const void *data, size_t n, gs_error *err) {
    if (!w->file) return GS_FAIL(err, GS_E_INVALID, "nothing can be put before begin");
    GS_TRY(gs_tensor_plan_put(&w->plan, index, n, err));
    GS_TRY(pad_until(w, index, err));
    return gs_outfile_write(w->file, data, n, err);
}

static gs_status complete(gs_gguf_writer *w, gs_error *err) {
    if (!w->file) return GS_FAIL(err, GS_E_INVALID, "commit before begin");
    GS_TRY(gs_tensor_plan_complete(&w->plan, err));
    return pad_until(w, w->plan.count, err);
}

gs_status gs_gguf_writer_commit(gs_gguf_writer *w, gs_error *err) {
    gs_status status = complete(w, err);
    if (status == GS_OK) {
        gs_outfile *file = w->file;
        w->file = NULL;
        status = gs_outfile_commit(file, err);
    }
    gs_gguf_writer_abort(w);
    return status;
}
