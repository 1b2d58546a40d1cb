/* "compressed-tensors": what vLLM on GPUs and transformers load (ascend-bundles.md 7.1). A Hugging Face directory whose
 * config.json describes the quantization; a bundle in which nothing is quantized is a plain model.
 *
 *   W8A8, W8A8_DYNAMIC  int-quantized: weight I8 [n, k], weight_scale [n, 1]; static: input_scale [1], and where
 *                       activations are asymmetric input_zero_point I8 [1]
 *   W8A16               pack-quantized: weight_packed I32 [n, k/4] of biased codes, weight_scale [n, 1] or [n, k/g],
 *                       weight_shape I64 [2]
 * Scales and biases have the model's dtype where it holds them exactly, else F32. One `format` holds for all.
 */
#include <base/mem.h>
#include <deploy/container.h>
#include <deploy/side_files.h>
#include <deploy/stored.h>

#include <string.h>

/* What config.json has to tell apart; also a tensor's type while the bundle is made. */
typedef enum kind { STATIC, STATIC_ASYMMETRIC, DYNAMIC, WEIGHT_ONLY, KINDS } kind;
static const char *const kind_name[KINDS] = {"W8A8 symmetric", "W8A8", "W8A8_DYNAMIC", "W8A16"};
static const char float_linear[] = "FLOAT linear"; /* goes to `ignore`; other floats do not */

static kind node_kind(const gs_bundle_options *o, const gs_node *node) {
    if (node->attr.quant.scheme == GS_SCHEME_W8A16) return WEIGHT_ONLY;
    if (node->attr.quant.scheme == GS_SCHEME_W8A8_DYNAMIC) return DYNAMIC;
    return o->act_symmetric ? STATIC : STATIC_ASYMMETRIC;
}

/* ---- what it carries ---- */

static gs_status permits(const gs_bundle_options *o, const gs_node *node, gs_error *err) {
    int64_t n, k;
    const gs_param *offset = node->param[GS_ROLE_INPUT_OFFSET];
    GS_TRY(gs_permits_plain("compressed-tensors", node, err));
    if (node->op != GS_OP_QLINEAR) return GS_OK;
    gs_scheme s = node->attr.quant.scheme;
    if (s == GS_SCHEME_W8A8_MIX)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' is W8A8_MIX: compressed-tensors has static or per-token scales, not both",
                       node->name);
    if (s != GS_SCHEME_W8A16 && s != GS_SCHEME_W8A8 && s != GS_SCHEME_W8A8_DYNAMIC)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': no %s is written as compressed-tensors", node->name, gs_scheme_name(s));
    GS_TRY(gs_permits_qlinear(node, err));
    gs_node_weight_shape(node, &n, &k);
    if (gs_node_groups(node) == 0)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': it has no weight scales, only their products with the input's", node->name);
    if (node->param[GS_ROLE_WEIGHT_OFFSET] && gs_values_nonzero(node->param[GS_ROLE_WEIGHT_OFFSET]))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': its weights have offsets, this writer has symmetric ones only", node->name);
    if (o->act_symmetric && offset && gs_values_nonzero(offset))
        return GS_FAIL(err, GS_E_INVALID, "'%s': an input offset in a bundle of symmetric activations", node->name);
    if (s == GS_SCHEME_W8A16 && k % 4)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': rows of %lld codes do not fill words of four", node->name, (long long)k);
    return GS_OK;
}

static gs_status permits_bundle(const gs_bundle_writer *w, gs_error *err) {
    const gs_bundle_facts *f = gs_bundle_writer_facts(w);
    bool packed = f->schemes >> GS_SCHEME_W8A16 & 1;
    bool plain = f->schemes >> GS_SCHEME_W8A8 & 1 || f->schemes >> GS_SCHEME_W8A8_DYNAMIC & 1;
    if (packed && plain)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "compressed-tensors has one packing for all: W8A16 beside int8 activations has two");
    if (f->mixed_groups)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "the linears here differ in the group size of their scales");
    return GS_OK;
}

/* ---- tensors ---- */

static gs_status encode_shape(const gs_stored *t, gs_sink *sink, gs_error *err) {
    int64_t shape[2];
    gs_node_weight_shape(t->node, &shape[0], &shape[1]);
    return gs_sink_put(sink, shape, sizeof shape, err);
}

static gs_status emit_static(const gs_emission *e, gs_error *err) {
    const gs_param *scale = e->node->param[GS_ROLE_INPUT_SCALE], *offset = e->node->param[GS_ROLE_INPUT_OFFSET];
    GS_TRY(gs_emit(e, ".input_scale", scale, gs_exact_dtype(e->o, scale), 1, 0, gs_encode_values, err));
    if (e->o->act_symmetric) return GS_OK;
    return gs_emit(e, ".input_zero_point", offset, GS_I8, 1, 0, offset ? gs_encode_values : gs_encode_zeros, err);
}

static gs_status emit_qlinear(const gs_emission *e, gs_error *err) {
    int64_t n, k;
    const gs_param *weight = e->node->param[GS_ROLE_WEIGHT], *scale = e->node->param[GS_ROLE_WEIGHT_SCALE];
    const gs_param *bias = e->node->param[GS_ROLE_BIAS];
    bool packed = gs_node_scheme(e->node) == GS_SCHEME_W8A16;
    gs_node_weight_shape(e->node, &n, &k);
    if (packed) {
        GS_TRY(gs_emit(e, ".weight_packed", weight, GS_I32, n, k / 4, gs_encode_biased, err));
        GS_TRY(gs_emit(e, ".weight_shape", NULL, GS_I64, 2, 0, encode_shape, err));
    } else {
        GS_TRY(gs_emit(e, ".weight", weight, GS_I8, n, k, gs_encode_codes, err));
    }
    GS_TRY(gs_emit(e, ".weight_scale", scale, gs_exact_dtype(e->o, scale), n, gs_node_groups(e->node), gs_encode_values, err));
    if (gs_node_scheme(e->node) == GS_SCHEME_W8A8) GS_TRY(emit_static(e, err));
    return bias ? gs_emit(e, ".bias", bias, gs_exact_dtype(e->o, bias), n, 0, gs_encode_float, err) : GS_OK;
}

static gs_status tensors(const gs_bundle_options *o, const gs_node *node, gs_stored_emit *emit, void *ctx,
                         gs_error *err) {
    gs_emission e = {.o = o, .node = node, .type = gs_node_is_linear(node) ? float_linear : "FLOAT", .emit = emit, .ctx = ctx};
    if (node->op != GS_OP_QLINEAR) return gs_emit_floats(&e, err);
    e.type = kind_name[node_kind(o, node)];
    return emit_qlinear(&e, err);
}

/* ---- config.json ---- */

/* The linear that a weight belongs to; false for another tensor. */
static bool linear_name(const char *tensor, char name[GS_STORED_NAME]) {
    static const char *const endings[] = {".weight", ".weight_packed"};
    size_t n = strlen(tensor);
    for (size_t i = 0; i < GS_COUNTOF(endings); i++) {
        size_t k = strlen(endings[i]);
        if (n <= k || n >= GS_STORED_NAME || strcmp(tensor + n - k, endings[i]) != 0) continue;
        memcpy(name, tensor, n - k);
        name[n - k] = 0;
        return true;
    }
    return false;
}

static bool add_string(cJSON *array, const char *text) {
    cJSON *item = cJSON_CreateString(text);
    if (cJSON_AddItemToArray(array, item)) return true;
    cJSON_Delete(item);
    return false;
}

/* Adds the names of all linears of a type to the array; NULL array: counts only. */
static bool list_linears(const gs_bundle_writer *w, const char *type, cJSON *array, size_t *count) {
    char name[GS_STORED_NAME];
    *count = 0;
    for (size_t i = 0; i < gs_bundle_writer_count(w); i++) {
        const char *t, *tensor = gs_bundle_writer_tensor(w, i, &t);
        if (strcmp(t, type) != 0 || !linear_name(tensor, name)) continue;
        ++*count;
        if (array && !add_string(array, name)) return false;
    }
    return true;
}

/* Members that every reader of this format knows: others are refused by theirs. */
static bool describe_values(cJSON *parent, const char *key, bool symmetric, const char *strategy, int64_t group, bool dynamic) {
    cJSON *o = cJSON_AddObjectToObject(parent, key);
    return o && cJSON_AddNumberToObject(o, "num_bits", 8) && cJSON_AddStringToObject(o, "type", "int") &&
           cJSON_AddBoolToObject(o, "symmetric", symmetric) && cJSON_AddStringToObject(o, "strategy", strategy) &&
           (group ? cJSON_AddNumberToObject(o, "group_size", (double)group) : cJSON_AddNullToObject(o, "group_size")) &&
           cJSON_AddBoolToObject(o, "dynamic", dynamic) && cJSON_AddNullToObject(o, "actorder") &&
           cJSON_AddNullToObject(o, "block_structure") &&
           (dynamic ? cJSON_AddNullToObject(o, "observer") : cJSON_AddStringToObject(o, "observer", "minmax")) &&
           cJSON_AddObjectToObject(o, "observer_kwargs");
}

static bool describe_activations(cJSON *group, kind k) {
    if (k == WEIGHT_ONLY) return cJSON_AddNullToObject(group, "input_activations");
    return describe_values(group, "input_activations", k != STATIC_ASYMMETRIC, k == DYNAMIC ? "token" : "tensor", 0, k == DYNAMIC);
}

/* One group of linears; alone it is all that are not ignored. */
static bool describe_group(const gs_bundle_writer *w, cJSON *groups, const char *key, kind k, bool alone) {
    size_t count;
    int64_t size = gs_bundle_writer_facts(w)->group_size;
    cJSON *group = cJSON_AddObjectToObject(groups, key);
    cJSON *targets = group ? cJSON_AddArrayToObject(group, "targets") : NULL;
    if (!targets || !(alone ? add_string(targets, "Linear") : list_linears(w, kind_name[k], targets, &count))) return false;
    return describe_values(group, "weights", true, size ? "group" : "channel", size, false) &&
           describe_activations(group, k) && cJSON_AddNullToObject(group, "output_activations");
}

static bool describe_groups(const gs_bundle_writer *w, cJSON *groups) {
    size_t count[KINDS], kinds = 0, done = 0;
    for (int k = 0; k < KINDS; k++) {
        list_linears(w, kind_name[k], NULL, &count[k]);
        kinds += count[k] > 0;
    }
    for (int k = 0; k < KINDS; k++) {
        char key[16] = "group_0";
        key[6] = (char)('0' + done);
        if (count[k] == 0) continue;
        done++;
        if (!describe_group(w, groups, key, (kind)k, kinds == 1)) return false;
    }
    return true;
}

static bool describe_ignored(const gs_bundle_writer *w, cJSON *config) {
    const gs_bundle_options *o = gs_bundle_writer_options(w);
    size_t count;
    cJSON *ignore = cJSON_AddArrayToObject(config, "ignore");
    if (!ignore || !list_linears(w, float_linear, ignore, &count)) return false;
    return o->tied && o->head ? add_string(ignore, o->head) : true;
}

static bool describe(const gs_bundle_writer *w, cJSON *config) {
    const gs_bundle_facts *f = gs_bundle_writer_facts(w);
    bool packed = f->schemes >> GS_SCHEME_W8A16 & 1;
    cJSON *q = cJSON_AddObjectToObject(config, "quantization_config");
    if (!q || !cJSON_AddStringToObject(q, "quant_method", "compressed-tensors") ||
        !cJSON_AddStringToObject(q, "format", packed ? "pack-quantized" : "int-quantized") ||
        !cJSON_AddStringToObject(q, "quantization_status", "compressed") || !cJSON_AddStringToObject(q, "version", "0.9.0") ||
        !cJSON_AddNullToObject(q, "global_compression_ratio") || !cJSON_AddNullToObject(q, "kv_cache_scheme"))
        return false;
    cJSON *groups = cJSON_AddObjectToObject(q, "config_groups");
    return groups && describe_groups(w, groups) && describe_ignored(w, q);
}

static gs_status side_files(gs_bundle_writer *w, gs_error *err) {
    cJSON *config;
    GS_TRY(gs_side_copy(gs_bundle_writer_context(w), gs_bundle_writer_options(w), gs_bundle_writer_dir(w), err));
    GS_TRY(gs_side_config(gs_bundle_writer_options(w), &config, err));
    if (gs_bundle_writer_facts(w)->quantized == 0 || describe(w, config))
        return gs_side_json(gs_bundle_writer_dir(w), "config.json", config, 2, err);
    cJSON_Delete(config);
    return gs_error_nomem(err, 4096);
}

const gs_bundle_format gs_bundle_compressed_tensors = {
    .name = "compressed-tensors",
    .about = "vLLM and transformers (config.json describes the quantization)",
    .container = &gs_container_safetensors,
    .naming = {.stem = "model", .extension = ".safetensors", .index = "model.safetensors.index.json", .metadata = "pt"},
    .scale_dtype = GS_F32,
    .permits = permits,
    .permits_segment = gs_permits_fused,
    .permits_bundle = permits_bundle,
    .tensors = tensors,
    .side_files = side_files,
};
