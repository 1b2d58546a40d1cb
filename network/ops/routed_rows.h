/* Rows that go to one expert (internal to network/ops; network/routing.h). */
#ifndef GS_NETWORK_OPS_ROUTED_ROWS_H
#define GS_NETWORK_OPS_ROUTED_ROWS_H

#include <network/ops/op.h>

/* attr.select.expert is a channel of that input. */
gs_status gs_routed_check(const gs_node *node, int routing, gs_error *err) GS_NODISCARD;
/* Row r's share of the node's expert, by that input; 0: it does not go there. */
float gs_routed_share(const gs_op_call *call, int routing, int64_t r);
void gs_routed_describe(const gs_attr *attr, gs_strbuf *out);

/* call->out = a linear of in[0], each row by itself. */
typedef gs_status gs_linear_run_fn(const void *prepared, const gs_op_call *call, gs_error *err);

/* Runs a linear on the rows that count: where in[0] holds the rows of one expert, its other rows are all alike, and one of
 * them stands for all. The result is that of run(prepared, call), up to how a product rounds with another number of rows. */
gs_status gs_routed_rows_run(gs_linear_run_fn *run, const void *prepared, const gs_op_call *call, gs_error *err) GS_NODISCARD;

#endif
