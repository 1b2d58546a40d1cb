/* A model in which nothing is quantized, and what formats whose names are the model's own share. */
#include <verify/subject.h>

#include <stdio.h>
#include <string.h>

void gs_verify_known_keys(gs_subject *s, gs_check check, const cJSON *object, const char *const *keys) {
    const cJSON *item;
    cJSON_ArrayForEach(item, object) {
        const char *name = item->string ? item->string : ""; /* of an item of a list, which is no object */
        const char *const *k = keys;
        while (*k && strcmp(name, *k) != 0) k++;
        gs_report_that(&s->report, check, *k != NULL, name, "no reader of this format knows the key");
    }
}

void gs_verify_bias(gs_subject *s, gs_module *m, gs_dtype otherwise) {
    if (m->bias) m->weight.bias = gs_verify_need_part(s, m, "bias", s->dtype, otherwise, 1, m->rows, 0);
}

/* Any float will do, whatever torch_dtype says: loaders convert by value. */
void gs_verify_float_module(gs_subject *s, gs_module *m) {
    static const gs_dtype floats[] = {GS_F32, GS_F16, GS_BF16, GS_DTYPE_NONE};
    const gs_dtype one[] = {s->dtype, GS_DTYPE_NONE};
    bool vector = m->op == GS_OP_RMSNORM;
    gs_stored *t = gs_subject_part(s, m, "weight");
    char name[400];
    if (!t && m->tied) return;
    snprintf(name, sizeof name, "%s.weight", m->name);
    if (!gs_report_that(&s->report, GS_CHECK_TENSOR_MISSING, t != NULL, name, "it is missing")) return;
    m->sound = gs_verify_tensor(s, t, s->kind == GS_KIND_FLOAT ? floats : one, vector ? 1 : 2, vector ? m->cols : m->rows, m->cols);
    if (m->sound) m->weight.at = t;
}

static gs_status check_module(gs_subject *s, gs_module *m, const void *ctx, gs_error *err) {
    (void)ctx;
    (void)err;
    gs_verify_bias(s, m, GS_F32);
    gs_verify_float_module(s, m);
    return GS_OK;
}

gs_status gs_verify_plain(gs_subject *s, gs_error *err) {
    GS_TRY(gs_verify_settings(s, err));
    GS_TRY(gs_subject_modules(s, err));
    if (s->dtype == GS_DTYPE_NONE) s->dtype = GS_F32;
    GS_TRY(gs_verify_modules(s, check_module, NULL, err));
    gs_verify_rest(s);
    return GS_OK;
}
