/* Mixtral: every layer's mlp is a mixture of experts. */
#include <llm/helpers/common_names.h>
#include <llm/helpers/network_helper.h>

const gs_network_helper gs_helper_mixtral = {
    .family = "mixtral",
    .model_types = {"mixtral"},
    .name =
        {
            GS_NAMES_OUTSIDE, GS_NAMES_NORMS_BEFORE, GS_NAMES_ATTENTION, .router = "block_sparse_moe.gate",
            .expert = "block_sparse_moe.experts.%d", .expert_gate = "w1", .expert_up = "w3", .expert_down = "w2",
        },
    .redundant = {"rotary_emb.inv_freq"},
    .expert_renormalize = "true",
    .window = true,
};
