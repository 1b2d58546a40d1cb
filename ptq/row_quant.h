/* Symmetric int8 quantization of one weight row, the arithmetic of round to nearest.
 *
 * Given m = max|w| of the row (f32; f16 and bf16 sources widened exactly) and the dtype T the
 * bundle is computed in:
 *
 *   ascend       s = m / 127, one f32 division (ascend-bundles.md 4.2);
 *   goldenstick  s = (m - (-m)) / 255 in double, rounded to f32 (golden-stick.md 1.1);
 *   then s is rounded to S, the dtype that scales are stored or loaded in (f16 where the format says so, else T), so
 * that what is stored is what its consumer uses: to nearest even (127 * (1 + 2^-8) and 127 * (1 + 2^-11) still round
 * to 127: nothing is clipped); below 2^-14 in f16, where s is subnormal, upwards, since rounding down could clip
 * the largest weights by many steps;
 *   then (ascend) s = max(s, 2^-23).
 *   q = clamp(rne(w / s), -128, 127): one f32 division, round half to even, clamp, cast.
 * With groups, that is done for each run of g columns by itself.
 *
 * All-zero row or group: codes 0; ascend s = 2^-23, goldenstick s = 1 (its rule for a degenerate tensor,
 * applied to each channel so that no dead channel yields NaN). A rule with `compat` follows compat_quant.h instead.
 * NaN or infinity anywhere, or a scale beyond the largest value of S: GS_E_NUMERIC, nothing is written for that tensor.
 * Refinement. With an importance h_j >= 0 for each input (the mean square of what the linear reads), m is
 * replaced by the c * m, c in {1, 0.995 .. 0.80}, that leaves the least sum_j h_j (w_j - q_j s)^2: the expected
 * square error of the row's output for inputs that do not correlate. Sums in double, in element order; the
 * first of equals wins.
 *
 * Rows are independent and sums are not involved, so bytes are the same at any thread count and
 * on any ISA.
 */
#ifndef GS_PTQ_ROW_QUANT_H
#define GS_PTQ_ROW_QUANT_H

#include <base/dtype.h>
#include <ptq/ptq_config.h>

/* How rows of one weight are quantized. */
typedef struct gs_row_rule {
    gs_scale_convention convention;
    gs_dtype compute;
    const float *importance; /* [n], finite, >= 0; NULL: m = max|w| */
    gs_dtype scale_dtype;    /* F16: S is f16; any other: S is compute */
    gs_compat compat;        /* then importance and scale_dtype are not looked at */
} gs_row_rule;

/* m: finite, >= 0. The result is positive; infinite only where m / 127 is beyond the range of `stored` (S above). */
float gs_row_scale(gs_scale_convention convention, gs_dtype stored, float m);

/* What quantizing a row did, to be summed over rows. */
typedef struct gs_row_stats {
    double weight_square, error_square, max_error;
    int64_t saturated, zero_rows, rows;
    double scale_min, scale_max;
} gs_row_stats;

/* w: [n] f32; q: [n] written; *scale written. scratch: [n] f32. False (*q may be written) when the row holds NaN or
 * infinity, or its scale has no value. */
bool gs_row_quantize(const gs_row_rule *rule, int64_t n, const float *w, int8_t *q, float *scale,
                     float *scratch, gs_row_stats *stats);
/* The same by groups of g columns; g divides n. scale: [n / g]. The statistics count rows, not groups. */
bool gs_row_quantize_groups(const gs_row_rule *rule, int64_t n, int64_t g, const float *w, int8_t *q, float *scale,
                            float *scratch, gs_row_stats *stats);
/* The statistics of codes that were made otherwise. scratch: [n]. */
void gs_row_measure(int64_t n, const float *w, const int8_t *q, float scale, float *scratch, gs_row_stats *stats);
void gs_row_stats_merge(gs_row_stats *into, const gs_row_stats *from);

#endif
