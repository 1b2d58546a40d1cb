/* "gptq": the container of AutoGPTQ and GPTQModel with 8-bit codes (ascend-bundles.md 7.2), which vLLM and transformers
 * load whatever algorithm made the codes. Every linear but the head is W8A16:
 *
 *   qweight I32 [k/4, n]   byte j of word (r, c) is code (c, 4r + j) + 128
 *   qzeros  I32 [G, n/4]   bytes of zero point - 1, which is 127
 *   scales  F16 [G, n]     G = 1, or k/g
 *   g_idx   I32 [k]        i / g
 *   bias    F16 [n]
 */
#include <base/mem.h>
#include <deploy/container.h>
#include <deploy/side_files.h>
#include <deploy/stored.h>

#include <string.h>

static bool is_head(const gs_bundle_options *o, const gs_node *node) { return o->head && strcmp(node->name, o->head) == 0; }

static gs_status permits_weight(const gs_node *node, gs_error *err) {
    int64_t n, k;
    const gs_param *scale = node->param[GS_ROLE_WEIGHT_SCALE], *offset = node->param[GS_ROLE_WEIGHT_OFFSET];
    gs_node_weight_shape(node, &n, &k);
    if (n % 4 || k % 4)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': GPTQ's words hold four codes, [%lld, %lld] is no multiple of it", node->name,
                       (long long)n, (long long)k);
    if (offset && gs_values_nonzero(offset))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': its weights have offsets, this writer has symmetric ones only", node->name);
    if (gs_values_exact(scale, GS_F16)) return GS_OK;
    GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': GPTQ's scales are float16, which does not hold all of these", node->name);
    return gs_error_hint(err, "quantize the model with --format gptq, which rounds them first");
}

static gs_status permits(const gs_bundle_options *o, const gs_node *node, gs_error *err) {
    GS_TRY(gs_permits_plain("GPTQ", node, err));
    if (!gs_node_is_linear(node)) return GS_OK;
    gs_scheme s = gs_node_scheme(node);
    if (is_head(o, node) && s == GS_SCHEME_FLOAT) return GS_OK;
    if (is_head(o, node)) return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': the head of a GPTQ model is float", node->name);
    if (s == GS_SCHEME_FLOAT) {
        GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' is float: in a GPTQ model every linear but the head is quantized", node->name);
        return gs_error_hint(err, "blacklist the head alone");
    }
    if (s != GS_SCHEME_W8A16)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' is %s: GPTQ holds 8-bit weights alone, W8A16", node->name, gs_scheme_name(s));
    GS_TRY(gs_permits_qlinear(node, err));
    return permits_weight(node, err);
}

static gs_status permits_bundle(const gs_bundle_writer *w, gs_error *err) {
    if (gs_bundle_writer_facts(w)->quantized == 0)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "nothing here is quantized: GPTQ has no such model");
    if (!gs_bundle_writer_facts(w)->mixed_groups) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "a GPTQ model has one group size, the linears here differ in it");
}

/* ---- tensors ---- */

/* Symmetric: the zero point is 128, and what is stored is one less. */
static gs_status encode_zeros(const gs_stored *t, gs_sink *sink, gs_error *err) {
    size_t bytes = (size_t)(t->shape[0] * t->shape[1]) * 4;
    uint8_t *zeros = gs_alloc(bytes ? bytes : 1);
    if (!zeros) return gs_error_nomem(err, bytes);
    memset(zeros, 0x7f, bytes);
    gs_status status = gs_sink_put(sink, zeros, bytes, err);
    gs_free(zeros);
    return status;
}

static gs_status encode_group_of(const gs_stored *t, gs_sink *sink, gs_error *err) {
    int64_t k = t->shape[0], size = k / gs_node_groups(t->node);
    int32_t *group = gs_alloc((size_t)k * sizeof *group);
    if (!group) return gs_error_nomem(err, (size_t)k * sizeof *group);
    for (int64_t i = 0; i < k; i++) group[i] = (int32_t)(i / size);
    gs_status status = gs_sink_put(sink, group, (size_t)k * sizeof *group, err);
    gs_free(group);
    return status;
}

static gs_status tensors(const gs_bundle_options *o, const gs_node *node, gs_stored_emit *emit, void *ctx,
                         gs_error *err) {
    const gs_emission e = {.o = o, .node = node, .type = gs_scheme_name(gs_node_scheme(node)), .emit = emit, .ctx = ctx};
    int64_t n, k, groups = gs_node_groups(node);
    if (node->op != GS_OP_QLINEAR) return gs_emit_floats(&e, err);
    const gs_param *bias = node->param[GS_ROLE_BIAS];
    gs_node_weight_shape(node, &n, &k);
    GS_TRY(gs_emit(&e, ".qweight", node->param[GS_ROLE_WEIGHT], GS_I32, k / 4, n, gs_encode_columns, err));
    GS_TRY(gs_emit(&e, ".qzeros", NULL, GS_I32, groups, n / 4, encode_zeros, err));
    GS_TRY(gs_emit(&e, ".scales", node->param[GS_ROLE_WEIGHT_SCALE], GS_F16, groups, n, gs_encode_transposed, err));
    GS_TRY(gs_emit(&e, ".g_idx", NULL, GS_I32, k, 0, encode_group_of, err));
    return bias ? gs_emit(&e, ".bias", bias, GS_F16, n, 0, gs_encode_float, err) : GS_OK;
}

/* ---- config.json, and quantize_config.json for older readers ---- */

static bool describe(const gs_bundle_writer *w, cJSON *q) {
    int64_t group = gs_bundle_writer_facts(w)->group_size;
    return cJSON_AddNumberToObject(q, "bits", 8) && cJSON_AddNumberToObject(q, "group_size", group ? (double)group : -1) &&
           cJSON_AddBoolToObject(q, "desc_act", false) && cJSON_AddBoolToObject(q, "sym", true) &&
           cJSON_AddNumberToObject(q, "damp_percent", 0.01) && cJSON_AddBoolToObject(q, "static_groups", false) &&
           cJSON_AddBoolToObject(q, "true_sequential", true) && cJSON_AddBoolToObject(q, "lm_head", false) &&
           cJSON_AddStringToObject(q, "quant_method", "gptq") && cJSON_AddStringToObject(q, "checkpoint_format", "gptq");
}

static gs_status write_legacy(gs_bundle_writer *w, gs_error *err) {
    cJSON *q = cJSON_CreateObject();
    if (q && describe(w, q)) return gs_side_json(gs_bundle_writer_dir(w), "quantize_config.json", q, 2, err);
    cJSON_Delete(q);
    return gs_error_nomem(err, 1024);
}

static gs_status side_files(gs_bundle_writer *w, gs_error *err) {
    cJSON *config;
    GS_TRY(gs_side_copy(gs_bundle_writer_context(w), gs_bundle_writer_options(w), gs_bundle_writer_dir(w), err));
    GS_TRY(write_legacy(w, err));
    GS_TRY(gs_side_config(gs_bundle_writer_options(w), &config, err));
    cJSON *q = cJSON_AddObjectToObject(config, "quantization_config");
    if (q && describe(w, q)) return gs_side_json(gs_bundle_writer_dir(w), "config.json", config, 2, err);
    cJSON_Delete(config);
    return gs_error_nomem(err, 4096);
}

const gs_bundle_format gs_bundle_gptq = {
    .name = "gptq",
    .about = "vLLM and transformers (GPTQ's container, 8-bit weights)",
    .container = &gs_container_safetensors,
    .naming = {.stem = "model", .extension = ".safetensors", .index = "model.safetensors.index.json", .metadata = "pt"},
    .scale_dtype = GS_F16,
    .permits = permits,
    .permits_segment = gs_permits_fused,
    .permits_bundle = permits_bundle,
    .tensors = tensors,
    .side_files = side_files,
};
