/* Helpers of the tokenizer tests: ids of a text, cases in llama.cpp's format, the cache of
 * downloaded vocabularies. */
#ifndef GS_TESTS_TOKENIZER_SUPPORT_H
#define GS_TESTS_TOKENIZER_SUPPORT_H

#include "../support.h"

#include <base/file.h>
#include <base/mem.h>
#include <base/strbuf.h>
#include <loaders/tokenizer.h>

static inline gs_tokenizer *tok_open(const char *path) {
    gs_tokenizer *t = NULL;
    gs_error err = {0};
    assert_ok(gs_tokenizer_open(path, &t, &err), &err);
    return t;
}

static inline gs_tokenizer *tok_from_json(const char *json) {
    gs_tokenizer *t = NULL;
    gs_error err = {0};
    assert_ok(gs_tokenizer_from_json(json, strlen(json), &t, &err), &err);
    return t;
}

/* The ids as text, "1 2 3", in a static buffer; without BOS. */
static inline const char *tok_ids(const gs_tokenizer *t, const char *text, size_t len,
                                  bool special) {
    static gs_strbuf out;
    gs_error err = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    assert_ok(gs_tokenizer_encode(t, NULL, text, len, GS_BOS_NEVER, special, &ids, &n, &err),
              &err);
    gs_strbuf_reset(&out);
    for (size_t i = 0; i < n; i++) {
        assert_in_range(ids[i], 0, gs_tokenizer_vocab(t) - 1);
        gs_strbuf_printf(&out, "%s%d", i ? " " : "", ids[i]);
    }
    gs_free(ids);
    return gs_strbuf_text(&out);
}

#define assert_ids(t, text, want) assert_string_equal(tok_ids(t, text, strlen(text), false), want)
#define assert_special_ids(t, text, want)                                                        \
    assert_string_equal(tok_ids(t, text, strlen(text), true), want)

static inline char *tok_read(const char *path, size_t *len) {
    gs_error err = {0};
    char *data = NULL;
    assert_ok(gs_file_read(path, (size_t)1 << 28, &data, len, &err), &err);
    return data;
}

/* Runs every case of <base>.inp (cases end at a line __ggml_vocab_test__) against the line
 * of ids in <base>.out; fails unless all of `want` agree. */
static inline void tok_run_cases(const gs_tokenizer *t, const char *base, int want) {
    static const char mark[] = "\n__ggml_vocab_test__\n";
    char path[1200];
    size_t inp_len, out_len;
    snprintf(path, sizeof path, "%s.inp", base);
    char *inp = tok_read(path, &inp_len);
    snprintf(path, sizeof path, "%s.out", base);
    char *out = tok_read(path, &out_len), *line = out;
    int cases = 0, good = 0;
    for (char *text = inp, *end; (end = strstr(text, mark)); text = end + sizeof mark - 1) {
        char *newline = strchr(line, '\n');
        assert_non_null(newline);
        *newline = 0;
        const char *ids = tok_ids(t, text, (size_t)(end - text), false);
        bool same = strcmp(ids, line + (*line == ' ')) == 0;
        if (!same) print_error("case %d: '%s', wanted '%s'\n", cases, ids, line);
        good += same;
        cases++;
        line = newline + 1;
    }
    gs_free(inp);
    gs_free(out);
    assert_int_equal(cases, want);
    assert_int_equal(good, want);
}

/* Where scripts/fetch-test-vocab puts things: a file's path in a static buffer, or NULL. */
static inline const char *tok_cached(const char *name) {
    static char path[1200];
    const char *given = getenv("GSTICK_TEST_CACHE"), *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    if (given) snprintf(path, sizeof path, "%s/%s", given, name);
    else if (xdg) snprintf(path, sizeof path, "%s/gstick/%s", xdg, name);
    else snprintf(path, sizeof path, "%s/.cache/gstick/%s", home ? home : "", name);
    return access(path, R_OK) == 0 ? path : NULL;
}

#define tok_need_cached(var, name)                                             \
    const char *var = tok_cached(name);                                        \
    if (!var) {                                                                \
        print_message("skipped: no %s (scripts/fetch-test-vocab)\n", name);    \
        skip();                                                                \
    }

#endif
