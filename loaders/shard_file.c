#include <loaders/shard_file.h>

#include <base/affix.h>

bool gs_shard_file_is_torch(const char *name) {
    static const char *const endings[] = {".bin", ".pt", ".pth"};
    for (size_t i = 0; i < GS_COUNTOF(endings); i++)
        if (gs_ends_with(name, endings[i])) return true;
    return false;
}

gs_status gs_shard_file_open(gs_shard_file *f, const char *path, gs_error *err) {
    *f = (gs_shard_file){0};
    return gs_shard_file_is_torch(path) ? gs_torch_file_open(path, &f->torch, err)
                                        : gs_safetensors_open(path, &f->safetensors, err);
}

void gs_shard_file_close(gs_shard_file *f) {
    gs_safetensors_close(f->safetensors);
    gs_torch_file_close(f->torch);
    *f = (gs_shard_file){0};
}

size_t gs_shard_file_count(const gs_shard_file *f) {
    return f->torch ? gs_torch_file_count(f->torch) : gs_safetensors_count(f->safetensors);
}

const gs_tensor *gs_shard_file_at(const gs_shard_file *f, size_t i) {
    return f->torch ? gs_torch_file_at(f->torch, i) : gs_safetensors_at(f->safetensors, i);
}

bool gs_shard_file_drop(const gs_shard_file *f, const gs_tensor *t) {
    if (f->torch) return gs_torch_file_drop(f->torch, t);
    return gs_filemap_drop_bytes(gs_safetensors_file(f->safetensors), t->data, t->bytes);
}
