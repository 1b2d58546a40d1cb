/* Static int8 activations: one scale and offset for all values of a tensor, and the constants
 * that a consumer needs to multiply its codes with int8 weights.
 *
 *   lo = min(min, 0), hi = max(max, 0)
 *   asymmetric   s = max(T(hi / 255 - lo / 255), 2^-23)      (two f32 divisions, msModelSlim's order)
 *                o = clamp(rne(-lo / s) - 128, -128, 127)
 *   symmetric    s = max(T(max(-lo, hi) / 127), 2^-23), o = 0
 * x is represented by (clamp(rne(x / s + o), -128, 127) - o) * s. T rounds to nearest even to the consumer's
 * dtype, so that its own rounding changes nothing; f16 subnormal scales are rounded up (row_quant.h). In f16 the
 * least scale is 257 * 2^-24 instead of 2^-23: consumers multiply by T(1 / s), which would be infinite below.
 *
 * For weights with codes q [n, k] and scales sw [n] as stored (ascend-bundles.md 4.2):
 *   deq_scale[n]  = s * sw[n]                                     (one f32 product)
 *   quant_bias[n] = rne(bias[n] / deq_scale[n]) - o * sum_k q[n,k]   (int64; GS_E_NUMERIC unless
 *                   |quant_bias| + 128 sum |q| < 2^31)
 */
#ifndef GS_PTQ_ACT_QUANT_H
#define GS_PTQ_ACT_QUANT_H

#include <base/dtype.h>
#include <base/error.h>

typedef struct gs_act_params {
    float scale, offset; /* offset: an integer in [-128, 127] */
} gs_act_params;

/* min <= max, finite. */
gs_act_params gs_act_params_from_range(float min, float max, bool symmetric, gs_dtype compute);

/* One row of the constants above. q: [k]; bias 0 when there is none. `name` and `row` are for the error. */
gs_status gs_static_constants(gs_act_params act, float weight_scale, float bias, int64_t k, const int8_t *q,
                              const char *name, int64_t row, float *deq_scale,
                              int32_t *quant_bias, gs_error *err) GS_NODISCARD;

/* A scale rounded to T, but up where T is f16 and the scale below its normal range. */
float gs_round_scale(gs_dtype compute, float s);

#endif
