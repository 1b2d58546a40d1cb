/* Mixtures of experts in the IR. A router, which is a LINEAR, gives a row of logits, one an expert; ROUTE makes shares of
 * them; each expert is ordinary nodes between a SELECT and the sum:
 *
 *     shares = ROUTE(router(n))                         [experts], zeros but for the top_k
 *     x_e    = SELECT(n, shares)                        n where shares[e] != 0, else zeros
 *     y_e    = down_e(act(gate_e(x_e)) * up_e(x_e))
 *     sum    = ROUTED(y_0, shares) = shares[0] * y_0,   then ROUTED_ADD(sum, y_e, shares) = sum + shares[e] * y_e, ascending
 *
 * So quantizers, observers and bundles see linears like any others. A value between SELECT and the sum is of the rows its
 * expert gets; its other rows are all alike and nobody uses them.
 */
#ifndef GS_NETWORK_ROUTING_H
#define GS_NETWORK_ROUTING_H

#include <network/net.h>

/* The SELECT that every row of the edge comes through, by operations that keep rows apart; NULL: none. */
const gs_node *gs_routed_select(const gs_edge *edge);
/* A LINEAR or QLINEAR whose output is what a ROUTE reads. */
bool gs_is_router(const gs_net *net, const gs_node *node);

#endif
