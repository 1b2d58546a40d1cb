#include <ptq/edge_group.h>

#include <base/mem.h>

#include <stdio.h>

void gs_edge_groups_clear(gs_edge_groups *groups) {
    for (int i = 0; i < groups->count; i++) {
        gs_scale_site_clear(&groups->group[i].site);
        gs_free(groups->group[i].linear);
    }
    gs_free(groups->group);
    *groups = (gs_edge_groups){0};
}

static int linear_readers(const gs_net *net, const gs_edge *edge, gs_node **out) {
    int count = 0;
    gs_node *reader;
    for (int i = 0; (reader = gs_net_consumer(net, edge, i)); i++)
        if (reader->op == GS_OP_LINEAR) {
            if (out) out[count] = reader;
            count++;
        }
    return count;
}

static gs_status make_group(const gs_net *net, gs_edge *edge, gs_edge_group *g, gs_error *err) {
    g->edge = edge;
    g->count = linear_readers(net, edge, NULL);
    g->linear = gs_calloc((size_t)g->count, sizeof(gs_node *));
    if (!g->linear) return gs_error_nomem(err, (size_t)g->count * sizeof(gs_node *));
    linear_readers(net, edge, g->linear);
    int64_t rows;
    gs_param_matrix(g->linear[0]->param[GS_ROLE_WEIGHT], &rows, &g->width);
    if (edge->consumers != g->count) {
        snprintf(g->reason, sizeof g->reason, "others than linears read it");
        return GS_OK;
    }
    for (int i = 0; i < g->count; i++)
        if (g->linear[i]->attr.linear.normalize_rows) { /* factors of columns would change the norms */
            snprintf(g->reason, sizeof g->reason, "rows of its linear are normalised");
            return GS_OK;
        }
    return gs_scale_site_find(net, edge, &g->site, g->reason, err);
}

gs_status gs_edge_groups_find(const gs_net *net, gs_edge_groups *out, gs_error *err) {
    int edges = gs_net_edge_count(net);
    gs_status status = GS_OK;
    *out = (gs_edge_groups){0};
    out->group = gs_calloc((size_t)edges + 1, sizeof *out->group);
    if (!out->group) return gs_error_nomem(err, (size_t)edges * sizeof *out->group);
    for (int i = 0; i < gs_net_node_count(net) && status == GS_OK; i++) {
        gs_node *node = gs_net_node(net, i);
        if (node->op != GS_OP_LINEAR) continue;
        bool seen = false;
        for (int g = 0; g < out->count && !seen; g++) seen = out->group[g].edge == node->input[0];
        if (!seen) status = make_group(net, node->input[0], &out->group[out->count++], err);
    }
    if (status != GS_OK) gs_edge_groups_clear(out);
    return status;
}

void gs_edge_group_spread(const gs_edge_group *g, const float *s, float *spread) {
    for (int64_t j = 0; j < g->width; j++) spread[j] = s[g->site.map[j]];
}

static gs_status smooth(const gs_edge_group *g, const float *s, float *work, gs_error *err) {
    for (int64_t c = 0; c < g->site.channels; c++) work[c] = 1.0f / s[c];
    GS_TRY(gs_scale_site_apply(&g->site, work, err));
    gs_edge_group_spread(g, s, work);
    for (int i = 0; i < g->count; i++)
        GS_TRY(gs_param_scale_cols(g->linear[i]->param[GS_ROLE_WEIGHT], work, err));
    return GS_OK;
}

gs_status gs_edge_group_smooth(const gs_edge_group *g, const float *s, gs_error *err) {
    float *work = gs_calloc((size_t)g->width, sizeof *work); /* channels <= width */
    if (!work) return gs_error_nomem(err, (size_t)g->width * sizeof *work);
    gs_status status = smooth(g, s, work, err);
    gs_free(work);
    return status;
}
