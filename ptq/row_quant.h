/* Symmetric int8 quantization of one weight row, the arithmetic of round to nearest.
 *
 * Given m = max|w| of the row (f32; f16 and bf16 sources widened exactly) and the dtype T the
 * bundle is computed in:
 *
 *   ascend       s = m / 127, one f32 division (ascend-bundles.md 4.2);
 *   goldenstick  s = (m - (-m)) / 255 in double, rounded to f32 (golden-stick.md 1.1);
 *   then s is rounded to T when the loader's own rounding to T could move a dequantized weight
 *   by more than 1/32 of a step: for bf16 always, to nearest even (127 * (1 + 2^-8) still rounds to
 *   127: nothing is clipped); for f16 only where s is subnormal (< 2^-14), and upwards there, since
 *   rounding down could clip the largest weights by many steps;
 *   then (ascend) s = max(s, 2^-23).
 *   q = clamp(rne(w / s), -128, 127): one f32 division, round half to even, clamp, cast.
 *
 * All-zero row: codes 0; ascend s = 2^-23, goldenstick s = 1 (its rule for a degenerate tensor,
 * applied to each channel so that no dead channel yields NaN).
 * NaN or infinity anywhere: GS_E_NUMERIC, nothing is written for that tensor.
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
} gs_row_rule;

/* m: finite, >= 0. The result is positive and finite. */
float gs_row_scale(gs_scale_convention convention, gs_dtype compute, float m);

/* What quantizing a row did, to be summed over rows. */
typedef struct gs_row_stats {
    double weight_square, error_square, max_error;
    int64_t saturated, zero_rows, rows;
    double scale_min, scale_max;
} gs_row_stats;

/* w: [n] f32; q: [n] written; *scale written. scratch: [n] f32. False (nothing written) when the
 * row holds NaN or infinity. */
bool gs_row_quantize(const gs_row_rule *rule, int64_t n, const float *w, int8_t *q, float *scale,
                     float *scratch, gs_row_stats *stats);
/* The statistics of codes that were made otherwise. scratch: [n]. */
void gs_row_measure(int64_t n, const float *w, const int8_t *q, float scale, float *scratch, gs_row_stats *stats);
void gs_row_stats_merge(gs_row_stats *into, const gs_row_stats *from);

#endif
