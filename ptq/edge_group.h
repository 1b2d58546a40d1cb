/* The linears of a net that read the same value: what is smoothed, and scaled, together (q, k and v;
 * gate and up; a fused projection alone). Found by asking the net who reads an edge and what can
 * rescale it, never by asking for a family.
 */
#ifndef GS_PTQ_EDGE_GROUP_H
#define GS_PTQ_EDGE_GROUP_H

#include <network/scaling.h>

typedef struct gs_edge_group {
    gs_edge *edge;
    gs_node **linear; /* [count], the LINEARs that read it, in execution order */
    int count;
    int64_t width;
    /* what can divide the edge's channels; node NULL: nothing, for `reason` */
    gs_scale_site site;
    char reason[96];
} gs_edge_group;

typedef struct gs_edge_groups {
    gs_edge_group *group;
    int count;
} gs_edge_groups;

/* All groups of a net, in execution order of their first linear; pointers into the net. A net whose edge is
 * also read by something that is no linear, or is an output, has no site. */
gs_status gs_edge_groups_find(const gs_net *net, gs_edge_groups *out, gs_error *err) GS_NODISCARD;
void gs_edge_groups_clear(gs_edge_groups *groups); /* safe on a zeroed struct */

/* Divides the edge's channels by s at the site and multiplies the columns of every linear by it: the function of the
 * net stays. s: [site.channels], positive and finite. */
gs_status gs_edge_group_smooth(const gs_edge_group *g, const float *s, gs_error *err) GS_NODISCARD;
/* [width] from [site.channels]. */
void gs_edge_group_spread(const gs_edge_group *g, const float *s, float *spread);

#endif
