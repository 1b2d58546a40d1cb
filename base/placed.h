/* Memory that a team fills once and then only reads, placed by the team's plan
 * (base/placement.h): plain, one copy a node, or interleaved. A packed weight takes it so:
 *
 *     GS_TRY(gs_placed_create(team, bytes, &p, err));
 *     pack(..., gs_placed_write(p));  gs_placed_spread(p, team);
 *     ... in a job: gs_placed_read(p, gs_team_node(team, worker))
 *
 * Placing is best effort: where the kernel refuses to bind pages (containers do) they lie where
 * they were touched first, and where there is no memory for the copies there is one only.
 *
 * State of the process: how many bytes of each node are held by copies, so that many weights
 * together keep to the plan's share. Created and destroyed on any thread.
 */
#ifndef GS_BASE_PLACED_H
#define GS_BASE_PLACED_H

#include <base/team.h>

typedef struct gs_placed gs_placed;

/* bytes: of one copy; contents uninitialised, 64-byte aligned. team may be NULL (plain), and may
 * be destroyed before *out. */
gs_status gs_placed_create(const gs_team *team, size_t bytes, gs_placed **out,
                           gs_error *err) GS_NODISCARD;
/* Whether one of so many bytes would get a copy a node now. */
bool gs_placed_has_copies(const gs_team *team, size_t bytes);
void gs_placed_destroy(gs_placed *p); /* NULL ok */
/* The copy that is to be filled. */
void *gs_placed_write(gs_placed *p);
/* Brings every other copy to the same contents, nodes copying for themselves first. */
void gs_placed_spread(gs_placed *p, gs_team *team);
/* The copy of a node; of a node that has none, the first. */
const void *gs_placed_read(const gs_placed *p, int node);
int gs_placed_copies(const gs_placed *p);
size_t gs_placed_bytes(const gs_placed *p); /* all copies together */
uint64_t gs_placed_held(void);              /* of each node, by copies, in this process */

#endif
