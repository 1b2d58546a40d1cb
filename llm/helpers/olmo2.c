/* OLMo-2: norms stand behind attention and mlp instead of before them; queries and keys are normalised over all heads. */
#include <llm/helpers/network_helper.h>

const gs_network_helper gs_helper_olmo2 = {
    .family = "olmo2",
    .model_types = {"olmo2"},
    .name =
        {
            .embed = "model.embed_tokens",
            .final_norm = "model.norm",
            .head = "lm_head",
            .block = "model.layers.%d",
            .q = "self_attn.q_proj",
            .k = "self_attn.k_proj",
            .v = "self_attn.v_proj",
            .o = "self_attn.o_proj",
            .gate = "mlp.gate_proj",
            .up = "mlp.up_proj",
            .down = "mlp.down_proj",
            .q_norm = "self_attn.q_norm",
            .k_norm = "self_attn.k_norm",
            .attention_output_norm = "post_attention_layernorm",
            .mlp_output_norm = "post_feedforward_layernorm",
        },
    .redundant = {"rotary_emb.inv_freq"},
    .qkv_bias = "attention_bias",
    .o_bias = "attention_bias",
    .qk_norm_whole = true,
};
