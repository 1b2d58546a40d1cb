/* A directory with config.json and one MindSpore checkpoint of the older Golden Stick's names (ascend-bundles.md 6.2,
 * mindspore_ckpt_format.c writes it). <l>._layer.weight I8 [n, k] is a quantized linear, and what stands beside it says
 * how: _layer.matmul.dequant_scale a static one, .weight_zp a weight-only one, neither a dynamic one.
 *
 * weight_zp is the negated offset. The scales of static linears' weights are not stored. */
#include <deploy/mindspore_tensors.h>

#include <base/file.h>
#include <base/mem.h>
#include <loaders/mindspore_ckpt.h>
#include <loaders/shards.h>

#include <stdio.h>
#include <string.h>

typedef struct linear {
    gs_bundle_content *content;
    const gs_tensor *weight;
    size_t stem;    /* length, of weight's name */
    const char *hf; /* its Hugging Face name */
} linear;

static bool detect(const char *path, const cJSON *config, const gs_bundle_open_options *options) {
    /* beside a model's own weights it is something else: a state of its training */
    if ((!config && !options->config) || gs_shards_in_dir(path)) return false;
    char *file = gs_dir_only_file(path, ".ckpt");
    gs_free(file);
    return file != NULL;
}

static const gs_tensor *find(const gs_bundle_content *c, const char *name, size_t stem, const char *suffix) {
    char other[512];
    snprintf(other, sizeof other, "%.*s.%s", (int)stem, name, suffix);
    return gs_mindspore_ckpt_find(c->rules, other);
}

static gs_status need(const linear *l, const char *suffix, const gs_tensor **out, gs_error *err) {
    *out = find(l->content, l->weight->name, l->stem, suffix);
    if (*out) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "tensor '%.*s.%s' is missing", (int)l->stem, l->weight->name, suffix);
}

/* A tensor that is canonical but for its name. */
static gs_status rename_to(const linear *l, const gs_tensor *t, gs_role role, gs_error *err) {
    const char *name = gs_content_name(l->content, l->hf, role, err);
    return name ? gs_content_add(l->content, t, name, err) : GS_E_NOMEM;
}

/* weight_offset: the negated weight_zp, or zeros where there is none. */
static gs_status add_offset(const linear *l, const gs_tensor *zp, gs_error *err) {
    int64_t n = l->weight->shape[0];
    char text[128];
    void *data;
    GS_TRY(gs_content_make(l->content, l->hf, GS_ROLE_WEIGHT_OFFSET, GS_F32, n, 0, &data, err));
    if (!zp) return GS_OK;
    if (zp->ndim != 1 || zp->shape[0] != n || !gs_dtype_is_float(zp->dtype))
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is %s %s, not a float [%lld]", zp->name, gs_dtype_name(zp->dtype),
                       gs_tensor_shape_text(zp, text, sizeof text), (long long)n);
    GS_TRY(gs_tensor_read_f32(zp, 0, 1, data, err));
    for (int64_t i = 0; i < n; i++) ((float *)data)[i] = 0.0f - ((float *)data)[i];
    return GS_OK;
}

/* What quant_bias = rne(bias / deq_scale) - offset * sum of codes holds of a bias, in steps of deq_scale. */
static int64_t folded_steps(const linear *l, const gs_tensor *quant_bias, int64_t offset, int64_t row) {
    int64_t k = l->weight->shape[1], sum = 0;
    const int8_t *codes = (const int8_t *)l->weight->data + row * k;
    for (int64_t j = 0; j < k && offset; j++) sum += codes[j];
    return gs_tensor_integer(quant_bias, row) + offset * sum;
}

/* A static linear's bias is in quant_bias alone. Networks whose linears have one need it, and other formats store it. The
 * input offset is the tensor made last. */
static gs_status add_folded_bias(const linear *l, const gs_tensor *deq, const gs_tensor *quant_bias, gs_error *err) {
    const gs_bundle_content *c = l->content;
    int64_t n = l->weight->shape[0], offset = (int64_t)*(const float *)(const void *)c->tensor[c->count - 1].data;
    bool any = false;
    float *bias, scale;
    bool fits = quant_bias->dtype == GS_I32 && quant_bias->ndim == 1 && quant_bias->shape[0] == n && deq->ndim == 1 &&
                deq->shape[0] == n && (deq->dtype == GS_F32 || deq->dtype == GS_I64);
    if (!fits) return GS_OK; /* refused when the network is made */
    bias = gs_alloc((size_t)n * sizeof *bias);
    if (!bias) return gs_error_nomem(err, (size_t)n * sizeof *bias);
    for (int64_t i = 0; i < n; i++) {
        memcpy(&scale, deq->data + i * (deq->dtype == GS_I64 ? 8 : 4), sizeof scale); /* an I64's low half comes first */
        int64_t steps = folded_steps(l, quant_bias, offset, i);
        bias[i] = (float)((double)steps * (double)scale);
        any = any || steps != 0;
    }
    void *data;
    gs_status status = any ? gs_content_make(l->content, l->hf, GS_ROLE_BIAS, GS_F32, n, 0, &data, err) : GS_OK;
    if (any && status == GS_OK) memcpy(data, bias, (size_t)n * sizeof *bias);
    gs_free(bias);
    gs_mindspore_ckpt_drop(c->rules, l->weight);
    return status;
}

static gs_status add_static(const linear *l, const gs_tensor *deq, gs_error *err) {
    const gs_tensor *bias, *scale, *zp;
    GS_TRY(need(l, "_layer.matmul.quant_bias", &bias, err));
    GS_TRY(need(l, "quant_op.input_scale", &scale, err));
    GS_TRY(need(l, "quant_op.input_zp", &zp, err));
    GS_TRY(rename_to(l, deq, GS_ROLE_DEQ_SCALE, err));
    GS_TRY(rename_to(l, bias, GS_ROLE_QUANT_BIAS, err));
    GS_TRY(gs_mindspore_add_input(l->content, l->hf, GS_ROLE_INPUT_SCALE, scale, l->weight->shape[1], err));
    GS_TRY(gs_mindspore_add_input(l->content, l->hf, GS_ROLE_INPUT_OFFSET, zp, l->weight->shape[1], err));
    return add_folded_bias(l, deq, bias, err);
}

static gs_status add_quantized(const linear *l, const gs_tensor *weight, gs_scheme scheme, gs_error *err) {
    const char *name = gs_content_name(l->content, l->hf, GS_ROLE_WEIGHT, err);
    if (!name) return GS_E_NOMEM;
    GS_TRY(gs_content_quantized(l->content, name, scheme, err));
    return gs_content_add(l->content, weight, name, err);
}

/* t: "<stem>._layer.weight". */
static gs_status add_linear(gs_bundle_content *c, const gs_tensor *t, size_t stem, gs_error *err) {
    char text[128];
    const gs_tensor *scale;
    linear l = {c, t, stem, gs_mindspore_hf_name(c, t->name, stem, err)};
    if (!l.hf) return GS_E_NOMEM;
    if (t->dtype != GS_I8 || t->ndim != 2 || t->shape[0] < 1 || t->shape[1] < 1)
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is %s %s, not I8 [n, k]", t->name, gs_dtype_name(t->dtype),
                       gs_tensor_shape_text(t, text, sizeof text));
    const gs_tensor *deq = find(c, t->name, stem, "_layer.matmul.dequant_scale");
    const gs_tensor *zp = find(c, t->name, stem, "_layer.matmul.weight_zp");
    const gs_tensor *bias = find(c, t->name, stem, "_layer.bias");
    if (bias) GS_TRY(rename_to(&l, bias, GS_ROLE_BIAS, err));
    GS_TRY(add_quantized(&l, t, deq ? GS_SCHEME_W8A8 : zp ? GS_SCHEME_W8A16 : GS_SCHEME_W8A8_DYNAMIC, err));
    if (deq) return add_static(&l, deq, err);
    GS_TRY(need(&l, "_layer.matmul.weight_scale", &scale, err));
    GS_TRY(rename_to(&l, scale, GS_ROLE_WEIGHT_SCALE, err));
    return add_offset(&l, zp, err);
}

/* Whether a quantized linear has brought the tensor along. smooth_scale is not among them: it would divide the inputs. */
static bool is_part(const gs_bundle_content *c, const char *name) {
    static const char *const suffixes[] = {"_layer.matmul.weight_scale",  "_layer.matmul.weight_zp",
                                           "_layer.matmul.dequant_scale", "_layer.matmul.quant_bias",
                                           "quant_op.input_scale",        "quant_op.input_zp", "_layer.bias"};
    for (size_t i = 0; i < GS_COUNTOF(suffixes); i++) {
        size_t stem = gs_name_stem(name, suffixes[i]);
        if (stem && find(c, name, stem, "_layer.weight")) return true;
    }
    return false;
}

static gs_status add(gs_bundle_content *c, const gs_tensor *t, gs_error *err) {
    size_t stem = gs_name_stem(t->name, "_layer.weight");
    if (stem) return add_linear(c, t, stem, err);
    if (is_part(c, t->name)) return GS_OK;
    gs_role role = GS_ROLE_WEIGHT;
    stem = gs_name_stem(t->name, "weight");
    if (!stem) stem = gs_name_stem(t->name, "embedding_weight");
    if (!stem && (stem = gs_name_stem(t->name, "bias"))) role = GS_ROLE_BIAS;
    if (!stem) return GS_FAIL(err, GS_E_UNSUPPORTED, "tensor '%s' is not computed here", t->name);
    const char *hf = gs_mindspore_hf_name(c, t->name, stem, err), *name = hf ? gs_content_name(c, hf, role, err) : NULL;
    return name ? gs_content_add(c, t, name, err) : GS_E_NOMEM;
}

static void drop(const void *rules, const gs_tensor *t) { gs_mindspore_ckpt_drop(rules, t); }
static void release(void *rules) { gs_mindspore_ckpt_close(rules); }

static gs_status open_bundle(const char *path, const gs_bundle_open_options *options, gs_bundle_content *c,
                             gs_error *err) {
    gs_mindspore_ckpt *ckpt;
    const gs_checkpoint_parts parts = {.config = gs_content_foreign_config(path, options)};
    char *file = gs_dir_only_file(path, ".ckpt");
    if (!file) return GS_FAIL(err, GS_E_FORMAT, "there is no .ckpt, or more than one");
    gs_status status = gs_mindspore_ckpt_open(file, &ckpt, err);
    gs_free(file);
    GS_TRY(status);
    c->rules = ckpt;
    c->release = release;
    GS_TRY(gs_checkpoint_open_parts(path, &parts, &c->checkpoint, err));
    gs_checkpoint_drop_by(c->checkpoint, drop, ckpt);
    GS_TRY(gs_content_compute(c, err));
    for (size_t i = 0; i < gs_mindspore_ckpt_count(ckpt); i++) GS_TRY(add(c, gs_mindspore_ckpt_at(ckpt, i), err));
    return GS_OK;
}

const gs_bundle_reader gs_bundle_reader_mindspore_ckpt = {
    .name = "mindspore-ckpt",
    .about = "a MindSpore checkpoint of the older Golden Stick",
    .detect = detect,
    .open = open_bundle,
};
