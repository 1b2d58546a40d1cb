/* Index files: the one of these weights says the truth, and there is no other. */
#include <verify/subject.h>

#include <base/mem.h>

#include <stdio.h>
#include <string.h>

enum { MAX_INDEX = 100 << 20 };

/* "<stem>.safetensors.index.json" of the first weight file, without the directory. */
static void own_index(const gs_subject *s, char out[300]) {
    const char *name = s->first ? s->first : "";
    const char *shard = strstr(name, "-of-");
    size_t n = shard && shard - name > 6 ? (size_t)(shard - name) - 6 : strlen(name) < 12 ? 0 : strlen(name) - 12;
    if (s->kind == GS_KIND_MINDSPORE) {
        snprintf(out, 300, "model.safetensors.index.json");
        return;
    }
    snprintf(out, 300, "%.*s.safetensors.index.json", (int)(n > 200 ? 200 : n), name);
}

static void check_entry(gs_subject *s, const char *index, const cJSON *entry) {
    gs_stored *t = gs_subject_find(s, entry->string);
    if (!gs_report_that(&s->report, GS_CHECK_INDEX, t != NULL, entry->string, "%s lists it, no file stores it", index)) return;
    const char *file = cJSON_IsString(entry) ? entry->valuestring : "";
    gs_report_that(&s->report, GS_CHECK_INDEX, strcmp(file, s->weights[t->file]) == 0, entry->string, "%s says '%.120s', it is in %s",
              index, file, s->weights[t->file]);
}

/* A set of the index's keys, so that the other direction is no search. */
static gs_status check_listed(gs_subject *s, const char *index, const cJSON *map, gs_error *err) {
    gs_map keys = {0};
    const cJSON *entry;
    gs_status status = GS_OK;
    cJSON_ArrayForEach(entry, map) {
        status = gs_map_put(&keys, entry->string, strlen(entry->string), 1, NULL, err);
        if (status != GS_OK) break;
    }
    for (size_t i = 0; i < s->tensors && status == GS_OK; i++) {
        int64_t one;
        const char *name = s->tensor[i].t->name;
        gs_report_that(&s->report, GS_CHECK_INDEX, gs_map_get(&keys, name, strlen(name), &one), name, "%s does not list it", index);
    }
    gs_map_clear(&keys);
    return status;
}

static gs_status check_index(gs_subject *s, const char *index, const cJSON *json, gs_error *err) {
    const cJSON *map = gs_json_get(json, "weight_map"), *entry;
    if (!gs_report_that(&s->report, GS_CHECK_INDEX, cJSON_IsObject(map), index, "no \"weight_map\" object")) return GS_OK;
    cJSON_ArrayForEach(entry, map) check_entry(s, index, entry);
    const cJSON *size = gs_json_get(gs_json_get(json, "metadata"), "total_size");
    int64_t total = -1;
    gs_report_that(&s->report, GS_CHECK_INDEX_SIZE, gs_json_is_int(size, &total) && (uint64_t)total == s->bytes, index,
              "total_size %lld, the tensors have %llu bytes", (long long)total, (unsigned long long)s->bytes);
    return check_listed(s, index, map, err);
}

gs_status gs_verify_index(gs_subject *s, gs_error *err) {
    char own[300];
    bool met = false;
    own_index(s, own);
    for (size_t i = 0; i < s->name_count; i++) {
        const char *name = s->names[i];
        size_t n = strlen(name);
        if (!gs_ends_with(name, ".index.json")) continue;
        if (!gs_report_that(&s->report, GS_CHECK_STALE_INDEX, strcmp(name, own) == 0, name, "the index of these weights is %s", own))
            continue;
        met = true;
        cJSON *json = NULL;
        gs_error why = {0};
        char *path = gs_subject_path(s, name);
        if (!path) return gs_error_nomem(err, n);
        gs_status status = gs_json_load(path, MAX_INDEX, &json, &why);
        gs_free(path);
        if (status == GS_E_NOMEM) return gs_error_nomem(err, n);
        if (gs_report_that(&s->report, GS_CHECK_INDEX, status == GS_OK, name, "%s", why.text)) status = check_index(s, own, json, err);
        else status = GS_OK;
        cJSON_Delete(json);
        GS_TRY(status);
    }
    if (s->own_files > 1) gs_report_that(&s->report, GS_CHECK_INDEX, met, own, "it is missing beside %zu weight files", s->own_files);
    return GS_OK;
}
