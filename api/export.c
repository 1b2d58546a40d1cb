/* gs_export: what a path holds, in another format. One walk to plan, one to write; nothing is quantized, and what the
 * format cannot carry as it is, the format refuses. */
#include <api/opened.h>
#include <api/output.h>
#include <api/session.h>
#include <base/file.h>
#include <base/json.h>
#include <base/mem.h>
#include <base/nearest.h>
#include <deploy/bundle_writer.h>
#include <llm/regroup.h>

#include <stdio.h>
#include <string.h>

enum { MAX_MANIFEST = 64 << 20 };

typedef struct job {
    gs_context *cx;
    const char *path;
    const gs_export_options *options;
    gs_opened source;
    const gs_bundle_format *format;
    gs_bundle_options bundle;
    gs_bundle_writer *writer;
    gs_export_result *result;
} job;

/* The dtype that the model is served in; where config.json does not say (GGUF), that of its embedding. */
static gs_dtype served_dtype(const gs_model *m) {
    char name[GS_STORED_NAME];
    gs_dtype t = gs_model_settings(m)->dtype;
    if (t != GS_DTYPE_NONE) return t;
    snprintf(name, sizeof name, "%s.weight", gs_model_helper(m)->name.embed);
    const gs_tensor *embedding = gs_checkpoint_find(gs_model_checkpoint(m), name);
    if (embedding && (embedding->dtype == GS_BF16 || embedding->dtype == GS_F32)) return embedding->dtype;
    return GS_F16;
}

static gs_status read_options(job *j, gs_error *err) {
    int target;
    const gs_export_options *o = j->options;
    if (!o->format) {
        GS_FAIL(err, GS_E_INVALID, "no format is given to export to");
        return gs_error_hint(err, "--to FORMAT; 'gstick export --help' lists them");
    }
    GS_TRY(gs_bundle_format_find(o->format, &j->format, err));
    GS_TRY(gs_choose("target", o->target, gs_target_names, GS_TARGET_COUNT, &target, err));
    j->bundle.target = (gs_target)target;
    return gs_output_shard_bytes(o->max_shard_size, &j->bundle.max_shard_bytes, err);
}

static bool is_offset_zero(const gs_node *node) {
    float offset = 0;
    const gs_param *p = node->param[GS_ROLE_INPUT_OFFSET];
    return !p || (gs_param_read_f32(p, 0, 1, &offset, NULL) == GS_OK && offset == 0);
}

/* Whether static activations are symmetric in all linears: a format may want to say so once. */
static gs_status look_at_activations(job *j, gs_error *err) {
    j->bundle.act_symmetric = true;
    for (int i = 0; i < gs_model_segments(j->source.model) && j->bundle.act_symmetric; i++) {
        gs_net *net;
        GS_TRY(gs_model_segment(j->source.model, i, &net, err));
        for (int n = 0; n < gs_net_node_count(net); n++) j->bundle.act_symmetric &= is_offset_zero(gs_net_node(net, n));
        gs_net_destroy(net);
    }
    return GS_OK;
}

static gs_status prepare(job *j, const char *output, gs_error *err) {
    const gs_bundle_open_options codes = {.config = j->options->config, .codes = true};
    GS_TRY(gs_output_check_dir(j->path, output, err));
    GS_TRY(read_options(j, err));
    GS_TRY(gs_opened_open(j->cx->helper, j->path, &codes, &j->source, err));
    const gs_model *m = j->source.model;
    gs_output_describe(m, &j->bundle);
    j->bundle.dtype = served_dtype(m);
    j->result->bytes_in = gs_checkpoint_bytes(j->bundle.source);
    GS_TRY(look_at_activations(j, err));
    return gs_bundle_writer_create(j->cx, j->format, output, &j->bundle, &j->writer, err);
}

static void count_linears(const gs_net *net, gs_export_result *r) {
    for (int i = 0; i < gs_net_node_count(net); i++) {
        const gs_node *node = gs_net_node(net, i);
        r->linears += gs_node_is_linear(node);
        r->quantized += node->op == GS_OP_QLINEAR;
    }
}

/* The segment as the format's names have it. */
static gs_status next_segment(job *j, int i, bool write, gs_net **out, gs_error *err) {
    const gs_model *m = j->source.model;
    GS_TRY(gs_model_segment(m, i, out, err));
    gs_status status = gs_regroup(gs_model_helper(m), j->format->parts, write ? gs_model_checkpoint(m) : NULL, *out, err);
    if (status != GS_OK) gs_net_destroy(*out);
    return status;
}

/* One walk: plans, or writes. */
static gs_status walk(job *j, bool write, gs_error *err) {
    int segments = gs_model_segments(j->source.model);
    for (int i = 0; i < segments; i++) {
        gs_net *net;
        GS_TRY(gs_cancel_check(err));
        GS_TRY(next_segment(j, i, write, &net, err));
        gs_status status = write ? gs_bundle_writer_write(j->writer, net, err) : gs_bundle_writer_plan(j->writer, net, err);
        if (write) count_linears(net, j->result);
        gs_net_destroy(net);
        GS_TRY(status);
        if (write) gs_progress(j->cx, "exporting", i + 1, segments);
    }
    return GS_OK;
}

/* What of the source's recipe still says how its codes came about, for who compares them with the float model. */
static void put_history(const job *j, gs_strbuf *text) {
    char *path = gs_path_join(j->path, "gstick_manifest.json");
    cJSON *manifest = NULL;
    if (path && gs_path_exists(path) && gs_json_load(path, MAX_MANIFEST, &manifest, NULL) == GS_OK) {
        const cJSON *recipe = gs_json_get(manifest, "recipe"), *compat = gs_json_get(recipe, "compat");
        if (cJSON_IsTrue(gs_json_get(recipe, "refine"))) gs_strbuf_puts(text, ", \"refine\": true");
        if (cJSON_IsString(compat)) {
            gs_strbuf_puts(text, ", \"compat\": ");
            gs_strbuf_json(text, compat->valuestring, strlen(compat->valuestring));
        }
    }
    cJSON_Delete(manifest);
    gs_free(path);
}

/* Where the numbers come from, and whom they are for. */
static gs_status write_manifest(job *j, gs_error *err) {
    gs_strbuf text = {0};
    const gs_bundle *b = j->source.bundle;
    gs_strbuf_printf(&text, "{\n  \"gstick\": \"%s\",\n  \"recipe\": {\"format\": \"%s\", \"target\": \"%s\"", gs_version(),
                     j->format->name, gs_target_names[j->bundle.target]);
    put_history(j, &text);
    gs_strbuf_printf(&text, "},\n  \"exported_from\": {\"format\": \"%s\", \"type\": \"%s\"}\n}\n",
                     b ? gs_bundle_format_name(b) : "float", b ? gs_bundle_type(b) : "FLOAT");
    gs_status status = text.failed ? gs_error_nomem(err, text.len)
                                   : gs_bundle_writer_add_file(j->writer, "gstick_manifest.json", gs_strbuf_text(&text),
                                                               text.len, err);
    gs_strbuf_clear(&text);
    return status;
}

static gs_status run(job *j, gs_error *err) {
    GS_TRY(walk(j, false, err));
    GS_TRY(gs_bundle_writer_begin(j->writer, err));
    GS_TRY(walk(j, true, err));
    GS_TRY(gs_cancel_check(err));
    GS_TRY(write_manifest(j, err));
    gs_bundle_writer *writer = j->writer;
    j->writer = NULL;
    return gs_bundle_writer_finish(writer, &j->result->bytes_out, err);
}

gs_status gs_export(gs_session *session, const char *input, const char *output, const gs_export_options *options,
                    gs_export_result *result, gs_error *err) {
    static const gs_export_options defaults;
    job j = {.cx = &session->context, .path = input, .options = options ? options : &defaults, .result = result};
    double began = gs_clock();
    *result = (gs_export_result){0};
    gs_status status = prepare(&j, output, err);
    if (status == GS_OK) status = run(&j, err);
    gs_bundle_writer_abort(j.writer);
    gs_opened_close(&j.source);
    result->seconds = gs_clock() - began;
    result->peak_rss_bytes = gs_mem_peak_rss();
    return status;
}
