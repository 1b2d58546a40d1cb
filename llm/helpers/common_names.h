/* Tensor names that many families share: initialisers for the `name` and `alternative` of a row, which adds what differs. */
#ifndef GS_LLM_COMMON_NAMES_H
#define GS_LLM_COMMON_NAMES_H

/* ---- Hugging Face ---- */
#define GS_NAMES_OUTSIDE                                                                                               \
    .embed = "model.embed_tokens", .final_norm = "model.norm", .head = "lm_head", .block = "model.layers.%d"
#define GS_NAMES_NORMS_BEFORE .attention_input_norm = "input_layernorm", .mlp_input_norm = "post_attention_layernorm"
#define GS_NAMES_NORMS_BEHIND                                                                                          \
    .attention_output_norm = "post_attention_layernorm", .mlp_output_norm = "post_feedforward_layernorm"
#define GS_NAMES_QK_NORMS .q_norm = "self_attn.q_norm", .k_norm = "self_attn.k_norm"
#define GS_NAMES_ATTENTION                                                                                             \
    .q = "self_attn.q_proj", .k = "self_attn.k_proj", .v = "self_attn.v_proj", .o = "self_attn.o_proj"
#define GS_NAMES_MLP .gate = "mlp.gate_proj", .up = "mlp.up_proj", .down = "mlp.down_proj"
/* All that a Llama has. */
#define GS_NAMES_PLAIN GS_NAMES_OUTSIDE, GS_NAMES_NORMS_BEFORE, GS_NAMES_ATTENTION, GS_NAMES_MLP

/* ---- MindFormers ---- */
#define GS_NAMES_MINDFORMERS                                                                                           \
    .embed = "model.tok_embeddings", .embed_tensor = "embedding_weight", .final_norm = "model.norm_out",               \
    .head = "lm_head", .block = "model.layers.%d", .attention_input_norm = "attention_norm", .q = "attention.wq",      \
    .k = "attention.wk", .v = "attention.wv", .o = "attention.wo", .mlp_input_norm = "ffn_norm",                       \
    .gate = "feed_forward.w1", .up = "feed_forward.w3", .down = "feed_forward.w2"

#endif
