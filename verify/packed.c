/* The containers of other ecosystems: compressed-tensors (AB 7.1) and GPTQ (AB 7.2). Which linears are quantized and how
 * is said by config.json's quantization_config; names are the model's own. */
#include <verify/scan.h>

#include <base/half.h>
#include <base/mem.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct scheme {
    const cJSON *config; /* quantization_config */
    int64_t bits, group; /* group 0: a channel */
    bool packed, is_static, symmetric_input;
    uint32_t zeros; /* a word of qzeros */
} scheme;

static bool known_key(const cJSON *item, const char *const *keys) {
    for (; *keys; keys++)
        if (strcmp(item->string, *keys) == 0) return true;
    return false;
}

static void check_keys(gs_subject *s, gs_check check, const cJSON *object, const char *const *keys) {
    const cJSON *item;
    cJSON_ArrayForEach(item, object)
        gs_report_that(&s->report, check, known_key(item, keys), item->string, "no reader of this format knows the key");
}

static const char *word(const cJSON *object, const char *key) {
    const cJSON *item = gs_json_get(object, key);
    return cJSON_IsString(item) ? item->valuestring : "";
}

static int64_t whole(const cJSON *object, const char *key, int64_t otherwise) {
    int64_t v = otherwise;
    return gs_json_is_int(gs_json_get(object, key), &v) ? v : otherwise;
}

/* ---- compressed-tensors ---- */

static const char *const argument_keys[] = {"num_bits", "type", "symmetric", "group_size", "strategy", "block_structure",
                                            "dynamic", "actorder", "observer", "observer_kwargs", "scale_dtype", "zp_dtype", NULL};

static void read_arguments(gs_subject *s, const cJSON *weights, scheme *q) {
    check_keys(s, GS_CHECK_CT_CONFIG, weights, argument_keys);
    q->bits = whole(weights, "num_bits", 0);
    bool fine = (q->bits == 8 || q->bits == 4) && strcmp(word(weights, "type"), "int") == 0 && cJSON_IsTrue(gs_json_get(weights, "symmetric"));
    gs_report_that(&s->report, GS_CHECK_CT_CONFIG, fine, "weights", "%lld bits, type '%.20s': symmetric integers of 4 or 8 bits expected",
                   (long long)q->bits, word(weights, "type"));
    bool grouped = strcmp(word(weights, "strategy"), "group") == 0;
    if (grouped) q->group = whole(weights, "group_size", 0);
    gs_report_that(&s->report, GS_CHECK_CT_CONFIG, grouped ? q->group > 0 : strcmp(word(weights, "strategy"), "channel") == 0, "weights",
                   "strategy '%.20s' with group_size %lld", word(weights, "strategy"), (long long)q->group);
}

static void read_compressed(gs_subject *s, scheme *q) {
    const cJSON *group = gs_json_get(gs_json_get(q->config, "config_groups"), "group_0");
    const cJSON *input = gs_json_get(group, "input_activations"), *targets = gs_json_get(group, "targets");
    const char *format = word(q->config, "format");
    gs_report_that(&s->report, GS_CHECK_CT_CONFIG, cJSON_IsArray(targets) && targets->child && cJSON_IsString(targets->child) &&
                   strcmp(targets->child->valuestring, "Linear") == 0, "config_groups", "group_0 does not target [\"Linear\"]");
    read_arguments(s, gs_json_get(group, "weights"), q);
    q->packed = strcmp(format, "pack-quantized") == 0;
    bool has_input = cJSON_IsObject(input);
    if (has_input) check_keys(s, GS_CHECK_CT_CONFIG, input, argument_keys);
    q->is_static = has_input && !cJSON_IsTrue(gs_json_get(input, "dynamic"));
    q->symmetric_input = cJSON_IsTrue(gs_json_get(input, "symmetric"));
    gs_report_that(&s->report, GS_CHECK_CT_CONFIG, strcmp(format, has_input ? "int-quantized" : "pack-quantized") == 0, "format",
                   "'%.40s' %s activations", format, has_input ? "with quantized" : "without quantized");
    if (has_input)
        gs_report_that(&s->report, GS_CHECK_CT_CONFIG, strcmp(word(input, "strategy"), q->is_static ? "tensor" : "token") == 0,
                       "input_activations", "strategy '%.20s', dynamic %s", word(input, "strategy"), q->is_static ? "false" : "true");
}

/* By name. Where patterns ("re:...") are listed, too, a linear without any scale counts as ignored. */
static bool ignored(gs_subject *s, const scheme *q, const gs_module *m) {
    const cJSON *item;
    bool patterns = false;
    cJSON_ArrayForEach(item, gs_json_get(q->config, "ignore")) {
        if (!cJSON_IsString(item)) continue;
        if (strcmp(item->valuestring, m->name) == 0) return true;
        patterns = patterns || strncmp(item->valuestring, "re:", 3) == 0;
    }
    return patterns && !gs_subject_part(s, m, "weight_scale");
}

static gs_stored *need(gs_subject *s, const gs_module *m, const char *suffix) {
    char name[400];
    gs_stored *t = gs_subject_part(s, m, suffix);
    snprintf(name, sizeof name, "%s.%s", m->name, suffix);
    gs_report_that(&s->report, GS_CHECK_TENSOR_MISSING, t != NULL, name, "it is missing");
    return t;
}

static bool part(gs_subject *s, const gs_module *m, const char *suffix, gs_dtype a, gs_dtype b, int ndim, int64_t rows, int64_t cols) {
    const gs_dtype wanted[] = {a, b == a ? GS_DTYPE_NONE : b, GS_DTYPE_NONE};
    gs_stored *t = need(s, m, suffix);
    return t && gs_verify_tensor(s, t, wanted, ndim, rows, cols);
}

static gs_status check_scale(gs_subject *s, const gs_module *m, const char *suffix, gs_error *err) {
    gs_stored *t = gs_subject_part(s, m, suffix);
    int64_t rows, cols;
    gs_tensor_matrix(t->t, &rows, &cols);
    float *v = gs_calloc((size_t)(rows * cols) + 1, sizeof *v);
    if (!v) return gs_error_nomem(err, (size_t)(rows * cols) * sizeof *v);
    gs_status status = gs_tensor_read_f32(t->t, 0, rows, v, err);
    for (int64_t i = 0; status == GS_OK && i < rows * cols; i++)
        if (!gs_report_that(&s->report, GS_CHECK_SCALE_POSITIVE, v[i] > 0 && isfinite(v[i]), t->t->name, "[%lld] is %g", (long long)i, (double)v[i]))
            break;
    gs_free(v);
    return status;
}

static void check_weight_shape(gs_subject *s, const gs_module *m) {
    gs_stored *t = gs_subject_part(s, m, "weight_shape");
    int64_t shape[2];
    memcpy(shape, t->t->data, sizeof shape);
    gs_report_that(&s->report, GS_CHECK_CT_PACKED, shape[0] == m->rows && shape[1] == m->cols, t->t->name, "[%lld, %lld], expected [%lld, %lld]",
                   (long long)shape[0], (long long)shape[1], (long long)m->rows, (long long)m->cols);
}

static void check_rows(gs_subject *s, const gs_module *m, const gs_code_row *row) {
    int64_t low = 0;
    for (int64_t n = 0; n < m->rows; n++) {
        int top = -row[n].low > row[n].high ? -row[n].low : row[n].high;
        low += top != 0 && top < 64;
    }
    gs_report_that(&s->report, GS_CHECK_CODE_RANGE, low == 0, m->name, "%lld rows do not reach 64, expected 127 or near it", (long long)low);
}

static gs_status scan_weight(gs_subject *s, const gs_module *m, gs_error *err) {
    gs_stored *t = gs_subject_part(s, m, "weight");
    gs_code_row *row = gs_calloc((size_t)m->rows, sizeof *row);
    if (!row) return gs_error_nomem(err, (size_t)m->rows * sizeof *row);
    gs_scan_codes(s, t, row);
    check_rows(s, m, row);
    gs_free(row);
    return GS_OK;
}

static void check_shared(gs_subject *s, const gs_module *m) {
    const gs_module *first = &s->module[m->group];
    const gs_stored *a = gs_subject_part(s, m, "input_scale"), *b = gs_subject_part(s, first, "input_scale");
    if (first == m || !a || !b || a->t->bytes != b->t->bytes) return;
    gs_report_that(&s->report, GS_CHECK_FUSED_INPUT, memcmp(a->t->data, b->t->data, a->t->bytes) == 0, a->t->name, "it differs from %s",
                   b->t->name);
}

static gs_status check_compressed(gs_subject *s, const gs_module *m, const scheme *q, gs_error *err) {
    int64_t groups = q->group ? (m->cols + q->group - 1) / q->group : 1, word_codes = q->bits ? 32 / q->bits : 1;
    bool codes = q->packed ? part(s, m, "weight_packed", GS_I32, GS_I32, 2, m->rows, (m->cols + word_codes - 1) / word_codes)
                           : part(s, m, "weight", GS_I8, GS_I8, 2, m->rows, m->cols);
    if (q->packed && part(s, m, "weight_shape", GS_I64, GS_I64, 1, 2, 0)) check_weight_shape(s, m);
    if (codes && !q->packed) GS_TRY(scan_weight(s, m, err));
    if (part(s, m, "weight_scale", s->dtype, GS_F32, 2, m->rows, groups)) GS_TRY(check_scale(s, m, "weight_scale", err));
    if (!q->is_static) return GS_OK;
    if (part(s, m, "input_scale", s->dtype, GS_F32, 1, 1, 0)) {
        GS_TRY(check_scale(s, m, "input_scale", err));
        check_shared(s, m);
    }
    if (!q->symmetric_input) part(s, m, "input_zero_point", GS_I8, GS_I8, 1, 1, 0);
    return GS_OK;
}

/* ---- GPTQ ---- */

static const char *const gptq_keys[] = {"quant_method", "bits", "group_size", "desc_act", "sym", "damp_percent", "static_groups",
                                        "true_sequential", "checkpoint_format", "lm_head", "meta", "model_name_or_path",
                                        "model_file_base_name", "pack_dtype", "dynamic", "modules_in_block_to_quantize", NULL};

static void read_gptq(gs_subject *s, scheme *q) {
    const char *format = word(q->config, "checkpoint_format");
    check_keys(s, GS_CHECK_GPTQ_CONFIG, q->config, gptq_keys);
    q->bits = whole(q->config, "bits", 0);
    int64_t group = whole(q->config, "group_size", 0);
    q->group = group > 0 ? group : 0;
    gs_report_that(&s->report, GS_CHECK_GPTQ_CONFIG, q->bits == 8 || q->bits == 4, "bits", "%lld, expected 4 or 8", (long long)q->bits);
    gs_report_that(&s->report, GS_CHECK_GPTQ_CONFIG, group == -1 || group > 0, "group_size", "%lld, expected -1 or more than 0", (long long)group);
    gs_report_that(&s->report, GS_CHECK_GPTQ_CONFIG, cJSON_IsTrue(gs_json_get(q->config, "sym")), "sym", "it is not true");
    gs_report_that(&s->report, GS_CHECK_GPTQ_CONFIG, !cJSON_IsTrue(gs_json_get(q->config, "desc_act")), "desc_act", "it is not false");
    bool second = strcmp(format, "gptq_v2") == 0;
    gs_report_that(&s->report, GS_CHECK_GPTQ_CONFIG, second || !format[0] || strcmp(format, "gptq") == 0, "checkpoint_format", "'%.20s'", format);
    q->zeros = (q->bits == 8 ? 0x7f7f7f7fu : 0x77777777u) + (second ? (q->bits == 8 ? 0x01010101u : 0x11111111u) : 0);
}

/* All words are the same one, or (stride) word i is i / stride. */
static void check_words(gs_subject *s, const gs_module *m, const char *suffix, uint32_t constant, int64_t stride) {
    gs_stored *t = gs_subject_part(s, m, suffix);
    for (int64_t i = 0; i < gs_tensor_count(t->t); i++) {
        uint32_t v, want = stride ? (uint32_t)(i / stride) : constant;
        memcpy(&v, t->t->data + 4 * i, 4);
        if (!gs_report_that(&s->report, GS_CHECK_GPTQ_ZEROS, v == want, t->t->name, "[%lld] is 0x%08x, expected 0x%08x", (long long)i, v, want)) return;
    }
}

static gs_status check_gptq(gs_subject *s, const gs_module *m, const scheme *q, gs_error *err) {
    int64_t group = q->group ? q->group : m->cols, groups = (m->cols + group - 1) / group, codes = q->bits ? 32 / q->bits : 1;
    part(s, m, "qweight", GS_I32, GS_I32, 2, (m->cols + codes - 1) / codes, m->rows);
    if (part(s, m, "qzeros", GS_I32, GS_I32, 2, groups, (m->rows + codes - 1) / codes)) check_words(s, m, "qzeros", q->zeros, 0);
    if (part(s, m, "g_idx", GS_I32, GS_I32, 1, m->cols, 0)) check_words(s, m, "g_idx", 0, group);
    if (part(s, m, "scales", GS_F16, s->dtype, 2, groups, m->rows)) GS_TRY(check_scale(s, m, "scales", err));
    return GS_OK;
}

/* ---- both ---- */

static void check_float(gs_subject *s, const gs_module *m) {
    bool vector = m->op == GS_OP_RMSNORM;
    if (m->tied && !gs_subject_part(s, m, "weight")) return;
    part(s, m, "weight", s->dtype, s->dtype, vector ? 1 : 2, vector ? m->cols : m->rows, m->cols);
}

static bool is_quantized(gs_subject *s, const gs_module *m, const scheme *q) {
    char name[400];
    if (m->op != GS_OP_LINEAR || m->tied) return false;
    if (s->kind == GS_KIND_COMPRESSED) return !ignored(s, q, m);
    snprintf(name, sizeof name, "%s.weight", m->name); /* GPTQ lists nothing: what has no float weight */
    return gs_subject_find(s, name) == NULL;
}

gs_status gs_verify_packed(gs_subject *s, gs_error *err) {
    scheme q = {0};
    GS_TRY(gs_verify_settings(s, err));
    GS_TRY(gs_subject_modules(s, err));
    if (!s->modules) return GS_OK;
    if (s->dtype == GS_DTYPE_NONE) s->dtype = GS_F32;
    q.config = gs_json_get(s->config.json, "quantization_config");
    if (s->kind == GS_KIND_COMPRESSED) read_compressed(s, &q);
    else read_gptq(s, &q);
    for (int i = 0; i < s->modules; i++) {
        const gs_module *m = &s->module[i];
        GS_TRY(gs_cancel_check(err));
        if (!is_quantized(s, m, &q)) check_float(s, m);
        else if (s->kind == GS_KIND_COMPRESSED) GS_TRY(check_compressed(s, m, &q, err));
        else GS_TRY(check_gptq(s, m, &q, err));
        if (m->bias) part(s, m, "bias", s->dtype, s->kind == GS_KIND_GPTQ ? GS_F16 : GS_F32, 1, m->rows, 0);
    }
    gs_verify_unclaimed(s);
    gs_verify_finite(s);
    gs_verify_tied(s);
    return GS_OK;
}
