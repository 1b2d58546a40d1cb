/* Small vocabularies that ask for much: work and memory stay in proportion to the file. */
#include "tokenizer_support.h"

#include <time.h>

#define MODEL "\"model\":{\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}}"

/* Far above what linear work takes here, also under sanitizers, and far below what quadratic work does. */
enum { MOST_SECONDS = 10 };

static double seconds(void) { return (double)clock() / CLOCKS_PER_SEC; }

static void put_file(const char *dir, const char *name, const gs_strbuf *text) {
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_true(!text->failed && f && fwrite(text->data, 1, text->len, f) == text->len && fclose(f) == 0);
}

static void repeat(gs_strbuf *out, const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) gs_strbuf_puts(out, text);
}

static gs_status open_text(const gs_strbuf *json, gs_tokenizer **t, gs_error *err) {
    assert_false(json->failed);
    double begin = seconds();
    gs_status status = gs_tokenizer_from_json(json->data, json->len, t, err);
    assert_true(seconds() - begin < MOST_SECONDS);
    return status;
}

static void refused(const gs_strbuf *json, const char *word) {
    gs_error err = {0};
    gs_tokenizer *t = NULL;
    assert_fails(open_text(json, &t, &err), GS_E_UNSUPPORTED, &err);
    assert_null(t);
    if (!strstr(err.text, word)) fail_msg("'%s' says nothing of '%s'", err.text, word);
}

static void nuls_are_put_back_in_one_pass(void **state) {
    (void)state;
    enum { NULS = 1 << 20 };
    gs_strbuf json = {0};
    gs_tokenizer *t;
    gs_error err = {0};
    gs_strbuf_puts(&json, "{\"model\":{\"vocab\":{\"a\":0,\"\\u0000b\":1,\"");
    repeat(&json, "\\u0000", NULS);
    gs_strbuf_puts(&json, "c\":2},\"merges\":[]}}");
    assert_ok(open_text(&json, &t, &err), &err);
    assert_int_equal(gs_tokenizer_vocab(t), 3);
    gs_tokenizer_destroy(t);
    gs_strbuf_clear(&json);
}

/* What the BOS is called is looked up among added tokens, one of which has nearly that name. */
static void a_long_name_is_looked_up_once(void **state) {
    (void)state;
    enum { LONG = 400000 };
    char *dir = gs_test_tmpdir();
    gs_strbuf json = {0}, config = {0};
    gs_error err = {0};
    gs_tokenizer *t;
    gs_strbuf_puts(&json, "{\"added_tokens\":[{\"id\":2,\"special\":true,\"content\":\"");
    repeat(&json, "x", LONG);
    gs_strbuf_puts(&json, "y\"},{\"id\":3,\"special\":true,\"lstrip\":true,\"content\":\"zz\"}]," MODEL);
    gs_strbuf_puts(&config, "{\"bos_token\":\"");
    repeat(&config, "x", LONG);
    gs_strbuf_puts(&config, "\",\"eos_token\":\"zz\",\"add_eos_token\":true}");
    put_file(dir, "tokenizer_config.json", &config);
    put_file(dir, "tokenizer.json", &json);
    double begin = seconds();
    assert_ok(gs_tokenizer_open(dir, &t, &err), &err);
    assert_true(seconds() - begin < MOST_SECONDS);
    assert_int_equal(gs_tokenizer_bos(t), -1); /* a token's beginning is no token */
    assert_true(gs_tokenizer_adds_eos(t));     /* which it can with an id alone: zz was found */
    gs_tokenizer_destroy(t);
    gs_strbuf_clear(&json);
    gs_strbuf_clear(&config);
    gs_test_rmdir(dir);
}

static void put_token(gs_strbuf *json, const char *normalizer, const char *text, size_t n) {
    gs_strbuf_printf(json, "{\"normalizer\":%s,\"added_tokens\":[{\"id\":2,\"normalized\":true,\"content\":\"", normalizer);
    repeat(json, text, n);
    gs_strbuf_puts(json, "\"}]," MODEL);
}

static void normalizers_that_blow_up_are_refused(void **state) {
    (void)state;
    gs_strbuf json = {0}, step = {0};
    static const char *const patterns[] = {"{\"String\":\"x\"}", "{\"Regex\":\"x\"}"};
    for (size_t i = 0; i < GS_COUNTOF(patterns); i++) {
        gs_strbuf_reset(&json);
        gs_strbuf_reset(&step);
        gs_strbuf_printf(&step, "{\"type\":\"Replace\",\"pattern\":%s,\"content\":\"", patterns[i]);
        repeat(&step, "y", 4000);
        gs_strbuf_puts(&step, "\"}");
        put_token(&json, gs_strbuf_text(&step), "x", 4000); /* 16 MB, of 8 KB */
        refused(&json, "makes more than 64512 bytes");
    }
    /* each step alone is modest */
    gs_strbuf_reset(&json);
    gs_strbuf_reset(&step);
    gs_strbuf_puts(&step, "{\"type\":\"Sequence\",\"normalizers\":[");
    for (int i = 0; i < 30; i++)
        gs_strbuf_printf(&step, "%s{\"type\":\"Replace\",\"pattern\":{\"String\":\"x\"},\"content\":\"xx\"}", i ? "," : "");
    gs_strbuf_puts(&step, "]}");
    put_token(&json, gs_strbuf_text(&step), "x", 10);
    refused(&json, "makes more than 672 bytes");
    gs_strbuf_clear(&json);
    gs_strbuf_clear(&step);
}

/* Sorting n marks by insertion takes n^2 / 4 steps where they come in the worst order. */
static void endless_marks_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *form, *first, *then;
    } cases[] = {
        {"NFC", "\xcc\x81", "\xcc\xa3"}, {"NFD", "\xcc\x81", "\xcc\xa3"},
        {"NFD", "\xe0\xbd\xb3", "\xe0\xbd\xb3"},     /* U+0F73: no mark itself, but made of two */
        {"NFKC", "\xef\xbe\x9e", "\xef\xbe\x9e"},    /* U+FF9E: a mark in NFKC */
    };
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        gs_strbuf json = {0};
        gs_strbuf_printf(&json, "{\"normalizer\":{\"type\":\"%s\"},\"added_tokens\":[{\"id\":2,\"normalized\":true,\"content\":\"a",
                         cases[i].form);
        repeat(&json, cases[i].first, 200000);
        repeat(&json, cases[i].then, 200000);
        gs_strbuf_puts(&json, "\"}]," MODEL);
        refused(&json, "more than 1000 marks");
        gs_strbuf_clear(&json);
    }
}

/* As many as a writer's fancy may put there stay what they were. */
static void some_marks_are_sorted(void **state) {
    (void)state;
    gs_tokenizer *t = tok_from_json("{\"normalizer\":{\"type\":\"NFD\"},\"model\":{\"vocab\":{\"a\":0,\"\\u0301\":1,\"\\u0323\":2},"
                                    "\"merges\":[]}}");
    gs_strbuf text = {0}, want = {0};
    for (int round = 0; round < 3; round++) {
        gs_strbuf_puts(&text, "a");
        repeat(&text, "\xcc\x81\xcc\xa3", 500);
        gs_strbuf_puts(&want, round ? " 0" : "0");
        repeat(&want, " 2", 500);
        repeat(&want, " 1", 500);
    }
    assert_ids(t, gs_strbuf_text(&text), gs_strbuf_text(&want));
    gs_strbuf_clear(&text);
    gs_strbuf_clear(&want);
    gs_tokenizer_destroy(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nuls_are_put_back_in_one_pass),
        cmocka_unit_test(a_long_name_is_looked_up_once),
        cmocka_unit_test(normalizers_that_blow_up_are_refused),
        cmocka_unit_test(endless_marks_are_refused),
        cmocka_unit_test(some_marks_are_sorted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
