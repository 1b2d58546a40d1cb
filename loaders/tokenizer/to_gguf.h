/* A vocabulary on its way into tokenizer.ggml.* pairs: gathered whole from a model's files, then written, so that what
 * turns out not to fit leaves no half of it behind. Private to to_gguf*.c. */
#ifndef GS_LOADERS_TOKENIZER_TO_GGUF_H
#define GS_LOADERS_TOKENIZER_TO_GGUF_H

#include <base/json.h>
#include <loaders/gguf.h>
#include <loaders/tokenizer/spm.h>

enum { GS_GGML_FILL_SCORE = -1000 };

typedef struct gs_ggml_vocab {
    const char *model;   /* "llama", "gpt2" */
    gs_gguf_str pre;     /* tokenizer.ggml.pre; len 0: not written */
    int64_t count, room; /* pieces */
    gs_gguf_str *text;   /* [room], data NULL: no piece has this id yet */
    float *scores;       /* [room] */
    int32_t *types;      /* [room] gs_piece_type */
    gs_gguf_str *merges;
    size_t merge_count;
    int64_t bos, eos, unk, pad; /* -1: none */
    bool has_scores, no_space_prefix;
    char *bytes;  /* the file that text points into, or NULL */
    cJSON *json;  /* the same */
    char **owned; /* texts that were made */
    size_t owned_count, owned_room;
} gs_ggml_vocab;

/* Makes room for ids below n. GS_E_NOMEM, GS_E_FORMAT for an n out of range. */
gs_status gs_ggml_vocab_reserve(gs_ggml_vocab *v, int64_t n, gs_error *err) GS_NODISCARD;
/* GS_E_FORMAT for an id out of the range that was reserved or one that has another text. */
gs_status gs_ggml_vocab_put(gs_ggml_vocab *v, int64_t id, const char *text, size_t len, float score,
                            gs_piece_type type, gs_error *err) GS_NODISCARD;
/* A copy that lives as long as v, or NULL. */
char *gs_ggml_vocab_own(gs_ggml_vocab *v, const char *text, size_t len);
void gs_ggml_vocab_clear(gs_ggml_vocab *v);

/* Each reads one kind of file. GS_E_UNSUPPORTED for what GGUF's kind cannot say; clear v also then. */
gs_status gs_ggml_vocab_from_spm(gs_ggml_vocab *v, const char *path, gs_error *err) GS_NODISCARD;
gs_status gs_ggml_vocab_from_json(gs_ggml_vocab *v, const char *path, gs_error *err) GS_NODISCARD;

#endif
