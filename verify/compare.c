#include <verify/compare.h>

#include <base/half.h>
#include <base/mem.h>

#include <math.h>

typedef struct job {
    const gs_compare *c;
    int64_t rows, cols, bad, first;
    float *buffer; /* a worker: two rows */
    bool failed;
} job;

static float eps_of(const gs_compare *c) {
    return c->slack + (c->dtype == GS_BF16 ? 0x1p-7f : c->dtype == GS_F16 ? 0x1p-10f : 0x1p-19f);
}

/* The first column that does not fit, or -1. v: as stored, codes or floats. */
static int64_t misfit(const gs_compare *c, const float *w, const float *v, int64_t n, float scale, float offset, float row,
                      float eps) {
    bool exact = !c->scale && !c->columns && row == 1;
    for (int64_t j = 0; j < n; j++) {
        float want = (c->columns ? w[j] * c->columns[j] : w[j]) * row;
        if (exact) {
            if (gs_round_to(c->dtype, w[j]) != v[j]) return j;
            continue;
        }
        float have = (v[j] - offset) * scale, off = fabsf(want - have);
        if (off <= (c->scale ? scale * (c->steps + 0.001f) : 0) + fabsf(want) * eps) continue;
        bool clipped = c->scale && fabsf(v[j]) >= 127 && want * have > 0 && fabsf(want) <= 1.6f * fabsf(have);
        if (!clipped) return j;
    }
    return -1;
}

/* The factor that fits the row best. */
static float best_factor(const gs_compare *c, const float *w, const float *v, int64_t n, float scale, float offset) {
    double cross = 0, square = 0;
    for (int64_t j = 0; j < n; j++) {
        double x = c->columns ? (double)w[j] * (double)c->columns[j] : (double)w[j];
        cross += x * (double)((v[j] - offset) * scale);
        square += x * x;
    }
    float f = square > 0 ? (float)(cross / square) : 1;
    return isfinite(f) && f > 0 ? f : 1;
}

static bool row_fits(const gs_compare *c, int64_t row, float *w, float *v, int64_t cols, int64_t *col) {
    static const float estimated = 0.02f;
    float scale = c->scale ? c->scale[row] : 1, offset = c->offset ? c->offset[row] : 0;
    if (gs_tensor_read_f32(c->source, row, 1, w, NULL) != GS_OK || gs_tensor_read_f32(c->stored, row, 1, v, NULL) != GS_OK) return false;
    *col = misfit(c, w, v, cols, scale, offset, 1, eps_of(c));
    if (c->rows) c->rows[row] = 1;
    if (*col < 0 || !c->rows) return *col < 0;
    float f = best_factor(c, w, v, cols, scale, offset);
    *col = misfit(c, w, v, cols, scale, offset, f, eps_of(c) + estimated);
    c->rows[row] = f;
    return *col < 0;
}

static void compare_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    job *j = ctx;
    float *w = j->buffer + 2 * (int64_t)worker * j->cols;
    for (int64_t r = begin; r < end; r++) {
        int64_t col;
        if (row_fits(j->c, r, w, w + j->cols, j->cols, &col)) continue;
        __atomic_fetch_add(&j->bad, 1, __ATOMIC_RELAXED);
        int64_t old = __atomic_load_n(&j->first, __ATOMIC_RELAXED);
        while (r < old && !__atomic_compare_exchange_n(&j->first, &old, r, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
    }
}

/* The first misfit once more, for its numbers. */
static void explain(job *j, gs_compare_result *out) {
    float *w = j->buffer, *v = j->buffer + j->cols;
    out->row = j->first;
    if (row_fits(j->c, j->first, w, v, j->cols, &out->col) || out->col < 0) return;
    float factor = (j->c->columns ? j->c->columns[out->col] : 1) * (j->c->rows ? j->c->rows[j->first] : 1);
    out->stored = (v[out->col] - (j->c->offset ? j->c->offset[j->first] : 0)) * (j->c->scale ? j->c->scale[j->first] : 1);
    out->wanted = w[out->col] * factor;
}

gs_status gs_compare_matrix(gs_context *cx, const gs_compare *c, gs_compare_result *out, gs_error *err) {
    enum { GRAIN = 1 << 16 };
    job j = {.c = c, .first = INT64_MAX};
    *out = (gs_compare_result){0};
    gs_tensor_matrix(c->source, &j.rows, &j.cols);
    if (j.rows < 1 || j.cols < 1) return GS_OK;
    size_t bytes = 2 * sizeof(float) * (size_t)j.cols * (size_t)gs_team_size(cx->team);
    /* a dtype that cannot be read as numbers is an error, not a misfit */
    j.buffer = gs_alloc(bytes);
    if (!j.buffer) return gs_error_nomem(err, bytes);
    gs_status status = gs_tensor_read_f32(c->source, 0, 1, j.buffer, err);
    if (status == GS_OK) status = gs_tensor_read_f32(c->stored, 0, 1, j.buffer, err);
    if (status == GS_OK) {
        gs_team_for(cx->team, j.rows, GRAIN / j.cols + 1, compare_rows, &j);
        out->bad = j.bad;
        if (j.bad) explain(&j, out);
    }
    gs_free(j.buffer);
    return status;
}
