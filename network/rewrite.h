/* Changing a net: what every algorithm is made of. After any of these the net is again in
 * execution order and its consumer counts are right; on failure it is unchanged unless a function says otherwise. Dims are not
 * touched: gs_net_infer again. What an executor had prepared is dropped.
 */
#ifndef GS_NETWORK_REWRITE_H
#define GS_NETWORK_REWRITE_H

#include <network/net.h>

/* Puts a new one-input node on an edge: every consumer (or, with `only` not NULL, only that
 * node) and, if only is NULL, the net output, now reads the new node's output. */
gs_status gs_net_insert(gs_net *net, gs_edge *edge, gs_node *only, gs_op op, const char *name,
                        const gs_attr *attr, gs_node **out, gs_error *err) GS_NODISCARD;
/* Swaps a node for one with another op, same inputs and output edge; params move over unless
 * the caller replaces them, the name stays. Returns the same pointer in *out. */
gs_status gs_net_replace(gs_net *net, gs_node *node, gs_op op, const gs_attr *attr, gs_node **out,
                         gs_error *err) GS_NODISCARD;
/* Removes a node; its consumers, and the net output if it was one, read its first input instead.
 * GS_E_INVALID for a node with more than one input, or when that input is a net output as well
 * as the node's. */
gs_status gs_net_erase(gs_net *net, gs_node *node, gs_error *err) GS_NODISCARD;

/* Another name for a node and its output edge, which no other has (GS_E_INVALID). Names of params stay. */
gs_status gs_net_rename(gs_net *net, gs_node *node, const char *name, gs_error *err) GS_NODISCARD;
/* One input of a node reads another edge, whose producer comes before the node (GS_E_INVALID). */
gs_status gs_net_reroute(gs_net *net, gs_node *node, int input, gs_edge *edge, gs_error *err) GS_NODISCARD;
/* Takes a LINEAR or QLINEAR apart whose readers are the `n` SLICE nodes given, in execution order: each becomes a node of
 * the same op on the linear's input, called name[i], with its rows of every param; params of one element go to all. Owned copies of
 * views and owned bytes alike (one linear in memory twice); planned params stay planned. GS_E_INVALID when something else
 * reads the linear or it is an output. On failure the net may be taken apart in part: drop it. */
gs_status gs_net_split_linear(gs_net *net, gs_node *linear, gs_node *const *slice, const char *const *name, int n,
                              gs_error *err) GS_NODISCARD;
/* The inverse: `n` LINEAR or QLINEAR nodes of one input, in execution order, become the slices given of one linear, which is called
 * `name` and comes before the first; the slices cover its rows, each once. They are renamed slice_name[i]. GS_E_INVALID for
 * linears of different ops, attributes, inputs, widths or sets of params; GS_E_UNSUPPORTED for params of one element or element
 * types that differ. On failure the net may be joined in part: drop it. */
gs_status gs_net_join_linears(gs_net *net, gs_node *const *linear, int n, const char *name, const gs_attr *slice,
                              const char *const *slice_name, gs_error *err) GS_NODISCARD;

/* A pattern: nodes of given ops joined as listed, in execution order; the last one is the
 * root. input[i] is the index of an earlier pattern node whose output must be that input, or
 * -1 for anything (0 is the first node, so write the -1s; places beyond the op's inputs are not
 * looked at). Inputs match in order: an add's are not swapped. Values inside the match (all but the root's) must have no other consumer
 * and not be net outputs. */
enum { GS_PATTERN_MAX = 8 };
typedef struct gs_pattern {
    int count;
    struct {
        gs_op op;
        int input[GS_MAX_INPUTS];
    } node[GS_PATTERN_MAX];
} gs_pattern;

typedef struct gs_match {
    gs_node *node[GS_PATTERN_MAX]; /* by pattern index */
} gs_match;

/* First match whose root comes at or after position *at in execution order; *at moves past
 * it. False when there is none. Start with *at = 0. */
bool gs_net_match(const gs_net *net, const gs_pattern *pattern, int *at, gs_match *out);

/* Folds an inference batch normalisation into the convolution that alone feeds it:
 * w' = w*a, b' = (b - mean)*a + beta, a = gamma/sqrt(var + eps), per output channel, in double,
 * rounded once; the convolution's weight and bias become owned f32. The norm node is erased.
 * Returns how many were folded in *count. GS_E_NUMERIC when var + eps is not positive.
 * (Jacob et al. 2018, section 3.2.) */
gs_status gs_net_fold_batchnorm(gs_net *net, int *count, gs_error *err) GS_NODISCARD;

#endif
