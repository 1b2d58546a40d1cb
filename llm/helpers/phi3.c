/* Phi-3: q, k and v in one linear, gate and up in another. */
#include <llm/helpers/network_helper.h>

const gs_network_helper gs_helper_phi3 = {
    .family = "phi3",
    .model_types = {"phi3"},
    .name =
        {
            .embed = "model.embed_tokens",
            .final_norm = "model.norm",
            .head = "lm_head",
            .block = "model.layers.%d",
            .attention_input_norm = "input_layernorm",
            .o = "self_attn.o_proj",
            .mlp_input_norm = "post_attention_layernorm",
            .down = "mlp.down_proj",
            .qkv = "self_attn.qkv_proj",
            .gate_up = "mlp.gate_up_proj",
        },
    .redundant = {"rotary_emb.inv_freq"},
    .window = true,
};
