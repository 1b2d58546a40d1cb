/* Pickles by hand: opcodes one after the other, and the phrases that torch.save writes. */
#ifndef GS_TESTS_PICKLE_BUILDER_H
#define GS_TESTS_PICKLE_BUILDER_H

#include <base/error.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct pickle_builder {
    uint8_t *data;
    size_t len, cap;
} pickle_builder;

static inline void pk_bytes(pickle_builder *b, const void *bytes, size_t n) {
    if (b->len + n > b->cap) {
        b->cap = 2 * (b->len + n) + 256;
        b->data = realloc(b->data, b->cap);
        if (!b->data) abort();
    }
    if (n) memcpy(b->data + b->len, bytes, n);
    b->len += n;
}

/* A literal, NULs in it too. */
#define pk(b, literal) pk_bytes((b), (literal), sizeof(literal) - 1)

static inline void pk_number(pickle_builder *b, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) pk_bytes(b, &(uint8_t){(uint8_t)(value >> 8 * i)}, 1);
}

static inline void pk_text(pickle_builder *b, const char *text) {
    pk(b, "X");
    pk_number(b, strlen(text), 4);
    pk_bytes(b, text, strlen(text));
}

static inline void pk_int(pickle_builder *b, int64_t n) {
    pk(b, "\x8a\x08");
    pk_number(b, (uint64_t)n, 8);
}

static inline void pk_ints(pickle_builder *b, const int64_t *n, int count) {
    pk(b, "(");
    for (int i = 0; i < count; i++) pk_int(b, n[i]);
    pk(b, "t");
}

/* "module\nname\n" */
static inline void pk_global(pickle_builder *b, const char *lines) {
    pk(b, "c");
    pk_bytes(b, lines, strlen(lines));
}

static inline void pk_storage(pickle_builder *b, const char *type, const char *key, int64_t count) {
    pk(b, "(");
    pk_text(b, "storage");
    pk_global(b, type);
    pk_text(b, key);
    pk_text(b, "cpu");
    pk_int(b, count);
    pk(b, "tQ");
}

/* What a tensor is. */
typedef struct pk_view {
    const char *type, *key; /* "torch\nFloatStorage\n", "0" */
    int64_t storage, offset;
    int ndim;
    int64_t shape[9], stride[9];
} pk_view;

/* A tensor that is refused, and how. */
typedef struct pk_bad_view {
    pk_view view;
    gs_status status;
    const char *words;
} pk_bad_view;

static inline void pk_tensor(pickle_builder *b, const pk_view *v) {
    pk_global(b, "torch._utils\n_rebuild_tensor_v2\n");
    pk(b, "(");
    pk_storage(b, v->type, v->key, v->storage);
    pk_int(b, v->offset);
    pk_ints(b, v->shape, v->ndim);
    pk_ints(b, v->stride, v->ndim);
    pk(b, "\x89");
    pk_global(b, "collections\nOrderedDict\n");
    pk(b, ")RtR");
}

static inline void pk_clear(pickle_builder *b) {
    free(b->data);
    *b = (pickle_builder){0};
}

#endif
