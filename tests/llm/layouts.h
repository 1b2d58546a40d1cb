/* Layouts of one model: which tensors a family or framework has, made of the rows of a plain Llama's. */
#ifndef GS_TESTS_LLM_LAYOUTS_H
#define GS_TESTS_LLM_LAYOUTS_H

#include "logits.h"

enum { MOST = 64, LAYERS = 3 };

typedef struct layout {
    made_tensor tensor[MOST];
    size_t count;
} layout;

static inline made_tensor *add(layout *l, const char *name) {
    assert_true(l->count < MOST);
    made_tensor *t = &l->tensor[l->count++];
    *t = (made_tensor){0};
    snprintf(t->name, sizeof t->name, "%s", name);
    return t;
}

/* from: below "model.layers.<layer>.", without ".weight"; layer -1: a whole stem. */
static inline void piece(made_tensor *t, int layer, const char *from, int64_t row0, int64_t rows) {
    made_piece *p = &t->piece[t->pieces++];
    assert_true(t->pieces <= (int)GS_COUNTOF(t->piece));
    if (layer < 0) snprintf(p->from, sizeof p->from, "%s.weight", from);
    else snprintf(p->from, sizeof p->from, "model.layers.%d.%s.weight", layer, from);
    p->row0 = row0;
    p->rows = rows;
}

static inline void whole(layout *l, const char *name, const char *from) { piece(add(l, name), -1, from, 0, 0); }

/* "model.layers.<layer>.<stem>.weight" out of one tensor of the plain layout. */
static inline made_tensor *in_block(layout *l, int layer, const char *stem, const char *from) {
    char name[96];
    snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, stem);
    made_tensor *t = add(l, name);
    if (from) piece(t, layer, from, 0, 0);
    return t;
}

static inline void config(const char *dir, const char *class, const char *type, int64_t kv_heads) {
    char text[700];
    snprintf(text, sizeof text,
             "{\"architectures\": [\"%s\"], \"model_type\": \"%s\", \"vocab_size\": 96, \"hidden_size\": 32, \"intermediate_size\": 48, "
             "\"num_hidden_layers\": %d, \"num_attention_heads\": 4, \"num_key_value_heads\": %d, \"rms_norm_eps\": 1e-05, "
             "\"rope_theta\": 10000.0, \"hidden_act\": \"silu\", \"max_position_embeddings\": 256, \"torch_dtype\": \"float32\"}\n",
             class, type, LAYERS, (int)kv_heads);
    tiny_text(dir, "config.json", text);
}

static inline char *plain_model(int64_t kv_heads) {
    char *dir = gs_test_tmpdir();
    tiny_shape shape = tiny_default;
    shape.kv_heads = kv_heads;
    tiny_model(dir, &shape, 3);
    return dir;
}

static inline void hugging_face_ends(layout *l) {
    whole(l, "model.embed_tokens.weight", "model.embed_tokens");
    whole(l, "model.norm.weight", "model.norm");
    whole(l, "lm_head.weight", "lm_head");
}

static inline void fused(layout *l, int i, const char *stem) {
    made_tensor *all = in_block(l, i, stem, NULL);
    piece(all, i, "self_attn.q_proj", 0, 0);
    piece(all, i, "self_attn.k_proj", 0, 0);
    piece(all, i, "self_attn.v_proj", 0, 0);
    in_block(l, i, "self_attn.o_proj", "self_attn.o_proj");
    in_block(l, i, "input_layernorm", "input_layernorm");
    in_block(l, i, "post_attention_layernorm", "post_attention_layernorm");
    in_block(l, i, "mlp.down_proj", "mlp.down_proj");
}

static inline layout packed_thirds(void) {
    layout l = {0};
    hugging_face_ends(&l);
    for (int i = 0; i < LAYERS; i++) {
        fused(&l, i, "self_attn.W_pack");
        in_block(&l, i, "mlp.gate_proj", "mlp.gate_proj");
        in_block(&l, i, "mlp.up_proj", "mlp.up_proj");
    }
    return l;
}

/* What blocks of another framework have in common. */
static inline void other_names(layout *l, int i) {
    in_block(l, i, "attention.wo", "self_attn.o_proj");
    in_block(l, i, "attention_norm", "input_layernorm");
    in_block(l, i, "ffn_norm", "post_attention_layernorm");
    in_block(l, i, "feed_forward.w1", "mlp.gate_proj");
    in_block(l, i, "feed_forward.w3", "mlp.up_proj");
    in_block(l, i, "feed_forward.w2", "mlp.down_proj");
}

static inline layout mindformers(void) {
    layout l = {0};
    whole(&l, "model.tok_embeddings.embedding_weight", "model.embed_tokens");
    whole(&l, "model.norm_out.weight", "model.norm");
    whole(&l, "lm_head.weight", "lm_head");
    for (int i = 0; i < LAYERS; i++) {
        in_block(&l, i, "attention.wq", "self_attn.q_proj");
        in_block(&l, i, "attention.wk", "self_attn.k_proj");
        in_block(&l, i, "attention.wv", "self_attn.v_proj");
        other_names(&l, i);
    }
    return l;
}

#endif
