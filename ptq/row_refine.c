#include <ptq/row_refine.h>

#include <base/mem.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 16 };
static const float LAMBDA = 0.5f;

void gs_refine_samples_clear(gs_refine_samples *s) {
    gs_free(s->xt);
    gs_free(s->power);
    gs_free(s->prior);
    gs_free(s->order);
    *s = (gs_refine_samples){0};
}

typedef struct ranked {
    float prior;
    int32_t column;
} ranked;

static int by_prior(const void *left, const void *right) {
    const ranked *a = left, *b = right;
    if (a->prior != b->prior) return a->prior < b->prior ? 1 : -1;
    return a->column < b->column ? -1 : 1;
}

static gs_status rank(gs_refine_samples *s, gs_error *err) {
    ranked *all = gs_calloc((size_t)s->k, sizeof *all);
    if (!all) return gs_error_nomem(err, (size_t)s->k * sizeof *all);
    for (int64_t j = 0; j < s->k; j++) all[j] = (ranked){s->prior[j], (int32_t)j};
    qsort(all, (size_t)s->k, sizeof *all, by_prior);
    for (int64_t j = 0; j < s->k; j++) s->order[j] = all[j].column;
    gs_free(all);
    return GS_OK;
}

gs_status gs_refine_samples_init(gs_refine_samples *s, int64_t n, int64_t k, const float *x, const float *mean_square,
                                 gs_error *err) {
    *s = (gs_refine_samples){.rows = (n + LANES - 1) / LANES * LANES, .k = k};
    s->xt = gs_calloc((size_t)s->rows * (size_t)k, sizeof *s->xt);
    s->power = gs_calloc((size_t)k, sizeof *s->power);
    s->prior = gs_calloc((size_t)k, sizeof *s->prior);
    s->order = gs_calloc((size_t)k, sizeof *s->order);
    gs_status status = s->xt && s->power && s->prior && s->order
                           ? GS_OK
                           : gs_error_nomem(err, (size_t)s->rows * (size_t)k * sizeof *s->xt);
    for (int64_t r = 0; r < n && status == GS_OK; r++)
        for (int64_t j = 0; j < k; j++) s->xt[j * s->rows + r] = x[r * k + j];
    for (int64_t j = 0; j < k && status == GS_OK; j++) {
        double sum = 0;
        for (int64_t r = 0; r < n; r++) sum += (double)x[r * k + j] * (double)x[r * k + j];
        s->power[j] = (float)sum;
        s->prior[j] = LAMBDA * (float)n * mean_square[j];
    }
    if (status == GS_OK) status = rank(s, err);
    if (status != GS_OK) gs_refine_samples_clear(s);
    return status;
}

/* n is a multiple of LANES. */
static float dot(int64_t n, const float *restrict a, const float *restrict b) {
    float lane[LANES] = {0};
    for (int64_t i = 0; i < n; i += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += a[i + l] * b[i + l];
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

static void add_scaled(int64_t n, float factor, const float *restrict x, float *restrict y) {
    for (int64_t i = 0; i < n; i++) y[i] += factor * x[i];
}

/* Tries to move one code; e: [k] the row's errors, u: [rows] its output errors. */
static bool try_step(const gs_refine_samples *s, float scale, int64_t j, int8_t *q, float *e, float *u) {
    const float *x = s->xt + j * s->rows;
    float gradient = dot(s->rows, x, u) + s->prior[j] * e[j];
    float curvature = s->power[j] + s->prior[j];
    if (2.0f * fabsf(gradient) <= scale * curvature) return false;
    int step = gradient > 0 ? 1 : -1;
    float after = e[j] - (float)step * scale;
    if (q[j] + step > 127 || q[j] + step < -127 || fabsf(after) > scale) return false;
    q[j] = (int8_t)(q[j] + step);
    e[j] = after;
    add_scaled(s->rows, -(float)step * scale, x, u);
    return true;
}

int64_t gs_row_refine(const gs_refine_samples *s, const float *w, float scale, int8_t *q, float *work) {
    float *e = work, *u = work + s->k;
    int64_t steps = 0;
    memset(u, 0, (size_t)s->rows * sizeof *u);
    for (int64_t j = 0; j < s->k; j++) {
        e[j] = w[j] - scale * (float)q[j];
        if (e[j] != 0) add_scaled(s->rows, e[j], s->xt + j * s->rows, u);
    }
    for (int pass = 0; pass < GS_REFINE_PASSES; pass++) {
        int64_t before = steps;
        for (int64_t i = 0; i < s->k; i++) steps += try_step(s, scale, s->order[i], q, e, u);
        if (steps == before) break;
    }
    return steps;
}
