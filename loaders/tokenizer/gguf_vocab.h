/* tokenizer.ggml.* as both kinds of vocabulary read it. */
#ifndef GS_LOADERS_TOKENIZER_GGUF_VOCAB_H
#define GS_LOADERS_TOKENIZER_GGUF_VOCAB_H

#include <loaders/gguf.h>
#include <loaders/tokenizer/spm.h>

typedef struct gs_gguf_vocab {
    const gs_gguf *g;
    gs_gguf_str model; /* tokenizer.ggml.model */
    int64_t count;
    const uint8_t *types; /* i32, or NULL: all normal */
    const uint8_t *scores; /* f32, or NULL */
    int64_t bos, eos, unk, pad; /* -1: not given */
} gs_gguf_vocab;

/* GS_E_FORMAT where the file has no vocabulary or lists of unequal lengths. */
gs_status gs_gguf_vocab_read(gs_gguf_vocab *v, const gs_gguf *g, gs_error *err) GS_NODISCARD;
/* Text (valid UTF-8) and type of piece i, 0 <= i < count. What a converter put in only to
 * fill the table up, "[PAD" id "]", counts as unused whatever its type says. */
gs_status gs_gguf_vocab_piece(const gs_gguf_vocab *v, int64_t i, gs_gguf_str *text,
                              gs_piece_type *type, gs_error *err) GS_NODISCARD;
float gs_gguf_vocab_score(const gs_gguf_vocab *v, int64_t i);
bool gs_gguf_str_is(gs_gguf_str s, const char *text);
/* "[PAD" id "]" */
bool gs_gguf_is_filler(gs_gguf_str text, int64_t id);

#endif
