#include <base/placement.h>

static uint64_t smallest_memory(const gs_topology *topo, int nodes) {
    uint64_t smallest = UINT64_MAX;
    for (int d = 0; d < nodes; d++) {
        uint64_t bytes = gs_topology_node_memory(topo, d);
        if (bytes < smallest) smallest = bytes;
    }
    return smallest;
}

void gs_placement_plan(const gs_topology *topo, int workers, gs_placement *out) {
    if (workers < 1) workers = 1;
    *out = (gs_placement){.workers = workers, .nodes = 1, .first = {0, workers}};
    if (!topo || workers > gs_topology_cores(topo)) return;
    int nodes = gs_topology_core_node(topo, workers - 1) + 1;
    if (nodes == 1 || nodes > GS_PLACEMENT_NODES) return;
    out->nodes = nodes;
    for (int w = 0; w < workers; w++) out->first[gs_topology_core_node(topo, w) + 1] = w + 1;
    out->copy_bytes = smallest_memory(topo, nodes) / GS_PLACEMENT_SHARE;
}

int gs_placement_node(const gs_placement *p, int worker) {
    if (worker < 0 || worker >= p->workers) return 0;
    int node = 0;
    while (worker >= p->first[node + 1]) node++;
    return node;
}

int64_t gs_placement_begin(const gs_placement *p, int64_t n, int node) {
    /* n * first / workers, without the product that may overflow */
    int64_t whole = n / p->workers, rest = n % p->workers;
    return whole * p->first[node] + rest * p->first[node] / p->workers;
}

gs_weight_rule gs_placement_weight(const gs_placement *p, uint64_t bytes, uint64_t held) {
    if (p->nodes == 1) return GS_WEIGHT_PLAIN;
    if (held > p->copy_bytes || bytes > p->copy_bytes - held) return GS_WEIGHT_INTERLEAVED;
    return GS_WEIGHT_COPIES;
}

static bool even(const gs_placement *p) {
    for (int d = 0; d < p->nodes; d++) {
        if (p->first[d + 1] - p->first[d] != p->first[1]) return false;
    }
    return true;
}

void gs_placement_describe(const gs_placement *p, gs_strbuf *out) {
    if (p->nodes == 1) {
        gs_strbuf_printf(out, "1 node x %d worker%s: memory is not placed", p->workers,
                         p->workers == 1 ? "" : "s");
        return;
    }
    gs_strbuf_printf(out, "%d nodes %s %d", p->nodes, even(p) ? "x" : "of", p->first[1]);
    for (int d = 1; d < p->nodes && !even(p); d++)
        gs_strbuf_printf(out, " + %d", p->first[d + 1] - p->first[d]);
    gs_strbuf_printf(out, " worker%s: rows split by node, packed weights ",
                     p->workers == p->nodes ? "" : "s");
    if (p->copy_bytes)
        gs_strbuf_printf(out, "replicated (%d copies, while they fit %.1f GiB a node)", p->nodes,
                         (double)p->copy_bytes / (1 << 30));
    else
        gs_strbuf_puts(out, "interleaved");
    gs_strbuf_puts(out, ", scratch local");
}
