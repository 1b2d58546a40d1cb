/* Where a team's work and memory go on a machine with several NUMA nodes. Planning only: numbers
 * computed from the topology and the team's size, so that it can be tested for machines we do not
 * have. base/team.h cuts work by it, base/placed.h places memory by it.
 *
 * Work: [0, n) is cut into one contiguous range a node, in proportion to the node's workers;
 * they take their own range first and then help the others.
 * Weights that every worker reads: on one node plain memory; on more one copy a node, as long as
 * all copies on a node stay within 1/GS_PLACEMENT_SHARE of the smallest node's memory; what comes
 * after is interleaved page by page, so that no node's memory channels serve everybody.
 * Scratch: the worker that uses it touches it first, and workers are bound.
 */
#ifndef GS_BASE_PLACEMENT_H
#define GS_BASE_PLACEMENT_H

#include <base/strbuf.h>
#include <base/topology.h>

enum {
    GS_PLACEMENT_NODES = 64, /* a team on more nodes is planned as if it were on one */
    GS_PLACEMENT_SHARE = 8
};

typedef struct gs_placement {
    int workers;                       /* >= 1 */
    int nodes;                         /* that have workers: 0..nodes-1 of the topology, >= 1 */
    int first[GS_PLACEMENT_NODES + 1]; /* node d has workers first[d]..first[d+1]-1, >= 1 */
    uint64_t copy_bytes;               /* for copies of weights, on each node; 0: no copies */
} gs_placement;

typedef enum gs_weight_rule {
    GS_WEIGHT_PLAIN,
    GS_WEIGHT_COPIES,
    GS_WEIGHT_INTERLEAVED
} gs_weight_rule;

/* Worker i runs on core i. topo NULL, or more workers than cores (they are not bound then): one
 * node. workers < 1 counts as 1. */
void gs_placement_plan(const gs_topology *topo, int workers, gs_placement *out);
/* 0 for a worker that is none of the plan's */
int gs_placement_node(const gs_placement *p, int worker);
/* First of the n >= 0 pieces that node 0..nodes takes first; n for node == nodes. */
int64_t gs_placement_begin(const gs_placement *p, int64_t n, int node);
/* For a weight of `bytes` when copies of other weights already hold `held` bytes of each node. */
gs_weight_rule gs_placement_weight(const gs_placement *p, uint64_t bytes, uint64_t held);
/* One line: "4 nodes x 48 workers: rows split by node, ..." */
void gs_placement_describe(const gs_placement *p, gs_strbuf *out);

#endif
