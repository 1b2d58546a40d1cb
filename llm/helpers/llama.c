/* Llama 1/2/3, SmolLM, TinyLlama, DeepSeek-LLM: everything that calls itself "llama". */
#include <llm/helpers/network_helper.h>

const gs_network_helper gs_helper_llama = {
    .family = "llama",
    .model_types = {"llama"},
    .name =
        {
            .embed = "model.embed_tokens",
            .final_norm = "model.norm",
            .head = "lm_head",
            .block = "model.layers.%d",
            .attention_input_norm = "input_layernorm",
            .q = "self_attn.q_proj",
            .k = "self_attn.k_proj",
            .v = "self_attn.v_proj",
            .o = "self_attn.o_proj",
            .mlp_input_norm = "post_attention_layernorm",
            .gate = "mlp.gate_proj",
            .up = "mlp.up_proj",
            .down = "mlp.down_proj",
        },
    .alternative = /* MindFormers */
        {
            .embed = "model.tok_embeddings",
            .embed_tensor = "embedding_weight",
            .final_norm = "model.norm_out",
            .head = "lm_head",
            .block = "model.layers.%d",
            .attention_input_norm = "attention_norm",
            .q = "attention.wq",
            .k = "attention.wk",
            .v = "attention.wv",
            .o = "attention.wo",
            .mlp_input_norm = "ffn_norm",
            .gate = "feed_forward.w1",
            .up = "feed_forward.w3",
            .down = "feed_forward.w2",
        },
    .redundant = {"rotary_emb.inv_freq"},
    .qkv_bias = "attention_bias",
    .o_bias = "attention_bias",
    .mlp_bias = "mlp_bias",
};
