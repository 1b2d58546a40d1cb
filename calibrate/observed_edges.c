#include <calibrate/observed_edges.h>

#include <base/mem.h>

/* By edge index. */
typedef struct survey {
    const gs_node **reader; /* the first node that reads the edge */
    bool *linear, *cached;  /* a LINEAR reads it; ATTENTION reads it as keys or values */
    const gs_edge **landing;
} survey;

static gs_status init_survey(survey *s, size_t edges, gs_error *err) {
    s->reader = gs_calloc(edges + 1, sizeof(const gs_node *));
    s->linear = gs_calloc(edges + 1, sizeof *s->linear);
    s->cached = gs_calloc(edges + 1, sizeof *s->cached);
    s->landing = gs_calloc(edges + 1, sizeof(const gs_edge *));
    bool ok = s->reader && s->linear && s->cached && s->landing;
    return ok ? GS_OK : gs_error_nomem(err, edges * sizeof(const gs_node *));
}

static void clear_survey(survey *s) {
    gs_free(s->reader);
    gs_free(s->linear);
    gs_free(s->cached);
    gs_free(s->landing);
}

static void look_at_readers(const gs_net *net, survey *s) {
    for (int n = 0; n < gs_net_node_count(net); n++) {
        const gs_node *node = gs_net_node(net, n);
        for (int i = 0; i < node->ninputs; i++) {
            int e = node->input[i]->index;
            if (!s->reader[e]) s->reader[e] = node;
            if (node->op == GS_OP_LINEAR) s->linear[e] = true;
            if (node->op == GS_OP_ATTENTION && (i == 1 || i == 2)) s->cached[e] = true;
        }
    }
}

static const gs_node *only_reader(const survey *s, const gs_node *node) {
    return node->output->consumers == 1 ? s->reader[node->output->index] : NULL;
}

/* Past the sum over experts, if the node is part of one. */
static const gs_node *behind_experts(const survey *s, const gs_node *node) {
    while (node && (node->op == GS_OP_ROUTED || node->op == GS_OP_ROUTED_ADD)) node = only_reader(s, node);
    return node;
}

static void look_at_landings(const gs_net *net, survey *s) {
    for (int n = 0; n < gs_net_node_count(net); n++) {
        const gs_node *node = gs_net_node(net, n);
        if (node->op != GS_OP_LINEAR || s->landing[node->input[0]->index]) continue;
        const gs_node *next = behind_experts(s, only_reader(s, node));
        if (next && next->op == GS_OP_ADD) s->landing[node->input[0]->index] = next->output;
    }
}

static gs_status allocate(gs_observed_edges *out, size_t edges, gs_error *err) {
    out->at = gs_calloc(edges + 1, sizeof *out->at);
    out->of = gs_calloc(edges + 1, sizeof *out->of);
    out->first_landing = gs_calloc(edges + 1, sizeof *out->first_landing);
    if (!out->at || !out->of || !out->first_landing) return gs_error_nomem(err, edges * sizeof *out->at);
    for (size_t e = 0; e < edges; e++) out->of[e] = out->first_landing[e] = -1;
    return GS_OK;
}

static void collect(const gs_net *net, const survey *s, bool kv_cache, gs_observed_edges *out) {
    for (int e = 0; e < gs_net_edge_count(net); e++) {
        if (!s->linear[e] && !(kv_cache && s->cached[e])) continue;
        out->of[e] = out->count;
        out->at[out->count++] = (gs_observed_edge){.edge = gs_net_edge(net, e), .linear = s->linear[e],
                                                   .landing = s->landing[e], .next_landing = -1};
    }
    for (int i = out->count - 1; i >= 0; i--) { /* so that each list ascends */
        gs_observed_edge *o = &out->at[i];
        if (!o->landing) continue;
        o->next_landing = out->first_landing[o->landing->index];
        out->first_landing[o->landing->index] = i;
    }
}

gs_status gs_observed_edges_find(const gs_net *net, bool kv_cache, gs_observed_edges *out, gs_error *err) {
    size_t edges = (size_t)gs_net_edge_count(net);
    survey s = {0};
    *out = (gs_observed_edges){0};
    gs_status status = init_survey(&s, edges, err);
    if (status == GS_OK) status = allocate(out, edges, err);
    if (status == GS_OK) {
        look_at_readers(net, &s);
        look_at_landings(net, &s);
        collect(net, &s, kv_cache, out);
    } else {
        gs_observed_edges_clear(out);
    }
    clear_survey(&s);
    return status;
}

void gs_observed_edges_clear(gs_observed_edges *edges) {
    gs_free(edges->at);
    gs_free(edges->of);
    gs_free(edges->first_landing);
    *edges = (gs_observed_edges){0};
}
