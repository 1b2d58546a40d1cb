#include <verify/subject.h>

#include <base/mem.h>

#include <stdio.h>
#include <string.h>

gs_status gs_subject_room(gs_subject *s, size_t more, gs_error *err) {
    gs_stored *grown = gs_realloc(s->tensor, s->tensors + more + 1, sizeof *grown);
    if (!grown) return gs_error_nomem(err, (s->tensors + more) * sizeof *grown);
    s->tensor = grown;
    return GS_OK;
}

gs_status gs_subject_add(gs_subject *s, const gs_tensor *t, size_t file, bool *twice, gs_error *err) {
    GS_TRY(gs_map_put(&s->by_name, t->name, strlen(t->name), (int64_t)s->tensors, twice, err));
    if (*twice) return GS_OK;
    s->tensor[s->tensors++] = (gs_stored){.t = t, .file = file};
    s->bytes += t->bytes;
    return GS_OK;
}

gs_stored *gs_subject_find(gs_subject *s, const char *name) {
    int64_t at;
    return gs_map_get(&s->by_name, name, strlen(name), &at) ? &s->tensor[at] : NULL;
}

gs_stored *gs_subject_part(gs_subject *s, const gs_module *m, const char *suffix) {
    char name[400];
    snprintf(name, sizeof name, "%s.%s", m->name, suffix);
    gs_stored *t = gs_subject_find(s, name);
    if (t) t->known = true;
    return t;
}

void gs_subject_drop(const gs_subject *s, const gs_stored *t, uint64_t offset, uint64_t bytes) {
    if (s->gguf || s->ckpt) {
        gs_tensor part = *t->t;
        part.data += offset;
        part.bytes = bytes;
        if (s->gguf) gs_checkpoint_drop(s->gguf, &part);
        else gs_mindspore_ckpt_drop(s->ckpt, &part);
        return;
    }
    const gs_safetensors *st = s->files > t->file ? s->file[t->file] : NULL;
    if (!st) return;
    const gs_filemap *file = gs_safetensors_file(st);
    gs_filemap_drop(file, (size_t)(t->t->data - file->data) + (size_t)offset, (size_t)bytes);
}

char *gs_subject_path(const gs_subject *s, const char *name) { return gs_path_join(s->path, name); }

static const char *const type_names[] = {
#define X(name, text) text,
    GS_TYPE_LIST(X)
#undef X
};

const char *gs_type_name(gs_type t) { return t < GS_TYPE_UNKNOWN ? type_names[t] : "?"; }

gs_type gs_type_from_name(const char *name) {
    for (int t = 0; t < GS_TYPE_UNKNOWN; t++)
        if (strcmp(type_names[t], name) == 0) return (gs_type)t;
    return GS_TYPE_UNKNOWN;
}

gs_status gs_subject_index_description(gs_subject *s, gs_error *err) {
    const cJSON *item;
    if (!cJSON_IsObject(s->description)) {
        cJSON_Delete(s->description);
        s->description = NULL;
        return GS_OK;
    }
    cJSON_ArrayForEach(item, s->description)
        GS_TRY(gs_map_put(&s->described, item->string, strlen(item->string), (int64_t)(intptr_t)item, NULL, err));
    return GS_OK;
}

const cJSON *gs_described_item(const gs_subject *s, const char *key) {
    int64_t item;
    return gs_map_get(&s->described, key, strlen(key), &item) ? (const cJSON *)(intptr_t)item : NULL;
}

const char *gs_described(const gs_subject *s, const char *key) {
    const cJSON *item = gs_described_item(s, key);
    return cJSON_IsString(item) ? item->valuestring : "";
}
