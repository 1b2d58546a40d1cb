#include <loaders/gguf_metadata.h>

#include <base/half.h>
#include <base/mem.h>
#include <base/utf8.h>

#include <string.h>

/* Bytes of a value in the file; 0 for the kinds whose size is in the value itself. */
static const struct {
    const char *name;
    int bytes;
} types[] = {
    [GS_GGUF_U8] = {"u8", 1},         [GS_GGUF_I8] = {"i8", 1},
    [GS_GGUF_U16] = {"u16", 2},       [GS_GGUF_I16] = {"i16", 2},
    [GS_GGUF_U32] = {"u32", 4},       [GS_GGUF_I32] = {"i32", 4},
    [GS_GGUF_F32] = {"f32", 4},       [GS_GGUF_BOOL] = {"bool", 1},
    [GS_GGUF_STRING] = {"string", 0}, [GS_GGUF_ARRAY] = {"array", 0},
    [GS_GGUF_U64] = {"u64", 8},       [GS_GGUF_I64] = {"i64", 8},
    [GS_GGUF_F64] = {"f64", 8},
};

uint64_t gs_gguf_load(const uint8_t *p, int bytes) {
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--) v = v << 8 | p[i];
    return v;
}

/* The next n bytes, or NULL (GS_E_FORMAT). */
static const uint8_t *take(gs_gguf_cursor *c, const char *what, uint64_t n, gs_error *err) {
    if (n > c->size - c->pos) {
        (void)GS_FAIL(err, GS_E_FORMAT, "%s at byte %zu needs %llu bytes, %zu are left", what,
                      c->pos, (unsigned long long)n, c->size - c->pos);
        return NULL;
    }
    const uint8_t *p = c->data + c->pos;
    c->pos += (size_t)n;
    return p;
}

gs_status gs_gguf_read_u32(gs_gguf_cursor *c, const char *what, uint32_t *out, gs_error *err) {
    const uint8_t *p = take(c, what, 4, err);
    if (!p) return GS_E_FORMAT;
    *out = (uint32_t)gs_gguf_load(p, 4);
    return GS_OK;
}

gs_status gs_gguf_read_u64(gs_gguf_cursor *c, const char *what, uint64_t *out, gs_error *err) {
    const uint8_t *p = take(c, what, 8, err);
    if (!p) return GS_E_FORMAT;
    *out = gs_gguf_load(p, 8);
    return GS_OK;
}

gs_status gs_gguf_read_str(gs_gguf_cursor *c, const char *what, gs_gguf_str *out, gs_error *err) {
    size_t start = c->pos;
    uint64_t len;
    GS_TRY(gs_gguf_read_u64(c, what, &len, err));
    const uint8_t *p = take(c, what, len, err);
    if (!p) {
        c->pos = start;
        return GS_E_FORMAT;
    }
    *out = (gs_gguf_str){(const char *)p, (size_t)len};
    return GS_OK;
}

gs_status gs_gguf_read_name(gs_gguf_cursor *c, const char *what, gs_gguf_str *out, gs_error *err) {
    size_t start = c->pos;
    GS_TRY(gs_gguf_read_str(c, what, out, err));
    if (out->len < 1 || out->len > GS_GGUF_MAX_NAME)
        return GS_FAIL(err, GS_E_FORMAT, "%s at byte %zu has %zu bytes, allowed are 1 to %d", what,
                       start, out->len, GS_GGUF_MAX_NAME);
    if (!gs_utf8_is_plain(out->data, out->len)) return GS_FAIL(err, GS_E_FORMAT, "%s at byte %zu is not text", what, start);
    return GS_OK;
}

int gs_gguf_shown(gs_gguf_str s) {
    size_t n = 0;
    while (n < s.len) {
        size_t step = gs_utf8_sequence(s.data + n, s.len - n);
        if (step == 0 || n + step > 200) break;
        n += step;
    }
    return (int)n;
}

static gs_status check_bools(const uint8_t *p, uint64_t n, gs_error *err) {
    for (uint64_t i = 0; i < n; i++)
        if (p[i] > 1)
            return GS_FAIL(err, GS_E_FORMAT, "bool %llu is byte %d, not 0 or 1",
                           (unsigned long long)i, p[i]);
    return GS_OK;
}

static gs_status read_strings(gs_gguf_pair *p, gs_gguf_cursor *c, gs_error *err) {
    p->value = c->data + c->pos;
    if (p->count > (c->size - c->pos) / 8)
        return GS_FAIL(err, GS_E_FORMAT, "%llu strings cannot fit into %zu bytes",
                       (unsigned long long)p->count, c->size - c->pos);
    if (p->count == 0) return GS_OK;
    /* count <= size / 8, so the product cannot overflow */
    p->offsets = gs_alloc((size_t)p->count * sizeof p->offsets[0]);
    if (!p->offsets) return gs_error_nomem(err, (size_t)p->count * sizeof p->offsets[0]);
    for (uint64_t i = 0; i < p->count; i++) {
        gs_gguf_str s;
        p->offsets[i] = c->pos;
        GS_TRY(gs_gguf_read_str(c, "string of an array", &s, err));
    }
    return GS_OK;
}

static gs_status read_type(gs_gguf_cursor *c, gs_gguf_type *out, gs_error *err) {
    uint32_t id;
    GS_TRY(gs_gguf_read_u32(c, "value type", &id, err));
    if (id >= GS_COUNTOF(types))
        return GS_FAIL(err, GS_E_FORMAT, "value type %u does not exist", (unsigned)id);
    *out = (gs_gguf_type)id;
    return GS_OK;
}

static gs_status read_array(gs_gguf_pair *p, gs_gguf_cursor *c, gs_error *err) {
    GS_TRY(read_type(c, &p->element, err));
    GS_TRY(gs_gguf_read_u64(c, "array count", &p->count, err));
    if (p->element == GS_GGUF_ARRAY)
        return GS_FAIL(err, GS_E_FORMAT, "an array of arrays is not allowed");
    if (p->element == GS_GGUF_STRING) return read_strings(p, c, err);
    uint64_t bytes = (uint64_t)types[p->element].bytes;
    if (p->count > (c->size - c->pos) / bytes)
        return GS_FAIL(err, GS_E_FORMAT, "%llu elements of type %s cannot fit into %zu bytes",
                       (unsigned long long)p->count, types[p->element].name, c->size - c->pos);
    p->value = take(c, "array", p->count * bytes, err);
    if (!p->value) return GS_E_FORMAT;
    return p->element == GS_GGUF_BOOL ? check_bools(p->value, p->count, err) : GS_OK;
}

static gs_status read_value(gs_gguf_pair *p, gs_gguf_cursor *c, gs_error *err) {
    GS_TRY(read_type(c, &p->type, err));
    p->element = p->type;
    if (p->type == GS_GGUF_ARRAY) return read_array(p, c, err);
    if (p->type == GS_GGUF_STRING) {
        gs_gguf_str s;
        GS_TRY(gs_gguf_read_str(c, "string value", &s, err));
        p->value = (const uint8_t *)s.data;
        p->count = s.len;
        return GS_OK;
    }
    p->count = 1;
    p->value = take(c, "value", (uint64_t)types[p->type].bytes, err);
    if (!p->value) return GS_E_FORMAT;
    return p->type == GS_GGUF_BOOL ? check_bools(p->value, 1, err) : GS_OK;
}

/* The array grows with what was really read: a count in the header buys no memory. */
static gs_gguf_pair *next_pair(gs_gguf_metadata *m, gs_error *err) {
    if (m->count == m->cap) {
        size_t cap = m->cap ? 2 * m->cap : 64;
        gs_gguf_pair *grown = gs_realloc(m->pairs, cap, sizeof *grown);
        if (!grown) {
            (void)gs_error_nomem(err, cap * sizeof *grown);
            return NULL;
        }
        m->pairs = grown;
        m->cap = cap;
    }
    m->pairs[m->count] = (gs_gguf_pair){0};
    return &m->pairs[m->count];
}

gs_status gs_gguf_metadata_read(gs_gguf_metadata *m, gs_gguf_cursor *c, uint64_t n, gs_error *err) {
    m->data = c->data;
    if (n > GS_GGUF_MAX_ITEMS)
        return GS_FAIL(err, GS_E_FORMAT, "%llu metadata keys, at most %d are allowed",
                       (unsigned long long)n, GS_GGUF_MAX_ITEMS);
    for (uint64_t i = 0; i < n; i++) {
        bool existed = false;
        gs_gguf_pair *p = next_pair(m, err);
        if (!p) return GS_E_NOMEM;
        GS_TRY(gs_gguf_read_name(c, "metadata key", &p->key, err));
        GS_TRY(gs_map_put(&m->index, p->key.data, p->key.len, (int64_t)i, &existed, err));
        if (existed)
            return GS_FAIL(err, GS_E_FORMAT, "metadata key '%.*s' appears twice",
                           gs_gguf_shown(p->key), p->key.data);
        m->count++; /* before the value: clear must see offsets of a half-read array */
        gs_status status = read_value(p, c, err);
        if (status != GS_OK) {
            gs_error_at(err, "'%.*s'", gs_gguf_shown(p->key), p->key.data);
            return status;
        }
    }
    return GS_OK;
}

void gs_gguf_metadata_clear(gs_gguf_metadata *m) {
    for (size_t i = 0; i < m->count; i++) gs_free(m->pairs[i].offsets);
    gs_free(m->pairs);
    gs_map_clear(&m->index);
    *m = (gs_gguf_metadata){0};
}

const gs_gguf_pair *gs_gguf_metadata_find(const gs_gguf_metadata *m, const char *key) {
    int64_t i;
    return gs_map_get(&m->index, key, strlen(key), &i) ? &m->pairs[i] : NULL;
}

bool gs_gguf_pair_int(const gs_gguf_pair *p, int64_t *out) {
    if (!p) return false;
    uint64_t v;
    switch (p->type) {
    case GS_GGUF_I8: *out = (int8_t)p->value[0]; return true;
    case GS_GGUF_I16: *out = (int16_t)gs_gguf_load(p->value, 2); return true;
    case GS_GGUF_I32: *out = (int32_t)gs_gguf_load(p->value, 4); return true;
    case GS_GGUF_I64: *out = (int64_t)gs_gguf_load(p->value, 8); return true;
    case GS_GGUF_U8:
    case GS_GGUF_U16:
    case GS_GGUF_U32:
    case GS_GGUF_U64:
        v = gs_gguf_load(p->value, types[p->type].bytes);
        if (v > INT64_MAX) return false;
        *out = (int64_t)v;
        return true;
    default: return false;
    }
}

bool gs_gguf_pair_double(const gs_gguf_pair *p, double *out) {
    if (!p) return false;
    if (p->type == GS_GGUF_F32) {
        *out = (double)gs_f32_from_bits((uint32_t)gs_gguf_load(p->value, 4));
        return true;
    }
    if (p->type != GS_GGUF_F64) return false;
    uint64_t bits = gs_gguf_load(p->value, 8);
    memcpy(out, &bits, sizeof *out);
    return true;
}

/* Where the value of a pair ends. */
static const uint8_t *pair_end(const gs_gguf_metadata *m, const gs_gguf_pair *p) {
    if (p->type == GS_GGUF_STRING) return p->value + p->count;
    if (p->element != GS_GGUF_STRING) return p->value + p->count * (uint64_t)types[p->element].bytes;
    if (p->count == 0) return p->value;
    const uint8_t *last = m->data + p->offsets[p->count - 1];
    return last + 8 + gs_gguf_load(last, 8);
}

const uint8_t *gs_gguf_pair_bytes(const gs_gguf_metadata *m, const gs_gguf_pair *p, size_t *len) {
    const uint8_t *start = (const uint8_t *)p->key.data + p->key.len + 4;
    *len = (size_t)(pair_end(m, p) - start);
    return start;
}
