#include <network/scaling.h>

#include <base/mem.h>
#include <network/net_private.h>
#include <network/ops/op.h>

#include <stdio.h>
#include <string.h>

void gs_scale_site_clear(gs_scale_site *site) {
    gs_free(site->map);
    *site = (gs_scale_site){0};
}

/* map[j] <- channel of the op's scale input behind channel map[j] of its output. */
static void map_back(const gs_node *node, const gs_op_class *class, int64_t width, int32_t *map) {
    if (!class->scale_source) return;
    for (int64_t j = 0; j < width; j++) map[j] = (int32_t)class->scale_source(node, map[j]);
}

gs_status gs_scale_site_find(const gs_net *net, const gs_edge *edge, gs_scale_site *out, char reason[96],
                             gs_error *err) {
    (void)net;
    *out = (gs_scale_site){.width = gs_op_width(edge)};
    reason[0] = 0;
    if (out->width < 1 || out->width > INT32_MAX)
        return GS_FAIL(err, GS_E_INVALID, "value '%s' has %lld channels", edge->name, (long long)out->width);
    out->map = gs_calloc((size_t)out->width, sizeof *out->map);
    if (!out->map) return gs_error_nomem(err, (size_t)out->width * sizeof *out->map);
    for (int64_t j = 0; j < out->width; j++) out->map[j] = (int32_t)j;
    while (edge->producer) {
        gs_node *node = edge->producer;
        const gs_op_class *class = gs_op_class_get(node->op);
        if (class->scaling == GS_SCALED_BY_PARAMS) {
            out->node = node;
            out->channels = gs_op_width(node->output);
            return GS_OK;
        }
        if (class->scaling == GS_SCALED_BY_NOTHING) {
            snprintf(reason, 96, "the output of %s cannot be rescaled", gs_op_name(node->op));
            return GS_OK;
        }
        edge = node->input[class->scale_input];
        if (edge->consumers != 1) {
            snprintf(reason, 96, "%s has other readers", edge->name);
            return GS_OK;
        }
        map_back(node, class, out->width, out->map);
    }
    snprintf(reason, 96, "it is an input of the segment");
    return GS_OK;
}

gs_status gs_scale_site_apply(const gs_scale_site *site, const float *factor, gs_error *err) {
    gs_param *weight = site->node->param[GS_ROLE_WEIGHT], *bias = site->node->param[GS_ROLE_BIAS];
    for (int64_t c = 0; c < site->channels; c++)
        if (!(factor[c] > 0)) /* a relu on the way passes on no sign */
            return GS_FAIL(err, GS_E_NUMERIC, "'%s' cannot be scaled by %g (channel %lld)", site->node->name,
                           (double)factor[c], (long long)c);
    gs_op_release(site->node);
    if (weight->ndim == 1) GS_TRY(gs_param_scale_cols(weight, factor, err));
    else GS_TRY(gs_param_scale_rows(weight, factor, err));
    return bias ? gs_param_scale_cols(bias, factor, err) : GS_OK;
}
