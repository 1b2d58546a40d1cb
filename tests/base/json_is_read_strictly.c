#include "../support.h"

#include <base/context.h>
#include <base/file.h>
#include <base/json.h>
#include <base/mem.h>

static void accept(const char *text, size_t len) {
    gs_error err = {0};
    cJSON *tree;
    /* a copy of exactly len bytes: the address sanitizer sees any step beyond */
    char *exact = gs_realloc(NULL, 1, len);
    memcpy(exact, text, len);
    if (gs_json_parse(exact, len, &tree, &err) != GS_OK) fail_msg("%s: %s", text, err.text);
    assert_non_null(tree);
    cJSON_Delete(tree);
    gs_free(exact);
}

static void refuse(const char *text, size_t len, const char *reason) {
    gs_error err = {0};
    cJSON *tree = (cJSON *)&err;
    char *exact = gs_realloc(NULL, 1, len);
    memcpy(exact, text, len);
    gs_status status = gs_json_parse(exact, len, &tree, &err);
    if (status != GS_E_FORMAT) fail_msg("%s: status %d", text, (int)status);
    assert_null(tree);
    if (!strstr(err.text, reason)) fail_msg("%s: %s", text, err.text);
    gs_free(exact);
}

static void good_documents_are_accepted(void **state) {
    (void)state;
    static const char *const good[] = {
        "{}", "[]", " [ ] ", "null", "true", "false", "0", "-0", "12.5e-3", "1E+5", "\"\"",
        "{\"a\":[1,2,{\"b\":null}],\"c\":\"d\"}", "\t\r\n{ \"a\" : 1 , \"b\" : [ ] }\n",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\\ud83d\\ude00\"", "\"\xc3\xa4\xf0\x9f\x98\x80\"",
        "[[],{},[{}]]", "\xef\xbb\xbf{}", "{\"\":1}", "{\"a\":1,\"A\":2}",
        "1000000000000000019884624838656", "\"\x7f\"",
    };
    for (size_t i = 0; i < GS_COUNTOF(good); i++) accept(good[i], strlen(good[i]));
}

static void bad_grammar_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "", " ", "{", "[", "}", "]", "[1,]", "[,1]", "{,}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}",
        "{a:1}", "{'a':1}", "{\"a\" 1}", "{\"a\":1 \"b\":2}", "[1 2]", "[1}", "{\"a\":1]", "nul",
        "tru", "True", "NaN", "Infinity", "-Infinity", "-", "+1", "01", "-01", ".5", "1.", "1.e5",
        "1e", "1e+", "0x10", "1-2", "\"", "\"a", "\"\\", "\"\\u12\"", "\"\\u12g4\"", "\"\\x41\"",
        "\"a\nb\"", "\"a\tb\"", "// c\n1", "/**/1", "\"\\ud83d\"", "\"\\ude00\"",
        "\"\\ud83d\\u0041\"", "\"\\ud83dxxxxxx\"", "\xef\xbb\xbf", "\xef\xbb", "[\"a\",",
    };
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) refuse(bad[i], strlen(bad[i]), "JSON line ");
}

static void bytes_after_the_document_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"{} x", "{}{}", "1 2", "[]]", "null,", "{}\n\n!"};
    for (size_t i = 0; i < GS_COUNTOF(bad); i++)
        refuse(bad[i], strlen(bad[i]), "after the end");
    refuse("{}\0", 3, "after the end");
    refuse("{}\0 hidden", 10, "after the end");
}

static void nul_in_strings_is_refused(void **state) {
    (void)state;
    refuse("\"a\0b\"", 5, "NUL");
    refuse("\"a\\u0000b\"", 10, "NUL");
    refuse("{\"a\\u0000b\":1}", 14, "NUL");
    accept("\"a\\\\u0000b\"", 11); /* a backslash, then plain text */
    accept("\"\\u0001\"", 8);
}

static void malformed_utf8_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "\"\x80\"", "\"\xc3\"", "\"\xc0\x80\"", "\"\xe0\x80\x80\"", "\"\xed\xa0\x80\"",
        "\"\xf0\x80\x80\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xf5\x80\x80\x80\"", "\"\xff\"",
        "\"\xe2\x82\"", "{\"\xfe\":1}", "\"\xc3",
    };
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) refuse(bad[i], strlen(bad[i]), "UTF-8");
}

static void duplicate_keys_are_refused_at_any_depth(void **state) {
    (void)state;
    static const char *const bad[] = {
        "{\"a\":1,\"a\":2}", "[{\"b\":{\"a\":1,\"c\":0,\"a\":1}}]", "{\"a\":1,\"\\u0061\":2}",
        "{\"\":1,\"\":2}",
        "{\"1\":1,\"2\":1,\"3\":1,\"4\":1,\"5\":1,\"6\":1,\"7\":1,\"8\":1,\"9\":1,\"1\":1}",
    };
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) refuse(bad[i], strlen(bad[i]), "twice");
}

static void nesting_ends_at_the_limit(void **state) {
    (void)state;
    enum { N = 1000000 };
    char *text = gs_alloc(2 * N);
    for (int depth = GS_JSON_MAX_DEPTH - 1; depth <= GS_JSON_MAX_DEPTH + 1; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        if (depth <= GS_JSON_MAX_DEPTH) accept(text, 2 * (size_t)depth);
        else refuse(text, 2 * (size_t)depth, "nested");
    }
    memset(text, '[', N);
    refuse(text, N, "nested");
    for (int i = 0; i + 5 < 2 * N; i += 5) memcpy(text + i, "{\"a\":", 5);
    refuse(text, N, "nested");
    /* brackets inside a string do not nest */
    memset(text, '[', N);
    text[0] = text[N - 1] = '"';
    accept(text, N);
    gs_free(text);
}

static void numbers_have_limits(void **state) {
    (void)state;
    char text[200];
    memset(text, '1', sizeof text);
    accept(text, 63);
    refuse(text, 64, "63");
    refuse("1e999", 5, "too large");
    refuse("[{\"a\":-1e400}]", 14, "too large");
    accept("1e-999", 6); /* underflows to zero */
}

static void an_error_names_line_and_column(void **state) {
    (void)state;
    refuse("{\n  \"a\": 1,\n  \"b\": ?\n}", 23, "line 3 column 8");
    refuse("[1,2", 4, "line 1 column 5");
}

static void every_cut_of_a_document_is_refused(void **state) {
    (void)state;
    static const char text[] =
        "{\"a\":[1.5e3,true,null,\"\\u00e4\\ud83d\\ude00\xc3\xa4\"],\"b\":{}}";
    for (size_t n = 0; n < sizeof text - 1; n++) refuse(text, n, "JSON");
    accept(text, sizeof text - 1);
}

/* Any change of one byte either parses or fails in order; the sanitizers watch. */
static void flipped_bytes_do_no_harm(void **state) {
    (void)state;
    static const char text[] =
        "{\"a\":[1.5e3,true,null,\"\\u00e4\\ud83d\\ude00\xc3\xa4\"],\"b\":{\"c\":\"d\"}}";
    char copy[sizeof text];
    for (size_t i = 0; i < sizeof text - 1; i++) {
        for (int c = 0; c < 256; c++) {
            memcpy(copy, text, sizeof text);
            copy[i] = (char)c;
            cJSON *tree;
            gs_error err = {0};
            gs_status status = gs_json_parse(copy, sizeof text - 1, &tree, &err);
            assert_true(status == GS_OK ? tree != NULL : status == GS_E_FORMAT && !tree);
            cJSON_Delete(tree);
        }
    }
}

static void typed_members_keep_defaults_and_refuse_other_types(void **state) {
    (void)state;
    static const char text[] = "{\"i\":5,\"d\":0.5,\"t\":true,\"s\":\"x\",\"n\":null,"
                               "\"big\":9007199254740993e3,\"I\":6,\"neg\":-9007199254740992}";
    gs_error err = {0};
    cJSON *tree;
    int64_t i = -1;
    double d = -1;
    bool t = false;
    const char *s = "default";
    assert_ok(gs_json_parse(text, sizeof text - 1, &tree, &err), &err);
    assert_ok(gs_json_int(tree, "i", &i, &err), &err);
    assert_int_equal(i, 5);
    assert_ok(gs_json_int(tree, "neg", &i, &err), &err);
    assert_int_equal(i, -9007199254740992);
    i = 77;
    assert_ok(gs_json_int(tree, "absent", &i, &err), &err);
    assert_ok(gs_json_int(tree, "n", &i, &err), &err);
    assert_int_equal(i, 77);
    assert_fails(gs_json_int(tree, "d", &i, &err), GS_E_FORMAT, &err);
    assert_non_null(strstr(err.text, "\"d\""));
    assert_fails(gs_json_int(tree, "big", &i, &err), GS_E_FORMAT, &err);
    assert_fails(gs_json_int(tree, "t", &i, &err), GS_E_FORMAT, &err);
    assert_int_equal(i, 77);
    assert_ok(gs_json_double(tree, "d", &d, &err), &err);
    assert_true(d == 0.5);
    assert_ok(gs_json_double(tree, "i", &d, &err), &err);
    assert_true(d == 5);
    assert_fails(gs_json_double(tree, "s", &d, &err), GS_E_FORMAT, &err);
    assert_ok(gs_json_bool(tree, "t", &t, &err), &err);
    assert_true(t);
    assert_fails(gs_json_bool(tree, "i", &t, &err), GS_E_FORMAT, &err);
    assert_ok(gs_json_string(tree, "s", &s, &err), &err);
    assert_string_equal(s, "x");
    assert_fails(gs_json_string(tree, "i", &s, &err), GS_E_FORMAT, &err);
    assert_ok(gs_json_string(tree, "S", &s, &err), &err); /* case matters */
    assert_null(gs_json_get(tree, "T"));
    assert_null(gs_json_get(NULL, "a"));
    assert_null(gs_json_get(gs_json_get(tree, "s"), "a"));
    assert_false(gs_json_is_int(NULL, &i));
    cJSON_Delete(tree);
}

/* A tokenizer's vocabulary: one object of 150 000 keys, then a list of pairs. */
static char *vocabulary(size_t *len) {
    gs_strbuf sb = {0};
    gs_strbuf_puts(&sb, "{\"model\":{\"vocab\":{");
    for (int i = 0; i < 150000; i++)
        gs_strbuf_printf(&sb, "%s\"some-token-%d\":%d", i ? "," : "", i, i);
    gs_strbuf_puts(&sb, "},\"merges\":[");
    for (int i = 0; i < 600000; i++)
        gs_strbuf_printf(&sb, "%s[\"ab\",\"%d\"]", i ? "," : "", i);
    gs_strbuf_puts(&sb, "]}}");
    return gs_strbuf_take(&sb, len);
}

static void a_large_vocabulary_is_read_in_linear_time(void **state) {
    (void)state;
    size_t len;
    char *text = vocabulary(&len);
    gs_error err = {0};
    cJSON *tree;
    double start = gs_clock();
    assert_ok(gs_json_parse(text, len, &tree, &err), &err);
    double seconds = gs_clock() - start;
    print_message("%.1f MB in %.2f s\n", (double)len / 1e6, seconds);
    assert_true(seconds <= 10); /* comparing all pairs of keys would take minutes */
    const cJSON *vocab = gs_json_get(gs_json_get(tree, "model"), "vocab");
    assert_int_equal(cJSON_GetArraySize(vocab), 150000);
    cJSON_Delete(tree);
    gs_free(text);
}

static void *counted_malloc(size_t n) {
    return gs_realloc(NULL, 1, n);
}

static void parsing_survives_a_failing_allocator(void **state) {
    (void)state;
    static const char text[] = "{\"1\":1,\"2\":[\"x\",2.5],\"3\":1,\"4\":{},\"5\":1,\"6\":1,"
                               "\"7\":1,\"8\":1,\"9\":1,\"10\":null}";
    cJSON_Hooks hooks = {counted_malloc, gs_free};
    cJSON_InitHooks(&hooks); /* cJSON's memory takes part in the injection */
    gs_status status = GS_E_NOMEM;
    int failures = 0;
    for (int k = 0; status == GS_E_NOMEM && k < 1000; k++) {
        cJSON *tree;
        gs_mem_fail_after(k);
        status = gs_json_parse(text, sizeof text - 1, &tree, NULL);
        gs_mem_fail_after(-1);
        assert_true((status == GS_OK) == (tree != NULL));
        failures += status == GS_E_NOMEM;
        cJSON_Delete(tree);
    }
    cJSON_InitHooks(NULL);
    assert_int_equal(status, GS_OK);
    assert_true(failures > 20);
}

static void loading_names_the_file(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir(), *path = gs_path_join(dir, "config.json");
    gs_error err = {0};
    cJSON *tree;
    FILE *f = fopen(path, "w");
    fputs("{\"a\":1,}", f);
    fclose(f);
    assert_fails(gs_json_load(path, 100, &tree, &err), GS_E_FORMAT, &err);
    assert_memory_equal(err.text, path, strlen(path));
    assert_non_null(strstr(err.text, "line 1 column 8"));
    assert_fails(gs_json_load(path, 7, &tree, &err), GS_E_FORMAT, &err);
    assert_non_null(strstr(err.text, path));
    f = fopen(path, "w");
    fputs("{\"a\":1}", f);
    fclose(f);
    assert_ok(gs_json_load(path, 7, &tree, &err), &err);
    cJSON_Delete(tree);
    assert_int_equal(gs_json_load("none.json", 7, &tree, NULL), GS_E_FORMAT);
    gs_free(path);
    gs_test_rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_documents_are_accepted),
        cmocka_unit_test(bad_grammar_is_refused),
        cmocka_unit_test(bytes_after_the_document_are_refused),
        cmocka_unit_test(nul_in_strings_is_refused),
        cmocka_unit_test(malformed_utf8_is_refused),
        cmocka_unit_test(duplicate_keys_are_refused_at_any_depth),
        cmocka_unit_test(nesting_ends_at_the_limit),
        cmocka_unit_test(numbers_have_limits),
        cmocka_unit_test(an_error_names_line_and_column),
        cmocka_unit_test(every_cut_of_a_document_is_refused),
        cmocka_unit_test(flipped_bytes_do_no_harm),
        cmocka_unit_test(typed_members_keep_defaults_and_refuse_other_types),
        cmocka_unit_test(a_large_vocabulary_is_read_in_linear_time),
        cmocka_unit_test(parsing_survives_a_failing_allocator),
        cmocka_unit_test(loading_names_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
