#include <calibrate/statistics_info.h>

#include <base/context.h>
#include <base/hash.h>
#include <base/mem.h>

#include <string.h>

static gs_status differ(const char *what, const char *first, const char *other, gs_error *err) {
    GS_FAIL(err, GS_E_INVALID, "'%s' and '%s' differ in %s", first, other, what);
    gs_error_hint(err, "only statistics of the same model, taken with the same settings, can be merged");
    return GS_E_INVALID;
}

static const char *difference(const gs_statistics_info *a, const gs_statistics_info *b) {
    if (a->model_hash != b->model_hash) return "the model";
    if (a->length != b->length) return "the length of sequences";
    if (a->skip_tokens != b->skip_tokens) return "the tokens skipped";
    if (strcmp(a->compute, b->compute) != 0) return "the type of products";
    if (strcmp(a->store, b->store) != 0) return "the type of activations";
    if (strcmp(a->feed, b->feed) != 0) return "what segments were fed";
    return NULL;
}

static bool same_edges(const gs_statistics *a, const gs_statistics *b) {
    if (gs_statistics_count(a) != gs_statistics_count(b)) return false;
    for (int64_t i = 0; i < gs_statistics_count(a); i++)
        if (strcmp(gs_statistics_edge(a, i), gs_statistics_edge(b, i)) != 0) return false;
    return true;
}

static gs_status check_mergeable(gs_statistics *const *in, const char *const *paths, int n, gs_error *err) {
    for (int i = 1; i < n; i++) {
        const char *what = difference(gs_statistics_about(in[0]), gs_statistics_about(in[i]));
        if (!what && !same_edges(in[0], in[i])) what = "the edges";
        if (what) return differ(what, paths[0], paths[i], err);
    }
    return GS_OK;
}

static gs_status mix_infos(gs_statistics *const *in, int n, gs_statistics_info *out, gs_error *err) {
    uint8_t *hashes = gs_alloc((size_t)n * 8);
    if (!hashes) return gs_error_nomem(err, (size_t)n * 8);
    *out = *gs_statistics_about(in[0]);
    for (int i = 0; i < n; i++) {
        const gs_statistics_info *a = gs_statistics_about(in[i]);
        for (int byte = 0; byte < 8; byte++) hashes[8 * i + byte] = (uint8_t)(a->set_hash >> 8 * byte);
        if (i == 0) continue;
        if (a->seed != out->seed) out->seed = 0; /* several draws have none in common */
        /* each at most 2^53: no overflow, and the writer checks the sums */
        out->sequences += a->sequences;
        out->tokens += a->tokens;
        out->sample_rows += a->sample_rows;
    }
    if (n > 1) out->set_hash = gs_hash64(hashes, (size_t)n * 8);
    gs_free(hashes);
    return GS_OK;
}

/* One edge of all inputs. */
static gs_status merge_edge(gs_statistics *const *in, int n, const char *edge, gs_observer *out, gs_error *err) {
    GS_TRY(gs_statistics_read(in[0], edge, out, err));
    gs_status status = GS_OK;
    for (int i = 1; i < n && status == GS_OK; i++) {
        gs_observer more;
        status = gs_statistics_read(in[i], edge, &more, err);
        if (status == GS_OK) status = gs_observer_merge(out, &more, err);
        gs_observer_clear(&more);
    }
    if (status != GS_OK) gs_observer_clear(out);
    return status;
}

static gs_status plan_edge(gs_statistics *const *in, int n, const char *edge, gs_statistics_writer *w,
                           gs_error *err) {
    int64_t width = 0, sample_rows = 0;
    for (int i = 0; i < n; i++) {
        int64_t rows;
        GS_TRY(gs_statistics_sizes(in[i], edge, &width, &rows, err));
        sample_rows += rows;
    }
    return gs_statistics_writer_plan(w, edge, width, sample_rows, err);
}

static gs_status write_edges(gs_statistics *const *in, int n, gs_statistics_writer *w, gs_error *err) {
    int64_t count = gs_statistics_count(in[0]);
    for (int64_t i = 0; i < count; i++) GS_TRY(plan_edge(in, n, gs_statistics_edge(in[0], i), w, err));
    GS_TRY(gs_statistics_writer_begin(w, err));
    for (int64_t i = 0; i < count; i++) {
        gs_observer o;
        GS_TRY(gs_cancel_check(err));
        GS_TRY(merge_edge(in, n, gs_statistics_edge(in[0], i), &o, err));
        gs_status status = gs_statistics_writer_put(w, &o, err);
        gs_observer_clear(&o);
        GS_TRY(status);
    }
    return GS_OK;
}

static gs_status merge_opened(gs_statistics *const *in, const char *const *paths, int n, const char *path,
                              gs_error *err) {
    gs_statistics_info info;
    gs_statistics_writer *w;
    GS_TRY(check_mergeable(in, paths, n, err));
    GS_TRY(mix_infos(in, n, &info, err));
    GS_TRY(gs_statistics_writer_create(path, &info, &w, err));
    gs_status status = write_edges(in, n, w, err);
    if (status == GS_OK) return gs_statistics_writer_commit(w, err);
    gs_statistics_writer_abort(w);
    return status;
}

gs_status gs_statistics_merge(const char *const *inputs, int n, const char *path, gs_error *err) {
    if (n < 1) return GS_FAIL(err, GS_E_INVALID, "%d statistics to merge", n);
    gs_statistics **in = gs_calloc((size_t)n, sizeof(gs_statistics *));
    if (!in) return gs_error_nomem(err, (size_t)n * sizeof(gs_statistics *));
    gs_status status = GS_OK;
    for (int i = 0; i < n && status == GS_OK; i++) status = gs_statistics_open(inputs[i], &in[i], err);
    if (status == GS_OK) status = merge_opened(in, inputs, n, path, err);
    for (int i = 0; i < n; i++) gs_statistics_close(in[i]);
    gs_free(in);
    return status;
}
