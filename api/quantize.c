/* gs_quantize: one walk over the segments to plan the bundle, one to quantize and write it. Only
 * the segment in hand and one block of rows are ever in memory. */
#include <api/manifest.h>
#include <api/opened.h>
#include <api/session.h>
#include <base/file.h>
#include <base/mem.h>
#include <base/nearest.h>
#include <deploy/bundle_format.h>
#include <ptq/round_to_nearest.h>

#include <math.h>
#include <stdio.h>

static const uint64_t DEFAULT_SHARD = (uint64_t)4 << 30;

typedef struct job {
    gs_context *cx;
    gs_opened source;
    gs_ptq_config config;
    gs_comp_algo *algo;
    const gs_bundle_format *format;
    gs_bundle_writer *writer;
    gs_bundle_options bundle;
    char tied_head[128];
    int64_t done, total; /* progress in source bytes */
} job;

static gs_status read_scheme(const gs_quantize_options *o, gs_ptq_config *c, gs_error *err) {
    static const char *const schemes[] = {"w8a16"};
    static const char *const conventions[] = {"ascend", "goldenstick"};
    int scheme, convention;
    GS_TRY(gs_choose("scheme", o->scheme, schemes, GS_COUNTOF(schemes), &scheme, err));
    GS_TRY(gs_choose("scale convention", o->scale_convention, conventions, GS_COUNTOF(conventions), &convention, err));
    *c = gs_ptq_config_w8a16();
    c->scale_convention = convention ? GS_SCALE_GOLDENSTICK : GS_SCALE_ASCEND;
    if (o->blacklist) {
        c->opname_blacklist = o->blacklist;
        c->opname_blacklist_count = o->blacklist_count;
    }
    return GS_OK;
}

/* Largest |value| of the tensors that will stay float, NaN and infinities included. */
static gs_status largest_float(const gs_checkpoint *c, const gs_net *net, float *largest, gs_error *err) {
    enum { ROWS = 64 };
    for (int i = 0; i < gs_net_node_count(net); i++) {
        for (int r = 0; r < GS_ROLE_COUNT; r++) {
            const gs_param *p = gs_net_node(net, i)->param[r];
            if (!p || !p->source) continue;
            int64_t rows, cols;
            gs_param_matrix(p, &rows, &cols);
            float *x = gs_calloc((size_t)(ROWS * cols), sizeof *x);
            if (!x) return gs_error_nomem(err, (size_t)(ROWS * cols) * sizeof *x);
            gs_status status = GS_OK;
            for (int64_t row = 0; row < rows && status == GS_OK; row += ROWS) {
                int64_t n = rows - row < ROWS ? rows - row : ROWS;
                status = gs_param_read_f32(p, row, n, x, err);
                for (int64_t k = 0; status == GS_OK && k < n * cols; k++)
                    if (fabsf(x[k]) > *largest) *largest = fabsf(x[k]);
                gs_checkpoint_drop_rows(c, p->source, row, n);
            }
            gs_free(x);
            GS_TRY(status);
        }
    }
    return GS_OK;
}

/* The planned segment: structure only. */
static gs_status plan_segment(job *j, int i, gs_net **net, gs_error *err) {
    GS_TRY(gs_model_segment(j->source.model, i, net, err));
    gs_status status = gs_comp_algo_apply(j->algo, *net, err);
    if (status != GS_OK) gs_net_destroy(*net);
    return status;
}

static gs_status auto_dtype(job *j, gs_dtype *dtype, gs_error *err) {
    gs_dtype source = gs_model_settings(j->source.model)->dtype;
    if (source == GS_F16 || source == GS_BF16) {
        *dtype = source;
        return GS_OK;
    }
    float largest = 0;
    for (int i = 0; i < gs_model_segments(j->source.model); i++) {
        gs_net *net;
        GS_TRY(plan_segment(j, i, &net, err));
        gs_status status = largest_float(gs_model_checkpoint(j->source.model), net, &largest, err);
        gs_net_destroy(net);
        GS_TRY(status);
    }
    *dtype = largest > 65504.0f ? GS_BF16 : GS_F16;
    return GS_OK;
}

static gs_status read_dtype(job *j, const char *word, gs_error *err) {
    static const char *const known[] = {"auto", "f16", "bf16", "f32"};
    static const gs_dtype dtype[] = {GS_DTYPE_NONE, GS_F16, GS_BF16, GS_F32};
    int i;
    GS_TRY(gs_choose("dtype", word, known, GS_COUNTOF(known), &i, err));
    if (i == 0) return auto_dtype(j, &j->config.compute, err);
    j->config.compute = dtype[i];
    if (dtype[i] == GS_F32) gs_log(j->cx, GS_LOG_WARN, "MindIE loads float16 and bfloat16 bundles only");
    return GS_OK;
}

static gs_status check_paths(const char *model, const char *bundle, bool dry_run, gs_error *err) {
    if (dry_run) return GS_OK;
    if (!bundle || !*bundle) return GS_FAIL(err, GS_E_INVALID, "no output directory is given");
    if (gs_path_same(model, bundle))
        return GS_FAIL(err, GS_E_INVALID, "output '%s' is the input: it is never overwritten", bundle);
    return GS_OK;
}

static void describe(job *j, const gs_quantize_options *o) {
    const gs_model *m = j->source.model;
    j->bundle = (gs_bundle_options){
        .source = gs_model_checkpoint(m),
        .dtype = j->config.compute,
        .quantize = "w8a16",
        .model_quant_type = gs_scheme_name(GS_SCHEME_W8A16),
        .max_shard_bytes = o->max_shard_bytes ? o->max_shard_bytes : DEFAULT_SHARD,
    };
    snprintf(j->tied_head, sizeof j->tied_head, "%s.weight", gs_model_helper(m)->name.head);
    if (gs_model_settings(m)->tied) j->bundle.tied_head = j->tied_head;
}

static gs_status plan(job *j, gs_error *err) {
    for (int i = 0; i < gs_model_segments(j->source.model); i++) {
        gs_net *net;
        GS_TRY(plan_segment(j, i, &net, err));
        gs_status status = j->format->plan(j->writer, net, err);
        gs_net_destroy(net);
        GS_TRY(status);
    }
    return j->format->begin(j->writer, err);
}

/* Source bytes behind a segment's views. */
static int64_t view_bytes(const gs_net *net) {
    uint64_t sum = 0;
    for (int i = 0; i < gs_net_node_count(net); i++)
        for (int r = 0; r < GS_ROLE_COUNT; r++) {
            const gs_param *p = gs_net_node(net, i)->param[r];
            if (p && p->source) sum += p->source->bytes;
        }
    return (int64_t)sum;
}

/* For the algorithm, which knows no checkpoint. */
static void drop(void *checkpoint, const gs_tensor *view) { gs_checkpoint_drop(checkpoint, view); }

static gs_status quantize_segment(job *j, int i, gs_error *err) {
    gs_net *net;
    GS_TRY(gs_cancel_check(err));
    GS_TRY(gs_model_segment(j->source.model, i, &net, err));
    int64_t bytes = view_bytes(net); /* apply takes views out */
    gs_status status = gs_comp_algo_apply(j->algo, net, err);
    if (status == GS_OK) status = gs_comp_algo_convert(j->algo, j->cx, net, err);
    if (status == GS_OK && j->writer) status = j->format->write(j->writer, net, err);
    gs_net_destroy(net);
    j->done += bytes;
    gs_progress(j->cx, "quantizing", j->done, j->total);
    return status;
}

static gs_status run(job *j, const gs_quantize_options *o, gs_quantize_result *result, gs_error *err) {
    int segments = gs_model_segments(j->source.model);
    j->total = (int64_t)gs_checkpoint_bytes(gs_model_checkpoint(j->source.model));
    if (j->writer) GS_TRY(plan(j, err));
    for (int i = 0; i < segments; i++) GS_TRY(quantize_segment(j, i, err));
    gs_progress(j->cx, "quantizing", j->total, j->total);
    if (!j->writer) return GS_OK;
    gs_strbuf manifest = {0};
    gs_status status = gs_manifest_text(o, &j->config, j->source.model, gs_comp_algo_summary(j->algo), &manifest, err);
    if (status == GS_OK)
        status = j->format->add_file(j->writer, "gstick_manifest.json", gs_strbuf_text(&manifest), manifest.len, err);
    gs_strbuf_clear(&manifest);
    GS_TRY(status);
    gs_bundle_writer *writer = j->writer;
    j->writer = NULL;
    return j->format->finish(writer, &result->bytes_out, err);
}

static gs_status prepare(job *j, const char *model, const char *bundle, const gs_quantize_options *o,
                         gs_error *err) {
    GS_TRY(check_paths(model, bundle, o->dry_run, err));
    GS_TRY(read_scheme(o, &j->config, err));
    GS_TRY(gs_bundle_format_find(o->format, &j->format, err));
    GS_TRY(gs_opened_open(model, &j->source, err));
    if (j->source.bundle)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "%s is a %s bundle already", model, gs_bundle_type(j->source.bundle));
    GS_TRY(gs_round_to_nearest_create(&j->config, &j->algo, err));
    gs_comp_algo_set_save(j->algo, !o->dry_run);
    gs_comp_algo_set_drop(j->algo, drop, (void *)(uintptr_t)gs_model_checkpoint(j->source.model));
    GS_TRY(read_dtype(j, o->dtype, err));
    describe(j, o);
    if (!j->algo->save) return GS_OK;
    GS_TRY(gs_comp_algo_set_save_path(j->algo, bundle, err));
    return j->format->create(j->cx, j->algo->save_path, &j->bundle, &j->writer, err);
}

/* Moves the summary out of the algorithm. */
static void report(job *j, gs_quantize_result *r) {
    gs_summary *s = &j->algo->summary;
    r->parameters = gs_model_parameters(j->source.model);
    r->bytes_in = gs_checkpoint_bytes(gs_model_checkpoint(j->source.model));
    r->dtype = gs_dtype_torch_name(j->config.compute);
    r->layer = s->layer;
    r->layer_count = s->count;
    *s = (gs_summary){0};
}

gs_status gs_quantize(gs_session *session, const char *model, const char *bundle,
                      const gs_quantize_options *options, gs_quantize_result *result, gs_error *err) {
    static const gs_quantize_options defaults;
    const gs_quantize_options *o = options ? options : &defaults;
    job j = {.cx = &session->context};
    double began = gs_clock();
    *result = (gs_quantize_result){0};
    gs_status status = prepare(&j, model, bundle, o, err);
    if (status == GS_OK) status = run(&j, o, result, err);
    if (status == GS_OK) report(&j, result);
    if (j.writer) j.format->abort(j.writer);
    gs_comp_algo_destroy(j.algo);
    gs_opened_close(&j.source);
    result->seconds = gs_clock() - began;
    result->peak_rss_bytes = gs_mem_peak_rss();
    return status;
}

void gs_quantize_result_clear(gs_quantize_result *r) {
    for (size_t i = 0; i < r->layer_count; i++) gs_free(r->layer[i].name);
    gs_free(r->layer);
    *r = (gs_quantize_result){0};
}
