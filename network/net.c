#include <network/net_private.h>

#include <base/mem.h>
#include <network/ops/op.h>

#include <assert.h>
#include <limits.h>
#include <string.h>

const char *gs_role_name(gs_role role) {
    static const char *const names[] = {
#define X(name, text) text,
        GS_ROLE_LIST(X)
#undef X
    };
    return (unsigned)role < GS_ROLE_COUNT ? names[role] : "?";
}

static const char *const scheme_names[] = {
#define X(name, text) text,
    GS_SCHEME_LIST(X)
#undef X
};

const char *gs_scheme_name(gs_scheme s) {
    return (unsigned)s < GS_SCHEME_COUNT ? scheme_names[s] : "?";
}

gs_scheme gs_scheme_from_name(const char *name) {
    int s = 0;
    while (s < GS_SCHEME_COUNT && strcmp(scheme_names[s], name)) s++;
    return (gs_scheme)s;
}

bool gs_scheme_is_static(gs_scheme s) { return s == GS_SCHEME_W8A8 || s == GS_SCHEME_W8A8_MIX; }
bool gs_node_is_linear(const gs_node *node) { return node->op == GS_OP_LINEAR || node->op == GS_OP_QLINEAR; }

gs_status gs_list_reserve(gs_list *list, int extra, gs_error *err) {
    if (extra <= list->capacity - list->count) return GS_OK;
    if (list->capacity > INT_MAX / 2 || extra > INT_MAX / 2 - list->count)
        return GS_FAIL(err, GS_E_NOMEM, "a net of more than %d parts", list->count);
    int capacity = list->capacity ? 2 * list->capacity : 16;
    if (capacity < list->count + extra) capacity = list->count + extra;
    void **grown = gs_realloc(list->at, (size_t)capacity, sizeof *grown);
    if (!grown) return gs_error_nomem(err, (size_t)capacity * sizeof *grown);
    list->at = grown;
    list->capacity = capacity;
    return GS_OK;
}

void gs_list_insert(gs_list *list, int i, void *item) {
    assert(list->count < list->capacity && i >= 0 && i <= list->count);
    memmove(list->at + i + 1, list->at + i, (size_t)(list->count - i) * sizeof *list->at);
    list->at[i] = item;
    list->count++;
}

void gs_list_remove(gs_list *list, int i) {
    assert(i >= 0 && i < list->count);
    list->count--;
    memmove(list->at + i, list->at + i + 1, (size_t)(list->count - i) * sizeof *list->at);
}

int gs_list_find(const gs_list *list, const void *item) {
    for (int i = 0; i < list->count; i++)
        if (list->at[i] == item) return i;
    return -1;
}

gs_status gs_net_create(const char *name, gs_net **out, gs_error *err) {
    gs_net *net = gs_calloc(1, sizeof *net);
    char *copy = net ? gs_strdup(name) : NULL;
    if (!copy) {
        gs_free(net);
        return gs_error_nomem(err, sizeof *net);
    }
    net->name = copy;
    *out = net;
    return GS_OK;
}

static void edge_free(gs_edge *edge) {
    if (!edge) return;
    gs_free(edge->name);
    gs_free(edge);
}

void gs_net_destroy(gs_net *net) {
    if (!net) return;
    for (int i = 0; i < net->inputs.count; i++) edge_free(net->inputs.at[i]);
    for (int i = 0; i < net->nodes.count; i++) gs_node_free(net->nodes.at[i]);
    gs_free(net->nodes.at);
    gs_free(net->edges.at);
    gs_free(net->inputs.at);
    gs_free(net->outputs.at);
    gs_free(net->name);
    gs_free(net);
}

static gs_status edge_make(const char *name, gs_edge **out, gs_error *err) {
    gs_edge *edge = gs_calloc(1, sizeof *edge);
    if (!edge) return gs_error_nomem(err, sizeof *edge);
    edge->name = gs_strdup(name);
    if (!edge->name) {
        gs_free(edge);
        return gs_error_nomem(err, strlen(name) + 1);
    }
    *out = edge;
    return GS_OK;
}

gs_status gs_node_make(gs_op op, const char *name, int ninputs, gs_edge *const *inputs,
                       const gs_attr *attr, gs_node **out, gs_error *err) {
    gs_node *node = gs_calloc(1, sizeof *node);
    if (!node) return gs_error_nomem(err, sizeof *node);
    node->op = op;
    node->ninputs = ninputs;
    for (int i = 0; i < ninputs; i++) node->input[i] = inputs[i];
    if (attr) node->attr = *attr;
    node->name = gs_strdup(name);
    gs_status status = node->name ? GS_OK : gs_error_nomem(err, strlen(name) + 1);
    if (status == GS_OK) status = edge_make(name, &node->output, err);
    if (status != GS_OK) {
        gs_node_free(node);
        return status;
    }
    node->output->producer = node;
    *out = node;
    return GS_OK;
}

void gs_node_free(gs_node *node) {
    if (!node) return;
    gs_op_release(node);
    for (int r = 0; r < GS_ROLE_COUNT; r++) gs_param_destroy(node->param[r]);
    edge_free(node->output);
    gs_free(node->name);
    gs_free(node);
}

gs_status gs_net_check_name(const gs_net *net, const char *name, gs_error *err) {
    if (!name || !name[0]) return GS_FAIL(err, GS_E_INVALID, "net '%s': an empty name", net->name);
    for (int i = 0; i < net->edges.count; i++)
        if (!strcmp(((const gs_edge *)net->edges.at[i])->name, name))
            return GS_FAIL(err, GS_E_INVALID, "net '%s': the name '%s' is taken", net->name, name);
    return GS_OK;
}

static bool is_ours(const gs_net *net, const gs_edge *edge) {
    return edge && edge->index >= 0 && edge->index < net->edges.count &&
           net->edges.at[edge->index] == edge;
}

gs_status gs_net_check_new_node(const gs_net *net, gs_op op, const char *name, int ninputs,
                                gs_edge *const *inputs, gs_error *err) {
    if ((unsigned)op >= GS_OP_COUNT)
        return GS_FAIL(err, GS_E_INVALID, "net '%s': operation %d", net->name, (int)op);
    GS_TRY(gs_net_check_name(net, name, err));
    if (ninputs != gs_op_inputs(op))
        return GS_FAIL(err, GS_E_INVALID, "'%s': %s takes %d inputs, not %d", name, gs_op_name(op),
                       gs_op_inputs(op), ninputs);
    for (int i = 0; i < ninputs; i++)
        if (!is_ours(net, inputs[i]))
            return GS_FAIL(err, GS_E_INVALID, "'%s': input %d is not an edge of net '%s'", name, i,
                           net->name);
    return GS_OK;
}

gs_status gs_net_reserve_node(gs_net *net, gs_error *err) {
    GS_TRY(gs_list_reserve(&net->nodes, 1, err));
    return gs_list_reserve(&net->edges, 1, err);
}

static void append_edge(gs_net *net, gs_edge *edge) {
    edge->index = net->edges.count;
    gs_list_insert(&net->edges, edge->index, edge);
}

void gs_net_place(gs_net *net, gs_node *node, int position) {
    gs_net_unprepare(net);
    gs_list_insert(&net->nodes, position, node);
    append_edge(net, node->output);
    for (int i = 0; i < node->ninputs; i++) node->input[i]->consumers++;
}

void gs_net_unprepare(gs_net *net) {
    for (int i = 0; i < net->nodes.count; i++) gs_op_release(net->nodes.at[i]);
    net->prepared_by = NULL;
}

gs_status gs_net_input(gs_net *net, const char *name, gs_dims dims, gs_edge **out, gs_error *err) {
    GS_TRY(gs_net_check_name(net, name, err));
    bool valid = dims.ndim >= 0 && dims.ndim < GS_VALUE_DIMS;
    for (int i = 0; valid && i < dims.ndim; i++) valid = dims.dim[i] >= 0;
    if (!valid)
        return GS_FAIL(err, GS_E_INVALID, "input '%s' of %d dimensions, or a negative one", name,
                       dims.ndim);
    gs_edge *edge = NULL;
    GS_TRY(gs_list_reserve(&net->inputs, 1, err));
    GS_TRY(gs_list_reserve(&net->edges, 1, err));
    GS_TRY(edge_make(name, &edge, err));
    edge->dims = dims;
    gs_net_unprepare(net);
    append_edge(net, edge);
    gs_list_insert(&net->inputs, net->inputs.count, edge);
    *out = edge;
    return GS_OK;
}

gs_status gs_net_add(gs_net *net, gs_op op, const char *name, int ninputs, gs_edge *const *inputs,
                     const gs_attr *attr, gs_node **out, gs_error *err) {
    gs_node *node;
    GS_TRY(gs_net_check_new_node(net, op, name, ninputs, inputs, err));
    GS_TRY(gs_net_reserve_node(net, err));
    GS_TRY(gs_node_make(op, name, ninputs, inputs, attr, &node, err));
    gs_net_place(net, node, net->nodes.count);
    *out = node;
    return GS_OK;
}

gs_status gs_net_output(gs_net *net, gs_edge *edge, gs_error *err) {
    if (!is_ours(net, edge))
        return GS_FAIL(err, GS_E_INVALID, "net '%s': its output is not one of its edges", net->name);
    if (edge->is_output)
        return GS_FAIL(err, GS_E_INVALID, "net '%s': '%s' is an output already", net->name, edge->name);
    GS_TRY(gs_list_reserve(&net->outputs, 1, err));
    gs_net_unprepare(net);
    gs_list_insert(&net->outputs, net->outputs.count, edge);
    edge->is_output = true;
    edge->consumers++;
    return GS_OK;
}

const char *gs_net_name(const gs_net *net) { return net->name; }
int gs_net_node_count(const gs_net *net) { return net->nodes.count; }
gs_node *gs_net_node(const gs_net *net, int i) { return net->nodes.at[i]; }
int gs_net_edge_count(const gs_net *net) { return net->edges.count; }
gs_edge *gs_net_edge(const gs_net *net, int i) { return net->edges.at[i]; }
int gs_net_input_count(const gs_net *net) { return net->inputs.count; }
gs_edge *gs_net_input_at(const gs_net *net, int i) { return net->inputs.at[i]; }
int gs_net_output_count(const gs_net *net) { return net->outputs.count; }
gs_edge *gs_net_output_at(const gs_net *net, int i) { return net->outputs.at[i]; }

int gs_net_position(const gs_net *net, const gs_node *node) {
    return node ? gs_list_find(&net->nodes, node) : -1;
}

gs_node *gs_net_find(const gs_net *net, const char *name) {
    for (int i = 0; i < net->nodes.count; i++) {
        gs_node *node = net->nodes.at[i];
        if (!strcmp(node->name, name)) return node;
    }
    return NULL;
}

static bool reads(const gs_node *node, const gs_edge *edge) {
    for (int i = 0; i < node->ninputs; i++)
        if (node->input[i] == edge) return true;
    return false;
}

gs_node *gs_net_consumer(const gs_net *net, const gs_edge *edge, int i) {
    for (int n = 0; n < net->nodes.count; n++)
        if (reads(net->nodes.at[n], edge) && i-- == 0) return net->nodes.at[n];
    return NULL;
}
