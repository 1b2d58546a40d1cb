#include <api/calibration.h>
#include <api/opened.h>
#include <api/output.h>
#include <api/session.h>
#include <base/mem.h>
#include <base/nearest.h>
#include <calibrate/fingerprint.h>
#include <loaders/tokenizer.h>

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { DEFAULT_SAMPLES = 128, DEFAULT_SEQ = 512, DEFAULT_SAMPLE_ROWS = 512 };
static const int64_t DEFAULT_MEMORY = (int64_t)512 << 20;

static const char *const compute_words[] = {"auto", "f32", "bf16"};
static const char *const store_words[] = {"f32", "bf16"};

gs_status gs_calibration_cache(const gs_calibrate_options *o, bool *out, gs_error *err) {
    static const char *const words[] = {"none", "int8"};
    int cache;
    GS_TRY(gs_choose("kv_cache", o->kv_cache, words, GS_COUNTOF(words), &cache, err));
    *out = cache == 1;
    return GS_OK;
}

static gs_status read_options(gs_context *cx, const gs_model *model, const gs_calibrate_options *o,
                              gs_stream_options *out, gs_error *err) {
    int compute, store;
    bool cache;
    gs_dtype source = gs_model_settings(model)->dtype;
    GS_TRY(gs_choose("calib_dtype", o->calib_dtype, compute_words, GS_COUNTOF(compute_words), &compute, err));
    GS_TRY(gs_choose("store", o->store, store_words, GS_COUNTOF(store_words), &store, err));
    GS_TRY(gs_calibration_cache(o, &cache, err));
    if (!o->calib) return GS_FAIL(err, GS_E_INVALID, "no calibration set is given");
    if (o->samples < 0 || o->seq < 0 || o->seed < 0 || o->skip_tokens < 0 || o->sample_rows < 0)
        return GS_FAIL(err, GS_E_INVALID, "samples, seq, seed, skip_tokens and sample_rows are zero or more");
    bool half = compute == 2 || (compute == 0 && (source == GS_F16 || source == GS_BF16));
    *out = (gs_stream_options){.type = half ? GS_GEMM_BF16 : GS_GEMM_F32, .store = store ? GS_BF16 : GS_F32,
                               .memory = cx->memory_budget > 0 ? cx->memory_budget : DEFAULT_MEMORY,
                               .scratch_dir = o->scratch_dir, .skip_tokens = o->skip_tokens,
                               .sample_rows = o->sample_rows ? o->sample_rows : DEFAULT_SAMPLE_ROWS,
                               .kv_cache = cache};
    return GS_OK;
}

static bool is_ids(const char *path) {
    size_t n = strlen(path);
    return n >= 4 && strcasecmp(path + n - 4, ".i32") == 0; /* as gs_corpus_load */
}

static int64_t sequence_length(const gs_model *model, const gs_calibrate_options *o) {
    int64_t positions = gs_model_settings(model)->max_positions;
    if (o->seq) return o->seq;
    return positions >= 2 && positions < DEFAULT_SEQ ? positions : DEFAULT_SEQ;
}

static void warn_of_lengths(gs_context *cx, const gs_model *model, const gs_corpus *c) {
    int64_t positions = gs_model_settings(model)->max_positions, longest = 0;
    for (int64_t q = 0; q < c->sequences; q++) {
        int64_t length = c->starts[q + 1] - c->starts[q];
        if (length > longest) longest = length;
    }
    if (positions > 0 && longest > positions)
        gs_log(cx, GS_LOG_WARN, "calibration sequences of %lld tokens are longer than the model's %lld positions",
               (long long)longest, (long long)positions);
}

static gs_status read_corpus(gs_context *cx, const gs_model *model, const char *path, const gs_calibrate_options *o,
                             gs_corpus *out, gs_error *err) {
    gs_corpus_options c = {.path = o->calib, .field = o->calib_field, .samples = o->samples ? o->samples : DEFAULT_SAMPLES,
                           .length = sequence_length(model, o), .seed = (uint64_t)o->seed,
                           .vocab = gs_model_settings(model)->vocab};
    gs_tokenizer *tokenizer = NULL;
    if (!is_ids(o->calib)) {
        gs_status status = gs_tokenizer_open(o->tokenizer ? o->tokenizer : path, &tokenizer, err);
        if (status != GS_OK) {
            gs_error_hint(err, "name one with --tokenizer FILE|DIR, or give ids as a .i32 file");
            return status;
        }
    }
    gs_status status = gs_corpus_load(cx, tokenizer, &c, out, err);
    gs_tokenizer_destroy(tokenizer);
    if (status == GS_OK) warn_of_lengths(cx, model, out);
    return status;
}

gs_status gs_calibration_open(gs_context *cx, const gs_model *model, const char *path,
                              const gs_calibrate_options *o, gs_calibration *out, gs_error *err) {
    *out = (gs_calibration){0};
    GS_TRY(read_options(cx, model, o, &out->options, err));
    GS_TRY(read_corpus(cx, model, path, o, &out->corpus, err));
    if (out->corpus.note[0]) gs_log(cx, GS_LOG_WARN, "%s: %s", o->calib, out->corpus.note);
    gs_status status = gs_stream_create(cx, model, &out->corpus, &out->options, &out->stream, err);
    if (status != GS_OK) gs_calibration_close(out);
    return status;
}

void gs_calibration_close(gs_calibration *c) {
    gs_stream_destroy(c->stream);
    gs_corpus_clear(&c->corpus);
    *c = (gs_calibration){0};
}

gs_status gs_calibration_about(const gs_calibration *c, const gs_model *model, const gs_calibrate_options *o,
                               gs_statistics_info *out, gs_error *err) {
    *out = (gs_statistics_info){.set_hash = c->corpus.hash, .sequences = c->corpus.sequences,
                                .tokens = c->corpus.tokens, .length = sequence_length(model, o),
                                .skip_tokens = c->options.skip_tokens,
                                .sample_rows = gs_stream_sample_rows(c->stream), .seed = (uint64_t)o->seed};
    snprintf(out->compute, sizeof out->compute, "%s", c->options.type == GS_GEMM_BF16 ? "bf16" : "f32");
    snprintf(out->store, sizeof out->store, "%s", c->options.store == GS_BF16 ? "bf16" : "f32");
    snprintf(out->feed, sizeof out->feed, "float");
    return gs_model_fingerprint(model, &out->model_hash, err);
}

/* ---- gs_calibrate ---- */

static gs_status plan_segment(const gs_net *net, const gs_calibration *c, gs_statistics_writer *w, int64_t *count,
                              gs_error *err) {
    gs_observed_edges edges;
    gs_status status = gs_observed_edges_find(net, c->options.kv_cache, &edges, err);
    for (int e = 0; e < edges.count && status == GS_OK; e++) {
        const gs_observed_edge *at = &edges.at[e];
        status = gs_statistics_writer_plan(w, at->edge->name, at->edge->dims.dim[0], gs_stream_edge_samples(c->stream, at), err);
    }
    *count += edges.count;
    gs_observed_edges_clear(&edges);
    return status;
}

/* Every observed edge, from structure alone. */
static gs_status plan(const gs_model *m, const gs_calibration *c, gs_statistics_writer *w, int64_t *edges,
                      gs_error *err) {
    for (int i = 0; i + 1 < gs_model_segments(m); i++) {
        gs_net *net;
        GS_TRY(gs_model_segment(m, i, &net, err));
        gs_status status = plan_segment(net, c, w, edges, err);
        gs_net_destroy(net);
        GS_TRY(status);
    }
    return gs_statistics_writer_begin(w, err);
}

static gs_status calibrate_segment(const gs_model *m, int i, gs_calibration *c, gs_statistics_writer *w,
                                   gs_error *err) {
    gs_net *net;
    gs_observer_set set = {0};
    GS_TRY(gs_model_segment(m, i, &net, err));
    gs_status status = gs_stream_observe_and_advance(c->stream, net, &set, err);
    for (int e = 0; e < set.count && status == GS_OK; e++) status = gs_statistics_writer_put(w, &set.observer[e], err);
    gs_observer_set_clear(&set);
    gs_net_destroy(net);
    return status;
}

gs_status gs_calibration_run(gs_context *cx, const gs_model *m, const char *path, const char *statistics,
                             const gs_calibrate_options *o, gs_calibrate_result *result, gs_error *err) {
    gs_calibration c = {0};
    gs_statistics_info info;
    gs_statistics_writer *w = NULL;
    gs_status status;
    GS_TRY_GOTO(status, done, gs_calibration_open(cx, m, path, o, &c, err));
    GS_TRY_GOTO(status, done, gs_calibration_about(&c, m, o, &info, err));
    GS_TRY_GOTO(status, done, gs_statistics_writer_create(statistics, &info, &w, err));
    GS_TRY_GOTO(status, done, plan(m, &c, w, &result->edges, err));
    int last = gs_model_segments(m) - 1; /* the head */
    for (int i = 0; i < last; i++) {
        GS_TRY_GOTO(status, done, gs_cancel_check(err));
        GS_TRY_GOTO(status, done, calibrate_segment(m, i, &c, w, err));
        gs_progress(cx, "calibrating", i + 1, last);
    }
    result->sequences = c.corpus.sequences;
    result->tokens = c.corpus.tokens;
    result->spilled_bytes = gs_stream_spilled(c.stream);
    snprintf(result->note, sizeof result->note, "%s", c.corpus.note);
    gs_statistics_writer *whole = w;
    w = NULL;
    status = gs_statistics_writer_commit(whole, err);
done:
    gs_statistics_writer_abort(w);
    gs_calibration_close(&c);
    return status;
}

gs_status gs_calibrate(gs_session *session, const char *model, const char *statistics,
                       const gs_calibrate_options *o, gs_calibrate_result *result, gs_error *err) {
    gs_opened opened;
    double began = gs_clock();
    *result = (gs_calibrate_result){0};
    GS_TRY(gs_output_check_dir(model, statistics, err));
    GS_TRY(gs_opened_open(session->context.helper, model, NULL, &opened, err));
    bool quantized = opened.bundle && !gs_bundle_is_float(opened.bundle);
    gs_status status = quantized ? GS_FAIL(err, GS_E_UNSUPPORTED, "%s is a %s bundle: calibrate the float model", model,
                                           gs_bundle_type(opened.bundle))
                                 : gs_calibration_run(&session->context, opened.model, model, statistics, o, result, err);
    gs_opened_close(&opened);
    result->seconds = gs_clock() - began;
    result->tokens_per_second = (double)result->tokens / result->seconds;
    result->peak_rss_bytes = gs_mem_peak_rss();
    return status;
}

gs_status gs_merge_statistics(const char *const *inputs, size_t n, const char *output, gs_error *err) {
    if (n < 1 || n > 1024) return GS_FAIL(err, GS_E_INVALID, "%zu statistics cannot be merged", n);
    GS_TRY(gs_output_check_dir(NULL, output, err));
    return gs_statistics_merge(inputs, (int)n, output, err);
}
