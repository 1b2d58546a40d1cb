/* Qwen3: each head's queries and keys are normalised before they are rotated. */
#include <llm/helpers/common_names.h>
#include <llm/helpers/network_helper.h>

const gs_network_helper gs_helper_qwen3 = {
    .family = "qwen3",
    .model_types = {"qwen3"},
    .name = {GS_NAMES_PLAIN, GS_NAMES_QK_NORMS},
    .redundant = {"rotary_emb.inv_freq"},
    .qkv_bias = "attention_bias",
    .o_bias = "attention_bias",
    .window = true,
    .window_when = "use_sliding_window",
    .window_from = "max_window_layers",
};
