/* Protocol buffers' wire format, as little of it as SentencePiece's model files and MindSpore's checkpoints need.
 * Groups (wire types 3 and 4) are refused. */
#ifndef GS_LOADERS_TOKENIZER_WIRE_H
#define GS_LOADERS_TOKENIZER_WIRE_H

#include <base/strbuf.h>

typedef enum gs_wire_type {
    GS_WIRE_VARINT = 0,
    GS_WIRE_64 = 1,
    GS_WIRE_BYTES = 2,
    GS_WIRE_32 = 5
} gs_wire_type;

typedef struct gs_wire {
    const uint8_t *data;
    size_t len, at;
} gs_wire;

typedef struct gs_wire_field {
    uint32_t number;
    gs_wire_type type;
    uint64_t value;       /* varint, fixed 64 or fixed 32 */
    const uint8_t *bytes; /* GS_WIRE_BYTES */
    size_t len;
} gs_wire_field;

/* *more is false at the end. */
gs_status gs_wire_next(gs_wire *w, gs_wire_field *f, bool *more, gs_error *err) GS_NODISCARD;
/* GS_E_FORMAT unless the field has this type. */
gs_status gs_wire_expect(const gs_wire_field *f, gs_wire_type type, gs_error *err) GS_NODISCARD;

/* A field's tag and length alone: its n bytes are appended, or go to the file, by the caller. */
void gs_wire_put_length(gs_strbuf *out, uint32_t number, uint64_t n);
void gs_wire_put_varint(gs_strbuf *out, uint32_t number, uint64_t value);
void gs_wire_put_float(gs_strbuf *out, uint32_t number, float value);
void gs_wire_put_bytes(gs_strbuf *out, uint32_t number, const void *bytes, size_t len);

#endif
