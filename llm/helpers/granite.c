/* Granite: a Llama whose embedding, scores, residuals and logits are multiplied by numbers of config.json. */
#include <llm/helpers/network_helper.h>

const gs_network_helper gs_helper_granite = {
    .family = "granite",
    .model_types = {"granite"},
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
    .qkv_bias = "attention_bias",
    .o_bias = "attention_bias",
    .mlp_bias = "mlp_bias",
    .embedding_multiplier = "embedding_multiplier",
    .residual_multiplier = "residual_multiplier",
    .attention_multiplier = "attention_multiplier",
    .logits_divisor = "logits_scaling",
};
