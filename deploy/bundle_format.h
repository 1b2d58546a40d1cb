/* Bundle formats: one row and one file each. A format plans the tensors it will hold (from nets
 * whose params may still lack bytes), then takes the bytes net by net in the same order, then
 * finishes with its side files. The directory appears whole or not at all.
 */
#ifndef GS_DEPLOY_BUNDLE_FORMAT_H
#define GS_DEPLOY_BUNDLE_FORMAT_H

#include <base/context.h>
#include <loaders/checkpoint.h>
#include <network/net.h>

typedef struct gs_bundle_options {
    const gs_checkpoint *source; /* config.json and the side files come from it */
    gs_dtype dtype;              /* of the FLOAT tensors: F16, BF16 or F32; written as torch_dtype */
    const char *quantize;        /* MindIE's word for the scheme, "w8a16" */
    const char *model_quant_type; /* dominant type, "W8A16" */
    const char *tied_head;       /* name to list as FLOAT though it is not stored, or NULL */
    uint64_t max_shard_bytes;    /* tensor bytes a file; 0: one file */
} gs_bundle_options;

typedef struct gs_bundle_writer gs_bundle_writer;

typedef struct gs_bundle_format {
    const char *name;  /* "ascend" */
    const char *about; /* one line */
    bool (*carries)(gs_scheme scheme);
    gs_status (*create)(gs_context *cx, const char *path, const gs_bundle_options *options,
                        gs_bundle_writer **out, gs_error *err);
    /* Every segment once, then begin (checks the disk space), then every segment again in the
     * same order with its bytes. */
    gs_status (*plan)(gs_bundle_writer *w, const gs_net *segment, gs_error *err);
    gs_status (*begin)(gs_bundle_writer *w, gs_error *err);
    gs_status (*write)(gs_bundle_writer *w, const gs_net *segment, gs_error *err);
    /* Adds a file of the bundle's own (manifest); before finish. */
    gs_status (*add_file)(gs_bundle_writer *w, const char *name, const char *text, size_t len, gs_error *err);
    /* Side files, fsync, rename. Consumes w. *bytes: of all files. */
    gs_status (*finish)(gs_bundle_writer *w, uint64_t *bytes, gs_error *err);
    void (*abort)(gs_bundle_writer *w); /* consumes w; NULL ok */
} gs_bundle_format;

#define GS_BUNDLE_FORMAT_LIST(X) X(ascend)
#define X(name) extern const gs_bundle_format gs_bundle_##name;
GS_BUNDLE_FORMAT_LIST(X)
#undef X

/* NULL: the first. GS_E_INVALID naming the nearest known format. */
gs_status gs_bundle_format_find(const char *name, const gs_bundle_format **out, gs_error *err) GS_NODISCARD;

#endif
