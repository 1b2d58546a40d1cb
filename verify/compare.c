#include <verify/compare.h>

#include <base/half.h>
#include <base/mem.h>

#include <math.h>

typedef struct job {
    const gs_compare *c;
    int64_t rows, cols, together, bad, first;
    float *buffer; /* a worker: two rows */
    int8_t *codes; /* a worker: `together` rows */
} job;

static bool is_float(const gs_compare *c) { return c->codes.layout == GS_LAYOUT_FLOAT; }

static float eps_of(const gs_compare *c) {
    return c->slack + (c->dtype == GS_BF16 ? 0x1p-7f : c->dtype == GS_F16 ? 0x1p-10f : 0x1p-19f);
}

/* Of subnormals, where casts cost more than eps. */
static float spacing_of(const gs_compare *c) { return c->dtype == GS_F16 ? 0x1p-24f : 0; }

/* w, cast to the stored dtype, perhaps from another before. */
static bool is_cast(const gs_compare *c, float w, float v) {
    gs_dtype stored = c->codes.t->dtype;
    if (gs_round_to(stored, w) == v) return true;
    bool unknown = c->dtype == GS_DTYPE_NONE;
    if ((unknown || c->dtype == GS_BF16) && gs_round_to(stored, gs_round_to(GS_BF16, w)) == v) return true;
    return (unknown || c->dtype == GS_F16) && gs_round_to(stored, gs_round_to(GS_F16, w)) == v;
}

static int64_t first_uncast(const gs_compare *c, const float *w, const float *v, int64_t n) {
    for (int64_t j = 0; j < n; j++)
        if (!is_cast(c, w[j], v[j])) return j;
    return -1;
}

/* The first column from begin to end that does not fit, or -1. v: as stored, codes or floats. */
static int64_t misfit_in(const gs_compare *c, const float *w, const float *v, int64_t begin, int64_t end, float scale, float offset,
                         float row, float eps) {
    float end_code = c->bits == 4 ? 7 : 127, step = (is_float(c) ? 0 : scale * (c->steps + 0.001f)) + spacing_of(c) / 2;
    for (int64_t j = begin; j < end; j++) {
        float want = (c->columns ? w[j] * c->columns[j] : w[j]) * row, have = (v[j] - offset) * scale, off = fabsf(want - have);
        if (off <= step + fabsf(want) * eps) continue;
        bool clipped = !is_float(c) && fabsf(v[j]) >= end_code && want * have > 0 && fabsf(want) > fabsf(have) &&
                       fabsf(want) <= 1.6f * fabsf(have);
        if (!clipped) return j;
    }
    return -1;
}

/* Scale and offset of a group of columns. */
static float scale_at(const gs_compare *c, int64_t row, int64_t g) { return is_float(c) ? 1 : c->scale[row * c->groups + g]; }
static float offset_at(const gs_compare *c, int64_t row, int64_t g) { return c->offset ? c->offset[row * c->groups + g] : 0; }
static int64_t width_of(const gs_compare *c, int64_t n) { return is_float(c) ? n : n / c->groups; }

static int64_t misfit(const gs_compare *c, int64_t row, const float *w, const float *v, int64_t n, float factor, float eps) {
    if (is_float(c) && !c->columns && factor == 1) return first_uncast(c, w, v, n);
    int64_t width = width_of(c, n);
    for (int64_t j = 0; j < n; j += width) {
        int64_t at = misfit_in(c, w, v, j, j + width, scale_at(c, row, j / width), offset_at(c, row, j / width), factor, eps);
        if (at >= 0) return at;
    }
    return -1;
}

/* The factor that fits the row best. */
static float best_factor(const gs_compare *c, int64_t row, const float *w, const float *v, int64_t n) {
    double cross = 0, square = 0;
    int64_t width = width_of(c, n);
    for (int64_t j = 0; j < n; j++) {
        double x = c->columns ? (double)w[j] * (double)c->columns[j] : (double)w[j];
        cross += x * (double)((v[j] - offset_at(c, row, j / width)) * scale_at(c, row, j / width));
        square += x * x;
    }
    float f = square > 0 ? (float)(cross / square) : 1;
    return isfinite(f) && f > 0 ? f : 1;
}

static gs_status read_stored(const gs_compare *c, int64_t row, const int8_t *codes, float *v) {
    if (is_float(c)) return gs_tensor_read_f32(c->codes.t, row, 1, v, NULL);
    for (int64_t j = 0; j < c->codes.cols; j++) v[j] = (float)codes[j];
    return GS_OK;
}

/* codes: of this row; w and v: room for a row each. */
static bool row_fits(const gs_compare *c, int64_t row, const int8_t *codes, float *w, float *v, int64_t cols, int64_t *col) {
    static const float estimated = 0.02f;
    *col = -1;
    if (gs_tensor_read_f32(c->source, row, 1, w, NULL) != GS_OK || read_stored(c, row, codes, v) != GS_OK) return false;
    for (int64_t j = 0; j < cols && c->shift != 0; j++) w[j] = (w[j] + c->shift) - c->shift;
    *col = misfit(c, row, w, v, cols, 1, eps_of(c));
    if (c->rows) c->rows[row] = 1;
    if (*col < 0 || !c->rows) return *col < 0;
    float f = best_factor(c, row, w, v, cols);
    *col = misfit(c, row, w, v, cols, f, eps_of(c) + estimated);
    c->rows[row] = f;
    return *col < 0;
}

static void note_bad(job *j, int64_t row) {
    __atomic_fetch_add(&j->bad, 1, __ATOMIC_RELAXED);
    int64_t old = __atomic_load_n(&j->first, __ATOMIC_RELAXED);
    while (row < old && !__atomic_compare_exchange_n(&j->first, &old, row, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
}

static void compare_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    job *j = ctx;
    float *w = j->buffer + 2 * (int64_t)worker * j->cols;
    int8_t *codes = j->codes + (int64_t)worker * j->together * j->cols;
    for (int64_t r = begin; r < end; r++) {
        int64_t col, at = (r - begin) % j->together, n = end - r < j->together ? end - r : j->together;
        if (at == 0 && !is_float(j->c)) gs_codes_read(&j->c->codes, r, n, codes);
        if (!row_fits(j->c, r, codes + at * j->cols, w, w + j->cols, j->cols, &col)) note_bad(j, r);
    }
}

/* The first misfit once more, for its numbers. */
static void explain(job *j, gs_compare_result *out) {
    const gs_compare *c = j->c;
    float *w = j->buffer, *v = j->buffer + j->cols;
    out->row = j->first;
    if (!is_float(c)) gs_codes_read(&c->codes, j->first, 1, j->codes);
    if (row_fits(c, j->first, j->codes, w, v, j->cols, &out->col) || out->col < 0) return;
    int64_t g = out->col / width_of(c, j->cols);
    float factor = (c->columns ? c->columns[out->col] : 1) * (c->rows ? c->rows[j->first] : 1);
    out->stored = (v[out->col] - offset_at(c, j->first, g)) * scale_at(c, j->first, g);
    out->wanted = w[out->col] * factor;
}

/* A dtype that cannot be read as numbers is an error, not a misfit. */
static gs_status can_read(job *j, gs_error *err) {
    GS_TRY(gs_tensor_read_f32(j->c->source, 0, 1, j->buffer, err));
    return is_float(j->c) ? gs_tensor_read_f32(j->c->codes.t, 0, 1, j->buffer, err) : GS_OK;
}

gs_status gs_compare_matrix(gs_context *cx, const gs_compare *c, gs_compare_result *out, gs_error *err) {
    enum { GRAIN = 1 << 16 };
    job j = {.c = c, .first = INT64_MAX, .together = gs_codes_best_rows(&c->codes)};
    *out = (gs_compare_result){0};
    gs_tensor_matrix(c->source, &j.rows, &j.cols);
    if (j.rows < 1 || j.cols < 1) return GS_OK;
    size_t cells = (size_t)j.cols * (size_t)gs_team_size(cx->team);
    j.buffer = gs_alloc(2 * cells * sizeof *j.buffer);
    j.codes = gs_alloc(cells * (size_t)j.together);
    gs_status status = j.buffer && j.codes ? can_read(&j, err) : gs_error_nomem(err, cells * (size_t)j.together);
    if (status == GS_OK) {
        gs_team_for(cx->team, j.rows, j.together > 1 ? j.together : GRAIN / j.cols + 1, compare_rows, &j);
        out->bad = j.bad;
        if (j.bad) explain(&j, out);
    }
    gs_free(j.buffer);
    gs_free(j.codes);
    return status;
}
