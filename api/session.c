#include <api/session.h>

#include <base/mem.h>
#include <base/strbuf.h>
#include <kernels/gemm/gemm.h>
#include <kernels/isa.h>
#include <llm/helpers/network_helper.h>

/* What will do the work, for --verbose. */
static void describe(gs_session *s) {
    gs_strbuf text = {0};
    if (!s->context.log) return;
    gs_topology_describe(s->topology, &text);
    gs_log(&s->context, GS_LOG_DEBUG, "%s; %d workers; rows %s; f32 by %s; bf16 by %s", gs_strbuf_text(&text),
           gs_team_size(s->team), gs_isa_name(gs_isa_selected()), gs_gemm_backend(GS_GEMM_F32),
           gs_gemm_backend(GS_GEMM_BF16));
    gs_strbuf_clear(&text);
    gs_placement_describe(gs_team_placement(s->team), &text);
    gs_log(&s->context, GS_LOG_DEBUG, "%s", gs_strbuf_text(&text));
    gs_strbuf_clear(&text);
}

gs_status gs_session_create(const gs_session_options *options, gs_session **out, gs_error *err) {
    static const gs_session_options defaults;
    const gs_session_options *o = options ? options : &defaults;
    gs_session *s = gs_calloc(1, sizeof *s);
    if (!s) return gs_error_nomem(err, sizeof *s);
    gs_status status = gs_topology_create(&s->topology, err);
    if (status == GS_OK) status = gs_team_create(s->topology, o->threads, &s->team, err);
    if (status == GS_OK && o->helper) status = gs_network_helper_load(o->helper, &s->helper, err);
    if (status != GS_OK) {
        gs_session_destroy(s);
        return status;
    }
    s->context = (gs_context){.team = s->team, .topology = s->topology, .log = o->log,
                              .progress = o->progress, .ui = o->ui, .memory_budget = o->memory_budget,
                              .helper = s->helper};
    describe(s);
    *out = s;
    return GS_OK;
}

void gs_session_destroy(gs_session *s) {
    if (!s) return;
    gs_network_helper_free(s->helper);
    gs_team_destroy(s->team);
    gs_topology_destroy(s->topology);
    gs_free(s);
}
