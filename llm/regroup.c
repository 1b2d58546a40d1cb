#include <llm/regroup.h>

#include <llm/decoder.h>
#include <network/rewrite.h>

#include <stddef.h>
#include <stdio.h>

enum { NAME = 384, MOST = 3 };

/* A fused linear of a block, its parts, and the slices that take it apart. */
typedef struct group {
    const char *fused, *part[MOST], *slice[MOST];
    int n;
    bool in_parts; /* by the row's alternative names */
} group;

static group attention_group(const gs_network_helper *h) {
    const gs_helper_names *n = &h->name;
    return (group){n->qkv, {n->q, n->k, n->v}, {"slice_q", "slice_k", "slice_v"}, 3, h->alternative.embed && !h->alternative.qkv};
}

static group mlp_group(const gs_network_helper *h) {
    const gs_helper_names *n = &h->name;
    return (group){n->gate_up, {n->gate, n->up}, {"slice_gate", "slice_up"}, 2, h->alternative.embed && !h->alternative.gate_up};
}

/* "<segment>.<stem>", and the node of that name or NULL. */
static gs_node *find(const gs_net *net, const char *stem, char name[NAME]) {
    snprintf(name, NAME, "%s.%s", gs_net_name(net), stem);
    return gs_net_find(net, name);
}

/* Tensors that the nodes view, to be dropped when they have been copied. */
typedef struct views {
    const gs_tensor *tensor[MOST * GS_ROLE_COUNT];
    int n;
} views;

static void note_views(const gs_node *node, views *v) {
    for (int r = 0; r < GS_ROLE_COUNT; r++)
        if (node->param[r] && node->param[r]->source) v->tensor[v->n++] = node->param[r]->source;
}

static void drop_views(const gs_checkpoint *source, const views *v) {
    for (int i = 0; source && i < v->n; i++) gs_checkpoint_drop(source, v->tensor[i]);
}

/* Who only plans has no use for the bytes of a weight: they are not copied. */
static gs_status forget_weight(const gs_checkpoint *source, gs_net *net, gs_node *node, gs_error *err) {
    const gs_param *p = node->param[GS_ROLE_WEIGHT];
    return source ? GS_OK : gs_net_param_new(net, node, GS_ROLE_WEIGHT, p->name, p->dtype, p->ndim, p->shape, NULL, err);
}

static gs_status take_apart(const group *g, const gs_checkpoint *source, gs_net *net, gs_error *err) {
    views seen = {.n = 0};
    gs_node *slice[MOST];
    char name[NAME], part[MOST][NAME];
    const char *names[MOST];
    gs_node *fused = find(net, g->fused, name);
    if (!fused) return GS_OK;
    for (int i = 0; i < g->n; i++) {
        if (!g->part[i]) return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': the family's row has no names for its parts", fused->name);
        slice[i] = find(net, g->slice[i], name);
        snprintf(part[i], NAME, "%s.%s", gs_net_name(net), g->part[i]);
        names[i] = part[i];
        if (!slice[i]) return GS_FAIL(err, GS_E_INVALID, "'%s' has no slice '%s'", fused->name, g->slice[i]);
    }
    GS_TRY(forget_weight(source, net, fused, err));
    note_views(fused, &seen);
    GS_TRY(gs_net_split_linear(net, fused, slice, names, g->n, err));
    drop_views(source, &seen);
    return GS_OK;
}

static const gs_node *find_op(const gs_net *net, gs_op op) {
    for (int i = 0; i < gs_net_node_count(net); i++)
        if (gs_net_node(net, i)->op == op) return gs_net_node(net, i);
    return NULL;
}

/* How the rows lie: heads are asked of the attention that reads them. */
static void slices_of(const gs_network_helper *h, const group *g, const gs_net *net, gs_node *const *part, gs_attr *slice) {
    const gs_node *attention = g->n == 3 ? find_op(net, GS_OP_ATTENTION) : NULL;
    if (attention) {
        const gs_attr *a = &attention->attr;
        gs_decoder_qkv_slices(h, a->attention.heads, a->attention.kv_heads, a->attention.head_dim, slice);
        return;
    }
    int64_t start = 0;
    for (int i = 0; i < g->n; i++) {
        int64_t rows = part[i]->param[GS_ROLE_WEIGHT]->shape[0];
        slice[i] = (gs_attr){.slice = {.start = start, .width = rows, .count = 1}};
        start += rows;
    }
}

static gs_status check_no_cache(const group *g, const gs_net *net, gs_error *err) {
    if (g->n != 3 || !find_op(net, GS_OP_CACHE)) return GS_OK;
    GS_FAIL(err, GS_E_UNSUPPORTED, "'%s.%s': an int8 cache of fused queries, keys and values has no place in a bundle",
            gs_net_name(net), g->fused);
    return gs_error_hint(err, "leave the cache float");
}

static gs_status put_together(const gs_network_helper *h, const group *g, const gs_checkpoint *source, gs_net *net,
                              gs_error *err) {
    views seen = {.n = 0};
    gs_node *part[MOST];
    gs_attr slice[MOST];
    char name[NAME], sliced[MOST][NAME];
    const char *names[MOST];
    for (int i = 0; i < g->n; i++) {
        part[i] = g->part[i] ? find(net, g->part[i], name) : NULL;
        if (!part[i]) return GS_OK;
        snprintf(sliced[i], NAME, "%s.%s", gs_net_name(net), g->slice[i]);
        names[i] = sliced[i];
    }
    for (int i = 0; i < g->n; i++) {
        GS_TRY(forget_weight(source, net, part[i], err));
        note_views(part[i], &seen);
    }
    GS_TRY(check_no_cache(g, net, err));
    slices_of(h, g, net, part, slice);
    snprintf(name, sizeof name, "%s.%s", gs_net_name(net), g->fused);
    GS_TRY(gs_net_join_linears(net, part, g->n, name, slice, names, err));
    drop_views(source, &seen);
    return GS_OK;
}

gs_status gs_regroup(const gs_network_helper *h, bool parts, const gs_checkpoint *source, gs_net *segment, gs_error *err) {
    const group groups[] = {attention_group(h), mlp_group(h)};
    int nodes = gs_net_node_count(segment);
    for (size_t i = 0; i < GS_COUNTOF(groups); i++) {
        const group *g = &groups[i];
        if (!g->fused) continue;
        if (!parts) GS_TRY(put_together(h, g, source, segment, err));
        else if (g->in_parts) GS_TRY(take_apart(g, source, segment, err));
    }
    return gs_net_node_count(segment) == nodes ? GS_OK : gs_net_infer(segment, err); /* either way changes it */
}
