#include <deploy/bundle_private.h>

#include <base/file.h>
#include <base/mem.h>

#include <string.h>

enum { MAX_CONFIG = 16 << 20 };

static const gs_bundle_reader *const readers[] = {
#define X(name) &gs_bundle_reader_##name,
    GS_BUNDLE_READER_LIST(X)
#undef X
};

/* The document, or NULL: what is wrong with it is said by whoever opens the path. */
static cJSON *load_config(const char *path) {
    cJSON *json = NULL;
    char *file = gs_path_is_dir(path) ? gs_path_join(path, "config.json") : NULL;
    if (file && gs_path_exists(file) && gs_json_load(file, MAX_CONFIG, &json, NULL) != GS_OK) json = NULL;
    gs_free(file);
    return json;
}

static const gs_bundle_reader *find_reader(const char *path, const gs_bundle_open_options *options) {
    const gs_bundle_reader *found = NULL;
    cJSON *config = load_config(path);
    for (size_t i = 0; i < GS_COUNTOF(readers) && !found; i++)
        if (readers[i]->detect(path, config, options)) found = readers[i];
    cJSON_Delete(config);
    return found;
}

bool gs_bundle_is_float(const gs_bundle *b) {
    const gs_bundle_content *c = &b->content;
    int64_t quantized = 0;
    for (int s = GS_SCHEME_FLOAT + 1; s < GS_SCHEME_COUNT; s++) quantized += c->linears[s];
    return quantized == 0 && !c->caches && !c->rewrite && strcmp(c->dominant, gs_scheme_name(GS_SCHEME_FLOAT)) == 0;
}

const char *gs_bundle_type(const gs_bundle *b) { return b->content.dominant; }
const char *gs_bundle_format_name(const gs_bundle *b) { return b->reader->name; }

void gs_bundle_close(gs_bundle *b) {
    if (!b) return;
    gs_content_clear(&b->content);
    gs_free(b);
}

static const char *most_frequent(const gs_bundle_content *c) {
    int best = GS_SCHEME_FLOAT;
    for (int s = GS_SCHEME_FLOAT + 1; s < GS_SCHEME_COUNT; s++)
        if (c->linears[s] > c->linears[best]) best = s;
    return gs_scheme_name((gs_scheme)best);
}

static gs_status fill(gs_bundle *b, const char *path, const gs_bundle_open_options *options, gs_error *err) {
    gs_bundle_content *c = &b->content;
    b->options = *options;
    b->options.config = NULL; /* the caller's string */
    GS_TRY(b->reader->open(path, options, c, err));
    if (!c->dominant) c->dominant = most_frequent(c);
    return gs_checkpoint_present(c->checkpoint, c->tensor, c->count, err);
}

gs_status gs_bundle_open(const char *path, const gs_bundle_open_options *options, gs_bundle **out,
                         gs_checkpoint **checkpoint, gs_error *err) {
    static const gs_bundle_open_options defaults;
    if (!options) options = &defaults;
    const gs_bundle_reader *reader = find_reader(path, options);
    *out = NULL;
    *checkpoint = NULL;
    if (!reader) return GS_OK;
    gs_bundle *b = gs_calloc(1, sizeof *b);
    if (!b) return gs_error_nomem(err, sizeof *b);
    b->reader = reader;
    gs_status status = fill(b, path, options, err);
    if (status != GS_OK) {
        gs_error_at(err, "%s", path);
        gs_bundle_close(b);
        return status;
    }
    *checkpoint = b->content.checkpoint;
    b->stored = b->content.checkpoint;
    b->content.checkpoint = NULL;
    *out = b;
    return GS_OK;
}
