/* Mistral, also with a sliding window in every layer. */
#include <llm/helpers/network_helper.h>

const gs_network_helper gs_helper_mistral = {
    .family = "mistral",
    .model_types = {"mistral"},
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
    .window = true,
};
