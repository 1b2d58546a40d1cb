#include <api/manifest.h>
#include <base/mem.h>
#include <cli/ui.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

static void put_json(gs_strbuf *out, const char *bundle, const gs_quantize_result *r) {
    gs_strbuf_puts(out, "{\"bundle\": ");
    if (bundle)
        gs_strbuf_json(out, bundle, strlen(bundle));
    else
        gs_strbuf_puts(out, "null");
    gs_strbuf_printf(out, ", \"bytes_in\": %llu, \"bytes_out\": %llu, \"parameters\": %lld, \"dtype\": \"%s\", "
                          "\"seconds\": %.6g, \"peak_rss_bytes\": %lld, \"layers\": [",
                     (unsigned long long)r->bytes_in, (unsigned long long)r->bytes_out, (long long)r->parameters,
                     r->dtype, r->seconds, (long long)r->peak_rss_bytes);
    for (size_t i = 0; i < r->layer_count; i++) {
        gs_strbuf_puts(out, i ? ",\n " : "\n ");
        gs_manifest_layer(&r->layer[i], out);
    }
    gs_strbuf_puts(out, "]}\n");
}

static void put_layers(gs_strbuf *out, const gs_quantize_result *r) {
    gs_strbuf_printf(out, "%-44s %-6s %14s %10s %10s %9s\n", "linear", "scheme", "shape", "scale min", "scale max",
                     "SQNR dB");
    for (size_t i = 0; i < r->layer_count; i++) {
        const gs_layer_summary *l = &r->layer[i];
        char shape[48];
        snprintf(shape, sizeof shape, "%lldx%lld", (long long)l->out_features, (long long)l->in_features);
        gs_strbuf_printf(out, "%-44s %-6s %14s ", l->name, l->scheme, shape);
        if (l->reason[0])
            gs_strbuf_printf(out, "%s\n", l->reason);
        else
            gs_strbuf_printf(out, "%10.3g %10.3g %9.2f\n", l->scale_min, l->scale_max, l->sqnr_db);
    }
}

/* The linear that lost most. */
static const gs_layer_summary *worst(const gs_quantize_result *r) {
    const gs_layer_summary *found = NULL;
    for (size_t i = 0; i < r->layer_count; i++)
        if (!r->layer[i].reason[0] && (!found || r->layer[i].sqnr_db < found->sqnr_db)) found = &r->layer[i];
    return found;
}

static void put_table(gs_strbuf *out, const char *bundle, const gs_quantize_result *r, bool verbose) {
    size_t quantized = 0;
    for (size_t i = 0; i < r->layer_count; i++) quantized += !r->layer[i].reason[0];
    if (verbose) put_layers(out, r);
    gs_strbuf_printf(out, "quantized   %zu of %zu linears, %s elsewhere\n", quantized, r->layer_count, r->dtype);
    const gs_layer_summary *w = worst(r);
    if (w) gs_strbuf_printf(out, "worst       %s, SQNR %.2f dB\n", w->name, w->sqnr_db);
    gs_strbuf_printf(out, "bytes       %s in, ", gs_ui_bytes(r->bytes_in));
    if (bundle)
        gs_strbuf_printf(out, "%s out\n", gs_ui_bytes(r->bytes_out));
    else
        gs_strbuf_puts(out, "nothing written (dry run)\n");
    gs_strbuf_printf(out, "time        %.1f s, peak memory %s\n", r->seconds, gs_ui_bytes((uint64_t)r->peak_rss_bytes));
    if (bundle) gs_strbuf_printf(out, "bundle      %s\n", bundle);
}

int gs_cmd_quantize(int argc, char **argv) {
    gs_ui ui;
    gs_quantize_options o = {0};
    gs_arg_list blacklist = {.count = 0};
    const char *bundle = NULL;
    int64_t shard = 0;
    gs_ui_init(&ui);
    const gs_arg args[] = {
        {"-o,--output", "BUNDLE", GS_ARG_STRING, &bundle, "directory to make; must not exist or be empty"},
        {"--scheme", "NAME", GS_ARG_STRING, &o.scheme, "w8a16: int8 weights per output channel (default)"},
        {"--format", "NAME", GS_ARG_STRING, &o.format, "ascend: vllm-ascend and MindIE (default)"},
        {"--dtype", "T", GS_ARG_STRING, &o.dtype, "of what stays float: auto (default), f16, bf16, f32"},
        {"--convention", "NAME", GS_ARG_STRING, &o.scale_convention, "scale: ascend max|w|/127 (default), goldenstick 2max|w|/255"},
        {"--blacklist", "WORDS", GS_ARG_LIST, &blacklist, "linears whose name contains one stay float (default lm_head)"},
        {"--max-shard-size", "SIZE", GS_ARG_BYTES, &shard, "tensor bytes a file (default 4G)"},
        {"--dry-run", NULL, GS_ARG_FLAG, &o.dry_run, "quantize and report, write nothing"},
        GS_UI_ARGS(&ui),
    };
    const gs_command command = {
        "gstick quantize MODEL --scheme w8a16 -o BUNDLE [options]",
        "Quantizes every linear of a model and writes a bundle with all that a server needs. Works\n"
        "segment by segment: memory does not grow with the model. The bundle appears whole or not at\n"
        "all, and the same input gives the same bytes at any number of threads.",
        "example: gstick quantize ./TinyLlama -o ./TinyLlama-w8a16\n"
        "         gstick eval ./TinyLlama-w8a16 --text wiki.test.raw --against ./TinyLlama\n\n" GS_EXIT_CODES,
        args, GS_COUNTOF(args)};
    const char *model = NULL;
    size_t words;
    bool help;
    gs_error err = {0};
    if (gs_args_parse(&command, argc, argv, &model, 1, &words, &help, &err) != GS_OK) return gs_ui_fail(&ui, &err);
    if (help) {
        gs_args_help(&command);
        return GS_EXIT_OK;
    }
    if (!model || (!bundle && !o.dry_run)) {
        gs_error_set(&err, GS_E_INVALID, model ? "no output is given: -o BUNDLE" : "no model is given");
        gs_error_hint(&err, "%s", command.usage);
        return gs_ui_fail(&ui, &err);
    }
    if (o.dry_run) bundle = NULL;
    o.max_shard_bytes = (uint64_t)shard;
    if (blacklist.count) {
        o.blacklist = blacklist.item;
        o.blacklist_count = blacklist.count;
    }
    gs_session *session = NULL;
    gs_quantize_result result = {0};
    gs_status status = gs_ui_session(&ui, &session, &err);
    if (status == GS_OK) status = gs_quantize(session, model, bundle, &o, &result, &err);
    gs_session_destroy(session);
    if (status != GS_OK) return gs_ui_fail(&ui, &err);
    gs_strbuf out = {0};
    if (ui.json)
        put_json(&out, bundle, &result);
    else
        put_table(&out, bundle, &result, ui.verbose);
    gs_quantize_result_clear(&result);
    return gs_ui_print(&ui, &out);
}
