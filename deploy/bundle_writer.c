/* The one writer: asks the format which tensors a segment has, plans and puts them into the container, lets the
 * format add its side files, and shows the directory whole. */
#include <base/file.h>
#include <base/mem.h>
#include <deploy/bundle_writer.h>
#include <deploy/container.h>
#include <deploy/side_files.h>
#include <deploy/stored.h>
#include <loaders/tensor_plan.h>

#include <string.h>

struct gs_bundle_writer {
    gs_context *cx;
    const gs_bundle_format *format;
    gs_bundle_options options;
    gs_bundle_facts facts;
    gs_outdir *dir;
    gs_container_file *file;
    char *path;
    gs_tensor_plan plan;
    const char **type; /* of each planned tensor */
    size_t types_cap;
    size_t next; /* the first tensor that is not written yet */
};

struct gs_sink {
    gs_bundle_writer *w;
    size_t index;
    uint64_t done;
};

void gs_bundle_writer_abort(gs_bundle_writer *w) {
    if (!w) return;
    w->format->container->abort(w->file);
    gs_outdir_abort(w->dir);
    gs_tensor_plan_clear(&w->plan);
    gs_free(w->type);
    gs_free(w->path);
    gs_free(w);
}

gs_status gs_bundle_writer_create(gs_context *cx, const gs_bundle_format *format, const char *path,
                                  const gs_bundle_options *options, gs_bundle_writer **out, gs_error *err) {
    gs_bundle_writer *w = gs_calloc(1, sizeof *w);
    if (!w) return gs_error_nomem(err, sizeof *w);
    *w = (gs_bundle_writer){.cx = cx, .format = format, .options = *options, .path = gs_strdup(path)};
    gs_status status = w->path ? gs_outdir_create(path, &w->dir, err) : gs_error_nomem(err, 256);
    if (status == GS_OK)
        status = format->container->create(cx, gs_outdir_path(w->dir), &format->naming, &w->options, &w->file, err);
    if (status != GS_OK) {
        gs_bundle_writer_abort(w);
        return status;
    }
    *out = w;
    return GS_OK;
}

/* ---- planning ---- */

static gs_status reserve_type(gs_bundle_writer *w, gs_error *err) {
    if (w->plan.count < w->types_cap) return GS_OK;
    size_t cap = w->types_cap ? 2 * w->types_cap : 256;
    const char **grown = gs_realloc(w->type, cap, sizeof *grown);
    if (!grown) return gs_error_nomem(err, cap * sizeof *grown);
    w->type = grown;
    w->types_cap = cap;
    return GS_OK;
}

static gs_status append(gs_bundle_writer *w, const gs_stored *t, gs_error *err) {
    size_t i = w->plan.count;
    GS_TRY(reserve_type(w, err));
    GS_TRY(gs_tensor_plan_add(&w->plan, t->name, t->dtype, t->ndim, t->shape, err));
    w->type[i] = t->type;
    w->facts.tensor_bytes = w->plan.total;
    return w->format->container->plan(w->file, t->name, t->dtype, t->ndim, t->shape, err);
}

/* A gs_stored_emit; ctx is the writer. */
static gs_status plan_tensor(void *ctx, const gs_stored *t, gs_error *err) {
    gs_bundle_writer *w = ctx;
    if (strlen(t->name) + 1 == sizeof t->name) /* or it was cut, and another may be cut to the same */
        return GS_FAIL(err, GS_E_INVALID, "'%.100s...': the name is too long", t->name);
    if (!gs_bundle_writer_has(w, t->name)) return append(w, t, err);
    if (t->param && (t->param->row_factor || t->param->col_factor)) /* a tied tensor is stored once */
        return GS_FAIL(err, GS_E_INVALID, "tensor '%s' is shared, but scaled for one of its readers", t->name);
    return GS_OK;
}

/* ascend-bundles.md 4.1: which scheme names the whole. */
static int rank(gs_scheme s) {
    static const gs_scheme rising[] = {GS_SCHEME_FLOAT, GS_SCHEME_W4A16, GS_SCHEME_W8A16, GS_SCHEME_W8A8_DYNAMIC,
                                       GS_SCHEME_W8A8_MIX, GS_SCHEME_W8A8};
    for (size_t i = 0; i < GS_COUNTOF(rising); i++)
        if (rising[i] == s) return (int)i;
    return -1;
}

static void learn(gs_bundle_facts *f, const gs_node *node) {
    if (node->param[GS_ROLE_CACHE_SCALE]) f->cache = true;
    if (!gs_node_is_linear(node)) return;
    gs_scheme scheme = gs_node_scheme(node);
    int64_t n, k, groups = gs_node_groups(node);
    f->schemes |= 1u << scheme;
    if (rank(scheme) > rank(f->dominant)) f->dominant = scheme;
    if (scheme == GS_SCHEME_FLOAT) return;
    gs_node_weight_shape(node, &n, &k);
    int64_t group = groups > 1 ? k / groups : 0;
    if (f->quantized++ > 0 && group != f->group_size) f->mixed_groups = true;
    if (group > f->group_size) f->group_size = group;
}

gs_status gs_bundle_writer_plan(gs_bundle_writer *w, const gs_net *segment, gs_error *err) {
    const gs_bundle_format *f = w->format;
    if (f->permits_segment) GS_TRY(f->permits_segment(&w->options, segment, err));
    for (int i = 0; i < gs_net_node_count(segment); i++) {
        const gs_node *node = gs_net_node(segment, i);
        GS_TRY(f->permits(&w->options, node, err));
        GS_TRY(f->tensors(&w->options, node, plan_tensor, w, err));
        learn(&w->facts, node);
    }
    return GS_OK;
}

gs_status gs_bundle_writer_begin(gs_bundle_writer *w, gs_error *err) {
    enum { SIDE_FILES = 64 << 20 }; /* tokenizers and JSON, generously */
    int64_t room = gs_path_free_bytes(gs_outdir_path(w->dir));
    if (w->plan.count == 0) return GS_FAIL(err, GS_E_INVALID, "nothing to write");
    if (w->format->permits_bundle) GS_TRY(w->format->permits_bundle(w, err));
    uint64_t need = w->format->container->bytes(w->file) + SIDE_FILES;
    if (room >= 0 && (uint64_t)room < need) {
        GS_FAIL(err, GS_E_NOSPACE, "%s: the bundle needs %.2f GB, %.2f GB are free", w->path, (double)need / 1e9,
                (double)room / 1e9);
        return gs_error_hint(err, "free some space or choose another -o");
    }
    return w->format->container->begin(w->file, &w->facts, err);
}

/* ---- writing ---- */

static bool as_planned(const gs_planned *e, const gs_stored *t) {
    bool same = e->dtype == t->dtype && e->ndim == t->ndim;
    for (int i = 0; i < t->ndim && same; i++) same = e->shape[i] == t->shape[i];
    return same;
}

/* A gs_stored_emit; ctx is the writer. */
static gs_status write_tensor(void *ctx, const gs_stored *t, gs_error *err) {
    gs_bundle_writer *w = ctx;
    size_t at;
    if (!gs_tensor_plan_find(&w->plan, t->name, &at))
        return GS_FAIL(err, GS_E_INVALID, "tensor '%s' was not planned", t->name);
    if (at < w->next) return GS_OK; /* a tied tensor, stored by an earlier segment */
    const gs_planned *e = &w->plan.entry[at];
    if (at != w->next || !as_planned(e, t))
        return GS_FAIL(err, GS_E_INVALID, "tensor '%s' is not what was planned here", t->name);
    gs_sink sink = {.w = w, .index = w->next++};
    GS_TRY(t->encode(t, &sink, err));
    if (sink.done != e->bytes)
        return GS_FAIL(err, GS_E_INVALID, "tensor '%s': %llu of %llu bytes were made", t->name,
                       (unsigned long long)sink.done, (unsigned long long)e->bytes);
    return GS_OK;
}

gs_status gs_bundle_writer_write(gs_bundle_writer *w, const gs_net *segment, gs_error *err) {
    if (w->format->permits_segment) /* now that there are values */
        GS_TRY(w->format->permits_segment(&w->options, segment, err));
    for (int i = 0; i < gs_net_node_count(segment); i++)
        GS_TRY(w->format->tensors(&w->options, gs_net_node(segment, i), write_tensor, w, err));
    return GS_OK;
}

gs_status gs_sink_put(gs_sink *sink, const void *data, size_t n, gs_error *err) {
    const gs_planned *e = &sink->w->plan.entry[sink->index];
    if (n > e->bytes - sink->done) return GS_FAIL(err, GS_E_INVALID, "tensor '%s': more bytes than planned", e->name);
    sink->done += n;
    return sink->w->format->container->put(sink->w->file, sink->index, data, n, err);
}

gs_context *gs_sink_context(gs_sink *sink) { return sink->w->cx; }
const gs_bundle_options *gs_sink_options(const gs_sink *sink) { return &sink->w->options; }

/* ---- finishing ---- */

gs_status gs_bundle_writer_add_file(gs_bundle_writer *w, const char *name, const char *text, size_t len, gs_error *err) {
    return gs_side_write(gs_outdir_path(w->dir), name, text, len, err);
}

static gs_status finish_files(gs_bundle_writer *w, uint64_t *bytes, gs_error *err) {
    if (w->next != w->plan.count)
        return GS_FAIL(err, GS_E_INVALID, "%zu of %zu planned tensors were written", w->next, w->plan.count);
    gs_container_file *file = w->file;
    w->file = NULL;
    GS_TRY(w->format->container->finish(file, err));
    GS_TRY(w->format->side_files(w, err));
    GS_TRY(gs_dir_bytes(gs_outdir_path(w->dir), bytes, err));
    gs_outdir *dir = w->dir;
    w->dir = NULL;
    return gs_outdir_commit(dir, err);
}

gs_status gs_bundle_writer_finish(gs_bundle_writer *w, uint64_t *bytes, gs_error *err) {
    gs_status status = finish_files(w, bytes, err);
    gs_bundle_writer_abort(w); /* what is committed is no longer its */
    return status;
}

/* ---- what a format asks ---- */

const gs_bundle_options *gs_bundle_writer_options(const gs_bundle_writer *w) { return &w->options; }
const gs_bundle_facts *gs_bundle_writer_facts(const gs_bundle_writer *w) { return &w->facts; }
gs_context *gs_bundle_writer_context(const gs_bundle_writer *w) { return w->cx; }
const char *gs_bundle_writer_dir(const gs_bundle_writer *w) { return gs_outdir_path(w->dir); }
size_t gs_bundle_writer_count(const gs_bundle_writer *w) { return w->plan.count; }

const char *gs_bundle_writer_tensor(const gs_bundle_writer *w, size_t i, const char **type) {
    if (type) *type = w->type[i];
    return w->plan.entry[i].name;
}

bool gs_bundle_writer_has(const gs_bundle_writer *w, const char *name) {
    return gs_tensor_plan_find(&w->plan, name, NULL);
}
