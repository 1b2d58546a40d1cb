/* The bundle of Golden Stick (golden-stick.md 3.3): the model's own names but for the embedding's table, per-channel
 * scales as vectors, an input scale a channel on Ascend. */
#include <verify/scan.h>

#include <base/mem.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char description_name[] = "quantization_description.json";

static const char *const types[] = {"FLOAT", "W8A16", "W8A8", "W8A8_DYNAMIC", "C8", "W4A16", "W4A8_DYNAMIC", "FAQuant"};

static bool known_type(const char *value) {
    for (size_t i = 0; i < GS_COUNTOF(types); i++)
        if (strcmp(types[i], value) == 0) return true;
    return false;
}

static gs_status load_description(gs_subject *s, gs_error *err) {
    gs_error why = {0};
    char *path = gs_subject_path(s, description_name);
    if (!path) return gs_error_nomem(err, 256);
    gs_status status = gs_json_load(path, 100 << 20, &s->description, &why);
    gs_free(path);
    if (status == GS_E_NOMEM) return gs_error_nomem(err, 100 << 20);
    gs_report_that(&s->report, GS_CHECK_MS_DESCRIPTION, status == GS_OK && cJSON_IsObject(s->description), description_name, "%s",
                   status == GS_OK ? "no JSON object" : why.text);
    return gs_subject_index_description(s, err);
}

static void check_description(gs_subject *s) {
    const cJSON *entry;
    if (!s->description) return;
    cJSON_ArrayForEach(entry, s->description) {
        const char *value = cJSON_IsString(entry) ? entry->valuestring : "";
        gs_report_that(&s->report, GS_CHECK_MS_DESCRIPTION, known_type(value), entry->string, "'%.40s' is no type of this format", value);
        gs_report_that(&s->report, GS_CHECK_MS_DESCRIPTION, gs_subject_find(s, entry->string) != NULL, entry->string, "it is listed and not stored");
    }
    for (size_t i = 0; i < s->tensors; i++)
        gs_report_that(&s->report, GS_CHECK_MS_DESCRIPTION, gs_described(s, s->tensor[i].t->name)[0], s->tensor[i].t->name,
                       "it is stored and not listed");
}

static bool part(gs_subject *s, const gs_module *m, const char *suffix, gs_dtype a, gs_dtype b, int ndim, int64_t rows, int64_t cols) {
    const gs_dtype wanted[] = {a, b == a ? GS_DTYPE_NONE : b, GS_DTYPE_NONE};
    char name[400];
    gs_stored *t = gs_subject_part(s, m, suffix);
    snprintf(name, sizeof name, "%s.%s", m->name, suffix);
    return gs_report_that(&s->report, GS_CHECK_TENSOR_MISSING, t != NULL, name, "it is missing") && gs_verify_tensor(s, t, wanted, ndim, rows, cols);
}

/* Every value positive, or zero. */
static gs_status check_vector(gs_subject *s, const gs_module *m, const char *suffix, bool zero, gs_error *err) {
    gs_stored *t = gs_subject_part(s, m, suffix);
    int64_t n = gs_tensor_count(t->t);
    float *v = gs_calloc((size_t)n + 1, sizeof *v);
    if (!v) return gs_error_nomem(err, (size_t)n * sizeof *v);
    gs_status status = gs_tensor_read_f32(t->t, 0, 1, v, err);
    for (int64_t i = 0; status == GS_OK && i < n; i++) {
        bool fine = zero ? v[i] == 0 : v[i] > 0 && isfinite(v[i]);
        if (!gs_report_that(&s->report, zero ? GS_CHECK_WEIGHT_OFFSET : GS_CHECK_SCALE_POSITIVE, fine, t->t->name, "[%lld] is %g", (long long)i,
                            (double)v[i]))
            break;
    }
    gs_free(v);
    return status;
}

static gs_status scan_weight(gs_subject *s, const gs_module *m, gs_error *err) {
    gs_code_row *row = gs_calloc((size_t)m->rows, sizeof *row);
    int64_t low = 0;
    if (!row) return gs_error_nomem(err, (size_t)m->rows * sizeof *row);
    gs_scan_codes(s, gs_subject_part(s, m, "weight"), row);
    for (int64_t n = 0; n < m->rows; n++) low += row[n].magnitude && row[n].high < 64 && row[n].low > -64;
    gs_report_that(&s->report, GS_CHECK_CODE_RANGE, low == 0, m->name, "%lld rows do not reach 64, expected 127 or near it", (long long)low);
    gs_free(row);
    return GS_OK;
}

static gs_status check_input(gs_subject *s, const gs_module *m, gs_error *err) {
    gs_stored *scale = gs_subject_part(s, m, "input_scale");
    int64_t width = scale && scale->t->ndim == 1 && scale->t->shape[0] == 1 ? 1 : m->cols;
    if (part(s, m, "input_scale", s->dtype, GS_F32, 1, width, 0)) GS_TRY(check_vector(s, m, "input_scale", false, err));
    part(s, m, "input_offset", GS_I8, GS_I32, 1, width, 0);
    if (width == 1) { /* the form for emulation has neither */
        gs_subject_part(s, m, "smooth_scale");
        return GS_OK;
    }
    part(s, m, "quant_bias", GS_I32, GS_I32, 1, m->rows, 0);
    gs_stored *deq = gs_subject_part(s, m, "deq_scale");
    if (part(s, m, "deq_scale", GS_F32, GS_I64, 1, m->rows, 0) && deq->t->dtype == GS_F32) GS_TRY(check_vector(s, m, "deq_scale", false, err));
    return GS_OK;
}

static gs_status check_quantized(gs_subject *s, const gs_module *m, gs_error *err) {
    if (part(s, m, "weight", GS_I8, GS_I8, 2, m->rows, m->cols)) GS_TRY(scan_weight(s, m, err));
    if (part(s, m, "weight_scale", s->dtype, GS_F32, 1, m->rows, 0)) GS_TRY(check_vector(s, m, "weight_scale", false, err));
    if (part(s, m, "weight_offset", GS_I32, s->dtype, 1, m->rows, 0)) GS_TRY(check_vector(s, m, "weight_offset", true, err));
    return m->type == GS_TYPE_W8A8 ? check_input(s, m, err) : GS_OK;
}

static gs_status check_module(gs_subject *s, gs_module *m, gs_error *err) {
    char key[400];
    snprintf(key, sizeof key, "%s.weight", m->name);
    m->type = m->op == GS_OP_LINEAR ? gs_type_from_name(gs_described(s, key)) : GS_TYPE_FLOAT;
    if (m->op == GS_OP_EMBEDDING) {
        part(s, m, gs_subject_part(s, m, "weight") ? "weight" : "embedding_table", s->dtype, s->dtype, 2, m->rows, m->cols);
        return GS_OK;
    }
    if (m->bias) part(s, m, "bias", s->dtype, GS_F32, 1, m->rows, 0);
    if (m->type == GS_TYPE_W8A16 || m->type == GS_TYPE_W8A8 || m->type == GS_TYPE_W8A8_DYNAMIC) return check_quantized(s, m, err);
    if (m->tied && !gs_subject_part(s, m, "weight")) return GS_OK;
    bool vector = m->op == GS_OP_RMSNORM;
    part(s, m, "weight", s->dtype, s->dtype, vector ? 1 : 2, vector ? m->cols : m->rows, m->cols);
    return GS_OK;
}

gs_status gs_verify_mindspore(gs_subject *s, gs_error *err) {
    GS_TRY(gs_verify_settings(s, err));
    GS_TRY(gs_subject_modules(s, err));
    GS_TRY(load_description(s, err));
    check_description(s);
    if (!s->modules) return GS_OK;
    if (s->dtype == GS_DTYPE_NONE) s->dtype = GS_F32;
    for (int i = 0; i < s->modules; i++) {
        GS_TRY(gs_cancel_check(err));
        GS_TRY(check_module(s, &s->module[i], err));
    }
    gs_verify_unclaimed(s);
    gs_verify_finite(s);
    return GS_OK;
}
