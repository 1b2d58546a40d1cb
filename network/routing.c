#include <network/routing.h>

const gs_node *gs_routed_select(const gs_edge *edge) {
    const gs_node *node = edge->producer, *select;
    if (!node) return NULL;
    switch (node->op) {
    case GS_OP_SELECT: return node;
    case GS_OP_LINEAR:
    case GS_OP_QLINEAR:
    case GS_OP_SLICE:
    case GS_OP_SCALE: return gs_routed_select(node->input[0]);
    case GS_OP_SWIGLU:
    case GS_OP_GEGLU:
        select = gs_routed_select(node->input[0]);
        return gs_routed_select(node->input[1]) == select ? select : NULL;
    default: return NULL;
    }
}

bool gs_is_router(const gs_net *net, const gs_node *node) {
    const gs_node *reader;
    if (!gs_node_is_linear(node)) return false;
    for (int i = 0; (reader = gs_net_consumer(net, node->output, i)); i++)
        if (reader->op == GS_OP_ROUTE) return true;
    return false;
}
