/* Smoothing factors: how far the range of an input channel moves into the weights (SmoothQuant, Xiao et al. 2023,
 * eq. 4).
 *
 *   s_j = max(A_j^alpha / W_j^(1 - alpha), 1e-5)
 *
 * A_j = max |x_j| over the calibration data, W_j = max |w[:, j]| over all linears that read the channel, at least
 * 1e-5 (msModelSlim's clamp; Golden Stick has none). The lower clamp of s is Golden Stick's and msModelSlim's; neither
 * has an upper one. A channel that is dead on either side (A_j = 0, W_j = 0, or a power that
 * underflows to 0) gets s = 1: Golden Stick's rule, which looks at the powers alone, so that there at alpha 0 a dead
 * activation has s = 1 / W_j, and at alpha 1 a dead weight A_j. Powers are the C library's powf, of the
 * exponents alpha and 1 - alpha in double, each rounded to f32.
 */
#ifndef GS_PTQ_SMOOTH_SCALE_H
#define GS_PTQ_SMOOTH_SCALE_H

#include <base/context.h>
#include <ptq/edge_group.h>

/* act, weight, s: [n]; alpha in [0, 1]. s is positive and finite for finite act and weight. */
void gs_smooth_scales(int64_t n, const float *act, const float *weight, double alpha, float *s);

/* max |w[:, j]| over the given linears (those that will be quantized), [width]; reads each weight once, by the
 * team. GS_E_NUMERIC for NaN or infinity. */
gs_status gs_column_absmax(gs_context *cx, gs_node *const *linear, int count, int64_t width, float *out,
                           gs_error *err) GS_NODISCARD;

/* Folds [width] to [site.channels]: the largest of the channels that share one. */
void gs_edge_group_fold_max(const gs_edge_group *g, const float *wide, float *folded);

/* Makes the folding exact for a norm that is stored in T: s_c becomes w_c / T(w_c / s_c), so that the norm's
 * rounded weight times s is the old weight again; s_c = 1 where T(w_c / s_c) is 0 or not finite, or w_c is 0.
 * No-op for T = f32 and for sites whose rows are quantized anyway. */
gs_status gs_smooth_scales_fit(const gs_edge_group *g, gs_dtype compute, float *s, gs_error *err) GS_NODISCARD;

#endif
