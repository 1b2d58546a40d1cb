/* Which values of a net calibration looks at: the edges that a LINEAR reads and, where a key-value cache is wanted, the keys
 * and values that ATTENTION reads (its inputs 1 and 2). Found by asking the net; no family is named.
 */
#ifndef GS_CALIBRATE_OBSERVED_EDGES_H
#define GS_CALIBRATE_OBSERVED_EDGES_H

#include <network/net.h>

typedef struct gs_observed_edge {
    const gs_edge *edge;
    bool linear; /* a LINEAR reads it; false: ATTENTION alone, then every token counts and no row is kept */
    /* Where the outputs of the linears that read it end up: in the sum, when one of them goes only to an ADD; else NULL. How
     * much an error there matters is told by the size of that sum. (An expert's share of it is less.) */
    const gs_edge *landing;
    int next_landing; /* the next entry with the same landing; -1: none */
} gs_observed_edge;

typedef struct gs_observed_edges {
    gs_observed_edge *at; /* [count], in the order of the net's edges */
    int count;
    int *of;            /* [edges of the net]: the entry of the edge with that index; -1: not observed */
    int *first_landing; /* [edges of the net]: the first entry that lands there; -1: none */
} gs_observed_edges;

/* Pointers into the net, valid until it is rewritten. One pass over nodes and edges. On failure *out is clear. */
gs_status gs_observed_edges_find(const gs_net *net, bool kv_cache, gs_observed_edges *out, gs_error *err) GS_NODISCARD;
void gs_observed_edges_clear(gs_observed_edges *edges); /* safe on a zeroed struct */

#endif
