#include <base/placed.h>

#include <base/mem.h>

#include <stdatomic.h>
#include <string.h>

enum { SPREAD_BYTES = 1 << 20 };

struct gs_placed {
    size_t bytes; /* of one copy */
    int copies;
    bool pages; /* copies are mappings of their own, else one gs_alloc */
    bool counted;
    char *copy[GS_PLACEMENT_NODES];
};

static _Atomic uint64_t held;

uint64_t gs_placed_held(void) {
    return atomic_load(&held);
}

bool gs_placed_has_copies(const gs_team *team, size_t bytes) {
    return gs_placement_weight(gs_team_placement(team), bytes, gs_placed_held()) == GS_WEIGHT_COPIES;
}

/* Takes `bytes` from every node's share when the plan allows one more weight to be copied. */
static gs_weight_rule decide(const gs_placement *plan, size_t bytes) {
    uint64_t now = atomic_load(&held);
    gs_weight_rule rule;
    do {
        rule = gs_placement_weight(plan, bytes, now);
    } while (rule == GS_WEIGHT_COPIES && !atomic_compare_exchange_weak(&held, &now, now + bytes));
    return rule;
}

static void give_back(gs_placed *p) {
    if (p->counted) atomic_fetch_sub(&held, p->bytes);
    p->counted = false;
}

static void drop_copies(gs_placed *p, int from) {
    for (int i = from; i < p->copies; i++) gs_free_pages(p->copy[i], p->bytes);
    p->copies = from;
}

/* One interleaved mapping, or one a node; fewer than wanted means one. */
static bool map(gs_placed *p, const gs_topology *topo, int nodes, int wanted) {
    p->pages = true;
    while (p->copies < wanted && (p->copy[p->copies] = gs_alloc_pages(p->bytes))) p->copies++;
    if (p->copies == 0) return false;
    if (p->copies < wanted) drop_copies(p, 1);
    for (int i = 0; i < p->copies; i++)
        gs_topology_bind_memory(topo, p->copy[i], p->bytes, i, p->copies > 1 ? 1 : nodes);
    return true;
}

gs_status gs_placed_create(const gs_team *team, size_t bytes, gs_placed **out, gs_error *err) {
    *out = NULL;
    gs_placed *p = gs_calloc(1, sizeof *p);
    if (!p) return gs_error_nomem(err, sizeof *p);
    const gs_placement *plan = gs_team_placement(team);
    gs_weight_rule rule = decide(plan, bytes);
    p->bytes = bytes;
    p->counted = rule == GS_WEIGHT_COPIES;
    bool done;
    if (rule == GS_WEIGHT_PLAIN) {
        p->copy[0] = gs_alloc(bytes);
        done = p->copy[0] != NULL;
        p->copies = done ? 1 : 0;
    } else {
        done = map(p, gs_team_topology(team), plan->nodes, p->counted ? plan->nodes : 1);
    }
    if (p->copies <= 1) give_back(p);
    if (!done) {
        gs_placed_destroy(p);
        return gs_error_nomem(err, bytes);
    }
    *out = p;
    return GS_OK;
}

void gs_placed_destroy(gs_placed *p) {
    if (!p) return;
    give_back(p);
    if (p->pages) drop_copies(p, 0);
    else gs_free(p->copy[0]);
    gs_free(p);
}

void *gs_placed_write(gs_placed *p) {
    return p->copy[0];
}

/* Pieces are numbered copy by copy, the first copy's own included: so the range of pieces that a
 * node takes first is about its own copy, and touches it from there even when pages could not be
 * bound. */
static void copy_pieces(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    gs_placed *p = ctx;
    int64_t pieces = (int64_t)((p->bytes - 1) / SPREAD_BYTES + 1);
    for (int64_t i = begin; i < end; i++) {
        size_t at = (size_t)(i % pieces) * SPREAD_BYTES, left = p->bytes - at;
        if (i < pieces) continue;
        memcpy(p->copy[i / pieces] + at, p->copy[0] + at, left < SPREAD_BYTES ? left : SPREAD_BYTES);
    }
}

void gs_placed_spread(gs_placed *p, gs_team *team) {
    if (p->copies < 2 || !p->bytes) return;
    int64_t pieces = (int64_t)((p->bytes - 1) / SPREAD_BYTES + 1);
    gs_team_for(team, pieces * p->copies, 1, copy_pieces, p);
}

const void *gs_placed_read(const gs_placed *p, int node) {
    return p->copy[node > 0 && node < p->copies ? node : 0];
}

int gs_placed_copies(const gs_placed *p) {
    return p->copies;
}

size_t gs_placed_bytes(const gs_placed *p) {
    return p->bytes * (size_t)p->copies;
}
