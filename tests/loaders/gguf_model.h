/* The smallest model of the one known architecture as a GGUF file, opened as a Hugging Face
 * checkpoint: what the tests of gguf_hf.h share. */
#ifndef GS_TESTS_GGUF_MODEL_H
#define GS_TESTS_GGUF_MODEL_H

#include "gguf_builder.h"

#include <loaders/gguf_hf.h>

/* Large: one for all, begun anew by every test. */
static gguf_builder b;

/* hidden 8, 2 heads of 4, 1 kv head, MLP 6, one block, 10 words. */
enum { HIDDEN = 8, HEADS = 2, KV_HEADS = 1, HEAD = 4, MLP = 6, WORDS = 10 };

static inline void begin_model(void) {
    gguf_begin(&b, 3);
    gguf_kv_text(&b, "general.architecture", "llama");
    gguf_kv_u32(&b, "llama.embedding_length", HIDDEN);
    gguf_kv_u32(&b, "llama.attention.head_count", HEADS);
    gguf_kv_u32(&b, "llama.context_length", 64);
}

static inline void usual_keys(void) {
    gguf_kv_u32(&b, "llama.block_count", 1);
    gguf_kv_u32(&b, "llama.feed_forward_length", MLP);
    gguf_kv_u32(&b, "llama.attention.head_count_kv", KV_HEADS);
    gguf_kv_f32(&b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
}

/* All matrices of ggml type `type` (0 F32, 1 F16, 30 BF16). */
static inline void usual_tensors(uint32_t type) {
    uint64_t size = type ? 2 : 4;
    static const struct {
        const char *name;
        uint64_t rows, cols;
    } rows[] = {
        {"token_embd.weight", WORDS, HIDDEN},
        {"output_norm.weight", 0, HIDDEN},
        {"blk.0.attn_norm.weight", 0, HIDDEN},
        {"blk.0.ffn_norm.weight", 0, HIDDEN},
        {"blk.0.attn_q.weight", HEADS * HEAD, HIDDEN},
        {"blk.0.attn_k.weight", KV_HEADS * HEAD, HIDDEN},
        {"blk.0.attn_v.weight", KV_HEADS * HEAD, HIDDEN},
        {"blk.0.attn_output.weight", HIDDEN, HEADS * HEAD},
        {"blk.0.ffn_gate.weight", MLP, HIDDEN},
        {"blk.0.ffn_up.weight", MLP, HIDDEN},
        {"blk.0.ffn_down.weight", HIDDEN, MLP},
    };
    for (size_t i = 0; i < GS_COUNTOF(rows); i++)
        gguf_tensor(&b, rows[i].name, rows[i].rows, rows[i].cols, rows[i].rows ? type : 0,
                    (rows[i].rows ? rows[i].rows * size : 4) * rows[i].cols);
}

typedef struct model {
    gs_gguf *g;
    gs_gguf_hf *hf;
    cJSON *config;
} model;

static inline gs_status open_model(model *m, gs_error *err) {
    *m = (model){0};
    GS_TRY(gguf_open_copy(b.data, b.len, &m->g, err));
    gs_status status = gs_gguf_hf_create(m->g, &m->hf, err);
    if (status == GS_OK) status = gs_gguf_hf_config(m->hf, &m->config, err);
    return status;
}

static inline void close_model(model *m) {
    cJSON_Delete(m->config);
    gs_gguf_hf_destroy(m->hf);
    gs_gguf_close(m->g);
}

static inline model open_ok(void) {
    model m;
    gs_error err = {0};
    gguf_data(&b);
    assert_ok(open_model(&m, &err), &err);
    return m;
}

static inline void expect_refusal(gs_status status, const char *word) {
    model m;
    gs_error err = {0};
    gguf_data(&b);
    assert_fails(open_model(&m, &err), status, &err);
    if (!strstr(err.text, word)) fail_msg("'%s' does not mention '%s'", err.text, word);
    close_model(&m);
}

#endif
