/* InternLM2: names of its own, and one linear with the heads in groups: the queries of a key-value head, its key, its value. */
#include <llm/helpers/network_helper.h>

const gs_network_helper gs_helper_internlm2 = {
    .family = "internlm2",
    .model_types = {"internlm2"},
    .name =
        {
            .embed = "model.tok_embeddings",
            .final_norm = "model.norm",
            .head = "output",
            .block = "model.layers.%d",
            .attention_input_norm = "attention_norm",
            .qkv = "attention.wqkv",
            .o = "attention.wo",
            .mlp_input_norm = "ffn_norm",
            .gate = "feed_forward.w1",
            .up = "feed_forward.w3",
            .down = "feed_forward.w2",
        },
    .redundant = {"rotary_emb.inv_freq"},
    .qkv_bias = "bias",
    .o_bias = "bias",
    .qkv_by_group = true,
};
