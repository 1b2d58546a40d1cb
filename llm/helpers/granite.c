/* Granite: a Llama whose embedding, scores, residuals and logits are multiplied by numbers of config.json. */
#include <llm/helpers/common_names.h>
#include <llm/helpers/network_helper.h>

const gs_network_helper gs_helper_granite = {
    .family = "granite",
    .model_types = {"granite"},
    .name = {GS_NAMES_PLAIN},
    .redundant = {"rotary_emb.inv_freq"},
    .qkv_bias = "attention_bias",
    .o_bias = "attention_bias",
    .mlp_bias = "mlp_bias",
    .embedding_multiplier = "embedding_multiplier",
    .residual_multiplier = "residual_multiplier",
    .attention_multiplier = "attention_multiplier",
    .logits_divisor = "logits_scaling",
};
