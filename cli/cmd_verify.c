#include <cli/ui.h>

#include <stdio.h>
#include <string.h>

static void put_text(gs_strbuf *out, const char *key, const char *text) {
    gs_strbuf_printf(out, "\"%s\": ", key);
    gs_strbuf_json(out, text, strlen(text));
}

static int print_checks(gs_ui *ui) {
    size_t count;
    const gs_check_info *c = gs_verify_checks(&count);
    gs_strbuf out = {0};
    gs_strbuf_puts(&out, ui->json ? "[" : "");
    for (size_t i = 0; i < count; i++) {
        if (!ui->json) {
            gs_strbuf_printf(&out, "%-26s %s\n%-26s otherwise: %s (%s)\n", c[i].id, c[i].what, "", c[i].why, c[i].source);
            continue;
        }
        gs_strbuf_puts(&out, i ? ",\n {" : "{");
        put_text(&out, "id", c[i].id);
        gs_strbuf_puts(&out, ", ");
        put_text(&out, "what", c[i].what);
        gs_strbuf_puts(&out, ", ");
        put_text(&out, "why", c[i].why);
        gs_strbuf_puts(&out, ", ");
        put_text(&out, "source", c[i].source);
        gs_strbuf_puts(&out, "}");
    }
    gs_strbuf_puts(&out, ui->json ? "]\n" : "");
    return gs_ui_print(ui, &out);
}

static void put_table(gs_strbuf *out, const char *bundle, const gs_verify_result *r) {
    for (size_t i = 0; i < r->finding_count; i++) {
        const gs_finding *f = &r->finding[i];
        gs_strbuf_printf(out, "FAIL %s %s%s%s\n", f->check, f->tensor, f->tensor[0] ? ": " : "", f->text);
    }
    if (r->total_findings > r->finding_count)
        gs_strbuf_printf(out, "... and %zu more\n", r->total_findings - r->finding_count);
    gs_strbuf_printf(out, "%s: %zu findings; %zu checks on %zu tensors, %s in %.2f s\n", bundle, r->total_findings, r->checks_run,
                     r->tensors, gs_ui_bytes(r->bytes), r->seconds);
}

static void put_json(gs_strbuf *out, const gs_verify_result *r) {
    gs_strbuf_printf(out, "{\"holds\": %s, \"total_findings\": %zu, \"checks_run\": %zu, \"tensors\": %zu, \"bytes\": %llu, "
                          "\"seconds\": %.6g, \"peak_rss_bytes\": %lld, \"findings\": [",
                     r->total_findings ? "false" : "true", r->total_findings, r->checks_run, r->tensors, (unsigned long long)r->bytes,
                     r->seconds, (long long)r->peak_rss_bytes);
    for (size_t i = 0; i < r->finding_count; i++) {
        gs_strbuf_puts(out, i ? ",\n  {" : "\n  {");
        put_text(out, "check", r->finding[i].check);
        gs_strbuf_puts(out, ", ");
        put_text(out, "tensor", r->finding[i].tensor);
        gs_strbuf_puts(out, ", ");
        put_text(out, "text", r->finding[i].text);
        gs_strbuf_puts(out, "}");
    }
    gs_strbuf_puts(out, "]}\n");
}

static int run(gs_ui *ui, const char *bundle, const gs_verify_options *o) {
    gs_error err = {0};
    gs_session *session = NULL;
    gs_verify_result r = {0};
    gs_status status = gs_ui_session(ui, &session, &err);
    if (status == GS_OK) status = gs_verify(session, bundle, o, &r, &err);
    gs_session_destroy(session);
    if (status != GS_OK) return gs_ui_fail(ui, &err);
    gs_strbuf out = {0};
    if (ui->json) put_json(&out, &r);
    else put_table(&out, bundle, &r);
    bool holds = r.total_findings == 0;
    gs_verify_result_clear(&r);
    int code = gs_ui_print(ui, &out);
    return code != GS_EXIT_OK || holds ? code : GS_EXIT_CHECK;
}

int gs_cmd_verify(int argc, char **argv) {
    gs_ui ui;
    gs_verify_options o = {0};
    bool checks = false;
    gs_ui_init(&ui);
    const gs_arg args[] = {
        {"--against", "MODEL", GS_ARG_STRING, &o.against, "the float model it was made from: weights within half a step, floats and config.json equal, nothing left out"},
        {"--tolerance-steps", "N", GS_ARG_DOUBLE, &o.tolerance_steps,
         "with --against: how many steps a weight may be off (default 0.5; quantizers like GPTQ need more)"},
        {"--target", "NAME", GS_ARG_STRING, &o.target,
         "who is to load it: both (vllm-ascend and MindIE), vllm-ascend, mindie or 310p (default: the manifest's, else both)"},
        {"--config", "DIR", GS_ARG_STRING, &o.config, "where config.json is, for a bundle that has none"},
        {"--checks", NULL, GS_ARG_FLAG, &checks, "print the table of checks: what holds, and what happens otherwise"},
        GS_UI_ARGS(&ui),
    };
    const gs_command command = {
        "gstick verify BUNDLE [options]",
        "Whether a bundle would load and compute what it says, from its files alone: completeness against the\n"
        "architecture in config.json, types, shapes, shared scales, accumulators, offsets, stray files, NaN and more.\n"
        "One line a failure, \"FAIL check tensor: what is there\"; it never stops at the first.",
        GS_EXIT_CODES "\n\n0 means that every check holds, 1 that at least one does not.", args, GS_COUNTOF(args)};
    const char *bundle = NULL;
    size_t words;
    bool help;
    gs_error err = {0};
    if (gs_args_parse(&command, argc, argv, &bundle, 1, &words, &help, &err) != GS_OK) return gs_ui_fail(&ui, &err);
    if (help) {
        gs_args_help(&command);
        return GS_EXIT_OK;
    }
    if (checks) return print_checks(&ui);
    if (bundle) return run(&ui, bundle, &o);
    gs_error_set(&err, GS_E_INVALID, "no bundle is given");
    gs_error_hint(&err, "%s", command.usage);
    return gs_ui_fail(&ui, &err);
}
