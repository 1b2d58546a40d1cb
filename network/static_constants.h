/* The constants that a consumer of static int8 activations needs to multiply its codes with int8 weights.
 *
 * For input scale s and offset o, and weights with codes q [n, k] and scales sw [n] as stored (ascend-bundles.md 4.2):
 *   deq_scale[n]  = s * sw[n]                                     (one f32 product)
 *   quant_bias[n] = rne(bias[n] / deq_scale[n]) - o * sum_k q[n,k]   (int64; GS_E_NUMERIC unless
 *                   |quant_bias| + 128 sum |q| < 2^31)
 */
#ifndef GS_NETWORK_STATIC_CONSTANTS_H
#define GS_NETWORK_STATIC_CONSTANTS_H

#include <network/net.h>

typedef struct gs_act_params {
    float scale, offset; /* offset: an integer in [-128, 127] */
} gs_act_params;

/* One row of the constants above. q: [k]; bias 0 when there is none. `name` and `row` are for the error. Thread safe. */
gs_status gs_static_constants(gs_act_params act, float weight_scale, float bias, int64_t k, const int8_t *q,
                              const char *name, int64_t row, float *deq_scale,
                              int32_t *quant_bias, gs_error *err) GS_NODISCARD;

/* Element i of a deq_scale, F32 or I64, that has values: the F32's bits, or the I64, whose low half holds an f32's bits
 * and whose high half is zero in a sound bundle. Thread safe. */
uint64_t gs_deq_scale_word(const gs_param *p, int64_t i);

#endif
