/* One file of a checkpoint in whichever container it is. The name decides: "*.bin", "*.pt" and "*.pth" are PyTorch's,
 * all others safetensors. Thread law of the containers: read-only after open. */
#ifndef GS_LOADERS_SHARD_FILE_H
#define GS_LOADERS_SHARD_FILE_H

#include <loaders/safetensors.h>
#include <loaders/torch_file.h>

typedef struct gs_shard_file {
    gs_safetensors *safetensors; /* one of the two */
    gs_torch_file *torch;
} gs_shard_file;

bool gs_shard_file_is_torch(const char *name);
gs_status gs_shard_file_open(gs_shard_file *f, const char *path, gs_error *err) GS_NODISCARD;
void gs_shard_file_close(gs_shard_file *f); /* safe on a zeroed struct */
size_t gs_shard_file_count(const gs_shard_file *f);
const gs_tensor *gs_shard_file_at(const gs_shard_file *f, size_t i);
/* The tensor's pages will not be needed again; false for bytes that are not this file's. */
bool gs_shard_file_drop(const gs_shard_file *f, const gs_tensor *t);

#endif
