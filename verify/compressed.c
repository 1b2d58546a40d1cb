/* compressed-tensors (AB 7.1): which linears are quantized and how is said by config.json's quantization_config; names are
 * the model's own. */
#include <verify/compressed.h>
#include <verify/scan.h>

#include <string.h>

static void check_weight_shape(gs_subject *s, const gs_module *m) {
    gs_stored *t = gs_verify_need_part(s, m, "weight_shape", GS_I64, GS_I32, 1, 2, 0);
    if (!t) return;
    int64_t got[2] = {0, 0};
    int32_t narrow[2];
    memcpy(got, t->t->data, t->t->dtype == GS_I64 ? sizeof got : sizeof narrow);
    if (t->t->dtype == GS_I32) {
        memcpy(narrow, t->t->data, sizeof narrow);
        got[0] = narrow[0];
        got[1] = narrow[1];
    }
    gs_report_that(&s->report, GS_CHECK_CT_PACKED, got[0] == m->rows && got[1] == m->cols, t->t->name, "[%lld, %lld], expected [%lld, %lld]",
                   (long long)got[0], (long long)got[1], (long long)m->rows, (long long)m->cols);
}

static gs_stored *find_codes(gs_subject *s, const gs_module *m, const gs_ct_group *g) {
    int64_t in_word = 32 / g->bits;
    if (!g->packed) return gs_verify_need_part(s, m, "weight", GS_I8, GS_I8, 2, m->rows, m->cols);
    check_weight_shape(s, m);
    return gs_verify_need_part(s, m, "weight_packed", GS_I32, GS_I32, 2, m->rows, (m->cols + in_word - 1) / in_word);
}

static gs_stored *find_scale(gs_subject *s, const gs_module *m, const gs_ct_group *g, int64_t groups) {
    gs_stored *t = gs_subject_part(s, m, "weight_scale");
    int ndim = g->one_scale || (t && t->t->ndim == 1 && groups == 1) ? 1 : 2; /* a channel's may be flat */
    return gs_verify_need_part(s, m, "weight_scale", s->dtype, GS_F32, ndim, g->one_scale ? 1 : m->rows, groups);
}

static void check_shared(gs_subject *s, const gs_module *m, const char *suffix) {
    const gs_module *first = &s->module[m->group];
    const gs_stored *a = gs_subject_part(s, m, suffix), *b = gs_subject_part(s, first, suffix);
    if (first == m || !a || !b || a->t->bytes != b->t->bytes) return;
    gs_report_that(&s->report, GS_CHECK_FUSED_INPUT, memcmp(a->t->data, b->t->data, a->t->bytes) == 0, a->t->name, "it differs from %s",
                   b->t->name);
}

static gs_status check_static(gs_subject *s, const gs_module *m, const gs_ct_group *g, gs_error *err) {
    gs_stored *scale = gs_verify_need_part(s, m, "input_scale", s->dtype, GS_F32, 1, 1, 0);
    GS_TRY(gs_verify_positive(s, scale, err));
    check_shared(s, m, "input_scale");
    if (!g->symmetric_input && gs_verify_need_part(s, m, "input_zero_point", GS_I8, GS_I32, 1, 1, 0))
        check_shared(s, m, "input_zero_point");
    return GS_OK;
}

static gs_status check_quantized(gs_subject *s, gs_module *m, const gs_ct_group *g, gs_error *err) {
    bool whole = g->group == 0 || m->cols % g->group == 0;
    int64_t groups = g->group && whole ? m->cols / g->group : 1;
    gs_report_that(&s->report, GS_CHECK_CT_CONFIG, whole, m->name, "%lld columns are no whole groups of %lld", (long long)m->cols,
                   (long long)g->group);
    gs_stored *codes = find_codes(s, m, g), *scale = find_scale(s, m, g, groups);
    GS_TRY(gs_verify_positive(s, scale, err));
    m->sound = codes && scale && whole;
    if (m->sound) {
        gs_layout packed = g->bits == 4 ? GS_LAYOUT_BIASED4 : GS_LAYOUT_BIASED8;
        m->weight = (gs_weight){.at = codes, .layout = g->packed ? packed : GS_LAYOUT_S8, .bits = (int)g->bits, .groups = groups, .scale = scale,
                                .bias = m->weight.bias};
        GS_TRY(gs_verify_codes(s, m, err));
    }
    return g->type == GS_TYPE_W8A8 ? check_static(s, m, g, err) : GS_OK;
}

/* A server that takes a linear for a float one drops its scales, and reads codes as weights. */
static void check_not_codes(gs_subject *s, const gs_module *m) {
    gs_stored *weight = gs_subject_part(s, m, "weight");
    bool codes = gs_subject_part(s, m, "weight_packed") || gs_subject_part(s, m, "weight_scale") ||
                 (weight && !gs_dtype_is_float(weight->t->dtype));
    gs_report_that(&s->report, GS_CHECK_CT_CONFIG, !codes, m->name, "it is stored in codes, and ignored or of no group");
}

static void check_fused(gs_subject *s, const gs_module *m) {
    const gs_module *first = &s->module[m->group];
    gs_report_that(&s->report, GS_CHECK_FUSED_TYPE, m->type == first->type, m->name, "%s, while %s is %s", gs_type_name(m->type), first->name,
                   gs_type_name(first->type));
}

static gs_status check_module(gs_subject *s, gs_module *m, const void *groups, gs_error *err) {
    const gs_ct_group *g = m->op == GS_OP_LINEAR ? gs_ct_groups_find(s, groups, m->name) : NULL;
    if (m->tied) g = NULL;
    m->type = g ? g->type : GS_TYPE_FLOAT;
    gs_verify_bias(s, m, GS_F32);
    if (m->op == GS_OP_LINEAR && !m->tied) check_fused(s, m);
    if (g) return check_quantized(s, m, g, err);
    if (m->op == GS_OP_LINEAR) check_not_codes(s, m);
    gs_verify_float_module(s, m);
    return GS_OK;
}

static gs_status check_modules(gs_subject *s, const gs_ct_groups *groups, gs_error *err) {
    GS_TRY(gs_verify_modules(s, check_module, groups, err));
    gs_ct_groups_idle(s, groups);
    gs_verify_rest(s);
    return GS_OK;
}

gs_status gs_verify_compressed(gs_subject *s, gs_error *err) {
    gs_ct_groups groups = {0};
    GS_TRY(gs_verify_settings(s, err));
    GS_TRY(gs_subject_modules(s, err));
    if (!s->modules) return GS_OK;
    if (s->dtype == GS_DTYPE_NONE) s->dtype = GS_F32;
    gs_status status = gs_ct_groups_read(s, gs_json_get(s->config.json, "quantization_config"), &groups, err);
    if (status == GS_OK) status = check_modules(s, &groups, err);
    gs_ct_groups_clear(&groups);
    return status;
}
