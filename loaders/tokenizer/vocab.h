/* Pieces and their ids, as the file spells them (byte-level vocabularies in the byte
 * alphabet). Filled once, then read-only. */
#ifndef GS_LOADERS_TOKENIZER_VOCAB_H
#define GS_LOADERS_TOKENIZER_VOCAB_H

#include <base/map.h>

/* Real vocabularies have at most a few hundred thousand; this bounds what a hostile id costs. */
enum { GS_VOCAB_MAX_ID = 1 << 24 };

typedef struct gs_vocab {
    gs_map map;
    char *text; /* all pieces, one behind the other */
    size_t used, room;
    uint64_t *seen; /* one bit an id */
    int64_t end;    /* ids are below this */
} gs_vocab;

/* pieces, bytes: what will be added at most. Starts zeroed; clear also after a failure. */
gs_status gs_vocab_init(gs_vocab *v, size_t pieces, size_t bytes, gs_error *err) GS_NODISCARD;
void gs_vocab_clear(gs_vocab *v);
/* GS_E_FORMAT for ids out of range and for pieces or ids that appear twice. */
gs_status gs_vocab_add(gs_vocab *v, const char *piece, size_t len, int64_t id,
                       gs_error *err) GS_NODISCARD;
/* Marks an id that lives outside the map (added tokens): only range and repetition count. */
gs_status gs_vocab_take_id(gs_vocab *v, int64_t id, gs_error *err) GS_NODISCARD;
/* Or -1. */
int32_t gs_vocab_id(const gs_vocab *v, const char *piece, size_t len);

#endif
