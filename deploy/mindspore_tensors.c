#include <deploy/mindspore_tensors.h>

#include <base/mem.h>
#include <deploy/side_files.h>

#include <stdio.h>
#include <string.h>

const gs_mindspore_ending gs_mindspore_endings[] = {
    {".self_attn.q_proj", ".attention.wq"}, {".self_attn.k_proj", ".attention.wk"},
    {".self_attn.v_proj", ".attention.wv"}, {".self_attn.o_proj", ".attention.wo"},
    {".mlp.gate_proj", ".feed_forward.w1"}, {".mlp.down_proj", ".feed_forward.w2"},
    {".mlp.up_proj", ".feed_forward.w3"},   {".input_layernorm", ".attention_norm"},
    {".post_attention_layernorm", ".ffn_norm"},
};
const size_t gs_mindspore_ending_count = GS_COUNTOF(gs_mindspore_endings);

/* Modules that are called by their whole name. */
static const gs_mindspore_ending wholes[] = {
    {"model.embed_tokens", "model.tok_embeddings"}, {"model.norm", "model.norm_out"}};

const char *gs_mindspore_hf_name(gs_bundle_content *c, const char *stem, size_t len, gs_error *err) {
    enum { LONGER = 32 }; /* than any ending here by its translation */
    char *name = gs_content_keep(c, len + LONGER, err);
    if (!name) return NULL;
    memcpy(name, stem, len);
    for (size_t i = 0; i < GS_COUNTOF(wholes); i++)
        if (strcmp(name, wholes[i].ms) == 0) return wholes[i].hf;
    for (size_t i = 0; i < gs_mindspore_ending_count; i++) {
        size_t k = strlen(gs_mindspore_endings[i].ms);
        if (len <= k || strcmp(name + len - k, gs_mindspore_endings[i].ms) != 0) continue;
        snprintf(name + len - k, k + LONGER, "%s", gs_mindspore_endings[i].hf);
        break;
    }
    return name;
}

static gs_status one_value(const gs_tensor *t, const float *value, float *out, gs_error *err) {
    *out = value[0];
    for (int64_t i = 1; i < t->shape[0]; i++)
        if (value[i] != value[0])
            return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' differs between columns (%g, %g at %lld): a smoothing is merged "
                           "into it, which is not computed here", t->name, (double)value[0], (double)value[i],
                           (long long)i);
    return GS_OK;
}

gs_status gs_mindspore_add_input(gs_bundle_content *c, const char *stem, gs_role role, const gs_tensor *t, int64_t cols,
                                 gs_error *err) {
    char text[128];
    void *data;
    bool typed = t->dtype == GS_I32 || t->dtype == GS_I8 || gs_dtype_is_float(t->dtype);
    if (!typed || t->ndim != 1 || (t->shape[0] != 1 && t->shape[0] != cols) || t->shape[0] < 1)
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is %s %s, not [1] or one value a column", t->name,
                       gs_dtype_name(t->dtype), gs_tensor_shape_text(t, text, sizeof text));
    GS_TRY(gs_content_make(c, stem, role, GS_F32, 1, 0, &data, err));
    float *value = gs_alloc((size_t)t->shape[0] * sizeof *value);
    if (!value) return gs_error_nomem(err, (size_t)t->shape[0] * sizeof *value);
    gs_status status = gs_tensor_read_f32(t, 0, 1, value, err);
    if (status == GS_OK) status = one_value(t, value, data, err);
    gs_free(value);
    return status;
}

gs_status gs_mindspore_side_files(gs_bundle_writer *w, gs_error *err) {
    cJSON *config;
    GS_TRY(gs_side_copy(gs_bundle_writer_context(w), gs_bundle_writer_options(w), gs_bundle_writer_dir(w), err));
    GS_TRY(gs_side_config(gs_bundle_writer_options(w), &config, err));
    gs_status status = gs_side_set(config, "quantization", "golden-stick", err);
    if (status == GS_OK) return gs_side_json(gs_bundle_writer_dir(w), "config.json", config, 2, err);
    cJSON_Delete(config);
    return status;
}
