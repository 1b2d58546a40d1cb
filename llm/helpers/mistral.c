/* Mistral, also with a sliding window in every layer. */
#include <llm/helpers/common_names.h>
#include <llm/helpers/network_helper.h>

const gs_network_helper gs_helper_mistral = {
    .family = "mistral",
    .model_types = {"mistral"},
    .name = {GS_NAMES_PLAIN},
    .redundant = {"rotary_emb.inv_freq"},
    .window = true,
};
