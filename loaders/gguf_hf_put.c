/* config.json in GGUF's words: the inverse of gguf_hf_config.c. */
#include <loaders/gguf_hf_config.h>

#include <base/mem.h>

#include <float.h>
#include <math.h>
#include <string.h>

/* Values of config.json were checked to be at least 1 and far below 2^32 when it was read. */
static gs_status put_size(const gs_gguf_family *family, const char *suffix, int64_t v, gs_gguf_writer *w,
                          gs_error *err) {
    char key[GS_GGUF_KEY_MAX];
    gs_gguf_key(family, suffix, key);
    if (v < 1 || v > INT32_MAX) return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' cannot be %lld", key, (long long)v);
    return gs_gguf_writer_u32(w, key, (uint32_t)v, err);
}

/* v > 0. What f32 makes 0 or infinite of cannot be written. */
static gs_status put_real(const gs_gguf_family *family, const char *suffix, double v, gs_gguf_writer *w,
                          gs_error *err) {
    char key[GS_GGUF_KEY_MAX];
    gs_gguf_key(family, suffix, key);
    if (!(v >= (double)FLT_MIN && v <= (double)FLT_MAX))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' cannot be %g: it is a float32", key, v);
    return gs_gguf_writer_f32(w, key, (float)v, err);
}

/* Also where the lowest frequency does not have the whole factor, from which it could be read back. */
static gs_status put_llama3_constants(const gs_model_config *c, gs_gguf_writer *w, gs_error *err) {
    const gs_rope_scaling *r = &c->rope_scaling;
    double original = (double)r->original_max_positions;
    gs_llama3_scaling s = {c->rope_theta, r->factor, r->low_freq_factor, r->high_freq_factor, original, c->head_dim};
    if (s.low == GS_LLAMA3_LOW && s.high == GS_LLAMA3_HIGH && s.original == GS_LLAMA3_ORIGINAL &&
        gs_llama3_divisor(&s, c->head_dim / 2 - 1) == s.factor)
        return GS_OK;
    GS_TRY(gs_gguf_writer_f32(w, GS_LLAMA3_KEY "factor", (float)s.factor, err));
    GS_TRY(gs_gguf_writer_f32(w, GS_LLAMA3_KEY "low", (float)s.low, err));
    GS_TRY(gs_gguf_writer_f32(w, GS_LLAMA3_KEY "high", (float)s.high, err));
    return gs_gguf_writer_f32(w, GS_LLAMA3_KEY "original", (float)s.original, err);
}

static gs_status put_yarn(const gs_gguf_family *family, const gs_rope_scaling *s, gs_gguf_writer *w, gs_error *err) {
    char key[GS_GGUF_KEY_MAX];
    double share = s->attention_factor / gs_yarn_amplitude(s->factor, 1);
    if (s->beta_fast != GS_YARN_BETA_FAST || s->beta_slow != GS_YARN_BETA_SLOW)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "rope scaling 'yarn' with betas of %g and %g: llama.cpp has %g and %g",
                       s->beta_fast, s->beta_slow, GS_YARN_BETA_FAST, GS_YARN_BETA_SLOW);
    GS_TRY(gs_gguf_writer_string(w, gs_gguf_key(family, "rope.scaling.type", key), "yarn", 4, err));
    GS_TRY(put_real(family, "rope.scaling.factor", s->factor, w, err));
    GS_TRY(put_size(family, "rope.scaling.original_context_length", s->original_max_positions, w, err));
    if (fabs(share - 1) < 1e-9) return GS_OK;
    return put_real(family, "rope.scaling.attn_factor", share, w, err);
}

static gs_status put_rope_scaling(const gs_gguf_family *family, const gs_model_config *c, gs_gguf_writer *w,
                                  gs_error *err) {
    const gs_rope_scaling *s = &c->rope_scaling;
    char key[GS_GGUF_KEY_MAX];
    bool known = s->kind != GS_ROPE_SCALING_OTHER && s->kind != GS_ROPE_SCALING_DYNAMIC &&
                 (s->kind != GS_ROPE_SCALING_LLAMA3 || family->rope_divisors);
    if (!known)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "rope scaling '%s' has no form in GGUF's %s models that is known here",
                       s->name, family->architecture);
    if (s->kind == GS_ROPE_SCALING_YARN) return put_yarn(family, s, w, err);
    if (s->kind == GS_ROPE_SCALING_LLAMA3) return put_llama3_constants(c, w, err); /* and a tensor */
    if (s->kind != GS_ROPE_SCALING_LINEAR) return GS_OK;
    GS_TRY(gs_gguf_writer_string(w, gs_gguf_key(family, "rope.scaling.type", key), "linear", 6, err));
    return put_real(family, "rope.scaling.factor", s->factor, w, err);
}

/* Readers take hidden/heads for the size of a head unless they are told. */
static gs_status put_heads(const gs_gguf_family *family, const gs_model_config *c, gs_gguf_writer *w, gs_error *err) {
    GS_TRY(put_size(family, "attention.head_count", c->heads, w, err));
    GS_TRY(put_size(family, "attention.head_count_kv", c->kv_heads, w, err));
    if (c->rotary_dim != c->head_dim && !family->rope_part)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "heads of %lld with %lld elements rotated: GGUF's %s models rotate all",
                       (long long)c->head_dim, (long long)c->rotary_dim, family->architecture);
    GS_TRY(put_size(family, "rope.dimension_count", c->rotary_dim, w, err));
    if (c->head_dim * c->heads == c->hidden) return GS_OK;
    if (family->head_size == GS_GGUF_HEADS_DIVIDE)
        return GS_FAIL(err, GS_E_UNSUPPORTED,
                       "head_dim %lld: llama.cpp's %s models have hidden_size / num_attention_heads",
                       (long long)c->head_dim, family->architecture);
    GS_TRY(put_size(family, "attention.key_length", c->head_dim, w, err));
    return put_size(family, "attention.value_length", c->head_dim, w, err);
}

/* ---- windows */

/* Whether config.json says that a layer has a window; without layer_types all have it, or by `every` all but each
 * so-maniest. */
static bool has_window(const gs_model_config *c, int64_t layer, int64_t every) {
    const cJSON *kinds = gs_json_get(c->json, "layer_types");
    const char *kind = cJSON_IsArray(kinds) ? cJSON_GetStringValue(cJSON_GetArrayItem(kinds, (int)layer)) : NULL;
    if (kind) return strcmp(kind, "sliding_attention") == 0;
    return every == 0 || (layer + 1) % every != 0;
}

/* A window as long as the context cuts nothing. */
static gs_status check_lost_window(const gs_gguf_family *family, const gs_model_config *c, gs_error *err) {
    int64_t first = 0;
    if (c->window >= c->max_positions) return GS_OK;
    if (family->window == GS_GGUF_WINDOW_LOST_WHEN) {
        if (!cJSON_IsTrue(gs_json_get(c->json, "use_sliding_window"))) return GS_OK;
        if (!cJSON_IsArray(gs_json_get(c->json, "layer_types")))
            GS_TRY(gs_json_int(c->json, "max_window_layers", &first, err));
    }
    for (int64_t i = first < 0 ? 0 : first; i < c->layers; i++) {
        if (!has_window(c, i, 0)) continue;
        (void)GS_FAIL(err, GS_E_UNSUPPORTED,
                      "sliding_window %lld of %lld positions: llama.cpp's %s models have no windows",
                      (long long)c->window, (long long)c->max_positions, family->architecture);
        return gs_error_hint(err, "with max_position_embeddings of at most %lld in config.json no window is needed",
                             (long long)c->window);
    }
    return GS_OK;
}

static gs_status put_window(const gs_gguf_family *family, const gs_model_config *c, gs_gguf_writer *w, gs_error *err) {
    enum { EVERY = 2 };
    char key[GS_GGUF_KEY_MAX];
    bool alternates = family->window == GS_GGUF_WINDOW_ALTERNATES;
    gs_gguf_key(family, "attention.sliding_window", key);
    if (!alternates && family->window != GS_GGUF_WINDOW_SAID)
        return c->window && family->window != GS_GGUF_WINDOW_IGNORED ? check_lost_window(family, c, err) : GS_OK;
    if (!alternates && !c->window) return gs_gguf_writer_u32(w, key, 0, err);
    if (!c->window)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "no sliding_window: llama.cpp's %s models have one",
                       family->architecture);
    if (c->sliding_rope_theta != c->rope_theta || c->sliding_rope_scaling.kind != c->rope_scaling.kind ||
        c->sliding_rope_scaling.factor != c->rope_scaling.factor)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "layers with windows rotate otherwise than those without: not written");
    for (int64_t i = 0; i < c->layers; i++)
        if (has_window(c, i, alternates ? EVERY : 0) != (!alternates || (i + 1) % EVERY != 0))
            return GS_FAIL(err, GS_E_UNSUPPORTED, "layer_types: llama.cpp's %s models have %s", family->architecture,
                           alternates ? "a window in every other layer, from the first on" : "windows in all layers");
    return put_size(family, "attention.sliding_window", c->window, w, err);
}

/* ---- numbers */

static gs_status put_numbers(const gs_gguf_family *family, const gs_model_config *c, gs_gguf_writer *w, gs_error *err) {
    const gs_gguf_number *n;
    int64_t width = gs_gguf_attention_width(family, c->layers, c->hidden, c->heads, c->head_dim);
    double said = (double)c->head_dim;
    for (size_t i = 0; (n = gs_gguf_number_at(i)); i++) {
        double value = n->absent_config;
        if (n->kind != family->numbers) continue;
        GS_TRY(gs_model_config_positive(c, n->hf, &value, err));
        if (value == 0)
            return GS_FAIL(err, GS_E_UNSUPPORTED, "no %s: llama.cpp's %s models have one", n->hf,
                           family->architecture);
        GS_TRY(put_real(family, n->gguf, value, w, err));
    }
    if (family->numbers != GS_GGUF_SOFT_CAPS) return GS_OK;
    GS_TRY(gs_model_config_positive(c, "query_pre_attn_scalar", &said, err));
    if (said == (double)width) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "query_pre_attn_scalar %g: llama.cpp's %s models of this size have %lld",
                   said, family->architecture, (long long)width);
}

static gs_status check_output(const gs_gguf_family *family, const gs_model_config *c, gs_error *err) {
    bool tied = c->tied_is_said ? c->tied : family->output == GS_GGUF_OUTPUT_TIED;
    if (family->output == GS_GGUF_OUTPUT_MAY_TIE || tied == (family->output == GS_GGUF_OUTPUT_TIED)) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "tie_word_embeddings is %s: llama.cpp's %s models have %s",
                   tied ? "true" : "false", family->architecture,
                   tied ? "an output of their own" : "none but the embedding");
}

gs_status gs_gguf_hf_put_config(const gs_model_config *c, gs_gguf_writer *w, gs_error *err) {
    const gs_gguf_family *family = NULL;
    GS_TRY(gs_gguf_family_find(c->model_type, &family, err));
    if (family->experts.count)
        return GS_FAIL(err, GS_E_UNSUPPORTED,
                       "%s: mixtures of experts are read from GGUF files, but not written to them", c->model_type);
    if (strcmp(c->hidden_act, family->hidden_act) != 0)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "hidden_act '%s': GGUF's %s models have '%s'", c->hidden_act,
                       family->architecture, family->hidden_act);
    GS_TRY(check_output(family, c, err));
    GS_TRY(gs_gguf_writer_string(w, "general.architecture", family->architecture, strlen(family->architecture), err));
    GS_TRY(put_size(family, "block_count", c->layers, w, err));
    GS_TRY(put_size(family, "context_length", c->max_positions, w, err));
    GS_TRY(put_size(family, "embedding_length", c->hidden, w, err));
    GS_TRY(put_size(family, "feed_forward_length", c->intermediate, w, err));
    GS_TRY(put_size(family, "vocab_size", c->vocab, w, err));
    GS_TRY(put_heads(family, c, w, err));
    GS_TRY(put_real(family, "attention.layer_norm_rms_epsilon", c->norm_eps, w, err));
    GS_TRY(put_real(family, "rope.freq_base", c->rope_theta, w, err));
    GS_TRY(put_window(family, c, w, err));
    GS_TRY(put_numbers(family, c, w, err));
    return put_rope_scaling(family, c, w, err);
}

gs_status gs_gguf_hf_rope_divisors(const gs_model_config *c, float **divisors, int64_t *count, gs_error *err) {
    const gs_rope_scaling *r = &c->rope_scaling;
    *divisors = NULL;
    *count = 0;
    if (r->kind != GS_ROPE_SCALING_LLAMA3) return GS_OK;
    gs_llama3_scaling s = {.theta = c->rope_theta, .factor = r->factor, .low = r->low_freq_factor,
                           .high = r->high_freq_factor, .original = (double)r->original_max_positions,
                           .head_dim = c->head_dim};
    float *d = gs_alloc((size_t)(c->head_dim / 2) * sizeof *d);
    if (!d) return gs_error_nomem(err, (size_t)(c->head_dim / 2) * sizeof *d);
    for (int64_t j = 0; j < c->head_dim / 2; j++) d[j] = (float)gs_llama3_divisor(&s, j);
    *divisors = d;
    *count = c->head_dim / 2;
    return GS_OK;
}
