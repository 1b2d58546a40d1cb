#include <ptq/compat_smooth.h>

#include <base/half.h>
#include <base/mem.h>
#include <ptq/compat_quant.h>
#include <ptq/smooth_scale.h>

#include <math.h>
#include <string.h>

static const float LEAST = 1e-5f;

/* ---- maxima ---- */

static gs_status column_max_of(gs_compat tool, gs_dtype r, const gs_param *w, int64_t width, bool is_signed, float *row,
                               float *out, gs_error *err) {
    int64_t rows, cols;
    gs_param_matrix(w, &rows, &cols);
    for (int64_t i = 0; i < rows; i++) {
        GS_TRY(gs_compat_read_rows(tool, r, w, NULL, NULL, i, 1, row, err));
        for (int64_t j = 0; j < width; j++) {
            float v = is_signed ? row[j] : fabsf(row[j]);
            if (!isfinite(v))
                return GS_FAIL(err, GS_E_NUMERIC, "tensor '%s' holds NaN or an infinity in row %lld", w->name, (long long)i);
            out[j] = v > out[j] ? v : out[j];
        }
    }
    return GS_OK;
}

gs_status gs_compat_column_max(gs_compat tool, gs_dtype r, const gs_edge_group *g, gs_node *const *linear, int count,
                               float *out, gs_error *err) {
    bool is_signed = tool == GS_COMPAT_MSMODELSLIM_V1 && g->site.node && g->site.node->op == GS_OP_LINEAR;
    float *row = gs_calloc((size_t)g->width, sizeof *row);
    if (!row) return gs_error_nomem(err, (size_t)g->width * sizeof *row);
    gs_status status = GS_OK;
    memset(out, 0, (size_t)g->width * sizeof *out);
    for (int i = 0; i < count && status == GS_OK; i++)
        status = column_max_of(tool, r, linear[i]->param[GS_ROLE_WEIGHT], g->width, is_signed, row, out, err);
    gs_free(row);
    return status;
}

/* ---- factors ---- */

static float factor(gs_dtype r, float act, float weight, double alpha, bool one_if_dead) {
    float up = gs_round_to(r, powf(gs_round_to(r, act), (float)alpha));
    float down = gs_round_to(r, powf(gs_round_to(r, weight), (float)(1 - alpha)));
    if (one_if_dead && (up == 0 || down == 0)) return 1.0f;
    float s = gs_round_to(r, up / down), least = gs_round_to(r, LEAST);
    if (!isfinite(s)) return 1.0f; /* f16: theirs is infinite */
    return s > least ? s : least;
}

static void mean_factors(gs_dtype r, const gs_edge_group *g, const float *act, const float *weight, double alpha, float *s) {
    memset(s, 0, (size_t)g->site.channels * sizeof *s);
    for (int64_t j = 0; j < g->width; j++)
        s[g->site.map[j]] += factor(r, act[j], weight[j] > LEAST ? weight[j] : LEAST, alpha, false);
    float share = (float)(g->width / g->site.channels); /* every factor serves as many channels */
    for (int64_t c = 0; c < g->site.channels; c++) s[c] = gs_round_to(r, s[c] / share);
}

gs_status gs_compat_factors(gs_compat tool, gs_dtype r, const gs_edge_group *g, const float *act, const float *weight,
                            double alpha, float *s, gs_error *err) {
    int64_t n = g->site.channels;
    if (tool != GS_COMPAT_GOLDENSTICK) {
        mean_factors(r, g, act, weight, alpha, s);
        return GS_OK;
    }
    float *a = gs_calloc(2 * (size_t)n, sizeof *a);
    if (!a) return gs_error_nomem(err, 2 * (size_t)n * sizeof *a);
    gs_edge_group_fold_max(g, act, a);
    gs_edge_group_fold_max(g, weight, a + n);
    for (int64_t c = 0; c < n; c++) s[c] = factor(r, a[c], a[n + c], alpha, true);
    gs_free(a);
    return GS_OK;
}

/* ---- folding ---- */

/* A norm's weight with its factors, as its own values. */
static gs_status fold_norm(gs_compat tool, gs_dtype r, gs_net *net, gs_node *norm, const float *s, float *value, gs_error *err) {
    const gs_param *w = norm->param[GS_ROLE_WEIGHT];
    int64_t n = w->shape[0];
    GS_TRY(gs_param_read_f32(w, 0, 1, value, err));
    for (int64_t c = 0; c < n; c++) {
        float x = gs_round_to(r, value[c]);
        value[c] = gs_round_to(r, tool == GS_COMPAT_MSMODELSLIM_V0 ? x / s[c] : x * gs_round_to(r, 1.0f / s[c]));
    }
    char *name = gs_strdup(w->name);
    if (!name) return gs_error_nomem(err, strlen(w->name));
    gs_status status = gs_net_param_new(net, norm, GS_ROLE_WEIGHT, name, GS_F32, 1, &n, value, err);
    gs_free(name);
    return status;
}

static gs_status fold(gs_compat tool, gs_dtype r, gs_net *net, const gs_edge_group *g, const float *s, float *work,
                      gs_error *err) {
    gs_node *site = g->site.node;
    if (site->param[GS_ROLE_WEIGHT]->ndim == 1 && !site->param[GS_ROLE_BIAS] && !g->site.row) {
        GS_TRY(fold_norm(tool, r, net, site, s, work, err));
    } else {
        for (int64_t c = 0; c < g->site.channels; c++) work[c] = gs_round_to(r, 1.0f / s[c]);
        GS_TRY(gs_scale_site_apply(&g->site, work, err));
    }
    gs_edge_group_spread(g, s, work);
    for (int i = 0; i < g->count; i++) GS_TRY(gs_param_scale_cols(g->linear[i]->param[GS_ROLE_WEIGHT], work, err));
    return GS_OK;
}

gs_status gs_compat_fold(gs_compat tool, gs_dtype r, gs_net *net, const gs_edge_group *g, const float *s, gs_error *err) {
    float *work = gs_calloc((size_t)g->width, sizeof *work); /* channels <= width */
    if (!work) return gs_error_nomem(err, (size_t)g->width * sizeof *work);
    gs_status status = fold(tool, r, net, g, s, work, err);
    gs_free(work);
    return status;
}
