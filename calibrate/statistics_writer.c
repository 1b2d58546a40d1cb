#include <calibrate/statistics_info.h>

#include <base/file.h>
#include <base/mem.h>
#include <loaders/safetensors.h>

#include <string.h>

struct gs_statistics_writer {
    gs_statistics_info info;
    gs_outdir *dir;
    gs_safetensors_writer *tensors;
    gs_statistics_row *edges; /* what was seen is set by their put */
    size_t count, done;
    bool begun;
};

gs_status gs_statistics_writer_create(const char *path, const gs_statistics_info *info,
                                      gs_statistics_writer **out, gs_error *err) {
    *out = NULL;
    GS_TRY(gs_statistics_info_check(info, GS_E_INVALID, err));
    gs_statistics_writer *w = gs_calloc(1, sizeof *w);
    if (!w) return gs_error_nomem(err, sizeof *w);
    w->info = *info;
    gs_status status = gs_safetensors_writer_create(&w->tensors, err);
    if (status == GS_OK) status = gs_outdir_create(path, &w->dir, err);
    if (status == GS_OK) *out = w;
    else gs_statistics_writer_abort(w);
    return status;
}

void gs_statistics_writer_abort(gs_statistics_writer *w) {
    if (!w) return;
    gs_safetensors_writer_abort(w->tensors);
    gs_outdir_abort(w->dir);
    for (size_t i = 0; i < w->count; i++) gs_free(w->edges[i].name);
    gs_free(w->edges);
    gs_free(w);
}

static gs_status plan_tensors(gs_statistics_writer *w, const gs_statistics_row *e, gs_error *err) {
    gs_statistics_part parts[GS_STATISTICS_PARTS];
    gs_statistics_parts(&(gs_observer){.width = e->width, .sample_rows = e->sample_rows}, parts);
    for (int i = 0; i < GS_STATISTICS_PARTS; i++) {
        const gs_statistics_part *p = &parts[i];
        char *name = gs_statistics_tensor(e->name, p->ending);
        if (!name) return gs_error_nomem(err, strlen(e->name) + 16);
        gs_status status = gs_safetensors_writer_plan(w->tensors, name, p->dtype, p->ndim, p->shape, err);
        gs_free(name);
        GS_TRY(status);
    }
    return GS_OK;
}

gs_status gs_statistics_writer_plan(gs_statistics_writer *w, const char *name, int64_t width, int64_t sample_rows,
                                    gs_error *err) {
    if (w->begun) return GS_FAIL(err, GS_E_INVALID, "'%s' is planned after begin", name);
    if (!*name || width < 1 || width > INT32_MAX || sample_rows < 0 || sample_rows > INT32_MAX)
        return GS_FAIL(err, GS_E_INVALID, "'%s': no statistics of %lld channels and %lld rows", name,
                       (long long)width, (long long)sample_rows);
    gs_statistics_row *more = gs_realloc(w->edges, w->count + 1, sizeof *more);
    if (!more) return gs_error_nomem(err, (w->count + 1) * sizeof *more);
    w->edges = more;
    gs_statistics_row *e = &w->edges[w->count];
    *e = (gs_statistics_row){.name = gs_strdup(name), .width = width, .sample_rows = sample_rows};
    if (!e->name) return gs_error_nomem(err, strlen(name) + 1);
    w->count++;
    return plan_tensors(w, e, err);
}

gs_status gs_statistics_writer_begin(gs_statistics_writer *w, gs_error *err) {
    if (w->begun) return GS_FAIL(err, GS_E_INVALID, "statistics are begun twice");
    char *path = gs_path_join(gs_outdir_path(w->dir), GS_STATISTICS_TENSORS);
    if (!path) return gs_error_nomem(err, 0);
    gs_status status = gs_safetensors_writer_begin(w->tensors, path, err);
    gs_free(path);
    w->begun = status == GS_OK;
    return status;
}

static gs_status check_turn(const gs_statistics_writer *w, const gs_observer *o, gs_error *err) {
    if (!w->begun) return GS_FAIL(err, GS_E_INVALID, "'%s' is put before begin", o->name);
    if (w->done == w->count) return GS_FAIL(err, GS_E_INVALID, "'%s': all planned edges are there", o->name);
    const gs_statistics_row *e = &w->edges[w->done];
    if (strcmp(e->name, o->name) != 0)
        return GS_FAIL(err, GS_E_INVALID, "'%s' is put where '%s' is next", o->name, e->name);
    if (e->width != o->width || e->sample_rows != o->sample_rows)
        return GS_FAIL(err, GS_E_INVALID, "'%s': %lld channels and %lld sample rows, planned were %lld and %lld",
                       o->name, (long long)o->width, (long long)o->sample_rows, (long long)e->width,
                       (long long)e->sample_rows);
    if (o->rows < 0 || o->rows > (int64_t)1 << 53)
        return GS_FAIL(err, GS_E_INVALID, "'%s' has seen %lld rows", o->name, (long long)o->rows);
    return GS_OK;
}

gs_status gs_statistics_writer_put(gs_statistics_writer *w, const gs_observer *o, gs_error *err) {
    gs_statistics_part parts[GS_STATISTICS_PARTS];
    GS_TRY(check_turn(w, o, err));
    gs_statistics_parts(o, parts);
    for (int i = 0; i < GS_STATISTICS_PARTS; i++) {
        char *name = gs_statistics_tensor(o->name, parts[i].ending);
        if (!name) return gs_error_nomem(err, strlen(o->name) + 16);
        gs_status status = gs_safetensors_writer_put(w->tensors, name, 0, parts[i].data, parts[i].bytes, err);
        gs_free(name);
        GS_TRY(status);
    }
    gs_statistics_row *e = &w->edges[w->done++];
    e->rows = o->rows;
    e->token_absmax_sum = o->token_absmax_sum;
    e->token_absmax_max = o->token_absmax_max;
    return GS_OK;
}

static void print_json(const gs_statistics_writer *w, gs_strbuf *out) {
    gs_strbuf_printf(out, "{\n  \"format\": \"%s\",\n  \"version\": %d,\n", GS_STATISTICS_FORMAT,
                     GS_STATISTICS_VERSION);
    gs_statistics_info_print(&w->info, out);
    gs_strbuf_puts(out, "  \"edges\": [");
    for (size_t i = 0; i < w->count; i++) {
        gs_strbuf_puts(out, i ? ",\n    " : "\n    ");
        gs_statistics_row_print(&w->edges[i], out);
    }
    gs_strbuf_puts(out, "\n  ]\n}\n");
}

static gs_status write_text(const char *path, const gs_strbuf *text, gs_error *err) {
    gs_outfile *f;
    GS_TRY(gs_outfile_create(path, &f, err));
    gs_status status = gs_outfile_write(f, text->data, text->len, err);
    if (status == GS_OK) return gs_outfile_commit(f, err);
    gs_outfile_abort(f);
    return status;
}

static gs_status write_json(const gs_statistics_writer *w, gs_error *err) {
    gs_strbuf text = {0};
    char *path = gs_path_join(gs_outdir_path(w->dir), GS_STATISTICS_JSON);
    print_json(w, &text);
    gs_status status = !path || text.failed ? gs_error_nomem(err, text.len) : write_text(path, &text, err);
    gs_strbuf_clear(&text);
    gs_free(path);
    return status;
}

static gs_status finish(gs_statistics_writer *w, gs_error *err) {
    if (!w->begun) return GS_FAIL(err, GS_E_INVALID, "statistics are committed before begin");
    if (w->done < w->count)
        return GS_FAIL(err, GS_E_INVALID, "no statistics of '%s' were put", w->edges[w->done].name);
    gs_safetensors_writer *tensors = w->tensors;
    w->tensors = NULL;
    GS_TRY(gs_safetensors_writer_commit(tensors, err));
    GS_TRY(write_json(w, err));
    gs_outdir *dir = w->dir;
    w->dir = NULL;
    return gs_outdir_commit(dir, err);
}

gs_status gs_statistics_writer_commit(gs_statistics_writer *w, gs_error *err) {
    gs_status status = finish(w, err);
    gs_statistics_writer_abort(w);
    return status;
}
