#include <network/scaling.h>

#include <base/mem.h>
#include <network/net_private.h>
#include <network/ops/op.h>

#include <stdio.h>
#include <string.h>

void gs_scale_site_clear(gs_scale_site *site) {
    gs_free(site->map);
    gs_free(site->row);
    *site = (gs_scale_site){0};
}

int64_t gs_scale_site_row(const gs_scale_site *site, int64_t j) {
    return site->row ? site->row[site->map[j]] : site->map[j];
}

gs_status gs_scale_site_expand(const gs_scale_site *site, const float *factor, float **out, gs_error *err) {
    int64_t n = gs_op_width(site->node->output);
    float *all = gs_calloc((size_t)n, sizeof *all);
    if (!all) return gs_error_nomem(err, (size_t)n * sizeof *all);
    for (int64_t c = 0; c < n; c++) all[c] = 1;
    for (int64_t c = 0; c < site->channels; c++) all[site->row ? site->row[c] : c] = factor[c];
    *out = all;
    return GS_OK;
}

/* Two slices of one value have a channel in common. */
static bool slices_overlap(const gs_attr *a, const gs_attr *b) {
    int64_t i = 0, j = 0;
    while (i < a->slice.count && j < b->slice.count) {
        int64_t x = a->slice.start + i * a->slice.stride, y = b->slice.start + j * b->slice.stride;
        if (x + a->slice.width <= y) i++;
        else if (y + b->slice.width <= x) j++;
        else return true;
    }
    return false;
}

/* Whoever reads the edge beside `node` reads none of its channels. */
static bool is_its_own(const gs_net *net, const gs_edge *edge, const gs_node *node) {
    const gs_node *other;
    if (edge->consumers == 1) return true;
    if (edge->is_output || node->op != GS_OP_SLICE) return false;
    for (int i = 0; (other = gs_net_consumer(net, edge, i)); i++)
        if (other != node && (other->op != GS_OP_SLICE || slices_overlap(&node->attr, &other->attr))) return false;
    return true;
}

/* map[j] <- channel of the op's scale input behind channel map[j] of its output. */
static void map_back(const gs_node *node, const gs_op_class *class, int64_t width, int32_t *map) {
    if (!class->scale_source) return;
    for (int64_t j = 0; j < width; j++) map[j] = (int32_t)class->scale_source(node, map[j]);
}

/* Numbers the node's channels that the map names, in order, and lets the map name those numbers. */
static gs_status pick_rows(gs_scale_site *site, int64_t channels, gs_error *err) {
    int32_t *number = gs_calloc((size_t)channels, sizeof *number);
    site->row = gs_calloc((size_t)site->width, sizeof *site->row); /* as many at most */
    if (!number || !site->row) {
        gs_free(number);
        return gs_error_nomem(err, (size_t)channels * sizeof *number);
    }
    for (int64_t j = 0; j < site->width; j++) number[site->map[j]] = 1;
    site->channels = 0;
    for (int64_t c = 0; c < channels; c++) {
        if (!number[c]) continue;
        number[c] = (int32_t)site->channels;
        site->row[site->channels++] = (int32_t)c;
    }
    for (int64_t j = 0; j < site->width; j++) site->map[j] = number[site->map[j]];
    gs_free(number);
    return GS_OK;
}

static gs_status start(const gs_edge *edge, gs_scale_site *out, gs_error *err) {
    *out = (gs_scale_site){.width = gs_op_width(edge)};
    if (out->width < 1 || out->width > INT32_MAX)
        return GS_FAIL(err, GS_E_INVALID, "value '%s' has %lld channels", edge->name, (long long)out->width);
    out->map = gs_calloc((size_t)out->width, sizeof *out->map);
    if (!out->map) return gs_error_nomem(err, (size_t)out->width * sizeof *out->map);
    for (int64_t j = 0; j < out->width; j++) out->map[j] = (int32_t)j;
    return GS_OK;
}

gs_status gs_scale_site_find(const gs_net *net, const gs_edge *edge, gs_scale_site *out, char reason[96],
                             gs_error *err) {
    bool partial = false;
    reason[0] = 0;
    GS_TRY(start(edge, out, err));
    while (edge->producer) {
        gs_node *node = edge->producer;
        const gs_op_class *class = gs_op_class_get(node->op);
        bool rigid = class->scaling == GS_SCALED_BY_NOTHING || (class->is_rigid && class->is_rigid(&node->attr));
        if (class->scaling == GS_SCALED_BY_PARAMS && !rigid) {
            out->channels = gs_op_width(node->output);
            if (partial) GS_TRY(pick_rows(out, out->channels, err));
            out->node = node;
            return GS_OK;
        }
        if (rigid) {
            snprintf(reason, 96, "the output of %s cannot be rescaled", gs_op_name(node->op));
            return GS_OK;
        }
        edge = node->input[class->scale_input];
        if (!is_its_own(net, edge, node) || gs_op_width(edge) > INT32_MAX) {
            snprintf(reason, 96, "%s has other readers", edge->name);
            return GS_OK;
        }
        partial = partial || node->op == GS_OP_SLICE;
        map_back(node, class, out->width, out->map);
    }
    snprintf(reason, 96, "it is an input of the segment");
    return GS_OK;
}

static gs_status scale_params(gs_node *node, const float *factor, gs_error *err) {
    gs_param *weight = node->param[GS_ROLE_WEIGHT], *bias = node->param[GS_ROLE_BIAS];
    gs_op_release(node);
    if (weight->ndim == 1) GS_TRY(gs_param_scale_cols(weight, factor, err));
    else GS_TRY(gs_param_scale_rows(weight, factor, err));
    return bias ? gs_param_scale_cols(bias, factor, err) : GS_OK;
}

gs_status gs_scale_site_apply(const gs_scale_site *site, const float *factor, gs_error *err) {
    float *all;
    for (int64_t c = 0; c < site->channels; c++)
        if (!(factor[c] > 0)) /* a relu on the way passes on no sign */
            return GS_FAIL(err, GS_E_NUMERIC, "'%s' cannot be scaled by %g (channel %lld)", site->node->name,
                           (double)factor[c], (long long)c);
    GS_TRY(gs_scale_site_expand(site, factor, &all, err));
    gs_status status = scale_params(site->node, all, err);
    gs_free(all);
    return status;
}
