#include <loaders/gguf.h>

#include <loaders/gguf_metadata.h>

#include <base/mem.h>

#include <stdlib.h>
#include <string.h>

enum { MAX_DIMS = 4, DEFAULT_ALIGNMENT = 32 };

struct gs_gguf {
    gs_filemap file; /* of borrowed memory: path NULL */
    bool mapped;
    gs_gguf_metadata meta;
    gs_tensor *tensors;
    size_t count, cap;
    gs_map index;
    uint64_t alignment;
};

/* GGUF tensor type ids (ggml_type). */
static const struct {
    uint32_t id;
    gs_dtype dtype;
} dtypes[] = {
    {0, GS_F32},   {1, GS_F16},   {2, GS_Q4_0},  {3, GS_Q4_1},  {6, GS_Q5_0},  {7, GS_Q5_1},
    {8, GS_Q8_0},  {10, GS_Q2_K}, {11, GS_Q3_K}, {12, GS_Q4_K}, {13, GS_Q5_K}, {14, GS_Q6_K},
    {24, GS_I8},   {25, GS_I16},  {26, GS_I32},  {27, GS_I64},  {28, GS_F64},  {30, GS_BF16},
};

static gs_dtype dtype_of(uint32_t id) {
    for (size_t i = 0; i < GS_COUNTOF(dtypes); i++)
        if (dtypes[i].id == id) return dtypes[i].dtype;
    return GS_DTYPE_NONE;
}

bool gs_gguf_dtype_id(gs_dtype dtype, uint32_t *id) {
    for (size_t i = 0; i < GS_COUNTOF(dtypes); i++) {
        if (dtypes[i].dtype != dtype) continue;
        *id = dtypes[i].id;
        return true;
    }
    return false;
}

/* dims come innermost first; shape is outermost first. */
static gs_status read_shape(gs_tensor *t, gs_gguf_cursor *c, gs_error *err) {
    uint32_t ndim;
    int64_t count = 1;
    GS_TRY(gs_gguf_read_u32(c, "dimension count", &ndim, err));
    if (ndim < 1 || ndim > MAX_DIMS)
        return GS_FAIL(err, GS_E_FORMAT, "%u dimensions, allowed are 1 to %d", (unsigned)ndim,
                       MAX_DIMS);
    t->ndim = (int)ndim;
    for (int i = t->ndim - 1; i >= 0; i--) {
        uint64_t dim;
        GS_TRY(gs_gguf_read_u64(c, "dimension", &dim, err));
        if (dim < 1 || dim > (uint64_t)(INT64_MAX / count))
            return GS_FAIL(err, GS_E_FORMAT, "dimension %d is %llu (the others so far: %lld)", i,
                           (unsigned long long)dim, (long long)count);
        t->shape[i] = (int64_t)dim;
        count *= (int64_t)dim;
    }
    return GS_OK;
}

static gs_status read_dtype(gs_tensor *t, gs_gguf_cursor *c, gs_error *err) {
    uint32_t id;
    GS_TRY(gs_gguf_read_u32(c, "tensor type", &id, err));
    t->dtype = dtype_of(id);
    if (t->dtype == GS_DTYPE_NONE) {
        (void)GS_FAIL(err, GS_E_UNSUPPORTED, "tensor type %u is not supported", (unsigned)id);
        gs_error_hint(err, "supported are F32, F16, BF16, F64, the integers, Q8_0, Q4_0, Q4_1, "
                           "Q5_0, Q5_1 and Q2_K to Q6_K");
        return GS_E_UNSUPPORTED;
    }
    if (t->shape[t->ndim - 1] % gs_dtype_block(t->dtype))
        return GS_FAIL(err, GS_E_FORMAT, "rows of %lld elements are not whole %s blocks of %d",
                       (long long)t->shape[t->ndim - 1], gs_dtype_name(t->dtype),
                       gs_dtype_block(t->dtype));
    uint64_t count = 1; /* fits: read_shape checked the product */
    for (int i = 0; i < t->ndim; i++) count *= (uint64_t)t->shape[i];
    if (!gs_dtype_bytes(t->dtype, count, &t->bytes))
        return GS_FAIL(err, GS_E_FORMAT, "%llu elements of %s overflow", (unsigned long long)count,
                       gs_dtype_name(t->dtype));
    return GS_OK;
}

/* Where a tensor says it lies in the data section, whose start is known only after the last
 * of them is read. */
typedef struct place {
    uint64_t offset;
    size_t tensor;
} place;

static gs_status next_tensor(gs_gguf *g, place **places, gs_error *err) {
    if (g->count < g->cap) return GS_OK;
    size_t cap = g->cap ? 2 * g->cap : 64;
    gs_tensor *tensors = gs_realloc(g->tensors, cap, sizeof *tensors);
    if (!tensors) return gs_error_nomem(err, cap * sizeof *tensors);
    g->tensors = tensors;
    place *grown = gs_realloc(*places, cap, sizeof *grown);
    if (!grown) return gs_error_nomem(err, cap * sizeof *grown);
    *places = grown;
    g->cap = cap;
    return GS_OK;
}

static gs_status read_tensor(gs_gguf *g, place *where, gs_gguf_cursor *c, gs_error *err) {
    gs_gguf_str name;
    bool existed = false;
    GS_TRY(gs_gguf_read_name(c, "tensor name", &name, err));
    char *copy = gs_strndup(name.data, name.len);
    if (!copy) return gs_error_nomem(err, name.len + 1);
    where->tensor = g->count;
    gs_tensor *t = &g->tensors[g->count++];
    *t = (gs_tensor){.name = copy};
    GS_TRY(gs_map_put(&g->index, copy, name.len, (int64_t)where->tensor, &existed, err));
    if (existed)
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%.*s' appears twice", gs_gguf_shown(name), copy);
    gs_status status = read_shape(t, c, err);
    if (status == GS_OK) status = read_dtype(t, c, err);
    if (status == GS_OK) status = gs_gguf_read_u64(c, "tensor offset", &where->offset, err);
    if (status != GS_OK) gs_error_at(err, "tensor '%.*s'", gs_gguf_shown(name), copy);
    return status;
}

static gs_status read_tensors(gs_gguf *g, uint64_t n, place **places, gs_gguf_cursor *c,
                              gs_error *err) {
    if (n > GS_GGUF_MAX_ITEMS)
        return GS_FAIL(err, GS_E_FORMAT, "%llu tensors, at most %d are allowed",
                       (unsigned long long)n, GS_GGUF_MAX_ITEMS);
    for (uint64_t i = 0; i < n; i++) {
        GS_TRY(next_tensor(g, places, err));
        GS_TRY(read_tensor(g, &(*places)[i], c, err));
    }
    return GS_OK;
}

static gs_status check_place(const gs_gguf *g, const gs_tensor *t, uint64_t offset, uint64_t space,
                             gs_error *err) {
    if (offset % g->alignment)
        return GS_FAIL(err, GS_E_FORMAT, "offset %llu is not a multiple of %llu",
                       (unsigned long long)offset, (unsigned long long)g->alignment);
    if (offset > space || t->bytes > space - offset)
        return GS_FAIL(err, GS_E_FORMAT, "%llu bytes at offset %llu, the data section has %llu",
                       (unsigned long long)t->bytes, (unsigned long long)offset,
                       (unsigned long long)space);
    return GS_OK;
}

static int by_offset(const void *a, const void *b) {
    const place *x = a, *y = b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Sorts places; every tensor is known to be inside the section. */
static gs_status check_overlaps(const gs_gguf *g, place *places, gs_error *err) {
    qsort(places, g->count, sizeof *places, by_offset);
    for (size_t i = 1; i < g->count; i++) {
        const gs_tensor *before = &g->tensors[places[i - 1].tensor];
        if (places[i - 1].offset + before->bytes <= places[i].offset) continue;
        return GS_FAIL(err, GS_E_FORMAT, "tensors '%.200s' and '%.200s' overlap", before->name,
                       g->tensors[places[i].tensor].name);
    }
    return GS_OK;
}

/* Offsets count from the data section, which starts at the first aligned byte from pos on. */
static gs_status place_tensors(gs_gguf *g, place *places, size_t pos, gs_error *err) {
    if (g->count == 0) return GS_OK; /* a vocabulary may end without padding */
    /* no overflow: pos is at most the file's size, the alignment below 2^32 */
    uint64_t start = ((uint64_t)pos + g->alignment - 1) & ~(g->alignment - 1);
    if (start > g->file.size)
        return GS_FAIL(err, GS_E_FORMAT, "the file ends at byte %zu, before its tensors at %llu",
                       g->file.size, (unsigned long long)start);
    for (size_t i = 0; i < g->count; i++) {
        gs_tensor *t = &g->tensors[i];
        gs_status status = check_place(g, t, places[i].offset, g->file.size - start, err);
        if (status != GS_OK) {
            gs_error_at(err, "tensor '%.200s'", t->name);
            return status;
        }
        t->data = g->file.data + start + places[i].offset;
    }
    return check_overlaps(g, places, err);
}

static gs_status read_alignment(gs_gguf *g, gs_error *err) {
    const gs_gguf_pair *p = gs_gguf_metadata_find(&g->meta, "general.alignment");
    g->alignment = DEFAULT_ALIGNMENT;
    if (!p) return GS_OK;
    if (p->type != GS_GGUF_U32)
        return GS_FAIL(err, GS_E_FORMAT, "general.alignment is not a u32");
    g->alignment = gs_gguf_load(p->value, 4);
    if (g->alignment == 0 || g->alignment & (g->alignment - 1))
        return GS_FAIL(err, GS_E_FORMAT, "general.alignment is %llu, not a power of two",
                       (unsigned long long)g->alignment);
    return GS_OK;
}

static gs_status read_version(gs_gguf_cursor *c, gs_error *err) {
    uint32_t version;
    if (c->size < 4 || memcmp(c->data, "GGUF", 4))
        return GS_FAIL(err, GS_E_FORMAT, "no GGUF file: it does not begin with 'GGUF'");
    c->pos = 4;
    GS_TRY(gs_gguf_read_u32(c, "version", &version, err));
    if (version == 2 || version == 3) return GS_OK;
    if (version == 0x02000000u || version == 0x03000000u)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "this GGUF file is big endian");
    return GS_FAIL(err, GS_E_UNSUPPORTED, "GGUF version %u; 2 and 3 are supported",
                   (unsigned)version);
}

static gs_status read_all(gs_gguf *g, place **places, gs_error *err) {
    gs_gguf_cursor c = {g->file.data, g->file.size, 0};
    uint64_t tensors, pairs;
    GS_TRY(read_version(&c, err));
    GS_TRY(gs_gguf_read_u64(&c, "tensor count", &tensors, err));
    GS_TRY(gs_gguf_read_u64(&c, "metadata count", &pairs, err));
    GS_TRY(gs_gguf_metadata_read(&g->meta, &c, pairs, err));
    GS_TRY(read_alignment(g, err));
    GS_TRY(read_tensors(g, tensors, places, &c, err));
    return place_tensors(g, *places, c.pos, err);
}

/* Takes over the map (mapped) on success only. */
static gs_status open_bytes(gs_filemap file, bool mapped, gs_gguf **out, gs_error *err) {
    *out = NULL;
    gs_gguf *g = gs_calloc(1, sizeof *g);
    if (!g) return gs_error_nomem(err, sizeof *g);
    g->file = file;
    place *places = NULL;
    gs_status status = read_all(g, &places, err);
    gs_free(places);
    if (status != GS_OK) {
        gs_gguf_close(g);
        return status;
    }
    g->mapped = mapped;
    *out = g;
    return GS_OK;
}

gs_status gs_gguf_open_memory(const uint8_t *data, size_t size, gs_gguf **out, gs_error *err) {
    return open_bytes((gs_filemap){.data = data, .size = size}, false, out, err);
}

gs_status gs_gguf_open(const char *path, gs_gguf **out, gs_error *err) {
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

void gs_gguf_close(gs_gguf *g) {
    if (!g) return;
    for (size_t i = 0; i < g->count; i++) gs_free((char *)g->tensors[i].name);
    gs_free(g->tensors);
    gs_map_clear(&g->index);
    gs_gguf_metadata_clear(&g->meta);
    if (g->mapped) gs_filemap_close(&g->file);
    gs_free(g);
}

const gs_filemap *gs_gguf_file(const gs_gguf *g) {
    return &g->file;
}

const gs_gguf_metadata *gs_gguf_pairs(const gs_gguf *g) {
    return &g->meta;
}

size_t gs_gguf_count(const gs_gguf *g) {
    return g->count;
}

const gs_tensor *gs_gguf_at(const gs_gguf *g, size_t i) {
    return i < g->count ? &g->tensors[i] : NULL;
}

const gs_tensor *gs_gguf_find(const gs_gguf *g, const char *name) {
    int64_t i;
    return gs_map_get(&g->index, name, strlen(name), &i) ? &g->tensors[i] : NULL;
}

bool gs_gguf_int(const gs_gguf *g, const char *key, int64_t *out) {
    return gs_gguf_pair_int(gs_gguf_metadata_find(&g->meta, key), out);
}

bool gs_gguf_double(const gs_gguf *g, const char *key, double *out) {
    return gs_gguf_pair_double(gs_gguf_metadata_find(&g->meta, key), out);
}

bool gs_gguf_bool(const gs_gguf *g, const char *key, bool *out) {
    const gs_gguf_pair *p = gs_gguf_metadata_find(&g->meta, key);
    if (!p || p->type != GS_GGUF_BOOL) return false;
    *out = p->value[0] != 0;
    return true;
}

bool gs_gguf_string(const gs_gguf *g, const char *key, gs_gguf_str *out) {
    const gs_gguf_pair *p = gs_gguf_metadata_find(&g->meta, key);
    if (!p || p->type != GS_GGUF_STRING) return false;
    *out = (gs_gguf_str){(const char *)p->value, (size_t)p->count};
    return true;
}

static const gs_gguf_pair *find_array(const gs_gguf *g, const char *key, gs_gguf_type element) {
    const gs_gguf_pair *p = gs_gguf_metadata_find(&g->meta, key);
    return p && p->type == GS_GGUF_ARRAY && p->element == element ? p : NULL;
}

int64_t gs_gguf_array(const gs_gguf *g, const char *key, gs_gguf_type element) {
    const gs_gguf_pair *p = find_array(g, key, element);
    return p ? (int64_t)p->count : -1;
}

bool gs_gguf_array_string(const gs_gguf *g, const char *key, int64_t i, gs_gguf_str *out) {
    const gs_gguf_pair *p = find_array(g, key, GS_GGUF_STRING);
    if (!p || i < 0 || (uint64_t)i >= p->count) return false;
    const uint8_t *s = g->file.data + p->offsets[i];
    *out = (gs_gguf_str){(const char *)s + 8, (size_t)gs_gguf_load(s, 8)};
    return true;
}

const uint8_t *gs_gguf_array_data(const gs_gguf *g, const char *key, gs_gguf_type element,
                                  int64_t *count) {
    const gs_gguf_pair *p = element == GS_GGUF_STRING ? NULL : find_array(g, key, element);
    if (!p) return NULL;
    *count = (int64_t)p->count;
    return p->value;
}
