/* Writes GGUF files into memory for the tests, right or wrong ones. Counts are patched by
 * gguf_finish, so a test only says what the file contains. */
#ifndef GS_TESTS_GGUF_BUILDER_H
#define GS_TESTS_GGUF_BUILDER_H

#include "../support.h"

#include <base/half.h>
#include <loaders/gguf.h>

enum { GGUF_COUNTS_AT = 8 };

typedef struct gguf_builder {
    uint8_t data[1 << 18];
    size_t len;
    uint64_t tensors, pairs;
    uint64_t next_offset; /* of the next tensor's data */
    uint64_t alignment;
} gguf_builder;

static inline void gguf_raw(gguf_builder *b, const void *p, size_t n) {
    assert_true(n <= sizeof b->data - b->len);
    if (n) memcpy(b->data + b->len, p, n);
    b->len += n;
}

static inline void gguf_int(gguf_builder *b, uint64_t v, int bytes) {
    for (int i = 0; i < bytes; i++) {
        uint8_t byte = (uint8_t)(v >> (8 * i));
        gguf_raw(b, &byte, 1);
    }
}

static inline void gguf_text(gguf_builder *b, const char *s) {
    gguf_int(b, strlen(s), 8);
    gguf_raw(b, s, strlen(s));
}

static inline void gguf_begin(gguf_builder *b, uint32_t version) {
    memset(b, 0, sizeof *b);
    b->alignment = 32;
    gguf_raw(b, "GGUF", 4);
    gguf_int(b, version, 4);
    gguf_int(b, 0, 8);
    gguf_int(b, 0, 8);
}

/* A key and the type of its value, which the caller appends. */
static inline void gguf_key(gguf_builder *b, const char *key, uint32_t type) {
    gguf_text(b, key);
    gguf_int(b, type, 4);
    b->pairs++;
}

static inline void gguf_kv_int(gguf_builder *b, const char *key, gs_gguf_type type, uint64_t v,
                               int bytes) {
    gguf_key(b, key, type);
    gguf_int(b, v, bytes);
}

static inline void gguf_kv_u32(gguf_builder *b, const char *key, uint32_t v) {
    gguf_kv_int(b, key, GS_GGUF_U32, v, 4);
}

static inline void gguf_kv_f32(gguf_builder *b, const char *key, float v) {
    gguf_kv_int(b, key, GS_GGUF_F32, gs_f32_bits(v), 4);
}

static inline void gguf_kv_text(gguf_builder *b, const char *key, const char *v) {
    gguf_key(b, key, GS_GGUF_STRING);
    gguf_text(b, v);
}

static inline void gguf_kv_array(gguf_builder *b, const char *key, uint32_t element,
                                 uint64_t count) {
    gguf_key(b, key, GS_GGUF_ARRAY);
    gguf_int(b, element, 4);
    gguf_int(b, count, 8);
}

/* Name, dims (GGUF order: innermost first), type and offset exactly as given. */
static inline void gguf_tensor_at(gguf_builder *b, const char *name, uint32_t ndim,
                                  const uint64_t *dims, uint32_t type, uint64_t offset) {
    gguf_text(b, name);
    gguf_int(b, ndim, 4);
    for (uint32_t i = 0; i < ndim; i++) gguf_int(b, dims[i], 8);
    gguf_int(b, type, 4);
    gguf_int(b, offset, 8);
    b->tensors++;
}

/* A [rows, cols] matrix, or a vector of cols when rows is 0, `bytes` long, behind the
 * previous one. */
static inline void gguf_tensor(gguf_builder *b, const char *name, uint64_t rows, uint64_t cols,
                               uint32_t type, uint64_t bytes) {
    uint64_t dims[2] = {cols, rows};
    gguf_tensor_at(b, name, rows ? 2 : 1, dims, type, b->next_offset);
    b->next_offset += (bytes + b->alignment - 1) / b->alignment * b->alignment;
}

static inline void gguf_tensor_f32(gguf_builder *b, const char *name, uint64_t rows,
                                   uint64_t cols) {
    gguf_tensor(b, name, rows, cols, 0, (rows ? rows : 1) * cols * 4);
}

static inline void gguf_pad(gguf_builder *b) {
    while (b->len % b->alignment) gguf_int(b, 0, 1);
}

static inline void gguf_finish(gguf_builder *b) {
    size_t len = b->len;
    b->len = GGUF_COUNTS_AT;
    gguf_int(b, b->tensors, 8);
    gguf_int(b, b->pairs, 8);
    b->len = len;
}

/* Padding and a data section that holds every tensor, byte i of it being i % 251; returns
 * where it starts. */
static inline uint8_t *gguf_data(gguf_builder *b) {
    gguf_finish(b);
    gguf_pad(b);
    uint8_t *start = b->data + b->len;
    for (uint64_t i = 0; i < b->next_offset; i++) gguf_int(b, i % 251, 1);
    return start;
}

/* Opens a copy of exactly len bytes on the heap, so that sanitizers see any overrun; the
 * copy lives until the next call (one file at a time). */
static inline gs_status gguf_open_copy(const uint8_t *data, size_t len, gs_gguf **out,
                                       gs_error *err) {
    static uint8_t *copy;
    free(copy);
    copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, data, len);
    gs_status status = gs_gguf_open_memory(copy, len, out, err);
    if (status != GS_OK) {
        assert_null(*out);
        free(copy);
        copy = NULL;
    }
    return status;
}

/* A file with something of everything. */
static inline void gguf_everything(gguf_builder *b) {
    gguf_begin(b, 3);
    gguf_kv_int(b, "u8", GS_GGUF_U8, 200, 1);
    gguf_kv_int(b, "i8", GS_GGUF_I8, (uint8_t)-3, 1);
    gguf_kv_int(b, "u16", GS_GGUF_U16, 65535, 2);
    gguf_kv_int(b, "i16", GS_GGUF_I16, (uint16_t)-300, 2);
    gguf_kv_u32(b, "u32", 4294967295u);
    gguf_kv_int(b, "i32", GS_GGUF_I32, (uint32_t)-70000, 4);
    gguf_kv_int(b, "u64", GS_GGUF_U64, UINT64_C(1) << 40, 8);
    gguf_kv_int(b, "u64.big", GS_GGUF_U64, UINT64_MAX, 8);
    gguf_kv_int(b, "i64", GS_GGUF_I64, (uint64_t)INT64_MIN, 8);
    gguf_kv_f32(b, "f32", 0.1f);
    gguf_kv_int(b, "f64", GS_GGUF_F64, UINT64_C(0x3fb999999999999a), 8); /* 0.1 */
    gguf_kv_int(b, "yes", GS_GGUF_BOOL, 1, 1);
    gguf_kv_int(b, "no", GS_GGUF_BOOL, 0, 1);
    gguf_kv_text(b, "text", "hello");
    gguf_kv_text(b, "empty", "");
    gguf_kv_array(b, "strings", GS_GGUF_STRING, 3);
    gguf_text(b, "a");
    gguf_text(b, "");
    gguf_text(b, "ccc");
    gguf_kv_array(b, "ints", GS_GGUF_I32, 2);
    gguf_int(b, 7, 4);
    gguf_int(b, (uint32_t)-7, 4);
    gguf_kv_array(b, "none", GS_GGUF_F64, 0);
    gguf_kv_array(b, "no.strings", GS_GGUF_STRING, 0);
    gguf_kv_array(b, "bools", GS_GGUF_BOOL, 2);
    gguf_int(b, 0x0001, 2);
    gguf_tensor_f32(b, "vector", 0, 5);
    gguf_tensor_f32(b, "matrix", 3, 4);
    gguf_tensor(b, "blocks", 2, 64, 3, 2 * 2 * 20);
    gguf_data(b);
}

#endif
