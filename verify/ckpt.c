/* A MindSpore checkpoint with the names of Golden Stick's older layers (AB 6.2): one .ckpt beside config.json. What a linear
 * is follows from what it stores. */
#include <verify/mindformers.h>
#include <verify/scan.h>

#include <base/mem.h>

#include <stdio.h>
#include <string.h>

typedef struct stems {
    char name[GS_MINDFORMERS_NAME];
    gs_module *m;
} stems;

static gs_stored *find(gs_subject *s, const stems *n, const char *suffix) {
    char name[400];
    snprintf(name, sizeof name, "%s%s", n->name, suffix);
    gs_stored *t = gs_subject_find(s, name);
    if (t) t->known = true;
    return t;
}

static gs_stored *part(gs_subject *s, const stems *n, const char *suffix, gs_dtype a, gs_dtype b, int ndim, int64_t rows, int64_t cols) {
    char name[400];
    snprintf(name, sizeof name, "%s%s", n->name, suffix);
    return gs_verify_need(s, name, a, b, ndim, rows, cols);
}

static gs_status check_static(gs_subject *s, const stems *n, gs_weight *w, gs_error *err) {
    gs_dtype want = s->dtype == GS_BF16 ? GS_F32 : GS_I64;
    gs_stored *deq = part(s, n, "._layer.matmul.dequant_scale", GS_F32, GS_I64, 1, n->m->rows, 0);
    bool typed = !deq || gs_report_that(&s->report, GS_CHECK_DEQ_SCALE_DTYPE, deq->t->dtype == want, deq->t->name, "%s, expected %s",
                                        gs_dtype_name(deq->t->dtype), gs_dtype_name(want));
    w->quant_bias = part(s, n, "._layer.matmul.quant_bias", GS_I32, GS_I32, 1, n->m->rows, 0);
    w->input_offset = part(s, n, ".quant_op.input_zp", GS_I8, GS_I8, 1, n->m->cols, 0);
    w->input = part(s, n, ".quant_op.input_scale", s->dtype, GS_F32, 1, n->m->cols, 0);
    GS_TRY(gs_verify_positive(s, w->input, err));
    if (!typed || !w->quant_bias || !w->input_offset || !w->input) return GS_OK;
    w->deq = deq;
    return gs_verify_positive(s, deq, err);
}

static gs_status check_weights_alone(gs_subject *s, const stems *n, gs_weight *w, gs_error *err) {
    if (n->m->bias) w->bias = part(s, n, "._layer.bias", s->dtype, GS_F32, 1, n->m->rows, 0);
    if (find(s, n, "._layer.matmul.weight_zp")) {
        gs_stored *zero = part(s, n, "._layer.matmul.weight_zp", s->dtype, GS_F32, 1, n->m->rows, 0);
        GS_TRY(gs_verify_zero(s, GS_CHECK_WEIGHT_OFFSET, zero, err));
    }
    w->scale = part(s, n, "._layer.matmul.weight_scale", s->dtype, GS_F32, 1, n->m->rows, 0);
    return gs_verify_positive(s, w->scale, err);
}

static gs_status check_linear(gs_subject *s, const stems *n, gs_error *err) {
    gs_module *m = n->m;
    gs_weight w = {.layout = GS_LAYOUT_S8, .bits = 8, .groups = 1};
    w.at = part(s, n, "._layer.weight", GS_I8, GS_I8, 2, m->rows, m->cols);
    bool is_static = find(s, n, "._layer.matmul.dequant_scale") != NULL;
    m->type = is_static ? GS_TYPE_W8A8 : find(s, n, "._layer.matmul.weight_zp") ? GS_TYPE_W8A16 : GS_TYPE_W8A8_DYNAMIC;
    if (is_static) GS_TRY(check_static(s, n, &w, err));
    else GS_TRY(check_weights_alone(s, n, &w, err));
    m->weight.bias = w.bias;
    m->sound = w.at && (w.scale || w.deq);
    if (!m->sound) return GS_OK;
    m->weight = w;
    return gs_verify_codes(s, m, err);
}

static gs_status check_module(gs_subject *s, gs_module *m, const void *ctx, gs_error *err) {
    (void)ctx;
    stems n = {.m = m};
    bool vector = m->op == GS_OP_RMSNORM;
    gs_mindformers_name(m->name, n.name);
    m->type = GS_TYPE_FLOAT;
    if (m->op == GS_OP_LINEAR && find(s, &n, "._layer.weight")) return check_linear(s, &n, err);
    if (m->tied && !find(s, &n, ".weight")) return GS_OK;
    if (m->bias) m->weight.bias = part(s, &n, ".bias", s->dtype, s->dtype, 1, m->rows, 0);
    m->weight.at = part(s, &n, m->op == GS_OP_EMBEDDING ? ".embedding_weight" : ".weight", s->dtype, s->dtype, vector ? 1 : 2,
                        vector ? m->cols : m->rows, m->cols);
    m->sound = m->weight.at != NULL;
    return GS_OK;
}

static gs_status take_tensors(gs_subject *s, gs_error *err) {
    size_t n = gs_mindspore_ckpt_count(s->ckpt);
    bool twice; /* never: the reader refuses it */
    GS_TRY(gs_subject_room(s, n, err));
    for (size_t i = 0; i < n; i++) GS_TRY(gs_subject_add(s, gs_mindspore_ckpt_at(s->ckpt, i), 0, &twice, err));
    return GS_OK;
}

static gs_status open_file(gs_subject *s, const char *name, gs_error *err) {
    gs_error why = {0};
    char *path = gs_subject_path(s, name);
    if (!path) return gs_error_nomem(err, 256);
    gs_status status = gs_mindspore_ckpt_open(path, &s->ckpt, &why);
    gs_free(path);
    if (status == GS_E_NOMEM) return gs_error_nomem(err, 1 << 16);
    if (!gs_report_that(&s->report, GS_CHECK_CONTAINER, status == GS_OK, name, "%s", why.text)) s->ckpt = NULL;
    return s->ckpt ? take_tensors(s, err) : GS_OK;
}

gs_status gs_verify_ckpt(gs_subject *s, gs_error *err) {
    GS_TRY(open_file(s, gs_verify_only_file(s, ".ckpt"), err));
    GS_TRY(gs_verify_settings(s, err));
    GS_TRY(gs_subject_modules(s, err));
    if (s->dtype == GS_DTYPE_NONE) s->dtype = GS_F32;
    GS_TRY(gs_verify_modules(s, check_module, NULL, err));
    gs_verify_rest(s);
    return GS_OK;
}
