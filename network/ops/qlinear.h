/* The schemes of a quantized linear (internal to network/ops). */
#ifndef GS_NETWORK_OPS_QLINEAR_H
#define GS_NETWORK_OPS_QLINEAR_H

#include <network/ops/packed_linear.h>

/* ---- reading params (qlinear_read.c) ---- */

/* A value as the node's arithmetic holds it: rounded to the compute dtype by GS_ARITH_CONSUMER, else as it is. */
float gs_qlinear_held(const gs_node *node, float x);
/* All values of a param as the node's arithmetic holds them, in new memory; they must be finite,
 * and positive when they are scales: GS_E_NUMERIC. */
gs_status gs_qlinear_read(const gs_op_env *env, const gs_node *node, gs_role role, bool positive, float **out,
                          gs_error *err) GS_NODISCARD;
/* [out], never rounded; as deq19 says. */
gs_status gs_qlinear_read_deq_scale(const gs_op_env *env, const gs_node *node, float **out, gs_error *err) GS_NODISCARD;
gs_status gs_qlinear_read_quant_bias(const gs_op_env *env, const gs_node *node, int32_t **out,
                                     gs_error *err) GS_NODISCARD;
/* An integer from -128 to 127: the consumer holds it in an int8. */
gs_status gs_qlinear_read_input_offset(const gs_op_env *env, const gs_node *node, float *out,
                                       gs_error *err) GS_NODISCARD;
/* All codes of the weight, [out, in]: the param's own bytes (*own NULL), or unpacked ones in new memory. */
gs_status gs_qlinear_codes(const gs_op_env *env, const gs_node *node, const int8_t **codes, int8_t **own,
                           gs_error *err) GS_NODISCARD;

/* ---- constants of static activations (qlinear_static.c) ---- */

/* What an int8 product of static activations is finished with: y = (acc + bias) * scale + addend. */
typedef struct gs_static_linear {
    float *scale;   /* [out] */
    int32_t *bias;  /* [out] */
    float *addend;  /* [out] or NULL */
    float input_scale, offset;
    float reciprocal; /* what inputs are multiplied by; 0: they are divided by input_scale */
} gs_static_linear;
/* CONSUMER takes deq_scale and quant_bias, or derives them (network/static_constants.h) where neither is stored.
 * EXACT: scale = input_scale * weight_scale, bias = -offset * sum q, addend = the bias; or the stored constants
 * where weight_scale is not. GS_E_NUMERIC where a 32-bit accumulator could overflow. */
gs_status gs_static_linear_read(const gs_op_env *env, const gs_node *node, const int8_t *codes, gs_static_linear *out,
                                gs_error *err) GS_NODISCARD;
void gs_static_linear_clear(gs_static_linear *s);
/* The bias that the stored constants of a static linear contain, (quant_bias + input_offset * sum q) * deq_scale; *out
 * NULL where they contain none. */
gs_status gs_qlinear_folded_bias(const gs_op_env *env, const gs_node *node, const int8_t *codes, float **out,
                                 gs_error *err) GS_NODISCARD;

/* ---- products ---- */

/* The weight is dequantized once, and multiplied as float: W8A16, W4A16, and every scheme in GS_ARITH_WEIGHTS. */
gs_status gs_qlinear_float_prepare(const gs_op_env *env, const gs_node *node, gs_packed_linear **out,
                                   gs_error *err) GS_NODISCARD;

/* W8A8, W8A8_DYNAMIC and W8A8_MIX: integer products. */
typedef struct gs_int8_linear gs_int8_linear;
gs_status gs_int8_linear_create(const gs_op_env *env, const gs_node *node, gs_int8_linear **out,
                                gs_error *err) GS_NODISCARD;
void gs_int8_linear_release(gs_int8_linear *p); /* NULL ok */
/* linear: a gs_int8_linear. */
gs_status gs_int8_linear_run(const void *linear, const gs_op_call *call, gs_error *err) GS_NODISCARD;

/* The scheme the node computes: W8A8_MIX is one or the other. */
gs_scheme gs_qlinear_scheme(const gs_node *node);

#endif
