/* The "ascend" bundle: what vllm-ascend and MindIE load (ascend-bundles.md 1 to 3, 5).
 *
 *   config.json                    edited copy, see side_files.h
 *   quant_model_description.json   flat object: every stored tensor -> its type, then globals
 *   quant_model_weights.safetensors, or -0000i-of-0000N shards with an index
 *   tokenizer and other texts
 */
#include <base/mem.h>
#include <deploy/ascend_rules.h>
#include <deploy/container.h>
#include <deploy/side_files.h>
#include <deploy/stored.h>

#include <stdio.h>
#include <string.h>

/* ---- tensors of a quantized linear ---- */

/* Scales and offsets are F32, unless the quantizer asks for the model's dtype: an older tool's bundles are so. */
static gs_dtype float_dtype(const gs_bundle_options *o, const gs_param *p) {
    return p && !p->source && p->dtype == o->dtype ? p->dtype : GS_F32;
}

static gs_status emit_role(const gs_emission *e, gs_role role, gs_dtype dtype, int64_t a, int64_t b, gs_encoder *encode,
                           gs_error *err) {
    char suffix[64];
    gs_emission as = *e;
    snprintf(suffix, sizeof suffix, ".%s", gs_role_name(role));
    if (role == GS_ROLE_BIAS) as.type = "FLOAT";
    return gs_emit(&as, suffix, e->node->param[role], dtype, a, b, encode, err);
}

/* Absent offsets are written as zeros: MindIE asks for them, and vllm-ascend would compute with what is in memory. */
static gs_status emit_scales(const gs_emission *e, int64_t n, gs_error *err) {
    const gs_param *scale = e->node->param[GS_ROLE_WEIGHT_SCALE], *offset = e->node->param[GS_ROLE_WEIGHT_OFFSET];
    int64_t groups = gs_node_groups(e->node);
    if (groups == 0) return GS_OK;
    bool zero = !offset || gs_target_has_vllm(e->o->target) || gs_node_scheme(e->node) != GS_SCHEME_W8A16;
    GS_TRY(emit_role(e, GS_ROLE_WEIGHT_SCALE, float_dtype(e->o, scale), n, groups, gs_encode_values, err));
    return emit_role(e, GS_ROLE_WEIGHT_OFFSET, float_dtype(e->o, offset ? offset : scale), n, groups,
                     zero ? gs_encode_zeros : gs_encode_values, err);
}

/* A deq_scale's type is a function of the bundle's (ascend-bundles.md 3.4, 4.2). */
static gs_status emit_static(const gs_emission *e, int64_t n, gs_error *err) {
    const gs_param *scale = e->node->param[GS_ROLE_INPUT_SCALE], *offset = e->node->param[GS_ROLE_INPUT_OFFSET];
    GS_TRY(emit_role(e, GS_ROLE_INPUT_SCALE, float_dtype(e->o, scale), 1, 0, gs_encode_values, err));
    GS_TRY(emit_role(e, GS_ROLE_INPUT_OFFSET, float_dtype(e->o, offset), 1, 0, offset ? gs_encode_values : gs_encode_zeros, err));
    GS_TRY(emit_role(e, GS_ROLE_QUANT_BIAS, GS_I32, n, 0, gs_encode_quant_bias, err));
    return emit_role(e, GS_ROLE_DEQ_SCALE, e->o->dtype == GS_BF16 ? GS_F32 : GS_I64, n, 0, gs_encode_deq_scale, err);
}

static gs_status emit_qlinear(const gs_emission *e, gs_error *err) {
    int64_t n, k;
    gs_node_weight_shape(e->node, &n, &k);
    GS_TRY(emit_role(e, GS_ROLE_WEIGHT, GS_I8, n, k, gs_encode_codes, err));
    if (e->node->param[GS_ROLE_BIAS]) GS_TRY(emit_role(e, GS_ROLE_BIAS, GS_F32, n, 0, gs_encode_float, err));
    GS_TRY(emit_scales(e, n, err));
    return gs_scheme_is_static(gs_node_scheme(e->node)) ? emit_static(e, n, err) : GS_OK;
}

/* ---- others ---- */

/* Params of a cache are named after the linear that makes its values. */
static gs_status emit_cache(const gs_emission *e, gs_error *err) {
    const gs_param *scale = e->node->param[GS_ROLE_CACHE_SCALE], *offset = e->node->param[GS_ROLE_CACHE_OFFSET];
    gs_stored t = gs_stored_param(e->node, scale, float_dtype(e->o, scale), "C8", gs_encode_values);
    GS_TRY(e->emit(e->ctx, &t, err));
    t.param = offset;
    t.encode = gs_encode_zeros;
    size_t stem = strlen(t.name) - strlen("scale");
    if (offset) snprintf(t.name, sizeof t.name, "%s", offset->name);
    else snprintf(t.name + stem, sizeof t.name - stem, "offset");
    return e->emit(e->ctx, &t, err);
}

static gs_status tensors(const gs_bundle_options *o, const gs_node *node, gs_stored_emit *emit, void *ctx,
                         gs_error *err) {
    const gs_emission e = {.o = o, .node = node, .type = gs_scheme_name(gs_node_scheme(node)), .emit = emit, .ctx = ctx};
    if (node->op == GS_OP_QLINEAR) return emit_qlinear(&e, err);
    if (node->param[GS_ROLE_CACHE_SCALE]) return emit_cache(&e, err);
    return gs_emit_floats(&e, err);
}

/* ---- side files ---- */

static void describe(gs_strbuf *text, const char *name, const char *type) {
    gs_strbuf_puts(text, "\n    ");
    gs_strbuf_json(text, name, strlen(name));
    gs_strbuf_printf(text, ": \"%s\",", type);
}

static gs_status write_description(gs_bundle_writer *w, gs_error *err) {
    const gs_bundle_options *o = gs_bundle_writer_options(w);
    const gs_bundle_facts *f = gs_bundle_writer_facts(w);
    gs_strbuf text = {0};
    char tied[GS_STORED_NAME];
    gs_strbuf_puts(&text, "{");
    for (size_t i = 0; i < gs_bundle_writer_count(w); i++) {
        const char *type, *name = gs_bundle_writer_tensor(w, i, &type);
        describe(&text, name, type);
    }
    snprintf(tied, sizeof tied, "%s.weight", o->head ? o->head : "");
    if (o->tied && !gs_bundle_writer_has(w, tied)) describe(&text, tied, "FLOAT");
    if (f->cache) gs_strbuf_puts(&text, "\n    \"kv_cache_type\": \"C8\",\n    \"kv_quant_type\": \"C8\",");
    gs_strbuf_printf(&text,
                     "\n    \"version\": \"1.0.0\",\n    \"model_quant_type\": \"%s\",\n"
                     "    \"metadata\": {},\n    \"group_size\": %lld,\n    \"optional\": {}\n}\n",
                     gs_scheme_name(f->dominant), (long long)f->group_size);
    gs_status status = text.failed ? gs_error_nomem(err, text.len)
                                   : gs_bundle_writer_add_file(w, "quant_model_description.json",
                                                               gs_strbuf_text(&text), text.len, err);
    gs_strbuf_clear(&text);
    return status;
}

/* MindIE's word for the whole. It takes every linear whose weight is stored as a float for one, and has no word for
 * bundles of such linears only: those are called w8a8. */
static const char *quantize_word(gs_scheme dominant) {
    switch (dominant) {
    case GS_SCHEME_W8A16: return "w8a16";
    case GS_SCHEME_W8A8_DYNAMIC: return "w8a8_dynamic";
    case GS_SCHEME_W8A8_MIX: return "w8a8_pdmix";
    default: return "w8a8";
    }
}

static gs_status write_config(gs_bundle_writer *w, gs_error *err) {
    cJSON *config;
    GS_TRY(gs_side_config(gs_bundle_writer_options(w), &config, err));
    gs_status status = gs_side_set(config, "quantize", quantize_word(gs_bundle_writer_facts(w)->dominant), err);
    if (status == GS_OK) return gs_side_json(gs_bundle_writer_dir(w), "config.json", config, 2, err);
    cJSON_Delete(config);
    return status;
}

static gs_status side_files(gs_bundle_writer *w, gs_error *err) {
    GS_TRY(gs_side_copy(gs_bundle_writer_context(w), gs_bundle_writer_options(w), gs_bundle_writer_dir(w), err));
    GS_TRY(write_config(w, err));
    return write_description(w, err);
}

const gs_bundle_format gs_bundle_ascend = {
    .name = "ascend",
    .about = "vllm-ascend and MindIE (ModelSlim layout)",
    .container = &gs_container_safetensors,
    .naming = {.stem = "quant_model_weights", .extension = ".safetensors",
               .index = "quant_model_weights.safetensors.index.json", .metadata = "pt"},
    .scale_dtype = GS_F32,
    .permits = gs_ascend_permits,
    .permits_segment = gs_ascend_permits_segment,
    .permits_bundle = gs_ascend_permits_bundle,
    .tensors = tensors,
    .side_files = side_files,
};
