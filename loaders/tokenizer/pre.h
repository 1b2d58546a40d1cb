/* The pre-tokenizers that GGUF files only name (tokenizer.ggml.pre), as the pieces of
 * tokenizer.json they stand for. Both reading a GGUF and exporting its vocabulary start
 * from these texts, so the two cannot part. */
#ifndef GS_LOADERS_TOKENIZER_PRE_H
#define GS_LOADERS_TOKENIZER_PRE_H

#include <base/json.h>
#include <loaders/gguf.h>

typedef struct gs_pre {
    const char *names; /* space separated */
    const char *pre_tokenizer;
    const char *normalizer; /* JSON; "null" for none */
    bool ignore_merges;
    bool adds_bos; /* where tokenizer.ggml.add_bos_token is silent */
} gs_pre;

/* An absent key means "default", as it does for llama.cpp. GS_E_UNSUPPORTED with the list
 * of known names otherwise. */
gs_status gs_pre_find(const gs_gguf *g, const gs_pre **out, gs_error *err) GS_NODISCARD;

/* The name of the row that says what these values of tokenizer.json say (NULL or null: none);
 * out->len is 0 when there is none. */
gs_status gs_pre_name(const cJSON *pre_tokenizer, const cJSON *normalizer, bool ignore_merges, gs_gguf_str *out,
                      gs_error *err) GS_NODISCARD;

#endif
