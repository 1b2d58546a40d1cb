#include <network/net_private.h>

#include <network/ops/op.h>

/* The API keeps these true; the structs are public, so a caller's slip is told, not run. */
static gs_status check_links(const gs_net *net, const gs_node *node, int position, gs_error *err) {
    if ((unsigned)node->op >= GS_OP_COUNT || node->ninputs != gs_op_inputs(node->op))
        return GS_FAIL(err, GS_E_INVALID, "operation %d with %d inputs", (int)node->op, node->ninputs);
    if (node->output->producer != node)
        return GS_FAIL(err, GS_E_INVALID, "another node produces its output");
    for (int i = 0; i < node->ninputs; i++) {
        const gs_edge *in = node->input[i];
        if (gs_list_find(&net->edges, in) < 0)
            return GS_FAIL(err, GS_E_INVALID, "input %d is not an edge of the net", i);
        int from = in->producer ? gs_net_position(net, in->producer) : -1;
        if (from >= position || (in->producer && from < 0))
            return GS_FAIL(err, GS_E_INVALID, "'%s' is read before it is computed", in->name);
    }
    return GS_OK;
}

static gs_status check_roles(const gs_node *node, gs_error *err) {
    const gs_op_class *class = gs_op_class_get(node->op);
    for (int r = 0; r < GS_ROLE_COUNT; r++) {
        unsigned bit = GS_ROLE_BIT(r);
        if (!node->param[r] && (class->required & bit))
            return GS_FAIL(err, GS_E_INVALID, "%s without a %s", gs_op_name(node->op),
                           gs_role_name((gs_role)r));
        if (node->param[r] && !((class->required | class->optional) & bit))
            return GS_FAIL(err, GS_E_INVALID, "%s has no use for a %s", gs_op_name(node->op),
                           gs_role_name((gs_role)r));
    }
    return GS_OK;
}

static gs_status check_counts(const gs_net *net, gs_error *err) {
    for (int e = 0; e < net->edges.count; e++) {
        const gs_edge *edge = net->edges.at[e];
        int uses = gs_list_find(&net->outputs, edge) >= 0;
        if (edge->is_output != (uses > 0))
            return GS_FAIL(err, GS_E_INVALID, "'%s': is_output is wrong", edge->name);
        for (int n = 0; n < net->nodes.count; n++) {
            const gs_node *node = net->nodes.at[n];
            for (int i = 0; i < node->ninputs; i++) uses += node->input[i] == edge;
        }
        if (edge->index != e || edge->consumers != uses)
            return GS_FAIL(err, GS_E_INVALID, "'%s': %d consumers are noted, it has %d", edge->name,
                           edge->consumers, uses);
    }
    return GS_OK;
}

static gs_status infer_node(const gs_net *net, const gs_node *node, int position, gs_error *err) {
    GS_TRY(check_links(net, node, position, err));
    GS_TRY(check_roles(node, err));
    gs_dims dims = {0};
    GS_TRY(gs_op_class_get(node->op)->infer(node, &dims, err));
    node->output->dims = dims;
    return GS_OK;
}

gs_status gs_net_infer(gs_net *net, gs_error *err) {
    for (int i = 0; i < net->nodes.count; i++) {
        const gs_node *node = net->nodes.at[i];
        gs_status status = infer_node(net, node, i, err);
        if (status != GS_OK) {
            gs_error_at(err, "%s", node->name);
            return status;
        }
    }
    return check_counts(net, err);
}
