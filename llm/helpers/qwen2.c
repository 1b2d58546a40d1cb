/* Qwen2, Qwen2.5: biases on q, k and v alone, windows in the upper layers of a few models. */
#include <llm/helpers/network_helper.h>

const gs_network_helper gs_helper_qwen2 = {
    .family = "qwen2",
    .model_types = {"qwen2"},
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
    .redundant = {"rotary_emb.inv_freq"},
    .qkv_bias = "true",
    .window = true,
    .window_when = "use_sliding_window",
    .window_from = "max_window_layers",
};
