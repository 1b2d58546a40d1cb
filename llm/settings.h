/* A family's row and a config.json together: what one network is, in numbers (internal to llm/; a row's `settle` may
 * change it). Borrowed: row and config stay as long as it is used.
 */
#ifndef GS_LLM_SETTINGS_H
#define GS_LLM_SETTINGS_H

#include <llm/helpers/network_helper.h>

typedef struct gs_decoder_settings {
    const gs_network_helper *helper;
    const gs_model_config *config;
    bool split_qkv, split_gate_up; /* read from parts although the row has a fused name */
    bool qkv_bias, o_bias, mlp_bias;
    bool alibi, normalize_head;
    gs_op activation; /* SWIGLU or GEGLU */
    float embedding_scale, residual_scale, attention_scale, logits_scale; /* 1: none (attention_scale: always used) */
    float attention_softcap, logits_softcap;                              /* 0: none */
    /* of sparse layers; experts 0: there are none */
    int64_t experts, experts_per_token, expert_width;
    bool renormalize;
} gs_decoder_settings;

/* GS_E_UNSUPPORTED or GS_E_FORMAT naming the key that does not fit. */
gs_status gs_decoder_settle(const gs_network_helper *helper, const gs_model_config *config, gs_decoder_settings *out,
                            gs_error *err) GS_NODISCARD;
/* Positions that a query of that layer sees, itself included; 0: all before it. */
int64_t gs_decoder_window(const gs_decoder_settings *s, int64_t layer);

/* ---- experts (expert_settings.c) ---- */

/* How many a layer has, by the keys that families use for it; 0: none is there. */
int64_t gs_config_experts(const gs_model_config *config);
/* Fills in the members above. GS_E_UNSUPPORTED naming a key that asks for more than a choice by softmax (shared experts,
 * groups of experts, other scores) or for a dense layer that the row has no names for; GS_E_FORMAT for numbers that do not fit. */
gs_status gs_experts_settle(gs_decoder_settings *s, gs_error *err) GS_NODISCARD;
/* The layer's mlp is a mixture. */
bool gs_decoder_is_sparse(const gs_decoder_settings *s, int64_t layer);

/* "model.layers.3" from "model.layers.%d", or the text as it is without %d; false when it does not fit. */
bool gs_helper_block_name(const char *block, int64_t layer, char *out, size_t size);

#endif
