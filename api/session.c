#include <api/session.h>

#include <base/mem.h>

gs_status gs_session_create(const gs_session_options *options, gs_session **out, gs_error *err) {
    static const gs_session_options defaults;
    const gs_session_options *o = options ? options : &defaults;
    gs_session *s = gs_calloc(1, sizeof *s);
    if (!s) return gs_error_nomem(err, sizeof *s);
    gs_status status = gs_topology_create(&s->topology, err);
    if (status == GS_OK) status = gs_team_create(s->topology, o->threads, &s->team, err);
    if (status != GS_OK) {
        gs_session_destroy(s);
        return status;
    }
    s->context = (gs_context){.team = s->team, .topology = s->topology, .log = o->log,
                              .progress = o->progress, .ui = o->ui, .memory_budget = o->memory_budget};
    *out = s;
    return GS_OK;
}

void gs_session_destroy(gs_session *s) {
    if (!s) return;
    gs_team_destroy(s->team);
    gs_topology_destroy(s->topology);
    gs_free(s);
}
