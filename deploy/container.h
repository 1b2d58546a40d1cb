/* A file format that holds named tensors: safetensors shards, one GGUF file, one MindSpore checkpoint (internal to
 * deploy/). Tensors are planned in the order in which they will be written, so that a shard is complete before
 * the next begins and only one file is open.
 *
 * One thread at a time. Files appear inside a directory that the bundle writer commits as a whole.
 */
#ifndef GS_DEPLOY_CONTAINER_H
#define GS_DEPLOY_CONTAINER_H

#include <deploy/bundle_format.h>

typedef struct gs_container_file gs_container_file; /* each container defines its own */

struct gs_bundle_container {
    /* dir exists. naming and options are borrowed for the file's life. */
    gs_status (*create)(gs_context *cx, const char *dir, const gs_container_naming *naming,
                        const gs_bundle_options *options, gs_container_file **out, gs_error *err);
    /* shape: [ndim], outermost first. GS_E_INVALID for a name that is taken or a dtype that the container lacks. */
    gs_status (*plan)(gs_container_file *f, const char *name, gs_dtype dtype, int ndim, const int64_t *shape,
                      gs_error *err);
    /* After the last plan: how many bytes the files will have, at most. */
    uint64_t (*bytes)(gs_container_file *f);
    gs_status (*begin)(gs_container_file *f, const gs_bundle_facts *facts, gs_error *err);
    /* The next n bytes of the tensor that was planned as number `index`; tensors ascend, each complete before the next. */
    gs_status (*put)(gs_container_file *f, size_t index, const void *data, size_t n, gs_error *err);
    /* Everything planned was put, else GS_E_INVALID; closes the files and writes the index. Consumes f. */
    gs_status (*finish)(gs_container_file *f, gs_error *err);
    void (*abort)(gs_container_file *f); /* consumes f; NULL ok */
};

/* "<dir>/<stem><extension>" in fresh memory, for containers of one file. NULL: no memory, err is set. */
char *gs_container_path(const char *dir, const gs_container_naming *naming, gs_error *err);

extern const gs_bundle_container gs_container_safetensors;
extern const gs_bundle_container gs_container_gguf;
extern const gs_bundle_container gs_container_mindspore_ckpt;

#endif
