#include <ptq/comp_algo.h>

#include <base/mem.h>

gs_status gs_summary_add(gs_summary *s, const char *name, gs_layer_summary **out, gs_error *err) {
    if (s->count == s->capacity) {
        size_t capacity = s->capacity ? 2 * s->capacity : 64;
        gs_layer_summary *grown = gs_realloc(s->layer, capacity, sizeof *grown);
        if (!grown) return gs_error_nomem(err, capacity * sizeof *grown);
        s->layer = grown;
        s->capacity = capacity;
    }
    char *copy = gs_strdup(name);
    if (!copy) return gs_error_nomem(err, 64);
    s->layer[s->count] = (gs_layer_summary){.name = copy};
    *out = &s->layer[s->count++];
    return GS_OK;
}

void gs_summary_clear(gs_summary *s) {
    for (size_t i = 0; i < s->count; i++) gs_free(s->layer[i].name);
    gs_free(s->layer);
    *s = (gs_summary){0};
}

gs_status gs_comp_algo_decide(gs_comp_algo *algo, gs_context *cx, gs_net *net, gs_error *err) {
    return algo->class->decide ? algo->class->decide(algo, cx, net, err) : GS_OK;
}

gs_status gs_comp_algo_settle(gs_comp_algo *algo, gs_context *cx, gs_error *err) {
    return algo->class->settle ? algo->class->settle(algo, cx, err) : GS_OK;
}

gs_status gs_comp_algo_apply(gs_comp_algo *algo, gs_net *net, gs_error *err) {
    return algo->class->apply(algo, net, err);
}

const gs_algo_callbacks *gs_comp_algo_callbacks(gs_comp_algo *algo) {
    return algo->class->callbacks ? algo->class->callbacks(algo) : NULL;
}

gs_status gs_comp_algo_convert(gs_comp_algo *algo, gs_context *cx, gs_net *net, gs_error *err) {
    return algo->class->convert(algo, cx, net, err);
}

const gs_summary *gs_comp_algo_summary(const gs_comp_algo *algo) { return &algo->summary; }

void gs_comp_algo_set_save(gs_comp_algo *algo, bool save) { algo->save = save; }

gs_status gs_comp_algo_set_save_path(gs_comp_algo *algo, const char *path, gs_error *err) {
    if (!path || !*path) return GS_FAIL(err, GS_E_INVALID, "the path to save to is empty");
    char *copy = gs_strdup(path);
    if (!copy) return gs_error_nomem(err, 64);
    gs_free(algo->save_path);
    algo->save_path = copy;
    return GS_OK;
}

void gs_comp_algo_set_drop(gs_comp_algo *algo, gs_exec_drop *drop, void *ctx) {
    algo->drop = drop;
    algo->drop_ctx = ctx;
}

void gs_comp_algo_destroy(gs_comp_algo *algo) {
    if (!algo) return;
    gs_summary_clear(&algo->summary);
    gs_free(algo->save_path);
    algo->class->destroy(algo);
}
