#include <loaders/safetensors.h>

#include <base/map.h>
#include <base/mem.h>
#include <base/strbuf.h>
#include <base/utf8.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8 };

typedef struct planned {
    char *name;
    size_t json_name; /* length of the name as a JSON string */
    gs_dtype dtype;
    int ndim;
    int64_t shape[GS_MAX_DIMS];
    uint64_t bytes;
    uint64_t begin; /* in the data section; set when the plan is laid out */
    uint64_t done;  /* bytes that have been put */
} planned;

typedef struct pair {
    char *key, *value;
} pair;

struct gs_safetensors_writer {
    planned *plan;
    size_t count, cap;
    gs_map names; /* before begin a set; from begin on name -> place in plan */
    pair *metadata;
    size_t pairs;
    const char *format; /* NULL: "pt" */
    uint64_t total; /* bytes of all planned tensors */
    uint64_t data_start;
    gs_outfile *file; /* NULL before begin */
    bool sorted;
};

gs_status gs_safetensors_writer_create(gs_safetensors_writer **out, gs_error *err) {
    *out = gs_calloc(1, sizeof **out);
    return *out ? GS_OK : gs_error_nomem(err, sizeof **out);
}

void gs_safetensors_writer_abort(gs_safetensors_writer *w) {
    if (!w) return;
    gs_outfile_abort(w->file);
    gs_map_clear(&w->names);
    for (size_t i = 0; i < w->count; i++) gs_free(w->plan[i].name);
    for (size_t i = 0; i < w->pairs; i++) {
        gs_free(w->metadata[i].key);
        gs_free(w->metadata[i].value);
    }
    gs_free(w->plan);
    gs_free(w->metadata);
    gs_free(w);
}

static gs_status check_planning(const gs_safetensors_writer *w, gs_error *err) {
    return w->file ? GS_FAIL(err, GS_E_INVALID, "the header is written, the plan is fixed")
                   : GS_OK;
}

static bool is_utf8(const char *s) {
    for (size_t n = strlen(s); n > 0;) {
        size_t step = gs_utf8_sequence(s, n);
        if (!step) return false;
        s += step;
        n -= step;
    }
    return true;
}

gs_status gs_safetensors_writer_metadata(gs_safetensors_writer *w, const char *key,
                                         const char *value, gs_error *err) {
    GS_TRY(check_planning(w, err));
    if (!is_utf8(key) || !is_utf8(value))
        return GS_FAIL(err, GS_E_INVALID, "metadata '%.200s' is not UTF-8", key);
    bool taken = strcmp(key, "format") == 0;
    for (size_t i = 0; i < w->pairs; i++) taken |= strcmp(key, w->metadata[i].key) == 0;
    if (taken) return GS_FAIL(err, GS_E_INVALID, "metadata '%.200s' is there already", key);
    pair *more = gs_realloc(w->metadata, w->pairs + 1, sizeof *more);
    if (!more) return gs_error_nomem(err, (w->pairs + 1) * sizeof *more);
    w->metadata = more;
    pair p = {gs_strdup(key), gs_strdup(value)};
    if (!p.key || !p.value) {
        gs_free(p.key);
        gs_free(p.value);
        return gs_error_nomem(err, strlen(key) + strlen(value) + 2);
    }
    w->metadata[w->pairs++] = p;
    w->sorted = false;
    return GS_OK;
}

void gs_safetensors_writer_format(gs_safetensors_writer *w, const char *format) {
    w->format = format;
}

/* What our own reader would refuse must not be written. */
static gs_status check_name(const char *name, gs_error *err) {
    if (strcmp(name, "__metadata__") == 0 || !gs_utf8_is_plain(name, strlen(name)))
        return GS_FAIL(err, GS_E_INVALID, "'%.200s' cannot be the name of a tensor", name);
    return GS_OK;
}

static gs_status measure(planned *p, gs_error *err) {
    int64_t count = 1;
    if (!gs_dtype_is_safetensors(p->dtype))
        return GS_FAIL(err, GS_E_INVALID, "tensor '%.200s': safetensors has no dtype %s", p->name,
                       gs_dtype_name(p->dtype));
    for (int i = 0; i < p->ndim; i++) {
        if (p->shape[i] < 0 || __builtin_mul_overflow(count, p->shape[i], &count))
            return GS_FAIL(err, GS_E_INVALID, "tensor '%.200s': its shape is negative or overflows",
                           p->name);
    }
    if (!gs_dtype_bytes(p->dtype, (uint64_t)count, &p->bytes))
        return GS_FAIL(err, GS_E_INVALID,
                       "tensor '%.200s': %lld %s elements are not whole bytes or overflow", p->name,
                       (long long)count, gs_dtype_name(p->dtype));
    return GS_OK;
}

static gs_status append(gs_safetensors_writer *w, const planned *p, gs_error *err) {
    bool taken;
    if (p->bytes > INT64_MAX / 2 - w->total)
        return GS_FAIL(err, GS_E_INVALID, "tensor '%.200s': the sizes of the tensors overflow",
                       p->name);
    if (w->count == w->cap) {
        size_t cap = w->cap ? w->cap * 2 : 64;
        planned *more = gs_realloc(w->plan, cap, sizeof *more);
        if (!more) return gs_error_nomem(err, cap * sizeof *more);
        w->plan = more;
        w->cap = cap;
    }
    GS_TRY(gs_map_put(&w->names, p->name, strlen(p->name), 0, &taken, err));
    if (taken)
        return GS_FAIL(err, GS_E_INVALID, "tensor '%.200s' is planned already", p->name);
    w->plan[w->count++] = *p;
    w->total += p->bytes;
    w->sorted = false;
    return GS_OK;
}

static gs_status json_length(const char *name, size_t *length, gs_error *err) {
    gs_strbuf text = {0};
    gs_strbuf_json(&text, name, strlen(name));
    *length = text.len;
    gs_status status = text.failed ? gs_error_nomem(err, strlen(name) + 3) : GS_OK;
    gs_strbuf_clear(&text);
    return status;
}

gs_status gs_safetensors_writer_plan(gs_safetensors_writer *w, const char *name,
                                     gs_dtype dtype, int ndim, const int64_t *shape,
                                     gs_error *err) {
    GS_TRY(check_planning(w, err));
    GS_TRY(check_name(name, err));
    if (ndim < 0 || ndim > GS_MAX_DIMS)
        return GS_FAIL(err, GS_E_INVALID, "tensor '%.200s': %d dimensions, at most %d", name, ndim,
                       GS_MAX_DIMS);
    planned p = {.dtype = dtype, .ndim = ndim};
    if (ndim) memcpy(p.shape, shape, (size_t)ndim * sizeof *shape);
    GS_TRY(json_length(name, &p.json_name, err));
    p.name = gs_strdup(name);
    if (!p.name) return gs_error_nomem(err, strlen(name) + 1);
    gs_status status = measure(&p, err);
    if (status == GS_OK) status = append(w, &p, err);
    if (status != GS_OK) gs_free(p.name);
    return status;
}

static int by_alignment_then_name(const void *left, const void *right) {
    const planned *a = left, *b = right;
    int wide = gs_dtype_block_bytes(b->dtype) - gs_dtype_block_bytes(a->dtype);
    return wide ? wide : strcmp(a->name, b->name);
}

static int by_key(const void *left, const void *right) {
    return strcmp(((const pair *)left)->key, ((const pair *)right)->key);
}

/* Sorts, and gives every tensor its place. With wider elements first every tensor starts
 * at a multiple of its element size. */
static void lay_out(gs_safetensors_writer *w) {
    uint64_t at = 0;
    if (w->sorted) return;
    if (w->count) qsort(w->plan, w->count, sizeof *w->plan, by_alignment_then_name);
    if (w->pairs) qsort(w->metadata, w->pairs, sizeof *w->metadata, by_key);
    for (size_t i = 0; i < w->count; i++) {
        w->plan[i].begin = at;
        at += w->plan[i].bytes;
    }
    w->sorted = true;
}

/* What follows a tensor's name in the header. */
enum { ENTRY_TEXT = 64 + (GS_MAX_DIMS + 2) * 21 };
static size_t entry_text(const planned *p, char text[ENTRY_TEXT]) {
    int n = snprintf(text, ENTRY_TEXT, ":{\"dtype\":\"%s\",\"shape\":[", gs_dtype_name(p->dtype));
    for (int i = 0; i < p->ndim; i++)
        n += snprintf(text + n, ENTRY_TEXT - (size_t)n, "%s%lld", i ? "," : "",
                      (long long)p->shape[i]);
    n += snprintf(text + n, ENTRY_TEXT - (size_t)n, "],\"data_offsets\":[%llu,%llu]}",
                  (unsigned long long)p->begin, (unsigned long long)(p->begin + p->bytes));
    return (size_t)n;
}

static void put_metadata(const gs_safetensors_writer *w, gs_strbuf *out) {
    gs_strbuf_printf(out, "{\"__metadata__\":{\"format\":\"%s\"", w->format ? w->format : "pt");
    for (size_t i = 0; i < w->pairs; i++) {
        const pair *p = &w->metadata[i];
        gs_strbuf_putc(out, ',');
        gs_strbuf_json(out, p->key, strlen(p->key));
        gs_strbuf_putc(out, ':');
        gs_strbuf_json(out, p->value, strlen(p->value));
    }
    gs_strbuf_putc(out, '}');
}

static uint64_t padded(uint64_t n) {
    return (n + 7) / 8 * 8;
}

uint64_t gs_safetensors_writer_bytes(gs_safetensors_writer *w) {
    char text[ENTRY_TEXT];
    gs_strbuf metadata = {0};
    lay_out(w);
    put_metadata(w, &metadata);
    uint64_t header = metadata.len + 1; /* 1: the closing brace */
    for (size_t i = 0; i < w->count; i++)
        header += 1 + w->plan[i].json_name + entry_text(&w->plan[i], text);
    gs_strbuf_clear(&metadata);
    return LENGTH_BYTES + padded(header) + w->total;
}

/* The length, the JSON and its padding. */
static void put_header(const gs_safetensors_writer *w, gs_strbuf *out) {
    uint8_t length[LENGTH_BYTES] = {0};
    gs_strbuf_append(out, length, sizeof length);
    put_metadata(w, out);
    for (size_t i = 0; i < w->count; i++) {
        char text[ENTRY_TEXT];
        const planned *p = &w->plan[i];
        gs_strbuf_putc(out, ',');
        gs_strbuf_json(out, p->name, strlen(p->name));
        gs_strbuf_append(out, text, entry_text(p, text));
    }
    gs_strbuf_putc(out, '}');
    while (out->len % 8 && !out->failed) gs_strbuf_putc(out, ' ');
    if (out->failed) return;
    uint64_t n = out->len - LENGTH_BYTES;
    for (int i = 0; i < LENGTH_BYTES; i++) out->data[i] = (char)(uint8_t)(n >> 8 * i);
}

static gs_status index_names(gs_safetensors_writer *w, gs_error *err) {
    gs_map_clear(&w->names);
    GS_TRY(gs_map_reserve(&w->names, w->count, err));
    for (size_t i = 0; i < w->count; i++) {
        const char *name = w->plan[i].name;
        GS_TRY(gs_map_put(&w->names, name, strlen(name), (int64_t)i, NULL, err));
    }
    return GS_OK;
}

static gs_status write_header(gs_safetensors_writer *w, const gs_strbuf *header,
                              const char *path, gs_error *err) {
    if (header->failed) return gs_error_nomem(err, header->len);
    if (header->len - LENGTH_BYTES > GS_SAFETENSORS_MAX_HEADER) {
        GS_FAIL(err, GS_E_INVALID, "'%s': a header of %zu bytes exceeds the limit of %d", path,
                header->len - LENGTH_BYTES, GS_SAFETENSORS_MAX_HEADER);
        gs_error_hint(err, "spread the tensors over more files");
        return GS_E_INVALID;
    }
    GS_TRY(gs_outfile_create(path, &w->file, err));
    w->data_start = header->len;
    return gs_outfile_write(w->file, header->data, header->len, err);
}

gs_status gs_safetensors_writer_begin(gs_safetensors_writer *w, const char *path,
                                      gs_error *err) {
    gs_strbuf header = {0};
    GS_TRY(check_planning(w, err));
    lay_out(w);
    GS_TRY(index_names(w, err));
    put_header(w, &header);
    gs_status status = write_header(w, &header, path, err);
    gs_strbuf_clear(&header);
    return status;
}

gs_status gs_safetensors_writer_put(gs_safetensors_writer *w, const char *name,
                                    uint64_t offset, const void *data, size_t n,
                                    gs_error *err) {
    int64_t i;
    if (!w->file) return GS_FAIL(err, GS_E_INVALID, "nothing can be put before begin");
    if (!gs_map_get(&w->names, name, strlen(name), &i))
        return GS_FAIL(err, GS_E_INVALID, "tensor '%.200s' was not planned", name);
    planned *p = &w->plan[i];
    if (offset != p->done)
        return GS_FAIL(err, GS_E_INVALID, "tensor '%.200s': piece at byte %llu, byte %llu is next",
                       name, (unsigned long long)offset, (unsigned long long)p->done);
    if (n > p->bytes - p->done)
        return GS_FAIL(err, GS_E_INVALID, "tensor '%.200s': %zu bytes at byte %llu, it has %llu",
                       name, n, (unsigned long long)offset, (unsigned long long)p->bytes);
    GS_TRY(gs_outfile_pwrite(w->file, data, n, (int64_t)(w->data_start + p->begin + offset), err));
    p->done += n;
    return GS_OK;
}

static gs_status check_complete(const gs_safetensors_writer *w, gs_error *err) {
    if (!w->file) return GS_FAIL(err, GS_E_INVALID, "commit before begin");
    for (size_t i = 0; i < w->count; i++) {
        const planned *p = &w->plan[i];
        if (p->done != p->bytes)
            return GS_FAIL(err, GS_E_INVALID, "tensor '%.200s': %llu of %llu bytes were put",
                           p->name, (unsigned long long)p->done, (unsigned long long)p->bytes);
    }
    return GS_OK;
}

gs_status gs_safetensors_writer_commit(gs_safetensors_writer *w, gs_error *err) {
    gs_status status = check_complete(w, err);
    if (status == GS_OK) {
        gs_outfile *file = w->file;
        w->file = NULL;
        status = gs_outfile_commit(file, err);
    }
    gs_safetensors_writer_abort(w);
    return status;
}
