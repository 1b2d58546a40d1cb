/* A model on disk, whatever its container: a Hugging Face directory (single or sharded
 * safetensors, or pytorch_model*.bin where there are none) or a GGUF file. Names are Hugging Face names, config is config.json. */
#ifndef GS_LOADERS_CHECKPOINT_H
#define GS_LOADERS_CHECKPOINT_H

#include <loaders/config.h>
#include <loaders/gguf.h>
#include <loaders/shards.h>

typedef struct gs_checkpoint gs_checkpoint;

/* name, its word in files, what people call it */
#define GS_CONTAINER_LIST(X)                                                   \
    X(SAFETENSORS, "safetensors", "safetensors")                               \
    X(GGUF, "gguf", "GGUF")                                                    \
    X(TORCH, "pytorch", "PyTorch")

typedef enum gs_container {
#define X(name, word, title) GS_CONTAINER_##name,
    GS_CONTAINER_LIST(X)
#undef X
    GS_CONTAINER_COUNT
} gs_container;

const char *gs_container_name(gs_container container);  /* "gguf" */
const char *gs_container_title(gs_container container); /* "GGUF" */

/* path: a directory with config.json and model.safetensors[.index.json], else pytorch_model.bin[.index.json] (or the
 * weights stem `stem` when not NULL: safetensors only), or a .gguf file, or a directory that holds one and neither
 * config.json nor those weights: the checkpoint has the file's path then. */
gs_status gs_checkpoint_open(const char *path, const char *stem, gs_checkpoint **out, gs_error *err) GS_NODISCARD;

/* A directory whose parts have names of their own. */
typedef struct gs_checkpoint_parts {
    const char *config; /* directory of the config.json; NULL: the checkpoint's own */
    const char *index;  /* plain name in the directory of a "*.safetensors.index.json"; NULL: there is none */
    /* without an index: plain names in the directory of safetensors files. None: the checkpoint has no tensors
     * before gs_checkpoint_present. */
    const char *const *files;
    size_t nfiles;
} gs_checkpoint_parts;

/* path: the directory. GS_E_INVALID for both an index and files, GS_E_FORMAT for a name that is no plain file name,
 * a tensor that two files hold, or a config directory without config.json (whoever lets a user choose it adds the hint). */
gs_status gs_checkpoint_open_parts(const char *path, const gs_checkpoint_parts *parts, gs_checkpoint **out,
                                   gs_error *err) GS_NODISCARD;
void gs_checkpoint_close(gs_checkpoint *c);
/* From now on count, at, find and bytes show exactly these tensors, in this order: how a reader gives a format's tensors
 * their Hugging Face names. Tensors and names are copied; `data` points into the checkpoint's own file maps, or into
 * memory of the caller that stays as long as the tensors are read. Pointers that at and find gave before are void after
 * a second call only: the files' own tensors stay. GS_E_FORMAT for two of one name, or for bytes that are not what
 * dtype, shape, layout and order make (gs_tensor_check); on failure the checkpoint is unchanged. */
gs_status gs_checkpoint_present(gs_checkpoint *c, const gs_tensor *tensors, size_t n, gs_error *err) GS_NODISCARD;
/* Who gives the pages of presented tensors back that lie in none of the checkpoint's own files: gs_checkpoint_drop asks it. ctx
 * is the caller's and stays as long as the checkpoint is read. */
typedef void gs_checkpoint_dropper(const void *ctx, const gs_tensor *t);
void gs_checkpoint_drop_by(gs_checkpoint *c, gs_checkpoint_dropper *drop, const void *ctx);
gs_container gs_checkpoint_container(const gs_checkpoint *c);
const char *gs_checkpoint_path(const gs_checkpoint *c);
const gs_model_config *gs_checkpoint_config(const gs_checkpoint *c);
const gs_gguf *gs_checkpoint_gguf(const gs_checkpoint *c); /* NULL unless GGUF */
size_t gs_checkpoint_count(const gs_checkpoint *c);
const gs_tensor *gs_checkpoint_at(const gs_checkpoint *c, size_t i);
const gs_tensor *gs_checkpoint_find(const gs_checkpoint *c, const char *name);
/* The tensor's file pages will not be needed again; nothing for bytes that are in no file of the checkpoint. */
void gs_checkpoint_drop(const gs_checkpoint *c, const gs_tensor *t);
/* gs_checkpoint_drop for who knows no checkpoint: a callback, whose ctx is one. */
void gs_checkpoint_drop_view(void *checkpoint, const gs_tensor *t);
/* The same for rows [row0, row0+n) of a matrix; nothing where rows are not stored one after the other. */
void gs_checkpoint_drop_rows(const gs_checkpoint *c, const gs_tensor *t, int64_t row0, int64_t n);
uint64_t gs_checkpoint_bytes(const gs_checkpoint *c); /* sum of tensor bytes */

#endif
