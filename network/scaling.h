/* Moving positive factors between layers without changing what the net computes: "multiply the
 * channels of this edge by f" is pushed back, through operations that are linear in the channel,
 * to the params that can carry it.
 *
 * Each op says in its row (network/ops/op.h) how: by its own params (a norm's weight, the rows of a
 * linear), or by an input (the `up` of a gated unit; the values of attention, where the channels of one
 * key-value head serve several query heads; a slice of a fused projection, whose other slices keep their channels). Whoever reads the edge must take the factors out again.
 */
#ifndef GS_NETWORK_SCALING_H
#define GS_NETWORK_SCALING_H

#include <network/net.h>

/* The node that can carry factors for an edge: channel j of the edge is multiplied when output channel map[j]
 * of `node` is. */
typedef struct gs_scale_site {
    gs_node *node;
    int64_t width;    /* channels of the edge */
    int64_t channels; /* of the node's output that serve the edge; <= width */
    int32_t *map;     /* [width], onto 0..channels-1; gs_scale_site_clear */
    int32_t *row;     /* [channels], ascending: which of the node's output channels they are; NULL: all of them, in order */
} gs_scale_site;

/* GS_OK with out->node NULL and a reason ("the output of add cannot be rescaled") when nothing can carry them: a
 * net input, an op that is not linear in its channels, or a value on the way that others read too (but for slices of other
 * channels). The edge's own
 * readers are the caller's business. Dims must be inferred. Clear *out in any case. */
gs_status gs_scale_site_find(const gs_net *net, const gs_edge *edge, gs_scale_site *out, char reason[96],
                             gs_error *err) GS_NODISCARD;
void gs_scale_site_clear(gs_scale_site *site); /* safe on a zeroed struct */
/* The channel of the node's output behind channel j < width of the edge. */
int64_t gs_scale_site_row(const gs_scale_site *site, int64_t j);
/* From factor [channels] one for every channel of the node's output, ones where it serves others: new memory, gs_free. */
gs_status gs_scale_site_expand(const gs_scale_site *site, const float *factor, float **out, gs_error *err) GS_NODISCARD;
/* Multiplies the node's output channels: factor [channels], finite, positive, else GS_E_NUMERIC. The net must be
 * prepared again. GS_E_NOMEM may leave the weight scaled and the bias not. */
gs_status gs_scale_site_apply(const gs_scale_site *site, const float *factor, gs_error *err) GS_NODISCARD;

#endif
