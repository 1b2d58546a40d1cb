/* The bundle of Golden Stick (golden-stick.md 3.3): the model's own names but for the embedding's table, per-channel
 * scales as vectors, an input scale a channel on Ascend. */
#include <verify/scan.h>

#include <base/mem.h>

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
        bool stored = gs_subject_find(s, entry->string) || gs_subject_tied_head(s, entry->string);
        gs_report_that(&s->report, GS_CHECK_MS_DESCRIPTION, stored, entry->string, "it is listed and not stored");
    }
    for (size_t i = 0; i < s->tensors; i++)
        gs_report_that(&s->report, GS_CHECK_MS_DESCRIPTION, gs_described(s, s->tensor[i].t->name)[0], s->tensor[i].t->name,
                       "it is stored and not listed");
}

static gs_stored *part(gs_subject *s, const gs_module *m, const char *suffix, gs_dtype a, gs_dtype b, int64_t n) {
    return gs_verify_need_part(s, m, suffix, a, b, 1, n, 0);
}

/* One for all columns, or one each, with what Ascend wants beside it. */
static gs_status check_input(gs_subject *s, gs_module *m, gs_error *err) {
    gs_stored *scale = gs_subject_part(s, m, "input_scale");
    int64_t width = scale && scale->t->ndim == 1 && scale->t->shape[0] == 1 ? 1 : m->cols;
    scale = part(s, m, "input_scale", s->dtype, GS_F32, width);
    GS_TRY(gs_verify_positive(s, scale, err));
    gs_stored *offset = part(s, m, "input_offset", GS_I8, GS_I32, width);
    if (width == 1) { /* the form for emulation has neither */
        gs_subject_part(s, m, "smooth_scale");
        return GS_OK;
    }
    gs_stored *bias = part(s, m, "quant_bias", GS_I32, GS_I32, m->rows), *deq = part(s, m, "deq_scale", GS_F32, GS_I64, m->rows);
    GS_TRY(gs_verify_positive(s, deq, err));
    if (!scale || !offset || !bias || !deq) return GS_OK;
    m->weight.deq = deq;
    m->weight.quant_bias = bias;
    m->weight.input_offset = offset;
    return GS_OK;
}

/* [rows], or [groups, rows] for weights alone. */
static int64_t groups_of(gs_subject *s, const gs_module *m) {
    gs_stored *t = gs_subject_part(s, m, "weight_scale");
    bool grouped = t && t->t->ndim == 2 && m->type == GS_TYPE_W8A16 && t->t->shape[0] > 0 && m->cols % t->t->shape[0] == 0;
    return grouped ? t->t->shape[0] : 0;
}

static gs_status check_quantized(gs_subject *s, gs_module *m, gs_error *err) {
    int64_t groups = groups_of(s, m);
    int ndim = groups ? 2 : 1;
    gs_stored *codes = gs_verify_need_part(s, m, "weight", GS_I8, GS_I8, 2, m->rows, m->cols);
    gs_stored *scale = gs_verify_need_part(s, m, "weight_scale", s->dtype, GS_F32, ndim, groups ? groups : m->rows, m->rows);
    gs_stored *offset = gs_verify_need_part(s, m, "weight_offset", GS_I32, s->dtype, ndim, groups ? groups : m->rows, m->rows);
    GS_TRY(gs_verify_positive(s, scale, err));
    GS_TRY(gs_verify_zero(s, GS_CHECK_WEIGHT_OFFSET, offset, err));
    m->sound = codes && scale && offset;
    if (m->sound) {
        m->weight = (gs_weight){.at = codes, .layout = GS_LAYOUT_S8, .bits = 8, .groups = groups ? groups : 1, .scale = scale,
                                .offset = offset, .turned = true, .bias = m->weight.bias};
        GS_TRY(gs_verify_codes(s, m, err));
    }
    return m->type == GS_TYPE_W8A8 ? check_input(s, m, err) : GS_OK;
}

static void check_float(gs_subject *s, gs_module *m, const char *suffix) {
    bool vector = m->op == GS_OP_RMSNORM;
    m->weight.at = gs_verify_need_part(s, m, suffix, s->dtype, s->dtype, vector ? 1 : 2, vector ? m->cols : m->rows, m->cols);
    m->sound = m->weight.at != NULL;
}

static gs_status check_module(gs_subject *s, gs_module *m, const void *ctx, gs_error *err) {
    (void)ctx;
    char key[400];
    snprintf(key, sizeof key, "%s.weight", m->name);
    m->type = m->op == GS_OP_LINEAR ? gs_type_from_name(gs_described(s, key)) : GS_TYPE_FLOAT;
    if (m->op == GS_OP_EMBEDDING) {
        check_float(s, m, gs_subject_part(s, m, "weight") ? "weight" : "embedding_table");
        return GS_OK;
    }
    if (m->bias) m->weight.bias = part(s, m, "bias", s->dtype, GS_F32, m->rows);
    if (m->type == GS_TYPE_W8A16 || m->type == GS_TYPE_W8A8 || m->type == GS_TYPE_W8A8_DYNAMIC) return check_quantized(s, m, err);
    if (!m->tied || gs_subject_part(s, m, "weight")) check_float(s, m, "weight");
    return GS_OK;
}

gs_status gs_verify_mindspore(gs_subject *s, gs_error *err) {
    GS_TRY(gs_verify_settings(s, err));
    GS_TRY(gs_subject_modules(s, err));
    GS_TRY(load_description(s, err));
    check_description(s);
    if (!s->modules) return GS_OK;
    if (s->dtype == GS_DTYPE_NONE) s->dtype = GS_F32;
    GS_TRY(gs_verify_modules(s, check_module, NULL, err));
    gs_verify_rest(s);
    return GS_OK;
}
