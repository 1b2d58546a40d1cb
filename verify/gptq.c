/* The GPTQ container (AB 7.2): a linear without a float weight is quantized, as config.json's quantization_config says. */
#include <verify/scan.h>

#include <base/mem.h>

#include <stdio.h>
#include <string.h>

typedef struct settings {
    int64_t bits, group; /* group 0: a channel */
    uint32_t zeros;      /* a word of qzeros */
} settings;

static const char *const known[] = {"quant_method", "bits", "group_size", "desc_act", "sym", "damp_percent", "static_groups",
                                    "true_sequential", "checkpoint_format", "lm_head", "meta", "model_name_or_path",
                                    "model_file_base_name", "pack_dtype", "dynamic", "modules_in_block_to_quantize", NULL};

static int64_t whole(const cJSON *object, const char *key) {
    int64_t v = 0;
    return gs_json_is_int(gs_json_get(object, key), &v) ? v : 0;
}

/* AutoGPTQ's first version stores zeros less one. */
static uint32_t zeros_of(int64_t bits, bool second) {
    return (bits == 8 ? 0x7f7f7f7fu : 0x77777777u) + (second ? (bits == 8 ? 0x01010101u : 0x11111111u) : 0);
}

static void read_settings(gs_subject *s, const cJSON *config, settings *q) {
    const cJSON *word = gs_json_get(config, "checkpoint_format");
    const char *format = cJSON_IsString(word) ? word->valuestring : "";
    bool second = strcmp(format, "gptq_v2") == 0;
    int64_t group = whole(config, "group_size");
    gs_report *r = &s->report;
    gs_verify_known_keys(s, GS_CHECK_GPTQ_CONFIG, config, known);
    q->bits = whole(config, "bits");
    q->group = group > 0 ? group : 0;
    if (!gs_report_that(r, GS_CHECK_GPTQ_CONFIG, q->bits == 8 || q->bits == 4, "bits", "%lld, expected 4 or 8", (long long)q->bits)) q->bits = 8;
    gs_report_that(r, GS_CHECK_GPTQ_CONFIG, group == -1 || group > 0, "group_size", "%lld, expected -1 or more than 0", (long long)group);
    gs_report_that(r, GS_CHECK_GPTQ_CONFIG, cJSON_IsTrue(gs_json_get(config, "sym")), "sym", "it is not true");
    gs_report_that(r, GS_CHECK_GPTQ_CONFIG, !cJSON_IsTrue(gs_json_get(config, "desc_act")), "desc_act", "it is not false");
    gs_report_that(r, GS_CHECK_GPTQ_CONFIG, second || !format[0] || strcmp(format, "gptq") == 0, "checkpoint_format", "'%.20s'", format);
    q->zeros = zeros_of(q->bits, second);
}

/* Older readers take it instead. */
static gs_status check_side_file(gs_subject *s, const cJSON *config, gs_error *err) {
    static const char file[] = "quantize_config.json", *const keys[] = {"bits", "group_size", "sym", "desc_act", "checkpoint_format"};
    cJSON *json = NULL;
    gs_error why = {0};
    char *path = gs_subject_path(s, file);
    if (!path) return gs_error_nomem(err, 256);
    gs_status status = gs_path_exists(path) ? gs_json_load(path, 16 << 20, &json, &why) : GS_OK;
    gs_free(path);
    if (status == GS_E_NOMEM) return gs_error_nomem(err, 1 << 16);
    gs_report_that(&s->report, GS_CHECK_GPTQ_CONFIG, status == GS_OK, file, "%s", why.text);
    for (size_t i = 0; json && i < GS_COUNTOF(keys); i++) {
        const cJSON *a = gs_json_get(json, keys[i]), *b = gs_json_get(config, keys[i]);
        /* none is an object or a list, which take long to compare */
        bool same = !b || (!b->child && cJSON_Compare(a, b, true));
        gs_report_that(&s->report, GS_CHECK_GPTQ_CONFIG, same, file, "\"%s\" is not config.json's", keys[i]);
    }
    cJSON_Delete(json);
    return GS_OK;
}

/* All words are the same one, or (stride) word i is i / stride. */
static bool check_words(gs_subject *s, const gs_stored *t, uint32_t constant, int64_t stride) {
    for (int64_t i = 0; t && i < gs_tensor_count(t->t); i++) {
        uint32_t v, want = stride ? (uint32_t)(i / stride) : constant;
        memcpy(&v, t->t->data + 4 * i, 4);
        if (!gs_report_that(&s->report, GS_CHECK_GPTQ_ZEROS, v == want, t->t->name, "[%lld] is 0x%08x, expected 0x%08x", (long long)i, v, want))
            return false;
    }
    return t != NULL;
}

static gs_status check_quantized(gs_subject *s, gs_module *m, const settings *q, gs_error *err) {
    int64_t group = q->group ? q->group : m->cols, groups = (m->cols + group - 1) / group, codes = 32 / q->bits;
    bool fits = gs_report_that(&s->report, GS_CHECK_GPTQ_CONFIG, m->cols % codes == 0 && m->rows % codes == 0 && m->cols % group == 0, m->name,
                               "[%lld, %lld] are no whole words and groups", (long long)m->rows, (long long)m->cols);
    gs_stored *at = gs_verify_need_part(s, m, "qweight", GS_I32, GS_I32, 2, (m->cols + codes - 1) / codes, m->rows);
    gs_stored *zeros = gs_verify_need_part(s, m, "qzeros", GS_I32, GS_I32, 2, groups, (m->rows + codes - 1) / codes);
    gs_stored *index = gs_verify_need_part(s, m, "g_idx", GS_I32, GS_I32, 1, m->cols, 0);
    gs_stored *scale = gs_verify_need_part(s, m, "scales", GS_F16, s->dtype, 2, groups, m->rows);
    if (!m->bias && gs_subject_part(s, m, "bias")) { /* AutoGPTQ adds it to all */
        gs_stored *bias = gs_verify_need_part(s, m, "bias", s->dtype, GS_F16, 1, m->rows, 0);
        GS_TRY(gs_verify_zero(s, GS_CHECK_TENSOR_UNKNOWN, bias, err));
    }
    fits = check_words(s, zeros, q->zeros, 0) && fits;
    fits = check_words(s, index, 0, group) && fits;
    GS_TRY(gs_verify_positive(s, scale, err));
    m->sound = fits && at && scale;
    if (!m->sound) return GS_OK;
    m->weight = (gs_weight){.at = at, .layout = q->bits == 8 ? GS_LAYOUT_GPTQ8 : GS_LAYOUT_GPTQ4, .bits = (int)q->bits,
                            .groups = groups, .scale = scale, .turned = true, .bias = m->weight.bias};
    return gs_verify_codes(s, m, err);
}

static gs_status check_module(gs_subject *s, gs_module *m, const void *ctx, gs_error *err) {
    const settings *q = ctx;
    char name[400];
    gs_verify_bias(s, m, GS_F16);
    snprintf(name, sizeof name, "%s.weight", m->name);
    bool quantized = m->op == GS_OP_LINEAR && !m->tied && !gs_subject_find(s, name);
    m->type = !quantized ? GS_TYPE_FLOAT : q->bits == 8 ? GS_TYPE_W8A16 : GS_TYPE_W4A16;
    if (quantized) return check_quantized(s, m, q, err);
    gs_verify_float_module(s, m);
    return GS_OK;
}

gs_status gs_verify_gptq(gs_subject *s, gs_error *err) {
    settings q = {0};
    GS_TRY(gs_verify_settings(s, err));
    GS_TRY(gs_subject_modules(s, err));
    if (!s->modules) return GS_OK;
    if (s->dtype == GS_DTYPE_NONE) s->dtype = GS_F32;
    const cJSON *config = gs_json_get(s->config.json, "quantization_config");
    read_settings(s, config, &q);
    GS_TRY(check_side_file(s, config, err));
    GS_TRY(gs_verify_modules(s, check_module, &q, err));
    gs_verify_rest(s);
    return GS_OK;
}
