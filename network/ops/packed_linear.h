/* y = x * w^T + b with a packed weight: what every kind of linear is once its weight is made. */
#ifndef GS_NETWORK_OPS_PACKED_LINEAR_H
#define GS_NETWORK_OPS_PACKED_LINEAR_H

#include <network/ops/op.h>

typedef struct gs_packed_linear gs_packed_linear;

/* Where the weight's rows come from: [out, in] row-major, f32 or bf16 bits by env->type. */
typedef struct gs_weight_rows {
    const void *data;
    void *own; /* data when it was made for the purpose and is given up here, else NULL */
    float *bias; /* [out], given up here; NULL: none */
} gs_weight_rows;

/* Shapes are those of the node's weight. rows.own and rows.bias belong to the call even on failure. *kept
 * (may be NULL): rows.data is still used, so it has to stay as long as the result. */
gs_status gs_packed_linear_create(const gs_op_env *env, const gs_node *node, gs_weight_rows rows,
                                  bool *kept, gs_packed_linear **out, gs_error *err) GS_NODISCARD;
void gs_packed_linear_release(void *packed);
/* call->out = in[0] * w^T + b. packed: a gs_packed_linear. */
gs_status gs_packed_linear_run(const void *packed, const gs_op_call *call, gs_error *err) GS_NODISCARD;
/* The op row's infer: [in] -> [out], bias [out]. */
gs_status gs_packed_linear_infer(const gs_node *node, gs_dims *out, gs_error *err);

/* Memory for a weight's rows in env->type. */
gs_status gs_weight_rows_alloc(const gs_op_env *env, const gs_param *weight, void **out,
                               gs_error *err) GS_NODISCARD;

#endif
