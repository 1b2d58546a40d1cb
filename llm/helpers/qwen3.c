/* Qwen3: each head's queries and keys are normalised before they are rotated. */
#include <llm/helpers/network_helper.h>

const gs_network_helper gs_helper_qwen3 = {
    .family = "qwen3",
    .model_types = {"qwen3"},
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
            .q_norm = "self_attn.q_norm",
            .k_norm = "self_attn.k_norm",
        },
    .redundant = {"rotary_emb.inv_freq"},
    .qkv_bias = "attention_bias",
    .o_bias = "attention_bias",
    .window = true,
    .window_when = "use_sliding_window",
    .window_from = "max_window_layers",
};
