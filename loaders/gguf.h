/* GGUF v2 and v3, little endian: key-value metadata and tensors.
 *
 * Every count, length, type and offset is validated before use: key and string lengths
 * against the bytes left, array counts against the bytes they need, nested arrays refused,
 * bools 0 or 1, keys and tensor names 1..65535 bytes of UTF-8 without NUL and unique, at most
 * 2^20 of each, dims 1..4, none of them 0, and their product checked, rows of block types
 * whole blocks, alignment a power of two, tensor offsets multiples of it, each tensor inside
 * the data section and overlapping no other (any order and gaps are fine). GS_E_FORMAT for
 * these; GS_E_UNSUPPORTED for other versions, big-endian files and unknown tensor types.
 * Views stay valid until close; read-only after open, any number of threads.
 */
#ifndef GS_LOADERS_GGUF_H
#define GS_LOADERS_GGUF_H

#include <base/file.h>
#include <loaders/tensor.h>

typedef struct gs_gguf gs_gguf;

typedef enum gs_gguf_type {
    GS_GGUF_U8, GS_GGUF_I8, GS_GGUF_U16, GS_GGUF_I16, GS_GGUF_U32, GS_GGUF_I32, GS_GGUF_F32,
    GS_GGUF_BOOL, GS_GGUF_STRING, GS_GGUF_ARRAY, GS_GGUF_U64, GS_GGUF_I64, GS_GGUF_F64
} gs_gguf_type;

/* A string inside the map: not NUL-terminated. */
typedef struct gs_gguf_str {
    const char *data;
    size_t len;
} gs_gguf_str;

gs_status gs_gguf_open(const char *path, gs_gguf **out, gs_error *err) GS_NODISCARD;
gs_status gs_gguf_open_memory(const uint8_t *data, size_t size, gs_gguf **out, gs_error *err) GS_NODISCARD;
void gs_gguf_close(gs_gguf *g);
const gs_filemap *gs_gguf_file(const gs_gguf *g);

size_t gs_gguf_count(const gs_gguf *g);                    /* tensors */
const gs_tensor *gs_gguf_at(const gs_gguf *g, size_t i);   /* GGUF's own names, shape[0] outermost */
const gs_tensor *gs_gguf_find(const gs_gguf *g, const char *name);

/* Metadata look-ups: false when the key is absent or not convertible to the asked type
 * (any integer type converts to int when it fits; F32/F64 to double). */
bool gs_gguf_int(const gs_gguf *g, const char *key, int64_t *out);
bool gs_gguf_double(const gs_gguf *g, const char *key, double *out);
bool gs_gguf_bool(const gs_gguf *g, const char *key, bool *out);
bool gs_gguf_string(const gs_gguf *g, const char *key, gs_gguf_str *out);
/* Arrays: element count of an array of that element type, or -1. */
int64_t gs_gguf_array(const gs_gguf *g, const char *key, gs_gguf_type element);
/* Element i of a string array: O(1) (offsets are indexed at open). */
bool gs_gguf_array_string(const gs_gguf *g, const char *key, int64_t i, gs_gguf_str *out);
/* Little-endian element bytes of a fixed-size array (maybe unaligned), or NULL. */
const uint8_t *gs_gguf_array_data(const gs_gguf *g, const char *key, gs_gguf_type element, int64_t *count);

#endif
