/* Where an int8 cache of keys and values stands in a net: on the edges that attention reads as inputs 1 and 2, so keys
 * after their rotation.
 */
#ifndef GS_NETWORK_CACHE_H
#define GS_NETWORK_CACHE_H

#include <network/net.h>

/* The LINEAR or QLINEAR that makes input 1 (keys) or 2 (values) of an ATTENTION: back through operations of one input
 * (rotation, norms, a cache). NULL when there is none, or where a SLICE is on the way: the caches of a fused projection's
 * parts would go by one name. Borrowed. */
gs_node *gs_cache_linear(const gs_node *attention, int input);
/* The LINEAR or QLINEAR that makes inputs 0, 1 and 2 of an ATTENTION, each of them a SLICE of its output; NULL where they are
 * not of one. Borrowed. */
gs_node *gs_cache_fused(const gs_node *attention);
/* Puts a CACHE node on input 1 or 2 of an ATTENTION, for that node alone: "<block>.k_cache" or "<block>.v_cache", a
 * number behind it where the name is taken. Its params are the caller's to add. GS_E_INVALID for another op or
 * input, for an edge that is both inputs, or one that comes out of a CACHE already. */
gs_status gs_cache_insert(gs_net *net, gs_node *attention, int input, const gs_attr *attr, gs_node **out,
                          gs_error *err) GS_NODISCARD;

#endif
