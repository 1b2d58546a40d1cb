#include <base/topology.h>

#include <base/mem.h>

#include <errno.h>
#include <hwloc.h>

typedef struct core {
    hwloc_bitmap_t unit; /* the one processing unit that a worker is bound to */
    int node;
} core;

struct gs_topology {
    hwloc_topology_t hw;
    hwloc_bitmap_t usable; /* the creating thread's cpuset, cut to what is allowed */
    core *cores;
    hwloc_obj_t *owner; /* of each of our nodes; NULL for cores that no node claims */
    int count, nodes, units;
    bool this_machine;
};

static gs_status load(gs_topology *t, gs_error *err) {
    if (hwloc_topology_init(&t->hw) != 0) {
        t->hw = NULL;
        return GS_FAIL(err, GS_E_NOMEM, "cannot start hwloc");
    }
    if (hwloc_topology_load(t->hw) != 0)
        return gs_error_errno(err, errno, "hwloc cannot read the machine's topology");
    t->this_machine = hwloc_topology_is_thissystem(t->hw) != 0;
    t->usable = hwloc_bitmap_dup(hwloc_topology_get_allowed_cpuset(t->hw));
    if (!t->usable) return gs_error_nomem(err, sizeof(unsigned long));
    hwloc_bitmap_t mine = hwloc_bitmap_alloc();
    /* a synthetic machine has no processes, so no cpuset of ours either */
    if (mine && t->this_machine
        && hwloc_get_cpubind(t->hw, mine, HWLOC_CPUBIND_THREAD) == 0
        && hwloc_bitmap_intersects(t->usable, mine))
        hwloc_bitmap_and(t->usable, t->usable, mine);
    hwloc_bitmap_free(mine);
    t->units = hwloc_bitmap_weight(t->usable);
    return GS_OK;
}

static bool already_listed(const gs_topology *t, hwloc_const_cpuset_t cpus) {
    for (int i = 0; i < t->count; i++) {
        if (hwloc_bitmap_intersects(t->cores[i].unit, cpus)) return true;
    }
    return false;
}

/* Appends the usable cores within `within` as a node of ours, when there are any; owner: the NUMA
 * node that they belong to, or NULL. */
static gs_status add_cores(gs_topology *t, hwloc_obj_type_t type, hwloc_const_cpuset_t within,
                           hwloc_obj_t owner, gs_error *err) {
    int before = t->count;
    for (hwloc_obj_t obj = NULL; (obj = hwloc_get_next_obj_by_type(t->hw, type, obj));) {
        if (!hwloc_bitmap_intersects(obj->cpuset, within)
            || !hwloc_bitmap_intersects(obj->cpuset, t->usable)
            || already_listed(t, obj->cpuset)) /* memory-side nodes share cores */
            continue;
        hwloc_bitmap_t unit = hwloc_bitmap_dup(obj->cpuset);
        if (!unit) return gs_error_nomem(err, sizeof(unsigned long));
        hwloc_bitmap_and(unit, unit, t->usable);
        hwloc_bitmap_singlify(unit);
        t->cores[t->count++] = (core){unit, t->nodes};
    }
    if (t->count > before) t->owner[t->nodes++] = owner;
    return GS_OK;
}

static gs_status list_cores(gs_topology *t, gs_error *err) {
    /* some virtual machines show processing units without cores */
    hwloc_obj_type_t type = hwloc_get_nbobjs_by_type(t->hw, HWLOC_OBJ_CORE) > 0
                                ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
    int most = hwloc_get_nbobjs_by_type(t->hw, type);
    if (most < 1) return GS_FAIL(err, GS_E_UNSUPPORTED, "hwloc finds no processing units");
    t->cores = gs_calloc((size_t)most, sizeof *t->cores);
    if (!t->cores) return gs_error_nomem(err, (size_t)most * sizeof *t->cores);
    int numa = hwloc_get_nbobjs_by_type(t->hw, HWLOC_OBJ_NUMANODE);
    size_t owners = (size_t)(numa > 0 ? numa : 0) + 1;
    t->owner = gs_calloc(owners, sizeof(hwloc_obj_t));
    if (!t->owner) return gs_error_nomem(err, owners * sizeof(hwloc_obj_t));
    for (hwloc_obj_t node = NULL;
         (node = hwloc_get_next_obj_by_type(t->hw, HWLOC_OBJ_NUMANODE, node));)
        GS_TRY(add_cores(t, type, node->cpuset, node, err));
    /* cores that no node claims */
    GS_TRY(add_cores(t, type, t->usable, NULL, err));
    if (t->count < 1)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "none of the %d cores may be used", most);
    return GS_OK;
}

gs_status gs_topology_create(gs_topology **out, gs_error *err) {
    *out = NULL;
    gs_topology *t = gs_calloc(1, sizeof *t);
    if (!t) return gs_error_nomem(err, sizeof *t);
    gs_status status = load(t, err);
    if (status == GS_OK) status = list_cores(t, err);
    if (status == GS_OK) *out = t;
    else gs_topology_destroy(t);
    return status;
}

void gs_topology_destroy(gs_topology *t) {
    if (!t) return;
    for (int i = 0; i < t->count; i++) hwloc_bitmap_free(t->cores[i].unit);
    gs_free(t->cores);
    gs_free(t->owner);
    hwloc_bitmap_free(t->usable);
    if (t->hw) hwloc_topology_destroy(t->hw);
    gs_free(t);
}

int gs_topology_cores(const gs_topology *t) {
    return t->count;
}

int gs_topology_nodes(const gs_topology *t) {
    return t->nodes;
}

int gs_topology_core_node(const gs_topology *t, int index) {
    return index >= 0 && index < t->count ? t->cores[index].node : 0;
}

bool gs_topology_is_this_machine(const gs_topology *t) {
    return t->this_machine;
}

void gs_topology_bind_core(const gs_topology *t, int index) {
    if (!t->this_machine || index < 0 || index >= t->count) return;
    /* best effort: a refusal costs speed, not results */
    (void)hwloc_set_cpubind(t->hw, t->cores[index].unit, HWLOC_CPUBIND_THREAD);
}

void gs_topology_unbind(const gs_topology *t) {
    if (!t->this_machine) return;
    (void)hwloc_set_cpubind(t->hw, t->usable, HWLOC_CPUBIND_THREAD);
}

uint64_t gs_topology_node_memory(const gs_topology *t, int node) {
    if (node < 0 || node >= t->nodes || !t->owner[node]) return 0;
    return t->owner[node]->attr->numanode.local_memory;
}

void gs_topology_bind_memory(const gs_topology *t, void *p, size_t bytes, int first, int count) {
    if (!t->this_machine || first < 0 || count < 1 || count > t->nodes - first) return;
    hwloc_bitmap_t nodes = hwloc_bitmap_alloc();
    if (!nodes) return;
    for (int i = first; i < first + count; i++) {
        if (t->owner[i]) hwloc_bitmap_or(nodes, nodes, t->owner[i]->nodeset);
    }
    if (!hwloc_bitmap_iszero(nodes))
        (void)hwloc_set_area_membind(t->hw, p, bytes, nodes,
                                     count > 1 ? HWLOC_MEMBIND_INTERLEAVE : HWLOC_MEMBIND_BIND,
                                     HWLOC_MEMBIND_BYNODESET);
    hwloc_bitmap_free(nodes);
}

void gs_topology_describe(const gs_topology *t, gs_strbuf *out) {
    gs_strbuf_printf(out, "%d core%s (%d hardware thread%s) on %d NUMA node%s", t->count,
                     t->count == 1 ? "" : "s", t->units, t->units == 1 ? "" : "s", t->nodes,
                     t->nodes == 1 ? "" : "s");
    if (!t->this_machine) gs_strbuf_puts(out, ", synthetic");
}
