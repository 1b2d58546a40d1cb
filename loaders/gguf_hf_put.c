/* config.json in GGUF's words: the inverse of gguf_hf_config.c. */
#include <loaders/gguf_hf_config.h>

#include <base/mem.h>

#include <string.h>

/* Values of config.json were checked to be at least 1 and far below 2^32 when it was read. */
static gs_status put_size(const gs_gguf_family *family, const char *suffix, int64_t v, gs_gguf_writer *w,
                          gs_error *err) {
    char key[GS_GGUF_KEY_MAX];
    gs_gguf_key(family, suffix, key);
    if (v < 1 || v > INT32_MAX) return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' cannot be %lld", key, (long long)v);
    return gs_gguf_writer_u32(w, key, (uint32_t)v, err);
}

static gs_status put_real(const gs_gguf_family *family, const char *suffix, double v, gs_gguf_writer *w,
                          gs_error *err) {
    char key[GS_GGUF_KEY_MAX];
    return gs_gguf_writer_f32(w, gs_gguf_key(family, suffix, key), (float)v, err);
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

static gs_status put_rope_scaling(const gs_gguf_family *family, const gs_model_config *c, gs_gguf_writer *w,
                                  gs_error *err) {
    const gs_rope_scaling *s = &c->rope_scaling;
    char key[GS_GGUF_KEY_MAX];
    if (s->kind == GS_ROPE_SCALING_OTHER || s->kind == GS_ROPE_SCALING_DYNAMIC || s->kind == GS_ROPE_SCALING_YARN)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "rope scaling '%s' has no form in GGUF that is known here", s->name);
    if (s->kind == GS_ROPE_SCALING_LLAMA3) return put_llama3_constants(c, w, err); /* and a tensor */
    if (s->kind != GS_ROPE_SCALING_LINEAR) return GS_OK;
    GS_TRY(gs_gguf_writer_string(w, gs_gguf_key(family, "rope.scaling.type", key), "linear", 6, err));
    return put_real(family, "rope.scaling.factor", s->factor, w, err);
}

/* Readers take hidden/heads for the size of a head unless they are told. */
static gs_status put_heads(const gs_gguf_family *family, const gs_model_config *c, gs_gguf_writer *w, gs_error *err) {
    GS_TRY(put_size(family, "attention.head_count", c->heads, w, err));
    GS_TRY(put_size(family, "attention.head_count_kv", c->kv_heads, w, err));
    GS_TRY(put_size(family, "rope.dimension_count", c->head_dim, w, err));
    if (c->head_dim * c->heads == c->hidden) return GS_OK;
    GS_TRY(put_size(family, "attention.key_length", c->head_dim, w, err));
    return put_size(family, "attention.value_length", c->head_dim, w, err);
}

gs_status gs_gguf_hf_put_config(const gs_model_config *c, gs_gguf_writer *w, gs_error *err) {
    const gs_gguf_family *family = NULL;
    GS_TRY(gs_gguf_family_find(c->model_type, &family, err));
    if (strcmp(c->hidden_act, family->hidden_act) != 0)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "hidden_act '%s': GGUF's %s models have '%s'", c->hidden_act,
                       family->architecture, family->hidden_act);
    GS_TRY(gs_gguf_writer_string(w, "general.architecture", family->architecture, strlen(family->architecture), err));
    GS_TRY(put_size(family, "block_count", c->layers, w, err));
    GS_TRY(put_size(family, "context_length", c->max_positions, w, err));
    GS_TRY(put_size(family, "embedding_length", c->hidden, w, err));
    GS_TRY(put_size(family, "feed_forward_length", c->intermediate, w, err));
    GS_TRY(put_size(family, "vocab_size", c->vocab, w, err));
    GS_TRY(put_heads(family, c, w, err));
    GS_TRY(put_real(family, "attention.layer_norm_rms_epsilon", c->norm_eps, w, err));
    GS_TRY(put_real(family, "rope.freq_base", c->rope_theta, w, err));
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
