/* config.json of a Hugging Face checkpoint, old and new spelling: `rope_theta` or
 * `rope_parameters.rope_theta`, `torch_dtype` or `dtype`, `rope_scaling.type` or
 * `.rope_type`. Values are checked for range (sizes >= 1, heads divide, no absurd counts). */
#ifndef GS_LOADERS_CONFIG_H
#define GS_LOADERS_CONFIG_H

#include <base/dtype.h>
#include <base/json.h>

/* Rotary scaling kinds that config.json may name. */
typedef enum gs_rope_scaling_kind {
    GS_ROPE_SCALING_NONE, GS_ROPE_SCALING_LINEAR, GS_ROPE_SCALING_LLAMA3, GS_ROPE_SCALING_OTHER
} gs_rope_scaling_kind;

typedef struct gs_rope_scaling {
    gs_rope_scaling_kind kind;
    char name[32]; /* as written, for messages */
    double factor, low_freq_factor, high_freq_factor;
    int64_t original_max_positions;
} gs_rope_scaling;

typedef struct gs_model_config {
    char model_type[64];
    char architecture[96]; /* architectures[0] or "" */
    int64_t vocab, hidden, intermediate, layers, heads, kv_heads, head_dim, max_positions;
    double norm_eps, rope_theta;
    gs_rope_scaling rope_scaling;
    bool tied;           /* tie_word_embeddings, false when absent */
    bool attention_bias; /* false when absent */
    bool mlp_bias;
    char hidden_act[32];
    gs_dtype dtype;      /* GS_DTYPE_NONE when the file does not say */
    cJSON *json;         /* the whole document, owned */
} gs_model_config;

/* Takes ownership of json on success. */
gs_status gs_model_config_from_json(cJSON *json, gs_model_config *out, gs_error *err) GS_NODISCARD;
gs_status gs_model_config_load(const char *path, gs_model_config *out, gs_error *err) GS_NODISCARD;
void gs_model_config_clear(gs_model_config *c);

#endif
