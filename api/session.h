/* A session: the machine read once, one worker team, the caller's log and progress. */
#ifndef GS_API_SESSION_H
#define GS_API_SESSION_H

#include <base/context.h>

struct gs_session {
    gs_topology *topology;
    gs_team *team;
    struct gs_network_helper *helper; /* owned, or NULL; the context lends it */
    gs_context context;
};

#endif
