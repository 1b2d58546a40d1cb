/* The parsing half of gguf.h that tensors do not need: a bounds-checked cursor over the
 * file's bytes and the key-value store. Private to the room (gguf.c, gguf_writer.c).
 *
 * File form (GGUF v2/v3): a string is u64 length + bytes; a pair is key string, u32 type,
 * value; an array is u32 element type, u64 count, elements. Scalars are little endian, bool
 * one byte of 0 or 1. The store keeps pointers into the bytes, never copies. */
#ifndef GS_LOADERS_GGUF_METADATA_H
#define GS_LOADERS_GGUF_METADATA_H

#include <base/map.h>
#include <loaders/gguf.h>

enum {
    GS_GGUF_MAX_NAME = 65535,    /* bytes of a key or tensor name */
    GS_GGUF_MAX_ITEMS = 1 << 20  /* key-value pairs; also tensors */
};

/* pos <= size always holds. */
typedef struct gs_gguf_cursor {
    const uint8_t *data;
    size_t size, pos;
} gs_gguf_cursor;

/* Little-endian value of `bytes` (1, 2, 4 or 8) unaligned bytes, zero extended. */
uint64_t gs_gguf_load(const uint8_t *p, int bytes);

/* Each reads at the cursor and moves it; GS_E_FORMAT, cursor unmoved, when the bytes end
 * before. `what` names the item in the message. */
gs_status gs_gguf_read_u32(gs_gguf_cursor *c, const char *what, uint32_t *out,
                           gs_error *err) GS_NODISCARD;
gs_status gs_gguf_read_u64(gs_gguf_cursor *c, const char *what, uint64_t *out,
                           gs_error *err) GS_NODISCARD;
gs_status gs_gguf_read_str(gs_gguf_cursor *c, const char *what, gs_gguf_str *out,
                           gs_error *err) GS_NODISCARD;
/* A string that is a key or a tensor name: 1..GS_GGUF_MAX_NAME bytes of UTF-8 without control
 * characters. */
gs_status gs_gguf_read_name(gs_gguf_cursor *c, const char *what, gs_gguf_str *out,
                            gs_error *err) GS_NODISCARD;
/* Bytes of s to print in a message: at most 200, not cutting a character. For "%.*s". */
int gs_gguf_shown(gs_gguf_str s);

typedef struct gs_gguf_pair {
    gs_gguf_str key;
    gs_gguf_type type;
    gs_gguf_type element; /* of an array; else equal to type */
    uint64_t count;       /* elements of an array, bytes of a string, else 1 */
    const uint8_t *value; /* first byte of the scalar, string or first element */
    /* String arrays: position in the file of each element's length. Eight bytes an element,
     * as many as its length takes in the file, so memory stays below the file's size. */
    uint64_t *offsets;
} gs_gguf_pair;

/* Start with zeros; clear also after a failed read. Read-only afterwards. */
typedef struct gs_gguf_metadata {
    const uint8_t *data; /* base of the offsets */
    gs_gguf_pair *pairs;
    size_t count, cap;
    gs_map index;
} gs_gguf_metadata;

/* Reads n pairs. GS_E_FORMAT on anything gguf.h refuses, GS_E_NOMEM. */
gs_status gs_gguf_metadata_read(gs_gguf_metadata *m, gs_gguf_cursor *c, uint64_t n,
                                gs_error *err) GS_NODISCARD;
void gs_gguf_metadata_clear(gs_gguf_metadata *m);
const gs_gguf_pair *gs_gguf_metadata_find(const gs_gguf_metadata *m, const char *key); /* or NULL */
/* See gs_gguf_int; the pair may be NULL (then false). */
bool gs_gguf_pair_int(const gs_gguf_pair *p, int64_t *out);
bool gs_gguf_pair_double(const gs_gguf_pair *p, double *out);
/* The value as it stands in the file behind its type (an array with its element type and count). */
const uint8_t *gs_gguf_pair_bytes(const gs_gguf_metadata *m, const gs_gguf_pair *p, size_t *len);

/* The pairs of an open file, in its order. */
const gs_gguf_metadata *gs_gguf_pairs(const gs_gguf *g);
/* GGUF's number of a tensor type (ggml_type); false when it has none. */
bool gs_gguf_dtype_id(gs_dtype dtype, uint32_t *id);

#endif
