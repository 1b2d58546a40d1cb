/* SentencePiece models: the ModelProto bytes (sentencepiece_model.proto of the library),
 * our checks on them, and the bytes made from a GGUF vocabulary.
 *
 * The library trusts its input: an index out of range in a normalizer's table is read, an
 * impossible piece ends the process. gs_spm_check therefore reads the whole proto first. */
#ifndef GS_LOADERS_TOKENIZER_SPM_H
#define GS_LOADERS_TOKENIZER_SPM_H

#include <base/strbuf.h>
#include <loaders/gguf.h>

/* SentencePiece's numbers, which GGUF's tokenizer.ggml.token_type shares. */
typedef enum gs_piece_type {
    GS_PIECE_NORMAL = 1, GS_PIECE_UNKNOWN, GS_PIECE_CONTROL, GS_PIECE_USER, GS_PIECE_UNUSED,
    GS_PIECE_BYTE
} gs_piece_type;

typedef enum gs_spm_type { GS_SPM_UNIGRAM = 1, GS_SPM_BPE, GS_SPM_WORD, GS_SPM_CHAR } gs_spm_type;

typedef struct gs_spm_facts {
    int64_t pieces;
    gs_spm_type type;
    bool dummy_prefix;
    /* A text may be encoded in parts that begin at a space: BPE, no normalizer table, and no piece has a space behind another
     * character, so that no merge reaches over one. Unigram needs no parts, it is linear; and its sums in floats round
     * otherwise in a part, so that of two paths as good another one would win. */
    bool cuttable;
} gs_spm_facts;

/* Called for each piece with its id, in order. */
typedef gs_status gs_spm_piece_fn(void *ctx, int32_t id, const char *piece, size_t len,
                                  gs_piece_type type, gs_error *err);
gs_status gs_spm_check(const uint8_t *proto, size_t len, gs_spm_facts *facts,
                       gs_spm_piece_fn *each, void *ctx, gs_error *err) GS_NODISCARD;

/* The table of a normalizer (precompiled_charsmap): every walk through its trie, whatever
 * the text, must stay inside the table, and every replacement it names must end. */
gs_status gs_spm_check_charsmap(const uint8_t *map, size_t len, gs_error *err) GS_NODISCARD;

/* ModelProto of tokenizer.ggml.model "llama". */
gs_status gs_spm_from_gguf(const gs_gguf *g, gs_strbuf *proto, gs_error *err) GS_NODISCARD;

#endif
