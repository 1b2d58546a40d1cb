#include <ptq/smooth_scale.h>

#include <base/half.h>
#include <base/mem.h>
#include <kernels/kernels.h>
#include <ptq/act_quant.h>

#include <math.h>
#include <stdatomic.h>
#include <string.h>

static const float LEAST = 1e-5f;

void gs_smooth_scales(int64_t n, const float *act, const float *weight, double alpha, float *s) {
    float up_power = (float)alpha, down_power = (float)(1 - alpha);
    for (int64_t j = 0; j < n; j++) {
        float w = weight[j] > 0 && weight[j] < LEAST ? LEAST : weight[j];
        float up = powf(act[j], up_power), down = powf(w, down_power);
        s[j] = 1.0f;
        if (act[j] == 0 || weight[j] == 0 || up == 0 || down == 0) continue;
        float ratio = up / down;
        s[j] = ratio > LEAST ? ratio : LEAST;
    }
}

void gs_edge_group_fold_max(const gs_edge_group *g, const float *wide, float *folded) {
    memset(folded, 0, (size_t)g->site.channels * sizeof *folded);
    for (int64_t j = 0; j < g->width; j++) {
        float *f = &folded[g->site.map[j]];
        if (wide[j] > *f) *f = wide[j];
    }
}

enum { BLOCK = 32 };

typedef struct column_job {
    const gs_param *weight;
    const gs_kernels *kernels;
    int64_t width;
    float *rows; /* [workers, BLOCK, width] */
    float *most; /* [workers, width] */
    _Atomic int64_t bad;
} column_job;

/* The first bad row, whichever worker meets one first. */
static void note_bad_row(column_job *j, int64_t row) {
    int64_t seen = atomic_load(&j->bad);
    while ((seen < 0 || row < seen) && !atomic_compare_exchange_weak(&j->bad, &seen, row)) continue;
}

static void column_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    column_job *j = ctx;
    float *rows = j->rows + (int64_t)worker * BLOCK * j->width, *most = j->most + (int64_t)worker * j->width;
    if (gs_param_read_f32(j->weight, begin, end - begin, rows, NULL) != GS_OK) {
        note_bad_row(j, begin);
        return;
    }
    for (int64_t r = 0; r < end - begin; r++) {
        const float *w = rows + r * j->width;
        if (!isfinite(j->kernels->absmax_f32(j->width, w))) note_bad_row(j, begin + r);
        for (int64_t c = 0; c < j->width; c++) {
            float a = fabsf(w[c]);
            most[c] = a > most[c] ? a : most[c];
        }
    }
}

static gs_status run_columns(gs_context *cx, column_job *j, gs_node *const *linear, int count, float *out,
                             gs_error *err) {
    int team = gs_team_size(cx->team);
    for (int i = 0; i < count; i++) {
        int64_t rows, cols;
        j->weight = linear[i]->param[GS_ROLE_WEIGHT];
        gs_param_matrix(j->weight, &rows, &cols);
        gs_team_for(cx->team, rows, BLOCK, column_rows, j);
        int64_t bad = atomic_load(&j->bad);
        if (bad >= 0)
            return GS_FAIL(err, GS_E_NUMERIC, "tensor '%s' holds NaN or an infinity in row %lld", j->weight->name,
                           (long long)bad);
    }
    memset(out, 0, (size_t)j->width * sizeof *out);
    for (int w = 0; w < team; w++)
        for (int64_t c = 0; c < j->width; c++) {
            float m = j->most[(int64_t)w * j->width + c];
            out[c] = m > out[c] ? m : out[c];
        }
    return GS_OK;
}

gs_status gs_column_absmax(gs_context *cx, gs_node *const *linear, int count, int64_t width, float *out,
                           gs_error *err) {
    size_t lanes = (size_t)gs_team_size(cx->team) * (size_t)width;
    column_job j = {.kernels = gs_kernels_get(), .width = width, .bad = -1};
    j.rows = gs_calloc(lanes * BLOCK, sizeof(float));
    j.most = gs_calloc(lanes, sizeof(float));
    gs_status status = j.rows && j.most ? run_columns(cx, &j, linear, count, out, err)
                                        : gs_error_nomem(err, lanes * BLOCK * sizeof(float));
    gs_free(j.rows);
    gs_free(j.most);
    return status;
}

gs_status gs_smooth_scales_fit(const gs_edge_group *g, gs_dtype compute, float *s, gs_error *err) {
    const gs_param *w = g->site.node->param[GS_ROLE_WEIGHT];
    int64_t n = g->site.channels;
    if (compute == GS_F32 || w->ndim != 1 || g->site.row) return GS_OK;
    float *old = gs_calloc((size_t)n, sizeof *old);
    if (!old) return gs_error_nomem(err, (size_t)n * sizeof *old);
    gs_status status = gs_param_read_f32(w, 0, 1, old, err);
    for (int64_t c = 0; c < n && status == GS_OK; c++) {
        float stored = gs_round_to(compute, old[c] / s[c]), back = old[c] / stored;
        bool usable = stored != 0 && isfinite(stored) && isfinite(back) && back > 0;
        s[c] = usable ? back : 1.0f;
    }
    gs_free(old);
    return status;
}
