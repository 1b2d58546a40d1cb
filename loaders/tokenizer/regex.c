#include <loaders/tokenizer/regex.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <base/mem.h>

enum {
    MAX_PATTERN = 1 << 16,
    /* real patterns need a few steps a match; this ends a runaway within milliseconds */
    MATCH_LIMIT = 2000000,
    JIT_STACK_MAX = 1 << 20
};

struct gs_tokregex {
    pcre2_general_context *memory;
    pcre2_code *code;
    bool jit;
};

struct gs_tokregex_run {
    const gs_tokregex *re;
    pcre2_match_context *limits;
    pcre2_match_data *match;
    pcre2_jit_stack *stack;
};

static void *pcre_alloc(PCRE2_SIZE n, void *unused) {
    (void)unused;
    return gs_alloc(n);
}

static void pcre_free(void *p, void *unused) {
    (void)unused;
    gs_free(p);
}

static gs_status compile(gs_tokregex *re, const gs_strbuf *text, gs_error *err) {
    pcre2_compile_context *cc = pcre2_compile_context_create(re->memory);
    if (!cc) return gs_error_nomem(err, 0);
    /* '.', '^' and '$' know one line end, as in Oniguruma */
    pcre2_set_newline(cc, PCRE2_NEWLINE_LF);
    int why = 0;
    PCRE2_SIZE at = 0;
    re->code = pcre2_compile((PCRE2_SPTR)gs_strbuf_text(text), text->len,
                             PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_UTF_CHECK |
                                 PCRE2_NEVER_BACKSLASH_C,
                             &why, &at, cc);
    pcre2_compile_context_free(cc);
    if (!re->code) {
        if (why == PCRE2_ERROR_HEAP_FAILED) return gs_error_nomem(err, text->len);
        char words[200] = "";
        pcre2_get_error_message(why, (PCRE2_UCHAR *)words, sizeof words);
        return GS_FAIL(err, GS_E_UNSUPPORTED, "regular expression: %s (PCRE2, offset %zu)", words,
                       at);
    }
    /* no JIT for this machine or under its emulator: the interpreter gives the same matches */
    re->jit = pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE) == 0;
    return GS_OK;
}

gs_status gs_tokregex_compile(const char *pattern, size_t len, gs_tokregex **out, gs_error *err) {
    *out = NULL;
    if (len > MAX_PATTERN)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "regular expression of %zu bytes, at most %d", len,
                       MAX_PATTERN);
    gs_strbuf text = {0};
    gs_tokregex *re = gs_calloc(1, sizeof *re);
    gs_status status;
    if (!re) {
        status = gs_error_nomem(err, sizeof *re);
        goto done;
    }
    re->memory = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    if (!re->memory) {
        status = gs_error_nomem(err, 0);
        goto done;
    }
    GS_TRY_GOTO(status, done, gs_tokregex_translate(pattern, len, &text, err));
    GS_TRY_GOTO(status, done, compile(re, &text, err));
    *out = re;
    re = NULL;
done:
    gs_strbuf_clear(&text);
    gs_tokregex_destroy(re);
    return status;
}

void gs_tokregex_destroy(gs_tokregex *re) {
    if (!re) return;
    pcre2_code_free(re->code);
    pcre2_general_context_free(re->memory);
    gs_free(re);
}

gs_status gs_tokregex_run_create(const gs_tokregex *re, gs_tokregex_run **out, gs_error *err) {
    *out = NULL;
    gs_tokregex_run *run = gs_calloc(1, sizeof *run);
    if (!run) return gs_error_nomem(err, sizeof *run);
    run->re = re;
    run->limits = pcre2_match_context_create(re->memory);
    run->match = pcre2_match_data_create(1, re->memory);
    if (re->jit) run->stack = pcre2_jit_stack_create(32 * 1024, JIT_STACK_MAX, re->memory);
    if (!run->limits || !run->match || (re->jit && !run->stack)) {
        gs_tokregex_run_destroy(run);
        return gs_error_nomem(err, JIT_STACK_MAX);
    }
    pcre2_set_match_limit(run->limits, MATCH_LIMIT);
    if (run->stack) pcre2_jit_stack_assign(run->limits, NULL, run->stack);
    *out = run;
    return GS_OK;
}

void gs_tokregex_run_destroy(gs_tokregex_run *run) {
    if (!run) return;
    pcre2_jit_stack_free(run->stack);
    pcre2_match_data_free(run->match);
    pcre2_match_context_free(run->limits);
    gs_free(run);
}

gs_status gs_tokregex_next(gs_tokregex_run *run, const char *text, size_t len, size_t from,
                           size_t *begin, size_t *end, bool *found, gs_error *err) {
    int rc = run->re->jit
                 ? pcre2_jit_match(run->re->code, (PCRE2_SPTR)text, len, from, 0, run->match,
                                   run->limits)
                 : pcre2_match(run->re->code, (PCRE2_SPTR)text, len, from, PCRE2_NO_UTF_CHECK,
                               run->match, run->limits);
    *found = rc >= 0;
    if (rc >= 0) {
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(run->match);
        *begin = span[0];
        *end = span[1];
        return GS_OK;
    }
    if (rc == PCRE2_ERROR_NOMATCH) return GS_OK;
    if (rc == PCRE2_ERROR_NOMEMORY) return gs_error_nomem(err, 0);
    if (rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_DEPTHLIMIT ||
        rc == PCRE2_ERROR_HEAPLIMIT || rc == PCRE2_ERROR_JIT_STACKLIMIT)
        return GS_FAIL(err, GS_E_UNSUPPORTED,
                       "regular expression needs too many steps at byte %zu of %zu of this text",
                       from, len);
    return GS_FAIL(err, GS_E_FORMAT, "regular expression failed with PCRE2 code %d", rc);
}
