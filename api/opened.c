#include <api/opened.h>

#include <base/mem.h>

/* A bundle's rewrite, and another behind it. */
typedef struct gs_opened_rewrites {
    gs_bundle *bundle;
    gs_model_rewrite *then;
    void *ctx;
} gs_opened_rewrites;

/* A gs_model_rewrite. */
static gs_status rewrite_all(void *ctx, gs_net *segment, gs_error *err) {
    const gs_opened_rewrites *r = ctx;
    if (r->bundle) GS_TRY(gs_bundle_rewrite(r->bundle, segment, err));
    return r->then ? r->then(r->ctx, segment, err) : GS_OK;
}

static gs_status open_path(const gs_network_helper *extra, const char *path, const gs_bundle_open_options *options,
                           gs_opened_rewrites then, gs_opened *out, gs_error *err) {
    gs_checkpoint *checkpoint;
    *out = (gs_opened){.rewrites = gs_alloc(sizeof then)};
    if (!out->rewrites) return gs_error_nomem(err, sizeof then);
    gs_status status = gs_bundle_open(path, options, &out->bundle, &checkpoint, err);
    if (status == GS_OK && !out->bundle) status = gs_checkpoint_open(path, NULL, &checkpoint, err);
    then.bundle = out->bundle;
    *out->rewrites = then;
    bool any = then.bundle || then.then;
    if (status == GS_OK)
        status = gs_model_take_as(extra, checkpoint, any ? rewrite_all : NULL, out->rewrites, &out->model, err);
    if (status != GS_OK) gs_opened_close(out);
    return status;
}

gs_status gs_opened_open(const gs_network_helper *extra, const char *path, const gs_bundle_open_options *options,
                         gs_opened *out, gs_error *err) {
    return open_path(extra, path, options, (gs_opened_rewrites){.then = NULL}, out, err);
}

gs_status gs_opened_open_as(const gs_network_helper *extra, const char *path, gs_model_rewrite *rewrite, void *ctx, gs_opened *out,
                            gs_error *err) {
    return open_path(extra, path, NULL, (gs_opened_rewrites){.then = rewrite, .ctx = ctx}, out, err);
}

void gs_opened_close(gs_opened *o) {
    gs_model_close(o->model);
    gs_bundle_close(o->bundle);
    gs_free(o->rewrites);
    *o = (gs_opened){0};
}
