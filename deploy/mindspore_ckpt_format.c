/* "mindspore-ckpt": one MindSpore checkpoint with the names that Golden Stick gives MindFormers' layers
 * (ascend-bundles.md 6.2), for its loaders before 1.3. Beside it stands config.json, as for "mindspore".
 * T is the model's dtype:
 *
 *   W8A16          <l>._layer.weight I8 [n, k], <l>._layer.matmul.weight_scale T [n], .weight_zp T [n], negated
 *   W8A8_DYNAMIC   <l>._layer.weight, <l>._layer.matmul.weight_scale F32 [n]
 *   W8A8           <l>._layer.weight, <l>._layer.matmul.dequant_scale I64 (bf16: F32) [n], .quant_bias I32 [n],
 *                  <l>.quant_op.input_scale T [k], .input_zp I8 [k]: one value repeated
 * Biases: <l>._layer.bias T [n]; a static linear's is in quant_bias and is not stored.
 */
#include <base/mem.h>
#include <deploy/container.h>
#include <deploy/mindspore_tensors.h>
#include <deploy/stored.h>

#include <stdio.h>
#include <string.h>

/* The stem of a tensor's name, "<stem>.weight" and the like, in the checkpoint's words; false where it has none. */
static bool translate(const gs_bundle_options *o, const char *tensor, char out[GS_STORED_NAME]) {
    const char *dot = strrchr(tensor, '.');
    size_t n = dot ? (size_t)(dot - tensor) : 0;
    if (n == 0 || n >= GS_STORED_NAME) return false;
    if (o->head && strlen(o->head) == n && memcmp(tensor, o->head, n) == 0)
        return snprintf(out, GS_STORED_NAME, "%s", o->head) > 0;
    if (o->embed && strlen(o->embed) == n && memcmp(tensor, o->embed, n) == 0)
        return snprintf(out, GS_STORED_NAME, "model.tok_embeddings") > 0;
    if (n == strlen("model.norm") && memcmp(tensor, "model.norm", n) == 0)
        return snprintf(out, GS_STORED_NAME, "model.norm_out") > 0;
    for (size_t i = 0; i < gs_mindspore_ending_count; i++) {
        size_t k = strlen(gs_mindspore_endings[i].hf);
        if (n <= k || memcmp(tensor + n - k, gs_mindspore_endings[i].hf, k) != 0) continue;
        int len = snprintf(out, GS_STORED_NAME, "%.*s%s", (int)(n - k), tensor, gs_mindspore_endings[i].ms);
        return len > 0 && len < GS_STORED_NAME - 64; /* suffixes still fit */
    }
    return false;
}

static gs_status permits_names(const gs_bundle_options *o, const gs_node *node, gs_error *err) {
    char name[GS_STORED_NAME];
    for (int r = 0; r < GS_ROLE_COUNT; r++)
        if (node->param[r] && !translate(o, node->param[r]->name, name))
            return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': MindSpore checkpoints have no name for it", node->param[r]->name);
    return GS_OK;
}

static gs_status permits_values(const gs_bundle_options *o, const gs_node *node, gs_error *err) {
    const gs_param *weight = node->param[GS_ROLE_WEIGHT_SCALE], *input = node->param[GS_ROLE_INPUT_SCALE];
    gs_scheme s = gs_node_scheme(node);
    bool exact = s == GS_SCHEME_W8A8 ? !input || gs_values_exact(input, o->dtype)
                                     : s == GS_SCHEME_W8A8_DYNAMIC || gs_values_exact(weight, o->dtype);
    if (exact) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': its scales are stored as %s, which does not hold them exactly", node->name,
                   gs_dtype_torch_name(o->dtype));
}

static gs_status permits(const gs_bundle_options *o, const gs_node *node, gs_error *err) {
    GS_TRY(gs_permits_plain("a MindSpore checkpoint", node, err));
    GS_TRY(permits_names(o, node, err));
    if (node->op != GS_OP_QLINEAR) return GS_OK;
    gs_scheme s = node->attr.quant.scheme;
    if (s != GS_SCHEME_W8A16 && s != GS_SCHEME_W8A8 && s != GS_SCHEME_W8A8_DYNAMIC)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': MindSpore checkpoints have no %s", node->name, gs_scheme_name(s));
    GS_TRY(gs_permits_qlinear(node, err));
    if (gs_node_groups(node) > 1)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': MindSpore checkpoints have one weight scale a row, there are %lld",
                       node->name, (long long)gs_node_groups(node));
    return permits_values(o, node, err);
}

/* ---- tensors ---- */

static gs_status emit(const gs_emission *e, const char *stem, const char *suffix, const gs_param *p, gs_dtype dtype,
                      int64_t a, int64_t b, gs_encoder *encode, gs_error *err) {
    gs_stored t;
    GS_TRY(gs_stored_make(&t, e->node, "", p, dtype, a, b, e->type, encode, err));
    t.constant = -0.0; /* of gs_encode_constant: an absent offset, negated */
    int len = snprintf(t.name, sizeof t.name, "%s%s", stem, suffix);
    if (len < 0 || (size_t)len >= sizeof t.name) return GS_FAIL(err, GS_E_INVALID, "'%.100s...': the name is too long", stem);
    return e->emit(e->ctx, &t, err);
}

static gs_status emit_static(const gs_emission *e, const char *stem, int64_t n, int64_t k, gs_error *err) {
    const gs_param *scale = e->node->param[GS_ROLE_INPUT_SCALE], *offset = e->node->param[GS_ROLE_INPUT_OFFSET];
    gs_dtype deq = e->o->dtype == GS_BF16 ? GS_F32 : GS_I64;
    GS_TRY(emit(e, stem, "._layer.matmul.quant_bias", NULL, GS_I32, n, 0, gs_encode_quant_bias, err));
    GS_TRY(emit(e, stem, "._layer.matmul.dequant_scale", NULL, deq, n, 0, gs_encode_deq_scale, err));
    GS_TRY(emit(e, stem, ".quant_op.input_scale", scale, e->o->dtype, k, 0, gs_encode_repeated, err));
    return emit(e, stem, ".quant_op.input_zp", offset, GS_I8, k, 0, offset ? gs_encode_repeated : gs_encode_zeros, err);
}

/* Zero points are negated, also 0: its bits are those of -0. */
static gs_status emit_weight_only(const gs_emission *e, const char *stem, int64_t n, gs_error *err) {
    const gs_param *scale = e->node->param[GS_ROLE_WEIGHT_SCALE], *offset = e->node->param[GS_ROLE_WEIGHT_OFFSET];
    GS_TRY(emit(e, stem, "._layer.matmul.weight_scale", scale, e->o->dtype, n, 0, gs_encode_values, err));
    return emit(e, stem, "._layer.matmul.weight_zp", offset, e->o->dtype, n, 0,
                offset ? gs_encode_negated : gs_encode_constant, err);
}

static gs_status emit_qlinear(const gs_emission *e, const char *stem, gs_error *err) {
    int64_t n, k;
    const gs_param *scale = e->node->param[GS_ROLE_WEIGHT_SCALE], *bias = e->node->param[GS_ROLE_BIAS];
    gs_scheme s = gs_node_scheme(e->node);
    gs_node_weight_shape(e->node, &n, &k);
    GS_TRY(emit(e, stem, "._layer.weight", e->node->param[GS_ROLE_WEIGHT], GS_I8, n, k, gs_encode_codes, err));
    if (s == GS_SCHEME_W8A8) return emit_static(e, stem, n, k, err);
    if (s == GS_SCHEME_W8A16) GS_TRY(emit_weight_only(e, stem, n, err));
    else GS_TRY(emit(e, stem, "._layer.matmul.weight_scale", scale, GS_F32, n, 0, gs_encode_values, err));
    return bias ? emit(e, stem, "._layer.bias", bias, e->o->dtype, n, 0, gs_encode_float, err) : GS_OK;
}

static gs_status emit_floats(const gs_emission *e, gs_error *err) {
    for (int r = 0; r < GS_ROLE_COUNT; r++) {
        char stem[GS_STORED_NAME];
        const gs_param *p = e->node->param[r];
        if (!p || (e->node->op == GS_OP_RMSNORM && r == GS_ROLE_BIAS && gs_norm_bias_is_idle(e->node))) continue;
        if (!translate(e->o, p->name, stem)) return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' has no name", p->name);
        gs_stored t = gs_stored_param(e->node, p, e->o->dtype, e->type, gs_encode_float);
        bool embedding = strcmp(stem, "model.tok_embeddings") == 0; /* also as a tied head */
        snprintf(t.name, sizeof t.name, "%.400s%s", stem, embedding ? ".embedding_weight" : strrchr(p->name, '.'));
        GS_TRY(e->emit(e->ctx, &t, err));
    }
    return GS_OK;
}

static gs_status tensors(const gs_bundle_options *o, const gs_node *node, gs_stored_emit *sink, void *ctx,
                         gs_error *err) {
    const gs_emission e = {.o = o, .node = node, .type = gs_scheme_name(gs_node_scheme(node)), .emit = sink, .ctx = ctx};
    char stem[GS_STORED_NAME];
    if (node->op != GS_OP_QLINEAR) return emit_floats(&e, err);
    if (!translate(o, node->param[GS_ROLE_WEIGHT]->name, stem))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' has no name", node->name);
    return emit_qlinear(&e, stem, err);
}

const gs_bundle_format gs_bundle_mindspore_ckpt = {
    .name = "mindspore-ckpt",
    .about = "MindFormers with Golden Stick before 1.3 (one .ckpt)",
    .container = &gs_container_mindspore_ckpt,
    .naming = {.stem = "model", .extension = ".ckpt"},
    .scale_dtype = GS_F32,
    .scale_convention = "goldenstick",
    .parts = true,
    .permits = permits,
    .permits_segment = gs_permits_fused,
    .tensors = tensors,
    .side_files = gs_mindspore_side_files,
};
