/* gs_evaluate: tokens from a text or a file, then perplexity of whatever the path holds. */
#include <api/opened.h>
#include <api/output.h>
#include <api/session.h>
#include <base/file.h>
#include <base/mem.h>
#include <base/nearest.h>
#include <eval/perplexity.h>
#include <loaders/token_file.h>
#include <loaders/tokenizer.h>

enum { MAX_TEXT = 1 << 30 };

static gs_status read_options(const gs_evaluate_options *o, gs_eval_options *out, gs_error *err) {
    static const char *const dtypes[] = {"f32", "bf16"};
    static const char *const protocols[] = {"windows", "llama.cpp"};
    int dtype, protocol;
    GS_TRY(gs_choose("dtype", o->dtype, dtypes, GS_COUNTOF(dtypes), &dtype, err));
    GS_TRY(gs_choose("protocol", o->protocol, protocols, GS_COUNTOF(protocols), &protocol, err));
    if (!o->text == !o->tokens)
        return GS_FAIL(err, GS_E_INVALID, "exactly one of a text and a token file is needed");
    if (o->window < 0 || o->window == 1 || o->max_windows < 0)
        return GS_FAIL(err, GS_E_INVALID, "a window has at least two tokens");
    *out = (gs_eval_options){.type = dtype ? GS_GEMM_BF16 : GS_GEMM_F32,
                             .protocol = protocol ? GS_PROTOCOL_LLAMA_CPP : GS_PROTOCOL_WINDOWS,
                             .window = o->window, .max_windows = o->max_windows, .bos = -1,
                             .dump_logits = o->dump_logits};
    return GS_OK;
}

/* How a bundle computes. The reference, if it is one, is what its server computes. */
static gs_status read_arithmetic(const gs_evaluate_options *o, gs_bundle_open_options *out, gs_error *err) {
    static const char *const ariths[] = {"ascend", "exact", "weights"};
    static const gs_arith of[] = {GS_ARITH_CONSUMER, GS_ARITH_EXACT, GS_ARITH_WEIGHTS};
    int arith;
    GS_TRY(gs_choose("arith", o->arith, ariths, GS_COUNTOF(ariths), &arith, err));
    *out = (gs_bundle_open_options){.config = o->config, .arith = of[arith], .deq19 = o->deq19, .decode = o->decode};
    return GS_OK;
}

/* The tokenizer the caller names, else the model's, else the reference's. */
static gs_status open_tokenizer(const gs_evaluate_options *o, const char *model, gs_tokenizer **out,
                                gs_error *err) {
    if (o->tokenizer) return gs_tokenizer_open(o->tokenizer, out, err);
    gs_status status = gs_tokenizer_open(model, out, err);
    if (status == GS_OK || !o->against) {
        if (status != GS_OK)
            gs_error_hint(err, "name one with --tokenizer FILE|DIR, or give ids with --tokens");
        return status;
    }
    gs_error first = err ? *err : (gs_error){0};
    if (gs_tokenizer_open(o->against, out, NULL) == GS_OK) return GS_OK;
    if (err) *err = first;
    return status;
}

static gs_status tokenize(gs_context *cx, const gs_evaluate_options *o, const char *model,
                          gs_eval_options *options, int32_t **ids, size_t *count, gs_error *err) {
    if (o->tokens) return gs_token_file_read(o->tokens, ids, count, err);
    gs_tokenizer *tokenizer;
    GS_TRY(open_tokenizer(o, model, &tokenizer, err));
    gs_bos_mode bos = o->bos > 0 ? GS_BOS_ALWAYS : o->bos < 0 ? GS_BOS_NEVER : GS_BOS_AUTO;
    bool with_bos = bos == GS_BOS_ALWAYS || (bos == GS_BOS_AUTO && gs_tokenizer_adds_bos(tokenizer));
    options->bos = with_bos ? gs_tokenizer_bos(tokenizer) : -1;
    char *text = NULL;
    size_t len;
    gs_status status = gs_file_read(o->text, MAX_TEXT, &text, &len, err);
    if (status == GS_OK) {
        status = gs_tokenizer_encode(tokenizer, cx, text, len, bos, false, ids, count, err);
        if (status != GS_OK) gs_error_at(err, "%s", o->text);
    }
    gs_free(text);
    gs_tokenizer_destroy(tokenizer);
    return status;
}

static gs_status check_output(const gs_evaluate_options *o, const char *model, gs_error *err) {
    const char *const input[] = {model, o->against, o->text, o->tokens};
    for (size_t i = 0; i < GS_COUNTOF(input); i++) GS_TRY(gs_output_check_input(input[i], o->dump_logits, err));
    return GS_OK;
}

gs_status gs_evaluate(gs_session *session, const char *model, const gs_evaluate_options *o,
                      gs_eval_result *result, gs_error *err) {
    gs_eval_options options;
    gs_bundle_open_options bundle, plain = {.config = o->config};
    const gs_network_helper *helper = session->context.helper;
    gs_opened opened = {0}, reference = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    gs_status status;
    GS_TRY(read_options(o, &options, err));
    GS_TRY(read_arithmetic(o, &bundle, err));
    GS_TRY(check_output(o, model, err));
    GS_TRY_GOTO(status, done, gs_opened_open(helper, model, &bundle, &opened, err));
    if (o->against) GS_TRY_GOTO(status, done, gs_opened_open(helper, o->against, &plain, &reference, err));
    GS_TRY_GOTO(status, done, tokenize(&session->context, o, model, &options, &ids, &count, err));
    status = gs_eval_perplexity(&session->context, opened.model, reference.model, &options, ids,
                                (int64_t)count, result, err);
done:
    gs_free(ids);
    gs_opened_close(&opened);
    gs_opened_close(&reference);
    return status;
}
