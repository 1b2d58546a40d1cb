/* A model or a bundle, opened by looking at what the path is. */
#ifndef GS_API_OPENED_H
#define GS_API_OPENED_H

#include <deploy/bundle.h>
#include <llm/model.h>

typedef struct gs_opened {
    gs_model *model;
    gs_bundle *bundle; /* NULL for a float model */
    struct gs_opened_rewrites *rewrites;
} gs_opened;

/* options: of a bundle; NULL for the defaults. extra: a family given at run time, or NULL; it stays as long as *out. */
gs_status gs_opened_open(const gs_network_helper *extra, const char *path, const gs_bundle_open_options *options, gs_opened *out,
                         gs_error *err) GS_NODISCARD;
/* The same; each segment is rewritten once more, after the bundle's rewrite if there is one. ctx stays as long as *out. */
gs_status gs_opened_open_as(const gs_network_helper *extra, const char *path, gs_model_rewrite *rewrite, void *ctx, gs_opened *out,
                            gs_error *err) GS_NODISCARD;
void gs_opened_close(gs_opened *o); /* safe on a zeroed struct */

#endif
