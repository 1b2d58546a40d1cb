#include <network/cache.h>

#include <base/mem.h>
#include <network/rewrite.h>

#include <string.h>

enum { KEYS = 1, VALUES = 2 };

/* The linear behind an input, and whether it makes more than that. */
static gs_node *maker_of(const gs_node *attention, int input, bool *sliced) {
    gs_node *node = attention->input[input]->producer;
    *sliced = false;
    while (node && !gs_node_is_linear(node)) {
        *sliced = *sliced || node->op == GS_OP_SLICE;
        node = node->ninputs == 1 ? node->input[0]->producer : NULL;
    }
    return node;
}

gs_node *gs_cache_linear(const gs_node *attention, int input) {
    bool sliced;
    if (attention->op != GS_OP_ATTENTION || input < KEYS || input > VALUES) return NULL;
    gs_node *maker = maker_of(attention, input, &sliced);
    return sliced ? NULL : maker;
}

gs_node *gs_cache_fused(const gs_node *attention) {
    bool sliced;
    if (attention->op != GS_OP_ATTENTION) return NULL;
    gs_node *first = maker_of(attention, 0, &sliced);
    for (int input = KEYS; input <= VALUES && sliced; input++)
        if (maker_of(attention, input, &sliced) != first) return NULL;
    return sliced ? first : NULL;
}

/* No edge has the name yet: a node's is its output's. */
static bool is_free(const gs_net *net, const char *name) {
    for (int i = 0; i < gs_net_edge_count(net); i++)
        if (strcmp(gs_net_edge(net, i)->name, name) == 0) return false;
    return true;
}

static gs_status make_name(const gs_net *net, const gs_node *attention, int input, gs_strbuf *name, gs_error *err) {
    const char *dot = strrchr(attention->name, '.');
    int block = dot ? (int)(dot - attention->name) + 1 : 0;
    for (int i = 1; !name->failed; i++) {
        gs_strbuf_clear(name);
        gs_strbuf_printf(name, "%.*s%s", block, attention->name, input == KEYS ? "k_cache" : "v_cache");
        if (i > 1) gs_strbuf_printf(name, "_%d", i);
        if (!name->failed && is_free(net, gs_strbuf_text(name))) return GS_OK;
    }
    return gs_error_nomem(err, strlen(attention->name) + 16);
}

gs_status gs_cache_insert(gs_net *net, gs_node *attention, int input, const gs_attr *attr, gs_node **out,
                          gs_error *err) {
    if (attention->op != GS_OP_ATTENTION || input < KEYS || input > VALUES)
        return GS_FAIL(err, GS_E_INVALID, "'%s': a cache of input %d of %s", attention->name, input,
                       gs_op_name(attention->op));
    gs_edge *edge = attention->input[input];
    for (int i = 0; i < attention->ninputs; i++)
        if (i != input && attention->input[i] == edge)
            return GS_FAIL(err, GS_E_INVALID, "'%s' reads '%s' as input %d as well", attention->name, edge->name, i);
    if (edge->producer && edge->producer->op == GS_OP_CACHE)
        return GS_FAIL(err, GS_E_INVALID, "'%s': input %d comes out of a cache already", attention->name, input);
    gs_strbuf name = {0};
    gs_status status = make_name(net, attention, input, &name, err);
    if (status == GS_OK)
        status = gs_net_insert(net, edge, attention, GS_OP_CACHE, gs_strbuf_text(&name), attr, out, err);
    gs_strbuf_clear(&name);
    return status;
}
