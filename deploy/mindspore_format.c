/* "mindspore": what Golden Stick 1.4.1 writes for its Ascend back end, and vllm-mindspore and MindFormers load with
 * quantization "golden-stick" (golden-stick.md 3.3, ascend-bundles.md 6.3).
 *
 *   quant-model-00001-of-0000N.safetensors  always numbered, with model.safetensors.index.json; metadata format "ms"
 *   quantization_description.json           every tensor -> FLOAT, W8A16, W8A8 or W8A8_DYNAMIC
 *   config.json                             with "quantization": "golden-stick"
 *
 * Names are Hugging Face's but for `<embedding>.embedding_table`. T is the model's dtype:
 *   all      weight I8 [n, k], weight_scale T [n], weight_offset I32 [n]
 *   W8A8     input_scale T [k] and input_offset I8 [k], one value repeated; deq_scale F32 [n], quant_bias I32 [n]
 * A bias has its linear's type in the description: the loader wants one type a module. Golden Stick's files have mode
 * 0400; ours have 0644, as every bundle here: a server that runs as another user must be able to read them.
 */
#include <base/mem.h>
#include <deploy/container.h>
#include <deploy/mindspore_tensors.h>
#include <deploy/side_files.h>
#include <deploy/stored.h>

#include <stdio.h>
#include <string.h>

static gs_status permits_values(const gs_bundle_options *o, const gs_node *node, gs_error *err) {
    static const gs_role roles[] = {GS_ROLE_WEIGHT_SCALE, GS_ROLE_INPUT_SCALE};
    for (size_t i = 0; i < GS_COUNTOF(roles); i++) {
        const gs_param *p = node->param[roles[i]];
        if (p && !gs_values_exact(p, o->dtype))
            return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': %s is stored as %s, which does not hold it exactly", node->name,
                           gs_role_name(roles[i]), gs_dtype_torch_name(o->dtype));
    }
    return GS_OK;
}

static gs_status permits(const gs_bundle_options *o, const gs_node *node, gs_error *err) {
    GS_TRY(gs_permits_plain("Golden Stick's layout", node, err));
    if (node->op != GS_OP_QLINEAR) return GS_OK;
    gs_scheme s = node->attr.quant.scheme;
    if (s != GS_SCHEME_W8A16 && s != GS_SCHEME_W8A8 && s != GS_SCHEME_W8A8_DYNAMIC)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': Golden Stick's layout has no %s", node->name, gs_scheme_name(s));
    GS_TRY(gs_permits_qlinear(node, err));
    if (gs_node_groups(node) == 0)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': it has no weight scales, only their products with the input's", node->name);
    if (gs_node_groups(node) > 1)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': Golden Stick's layout has one weight scale a row, there are %lld",
                       node->name, (long long)gs_node_groups(node));
    return permits_values(o, node, err);
}

/* ---- tensors ---- */

static gs_status emit_static(const gs_emission *e, int64_t n, int64_t k, gs_error *err) {
    const gs_param *scale = e->node->param[GS_ROLE_INPUT_SCALE], *offset = e->node->param[GS_ROLE_INPUT_OFFSET];
    GS_TRY(gs_emit(e, ".input_scale", scale, e->o->dtype, k, 0, gs_encode_repeated, err));
    GS_TRY(gs_emit(e, ".input_offset", offset, GS_I8, k, 0, offset ? gs_encode_repeated : gs_encode_zeros, err));
    GS_TRY(gs_emit(e, ".deq_scale", NULL, GS_F32, n, 0, gs_encode_deq_scale, err));
    return gs_emit(e, ".quant_bias", NULL, GS_I32, n, 0, gs_encode_quant_bias, err);
}

static gs_status emit_qlinear(const gs_emission *e, gs_error *err) {
    int64_t n, k;
    const gs_param *const *param = (const gs_param *const *)e->node->param;
    const gs_param *offset = param[GS_ROLE_WEIGHT_OFFSET];
    gs_node_weight_shape(e->node, &n, &k);
    GS_TRY(gs_emit(e, ".weight", param[GS_ROLE_WEIGHT], GS_I8, n, k, gs_encode_codes, err));
    if (param[GS_ROLE_BIAS]) GS_TRY(gs_emit(e, ".bias", param[GS_ROLE_BIAS], e->o->dtype, n, 0, gs_encode_float, err));
    GS_TRY(gs_emit(e, ".weight_scale", param[GS_ROLE_WEIGHT_SCALE], e->o->dtype, n, 0, gs_encode_values, err));
    GS_TRY(gs_emit(e, ".weight_offset", offset, GS_I32, n, 0, offset ? gs_encode_values : gs_encode_zeros, err));
    return gs_node_scheme(e->node) == GS_SCHEME_W8A8 ? emit_static(e, n, k, err) : GS_OK;
}

static gs_status emit_embedding(const gs_emission *e, gs_error *err) {
    const gs_param *p = e->node->param[GS_ROLE_WEIGHT];
    gs_stored t = gs_stored_param(e->node, p, e->o->dtype, e->type, gs_encode_float);
    snprintf(t.name, sizeof t.name, "%s.embedding_table", e->o->embed);
    return e->emit(e->ctx, &t, err);
}

/* The embedding, or a head that reads it; the writer stores it once. */
static bool is_embedding(const gs_bundle_options *o, const gs_node *node) {
    char name[GS_STORED_NAME];
    const gs_param *p = node->param[GS_ROLE_WEIGHT];
    snprintf(name, sizeof name, "%s.weight", o->embed ? o->embed : "");
    return p && (node->op == GS_OP_EMBEDDING || strcmp(p->name, name) == 0);
}

static gs_status tensors(const gs_bundle_options *o, const gs_node *node, gs_stored_emit *emit, void *ctx,
                         gs_error *err) {
    const gs_emission e = {.o = o, .node = node, .type = gs_scheme_name(gs_node_scheme(node)), .emit = emit, .ctx = ctx};
    if (node->op == GS_OP_QLINEAR) return emit_qlinear(&e, err);
    return is_embedding(o, node) ? emit_embedding(&e, err) : gs_emit_floats(&e, err);
}

/* ---- side files ---- */

static bool describe(const gs_bundle_writer *w, cJSON *description) {
    const gs_bundle_options *o = gs_bundle_writer_options(w);
    char tied[GS_STORED_NAME];
    for (size_t i = 0; i < gs_bundle_writer_count(w); i++) {
        const char *type, *name = gs_bundle_writer_tensor(w, i, &type);
        if (!cJSON_AddStringToObject(description, name, type)) return false;
    }
    snprintf(tied, sizeof tied, "%s.weight", o->head ? o->head : "");
    if (!o->tied || gs_bundle_writer_has(w, tied)) return true;
    return cJSON_AddStringToObject(description, tied, "FLOAT"); /* a head is looked up though it is the embedding */
}

static gs_status side_files(gs_bundle_writer *w, gs_error *err) {
    cJSON *description = cJSON_CreateObject();
    if (!description || !describe(w, description)) {
        cJSON_Delete(description);
        return gs_error_nomem(err, 4096);
    }
    GS_TRY(gs_side_json(gs_bundle_writer_dir(w), "quantization_description.json", description, 4, err));
    return gs_mindspore_side_files(w, err);
}

const gs_bundle_format gs_bundle_mindspore = {
    .name = "mindspore",
    .about = "vllm-mindspore and MindFormers (Golden Stick's layout)",
    .container = &gs_container_safetensors,
    .naming = {.stem = "quant-model", .extension = ".safetensors", .index = "model.safetensors.index.json",
               .always_numbered = true, .metadata = "ms"},
    .scale_dtype = GS_F32,
    .scale_convention = "goldenstick",
    .permits = permits,
    .permits_segment = gs_permits_fused,
    .tensors = tensors,
    .side_files = side_files,
};
