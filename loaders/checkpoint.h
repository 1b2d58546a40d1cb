/* A model on disk, whatever its container: a Hugging Face directory (single or sharded
 * safetensors) or a GGUF file. Names are Hugging Face names, config is config.json. */
#ifndef GS_LOADERS_CHECKPOINT_H
#define GS_LOADERS_CHECKPOINT_H

#include <loaders/config.h>
#include <loaders/gguf.h>
#include <loaders/shards.h>

typedef struct gs_checkpoint gs_checkpoint;

typedef enum gs_container { GS_CONTAINER_SAFETENSORS, GS_CONTAINER_GGUF } gs_container;

/* path: a directory with config.json and model.safetensors[.index.json] (or the weights stem
 * `stem` when not NULL), or a .gguf file. */
gs_status gs_checkpoint_open(const char *path, const char *stem, gs_checkpoint **out, gs_error *err) GS_NODISCARD;
void gs_checkpoint_close(gs_checkpoint *c);
gs_container gs_checkpoint_container(const gs_checkpoint *c);
const char *gs_checkpoint_path(const gs_checkpoint *c);
const gs_model_config *gs_checkpoint_config(const gs_checkpoint *c);
const gs_gguf *gs_checkpoint_gguf(const gs_checkpoint *c); /* NULL unless GGUF */
size_t gs_checkpoint_count(const gs_checkpoint *c);
const gs_tensor *gs_checkpoint_at(const gs_checkpoint *c, size_t i);
const gs_tensor *gs_checkpoint_find(const gs_checkpoint *c, const char *name);
/* The tensor's file pages will not be needed again. */
void gs_checkpoint_drop(const gs_checkpoint *c, const gs_tensor *t);
/* gs_checkpoint_drop for who knows no checkpoint: a callback, whose ctx is one. */
void gs_checkpoint_drop_view(void *checkpoint, const gs_tensor *t);
/* The same for rows [row0, row0+n) of a matrix; nothing where rows are stored in another order. */
void gs_checkpoint_drop_rows(const gs_checkpoint *c, const gs_tensor *t, int64_t row0, int64_t n);
uint64_t gs_checkpoint_bytes(const gs_checkpoint *c); /* sum of tensor bytes */

#endif
