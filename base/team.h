/* One team of workers, bound one to a core; the only threads of the library.
 *
 * The thread that calls gs_team_run or gs_team_for is worker 0 and takes part. Work
 * is never nested: calling the team from inside a job runs the job serially on the
 * calling worker: gs_team_for keeps that worker's number (0 for another team's),
 * gs_team_run calls fn for every number in turn. One caller at a time. Results must
 * not depend on the number of workers: gs_team_for cuts [0, n) into chunks of exactly
 * `grain` (the last may be shorter) whatever the team's size; which worker takes which
 * chunk is dynamic: the workers of a NUMA node take a contiguous range of chunks first
 * (base/placement.h) and then those that are left of other nodes' ranges.
 *
 * A team of one is not bound, nor is one larger than the usable cores; otherwise the
 * creating thread is bound as worker 0 until it destroys the team. Workers take no
 * signals. Between jobs a worker polls for some 0.1 ms, then sleeps.
 *
 * At start each worker limits OpenMP (used inside oneDNN) to one thread for itself
 * and OpenBLAS is set to one thread, so libraries never oversubscribe the cores.
 */
#ifndef GS_BASE_TEAM_H
#define GS_BASE_TEAM_H

#include <base/error.h>
#include <base/placement.h>
#include <base/topology.h>

typedef struct gs_team gs_team;

/* threads <= 0: one per usable core; at most 4096. More than the usable cores
 * is allowed (not bound then). topo may be NULL: no binding. topo is borrowed for the team's life. */
gs_status gs_team_create(const gs_topology *topo, int threads, gs_team **out,
                         gs_error *err) GS_NODISCARD;
void gs_team_destroy(gs_team *team);
int gs_team_size(const gs_team *team); /* 1 when team is NULL */
/* Borrowed; of a NULL team: one worker on one node. */
const gs_placement *gs_team_placement(const gs_team *team);
int gs_team_node(const gs_team *team, int worker); /* 0 when team is NULL, or has no such worker */
const gs_topology *gs_team_topology(const gs_team *team); /* may be NULL */

typedef void gs_team_fn(void *ctx, int worker);
typedef void gs_team_for_fn(void *ctx, int64_t begin, int64_t end, int worker);

/* fn once on every worker, 0..size-1. team NULL: fn(ctx, 0). */
void gs_team_run(gs_team *team, gs_team_fn *fn, void *ctx);
void gs_team_for(gs_team *team, int64_t n, int64_t grain, gs_team_for_fn *fn, void *ctx);

#endif
