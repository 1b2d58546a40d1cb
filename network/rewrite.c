/* Everything that may fail comes before the first change, so a failure leaves the net as it was. */
#include <network/rewrite.h>

#include <network/net_private.h>
#include <network/ops/op.h>

#include <base/mem.h>

#include <string.h>

/* Lets one node's inputs, or the net outputs (node NULL), move from an edge to another. */
static void move_uses(gs_net *net, gs_node *node, gs_edge *from, gs_edge *to) {
    if (node) {
        for (int i = 0; i < node->ninputs; i++) {
            if (node->input[i] != from) continue;
            node->input[i] = to;
            from->consumers--;
            to->consumers++;
        }
        return;
    }
    int at = gs_list_find(&net->outputs, from);
    if (at < 0) return;
    net->outputs.at[at] = to;
    from->is_output = false;
    from->consumers--;
    to->is_output = true;
    to->consumers++;
}

static bool node_reads(const gs_node *node, const gs_edge *edge) {
    for (int i = 0; i < node->ninputs; i++)
        if (node->input[i] == edge) return true;
    return false;
}

gs_status gs_net_insert(gs_net *net, gs_edge *edge, gs_node *only, gs_op op, const char *name,
                        const gs_attr *attr, gs_node **out, gs_error *err) {
    gs_node *node;
    GS_TRY(gs_net_check_new_node(net, op, name, 1, &edge, err));
    if (only && (gs_net_position(net, only) < 0 || !node_reads(only, edge)))
        return GS_FAIL(err, GS_E_INVALID, "'%s': node '%s' does not read '%s'", name, only->name,
                       edge->name);
    GS_TRY(gs_net_reserve_node(net, err));
    GS_TRY(gs_node_make(op, name, 1, &edge, attr, &node, err));

    int position = only ? gs_net_position(net, only) : gs_net_position(net, edge->producer) + 1;
    if (only) {
        move_uses(net, only, edge, node->output);
    } else {
        for (int i = 0; i < net->nodes.count; i++)
            move_uses(net, net->nodes.at[i], edge, node->output);
        move_uses(net, NULL, edge, node->output);
    }
    gs_net_place(net, node, position);
    *out = node;
    return GS_OK;
}

static gs_status check_member(const gs_net *net, const gs_node *node, gs_error *err) {
    if (gs_net_position(net, node) >= 0) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "net '%s': a node of another net", net->name);
}

gs_status gs_net_replace(gs_net *net, gs_node *node, gs_op op, const gs_attr *attr, gs_node **out,
                         gs_error *err) {
    GS_TRY(check_member(net, node, err));
    if ((unsigned)op >= GS_OP_COUNT)
        return GS_FAIL(err, GS_E_INVALID, "'%s': operation %d", node->name, (int)op);
    if (gs_op_inputs(op) != node->ninputs)
        return GS_FAIL(err, GS_E_INVALID, "'%s': %s takes %d inputs, the node has %d", node->name,
                       gs_op_name(op), gs_op_inputs(op), node->ninputs);
    gs_net_unprepare(net); /* by the old op's rules */
    node->op = op;
    node->attr = attr ? *attr : (gs_attr){0};
    *out = node;
    return GS_OK;
}

gs_status gs_net_rename(gs_net *net, gs_node *node, const char *name, gs_error *err) {
    GS_TRY(check_member(net, node, err));
    if (strcmp(node->name, name) == 0) return GS_OK;
    GS_TRY(gs_net_check_name(net, name, err));
    char *mine = gs_strdup(name), *edges = gs_strdup(name);
    if (!mine || !edges) {
        gs_free(mine);
        gs_free(edges);
        return gs_error_nomem(err, strlen(name) + 1);
    }
    gs_free(node->name);
    gs_free(node->output->name);
    node->name = mine;
    node->output->name = edges;
    return GS_OK;
}

gs_status gs_net_reroute(gs_net *net, gs_node *node, int input, gs_edge *edge, gs_error *err) {
    GS_TRY(check_member(net, node, err));
    bool fits = input >= 0 && input < node->ninputs && gs_list_find(&net->edges, edge) >= 0 &&
                gs_net_position(net, edge->producer) < gs_net_position(net, node);
    if (!fits) return GS_FAIL(err, GS_E_INVALID, "'%s': input %d cannot read '%s'", node->name, input, edge->name);
    gs_net_unprepare(net);
    node->input[input]->consumers--;
    node->input[input] = edge;
    edge->consumers++;
    return GS_OK;
}

static void remove_edge(gs_net *net, const gs_edge *edge) {
    gs_list_remove(&net->edges, edge->index);
    for (int i = edge->index; i < net->edges.count; i++) ((gs_edge *)net->edges.at[i])->index = i;
}

gs_status gs_net_erase(gs_net *net, gs_node *node, gs_error *err) {
    GS_TRY(check_member(net, node, err));
    if (node->ninputs != 1)
        return GS_FAIL(err, GS_E_INVALID, "'%s' has %d inputs: erasing it would lose values",
                       node->name, node->ninputs);
    gs_edge *in = node->input[0], *edge = node->output;
    if (edge->is_output && in->is_output)
        return GS_FAIL(err, GS_E_INVALID, "'%s': without it '%s' would be an output twice", node->name,
                       in->name);
    gs_net_unprepare(net);
    for (int i = 0; i < net->nodes.count; i++) move_uses(net, net->nodes.at[i], edge, in);
    move_uses(net, NULL, edge, in);
    in->consumers--; /* the node's own */
    gs_list_remove(&net->nodes, gs_net_position(net, node));
    remove_edge(net, edge);
    gs_node_free(node);
    return GS_OK;
}
