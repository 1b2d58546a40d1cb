/* Llama 1/2/3, SmolLM, TinyLlama, DeepSeek-LLM: everything that calls itself "llama". */
#include <llm/helpers/network_helper.h>

#include <string.h>

static gs_status check(const gs_model_config *c, gs_error *err) {
    if (strcmp(c->hidden_act, "silu") != 0)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "hidden_act '%s' is not supported (silu is)",
                       c->hidden_act);
    if (c->rope_scaling.kind == GS_ROPE_SCALING_OTHER)
        return GS_FAIL(err, GS_E_UNSUPPORTED,
                       "rope scaling '%s' is not supported (linear and llama3 are)",
                       c->rope_scaling.name);
    return GS_OK;
}

const gs_network_helper gs_helper_llama = {
    .family = "llama",
    .model_types = {"llama"},
    .name =
        {
            .embed = "model.embed_tokens",
            .final_norm = "model.norm",
            .head = "lm_head",
            .block = "model.layers.%d",
            .input_norm = "input_layernorm",
            .q = "self_attn.q_proj",
            .k = "self_attn.k_proj",
            .v = "self_attn.v_proj",
            .o = "self_attn.o_proj",
            .post_norm = "post_attention_layernorm",
            .gate = "mlp.gate_proj",
            .up = "mlp.up_proj",
            .down = "mlp.down_proj",
        },
    .redundant = {"rotary_emb.inv_freq"},
    .check = check,
};
