#include <base/mem.h>
#include <cli/option_args.h>
#include <cli/ui.h>

#include <stdio.h>
#include <string.h>

static void put_json(gs_strbuf *out, const char *statistics, const gs_calibrate_result *r) {
    gs_strbuf_puts(out, "{\"statistics\": ");
    gs_strbuf_json(out, statistics, strlen(statistics));
    gs_strbuf_printf(out, ", \"sequences\": %lld, \"tokens\": %lld, \"edges\": %lld, \"spilled_bytes\": %lld, "
                          "\"seconds\": %.6g, \"tokens_per_second\": %.6g, \"peak_rss_bytes\": %lld, \"note\": ",
                     (long long)r->sequences, (long long)r->tokens, (long long)r->edges, (long long)r->spilled_bytes,
                     r->seconds, r->tokens_per_second, (long long)r->peak_rss_bytes);
    gs_strbuf_json(out, r->note, strlen(r->note));
    gs_strbuf_puts(out, "}\n");
}

static void put_table(gs_strbuf *out, const char *statistics, const gs_calibrate_result *r) {
    gs_strbuf_printf(out, "calibrated  %lld tokens in %lld sequences, %lld values observed\n", (long long)r->tokens,
                     (long long)r->sequences, (long long)r->edges);
    if (r->spilled_bytes)
        gs_strbuf_printf(out, "scratch     %s of activations on disk\n", gs_ui_bytes((uint64_t)r->spilled_bytes));
    gs_strbuf_printf(out, "time        %.1f s, %.0f tokens/s, peak memory %s\n", r->seconds, r->tokens_per_second,
                     gs_ui_bytes((uint64_t)r->peak_rss_bytes));
    gs_strbuf_printf(out, "statistics  %s\n", statistics);
}

static int calibrate(gs_ui *ui, const char *model, const char *output, const gs_calibrate_options *o) {
    gs_error err = {0};
    gs_session *session = NULL;
    gs_calibrate_result result;
    gs_status status = gs_ui_session(ui, &session, &err);
    if (status == GS_OK) status = gs_calibrate(session, model, output, o, &result, &err);
    gs_session_destroy(session);
    if (status != GS_OK) return gs_ui_fail(ui, &err);
    gs_strbuf out = {0};
    if (ui->json)
        put_json(&out, output, &result);
    else
        put_table(&out, output, &result);
    return gs_ui_print(ui, &out);
}

static int merge(gs_ui *ui, const char *const *inputs, size_t n, const char *output) {
    gs_error err = {0};
    gs_strbuf out = {0};
    if (gs_merge_statistics(inputs, n, output, &err) != GS_OK) return gs_ui_fail(ui, &err);
    if (ui->json) {
        gs_strbuf_puts(&out, "{\"statistics\": ");
        gs_strbuf_json(&out, output, strlen(output));
        gs_strbuf_puts(&out, "}\n");
    } else {
        gs_strbuf_printf(&out, "statistics  %s\n", output);
    }
    return gs_ui_print(ui, &out);
}

enum { MAX_INPUTS = 64 };

static gs_status check(const gs_command *c, bool merging, size_t words, const char *output,
                       const gs_calibrate_options *o, gs_error *err) {
    const char *wrong = NULL;
    if (words == 0) wrong = merging ? "no statistics are given" : "no model is given";
    else if (!merging && words > 1) wrong = "only one model can be calibrated at a time";
    else if (!output) wrong = "no output is given: -o STATS";
    else if (!merging && !o->calib) wrong = "no calibration set is given: --calib FILE";
    else if (merging && o->calib) wrong = "--merge takes statistics, not a calibration set";
    if (!wrong) return GS_OK;
    GS_FAIL(err, GS_E_INVALID, "%s", wrong);
    return gs_error_hint(err, "%s", c->usage);
}

int gs_cmd_calibrate(int argc, char **argv) {
    static gs_option_args options;
    gs_ui ui;
    gs_quantize_options o;
    const char *output = NULL, *word[MAX_INPUTS];
    bool merging = false, help = false;
    gs_ui_init(&ui);
    const gs_arg own[] = {
        {"-o,--output", "STATS", GS_ARG_STRING, &output, "directory to make; must not exist or be empty"},
        {"--merge", NULL, GS_ARG_FLAG, &merging, "add up statistics of one model instead"},
    };
    const gs_arg shared[] = {GS_UI_ARGS(&ui)};
    gs_option_args_init(&options, &o, true, own, GS_COUNTOF(own), shared, GS_COUNTOF(shared));
    const gs_command command = {
        "gstick calibrate MODEL --calib FILE -o STATS [options]",
        "Shows a model some text and writes down what its linears read: the statistics that static\n"
        "activations, smoothing and weight refinement are computed from. Once done, any number of\n"
        "'gstick quantize --stats STATS' can use them. One segment is in memory at a time; the result does\n"
        "not depend on threads or memory.",
        "calibration sets: plain text, .jsonl (one text a line), .i32 (token ids)\n\n"
        "example: gstick calibrate ./TinyLlama --calib wiki.txt --samples 128 --seq 512 -o ./stats\n"
        "         gstick quantize ./TinyLlama --scheme w8a8 --stats ./stats -o ./TinyLlama-w8a8\n"
        "         gstick calibrate --merge ./stats-a ./stats-b -o ./stats\n\n" GS_EXIT_CODES,
        options.row, options.count};
    size_t words;
    gs_error err = {0};
    gs_status status = gs_option_args_parse(&options, &command, argc, argv, word, MAX_INPUTS, &words, &help, &err);
    if (status == GS_OK && !help) status = check(&command, merging, words, output, &o.calibrate, &err);
    int code = GS_EXIT_OK;
    if (status != GS_OK)
        code = gs_ui_fail(&ui, &err);
    else if (help)
        gs_args_help(&command);
    else
        code = merging ? merge(&ui, word, words, output) : calibrate(&ui, word[0], output, &o.calibrate);
    gs_option_args_clear(&options);
    return code;
}
