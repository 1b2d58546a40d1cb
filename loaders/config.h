/* config.json of a Hugging Face checkpoint, old and new spelling: `rope_theta` or
 * `rope_parameters.rope_theta` (or one object a kind of attention in there), `torch_dtype` or `dtype`,
 * `rope_scaling.type` or `.rope_type`. Where a file has both `rope_scaling` and `rope_parameters` they must say the same;
 * `hidden_activation` wins over `hidden_act`. Values are checked for range (sizes >= 1, heads divide, no absurd counts).
 * What only some families have (multipliers, caps, kinds of layers) is asked of the document by key: the
 * gs_model_config_ functions below. */
#ifndef GS_LOADERS_CONFIG_H
#define GS_LOADERS_CONFIG_H

#include <base/dtype.h>
#include <base/json.h>

/* Rotary scaling kinds that config.json may name. */
typedef enum gs_rope_scaling_kind {
    GS_ROPE_SCALING_NONE, GS_ROPE_SCALING_LINEAR, GS_ROPE_SCALING_LLAMA3, GS_ROPE_SCALING_DYNAMIC,
    GS_ROPE_SCALING_YARN, GS_ROPE_SCALING_OTHER
} gs_rope_scaling_kind;

typedef struct gs_rope_scaling {
    gs_rope_scaling_kind kind;
    char name[32]; /* for messages: as written, but "longrope" for one with tables of factors */
    double factor, low_freq_factor, high_freq_factor; /* factor 1 where it has none */
    int64_t original_max_positions; /* LLAMA3, DYNAMIC, YARN */
    /* YARN: the bounds of its ramp, and what cosine and sine are multiplied by: `attention_factor`, else
     * m(mscale) / m(mscale_all_dim), else m(1), with m(x) = 0.1 x ln(factor) + 1 for a factor above 1 */
    double beta_fast, beta_slow, attention_factor;
} gs_rope_scaling;

typedef struct gs_model_config {
    char model_type[64];
    char architecture[96]; /* architectures[0] or "" */
    int64_t vocab, hidden, intermediate, layers, heads, kv_heads, head_dim, max_positions;
    int64_t window;      /* sliding_window; 0: null or absent. Whether and where it is used is the family's business */
    int64_t rotary_dim;  /* leading elements of a head that are rotated: head_dim unless partial_rotary_factor says less */
    double norm_eps, rope_theta;
    gs_rope_scaling rope_scaling;
    /* of layers with a sliding window; the same unless the file gives each kind of attention its own */
    double sliding_rope_theta;
    gs_rope_scaling sliding_rope_scaling;
    bool tied;           /* tie_word_embeddings, false when absent */
    bool tied_is_said;   /* the key is there; without it the family decides (llm/) */
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

/* What YaRN multiplies cosine and sine by: 0.1 mscale ln(factor) + 1, and 1 up to a factor of 1 (Peng et al. 2023, section 3.4;
 * mscale 1 unless config.json says another). */
double gs_yarn_amplitude(double factor, double mscale);

/* A number above 0 and at most 1e12 under that key; absent or null: *out stays. */
gs_status gs_model_config_positive(const gs_model_config *c, const char *key, double *out, gs_error *err) GS_NODISCARD;

#endif
