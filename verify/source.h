/* The source's tensors as a bundle's modules want them: under the names of the model's family, and with fused projections taken
 * apart or put together where the bundle has them the other way (internal to verify/).
 */
#ifndef GS_VERIFY_SOURCE_H
#define GS_VERIFY_SOURCE_H

#include <llm/model.h>
#include <loaders/mindspore_ckpt.h>

typedef struct gs_source {
    gs_checkpoint *checkpoint;
    gs_mindspore_ckpt *ckpt; /* where its tensors are a MindSpore checkpoint's, else NULL */
    const gs_network_helper *helper;
    gs_tensor made; /* what find has cut out or joined, of the name `name` */
    char name[400];
    void *joined;
} gs_source;

/* A model, or a directory with config.json and one MindSpore checkpoint. extra: a row given at run time, or NULL. On failure
 * *out can be closed. */
gs_status gs_source_open(const char *path, const gs_network_helper *extra, gs_source *out, gs_error *err) GS_NODISCARD;
void gs_source_close(gs_source *s);
/* rows: how many the module has. *out: NULL when the source has no such tensor, nor its parts, nor the fused one it is
 * part of. Valid until the next find; parts put together are one weight in memory. */
gs_status gs_source_find(gs_source *s, const char *name, int64_t rows, const gs_tensor **out, gs_error *err) GS_NODISCARD;

#endif
