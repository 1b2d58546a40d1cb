/* Small GGUF files of any architecture: what the tests of loaders/gguf_families.c share. */
#ifndef GS_TESTS_GGUF_FAMILY_H
#define GS_TESTS_GGUF_FAMILY_H

#include "gguf_model.h"

/* "<architecture>.<suffix>" */
static inline const char *key_of(const char *architecture, const char *suffix) {
    static char key[128];
    snprintf(key, sizeof key, "%s.%s", architecture, suffix);
    return key;
}

static inline void begin_family(const char *architecture) {
    gguf_begin(&b, 3);
    gguf_kv_text(&b, "general.architecture", architecture);
    gguf_kv_u32(&b, key_of(architecture, "embedding_length"), HIDDEN);
    gguf_kv_u32(&b, key_of(architecture, "attention.head_count"), HEADS);
    gguf_kv_u32(&b, key_of(architecture, "attention.head_count_kv"), KV_HEADS);
    gguf_kv_u32(&b, key_of(architecture, "context_length"), 64);
    gguf_kv_u32(&b, key_of(architecture, "block_count"), 1);
    gguf_kv_u32(&b, key_of(architecture, "feed_forward_length"), MLP);
    gguf_kv_f32(&b, key_of(architecture, "attention.layer_norm_rms_epsilon"), 1e-5f);
    gguf_kv_u32(&b, key_of(architecture, "vocab_size"), WORDS);
}

static inline double number(const model *m, const char *key) {
    const cJSON *item = gs_json_get(m->config, key);
    if (!cJSON_IsNumber(item)) fail_msg("'%s' is no number", key);
    return item->valuedouble;
}

#endif
