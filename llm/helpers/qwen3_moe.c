/* Qwen3-MoE: Qwen3 with mixtures of experts in some or all layers. */
#include <llm/helpers/common_names.h>
#include <llm/helpers/network_helper.h>

const gs_network_helper gs_helper_qwen3_moe = {
    .family = "qwen3_moe",
    .model_types = {"qwen3_moe"},
    .name =
        {
            GS_NAMES_PLAIN, GS_NAMES_QK_NORMS, .router = "mlp.gate", .expert = "mlp.experts.%d",
            .expert_gate = "gate_proj", .expert_up = "up_proj", .expert_down = "down_proj",
        },
    .redundant = {"rotary_emb.inv_freq"},
    .qkv_bias = "attention_bias",
    .o_bias = "attention_bias",
    .expert_width = "moe_intermediate_size",
    .expert_renormalize = "norm_topk_prob",
    .dense_layers = "mlp_only_layers",
    .expert_every = "decoder_sparse_step",
    .window = true,
    .window_when = "use_sliding_window",
    .window_from = "max_window_layers",
};
