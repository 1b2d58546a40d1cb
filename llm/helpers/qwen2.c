/* Qwen2, Qwen2.5: biases on q, k and v alone, windows in the upper layers of a few models. */
#include <llm/helpers/common_names.h>
#include <llm/helpers/network_helper.h>

const gs_network_helper gs_helper_qwen2 = {
    .family = "qwen2",
    .model_types = {"qwen2"},
    .name = {GS_NAMES_PLAIN},
    .redundant = {"rotary_emb.inv_freq"},
    .qkv_bias = "true",
    .window = true,
    .window_when = "use_sliding_window",
    .window_from = "max_window_layers",
};
