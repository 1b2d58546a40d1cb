#include <loaders/mindspore_ckpt.h>

#include <loaders/mindspore_dtype.h>
#include <loaders/tokenizer/wire.h>

#include <base/map.h>
#include <base/mem.h>
#include <base/scratch_file.h>
#include <base/utf8.h>

#include <string.h>

enum { MAX_TENSORS = 1 << 20, MAX_NAME = 1 << 16, SHOWN = 200 };

/* The entries that hold one tensor: their place in the file, that of the whole in the scratch file. */
typedef struct joint {
    size_t tensor, begin, end;
    uint64_t at;
} joint;

struct gs_mindspore_ckpt {
    gs_filemap file; /* of borrowed memory: path NULL */
    bool mapped;
    gs_tensor *tensors; /* names owned */
    size_t count, cap;
    joint *joints; /* of tensors that came in pieces, ascending */
    size_t joint_count, joint_cap;
    gs_scratch_file scratch; /* what they are put together in */
    uint64_t scratch_size;
    gs_map index;
};

/* One entry as it stands in the file; text and bytes point into it. */
typedef struct entry {
    const char *name;
    size_t name_len;
    gs_tensor tensor;
    uint64_t expected; /* bytes that shape and dtype ask for */
    bool has_name, has_tensor, has_dtype, has_bytes;
} entry;

void gs_mindspore_ckpt_close(gs_mindspore_ckpt *c) {
    if (!c) return;
    for (size_t i = 0; i < c->count; i++) gs_free((char *)c->tensors[i].name);
    gs_free(c->tensors);
    gs_free(c->joints);
    gs_scratch_file_close(&c->scratch);
    gs_map_clear(&c->index);
    if (c->mapped) gs_filemap_close(&c->file);
    gs_free(c);
}

/* ---- one entry */

static gs_status once(bool *seen, const char *what, gs_error *err) {
    if (*seen) return GS_FAIL(err, GS_E_FORMAT, "%s comes twice", what);
    *seen = true;
    return GS_OK;
}

static gs_status read_dim(gs_tensor *t, const gs_wire_field *f, gs_error *err) {
    GS_TRY(gs_wire_expect(f, GS_WIRE_VARINT, err));
    if (t->ndim == GS_MAX_DIMS) return GS_FAIL(err, GS_E_FORMAT, "more than %d dimensions", GS_MAX_DIMS);
    if (f->value > INT64_MAX)
        return GS_FAIL(err, GS_E_FORMAT, "dimension %d is %llu", t->ndim, (unsigned long long)f->value);
    t->shape[t->ndim++] = (int64_t)f->value;
    return GS_OK;
}

static gs_status read_dtype(gs_tensor *t, const gs_wire_field *f, gs_error *err) {
#define X(dtype_name, word)                                                                                            \
    if (f->len == sizeof word - 1 && memcmp(f->bytes, word, f->len) == 0) {                                            \
        t->dtype = GS_##dtype_name;                                                                                    \
        return GS_OK;                                                                                                  \
    }
    GS_MINDSPORE_DTYPE_LIST(X)
#undef X
    bool printable = f->len > 0 && f->len <= 32;
    for (size_t i = 0; i < f->len && printable; i++) printable = f->bytes[i] > 0x20 && f->bytes[i] < 0x7f;
    if (!printable) return GS_FAIL(err, GS_E_FORMAT, "its dtype is no word");
    GS_FAIL(err, GS_E_UNSUPPORTED, "dtype '%.*s' is not supported", (int)f->len, (const char *)f->bytes);
    return gs_error_hint(err, "supported are Bool, Int8 to Int64, UInt8 to UInt64, Float16, BFloat16, Float32 and Float64");
}

static gs_status read_tensor_field(entry *e, const gs_wire_field *f, gs_error *err) {
    if (f->number == 1) return read_dim(&e->tensor, f, err);
    if (f->number > 3) return GS_FAIL(err, GS_E_UNSUPPORTED, "a tensor with field %u", f->number);
    GS_TRY(gs_wire_expect(f, GS_WIRE_BYTES, err));
    if (f->number == 2) {
        GS_TRY(once(&e->has_dtype, "the dtype", err));
        return read_dtype(&e->tensor, f, err);
    }
    GS_TRY(once(&e->has_bytes, "the data", err));
    e->tensor.data = f->bytes;
    e->tensor.bytes = f->len;
    return GS_OK;
}

/* A product that overflows is refused even beside a size of 0: nothing that is real looks so. */
static gs_status measure(entry *e, gs_error *err) {
    int64_t count = 1;
    for (int i = 0; i < e->tensor.ndim; i++)
        if (__builtin_mul_overflow(count, e->tensor.shape[i], &count))
            return GS_FAIL(err, GS_E_FORMAT, "its shape overflows");
    if (!gs_dtype_bytes(e->tensor.dtype, (uint64_t)count, &e->expected))
        return GS_FAIL(err, GS_E_FORMAT, "%lld %s elements overflow", (long long)count, gs_dtype_name(e->tensor.dtype));
    if (e->tensor.bytes > e->expected)
        return GS_FAIL(err, GS_E_FORMAT, "%llu bytes, its shape has %llu", (unsigned long long)e->tensor.bytes,
                       (unsigned long long)e->expected);
    return GS_OK;
}

static gs_status read_tensor(entry *e, const uint8_t *bytes, size_t len, gs_error *err) {
    gs_wire w = {bytes, len, 0};
    gs_wire_field f;
    bool more;
    for (;;) {
        GS_TRY(gs_wire_next(&w, &f, &more, err));
        if (!more) break;
        GS_TRY(read_tensor_field(e, &f, err));
    }
    if (!e->has_dtype) return GS_FAIL(err, GS_E_FORMAT, "it has no dtype");
    if (!e->has_bytes) e->tensor.data = bytes; /* protobuf leaves an empty field out */
    return measure(e, err);
}

static gs_status read_name(entry *e, const gs_wire_field *f, gs_error *err) {
    GS_TRY(once(&e->has_name, "the name", err));
    if (f->len < 1 || f->len > MAX_NAME) return GS_FAIL(err, GS_E_FORMAT, "a name of %zu bytes", f->len);
    if (!gs_utf8_is_plain((const char *)f->bytes, f->len)) return GS_FAIL(err, GS_E_FORMAT, "its name is not text");
    e->name = (const char *)f->bytes;
    e->name_len = f->len;
    return GS_OK;
}

static gs_status read_entry_field(entry *e, const gs_wire_field *f, gs_error *err) {
    if (f->number == 3) return GS_FAIL(err, GS_E_UNSUPPORTED, "a map tensor");
    if (f->number > 3) return GS_FAIL(err, GS_E_UNSUPPORTED, "an entry with field %u", f->number);
    GS_TRY(gs_wire_expect(f, GS_WIRE_BYTES, err));
    if (f->number == 1) return read_name(e, f, err);
    GS_TRY(once(&e->has_tensor, "the tensor", err));
    return read_tensor(e, f->bytes, f->len, err);
}

static gs_status read_entry(entry *e, const gs_wire_field *field, gs_error *err) {
    gs_wire w = {field->bytes, field->len, 0};
    gs_wire_field f;
    bool more;
    *e = (entry){.tensor.dtype = GS_DTYPE_NONE};
    for (;;) {
        GS_TRY(gs_wire_next(&w, &f, &more, err));
        if (!more) break;
        GS_TRY(read_entry_field(e, &f, err));
    }
    if (!e->has_name || !e->has_tensor) return GS_FAIL(err, GS_E_FORMAT, "no %s", e->has_name ? "tensor" : "name");
    return GS_OK;
}

/* ---- entries become tensors */

static gs_status add_tensor(gs_mindspore_ckpt *c, const entry *e, gs_error *err) {
    bool existed = false;
    if (c->count == MAX_TENSORS) return GS_FAIL(err, GS_E_FORMAT, "more than %d tensors", MAX_TENSORS);
    if (c->count == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 64;
        gs_tensor *tensors = gs_realloc(c->tensors, cap, sizeof *tensors);
        if (!tensors) return gs_error_nomem(err, cap * sizeof *tensors);
        c->tensors = tensors;
        c->cap = cap;
    }
    char *name = gs_strndup(e->name, e->name_len);
    if (!name) return gs_error_nomem(err, e->name_len + 1);
    size_t i = c->count++;
    c->tensors[i] = e->tensor;
    c->tensors[i].name = name;
    GS_TRY(gs_map_put(&c->index, name, e->name_len, (int64_t)i, &existed, err));
    return existed ? GS_FAIL(err, GS_E_FORMAT, "it comes twice, apart") : GS_OK;
}

static bool same_tensor(const gs_tensor *t, const entry *e) {
    const gs_tensor *u = &e->tensor;
    return strlen(t->name) == e->name_len && memcmp(t->name, e->name, e->name_len) == 0 && t->dtype == u->dtype &&
           t->ndim == u->ndim && memcmp(t->shape, u->shape, sizeof t->shape) == 0;
}

/* Pieces of the last tensor, not complete yet: where they are is known again from the file. */
typedef struct pieces {
    size_t first;  /* place in the file of the first one */
    uint64_t need; /* bytes of the whole */
    uint64_t have;
} pieces;

/* The last tensor's pieces are complete; they lie in the file from p->first to `end`. */
static gs_status add_joint(gs_mindspore_ckpt *c, const pieces *p, size_t end, gs_error *err) {
    enum { ALIGN = 64 };
    if (c->joint_count == c->joint_cap) {
        size_t cap = c->joint_cap ? 2 * c->joint_cap : 16;
        joint *joints = gs_realloc(c->joints, cap, sizeof *joints);
        if (!joints) return gs_error_nomem(err, cap * sizeof *joints);
        c->joints = joints;
        c->joint_cap = cap;
    }
    c->joints[c->joint_count++] = (joint){c->count - 1, p->first, end, c->scratch_size};
    /* no more than 64 bytes an entry beyond what the file has: no overflow */
    c->scratch_size += (p->need + ALIGN - 1) / ALIGN * ALIGN;
    return GS_OK;
}

/* Copies the pieces of one tensor; what is read here was checked before. */
static gs_status join(gs_mindspore_ckpt *c, const joint *j, gs_error *err) {
    gs_wire w = {c->file.data, j->end, j->begin};
    gs_wire_field f;
    uint64_t at = j->at;
    bool more;
    for (;;) {
        entry e;
        GS_TRY(gs_wire_next(&w, &f, &more, err));
        if (!more) break;
        GS_TRY(read_entry(&e, &f, err));
        if (e.tensor.bytes) GS_TRY(gs_scratch_file_write(&c->scratch, at, e.tensor.data, e.tensor.bytes, err));
        at += e.tensor.bytes;
        if (c->mapped) gs_filemap_drop(&c->file, (size_t)(f.bytes - c->file.data), f.len);
    }
    c->tensors[j->tensor].data = c->scratch.map.data + j->at;
    c->tensors[j->tensor].bytes = at - j->at;
    return GS_OK;
}

static gs_status join_all(gs_mindspore_ckpt *c, gs_error *err) {
    if (c->scratch_size == 0) return GS_OK;
    GS_TRY(gs_scratch_file_open(&c->scratch, c->scratch_size, err));
    for (size_t i = 0; i < c->joint_count; i++) GS_TRY(join(c, &c->joints[i], err));
    return GS_OK;
}

/* start, end: the entry's place in the file. */
static gs_status take_entry(gs_mindspore_ckpt *c, const entry *e, pieces *p, size_t start, size_t end, gs_error *err) {
    if (p->have == p->need) {
        GS_TRY(add_tensor(c, e, err));
        *p = (pieces){start, e->expected, e->tensor.bytes};
        return GS_OK;
    }
    const gs_tensor *last = &c->tensors[c->count - 1];
    if (!same_tensor(last, e) || e->tensor.bytes > p->need - p->have)
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%.200s' before it has %llu of %llu bytes", last->name,
                       (unsigned long long)p->have, (unsigned long long)p->need);
    p->have += e->tensor.bytes;
    return p->have == p->need ? add_joint(c, p, end, err) : GS_OK;
}

static gs_status read_one(gs_mindspore_ckpt *c, const gs_wire_field *f, pieces *p, size_t start, size_t end,
                          gs_error *err) {
    entry e = {0};
    if (f->number != 1) return GS_FAIL(err, GS_E_UNSUPPORTED, "field %u beside the entries", f->number);
    GS_TRY(gs_wire_expect(f, GS_WIRE_BYTES, err));
    gs_status status = read_entry(&e, f, err);
    if (status == GS_OK) status = take_entry(c, &e, p, start, end, err);
    if (status != GS_OK && e.name)
        gs_error_at(err, "tensor '%.*s'", e.name_len < SHOWN ? (int)e.name_len : 0, e.name);
    return status;
}

static gs_status read_all(gs_mindspore_ckpt *c, gs_error *err) {
    gs_wire w = {c->file.data, c->file.size, 0};
    gs_wire_field f;
    pieces p = {0};
    bool more;
    for (;;) {
        size_t start = w.at;
        gs_status status = gs_wire_next(&w, &f, &more, err);
        if (status == GS_OK && !more) break;
        if (status == GS_OK) status = read_one(c, &f, &p, start, w.at, err);
        if (status != GS_OK) {
            gs_error_at(err, "entry at byte %zu", start);
            return status;
        }
    }
    if (p.have != p.need)
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%.200s' has %llu of %llu bytes", c->tensors[c->count - 1].name,
                       (unsigned long long)p.have, (unsigned long long)p.need);
    return c->count ? join_all(c, err) : GS_FAIL(err, GS_E_FORMAT, "no tensors in %zu bytes", c->file.size);
}

/* Takes over the map (mapped) on success only. */
static gs_status open_bytes(gs_filemap file, bool mapped, gs_mindspore_ckpt **out, gs_error *err) {
    *out = NULL;
    gs_mindspore_ckpt *c = gs_calloc(1, sizeof *c);
    if (!c) return gs_error_nomem(err, sizeof *c);
    c->file = file;
    c->mapped = mapped;
    gs_status status = read_all(c, err);
    if (status != GS_OK) {
        c->mapped = false;
        gs_mindspore_ckpt_close(c);
        return status;
    }
    *out = c;
    return GS_OK;
}

gs_status gs_mindspore_ckpt_open_memory(const uint8_t *data, size_t size, gs_mindspore_ckpt **out, gs_error *err) {
    return open_bytes((gs_filemap){.data = data, .size = size}, false, out, err);
}

gs_status gs_mindspore_ckpt_open(const char *path, gs_mindspore_ckpt **out, gs_error *err) {
    gs_filemap file = {0};
    *out = NULL;
    GS_TRY(gs_filemap_open(&file, path, err));
    gs_status status = open_bytes(file, true, out, err);
    if (status != GS_OK) {
        gs_error_at(err, "%s", path);
        gs_filemap_close(&file);
    }
    return status;
}

size_t gs_mindspore_ckpt_count(const gs_mindspore_ckpt *c) { return c->count; }

const gs_tensor *gs_mindspore_ckpt_at(const gs_mindspore_ckpt *c, size_t i) {
    return i < c->count ? &c->tensors[i] : NULL;
}

const gs_tensor *gs_mindspore_ckpt_find(const gs_mindspore_ckpt *c, const char *name) {
    int64_t i;
    return gs_map_get(&c->index, name, strlen(name), &i) ? &c->tensors[i] : NULL;
}

uint64_t gs_mindspore_ckpt_scratch(const gs_mindspore_ckpt *c) { return c->scratch.map.size; }

void gs_mindspore_ckpt_drop(const gs_mindspore_ckpt *c, const gs_tensor *t) {
    if (gs_filemap_drop_bytes(&c->scratch.map, t->data, t->bytes)) return;
    if (c->mapped) gs_filemap_drop_bytes(&c->file, t->data, t->bytes);
}
