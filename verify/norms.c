/* Biases of norms, which anti-outlier methods add (AB 3.6). */
#include <verify/subject.h>

#include <base/mem.h>

#include <string.h>

/* The first reader that cannot take the shift out again, or NULL. */
static const gs_module *bad_reader(const gs_subject *s, int norm) {
    const int segment = s->module[norm].segment;
    for (int i = norm + 1; i < s->modules && s->module[i].segment == segment; i++) {
        const gs_module *m = &s->module[i];
        if (m->op == GS_OP_LINEAR && m->norm == norm && m->type != GS_TYPE_W8A8) return m;
    }
    return NULL;
}

static gs_status is_zero(const gs_tensor *t, bool *zero, gs_error *err) {
    float *v = NULL;
    gs_status status = gs_read_floats(t, &v, err);
    *zero = true;
    for (int64_t i = 0; status == GS_OK && i < gs_tensor_count(t); i++) *zero = *zero && v[i] == 0;
    gs_free(v);
    return status;
}

static gs_status check_bias(gs_subject *s, int norm, gs_stored *t, gs_error *err) {
    const gs_module *m = &s->module[norm];
    const gs_dtype wanted[] = {GS_F32, s->dtype == GS_F32 ? GS_DTYPE_NONE : s->dtype, GS_DTYPE_NONE};
    bool zero = true;
    if (!gs_verify_tensor(s, t, wanted, 1, m->cols, 0)) return GS_OK;
    GS_TRY(is_zero(t->t, &zero, err));
    const gs_module *reader = bad_reader(s, norm);
    gs_report_that(&s->report, GS_CHECK_NORM_BIAS, zero || !reader, t->t->name, "it is not zero, and %s is %s", reader ? reader->name : "",
                   reader ? gs_type_name(reader->type) : "");
    return GS_OK;
}

gs_status gs_verify_norm_bias(gs_subject *s, gs_error *err) {
    for (int i = 0; i < s->modules; i++) {
        if (s->module[i].op != GS_OP_RMSNORM) continue;
        gs_stored *t = gs_subject_part(s, &s->module[i], "bias");
        if (t) GS_TRY(check_bias(s, i, t, err));
        if (s->target != GS_FOR_MINDIE) continue;
        /* msModelSlim's older names, which MindIE reads */
        gs_subject_part(s, &s->module[i], "module.weight");
        gs_subject_part(s, &s->module[i], "module.bias");
    }
    return GS_OK;
}
