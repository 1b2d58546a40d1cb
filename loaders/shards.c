#include <loaders/shards.h>

#include <base/json.h>
#include <base/map.h>
#include <base/mem.h>
#include <base/strbuf.h>
#include <base/utf8.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* The map of a million tensors with long names still fits. */
enum { MAX_INDEX_BYTES = 256 << 20 };

struct gs_shards {
    gs_shard_file *files;
    char **names; /* of the files, for messages */
    size_t nfiles;
    const gs_tensor **tensors; /* all of them, shard by shard */
    size_t count;
    gs_map by_name; /* tensor name -> place in tensors */
    bool torch;     /* a file of PyTorch's is among them */
};

void gs_shards_close(gs_shards *s) {
    if (!s) return;
    gs_map_clear(&s->by_name);
    gs_free(s->tensors);
    for (size_t i = 0; i < s->nfiles; i++) gs_shard_file_close(&s->files[i]);
    gs_free(s->files);
    gs_strlist_free(s->names, s->nfiles);
    gs_free(s);
}

/* Room for nfiles; the names move in, the files are opened later. */
static gs_shards *create(size_t nfiles) {
    gs_shards *s = gs_calloc(1, sizeof *s);
    if (!s) return NULL;
    s->files = gs_calloc(nfiles, sizeof *s->files);
    s->names = gs_calloc(nfiles, sizeof *s->names);
    if (s->files && s->names) {
        s->nfiles = nfiles;
        return s;
    }
    gs_shards_close(s);
    return NULL;
}

/* Which shard holds the tensor at this place of the list. */
static size_t shard_of(const gs_shards *s, size_t place) {
    size_t shard = 0;
    for (size_t end = 0; shard < s->nfiles; shard++) {
        end += gs_shard_file_count(&s->files[shard]);
        if (place < end) break;
    }
    return shard;
}

/* Builds the list and the look-up from the open files. */
static gs_status merge(gs_shards *s, gs_error *err) {
    size_t total = 0;
    for (size_t f = 0; f < s->nfiles; f++) s->torch |= s->files[f].torch != NULL;
    for (size_t f = 0; f < s->nfiles; f++) total += gs_shard_file_count(&s->files[f]);
    s->tensors = gs_calloc(total, sizeof *s->tensors);
    if (!s->tensors) return gs_error_nomem(err, total * sizeof *s->tensors);
    GS_TRY(gs_map_reserve(&s->by_name, total, err));
    for (size_t f = 0; f < s->nfiles; f++) {
        for (size_t i = 0; i < gs_shard_file_count(&s->files[f]); i++) {
            const gs_tensor *t = gs_shard_file_at(&s->files[f], i);
            size_t length = strlen(t->name);
            bool twice;
            GS_TRY(gs_map_put(&s->by_name, t->name, length, (int64_t)s->count, &twice, err));
            if (twice) {
                int64_t first = 0;
                gs_map_get(&s->by_name, t->name, length, &first);
                return GS_FAIL(err, GS_E_FORMAT, "tensor '%.200s' is in '%s' and in '%s'", t->name,
                               s->names[shard_of(s, (size_t)first)], s->names[f]);
            }
            s->tensors[s->count++] = t;
        }
    }
    return GS_OK;
}

gs_status gs_shards_open_file(const char *path, gs_shards **out, gs_error *err) {
    *out = NULL;
    gs_shards *s = create(1);
    if (!s) return gs_error_nomem(err, sizeof *s);
    gs_status status = GS_OK;
    s->names[0] = gs_strdup(path);
    if (!s->names[0]) status = gs_error_nomem(err, strlen(path) + 1);
    if (status == GS_OK) status = gs_shard_file_open(&s->files[0], path, err);
    if (status == GS_OK) status = merge(s, err);
    if (status == GS_OK) *out = s;
    else gs_shards_close(s);
    return status;
}

/* A name in an index must stay inside the index's directory. */
static bool is_plain_file_name(const char *name) {
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return false;
    return !strpbrk(name, "/\\") && gs_utf8_is_plain(name, strlen(name));
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The different file names of the map, sorted; they stay the tree's. */
static gs_status file_names(const cJSON *map, const char **names, size_t *count,
                            gs_error *err) {
    const cJSON *entry;
    size_t n = 0;
    cJSON_ArrayForEach(entry, map) {
        if (!cJSON_IsString(entry))
            return GS_FAIL(err, GS_E_FORMAT, "weight_map: the shard of '%.200s' is not a string",
                           entry->string);
        const char *name = entry->valuestring;
        if (!is_plain_file_name(name))
            return GS_FAIL(err, GS_E_FORMAT,
                           "weight_map: the shard of '%.200s' is '%.200s', not a plain file name",
                           entry->string, name);
        /* most entries name the same file as their neighbour */
        if (n == 0 || strcmp(names[n - 1], name) != 0) names[n++] = name;
    }
    if (n) qsort(names, n, sizeof *names, by_text);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || strcmp(names[kept - 1], names[i]) != 0) names[kept++] = names[i];
    *count = kept;
    return GS_OK;
}

static gs_status open_shard(gs_shards *s, size_t i, const char *dir, gs_error *err) {
    char *path = gs_path_join(dir, s->names[i]);
    if (!path) return gs_error_nomem(err, strlen(dir) + strlen(s->names[i]) + 2);
    gs_status status = gs_path_exists(path)
                           ? gs_shard_file_open(&s->files[i], path, err)
                           : GS_FAIL(err, GS_E_FORMAT, "the shard '%s' is missing", path);
    gs_free(path);
    return status;
}

gs_status gs_shards_open_files(const char *dir, const char *const *names, size_t n, gs_shards **out,
                               gs_error *err) {
    *out = NULL;
    gs_shards *s = create(n);
    if (!s) return gs_error_nomem(err, n * sizeof *s->files);
    gs_status status = GS_OK;
    for (size_t i = 0; i < n && status == GS_OK; i++) {
        if (!is_plain_file_name(names[i])) {
            status = GS_FAIL(err, GS_E_FORMAT, "'%.200s' is not a plain file name", names[i]);
            break;
        }
        s->names[i] = gs_strdup(names[i]);
        if (!s->names[i]) status = gs_error_nomem(err, strlen(names[i]) + 1);
        else status = open_shard(s, i, dir, err);
    }
    if (status == GS_OK) status = merge(s, err);
    if (status == GS_OK) *out = s;
    else gs_shards_close(s);
    return status;
}

static gs_status open_shards(const cJSON *map, const char *dir, gs_shards **out,
                             gs_error *err) {
    const cJSON *entry;
    size_t entries = 0, count = 0;
    cJSON_ArrayForEach(entry, map) entries++;
    if (entries == 0) return GS_FAIL(err, GS_E_FORMAT, "weight_map is empty");
    const char **names = gs_calloc(entries, sizeof *names);
    if (!names) return gs_error_nomem(err, entries * sizeof *names);
    gs_status status = file_names(map, names, &count, err);
    gs_shards *s = status == GS_OK ? create(count) : NULL;
    if (status == GS_OK && !s) status = gs_error_nomem(err, count * sizeof *s->files);
    for (size_t i = 0; i < count && status == GS_OK; i++) {
        s->names[i] = gs_strdup(names[i]);
        if (!s->names[i]) status = gs_error_nomem(err, strlen(names[i]) + 1);
        else status = open_shard(s, i, dir, err);
    }
    gs_free(names);
    *out = s;
    return status;
}

static gs_status check_entry(const gs_shards *s, const cJSON *entry, bool *seen,
                             gs_error *err) {
    char **found = bsearch(&entry->valuestring, s->names, s->nfiles, sizeof *s->names, by_text);
    assert(found); /* the names were collected from these entries */
    size_t shard = (size_t)(found - s->names);
    int64_t place = 0;
    bool there = gs_map_get(&s->by_name, entry->string, strlen(entry->string), &place);
    if (!there || shard_of(s, (size_t)place) != shard)
        return GS_FAIL(err, GS_E_FORMAT,
                       "tensor '%.200s' is not in '%s', where weight_map puts it", entry->string, s->names[shard]);
    seen[place] = true;
    return GS_OK;
}

/* Every entry in the shard it names, and no tensor that the map does not know. */
static gs_status check_map(const gs_shards *s, const cJSON *map, gs_error *err) {
    const cJSON *entry;
    gs_status status = GS_OK;
    bool *seen = gs_calloc(s->count, sizeof *seen);
    if (!seen) return gs_error_nomem(err, s->count * sizeof *seen);
    cJSON_ArrayForEach(entry, map) {
        if (status == GS_OK) status = check_entry(s, entry, seen, err);
    }
    for (size_t i = 0; i < s->count && status == GS_OK; i++) {
        if (!seen[i])
            status = GS_FAIL(err, GS_E_FORMAT, "tensor '%.200s' of '%s' is not in weight_map",
                             s->tensors[i]->name, s->names[shard_of(s, i)]);
    }
    gs_free(seen);
    return status;
}

/* PyTorch shares storages, and whoever wrote an index may have counted a shared one once. */
static bool is_total_without_shared(const gs_shards *s, uint64_t total) {
    gs_map seen = {0};
    uint64_t sum = 0;
    bool whole = gs_map_reserve(&seen, s->count, NULL) == GS_OK;
    for (size_t i = 0; i < s->count && whole; i++) {
        if (s->tensors[i]->bytes == 0) continue;
        bool again = false;
        /* the address is the key: two views of one place are one */
        whole = gs_map_put(&seen, (const char *)&s->tensors[i]->data, sizeof s->tensors[i]->data, 0, &again, NULL) == GS_OK;
        sum += again ? 0 : s->tensors[i]->bytes;
    }
    gs_map_clear(&seen);
    return whole && sum == total;
}

static gs_status check_total(const gs_shards *s, const cJSON *index, gs_error *err) {
    const cJSON *metadata = gs_json_get(index, "metadata");
    const cJSON *item = gs_json_get(metadata, "total_size");
    int64_t total = 0;
    uint64_t sum = 0; /* of sizes of mapped files: no overflow */
    if (!item || cJSON_IsNull(item)) return GS_OK;
    GS_TRY(gs_json_int(metadata, "total_size", &total, err));
    for (size_t i = 0; i < s->count; i++) sum += s->tensors[i]->bytes;
    if ((uint64_t)total == sum) return GS_OK; /* a negative one is beyond any sum */
    if (s->torch && is_total_without_shared(s, (uint64_t)total)) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "metadata.total_size is %lld, the tensors have %llu bytes",
                   (long long)total, (unsigned long long)sum);
}

static gs_status open_from_index(const cJSON *index, const char *dir, gs_shards **out,
                                 gs_error *err) {
    const cJSON *map = gs_json_get(index, "weight_map");
    if (!cJSON_IsObject(map)) return GS_FAIL(err, GS_E_FORMAT, "there is no weight_map object");
    GS_TRY(open_shards(map, dir, out, err));
    GS_TRY(merge(*out, err));
    GS_TRY(check_map(*out, map, err));
    return check_total(*out, index, err);
}

/* The directory part of a path, in fresh memory. */
static char *directory_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return gs_strdup(".");
    return gs_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

gs_status gs_shards_open_index(const char *index_path, gs_shards **out, gs_error *err) {
    cJSON *index;
    *out = NULL;
    char *dir = directory_of(index_path);
    if (!dir) return gs_error_nomem(err, strlen(index_path) + 1);
    gs_status status = gs_json_load(index_path, MAX_INDEX_BYTES, &index, err);
    if (status == GS_OK) {
        status = open_from_index(index, dir, out, err);
        if (status != GS_OK) gs_error_at(err, "%s", index_path);
        cJSON_Delete(index);
    }
    gs_free(dir);
    if (status != GS_OK) {
        gs_shards_close(*out);
        *out = NULL;
    }
    return status;
}

static char *weights_path(const char *dir, const char *stem, const char *suffix) {
    gs_strbuf name = {0};
    gs_strbuf_puts(&name, stem);
    gs_strbuf_puts(&name, suffix);
    char *path = name.failed ? NULL : gs_path_join(dir, name.data);
    gs_strbuf_clear(&name);
    return path;
}

/* How the weights of a directory may be called, first come first served. A NULL stem is the caller's. */
static const struct {
    const char *stem, *suffix;
    bool index;
} weights[] = {
    {NULL, ".safetensors.index.json", true},
    {NULL, ".safetensors", false},
    {"pytorch_model", ".bin.index.json", true},
    {"pytorch_model", ".bin", false},
};

/* The first that is there; the model's own stem only has PyTorch's form. *path stays NULL when none is. */
static gs_status find_weights(const char *dir, const char *stem, size_t *kind, char **path, gs_error *err) {
    bool torch_too = strcmp(stem, "model") == 0;
    *path = NULL;
    for (size_t i = 0; i < GS_COUNTOF(weights); i++) {
        if (weights[i].stem && !torch_too) continue;
        *path = weights_path(dir, weights[i].stem ? weights[i].stem : stem, weights[i].suffix);
        *kind = i;
        if (!*path) return gs_error_nomem(err, strlen(dir) + strlen(stem) + 32);
        if (gs_path_exists(*path)) return GS_OK;
        gs_free(*path);
        *path = NULL;
    }
    GS_FAIL(err, GS_E_FORMAT, "'%s' has neither %s.safetensors.index.json nor %s.safetensors%s", dir, stem, stem,
            torch_too ? " nor pytorch_model.bin" : "");
    return GS_E_FORMAT;
}

bool gs_shards_in_dir(const char *dir) {
    char *path;
    size_t kind;
    bool there = find_weights(dir, "model", &kind, &path, NULL) == GS_OK;
    gs_free(path);
    return there;
}

gs_status gs_shards_open_dir(const char *dir, const char *stem, gs_shards **out,
                             gs_error *err) {
    char *path;
    size_t kind = 0;
    *out = NULL;
    GS_TRY(find_weights(dir, stem, &kind, &path, err));
    gs_status status = weights[kind].index ? gs_shards_open_index(path, out, err) : gs_shards_open_file(path, out, err);
    gs_free(path);
    return status;
}

size_t gs_shards_count(const gs_shards *s) {
    return s->count;
}

const gs_tensor *gs_shards_at(const gs_shards *s, size_t i) {
    return i < s->count ? s->tensors[i] : NULL;
}

const gs_tensor *gs_shards_find(const gs_shards *s, const char *name) {
    int64_t i;
    return gs_map_get(&s->by_name, name, strlen(name), &i) ? s->tensors[i] : NULL;
}

bool gs_shards_are_torch(const gs_shards *s) {
    return s->torch;
}

size_t gs_shards_files(const gs_shards *s) {
    return s->nfiles;
}

const gs_safetensors *gs_shards_file(const gs_shards *s, size_t i) {
    return i < s->nfiles ? s->files[i].safetensors : NULL;
}

void gs_shards_drop(const gs_shards *s, const gs_tensor *t) {
    for (size_t f = 0; f < s->nfiles; f++)
        if (gs_shard_file_drop(&s->files[f], t)) return;
}
