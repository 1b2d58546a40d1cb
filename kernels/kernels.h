/* Row kernels: one thread, no allocation, no globals, no reads or writes beyond n, any
 * alignment. Each has a plain scalar version, which is the specification, and vector versions
 * chosen at run time.
 *
 * Exactness. Every kernel gives the same bits on every ISA. `exact`: and they follow from the
 * formula, each operation rounded once. `bounded` (those with exp, rows/exp.h): within the
 * stated error of the true value. Sums are accumulated in the order written at each kernel, the
 * same on every ISA: 16 f32 lanes (lane i takes elements i, i+16, ...), then lanes added
 * pairwise 8,4,2,1 -- so sums are exact in this sense too.
 *
 * NaN: unless stated, NaN in gives NaN out; its sign and payload may differ where it passes
 * through arithmetic.
 */
#ifndef GS_KERNELS_KERNELS_H
#define GS_KERNELS_KERNELS_H

#include <kernels/isa.h>
#include <stddef.h>
#include <stdint.h>

/* max |x[i]|, 0 for n = 0. Returns NaN if any element is NaN, +inf if any is infinite
 * and none is NaN. exact. */
typedef float gs_absmax_f32_fn(int64_t n, const float *x);
/* Conversions; rounding to nearest even, as base/half.h. dst and src must not overlap. exact. */
typedef void gs_convert_bf16_f32_fn(int64_t n, const uint16_t *src, float *dst);
typedef void gs_convert_f16_f32_fn(int64_t n, const uint16_t *src, float *dst);
typedef void gs_convert_f32_bf16_fn(int64_t n, const float *src, uint16_t *dst);
typedef void gs_convert_f32_f16_fn(int64_t n, const float *src, uint16_t *dst);
/* q[i] = clamp(rne(x[i] / scale), -128, 127): IEEE division, round half to even, clamp, then
 * cast. scale > 0 and finite (caller's duty); x finite (caller's duty: NaN gives 0, the
 * infinities saturate). exact. */
typedef void gs_quantize_s8_fn(int64_t n, const float *x, float scale, int8_t *q);
/* q[i] = clamp(rne(x[i] * reciprocal + offset), -128, 127): product and sum each rounded to f32,
 * round half to even, clamp, then cast. NaN gives 0, the infinities saturate. exact. */
typedef void gs_quantize_affine_s8_fn(int64_t n, const float *x, float reciprocal, float offset, int8_t *q);
/* y[i] = ((float)q[i] + offset) * scale, one rounding each. exact. */
typedef void gs_dequantize_s8_fn(int64_t n, const int8_t *q, float scale, float offset, float *y);
/* y[i] = (float)(acc[i] + bias[i]) * scale[i] * row_scale, from left to right, one rounding each:
 * the conversion's is to nearest even. bias may be NULL (none). acc + bias is taken modulo 2^32,
 * so either may be off by what the other puts right. exact. */
typedef void gs_rescale_s32_fn(int64_t n, const int32_t *acc, const int32_t *bias, const float *scale,
                               float row_scale, float *y);
/* y[i] = x[i] * r * w[i], r = 1/sqrt(mean(x^2) + eps); (x*r) is rounded before * w. The mean
 * is the lane sum / n. y may be x. exact. (RMSNorm, Zhang and Sennrich 2019, eq. 4.) */
typedef void gs_rmsnorm_f32_fn(int64_t n, const float *x, const float *w, float eps, float *y);
/* Rotary embedding of one head in the half-split layout, in place: j < half,
 * (x[j], x[j+half]) <- (x[j]*c[j] - x[j+half]*s[j], x[j+half]*c[j] + x[j]*s[j]). exact.
 * (RoFormer, Su et al. 2021, eq. 34, in Hugging Face's element order.) */
typedef void gs_rope_f32_fn(int64_t half, const float *cosine, const float *sine, float *x);
/* y[i] = silu(gate[i]) * up[i], silu(g) = g / (1 + exp(-g)). y may be gate or up.
 * bounded: silu within 4 ulp for g >= -87; from -88.73 down the exponential overflows and the
 * result is -0 (the true value is above -3e-37). */
typedef void gs_swiglu_f32_fn(int64_t n, const float *gate, const float *up, float *y);
/* y[i] = gelu(gate[i]) * up[i] with gelu(g) = g/2 * (1 + tanh(sqrt(2/pi) * (g + 0.044715 g^3))), computed as
 * g / (1 + exp(-2 sqrt(2/pi) (g + 0.044715 g^3))). y may be gate or up. bounded: gelu within 4 ulp for g >= -1; below,
 * where the exponential multiplies its argument's rounding, within 1e-7. Large negative gates give -0. */
typedef void gs_geglu_f32_fn(int64_t n, const float *gate, const float *up, float *y);
/* y[i] = cap * tanh(x[i] / cap), cap > 0 and finite (caller's duty). y may be x. bounded: tanh within 4 ulp of that of the
 * rounded quotient. The infinities give +-cap. */
typedef void gs_softcap_f32_fn(int64_t n, const float *x, float cap, float *y);
/* y[i] = x[i] + factor * t[i], product and sum each rounded; y may be x. exact. */
typedef void gs_add_scaled_f32_fn(int64_t n, const float *x, float factor, const float *t, float *y);
/* y[i] = a[i] + b[i]; y may be a or b. exact. */
typedef void gs_add_f32_fn(int64_t n, const float *a, const float *b, float *y);
/* y[i] = x[i] * scale. exact. */
typedef void gs_scale_f32_fn(int64_t n, const float *x, float scale, float *y);
/* y[i] = x[i] * s[i]; y may be x. exact. */
typedef void gs_scale_channels_fn(int64_t n, const float *x, const float *s, float *y);
/* y[i] = max(x[i], 0) (NaN stays NaN, -0 stays -0). exact. */
typedef void gs_relu_f32_fn(int64_t n, const float *x, float *y);
/* max x[i], -inf for n = 0; NaN is skipped. exact. */
typedef float gs_max_f32_fn(int64_t n, const float *x);
/* lo[i] = x[i] where x[i] < lo[i], hi[i] = x[i] where x[i] > hi[i]; else (so for NaN) they stay.
 * exact. */
typedef void gs_min_max_channels_fn(int64_t n, const float *x, float *lo, float *hi);
/* y[i] = exp(x[i] - shift), returns their lane sum. y may be x. x[i] = -inf gives 0.
 * bounded: each exp within 2 ulp for x - shift (rounded to f32) in [-87, 88.7], 0 below -87.33,
 * +inf from 88.73 on. */
typedef float gs_exp_sum_f32_fn(int64_t n, const float *x, float shift, float *y);
/* The same with y rounded to bf16 (nearest even); the sum is of the unrounded values. x and y do
 * not overlap. */
typedef float gs_exp_sum_bf16_fn(int64_t n, const float *x, float shift, uint16_t *y);
/* For the divergence of two distributions over the same block of logits, with fixed shifts:
 *   out[0] += sum exp(p[i]-mp)             out[1] += sum exp(q[i]-mq)
 *   out[2] += sum exp(p[i]-mp)*(p[i]-q[i])   each block sum: 16 lanes, added to out once.
 * bounded like exp. out: double[3]. */
typedef void gs_kl_block_f32_fn(int64_t n, const float *p, float mp, const float *q, float mq, double *out);

/* name, function type */
#define GS_KERNEL_LIST(X)                                                      \
    X(absmax_f32)                                                              \
    X(convert_bf16_f32)                                                        \
    X(convert_f16_f32)                                                         \
    X(convert_f32_bf16)                                                        \
    X(convert_f32_f16)                                                         \
    X(quantize_s8)                                                             \
    X(quantize_affine_s8)                                                      \
    X(dequantize_s8)                                                           \
    X(rescale_s32)                                                             \
    X(rmsnorm_f32)                                                             \
    X(rope_f32)                                                                \
    X(swiglu_f32)                                                              \
    X(geglu_f32)                                                               \
    X(softcap_f32)                                                             \
    X(add_scaled_f32)                                                          \
    X(add_f32)                                                                 \
    X(scale_f32)                                                               \
    X(scale_channels)                                                          \
    X(relu_f32)                                                                \
    X(max_f32)                                                                 \
    X(min_max_channels)                                                        \
    X(exp_sum_f32)                                                             \
    X(exp_sum_bf16)                                                            \
    X(kl_block_f32)

typedef struct gs_kernels {
    gs_isa isa;
#define X(name) gs_##name##_fn *name;
    GS_KERNEL_LIST(X)
#undef X
} gs_kernels;

/* The table of gs_isa_selected(); filled once, thread safe, never NULL. */
const gs_kernels *gs_kernels_get(void);
/* The table of one level, or NULL where it is not supported (tests, benches). */
const gs_kernels *gs_kernels_for(gs_isa isa);

#endif
