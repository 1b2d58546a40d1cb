/* A set of safetensors or PyTorch files (shard_file.h) seen as one: a single file, or the shards that a
 * `*.safetensors.index.json` or `pytorch_model.bin.index.json` lists. What nobody else checks is checked at open: file
 * names without path separators, every weight_map entry present in the shard it names, no
 * tensor in two shards, no tensor outside the map, total_size (when present) equal to the sum of
 * tensor bytes (of PyTorch's also: with those that share their place counted once). A truncated or missing shard is an
 * error that names the file. */
#ifndef GS_LOADERS_SHARDS_H
#define GS_LOADERS_SHARDS_H

#include <loaders/shard_file.h>

typedef struct gs_shards gs_shards;

/* One file. */
gs_status gs_shards_open_file(const char *path, gs_shards **out, gs_error *err) GS_NODISCARD;
/* The shards of an index file (paths relative to its directory). */
gs_status gs_shards_open_index(const char *index_path, gs_shards **out, gs_error *err) GS_NODISCARD;
/* Safetensors files of a directory that no index lists: plain names. No files: no tensors. GS_E_FORMAT for a name with a
 * path in it, a missing file, or a tensor in two of them. */
gs_status gs_shards_open_files(const char *dir, const char *const *names, size_t n, gs_shards **out,
                               gs_error *err) GS_NODISCARD;
/* A directory: "<stem>.safetensors.index.json" if present, else "<stem>.safetensors"; of stem "model" also, where
 * neither is, "pytorch_model.bin.index.json", then "pytorch_model.bin".
 * stem is e.g. "model" or "quant_model_weights". GS_E_FORMAT naming what was looked for. */
gs_status gs_shards_open_dir(const char *dir, const char *stem, gs_shards **out, gs_error *err) GS_NODISCARD;
/* Whether there is something to open under the stem "model". */
bool gs_shards_in_dir(const char *dir);
void gs_shards_close(gs_shards *s);
size_t gs_shards_count(const gs_shards *s); /* tensors */
const gs_tensor *gs_shards_at(const gs_shards *s, size_t i); /* shard by shard, file order */
const gs_tensor *gs_shards_find(const gs_shards *s, const char *name);
bool gs_shards_are_torch(const gs_shards *s); /* a file of PyTorch's is among them */
size_t gs_shards_files(const gs_shards *s);
const gs_safetensors *gs_shards_file(const gs_shards *s, size_t i); /* NULL for one of PyTorch's */
/* Tells the kernel that a tensor's pages will not be needed again. */
void gs_shards_drop(const gs_shards *s, const gs_tensor *t);

#endif
