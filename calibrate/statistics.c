#include <calibrate/statistics_info.h>

#include <base/file.h>
#include <base/map.h>
#include <base/mem.h>
#include <loaders/safetensors.h>

#include <string.h>

enum { MAX_JSON = 256 << 20 };

struct gs_statistics {
    gs_statistics_info info;
    gs_statistics_row *edges;
    int64_t count;
    gs_map by_name;
    gs_safetensors *tensors;
};

static gs_status read_edges(gs_statistics *s, const cJSON *edges, gs_error *err) {
    const cJSON *item;
    if (!cJSON_IsArray(edges)) return GS_FAIL(err, GS_E_FORMAT, "'edges' is not an array");
    size_t n = (size_t)cJSON_GetArraySize(edges);
    s->edges = gs_calloc(n, sizeof *s->edges);
    if (!s->edges) return gs_error_nomem(err, n * sizeof *s->edges);
    GS_TRY(gs_map_reserve(&s->by_name, n, err));
    cJSON_ArrayForEach(item, edges) {
        gs_statistics_row *e = &s->edges[s->count];
        bool twice;
        GS_TRY(gs_statistics_row_read(item, e, err));
        s->count++;
        GS_TRY(gs_map_put(&s->by_name, e->name, strlen(e->name), s->count - 1, &twice, err));
        if (twice) return GS_FAIL(err, GS_E_FORMAT, "edge '%.200s' is there twice", e->name);
    }
    return GS_OK;
}

static gs_status read_json(gs_statistics *s, const cJSON *json, gs_error *err) {
    const char *format = "";
    int64_t version = -1;
    GS_TRY(gs_json_string(json, "format", &format, err));
    if (strcmp(format, GS_STATISTICS_FORMAT) != 0)
        return GS_FAIL(err, GS_E_FORMAT, "'format' is not '%s'", GS_STATISTICS_FORMAT);
    GS_TRY(gs_json_int(json, "version", &version, err));
    if (version != GS_STATISTICS_VERSION) {
        GS_FAIL(err, GS_E_FORMAT, "version %lld of the statistics format, this program reads %d",
                (long long)version, GS_STATISTICS_VERSION);
        gs_error_hint(err, "calibrate again with this version of gstick");
        return GS_E_FORMAT;
    }
    GS_TRY(gs_statistics_info_read(json, &s->info, err));
    return read_edges(s, gs_json_get(json, "edges"), err);
}

static gs_status load_json(gs_statistics *s, const char *dir, gs_error *err) {
    cJSON *json = NULL;
    char *path = gs_path_join(dir, GS_STATISTICS_JSON);
    if (!path) return gs_error_nomem(err, strlen(dir));
    gs_status status = gs_json_load(path, MAX_JSON, &json, err);
    if (status == GS_OK && (status = read_json(s, json, err)) != GS_OK) gs_error_at(err, "%s", path);
    cJSON_Delete(json);
    gs_free(path);
    return status;
}

static gs_status load_tensors(gs_statistics *s, const char *dir, gs_error *err) {
    char *path = gs_path_join(dir, GS_STATISTICS_TENSORS);
    if (!path) return gs_error_nomem(err, strlen(dir));
    gs_status status = gs_safetensors_open(path, &s->tensors, err);
    gs_free(path);
    return status;
}

static gs_status find_part(const gs_statistics *s, const char *edge_name, const gs_statistics_part *p,
                           const gs_tensor **out, gs_error *err) {
    char text[128], *name = gs_statistics_tensor(edge_name, p->ending);
    if (!name) return gs_error_nomem(err, strlen(edge_name) + 16);
    const gs_tensor *t = gs_safetensors_find(s->tensors, name);
    gs_free(name);
    if (!t) return GS_FAIL(err, GS_E_FORMAT, "there is no tensor '%.200s.%s'", edge_name, p->ending);
    if (t->dtype != p->dtype || t->ndim != p->ndim
        || memcmp(t->shape, p->shape, (size_t)p->ndim * sizeof *p->shape) != 0)
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%.200s' is %s %s", t->name, gs_dtype_name(t->dtype),
                       gs_tensor_shape_text(t, text, sizeof text));
    *out = t;
    return GS_OK;
}

/* The tensors of an edge, found where the sizes in statistics.json say: only then is memory of
 * those sizes asked for. */
static gs_status find_parts(const gs_statistics *s, const gs_statistics_row *e, const gs_tensor *out[GS_STATISTICS_PARTS],
                            gs_error *err) {
    gs_statistics_part parts[GS_STATISTICS_PARTS];
    gs_statistics_parts(&(gs_observer){.width = e->width, .sample_rows = e->sample_rows}, parts);
    for (int i = 0; i < GS_STATISTICS_PARTS; i++) GS_TRY(find_part(s, e->name, &parts[i], &out[i], err));
    return GS_OK;
}

static void copy_parts(const gs_statistics *s, const gs_tensor *tensors[GS_STATISTICS_PARTS], gs_observer *o) {
    gs_statistics_part parts[GS_STATISTICS_PARTS];
    const gs_filemap *file = gs_safetensors_file(s->tensors);
    gs_statistics_parts(o, parts);
    for (int i = 0; i < GS_STATISTICS_PARTS; i++) {
        if (!parts[i].bytes) continue;
        memcpy(parts[i].data, tensors[i]->data, parts[i].bytes);
        gs_filemap_drop(file, (size_t)(tensors[i]->data - file->data), parts[i].bytes);
    }
}

static gs_status load_edge(const gs_statistics *s, const gs_statistics_row *e, gs_observer *out, gs_error *err) {
    const gs_tensor *tensors[GS_STATISTICS_PARTS];
    *out = (gs_observer){0};
    GS_TRY(find_parts(s, e, tensors, err));
    GS_TRY(gs_observer_init(out, e->name, e->width, e->sample_rows, err));
    out->rows = e->rows;
    out->sample_rows = e->sample_rows;
    out->token_absmax_sum = e->token_absmax_sum;
    out->token_absmax_max = e->token_absmax_max;
    copy_parts(s, tensors, out);
    return GS_OK;
}

static gs_status check_edges(const gs_statistics *s, gs_error *err) {
    for (int64_t i = 0; i < s->count; i++) {
        gs_observer o;
        GS_TRY(load_edge(s, &s->edges[i], &o, err));
        gs_status status = gs_statistics_check(&o, err);
        if (status != GS_OK) gs_error_at(err, "'%.200s'", o.name);
        gs_observer_clear(&o);
        GS_TRY(status);
    }
    size_t tensors = gs_safetensors_count(s->tensors);
    if (tensors != (size_t)s->count * GS_STATISTICS_PARTS)
        return GS_FAIL(err, GS_E_FORMAT, "%zu tensors, the %lld edges have %lld", tensors, (long long)s->count,
                       (long long)s->count * GS_STATISTICS_PARTS);
    return GS_OK;
}

static gs_status open_all(gs_statistics *s, const char *path, gs_error *err) {
    GS_TRY(load_json(s, path, err));
    GS_TRY(load_tensors(s, path, err));
    gs_status status = check_edges(s, err);
    if (status != GS_OK) gs_error_at(err, "%s/%s", path, GS_STATISTICS_TENSORS);
    return status;
}

gs_status gs_statistics_open(const char *path, gs_statistics **out, gs_error *err) {
    *out = NULL;
    if (!gs_path_is_dir(path)) {
        GS_FAIL(err, GS_E_FORMAT, "'%s' is not a directory", path);
        gs_error_hint(err, "statistics are the directory that calibration writes");
        return GS_E_FORMAT;
    }
    gs_statistics *s = gs_calloc(1, sizeof *s);
    if (!s) return gs_error_nomem(err, sizeof *s);
    gs_status status = open_all(s, path, err);
    if (status == GS_OK) *out = s;
    else gs_statistics_close(s);
    return status;
}

void gs_statistics_close(gs_statistics *s) {
    if (!s) return;
    gs_safetensors_close(s->tensors);
    gs_map_clear(&s->by_name);
    for (int64_t i = 0; i < s->count; i++) gs_free(s->edges[i].name);
    gs_free(s->edges);
    gs_free(s);
}

const gs_statistics_info *gs_statistics_about(const gs_statistics *s) {
    return &s->info;
}

int64_t gs_statistics_count(const gs_statistics *s) {
    return s->count;
}

const char *gs_statistics_edge(const gs_statistics *s, int64_t i) {
    return i >= 0 && i < s->count ? s->edges[i].name : NULL;
}

static gs_status find_edge(const gs_statistics *s, const char *name, const gs_statistics_row **out, gs_error *err) {
    int64_t i;
    if (!gs_map_get(&s->by_name, name, strlen(name), &i)) {
        GS_FAIL(err, GS_E_FORMAT, "there are no statistics of '%.200s'", name);
        gs_error_hint(err, "calibrate again: these statistics are of another model or of other edges");
        return GS_E_FORMAT;
    }
    *out = &s->edges[i];
    return GS_OK;
}

gs_status gs_statistics_sizes(const gs_statistics *s, const char *name, int64_t *width, int64_t *sample_rows,
                              gs_error *err) {
    const gs_statistics_row *e;
    GS_TRY(find_edge(s, name, &e, err));
    *width = e->width;
    *sample_rows = e->sample_rows;
    return GS_OK;
}

gs_status gs_statistics_read(const gs_statistics *s, const char *name, gs_observer *out, gs_error *err) {
    const gs_statistics_row *e;
    *out = (gs_observer){0};
    GS_TRY(find_edge(s, name, &e, err));
    return load_edge(s, e, out, err);
}
