/* Static int8 activations: one scale and offset for all values of a tensor. The constants that follow from them are in
 * network/static_constants.h.
 *
 *   lo = min(min, 0), hi = max(max, 0)
 *   asymmetric   s = max(T(hi / 255 - lo / 255), 2^-23)      (two f32 divisions, msModelSlim's order)
 *                o = clamp(rne(-lo / s) - 128, -128, 127)
 *   symmetric    s = max(T(max(-lo, hi) / 127), 2^-23), o = 0
 * x is represented by (clamp(rne(x / s + o), -128, 127) - o) * s. T rounds to nearest even to the consumer's
 * dtype, so that its own rounding changes nothing; f16 subnormal scales are rounded up (row_quant.h). In f16 the
 * least scale is 257 * 2^-24 instead of 2^-23: consumers multiply by T(1 / s), which would be infinite below.
 */
#ifndef GS_PTQ_ACT_QUANT_H
#define GS_PTQ_ACT_QUANT_H

#include <base/dtype.h>
#include <network/static_constants.h>

/* min <= max, finite. */
gs_act_params gs_act_params_from_range(float min, float max, bool symmetric, gs_dtype compute);

/* A scale rounded to T, but up where T is f16 and the scale below its normal range. */
float gs_round_scale(gs_dtype compute, float s);

#endif
