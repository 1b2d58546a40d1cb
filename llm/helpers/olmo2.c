/* OLMo-2: norms stand behind attention and mlp instead of before them; queries and keys are normalised over all heads. */
#include <llm/helpers/common_names.h>
#include <llm/helpers/network_helper.h>

const gs_network_helper gs_helper_olmo2 = {
    .family = "olmo2",
    .model_types = {"olmo2"},
    .name =
        {
            GS_NAMES_OUTSIDE, GS_NAMES_NORMS_BEHIND, GS_NAMES_QK_NORMS, GS_NAMES_ATTENTION, GS_NAMES_MLP,
        },
    .redundant = {"rotary_emb.inv_freq"},
    .qkv_bias = "attention_bias",
    .o_bias = "attention_bias",
    .qk_norm_whole = true,
};
