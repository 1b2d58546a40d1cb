#include <network/rewrite.h>

#include <network/net_private.h>
#include <network/ops/op.h>

#include <string.h>

static bool well_formed(const gs_pattern *p) {
    if (p->count < 1 || p->count > GS_PATTERN_MAX) return false;
    for (int i = 0; i < p->count; i++) {
        if ((unsigned)p->node[i].op >= GS_OP_COUNT) return false;
        for (int j = 0; j < gs_op_inputs(p->node[i].op); j++)
            if (p->node[i].input[j] < -1 || p->node[i].input[j] >= i) return false;
    }
    return true;
}

/* Binds pattern nodes from the root downwards; depth is bounded by the pattern, because inputs
 * only name earlier nodes. */
static bool bind(const gs_pattern *p, int i, gs_node *node, gs_match *m) {
    if (!node || node->op != p->node[i].op) return false;
    if (m->node[i]) return m->node[i] == node;
    for (int k = 0; k < p->count; k++)
        if (m->node[k] == node) return false;
    m->node[i] = node;
    for (int j = 0; j < node->ninputs; j++) {
        int from = p->node[i].input[j];
        if (from >= 0 && !bind(p, from, node->input[j]->producer, m)) return false;
    }
    return true;
}

/* All bound, and no value but the root's is seen from outside. */
static bool enclosed(const gs_pattern *p, const gs_match *m) {
    for (int i = 0; i < p->count; i++) {
        if (!m->node[i]) return false;
        const gs_edge *value = m->node[i]->output;
        int inside = 0;
        if (i == p->count - 1) continue;
        for (int k = 0; k < p->count; k++)
            for (int j = 0; m->node[k] && j < m->node[k]->ninputs; j++)
                inside += m->node[k]->input[j] == value;
        if (inside != value->consumers) return false;
    }
    return true;
}

bool gs_net_match(const gs_net *net, const gs_pattern *pattern, int *at, gs_match *out) {
    if (!well_formed(pattern) || *at < 0) return false;
    for (; *at < net->nodes.count; ++*at) {
        gs_match m;
        memset(&m, 0, sizeof m);
        if (!bind(pattern, pattern->count - 1, net->nodes.at[*at], &m) || !enclosed(pattern, &m))
            continue;
        ++*at;
        *out = m;
        return true;
    }
    return false;
}
