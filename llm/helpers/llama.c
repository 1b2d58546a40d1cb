/* Llama 1/2/3, SmolLM, TinyLlama, DeepSeek-LLM: everything that calls itself "llama". */
#include <llm/helpers/common_names.h>
#include <llm/helpers/network_helper.h>

const gs_network_helper gs_helper_llama = {
    .family = "llama",
    .model_types = {"llama"},
    .name = {GS_NAMES_PLAIN},
    .alternative = {GS_NAMES_MINDFORMERS},
    .redundant = {"rotary_emb.inv_freq"},
    .qkv_bias = "attention_bias",
    .o_bias = "attention_bias",
    .mlp_bias = "mlp_bias",
};
