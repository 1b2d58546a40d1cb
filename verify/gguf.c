/* A GGUF file (AB 7.4): the container, the architecture that its metadata names, types and finite numbers. */
#include <verify/scan.h>

#include <base/half.h>
#include <base/mem.h>

#include <stdio.h>
#include <string.h>

/* The file itself, or that of the directory. NULL without memory, "" without a file. */
static char *file_of(gs_subject *s) {
    if (!gs_path_is_dir(s->path)) return gs_strdup(s->path);
    const char *name = gs_verify_only_file(s, ".gguf");
    return name ? gs_subject_path(s, name) : gs_strdup("");
}

static gs_status take_tensors(gs_subject *s, gs_error *err) {
    size_t n = gs_checkpoint_count(s->gguf);
    bool twice; /* never: the reader refuses it */
    GS_TRY(gs_subject_room(s, n, err));
    for (size_t i = 0; i < n; i++) GS_TRY(gs_subject_add(s, gs_checkpoint_at(s->gguf, i), 0, &twice, err));
    return GS_OK;
}

static gs_stored *check_part(gs_subject *s, const gs_module *m, const char *suffix, int ndim, int64_t rows, int64_t cols) {
    static const gs_dtype vector[] = {GS_F32, GS_DTYPE_NONE}, matrix[] = {GS_F32, GS_F16, GS_BF16, GS_Q8_0, GS_DTYPE_NONE};
    char name[400];
    gs_stored *t = gs_subject_part(s, m, suffix);
    snprintf(name, sizeof name, "%s.%s", m->name, suffix);
    if (!gs_report_that(&s->report, GS_CHECK_TENSOR_MISSING, t != NULL, name, "it is missing")) return NULL;
    bool typed = false;
    for (const gs_dtype *w = ndim == 2 ? matrix : vector; *w != GS_DTYPE_NONE; w++) typed = typed || t->t->dtype == *w;
    gs_report_that(&s->report, GS_CHECK_GGUF_TYPES, typed, name, "%s", gs_dtype_name(t->t->dtype));
    const gs_dtype same[] = {t->t->dtype, GS_DTYPE_NONE};
    return gs_verify_tensor(s, t, same, ndim, rows, cols) && typed ? t : NULL;
}

static gs_status check_module(gs_subject *s, gs_module *m, const void *ctx, gs_error *err) {
    (void)ctx;
    bool vector = m->op == GS_OP_RMSNORM;
    if (m->bias) m->weight.bias = check_part(s, m, "bias", 1, m->rows, 0);
    if (m->tied && !gs_subject_part(s, m, "weight")) return GS_OK;
    gs_stored *t = check_part(s, m, "weight", vector ? 1 : 2, vector ? m->cols : m->rows, m->cols);
    m->sound = t != NULL;
    m->type = GS_TYPE_FLOAT;
    m->weight.at = t;
    if (!t || t->t->dtype != GS_Q8_0) return GS_OK;
    m->type = GS_TYPE_W8A16;
    m->weight.layout = GS_LAYOUT_Q8_0;
    m->weight.bits = 8;
    m->weight.groups = m->cols / GS_Q8_0_CODES;
    return gs_verify_codes(s, m, err);
}

static void check_blocks(gs_subject *s, gs_stored *t) {
    const int64_t size = gs_dtype_block_bytes(GS_Q8_0);
    int64_t bad = 0, negative = 0;
    for (uint64_t at = 0; at + (uint64_t)size <= t->t->bytes; at += (uint64_t)size) {
        uint16_t scale;
        memcpy(&scale, t->t->data + at, 2);
        bad += (scale & 0x7c00) == 0x7c00;
        negative += scale > 0x8000; /* which is zero */
    }
    gs_subject_drop(s, t, 0, t->t->bytes);
    gs_report_that(&s->report, GS_CHECK_FINITE, bad == 0, t->t->name, "%lld blocks have a scale that is NaN or infinite", (long long)bad);
    gs_report_that(&s->report, GS_CHECK_SCALE_POSITIVE, negative == 0, t->t->name, "%lld blocks have a scale below zero", (long long)negative);
}

static gs_status check_open(gs_subject *s, gs_error *err) {
    GS_TRY(take_tensors(s, err));
    GS_TRY(gs_subject_modules(s, err));
    GS_TRY(gs_verify_modules(s, check_module, NULL, err));
    gs_verify_rest(s);
    for (size_t i = 0; i < s->tensors; i++)
        if (s->tensor[i].t->dtype == GS_Q8_0) check_blocks(s, &s->tensor[i]);
    return GS_OK;
}

/* A copy of the configuration that its metadata amounts to. */
static gs_status take_config(gs_subject *s, gs_error *err) {
    cJSON *json = cJSON_Duplicate(gs_checkpoint_config(s->gguf)->json, true);
    if (!json) return gs_error_nomem(err, 1 << 16);
    gs_status status = gs_model_config_from_json(json, &s->config, err);
    if (status != GS_OK) cJSON_Delete(json);
    s->has_config = status == GS_OK;
    return status;
}

gs_status gs_verify_gguf(gs_subject *s, gs_error *err) {
    gs_error why = {0};
    char *path = file_of(s);
    if (!path) return gs_error_nomem(err, 256);
    s->kind = GS_KIND_GGUF;
    gs_status status = gs_checkpoint_open(path, NULL, &s->gguf, &why);
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    gs_report_that(&s->report, GS_CHECK_CONTAINER, status == GS_OK || status == GS_E_NOMEM, name, "%s", why.text);
    gs_free(path);
    if (status == GS_E_NOMEM) return gs_error_nomem(err, 1 << 16);
    if (status != GS_OK) return GS_OK;
    GS_TRY(take_config(s, err));
    return check_open(s, err);
}
