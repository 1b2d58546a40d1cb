/* The schemes of a quantized linear (internal to network/ops). */
#ifndef GS_NETWORK_OPS_QLINEAR_H
#define GS_NETWORK_OPS_QLINEAR_H

#include <network/ops/packed_linear.h>

/* All values of a param rounded to the node's compute dtype, in new memory; they must be finite,
 * and positive when they are scales: GS_E_NUMERIC. */
gs_status gs_qlinear_read(const gs_op_env *env, const gs_node *node, gs_role role, bool positive, float **out,
                          gs_error *err) GS_NODISCARD;

gs_status gs_qlinear_w8a16_prepare(const gs_op_env *env, const gs_node *node, gs_packed_linear **out,
                                   gs_error *err) GS_NODISCARD;

/* W8A8 and W8A8_DYNAMIC. */
typedef struct gs_int8_linear gs_int8_linear;
gs_status gs_int8_linear_create(const gs_op_env *env, const gs_node *node, gs_int8_linear **out,
                                gs_error *err) GS_NODISCARD;
void gs_int8_linear_release(gs_int8_linear *p); /* NULL ok */
gs_status gs_int8_linear_run(const gs_int8_linear *p, const gs_op_call *call, gs_error *err) GS_NODISCARD;

#endif
