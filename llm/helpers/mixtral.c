/* Mixtral: every layer's mlp is a mixture of experts. */
#include <llm/helpers/network_helper.h>

const gs_network_helper gs_helper_mixtral = {
    .family = "mixtral",
    .model_types = {"mixtral"},
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
            .router = "block_sparse_moe.gate",
            .expert = "block_sparse_moe.experts.%d",
            .expert_gate = "w1",
            .expert_up = "w3",
            .expert_down = "w2",
        },
    .redundant = {"rotary_emb.inv_freq"},
    .expert_renormalize = "true",
    .window = true,
};
