/* Phi-3: q, k and v in one linear, gate and up in another. */
#include <llm/helpers/common_names.h>
#include <llm/helpers/network_helper.h>

const gs_network_helper gs_helper_phi3 = {
    .family = "phi3",
    .model_types = {"phi3"},
    .name =
        {
            GS_NAMES_OUTSIDE, GS_NAMES_NORMS_BEFORE, .o = "self_attn.o_proj", .down = "mlp.down_proj",
            .qkv = "self_attn.qkv_proj", .gate_up = "mlp.gate_up_proj",
        },
    .redundant = {"rotary_emb.inv_freq"},
    .window = true,
};
