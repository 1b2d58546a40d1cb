#include <base/mem.h>
#include <cli/ui.h>

#include <stdio.h>
#include <string.h>

static void put_json(gs_strbuf *out, const gs_eval_result *r) {
    gs_strbuf_printf(out, "{\"nll\": %.9g, \"ppl\": %.9g, \"ppl_stderr\": %.6g, \"tokens\": %lld, \"windows\": %lld, "
                          "\"window\": %lld, \"tokens_per_second\": %.6g, \"seconds\": %.6g, \"peak_rss_bytes\": %lld",
                     r->nll, r->ppl, r->ppl_stderr, (long long)r->tokens, (long long)r->windows,
                     (long long)r->window, r->tokens_per_second, r->seconds, (long long)gs_mem_peak_rss());
    if (r->compared)
        gs_strbuf_printf(out, ", \"ref_nll\": %.9g, \"ref_ppl\": %.9g, \"ref_ppl_stderr\": %.6g, \"delta_ppl\": %.6g, "
                              "\"delta_ppl_stderr\": %.6g, \"kld_mean\": %.6g, \"kld_stderr\": %.6g, "
                              "\"kld_p99\": %.6g, \"kld_max\": %.6g, \"top1_agreement\": %.6g",
                         r->ref_nll, r->ref_ppl, r->ref_ppl_stderr, r->delta_ppl, r->delta_ppl_stderr,
                         r->kld_mean, r->kld_stderr, r->kld_p99, r->kld_max, r->top1_agreement);
    gs_strbuf_puts(out, "}\n");
}

static void put_table(gs_strbuf *out, const gs_eval_result *r) {
    gs_strbuf_printf(out, "perplexity       %.5f +- %.5f\n", r->ppl, r->ppl_stderr);
    gs_strbuf_printf(out, "nll              %.7f nats a token\n", r->nll);
    if (r->compared) {
        gs_strbuf_printf(out, "reference        %.5f +- %.5f\n", r->ref_ppl, r->ref_ppl_stderr);
        gs_strbuf_printf(out, "delta            %+.5f +- %.5f\n", r->delta_ppl, r->delta_ppl_stderr);
        gs_strbuf_printf(out, "KL divergence    %.6f +- %.6f mean, %.5f at 99 %%, %.4f worst\n", r->kld_mean,
                         r->kld_stderr, r->kld_p99, r->kld_max);
        gs_strbuf_printf(out, "top-1 agreement  %.3f %%\n", 100 * r->top1_agreement);
    }
    gs_strbuf_printf(out, "scored           %lld tokens in %lld windows of %lld\n", (long long)r->tokens,
                     (long long)r->windows, (long long)r->window);
    gs_strbuf_printf(out, "time             %.1f s, %.0f tokens/s, peak memory %s\n", r->seconds,
                     r->tokens_per_second, gs_ui_bytes((uint64_t)gs_mem_peak_rss()));
}

int gs_cmd_eval(int argc, char **argv) {
    gs_ui ui;
    gs_evaluate_options o = {0};
    bool bos = false, no_bos = false;
    gs_ui_init(&ui);
    const gs_arg args[] = {
        {"--text", "FILE", GS_ARG_STRING, &o.text, "UTF-8 text to score"},
        {"--tokens", "FILE.i32", GS_ARG_STRING, &o.tokens, "little-endian int32 token ids instead of a text"},
        {"--against", "MODEL", GS_ARG_STRING, &o.against, "reference: adds delta, KL divergence, top-1 agreement"},
        {"--dtype", "f32|bf16", GS_ARG_STRING, &o.dtype, "operands of matrix products, f32 accumulation (default f32)"},
        {"--protocol", "NAME", GS_ARG_STRING, &o.protocol, "windows (default) or llama.cpp"},
        {"--window", "N", GS_ARG_INT, &o.window, "tokens a window (default 2048; llama.cpp 512)"},
        {"--max-windows", "N", GS_ARG_INT, &o.max_windows, "stop after that many windows"},
        {"--tokenizer", "FILE|DIR", GS_ARG_STRING, &o.tokenizer, "tokenizer to use instead of the model's own"},
        {"--bos", NULL, GS_ARG_FLAG, &bos, "put a BOS first, whatever the tokenizer's configuration says"},
        {"--no-bos", NULL, GS_ARG_FLAG, &no_bos, "put no BOS first"},
        {"--arith", "NAME", GS_ARG_STRING, &o.arith, "how a bundle computes: ascend (default), exact or weights"},
        {"--deq19", NULL, GS_ARG_FLAG, &o.deq19, "with ascend: I64 deq_scales lose their low 13 bits"},
        {"--decode", NULL, GS_ARG_FLAG, &o.decode, "W8A8_MIX as the decoding server computes it (static)"},
        {"--config", "MODEL_DIR", GS_ARG_STRING, &o.config, "where config.json of a bundle is that has none"},
        {"--dump-logits", "FILE.f32", GS_ARG_STRING, &o.dump_logits, "write all logits, [tokens, vocab] float32"},
        GS_UI_ARGS(&ui),
    };
    const gs_command command = {
        "gstick eval MODEL|BUNDLE (--text FILE | --tokens FILE.i32) [options]",
        "Perplexity over non-overlapping windows. A bundle is computed with the arithmetic of its\n"
        "consumer, from the bytes that were written. With --against both models are run over the same\n"
        "windows in one pass.",
        "arithmetic: ascend   what the server computes, its constants rounded to the model's dtype\n"
        "            exact    the stored numbers in float32, activations quantized as stored\n"
        "            weights  dequantized weights alone, activations stay float\n\n"
        "protocols: windows    every token but the first of a window is scored (GPTQ papers)\n"
        "           llama.cpp  windows of 512, the second half is scored (llama-perplexity)\n\n"
        "example: gstick eval BUNDLE --text wiki.test.raw --against MODEL --json | jq .delta_ppl\n\n" GS_EXIT_CODES,
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
    if (!model || (bos && no_bos)) {
        gs_error_set(&err, GS_E_INVALID, model ? "--bos and --no-bos exclude each other" : "no model is given");
        gs_error_hint(&err, "%s", command.usage);
        return gs_ui_fail(&ui, &err);
    }
    o.bos = bos ? 1 : no_bos ? -1 : 0;
    gs_session *session = NULL;
    gs_eval_result result;
    gs_status status = gs_ui_session(&ui, &session, &err);
    if (status == GS_OK) status = gs_evaluate(session, model, &o, &result, &err);
    gs_session_destroy(session);
    if (status != GS_OK) return gs_ui_fail(&ui, &err);
    gs_strbuf out = {0};
    if (ui.json)
        put_json(&out, &result);
    else
        put_table(&out, &result);
    return gs_ui_print(&ui, &out);
}
