/* Gemma-2: norms on both sides of attention and mlp, soft caps, a scaled embedding, a window in every other layer. */
#include <llm/helpers/common_names.h>
#include <llm/settings.h>

/* What transformers takes where config.json is silent; null says that there is none. */
static gs_status settle(const gs_model_config *c, struct gs_decoder_settings *s, gs_error *err) {
    (void)err;
    if (!gs_json_get(c->json, "attn_logit_softcapping")) s->attention_softcap = 50;
    if (!gs_json_get(c->json, "final_logit_softcapping")) s->logits_softcap = 30;
    if (!gs_json_get(c->json, "hidden_activation") && !gs_json_get(c->json, "hidden_act")) s->activation = GS_OP_GEGLU;
    return GS_OK;
}

const gs_network_helper gs_helper_gemma2 = {
    .family = "gemma2",
    .model_types = {"gemma2"},
    .name =
        {
            GS_NAMES_OUTSIDE, GS_NAMES_NORMS_BEHIND, GS_NAMES_ATTENTION, GS_NAMES_MLP,
            .attention_input_norm = "input_layernorm", .mlp_input_norm = "pre_feedforward_layernorm",
        },
    .redundant = {"rotary_emb.inv_freq"},
    .qkv_bias = "attention_bias",
    .o_bias = "attention_bias",
    .norm_plus_one = true,
    .tied = true,
    .embedding_by_width = true,
    .attention_width = "query_pre_attn_scalar",
    .attention_softcap = "attn_logit_softcapping",
    .logits_softcap = "final_logit_softcapping",
    .window = true,
    .window_every = 2,
    .settle = settle,
};
