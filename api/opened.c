#include <api/opened.h>

gs_status gs_opened_open(const gs_network_helper *extra, const char *path, const gs_bundle_open_options *options,
                         gs_opened *out, gs_error *err) {
    gs_checkpoint *checkpoint;
    *out = (gs_opened){0};
    GS_TRY(gs_bundle_open(path, options, &out->bundle, &checkpoint, err));
    if (!out->bundle) GS_TRY(gs_checkpoint_open(path, NULL, &checkpoint, err));
    gs_status status = gs_model_take_as(extra, checkpoint, out->bundle ? gs_bundle_rewrite : NULL, out->bundle,
                                        &out->model, err);
    if (status != GS_OK) gs_opened_close(out);
    return status;
}

void gs_opened_close(gs_opened *o) {
    gs_model_close(o->model);
    gs_bundle_close(o->bundle);
    *o = (gs_opened){0};
}
