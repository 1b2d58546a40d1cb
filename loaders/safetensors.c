#include <loaders/safetensors.h>

#include <base/json.h>
#include <base/map.h>
#include <base/mem.h>

#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8 };

struct gs_safetensors {
    gs_filemap file;       /* zeroed when the bytes are the caller's */
    const uint8_t *buffer; /* the data section */
    uint64_t buffer_size;
    gs_tensor *tensors; /* sorted by offset */
    size_t count;
    char *names; /* all tensor names, each NUL-terminated */
    gs_map by_name;
    cJSON *metadata; /* the __metadata__ object, or NULL */
};

/* A tensor's entry while the header is being read. */
typedef struct entry {
    uint64_t begin, end;
    const cJSON *item;
    size_t position; /* in the header: makes the order of the sort total */
} entry;

static int by_offset(const void *left, const void *right) {
    const entry *a = left, *b = right;
    if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
    if (a->end != b->end) return a->end < b->end ? -1 : 1;
    return (a->position > b->position) - (a->position < b->position);
}

static gs_status header_length(const uint8_t *data, size_t size, size_t *length,
                               gs_error *err) {
    uint64_t n = 0;
    if (size < LENGTH_BYTES)
        return GS_FAIL(err, GS_E_FORMAT, "%zu bytes, too short for the 8 of the header length",
                       size);
    for (int i = LENGTH_BYTES; i-- > 0;) n = n << 8 | data[i];
    if (n > GS_SAFETENSORS_MAX_HEADER) {
        GS_FAIL(err, GS_E_FORMAT, "header length %llu exceeds the limit of %d",
                (unsigned long long)n, GS_SAFETENSORS_MAX_HEADER);
        gs_error_hint(err, "most likely this is no safetensors file");
        return GS_E_FORMAT;
    }
    if (n > size - LENGTH_BYTES)
        return GS_FAIL(err, GS_E_FORMAT,
                       "header length %llu exceeds the %zu bytes that follow (cut off?)",
                       (unsigned long long)n, size - LENGTH_BYTES);
    if (n == 0) return GS_FAIL(err, GS_E_FORMAT, "header length is 0");
    *length = (size_t)n;
    return GS_OK;
}

static gs_status parse_header(const uint8_t *text, size_t length, cJSON **out,
                              gs_error *err) {
    *out = NULL;
    /* our JSON reader skips a byte order mark; the format has no place for one */
    if (text[0] == 0xef)
        return GS_FAIL(err, GS_E_FORMAT, "header does not start with '{'");
    gs_status status = gs_json_parse((const char *)text, length, out, err);
    if (status != GS_OK) {
        gs_error_at(err, "header");
        return status;
    }
    if (cJSON_IsObject(*out)) return GS_OK;
    cJSON_Delete(*out);
    *out = NULL;
    return GS_FAIL(err, GS_E_FORMAT, "header is not a JSON object");
}

/* Names end up in messages, other files and maybe terminals. (NUL and invalid UTF-8
 * were refused with the JSON.) */
static gs_status check_name(const char *name, gs_error *err) {
    for (const char *p = name; *p; p++) {
        unsigned char c = (unsigned char)*p;
        /* in UTF-8 the next byte is the number: U+0080..U+009F, which terminals obey too */
        bool wide = c == 0xc2 && (unsigned char)p[1] < 0xa0;
        if (c < 0x20 || c == 0x7f || wide)
            return GS_FAIL(err, GS_E_FORMAT, "tensor '%.200s': control character 0x%02x in the name",
                           name, wide ? (unsigned char)p[1] : c);
    }
    return GS_OK;
}

static gs_status check_metadata(const cJSON *item, gs_error *err) {
    const cJSON *value;
    if (!cJSON_IsObject(item))
        return GS_FAIL(err, GS_E_FORMAT, "__metadata__ is not an object");
    cJSON_ArrayForEach(value, item) {
        if (!cJSON_IsString(value))
            return GS_FAIL(err, GS_E_FORMAT, "__metadata__: the value of '%.200s' is not a string",
                           value->string);
    }
    return GS_OK;
}

static gs_status read_offsets(const cJSON *item, entry *e, gs_error *err) {
    const cJSON *offsets = gs_json_get(item, "data_offsets");
    const cJSON *first = cJSON_IsArray(offsets) ? offsets->child : NULL;
    const cJSON *second = first ? first->next : NULL;
    int64_t begin = 0, end = 0;
    if (!second || second->next || !gs_json_is_int(first, &begin)
        || !gs_json_is_int(second, &end) || begin < 0 || end < 0)
        return GS_FAIL(err, GS_E_FORMAT,
                       "tensor '%.200s': data_offsets is not a pair of non-negative integers",
                       item->string);
    if (end < begin)
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%.200s': data_offsets [%lld, %lld] run backwards",
                       item->string, (long long)begin, (long long)end);
    *e = (entry){(uint64_t)begin, (uint64_t)end, item, 0};
    return GS_OK;
}

static gs_status check_members(const cJSON *item, gs_error *err) {
    const cJSON *member;
    if (!cJSON_IsObject(item))
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%.200s': its entry is not an object",
                       item->string);
    cJSON_ArrayForEach(member, item) {
        const char *key = member->string;
        if (strcmp(key, "dtype") && strcmp(key, "shape") && strcmp(key, "data_offsets"))
            return GS_FAIL(err, GS_E_FORMAT, "tensor '%.200s': unknown member '%.200s'",
                           item->string, key);
    }
    return GS_OK;
}

/* First pass over the header: names and offsets, sorted by offset. */
static gs_status collect(const cJSON *header, entry *entries, size_t *count,
                         size_t *name_bytes, const cJSON **metadata, gs_error *err) {
    const cJSON *item;
    size_t n = 0;
    cJSON_ArrayForEach(item, header) {
        if (strcmp(item->string, "__metadata__") == 0) {
            GS_TRY(check_metadata(item, err));
            *metadata = item;
            continue;
        }
        GS_TRY(check_name(item->string, err));
        GS_TRY(check_members(item, err));
        GS_TRY(read_offsets(item, &entries[n], err));
        entries[n].position = n;
        n++;
        *name_bytes += strlen(item->string) + 1;
    }
    if (n) qsort(entries, n, sizeof *entries, by_offset);
    *count = n;
    return GS_OK;
}

static gs_status read_dtype(const cJSON *item, gs_tensor *t, gs_error *err) {
    const cJSON *dtype = gs_json_get(item, "dtype");
    if (!cJSON_IsString(dtype))
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%.200s': dtype is not a string", t->name);
    t->dtype = gs_dtype_from_name(dtype->valuestring);
    if (t->dtype != GS_DTYPE_NONE) return GS_OK;
    GS_FAIL(err, GS_E_FORMAT, "tensor '%.200s': unknown dtype '%.40s'", t->name,
            dtype->valuestring);
    gs_error_hint(err, "known are F64, F32, F16, BF16, I8 to I64, U8 to U64, BOOL, F8_* and F4");
    return GS_E_FORMAT;
}

/* The product is checked in order, as the reference reader does it, so [2^40, 2^40, 0]
 * overflows: no product of leading dimensions can overflow later. */
static gs_status read_shape(const cJSON *item, gs_tensor *t, int64_t *count, gs_error *err) {
    const cJSON *shape = gs_json_get(item, "shape"), *dim;
    if (!cJSON_IsArray(shape))
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%.200s': shape is not an array", t->name);
    *count = 1;
    cJSON_ArrayForEach(dim, shape) {
        int64_t n = 0;
        if (t->ndim == GS_MAX_DIMS)
            return GS_FAIL(err, GS_E_UNSUPPORTED, "tensor '%.200s': more than %d dimensions",
                           t->name, GS_MAX_DIMS);
        bool integral = gs_json_is_int(dim, &n);
        if (!(integral && n >= 0) && !(cJSON_IsNumber(dim) && dim->valuedouble > 0x1p53))
            return GS_FAIL(err, GS_E_FORMAT,
                           "tensor '%.200s': dimension %d is not a non-negative integer", t->name,
                           t->ndim);
        /* beyond 2^53 no file can hold it, and a double no longer says it exactly */
        if (!integral || __builtin_mul_overflow(*count, n, count))
            return GS_FAIL(err, GS_E_FORMAT, "tensor '%.200s': the product of its shape overflows",
                           t->name);
        t->shape[t->ndim++] = n;
    }
    return GS_OK;
}

static gs_status read_size(gs_tensor *t, int64_t count, const entry *e, gs_error *err) {
    char shape[128];
    if (count % gs_dtype_block(t->dtype) != 0)
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%.200s': %lld %s elements are not whole bytes",
                       t->name, (long long)count, gs_dtype_name(t->dtype));
    if (!gs_dtype_bytes(t->dtype, (uint64_t)count, &t->bytes))
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%.200s': the size of its shape overflows",
                       t->name);
    if (t->bytes != e->end - e->begin)
        return GS_FAIL(err, GS_E_FORMAT,
                       "tensor '%.200s': %s %s is %llu bytes, data_offsets give it %llu", t->name,
                       gs_dtype_name(t->dtype), gs_tensor_shape_text(t, shape, sizeof shape),
                       (unsigned long long)t->bytes, (unsigned long long)(e->end - e->begin));
    return GS_OK;
}

static gs_status check_place(const entry *e, uint64_t expected, const gs_tensor *before,
                             gs_error *err) {
    if (e->begin == expected) return GS_OK;
    if (e->begin < expected)
        return GS_FAIL(err, GS_E_FORMAT,
                       "tensor '%.200s' starts at byte %llu, which overlaps '%.200s' (to %llu)",
                       e->item->string, (unsigned long long)e->begin, before->name,
                       (unsigned long long)expected);
    return GS_FAIL(err, GS_E_FORMAT,
                   "tensor '%.200s' starts at byte %llu, which leaves a hole of %llu bytes",
                   e->item->string, (unsigned long long)e->begin,
                   (unsigned long long)(e->begin - expected));
}

static gs_status check_end(const gs_safetensors *st, uint64_t end, gs_error *err) {
    if (end == st->buffer_size) return GS_OK;
    if (end < st->buffer_size)
        return GS_FAIL(err, GS_E_FORMAT, "%llu bytes follow the last tensor",
                       (unsigned long long)(st->buffer_size - end));
    GS_FAIL(err, GS_E_FORMAT, "cut off: tensors need %llu bytes of data, %llu are there",
            (unsigned long long)end, (unsigned long long)st->buffer_size);
    gs_error_hint(err, "fetch or copy the file again");
    return GS_E_FORMAT;
}

/* Second pass, in offset order. Nothing points into the data before check_end has
 * shown that all of it is there. */
static gs_status read_tensors(gs_safetensors *st, const entry *entries, size_t count,
                              gs_error *err) {
    uint64_t end = 0;
    char *name = st->names;
    GS_TRY(gs_map_reserve(&st->by_name, count, err));
    for (size_t i = 0; i < count; i++) {
        gs_tensor *t = &st->tensors[i];
        const entry *e = &entries[i];
        size_t length = strlen(e->item->string);
        int64_t elements = 0;
        bool twice;
        memcpy(name, e->item->string, length + 1);
        t->name = name;
        name += length + 1;
        GS_TRY(read_dtype(e->item, t, err));
        GS_TRY(read_shape(e->item, t, &elements, err));
        GS_TRY(check_place(e, end, i ? t - 1 : NULL, err));
        GS_TRY(read_size(t, elements, e, err));
        GS_TRY(gs_map_put(&st->by_name, t->name, length, (int64_t)i, &twice, err));
        if (twice) return GS_FAIL(err, GS_E_FORMAT, "tensor '%.200s' is there twice", t->name);
        end = e->end;
    }
    GS_TRY(check_end(st, end, err));
    for (size_t i = 0; i < count; i++) st->tensors[i].data = st->buffer + entries[i].begin;
    st->count = count;
    return GS_OK;
}

static gs_status read_header(gs_safetensors *st, cJSON *header, entry **scratch,
                             gs_error *err) {
    size_t members = 0, count = 0, name_bytes = 0;
    const cJSON *item, *metadata = NULL;
    cJSON_ArrayForEach(item, header) members++;
    *scratch = gs_calloc(members, sizeof **scratch);
    if (!*scratch) return gs_error_nomem(err, members * sizeof **scratch);
    GS_TRY(collect(header, *scratch, &count, &name_bytes, &metadata, err));
    st->tensors = gs_calloc(count, sizeof *st->tensors);
    st->names = gs_alloc(name_bytes);
    if (!st->tensors || !st->names)
        return gs_error_nomem(err, count * sizeof *st->tensors + name_bytes);
    GS_TRY(read_tensors(st, *scratch, count, err));
    if (metadata)
        st->metadata = cJSON_DetachItemViaPointer(header, (cJSON *)(uintptr_t)metadata);
    return GS_OK;
}

static gs_status open_bytes(gs_safetensors *st, const uint8_t *data, size_t size,
                            gs_error *err) {
    size_t length = 0;
    cJSON *header;
    entry *scratch = NULL;
    GS_TRY(header_length(data, size, &length, err));
    GS_TRY(parse_header(data + LENGTH_BYTES, length, &header, err));
    st->buffer = data + LENGTH_BYTES + length;
    st->buffer_size = size - LENGTH_BYTES - length;
    gs_status status = read_header(st, header, &scratch, err);
    gs_free(scratch);
    cJSON_Delete(header);
    return status;
}

gs_status gs_safetensors_open_memory(const uint8_t *data, size_t size, gs_safetensors **out,
                                     gs_error *err) {
    *out = NULL;
    gs_safetensors *st = gs_calloc(1, sizeof *st);
    if (!st) return gs_error_nomem(err, sizeof *st);
    gs_status status = open_bytes(st, data, size, err);
    if (status == GS_OK) *out = st;
    else gs_safetensors_close(st);
    return status;
}

gs_status gs_safetensors_open(const char *path, gs_safetensors **out, gs_error *err) {
    gs_filemap file;
    *out = NULL;
    GS_TRY(gs_filemap_open(&file, path, err));
    gs_status status = gs_safetensors_open_memory(file.data, file.size, out, err);
    if (status == GS_OK) {
        (*out)->file = file;
    } else {
        gs_error_at(err, "%s", path);
        gs_filemap_close(&file);
    }
    return status;
}

void gs_safetensors_close(gs_safetensors *st) {
    if (!st) return;
    gs_map_clear(&st->by_name);
    gs_free(st->tensors);
    gs_free(st->names);
    cJSON_Delete(st->metadata);
    gs_filemap_close(&st->file);
    gs_free(st);
}

size_t gs_safetensors_count(const gs_safetensors *st) {
    return st->count;
}

const gs_tensor *gs_safetensors_at(const gs_safetensors *st, size_t i) {
    return i < st->count ? &st->tensors[i] : NULL;
}

const gs_tensor *gs_safetensors_find(const gs_safetensors *st, const char *name) {
    int64_t i;
    return gs_map_get(&st->by_name, name, strlen(name), &i) ? &st->tensors[i] : NULL;
}

const char *gs_safetensors_metadata(const gs_safetensors *st, const char *key) {
    const cJSON *value = gs_json_get(st->metadata, key);
    return value ? value->valuestring : NULL;
}

const gs_filemap *gs_safetensors_file(const gs_safetensors *st) {
    return &st->file;
}
