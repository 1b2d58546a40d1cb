/* What stands before and behind a text, by the template of tokenizer.json and by tokenizer_config.json; and NUL in its pieces. */
#include "tokenizer_support.h"

/* ab=5 */
#define MODEL(more)                                                                              \
    "\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\" \":3,\"<unk>\":4,\"ab\":5,\"abc\":6},"             \
    "\"merges\":[[\"a\",\"b\"],[\"ab\",\"c\"]]" more "}"

static void refused(const char *json, gs_status status, const char *word) {
    gs_error err = {0};
    gs_tokenizer *t = NULL;
    assert_fails(gs_tokenizer_from_json(json, strlen(json), &t, &err), status, &err);
    assert_null(t);
    if (!strstr(err.text, word)) fail_msg("'%s' says nothing of '%s'", err.text, word);
}

static void bos_comes_from_the_template(void **state) {
    (void)state;
    static const char json[] =
        "{\"post_processor\":{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},"
        "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_"
        "id\":0}},"
        "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"special_tokens\":{\"<s>\":{\"id\":\"<s>"
        "\",\"ids\":[8],"
        "\"tokens\":[\"<s>\"]}}}]},\"added_tokens\":[{\"id\":8,\"content\":\"<s>\",\"special\":"
        "true}]," MODEL("") "}";
    gs_tokenizer *t = tok_from_json(json);
    gs_error err = {0};
    int32_t *ids;
    size_t n;
    assert_int_equal(gs_tokenizer_bos(t), 8);
    assert_true(gs_tokenizer_adds_bos(t));
    static const struct {
        gs_bos_mode mode;
        size_t n;
    } modes[] = {{GS_BOS_AUTO, 2}, {GS_BOS_ALWAYS, 2}, {GS_BOS_NEVER, 1}};
    for (size_t i = 0; i < GS_COUNTOF(modes); i++) {
        assert_ok(gs_tokenizer_encode(t, NULL, "ab", 2, modes[i].mode, false, &ids, &n, &err),
                  &err);
        assert_int_equal(n, modes[i].n);
        assert_int_equal(ids[0], modes[i].n == 2 ? 8 : 5);
        gs_free(ids);
    }
    gs_tokenizer_destroy(t);
    t = tok_from_json("{" MODEL("") "}");
    assert_fails(gs_tokenizer_encode(t, NULL, "a", 1, GS_BOS_ALWAYS, false, &ids, &n, &err),
                 GS_E_INVALID, &err);
    assert_ok(gs_tokenizer_encode(t, NULL, "a", 1, GS_BOS_AUTO, false, &ids, &n, &err), &err);
    assert_int_equal(n, 1);
    gs_free(ids);
    gs_tokenizer_destroy(t);
}

#define TEMPLATE(items)                                                                          \
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[" items                     \
    "],\"special_tokens\":{\"<s>\":{\"ids\":[8]},\"</s>\":{\"ids\":[9]}}},"                        \
    "\"added_tokens\":[{\"id\":8,\"content\":\"<s>\",\"special\":true},{\"id\":9,\"content\":\"</s>\",\"special\":true}],"
#define BOS "{\"SpecialToken\":{\"id\":\"<s>\"}}"
#define EOS "{\"SpecialToken\":{\"id\":\"</s>\"}}"
#define TEXT "{\"Sequence\":{\"id\":\"A\"}}"

static void auto_ids_are(const gs_tokenizer *t, const char *want) {
    gs_error err = {0};
    int32_t *ids = NULL;
    size_t n = 0, used = 0;
    char got[100] = "";
    assert_ok(gs_tokenizer_encode(t, NULL, "ab", 2, GS_BOS_AUTO, false, &ids, &n, &err), &err);
    for (size_t i = 0; i < n; i++) used += (size_t)snprintf(got + used, sizeof got - used, "%s%d", i ? " " : "", ids[i]);
    gs_free(ids);
    assert_string_equal(got, want);
}

static void the_template_may_end_the_text_too(void **state) {
    (void)state;
    static const char *const good[][2] = {
        {"{" TEMPLATE(BOS "," TEXT "," EOS) MODEL("") "}", "8 5 9"},
        {"{" TEMPLATE(TEXT "," EOS) MODEL("") "}", "5 9"},
        {"{" TEMPLATE(TEXT) MODEL("") "}", "5"},
    };
    for (size_t i = 0; i < GS_COUNTOF(good); i++) {
        gs_tokenizer *t = tok_from_json(good[i][0]);
        auto_ids_are(t, good[i][1]);
        assert_ids(t, "ab", "5");
        gs_tokenizer_destroy(t);
    }
    refused("{" TEMPLATE(BOS "," BOS "," TEXT) MODEL("") "}", GS_E_UNSUPPORTED, "template");
    refused("{" TEMPLATE(TEXT "," TEXT) MODEL("") "}", GS_E_UNSUPPORTED, "template");
    refused("{" TEMPLATE(TEXT "," EOS "," EOS) MODEL("") "}", GS_E_UNSUPPORTED, "template");
    refused("{" TEMPLATE(BOS) MODEL("") "}", GS_E_UNSUPPORTED, "template");
    refused("{" TEMPLATE("{\"Other\":{}}," TEXT) MODEL("") "}", GS_E_UNSUPPORTED, "template");
}

/* U+0000 is a piece, a half of a merge and a character of the text; elsewhere it is refused. */
static void nul_may_be_a_piece(void **state) {
    (void)state;
    static const char start[] = "{\"model\":{\"vocab\":{\"a\":0,\"\\u0000\":1,\"\\\\u0000\":2,\"a\\u0000\":3,\"\\ufdd0\":4,\"\xef\xb7\x91\":5";
    char json[400];
    for (int i = 0; i < 2; i++) {
        snprintf(json, sizeof json, "%s},\"merges\":[%s]}}", start, i ? "[\"a\",\"\\u0000\"]" : "\"a \\u0000\"");
        gs_tokenizer *t = tok_from_json(json);
        assert_string_equal(tok_ids(t, "a\0\0", 3, false), "3 1");
        assert_ids(t, "\xef\xb7\x90\xef\xb7\x91\xef\xb7\x92", "4 5");
        gs_tokenizer_destroy(t);
    }
    refused("{\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"\\u0000\"}," MODEL("") "}", GS_E_UNSUPPORTED, "NUL");
    gs_strbuf all = {0};
    gs_strbuf_puts(&all, "{\"model\":{\"vocab\":{\"\\u0000\":0");
    for (int i = 0; i < 32; i++) gs_strbuf_printf(&all, ",\"\\uFD%02x\":%d", 0xd0 + i, i + 1);
    gs_strbuf_puts(&all, "},\"merges\":[]}}");
    refused(all.data, GS_E_UNSUPPORTED, "NUL");
    gs_strbuf_clear(&all);
}

static void write_file(const char *dir, const char *name, const char *text) {
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void the_configuration_beside_it_has_the_last_word_on_bos_and_eos(void **state) {
    (void)state;
    static const struct {
        const char *config;
        bool adds;
        int bos;
    } cases[] = {
        {"{\"add_bos_token\":true,\"bos_token\":\"<s>\"}", true, 8},
        {"{\"add_bos_token\":true,\"bos_token\":{\"content\":\"abc\"}}", true, 6},
        {"{\"bos_token\":\"<s>\"}", false, 8},
        {"{\"add_bos_token\":false,\"bos_token\":null}", false, -1},
    };
    char *dir = gs_test_tmpdir();
    write_file(
        dir, "tokenizer.json",
        "{\"added_tokens\":[{\"id\":8,\"content\":\"<s>\",\"special\":true}]," MODEL("") "}");
    gs_tokenizer_destroy(tok_open(dir));
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        write_file(dir, "tokenizer_config.json", cases[i].config);
        gs_tokenizer *t = tok_open(dir);
        assert_int_equal(gs_tokenizer_bos(t), cases[i].bos);
        assert_int_equal(gs_tokenizer_adds_bos(t), cases[i].adds);
        gs_tokenizer_destroy(t);
    }
    write_file(dir, "tokenizer_config.json", "{\"add_eos_token\":true,\"eos_token\":\"<s>\"}");
    gs_tokenizer *ends = tok_open(dir);
    auto_ids_are(ends, "5 8");
    gs_tokenizer_destroy(ends);
    gs_error err = {0};
    gs_tokenizer *t;
    write_file(dir, "tokenizer_config.json", "{\"add_eos_token\":true}");
    assert_fails(gs_tokenizer_open(dir, &t, &err), GS_E_FORMAT, &err);
    write_file(dir, "tokenizer_config.json", "{\"add_bos_token\":true}");
    assert_fails(gs_tokenizer_open(dir, &t, &err), GS_E_FORMAT, &err);
    write_file(dir, "tokenizer_config.json", "{\"add_bos_token\":true,\"bos_token\":\"<none>\"}");
    assert_fails(gs_tokenizer_open(dir, &t, &err), GS_E_FORMAT, &err);
    write_file(dir, "tokenizer_config.json", "[");
    assert_fails(gs_tokenizer_open(dir, &t, &err), GS_E_FORMAT, &err);
    assert_null(t);
    gs_test_rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bos_comes_from_the_template),
        cmocka_unit_test(the_template_may_end_the_text_too),
        cmocka_unit_test(nul_may_be_a_piece),
        cmocka_unit_test(the_configuration_beside_it_has_the_last_word_on_bos_and_eos),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
