/* What the files of this room share about a net; nobody outside includes it.
 *
 * Invariants between calls: node[] is in execution order; edge[i]->index == i; names of edges
 * (and so of nodes) are unique; every edge's consumers equals its uses by nodes plus one when
 * it is a net output.
 */
#ifndef GS_NETWORK_NET_PRIVATE_H
#define GS_NETWORK_NET_PRIVATE_H

#include <network/net.h>

/* A growing list of borrowed pointers. */
typedef struct gs_list {
    void **at;
    int count, capacity;
} gs_list;

/* Room for `extra` more, so that the next `extra` inserts cannot fail. */
gs_status gs_list_reserve(gs_list *list, int extra, gs_error *err) GS_NODISCARD;
void gs_list_insert(gs_list *list, int i, void *item); /* reserved before */
void gs_list_remove(gs_list *list, int i);
int gs_list_find(const gs_list *list, const void *item); /* -1 when it is not there */

struct gs_net {
    char *name;
    gs_list nodes, edges, inputs, outputs;
    /* the executor whose state the nodes hold, NULL when they hold none; only compared */
    const void *prepared_by;
};

/* A node with its output edge and no place in a net yet; inputs are noted, not counted. */
gs_status gs_node_make(gs_op op, const char *name, int ninputs, gs_edge *const *inputs,
                       const gs_attr *attr, gs_node **out, gs_error *err) GS_NODISCARD;
void gs_node_free(gs_node *node); /* with its params, prepared state and output edge */
/* Range of the op, its number of inputs, whose edges they are, and that the name is free. */
gs_status gs_net_check_new_node(const gs_net *net, gs_op op, const char *name, int ninputs,
                                gs_edge *const *inputs, gs_error *err) GS_NODISCARD;
/* It is none, or one that an edge has already. */
gs_status gs_net_check_name(const gs_net *net, const char *name, gs_error *err) GS_NODISCARD;
/* One more node and edge will fit. */
gs_status gs_net_reserve_node(gs_net *net, gs_error *err) GS_NODISCARD;
/* Places a made node at a position, its edge at the end, and counts its inputs. */
void gs_net_place(gs_net *net, gs_node *node, int position);
int gs_net_position(const gs_net *net, const gs_node *node); /* -1 when it is another net's */
/* Drops all prepared state: every change of structure or params makes it stale. */
void gs_net_unprepare(gs_net *net);

/* A param that no node holds yet. data NULL: planned. */
gs_status gs_param_create(gs_role role, const char *name, gs_dtype dtype, int ndim,
                          const int64_t *shape, const void *data, gs_param **out,
                          gs_error *err) GS_NODISCARD;
/* Puts it in its role, destroying one that was there. */
void gs_node_param_put(gs_node *node, gs_param *param);
/* The stored bytes, [rows, cols] row-major in logical order, or NULL when there are none, the
 * rows would have to be reordered, codes unpacked, or values have factors. May be unaligned. */
const void *gs_param_stored(const gs_param *p);
/* values: [nrows, cols] as stored, f32; multiplied by the factors. */
void gs_param_apply_factors(const gs_param *p, int64_t row0, int64_t nrows, float *values);
/* gs_param_read_16 for a param with factors. */
gs_status gs_param_read_scaled_16(const gs_param *p, gs_dtype dtype, int64_t row0, int64_t nrows,
                                  uint16_t *dst, gs_error *err) GS_NODISCARD;

/* "[32, 8, 8]"; returns buf. */
const char *gs_shape_text(int ndim, const int64_t *shape, char *buf, size_t size);
/* Elements of one row of a value, 1 for ndim 0. False when a dimension is unknown or the
 * product overflows. */
bool gs_dims_count(const gs_dims *dims, int64_t *count);

#endif
