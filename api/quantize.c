/* gs_quantize: what calibration has to say first, then one walk over the segments to plan the bundle and one to
 * quantize and write it. Only the segment in hand and one block of rows are ever in memory. */
#include <api/bundle_dtype.h>
#include <api/calibration.h>
#include <api/choices.h>
#include <api/manifest.h>
#include <api/opened.h>
#include <api/output.h>
#include <api/session.h>
#include <api/smoothing_check.h>
#include <base/mem.h>
#include <calibrate/fingerprint.h>
#include <deploy/bundle_writer.h>
#include <llm/regroup.h>
#include <ptq/cache_quant.h>
#include <ptq/round_to_nearest.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double SMOOTHING_TOLERANCE = 1e-5;
enum { CHECK_TOKENS = 64 };

typedef struct job {
    gs_context *cx;
    const char *path;
    const gs_quantize_options *options;
    gs_opened source;
    gs_choices choices;
    gs_comp_algo *algo;
    const gs_bundle_format *format;
    gs_bundle_writer *writer;
    gs_bundle_options bundle;
    int64_t done, total; /* progress in source bytes */
    /* what is known of the activations: a file, or the observers of the segment in the stream */
    gs_statistics *statistics;
    gs_calibration calibration;
    gs_observer_set observers;
    gs_statistics_info about;
    bool decides;
    char note[240];
    double smoothing_change;
} job;

/* ---- what calibration says ---- */

static gs_status no_statistics(const char *edge, gs_error *err) {
    GS_FAIL(err, GS_E_INVALID, "there are no statistics of '%s'", edge);
    return gs_error_hint(err, "the head is not calibrated: keep lm_head in the blacklist; for an int8 cache "
                              "'gstick calibrate' needs --kv-cache int8, too");
}

/* A gs_observer_source; ctx is the job. */
static gs_status read_observer(void *ctx, const char *edge, gs_observer *out, gs_error *err) {
    job *j = ctx;
    int64_t width, rows;
    if (j->statistics) {
        if (gs_statistics_sizes(j->statistics, edge, &width, &rows, NULL) != GS_OK) return no_statistics(edge, err);
        return gs_statistics_read(j->statistics, edge, out, err);
    }
    for (int i = 0; i < j->observers.count; i++) {
        gs_observer *o = &j->observers.observer[i];
        if (!o->name || strcmp(o->name, edge) != 0) continue;
        *out = *o; /* each is asked for once */
        *o = (gs_observer){0};
        return GS_OK;
    }
    return no_statistics(edge, err);
}

static gs_status open_statistics(job *j, gs_error *err) {
    uint64_t model;
    GS_TRY(gs_statistics_open(j->options->stats, &j->statistics, err));
    j->about = *gs_statistics_about(j->statistics);
    GS_TRY(gs_model_fingerprint(j->source.model, &model, err));
    if (model == j->about.model_hash) return GS_OK;
    GS_FAIL(err, GS_E_INVALID, "%s: these statistics are of another model than %s", j->options->stats, j->path);
    return gs_error_hint(err, "'gstick calibrate %s' makes its own; name the same files as then", j->path);
}

/* The quantized form of a segment, in memory, to feed the next one with. */
static gs_status advance_quantized(job *j, int i, gs_error *err) {
    gs_net *net;
    GS_TRY(gs_model_segment(j->source.model, i, &net, err));
    gs_status status = gs_comp_algo_apply(j->algo, net, err);
    if (status == GS_OK) status = gs_comp_algo_convert(j->algo, j->cx, net, err);
    if (status == GS_OK) status = gs_stream_advance(j->calibration.stream, net, err);
    gs_summary_clear(&j->algo->summary); /* written later, from another conversion */
    gs_net_destroy(net);
    return status;
}

static gs_status decide_segment(job *j, int i, gs_error *err) {
    gs_net *net;
    gs_status status = GS_OK;
    bool head = i + 1 == gs_model_segments(j->source.model), stream = j->calibration.stream && !head;
    GS_TRY(gs_model_segment(j->source.model, i, &net, err));
    if (stream)
        status = j->options->sequential ? gs_stream_observe(j->calibration.stream, net, &j->observers, err)
                                        : gs_stream_observe_and_advance(j->calibration.stream, net, &j->observers, err);
    if (status == GS_OK) status = gs_comp_algo_decide(j->algo, j->cx, net, err);
    gs_net_destroy(net);
    gs_observer_set_clear(&j->observers);
    if (status == GS_OK && stream && j->options->sequential) status = advance_quantized(j, i, err);
    return status;
}

static gs_status check_smoothing(job *j, gs_error *err) {
    /* not those of the calibration set: the figure is the same when its statistics are given instead */
    int32_t tokens[CHECK_TOKENS];
    int64_t vocab = gs_model_settings(j->source.model)->vocab;
    for (int64_t i = 0; i < CHECK_TOKENS; i++) tokens[i] = (int32_t)(i * (vocab - 1) / CHECK_TOKENS);
    GS_TRY(gs_smoothing_check(j->cx, j->path, gs_cache_quant_inner(j->algo), tokens, CHECK_TOKENS, &j->smoothing_change, err));
    if (!(j->smoothing_change <= SMOOTHING_TOLERANCE))
        gs_log(j->cx, GS_LOG_WARN, "smoothing alone changes float logits by %.2g of the largest (expected below %.0e)",
               j->smoothing_change, SMOOTHING_TOLERANCE);
    return GS_OK;
}

static bool every_position_seen(const job *j) {
    const gs_statistics_info *a = &j->about;
    int64_t positions = gs_model_settings(j->source.model)->max_positions;
    return positions > 0 && a->length >= positions && a->tokens == a->sequences * a->length;
}

static gs_status decide(job *j, gs_error *err) {
    int segments = gs_model_segments(j->source.model);
    if (!j->decides) return GS_OK;
    if (j->options->stats) {
        GS_TRY(open_statistics(j, err));
    } else if (j->options->refine) { /* samples are needed again when weights are converted */
        gs_calibrate_result result = {0};
        GS_TRY(gs_calibration_scratch(j->cx, j->source.model, j->path, &j->options->calibrate, &j->statistics, &result, err));
        j->about = *gs_statistics_about(j->statistics);
        memcpy(j->note, result.note, sizeof j->note);
    } else {
        GS_TRY(gs_calibration_open(j->cx, j->source.model, j->path, &j->options->calibrate, &j->calibration, err));
        GS_TRY(gs_calibration_about(&j->calibration, j->source.model, &j->options->calibrate, &j->about, err));
        snprintf(j->note, sizeof j->note, "%s", j->calibration.corpus.note);
        if (j->options->sequential) snprintf(j->about.feed, sizeof j->about.feed, "sequential");
    }
    j->choices.config.every_position_seen = every_position_seen(j);
    for (int i = 0; i < segments; i++) {
        GS_TRY(gs_cancel_check(err));
        GS_TRY(decide_segment(j, i, err));
        gs_progress(j->cx, j->statistics ? "deciding" : "calibrating", i + 1, segments);
    }
    GS_TRY(gs_comp_algo_settle(j->algo, j->cx, err));
    return j->choices.smooth.smoothing != GS_SMOOTHING_NONE ? check_smoothing(j, err) : GS_OK;
}

/* ---- the bundle ---- */

static void describe(job *j) {
    j->bundle = (gs_bundle_options){
        .dtype = j->choices.config.compute,
        .target = j->choices.target,
        .act_symmetric = j->options->act_symmetric,
        .max_shard_bytes = j->choices.max_shard_bytes,
    };
    gs_output_describe(j->source.model, &j->bundle);
}

/* A quantized segment as the format's names have it. */
static gs_status regroup(const job *j, bool write, gs_net *net, gs_error *err) {
    const gs_model *m = j->source.model;
    return gs_regroup(gs_model_helper(m), j->format->parts, write ? gs_model_checkpoint(m) : NULL, net, err);
}

/* Every segment's structure, without bytes. */
static gs_status plan(job *j, gs_error *err) {
    for (int i = 0; i < gs_model_segments(j->source.model); i++) {
        gs_net *net;
        GS_TRY(gs_model_segment(j->source.model, i, &net, err));
        gs_status status = gs_comp_algo_apply(j->algo, net, err);
        if (status == GS_OK) status = regroup(j, false, net, err);
        if (status == GS_OK) status = gs_bundle_writer_plan(j->writer, net, err);
        gs_net_destroy(net);
        GS_TRY(status);
    }
    return gs_bundle_writer_begin(j->writer, err);
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

static gs_status quantize_segment(job *j, int i, gs_error *err) {
    gs_net *net;
    GS_TRY(gs_cancel_check(err));
    GS_TRY(gs_model_segment(j->source.model, i, &net, err));
    int64_t bytes = view_bytes(net); /* apply takes views out */
    gs_status status = gs_comp_algo_apply(j->algo, net, err);
    if (status == GS_OK) status = gs_comp_algo_convert(j->algo, j->cx, net, err);
    if (status == GS_OK && j->writer) status = regroup(j, true, net, err);
    if (status == GS_OK && j->writer) status = gs_bundle_writer_write(j->writer, net, err);
    gs_net_destroy(net);
    j->done += bytes;
    gs_progress(j->cx, "quantizing", j->done, j->total);
    return status;
}

static gs_status write_manifest(job *j, gs_error *err) {
    gs_strbuf manifest = {0};
    gs_quantize_options recipe = gs_choices_effective(&j->choices, j->options, j->format->name);
    if (j->decides) gs_choices_take_calibration(&j->about, &recipe);
    gs_status status = gs_manifest_text(&recipe, j->source.model, j->decides ? &j->about : NULL, j->smoothing_change,
                                        gs_comp_algo_summary(j->algo), &manifest, err);
    if (status == GS_OK)
        status = gs_bundle_writer_add_file(j->writer, "gstick_manifest.json", gs_strbuf_text(&manifest), manifest.len,
                                           err);
    gs_strbuf_clear(&manifest);
    return status;
}

static gs_status run(job *j, gs_quantize_result *result, gs_error *err) {
    j->total = (int64_t)gs_checkpoint_bytes(gs_model_checkpoint(j->source.model));
    if (j->writer) GS_TRY(plan(j, err));
    for (int i = 0; i < gs_model_segments(j->source.model); i++) GS_TRY(quantize_segment(j, i, err));
    gs_progress(j->cx, "quantizing", j->total, j->total);
    if (!j->writer) return GS_OK;
    GS_TRY(write_manifest(j, err));
    gs_bundle_writer *writer = j->writer;
    j->writer = NULL;
    return gs_bundle_writer_finish(writer, &result->bytes_out, err);
}

/* ---- the job ---- */

static gs_status check_and_drop(gs_net *net, gs_error *err) {
    gs_status status = gs_cache_quant_check(net, err);
    gs_net_destroy(net);
    return status;
}

/* Before any data is looked at: projections as the source has them, and as the family does, whose names the bundle gets. */
static gs_status check_cache(const job *j, gs_error *err) {
    const gs_model *m = j->source.model;
    if (j->choices.config.kvcache_quant_dtype == GS_QUANT_NONE) return GS_OK;
    for (int i = 0; i < gs_model_segments(m); i++) {
        gs_net *net;
        GS_TRY(gs_model_segment(m, i, &net, err));
        GS_TRY(check_and_drop(net, err));
        GS_TRY(gs_model_blueprint_as(j->cx->helper, gs_model_settings(m), i, &net, NULL, err));
        GS_TRY(check_and_drop(net, err));
    }
    return GS_OK;
}

static gs_status create_algorithm(job *j, gs_error *err) {
    const gs_choices *c = &j->choices;
    j->decides = c->needs_data;
    if (!c->linears_need_data) GS_TRY(gs_round_to_nearest_create(&c->config, &j->algo, err));
    else GS_TRY(gs_smooth_quant_create(&c->config, &c->smooth, read_observer, j, &j->algo, err));
    if (c->config.kvcache_quant_dtype != GS_QUANT_NONE) {
        gs_comp_algo *inner = j->algo;
        j->algo = NULL;
        GS_TRY(gs_cache_quant_create(&c->config, inner, read_observer, j, &j->algo, err));
    }
    gs_comp_algo_set_save(j->algo, !j->options->dry_run);
    gs_comp_algo_set_drop(j->algo, gs_checkpoint_drop_view, (void *)(uintptr_t)gs_model_checkpoint(j->source.model));
    return GS_OK;
}

static gs_status settle_dtype(job *j, gs_error *err) {
    j->choices.config.compute = j->choices.dtype;
    if (j->choices.dtype == GS_DTYPE_NONE && j->choices.config.compat) {
        j->choices.config.compute = gs_model_settings(j->source.model)->dtype; /* the tools keep the source's */
        return GS_OK;
    }
    if (j->choices.dtype == GS_DTYPE_NONE) {
        j->choices.config.compute = GS_F32; /* structure only */
        return gs_bundle_dtype(j->source.model, j->algo, &j->choices.config.compute, err);
    }
    if (j->choices.dtype == GS_F32) gs_log(j->cx, GS_LOG_WARN, "MindIE loads float16 and bfloat16 bundles only");
    return GS_OK;
}

static gs_status prepare(job *j, const char *bundle, gs_error *err) {
    if (!j->options->dry_run) GS_TRY(gs_output_check_dir(j->path, bundle, err));
    GS_TRY(gs_choices_read(j->options, &j->choices, err));
    GS_TRY(gs_bundle_format_find(j->options->format, &j->format, err));
    GS_TRY(gs_choices_take_format(&j->choices, j->options, j->format, err));
    GS_TRY(gs_opened_open(j->cx->helper, j->path, NULL, &j->source, err));
    if (j->source.bundle && !gs_bundle_is_float(j->source.bundle))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "%s is a %s bundle already", j->path, gs_bundle_type(j->source.bundle));
    GS_TRY(gs_choices_check_names(&j->choices, j->source.model, err));
    GS_TRY(check_cache(j, err));
    if (j->choices.has_data && !j->choices.needs_data)
        gs_log(j->cx, GS_LOG_WARN, "nothing in this job needs calibration data: it is not read");
    GS_TRY(create_algorithm(j, err));
    GS_TRY(settle_dtype(j, err));
    describe(j);
    if (!j->algo->save) return GS_OK;
    GS_TRY(gs_comp_algo_set_save_path(j->algo, bundle, err));
    return gs_bundle_writer_create(j->cx, j->format, j->algo->save_path, &j->bundle, &j->writer, err);
}

/* Moves the summary out of the algorithm. */
static void report(job *j, gs_quantize_result *r) {
    gs_summary *s = &j->algo->summary;
    r->parameters = gs_model_parameters(j->source.model);
    r->bytes_in = gs_checkpoint_bytes(gs_model_checkpoint(j->source.model));
    r->dtype = gs_dtype_torch_name(j->choices.config.compute);
    r->smoothing_change = j->smoothing_change;
    memcpy(r->note, j->note, sizeof r->note);
    r->layer = s->layer;
    r->layer_count = s->count;
    *s = (gs_summary){0};
}

gs_status gs_quantize(gs_session *session, const char *model, const char *bundle,
                      const gs_quantize_options *options, gs_quantize_result *result, gs_error *err) {
    static const gs_quantize_options defaults;
    job j = {.cx = &session->context, .path = model, .options = options ? options : &defaults,
             .smoothing_change = NAN};
    double began = gs_clock();
    *result = (gs_quantize_result){0};
    gs_status status = prepare(&j, bundle, err);
    if (status == GS_OK) status = decide(&j, err);
    if (status == GS_OK) status = run(&j, result, err);
    if (status == GS_OK) report(&j, result);
    gs_bundle_writer_abort(j.writer);
    gs_comp_algo_destroy(j.algo);
    gs_calibration_close(&j.calibration);
    gs_observer_set_clear(&j.observers);
    gs_statistics_close(j.statistics);
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
