#include <api/manifest.h>
#include <base/mem.h>
#include <network/net.h>
#include <cli/option_args.h>
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
                          "\"seconds\": %.6g, \"peak_rss_bytes\": %lld, \"note\": ",
                     (unsigned long long)r->bytes_in, (unsigned long long)r->bytes_out, (long long)r->parameters,
                     r->dtype, r->seconds, (long long)r->peak_rss_bytes);
    gs_strbuf_json(out, r->note, strlen(r->note));
    if (!isnan(r->smoothing_change)) gs_strbuf_printf(out, ", \"smoothing_change\": %.3g", r->smoothing_change);
    gs_strbuf_puts(out, ", \"layers\": [");
    for (size_t i = 0; i < r->layer_count; i++) {
        gs_strbuf_puts(out, i ? ",\n " : "\n ");
        gs_manifest_layer(&r->layer[i], out);
    }
    gs_strbuf_puts(out, "]}\n");
}

/* "0.55", or "-" where there is none. */
static const char *number(char out[16], const char *format, double value, bool there) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    if (there) snprintf(out, 16, format, value);
    else snprintf(out, 16, "-");
#pragma GCC diagnostic pop
    return out;
}

static void put_layers(gs_strbuf *out, const gs_quantize_result *r) {
    gs_strbuf_printf(out, "%-40s %-12s %12s %9s %9s %8s %6s %9s %8s\n", "linear", "scheme", "shape", "scale min",
                     "scale max", "SQNR dB", "alpha", "out error", "saturated");
    for (size_t i = 0; i < r->layer_count; i++) {
        const gs_layer_summary *l = &r->layer[i];
        bool quantized = strcmp(l->scheme, "FLOAT") != 0;
        char shape[48], alpha[16], error[16];
        snprintf(shape, sizeof shape, "%lldx%lld", (long long)l->out_features, (long long)l->in_features);
        gs_strbuf_printf(out, "%-40s %-12s %12s ", l->name, l->scheme, shape);
        if (quantized)
            gs_strbuf_printf(out, "%9.3g %9.3g %8.2f %6s %9s %8lld%s", l->scale_min, l->scale_max, l->sqnr_db,
                             number(alpha, "%.4g", l->alpha, !isnan(l->alpha)),
                             number(error, "%.4f", l->output_error, !isnan(l->output_error)),
                             (long long)l->saturated, l->reason[0] ? "  " : "");
        gs_strbuf_printf(out, "%s\n", l->reason);
    }
}

/* The linear that lost most. */
static const gs_layer_summary *worst(const gs_quantize_result *r) {
    const gs_layer_summary *found = NULL;
    for (size_t i = 0; i < r->layer_count; i++)
        if (strcmp(r->layer[i].scheme, "FLOAT") != 0 && (!found || r->layer[i].sqnr_db < found->sqnr_db))
            found = &r->layer[i];
    return found;
}

/* "180 W8A8, 30 W8A8_DYNAMIC": how many linears became what, in the order met. */
static void put_schemes(gs_strbuf *out, const gs_quantize_result *r) {
    const char *seen[GS_SCHEME_COUNT + 1];
    size_t kinds = 0;
    for (size_t i = 0; i < r->layer_count; i++) {
        size_t k = 0, n = 0;
        while (k < kinds && strcmp(seen[k], r->layer[i].scheme) != 0) k++;
        if (k < kinds || kinds == GS_SCHEME_COUNT) continue;
        seen[kinds++] = r->layer[i].scheme;
        for (size_t j = i; j < r->layer_count; j++) n += strcmp(r->layer[j].scheme, r->layer[i].scheme) == 0;
        gs_strbuf_printf(out, "%s%zu %s", kinds > 1 ? ", " : "", n, r->layer[i].scheme);
    }
}

/* Linears that were not treated as asked, and their share of all weights that were to be quantized. */
static void put_fallbacks(gs_strbuf *out, const gs_quantize_result *r) {
    double other = 0, all = 0;
    size_t n = 0;
    for (size_t i = 0; i < r->layer_count; i++) {
        const gs_layer_summary *l = &r->layer[i];
        double weights = (double)l->out_features * (double)l->in_features;
        if (strcmp(l->scheme, "FLOAT") == 0 && !l->fallback) continue;
        all += weights;
        if (!l->fallback) continue;
        other += weights;
        gs_strbuf_printf(out, "%s%s as %s: %s\n", n++ ? "            " : "fallback    ", l->name, l->scheme, l->reason);
    }
    if (n) gs_strbuf_printf(out, "            %.2f %% of the weights to be quantized\n", 100 * other / all);
}

static void put_table(gs_strbuf *out, const char *bundle, const gs_quantize_result *r, bool verbose) {
    if (verbose) put_layers(out, r);
    gs_strbuf_puts(out, "linears     ");
    put_schemes(out, r);
    gs_strbuf_printf(out, "; %s elsewhere\n", r->dtype);
    const gs_layer_summary *w = worst(r);
    if (w) gs_strbuf_printf(out, "worst       %s, SQNR %.2f dB\n", w->name, w->sqnr_db);
    put_fallbacks(out, r);
    if (!isnan(r->smoothing_change))
        gs_strbuf_printf(out, "smoothing   changes float logits by at most %.2g of the largest\n", r->smoothing_change);
    gs_strbuf_printf(out, "bytes       %s in, ", gs_ui_bytes(r->bytes_in));
    if (bundle)
        gs_strbuf_printf(out, "%s out\n", gs_ui_bytes(r->bytes_out));
    else
        gs_strbuf_puts(out, "nothing written (dry run)\n");
    gs_strbuf_printf(out, "time        %.1f s, peak memory %s\n", r->seconds, gs_ui_bytes((uint64_t)r->peak_rss_bytes));
    if (bundle) gs_strbuf_printf(out, "bundle      %s\n", bundle);
}

static int run(gs_ui *ui, const char *model, const char *bundle, const gs_quantize_options *o) {
    gs_error err = {0};
    gs_session *session = NULL;
    gs_quantize_result result = {0};
    gs_status status = gs_ui_session(ui, &session, &err);
    if (status == GS_OK) status = gs_quantize(session, model, bundle, o, &result, &err);
    gs_session_destroy(session);
    if (status != GS_OK) return gs_ui_fail(ui, &err);
    gs_strbuf out = {0};
    if (ui->json)
        put_json(&out, bundle, &result);
    else
        put_table(&out, bundle, &result, ui->verbose);
    gs_quantize_result_clear(&result);
    return gs_ui_print(ui, &out);
}

int gs_cmd_quantize(int argc, char **argv) {
    static gs_option_args options;
    gs_ui ui;
    gs_quantize_options o;
    const char *bundle = NULL, *model = NULL;
    gs_ui_init(&ui);
    const gs_arg output = {"-o,--output", "BUNDLE", GS_ARG_STRING, &bundle, "directory to make; must not exist or be empty"};
    const gs_arg shared[] = {GS_UI_ARGS(&ui)};
    gs_option_args_init(&options, &o, false, &output, 1, shared, GS_COUNTOF(shared));
    const gs_command command = {
        "gstick quantize MODEL --scheme w8a16|w8a8|w8a8-dynamic|w8a8-mix|float -o BUNDLE [options]",
        "Quantizes every linear of a model and writes a bundle with all that a server needs. Works\n"
        "segment by segment: memory does not grow with the model. The bundle appears whole or not at\n"
        "all, and the same input gives the same bytes at any number of threads.\n\n"
        "w8a16 and w8a8-dynamic need no data; static w8a8, smoothing (--alpha), --refine, --fallback and an int8\n"
        "cache (--kv-cache) learn from a calibration set (--calib) or from statistics made before (--stats).",
        "example: gstick quantize ./TinyLlama -o ./TinyLlama-w8a16\n"
        "         gstick quantize ./TinyLlama --scheme w8a8 --calib wiki.txt -o ./TinyLlama-w8a8\n"
        "         gstick eval ./TinyLlama-w8a16 --text wiki.test.raw --against ./TinyLlama\n\n" GS_EXIT_CODES,
        options.row, options.count};
    size_t words;
    bool help = false;
    gs_error err = {0};
    gs_status status = gs_option_args_parse(&options, &command, argc, argv, &model, 1, &words, &help, &err);
    if (status == GS_OK && !help && (!model || (!bundle && !o.dry_run))) {
        status = GS_FAIL(&err, GS_E_INVALID, model ? "no output is given: -o BUNDLE" : "no model is given");
        gs_error_hint(&err, "%s", command.usage);
    }
    int code = GS_EXIT_OK;
    if (status != GS_OK)
        code = gs_ui_fail(&ui, &err);
    else if (help)
        gs_args_help(&command);
    else
        code = run(&ui, model, o.dry_run ? NULL : bundle, &o);
    gs_option_args_clear(&options);
    return code;
}
