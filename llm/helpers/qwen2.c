/* Qwen2, Qwen2.5: the same block as a Llama's, with biases on q, k and v. */
#include <llm/helpers/network_helper.h>

#include <string.h>

/* Windows are off unless `use_sliding_window` says otherwise; newer files list the kind of each layer. */
static gs_status check_window(const gs_model_config *c, gs_error *err) {
    bool window = false;
    GS_TRY(gs_json_bool(c->json, "use_sliding_window", &window, err));
    if (window)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "\"use_sliding_window\" is true: sliding window attention is not supported");
    const cJSON *kinds = gs_json_get(c->json, "layer_types"), *kind;
    cJSON_ArrayForEach(kind, kinds) {
        if (!cJSON_IsString(kind) || strcmp(kind->valuestring, "full_attention") == 0) continue;
        return GS_FAIL(err, GS_E_UNSUPPORTED, "\"layer_types\" holds '%.40s' (full_attention is supported)",
                       kind->valuestring);
    }
    return GS_OK;
}

static gs_status check(const gs_model_config *c, gs_error *err) {
    if (strcmp(c->hidden_act, "silu") != 0)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "hidden_act '%s' is not supported (silu is)", c->hidden_act);
    if (c->rope_scaling.kind == GS_ROPE_SCALING_OTHER)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "rope scaling '%s' is not supported (linear and llama3 are)",
                       c->rope_scaling.name);
    return check_window(c, err);
}

const gs_network_helper gs_helper_qwen2 = {
    .family = "qwen2",
    .model_types = {"qwen2"},
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
    .qkv_bias = true,
    .check = check,
};
