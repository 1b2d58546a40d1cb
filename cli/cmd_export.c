#include <cli/ui.h>

#include <string.h>

static void put_json(gs_strbuf *out, const char *bundle, const gs_export_options *o, const gs_export_result *r) {
    gs_strbuf_puts(out, "{\"bundle\": ");
    gs_strbuf_json(out, bundle, strlen(bundle));
    gs_strbuf_puts(out, ", \"format\": ");
    gs_strbuf_json(out, o->format, strlen(o->format));
    gs_strbuf_printf(out, ", \"linears\": %lld, \"quantized\": %lld, \"bytes_in\": %llu, \"bytes_out\": %llu, "
                          "\"seconds\": %.6g, \"peak_rss_bytes\": %lld}\n",
                     (long long)r->linears, (long long)r->quantized, (unsigned long long)r->bytes_in,
                     (unsigned long long)r->bytes_out, r->seconds, (long long)r->peak_rss_bytes);
}

static void put_table(gs_strbuf *out, const char *bundle, const gs_export_options *o, const gs_export_result *r) {
    gs_strbuf_printf(out, "linears     %lld, %lld of them quantized, as they were\n", (long long)r->linears,
                     (long long)r->quantized);
    gs_strbuf_printf(out, "bytes       %s in, ", gs_ui_bytes(r->bytes_in));
    gs_strbuf_printf(out, "%s out\n", gs_ui_bytes(r->bytes_out));
    gs_strbuf_printf(out, "time        %.1f s, peak memory %s\n", r->seconds, gs_ui_bytes((uint64_t)r->peak_rss_bytes));
    gs_strbuf_printf(out, "bundle      %s (%s)\n", bundle, o->format);
}

static int run(gs_ui *ui, const char *input, const char *output, const gs_export_options *o) {
    gs_error err = {0};
    gs_session *session = NULL;
    gs_export_result result;
    gs_status status = gs_ui_session(ui, &session, &err);
    if (status == GS_OK) status = gs_export(session, input, output, o, &result, &err);
    gs_session_destroy(session);
    if (status != GS_OK) return gs_ui_fail(ui, &err);
    gs_strbuf out = {0};
    if (ui->json) put_json(&out, output, o, &result);
    else put_table(&out, output, o, &result);
    return gs_ui_print(ui, &out);
}

int gs_cmd_export(int argc, char **argv) {
    gs_ui ui;
    gs_export_options o = {0};
    const char *input = NULL, *output = NULL;
    gs_ui_init(&ui);
    const gs_arg args[] = {
        {"--to", "FORMAT", GS_ARG_STRING, &o.format,
         "ascend, mindspore, mindspore-ckpt, compressed-tensors, gptq or gguf"},
        {"-o,--output", "OUT", GS_ARG_STRING, &output, "directory to make; must not exist or be empty"},
        {"--target", "NAME", GS_ARG_STRING, &o.target, "of an ascend bundle: both (default), vllm-ascend, mindie or 310p"},
        {"--config", "DIR", GS_ARG_STRING, &o.config, "directory with the config.json of a bundle that has none"},
        {"--max-shard-size", "SIZE", GS_ARG_BYTES, &o.max_shard_size, "tensor bytes a file (default 4G)"},
        GS_UI_ARGS(&ui),
    };
    const gs_command command = {
        "gstick export INPUT --to FORMAT -o OUT [options]",
        "Writes a model or a quantized bundle of any format that gstick reads in another one. Codes and\n"
        "scales go over bit by bit: nothing is quantized again, and what the format cannot carry is refused\n"
        "with the reason. The output appears whole or not at all.",
        "example: gstick export ./Qwen2-w8a8 --to compressed-tensors -o ./Qwen2-w8a8-ct\n"
        "         gstick export ./TinyLlama --to gguf -o ./TinyLlama-gguf\n\n" GS_EXIT_CODES,
        args, GS_COUNTOF(args)};
    size_t words;
    bool help = false;
    gs_error err = {0};
    gs_status status = gs_args_parse(&command, argc, argv, &input, 1, &words, &help, &err);
    if (status == GS_OK && !help && (!input || !output || !o.format)) {
        status = GS_FAIL(&err, GS_E_INVALID, !input ? "no input is given" : !output ? "no output is given: -o OUT"
                                                                          : "no format is given: --to FORMAT");
        gs_error_hint(&err, "%s", command.usage);
    }
    if (status != GS_OK) return gs_ui_fail(&ui, &err);
    if (help) {
        gs_args_help(&command);
        return GS_EXIT_OK;
    }
    return run(&ui, input, output, &o);
}
