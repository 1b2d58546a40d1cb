/* Normalizers: changes of the whole text before it is cut into words.
 *
 * A chain is the flattened "normalizer" of tokenizer.json: NFC NFD NFKC NFKD (utf8proc),
 * Prepend, Replace, Lowercase, Strip, Sequence. Anything else, SentencePiece's
 * "Precompiled" among it, is GS_E_UNSUPPORTED. Read-only after parsing. */
#ifndef GS_LOADERS_TOKENIZER_NORMALIZER_H
#define GS_LOADERS_TOKENIZER_NORMALIZER_H

#include <base/json.h>
#include <loaders/tokenizer/regex.h>

enum { GS_NORM_MAX_STEPS = 32 };

typedef struct gs_norm_step gs_norm_step;
/* Appends the changed text to out. limit: bytes in out beyond which it may stop with GS_E_UNSUPPORTED. */
typedef gs_status gs_norm_fn(const gs_norm_step *st, const char *text, size_t len, size_t limit, gs_strbuf *out,
                             gs_error *err);
struct gs_norm_step {
    gs_norm_fn *run;
    int form;             /* utf8proc options of the normal forms */
    bool left, right;     /* Strip */
    gs_tokregex *re;      /* Replace, one of the two */
    char *literal;        /* non-empty; also what Prepend puts in front; owned */
    char *content;        /* Replace: what comes instead; owned */
};

typedef struct gs_normalizer {
    gs_norm_step step[GS_NORM_MAX_STEPS];
    int count;
} gs_normalizer;

/* json: the value of "normalizer", NULL or null for none. `n` starts zeroed; on failure it
 * must still be cleared. */
gs_status gs_normalizer_parse(gs_normalizer *n, const cJSON *json, gs_error *err) GS_NODISCARD;
void gs_normalizer_clear(gs_normalizer *n);

/* *text, *len: valid UTF-8 in; out: the same bytes when nothing changes them, else bytes
 * inside one of the two buffers of the caller, which it reuses and clears. GS_E_UNSUPPORTED for text that a chain makes
 * more than 16 times as long (and 512 bytes), or a normal form of more than 1000 marks on one character: a small
 * tokenizer.json could otherwise ask for any memory or time. */
gs_status gs_normalizer_run(const gs_normalizer *n, const char **text, size_t *len,
                            gs_strbuf buffers[2], gs_error *err) GS_NODISCARD;

#endif
