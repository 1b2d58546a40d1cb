#include <ptq/compat_quant.h>

#include <base/half.h>
#include <kernels/kernels.h>

#include <math.h>

static const float LEAST = 0x1p-23f;

static float at_least(float s) { return s > LEAST ? s : LEAST; }

static float clamp(float x, float low, float high) { return x < low ? low : x > high ? high : x; }

/* ---- Golden Stick ---- */

void gs_stick_scale(gs_stick_levels l, float min, float max, double *scale, double *zero) {
    double lo = (double)min, hi = (double)max, steps = l.high - l.low;
    if (l.symmetric) {
        double m = fmax(fabs(lo), fabs(hi));
        *scale = (m + m) / steps;
        *zero = 0;
        return;
    }
    *scale = (hi - lo) / steps;
    *zero = *scale > 0 ? rint(l.low - lo / *scale) : 0;
}

float gs_stick_round(gs_dtype r, double scale) {
    return gs_round_to(r, (float)scale);
}

int gs_stick_code(gs_stick_levels l, gs_dtype r, float w, float scale, double zero) {
    float shifted = gs_round_to(r, gs_round_to(r, w / scale) + gs_round_to(r, (float)zero));
    return (int)clamp(rintf(shifted), (float)l.low, (float)l.high);
}

/* Of a row whose largest magnitude is m. */
static float stick_row_scale(gs_dtype r, float m) {
    double scale, zero;
    gs_stick_scale((gs_stick_levels){-128, 127, true}, -m, m, &scale, &zero);
    float s = gs_stick_round(r, scale);
    if (m == 0) return 1.0f;
    return s > 0 ? s : r == GS_F16 ? 0x1p-24f : 0x1p-126f;
}

/* ---- rows ---- */

bool gs_compat_row(gs_compat tool, gs_dtype r, int64_t n, const float *w, int8_t *q, float *scale) {
    float m = gs_round_to(r, gs_kernels_get()->absmax_f32(n, w));
    bool stick = tool == GS_COMPAT_GOLDENSTICK;
    float s = stick ? stick_row_scale(r, m) : at_least(gs_round_to(r, m / 127.0f));
    float low = tool == GS_COMPAT_MSMODELSLIM_V0 ? -127.0f : -128.0f;
    if (!isfinite(m) || !isfinite(s)) return false;
    for (int64_t i = 0; i < n; i++)
        q[i] = (int8_t)clamp(rintf(gs_round_to(r, gs_round_to(r, w[i]) / s)), low, 127.0f);
    *scale = s;
    return true;
}

static void scale_columns(gs_dtype r, int64_t n, const float *columns, float *w) {
    for (int64_t i = 0; columns && i < n; i++) w[i] = gs_round_to(r, w[i] * gs_round_to(r, columns[i]));
}

void gs_compat_smooth_row(gs_compat tool, gs_dtype r, int64_t n, const float *columns, float row, float divisor, float *w) {
    float factor = gs_round_to(r, row);
    for (int64_t i = 0; i < n; i++) w[i] = gs_round_to(r, w[i]);
    if (tool != GS_COMPAT_MSMODELSLIM_V1) scale_columns(r, n, columns, w);
    for (int64_t i = 0; i < n; i++)
        w[i] = gs_round_to(r, divisor > 0 ? w[i] / gs_round_to(r, divisor) : w[i] * factor);
    if (tool == GS_COMPAT_MSMODELSLIM_V1) scale_columns(r, n, columns, w);
}

gs_status gs_compat_read_rows(gs_compat tool, gs_dtype r, const gs_param *weight, const float *columns, const float *divisors,
                              int64_t row0, int64_t n, float *out, gs_error *err) {
    int64_t rows, cols;
    gs_param plain = *weight; /* borrows */
    plain.row_factor = plain.col_factor = NULL;
    gs_param_matrix(weight, &rows, &cols);
    GS_TRY(gs_param_read_f32(&plain, row0, n, out, err));
    for (int64_t i = 0; i < n; i++) {
        float factor = weight->row_factor ? weight->row_factor[row0 + i] : 1.0f;
        gs_compat_smooth_row(tool, r, cols, columns, factor, divisors ? divisors[row0 + i] : 0.0f, out + i * cols);
    }
    return GS_OK;
}

/* ---- activations ---- */

static gs_act_params stick_act(gs_dtype r, float min, float max, bool symmetric) {
    double scale, zero;
    gs_stick_scale((gs_stick_levels){-128, 127, symmetric}, min, max, &scale, &zero);
    float s = at_least(gs_stick_round(r, scale));
    return (gs_act_params){s, clamp((float)zero, -128.0f, 127.0f)};
}

gs_act_params gs_compat_act(gs_compat tool, gs_dtype r, float min, float max, bool symmetric) {
    if (tool == GS_COMPAT_GOLDENSTICK) return stick_act(r, min, max, symmetric);
    float lo = gs_round_to(r, min < 0 ? min : 0.0f), hi = gs_round_to(r, max > 0 ? max : 0.0f);
    gs_act_params p = {0};
    if (symmetric) {
        p.scale = at_least(gs_round_to(r, (-lo > hi ? -lo : hi) / 127.0f));
        return p;
    }
    float v1 = gs_round_to(r, hi / 255.0f) - gs_round_to(r, lo / 255.0f), v0 = gs_round_to(r, hi - lo) / 255.0f;
    p.scale = at_least(gs_round_to(r, tool == GS_COMPAT_MSMODELSLIM_V1 ? v1 : v0));
    p.offset = gs_round_to(r, rintf(gs_round_to(r, -lo / p.scale)) - 128.0f);
    return p;
}

/* ---- constants ---- */

gs_status gs_compat_constants(gs_compat tool, gs_dtype r, gs_act_params act, float weight_scale, float bias, int64_t k,
                              const int8_t *q, const char *name, int64_t row, float *deq_scale, int32_t *quant_bias,
                              gs_error *err) {
    bool stick = tool == GS_COMPAT_GOLDENSTICK;
    float product = act.scale * weight_scale, deq = stick ? product : gs_round_to(r, product);
    int64_t sum = 0;
    for (int64_t i = 0; i < k; i++) sum += q[i];
    float steps = rintf(gs_round_to(r, bias / deq)), correction = (float)sum * -act.offset;
    if (stick) correction = rintf(gs_round_to(r, correction * gs_round_to(r, product)) / deq);
    double total = (double)(steps + correction);
    if (!(deq > 0) || !isfinite(deq) || !(fabs(total) < 0x1p31))
        return GS_FAIL(err, GS_E_NUMERIC, "'%s' row %lld: deq_scale %g makes quant_bias %g, beyond 32 bits", name,
                       (long long)row, (double)deq, total);
    *deq_scale = deq;
    *quant_bias = (int32_t)total;
    return GS_OK;
}
