/* The arithmetic of the original tools, for bundles that are to agree with theirs bit by bit: every operation in f32, its
 * result rounded to nearest even to the model's dtype R, in the tool's order (reference/msmodelslim and
 * reference/goldenstick, whose READMEs say how each formula was found). Beside ours (row_quant.h, act_quant.h,
 * smooth_scale.h), which is more exact: constants come from scales as they are stored, in f32 and int64.
 *
 * Weights w are rounded to R first, which changes nothing in a model of that dtype. m = max|w| of the row.
 *   msModelSlim   s = max(R(m / 127), 2^-23); q = clamp(rne(R(w / s)), lo, 127), lo -128 in V1, -127 in V0
 *   Golden Stick  s = R(f32(2 m / 255)), the quotient in double; q = clamp(rne(R(w / s)), -128, 127)
 *                 a zero row: s = 1, q = 0 (theirs 0 and undefined codes); a scale that R would make zero is R's least.
 * Activations, min = min(min, 0), max = max(max, 0):
 *   msModelSlim   V1 s = max(R(R(max/255) - R(min/255)), 2^-23), V0 s = max(R(R(max - min) / 255), 2^-23);
 *                 o = R(rne(R(-min / s)) - 128); symmetric s as of a weight, o = 0
 *   Golden Stick  s = (max - min) / 255 and o = rne(-128 - min / s) in double, zero not forced into the range (but to
 *                 [-128, 127], which is theirs as well when it lies inside); symmetric 2 m / 255; s rounded as above
 * Constants, c = -o sum_k q:
 *   msModelSlim   deq = R(s sw), quant_bias = rne(R(bias / deq)) + c; GS_E_NUMERIC where theirs overflows
 *   Golden Stick  deq = f32(s) f32(sw), quant_bias = rne(R(c R(s sw)) / deq), a bias as msModelSlim's
 */
#ifndef GS_PTQ_COMPAT_QUANT_H
#define GS_PTQ_COMPAT_QUANT_H

#include <network/net.h>
#include <ptq/act_quant.h>
#include <ptq/ptq_config.h>

/* w: [n] f32, rounded to R here; q: [n]. False (nothing written) for NaN, infinity, or a scale beyond R. */
bool gs_compat_row(gs_compat tool, gs_dtype r, int64_t n, const float *w, int8_t *q, float *scale);

/* A row's weights in place, as the tool smooths them: columns by their factors, the row by its own, each product rounded.
 * columns: [n] factors s, or NULL. row: the factor 1 / s of the row (1: none). divisor: s itself for tools that divide, or
 * 0. V1: row, then columns; V0: columns, then the row's division; Golden Stick: columns, then row. */
void gs_compat_smooth_row(gs_compat tool, gs_dtype r, int64_t n, const float *columns, float row, float divisor, float *w);

/* Rows [row0, row0 + n) of a float weight, [n, cols], smoothed so by its own row factors, and by columns: [cols] or NULL,
 * whatever column factors it has. divisors: one a row of the weight, or NULL. Errors as gs_param_read_f32. */
gs_status gs_compat_read_rows(gs_compat tool, gs_dtype r, const gs_param *weight, const float *columns, const float *divisors,
                              int64_t row0, int64_t n, float *out, gs_error *err) GS_NODISCARD;

gs_act_params gs_compat_act(gs_compat tool, gs_dtype r, float min, float max, bool symmetric);

/* As gs_static_constants, but also what would overflow the 32-bit accumulator is kept, as the tools do. */
gs_status gs_compat_constants(gs_compat tool, gs_dtype r, gs_act_params act, float weight_scale, float bias, int64_t k,
                              const int8_t *q, const char *name, int64_t row, float *deq_scale, int32_t *quant_bias,
                              gs_error *err) GS_NODISCARD;

/* Golden Stick's quantizer in general: any number of levels, with or without a zero point. */
typedef struct gs_stick_levels {
    int low, high; /* -128, 127 */
    bool symmetric;
} gs_stick_levels;
/* min <= max, values of R. *scale in double, as it computes it; *zero an integer, 0 when symmetric. scale 0 when min ==
 * max == 0, and for any min == max with a zero point. */
void gs_stick_scale(gs_stick_levels levels, float min, float max, double *scale, double *zero);
/* The stored scale: through f32, twice rounded for 16-bit R. */
float gs_stick_round(gs_dtype r, double scale);
/* clamp(rne(R(R(w / scale) + R(zero))), low, high); scale as stored, positive. */
int gs_stick_code(gs_stick_levels levels, gs_dtype r, float w, float scale, double zero);

#endif
