/* The inside of a gs_tokenizer.
 *
 * A text is cut at added tokens; what lies between goes through the normalizer, is cut at
 * the added tokens that are looked for in normalized text, and the rest goes to the model,
 * which is one of the rows of gs_tok_ops. */
#ifndef GS_LOADERS_TOKENIZER_MODEL_H
#define GS_LOADERS_TOKENIZER_MODEL_H

#include <loaders/tokenizer.h>
#include <loaders/tokenizer/added.h>
#include <loaders/tokenizer/bpe.h>
#include <loaders/tokenizer/ids.h>
#include <loaders/tokenizer/normalizer.h>
#include <loaders/tokenizer/pretok.h>

typedef struct gs_tok_ops {
    /* State of one encode call, made lazily: NULL when the kind needs none. */
    gs_status (*begin)(const gs_tokenizer *t, void **run, gs_error *err);
    void (*end)(void *run);
    /* Appends the ids of a non-empty stretch of valid UTF-8 between added tokens; first: the
     * whole text begins with it. */
    gs_status (*encode)(const gs_tokenizer *t, gs_context *cx, void *run, const char *text,
                        size_t len, bool first, gs_ids *out, gs_error *err);
    void (*destroy)(gs_tokenizer *t);
} gs_tok_ops;

struct gs_tokenizer {
    const gs_tok_ops *ops;
    const char *kind;
    gs_added added;            /* looked for in the text as it is */
    gs_added added_normalized; /* ... and behind the normalizer */
    gs_normalizer normalizer;
    int64_t vocab;
    int32_t bos, eos; /* or -1 */
    bool adds_bos, adds_eos;
    /* byte-pair kinds */
    gs_bpe bpe;
    gs_pretok pretok;
    /* SentencePiece */
    struct gs_spm *spm;
};

extern const gs_tok_ops gs_tok_bpe_ops, gs_tok_spm_ops;

/* Zeroed but for bos and eos; NULL without memory. */
gs_tokenizer *gs_tok_new(const gs_tok_ops *ops);

/* tokenizer_config.json (may be absent) beside tokenizer.json or tokenizer.model: the last
 * word on BOS and EOS. */
gs_status gs_tok_apply_config(gs_tokenizer *t, const char *dir, gs_error *err) GS_NODISCARD;
/* id of a piece or added token by its text, or -1 (SentencePiece: control tokens only). */
int32_t gs_tok_find(const gs_tokenizer *t, const char *text, size_t len);

/* ModelProto bytes of SentencePiece. */
gs_status gs_tok_from_spm(const uint8_t *proto, size_t len, gs_tokenizer **out,
                          gs_error *err) GS_NODISCARD;

#endif
