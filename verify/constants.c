/* Tensors that formats ask for by name, and vectors of scales and offsets. */
#include <verify/subject.h>

#include <base/half.h>
#include <base/mem.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

gs_stored *gs_verify_need(gs_subject *s, const char *name, gs_dtype a, gs_dtype b, int ndim, int64_t rows, int64_t cols) {
    const gs_dtype wanted[] = {a, b == a ? GS_DTYPE_NONE : b, GS_DTYPE_NONE};
    gs_stored *t = gs_subject_find(s, name);
    if (!gs_report_that(&s->report, GS_CHECK_TENSOR_MISSING, t != NULL, name, "it is missing")) return NULL;
    t->known = true;
    return gs_verify_tensor(s, t, wanted, ndim, rows, cols) ? t : NULL;
}

gs_stored *gs_verify_need_part(gs_subject *s, const gs_module *m, const char *suffix, gs_dtype a, gs_dtype b, int ndim,
                               int64_t rows, int64_t cols) {
    char name[400];
    snprintf(name, sizeof name, "%s.%s", m->name, suffix);
    return gs_verify_need(s, name, a, b, ndim, rows, cols);
}

gs_status gs_read_floats(const gs_tensor *t, float **out, gs_error *err) {
    int64_t rows, cols;
    gs_tensor_matrix(t, &rows, &cols);
    *out = gs_calloc((size_t)(rows * cols) + 1, sizeof **out);
    return *out ? gs_tensor_read_f32(t, 0, rows, *out, err) : gs_error_nomem(err, (size_t)(rows * cols) * sizeof **out);
}

gs_status gs_read_deq(const gs_tensor *t, float **out, gs_error *err) {
    if (t->dtype != GS_I64) return gs_read_floats(t, out, err);
    int64_t n = gs_tensor_count(t);
    *out = gs_calloc((size_t)n + 1, sizeof **out);
    if (!*out) return gs_error_nomem(err, (size_t)n * sizeof **out);
    for (int64_t i = 0; i < n; i++) memcpy(*out + i, t->data + 8 * i, 4);
    return GS_OK;
}

gs_status gs_verify_positive(gs_subject *s, const gs_stored *t, gs_error *err) {
    float *v = NULL;
    if (!t) return GS_OK;
    gs_status status = gs_read_deq(t->t, &v, err);
    int64_t n = gs_tensor_count(t->t);
    for (int64_t i = 0; status == GS_OK && i < n; i++)
        if (!gs_report_that(&s->report, GS_CHECK_SCALE_POSITIVE, v[i] > 0 && isfinite(v[i]), t->t->name, "[%lld] is %g",
                            (long long)i, (double)v[i]))
            break;
    gs_free(v);
    return status;
}

gs_status gs_verify_zero(gs_subject *s, gs_check check, const gs_stored *t, gs_error *err) {
    float *v = NULL;
    if (!t) return GS_OK;
    gs_status status = gs_read_floats(t->t, &v, err);
    int64_t n = gs_tensor_count(t->t);
    for (int64_t i = 0; status == GS_OK && i < n; i++)
        if (!gs_report_that(&s->report, check, v[i] == 0, t->t->name, "[%lld] is %g, expected 0", (long long)i, (double)v[i])) break;
    gs_free(v);
    return status;
}
