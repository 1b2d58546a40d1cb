/* What machine this is, read once through hwloc and then shared read-only.
 * Only cores inside the process's cpuset count; HWLOC_SYNTHETIC is honoured, so
 * plans can be tested for machines we do not have (binding is then skipped). */
#ifndef GS_BASE_TOPOLOGY_H
#define GS_BASE_TOPOLOGY_H

#include <base/error.h>
#include <base/strbuf.h>

typedef struct gs_topology gs_topology;

gs_status gs_topology_create(gs_topology **out, gs_error *err) GS_NODISCARD;
void gs_topology_destroy(gs_topology *t);
int gs_topology_cores(const gs_topology *t); /* usable physical cores, >= 1 */
int gs_topology_nodes(const gs_topology *t); /* NUMA nodes that own them, >= 1 */
/* NUMA node index (0..nodes-1) of core i in our order. Cores are ordered node by
 * node, so workers 0..n-1 fill one node before the next. */
int gs_topology_core_node(const gs_topology *t, int core);
/* Bytes of memory that node 0..nodes-1 has itself; 0: unknown. */
uint64_t gs_topology_node_memory(const gs_topology *t, int node);
bool gs_topology_is_this_machine(const gs_topology *t); /* false when synthetic */
/* Binds the calling thread to one processing unit of core i; best effort. */
void gs_topology_bind_core(const gs_topology *t, int core);
/* Lets the calling thread run anywhere in the original cpuset again. */
void gs_topology_unbind(const gs_topology *t);
/* Pages of [p, p + bytes) that nobody has touched yet shall come from node `first` (count 1), or
 * in turn from nodes first..first+count-1; a full node spills over. Page-aligned memory of
 * gs_alloc_pages. Best effort. */
void gs_topology_bind_memory(const gs_topology *t, void *p, size_t bytes, int first, int count);
void gs_topology_describe(const gs_topology *t, gs_strbuf *out); /* one line */

#endif
