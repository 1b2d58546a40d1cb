/* Vocabularies of Hugging Face directories as tokenizer.ggml.* pairs. Real ones go round: a GGUF file's vocabulary exported
 * as the ecosystem's files and put back must be the same table. */
#include "tokenizer_support.h"

static void write_text(const char *dir, const char *name, const char *text) {
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* The vocabulary of dir in a GGUF file of its own, opened; *why: the warning, the caller's. */
static gs_gguf *put(const char *dir, int64_t vocab, const char *config, gs_strbuf *why) {
    gs_model_config c = {.vocab = vocab};
    gs_gguf_writer *w;
    gs_gguf *g;
    gs_error err = {0};
    char path[1200];
    snprintf(path, sizeof path, "%s/made.gguf", dir);
    if (config) assert_ok(gs_json_parse(config, strlen(config), &c.json, &err), &err);
    assert_ok(gs_gguf_writer_create(&w, &err), &err);
    assert_ok(gs_tokenizer_put_gguf(dir, &c, w, why, &err), &err);
    assert_ok(gs_gguf_writer_begin(w, path, &err), &err);
    assert_ok(gs_gguf_writer_commit(w, &err), &err);
    assert_ok(gs_gguf_open(path, &g, &err), &err);
    cJSON_Delete(c.json);
    return g;
}

static void same_strings(const gs_gguf *a, const gs_gguf *b, const char *key) {
    int64_t n = gs_gguf_array(a, key, GS_GGUF_STRING);
    assert_int_equal(gs_gguf_array(b, key, GS_GGUF_STRING), n);
    for (int64_t i = 0; i < n; i++) {
        gs_gguf_str x, y;
        assert_true(gs_gguf_array_string(a, key, i, &x) && gs_gguf_array_string(b, key, i, &y));
        if (x.len != y.len || memcmp(x.data, y.data, x.len))
            fail_msg("%s[%d]: '%.*s' and '%.*s'", key, (int)i, (int)x.len, x.data, (int)y.len, y.data);
    }
}

static void same_ids(const gs_gguf *a, const gs_gguf *b, const char *key) {
    int64_t x = -1, y = -1;
    gs_gguf_int(a, key, &x);
    gs_gguf_int(b, key, &y);
    if (x != y) fail_msg("%s: %d and %d", key, (int)x, (int)y);
}

static void same_data(const gs_gguf *a, const gs_gguf *b, const char *key, gs_gguf_type type) {
    int64_t m = 0, n = 0;
    const uint8_t *x = gs_gguf_array_data(a, key, type, &m), *y = gs_gguf_array_data(b, key, type, &n);
    if (!x) return;
    assert_non_null(y);
    assert_int_equal(m, n);
    for (int64_t i = 0; i < n; i++)
        if (memcmp(x + 4 * i, y + 4 * i, 4)) fail_msg("%s[%d] differs", key, (int)i);
}

/* Older converters called the fillers "[PAD100015]" user-defined; here they are unused. */
static void same_types(const gs_gguf *a, const gs_gguf *b) {
    int64_t m = 0, n = 0;
    const uint8_t *x = gs_gguf_array_data(a, "tokenizer.ggml.token_type", GS_GGUF_I32, &m);
    const uint8_t *y = gs_gguf_array_data(b, "tokenizer.ggml.token_type", GS_GGUF_I32, &n);
    assert_true(x && y && m == n);
    for (int64_t i = 0; i < n; i++) {
        gs_gguf_str s;
        assert_true(gs_gguf_array_string(a, "tokenizer.ggml.tokens", i, &s));
        bool filler = s.len > 4 && !memcmp(s.data, "[PAD", 4) && y[4 * i] == 5;
        if (x[4 * i] != y[4 * i] && !filler) fail_msg("type of piece %d: %d and %d", (int)i, x[4 * i], y[4 * i]);
    }
}

static void text_is(const gs_gguf *g, const char *key, const char *want) {
    gs_gguf_str s;
    assert_true(gs_gguf_string(g, key, &s));
    if (s.len != strlen(want) || memcmp(s.data, want, s.len)) fail_msg("%s: '%.*s'", key, (int)s.len, s.data);
}

static void flag_is(const gs_gguf *g, const char *key, bool want) {
    bool got = !want;
    assert_true(gs_gguf_bool(g, key, &got));
    assert_int_equal(got, want);
}

/* Export, put back, compare; then the sentences of llama.cpp's own test. */
static void goes_round(const char *path, const char *model, const char *pre, const char *base, int cases) {
    char *dir = gs_test_tmpdir(), made[1200];
    gs_gguf *g, *back;
    gs_strbuf why = {0};
    gs_error err = {0};
    assert_ok(gs_gguf_open(path, &g, &err), &err);
    assert_ok(gs_tokenizer_export_gguf(g, dir, &err), &err);
    back = put(dir, gs_gguf_array(g, "tokenizer.ggml.tokens", GS_GGUF_STRING), NULL, &why);
    if (why.len) fail_msg("%s", why.data);
    text_is(back, "tokenizer.ggml.model", model);
    text_is(back, "tokenizer.ggml.pre", pre);
    same_strings(g, back, "tokenizer.ggml.tokens");
    same_strings(g, back, "tokenizer.ggml.merges");
    same_types(g, back);
    same_data(g, back, "tokenizer.ggml.scores", GS_GGUF_F32);
    same_ids(g, back, "tokenizer.ggml.bos_token_id");
    same_ids(g, back, "tokenizer.ggml.eos_token_id");
    gs_gguf_close(back);
    gs_gguf_close(g);
    if (base) {
        snprintf(made, sizeof made, "%s/made.gguf", dir);
        gs_tokenizer *t = tok_open(made);
        tok_run_cases(t, base, cases);
        gs_tokenizer_destroy(t);
    }
    gs_strbuf_clear(&why);
    gs_test_rmdir(dir);
}

static void gpt2_goes_round(void **state) {
    (void)state;
    gs_need_data(path, "data/tokenizers/llama.cpp/ggml-vocab-gpt-2.gguf");
    goes_round(path, "gpt2", "gpt-2", path, 46);
}

static void deepseek_goes_round(void **state) {
    (void)state;
    gs_need_data(path, "data/tokenizers/llama.cpp/ggml-vocab-deepseek-llm.gguf");
    goes_round(path, "gpt2", "deepseek-llm", path, 46);
}

static void sentencepiece_goes_round(void **state) {
    (void)state;
    gs_need_data(path, "data/tokenizers/llama.cpp/ggml-vocab-llama-spm.gguf");
    goes_round(path, "llama", "default", path, 46);
}

/* The original file against the one that llama.cpp's converter made of it. */
static void the_original_model_file_gives_the_converters_table(void **state) {
    (void)state;
    gs_need_data(spm, "data/tokenizers/llama2_tokenizer.model");
    gs_need_data(path, "data/tokenizers/llama.cpp/ggml-vocab-llama-spm.gguf");
    char *dir = gs_test_tmpdir(), to[1200];
    gs_gguf *g, *made;
    gs_strbuf why = {0};
    gs_error err = {0};
    snprintf(to, sizeof to, "%s/tokenizer.model", dir);
    assert_ok(gs_file_copy(spm, to, &err), &err);
    assert_ok(gs_gguf_open(path, &g, &err), &err);
    made = put(dir, 32000, NULL, &why);
    assert_int_equal(why.len, 0);
    same_strings(g, made, "tokenizer.ggml.tokens");
    same_data(g, made, "tokenizer.ggml.scores", GS_GGUF_F32);
    same_data(g, made, "tokenizer.ggml.token_type", GS_GGUF_I32);
    same_ids(g, made, "tokenizer.ggml.bos_token_id");
    same_ids(g, made, "tokenizer.ggml.eos_token_id");
    same_ids(g, made, "tokenizer.ggml.unknown_token_id");
    flag_is(made, "tokenizer.ggml.add_bos_token", true);
    gs_gguf_close(made);
    /* two more ids than pieces: one is said beside the file, the other is not */
    write_text(dir, "tokenizer_config.json", "{\"added_tokens_decoder\": {\"32001\": {\"content\": \"<x>\", \"special\": true},"
                                             "\"1\": {\"content\": \"<s>\", \"special\": true}}, \"bos_token\": \"<x>\"}");
    made = put(dir, 32002, NULL, &why);
    gs_gguf_str s;
    int64_t id = 0, n;
    assert_true(gs_gguf_array_string(made, "tokenizer.ggml.tokens", 32000, &s) && s.len == 10 &&
                !memcmp(s.data, "[PAD32000]", 10));
    assert_true(gs_gguf_array_string(made, "tokenizer.ggml.tokens", 32001, &s) && s.len == 3 && !memcmp(s.data, "<x>", 3));
    const uint8_t *types = gs_gguf_array_data(made, "tokenizer.ggml.token_type", GS_GGUF_I32, &n);
    assert_non_null(types);
    assert_int_equal(types[4 * 32000], 5);
    assert_int_equal(types[4 * 32001], 3);
    assert_true(gs_gguf_int(made, "tokenizer.ggml.bos_token_id", &id) && id == 32001);
    gs_gguf_close(made);
    gs_gguf_close(g);
    gs_strbuf_clear(&why);
    gs_test_rmdir(dir);
}

/* ---- a small tokenizer.json */

#define SMALL(pre, merges)                                                                                             \
    "{\"version\": \"1.0\", \"added_tokens\": [{\"id\": 4, \"content\": \"<s>\", \"special\": true},"                  \
    "{\"id\": 5, \"content\": \"<tool>\", \"special\": false}], \"normalizer\": null, \"pre_tokenizer\": " pre ","     \
    "\"post_processor\": null, \"decoder\": {\"type\": \"ByteLevel\"},"                                                \
    "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2}, \"merges\": [" merges "]}}"
#define BYTE_LEVEL "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": false, \"use_regex\": true}"
#define DIGITS "{\"type\": \"Digits\", \"individual_digits\": true}"
#define SEQUENCE(list) "{\"type\": \"Sequence\", \"pretokenizers\": [" list "]}"

static void a_small_file(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir();
    gs_strbuf why = {0};
    gs_gguf_str s;
    int64_t n, id;
    write_text(dir, "tokenizer.json", SMALL(BYTE_LEVEL, "[\"a\", \"b\"]"));
    write_text(dir, "tokenizer_config.json",
               "{\"eos_token\": {\"content\": \"<tool>\"}, \"add_bos_token\": false, \"add_eos_token\": true, \"chat_template\": \"{{x}}\"}");
    gs_gguf *g = put(dir, 8, "{\"bos_token_id\": 4, \"eos_token_id\": [0, 1], \"pad_token_id\": 99}", &why);
    assert_int_equal(why.len, 0);
    text_is(g, "tokenizer.ggml.model", "gpt2");
    text_is(g, "tokenizer.ggml.pre", "gpt-2");
    text_is(g, "tokenizer.chat_template", "{{x}}");
    assert_int_equal(gs_gguf_array(g, "tokenizer.ggml.tokens", GS_GGUF_STRING), 8);
    assert_true(gs_gguf_array_string(g, "tokenizer.ggml.tokens", 3, &s) && s.len == 6 && !memcmp(s.data, "[PAD3]", 6));
    assert_true(gs_gguf_array_string(g, "tokenizer.ggml.merges", 0, &s) && s.len == 3 && !memcmp(s.data, "a b", 3));
    const uint8_t *types = gs_gguf_array_data(g, "tokenizer.ggml.token_type", GS_GGUF_I32, &n);
    static const uint8_t want[8] = {1, 1, 1, 5, 3, 4, 5, 5};
    for (int i = 0; i < 8; i++) assert_int_equal(types[4 * i], want[i]);
    assert_true(gs_gguf_int(g, "tokenizer.ggml.bos_token_id", &id) && id == 4);
    assert_true(gs_gguf_int(g, "tokenizer.ggml.eos_token_id", &id) && id == 5);
    assert_false(gs_gguf_int(g, "tokenizer.ggml.padding_token_id", &id));
    flag_is(g, "tokenizer.ggml.add_bos_token", false);
    flag_is(g, "tokenizer.ggml.add_eos_token", true);
    gs_gguf_close(g);
    write_text(dir, "tokenizer.json", SMALL(BYTE_LEVEL, "[\"a\", \"\\u0000\"]"));
    g = put(dir, 8, NULL, &why);
    text_is(g, "tokenizer.ggml.model", "none");
    assert_non_null(strstr(gs_strbuf_text(&why), "NUL"));
    gs_gguf_close(g);
    gs_strbuf_clear(&why);
    gs_test_rmdir(dir);
}

static void pre_tokenizers_get_their_names(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir();
    gs_strbuf why = {0};
    write_text(dir, "tokenizer.json", SMALL(SEQUENCE(DIGITS "," SEQUENCE(BYTE_LEVEL)), "\"a b\""));
    gs_gguf *g = put(dir, 6, NULL, &why);
    text_is(g, "tokenizer.ggml.pre", "smollm");
    assert_int_equal(why.len, 0);
    gs_gguf_close(g);
    write_text(dir, "tokenizer.json", SMALL(SEQUENCE(BYTE_LEVEL "," DIGITS), "\"a b\""));
    g = put(dir, 6, NULL, &why);
    text_is(g, "tokenizer.ggml.pre", "default");
    assert_non_null(strstr(gs_strbuf_text(&why), "pre-tokenizer"));
    gs_gguf_close(g);
    gs_strbuf_clear(&why);
    gs_test_rmdir(dir);
}

static void what_cannot_be_said_is_none(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir();
    gs_strbuf why = {0};
    gs_gguf *g = put(dir, 6, NULL, &why);
    text_is(g, "tokenizer.ggml.model", "none");
    assert_non_null(strstr(gs_strbuf_text(&why), "no tokenizer"));
    gs_gguf_close(g);
    gs_strbuf_reset(&why);
    write_text(dir, "tokenizer.json", SMALL(BYTE_LEVEL, "\"a b\""));
    g = put(dir, 5, NULL, &why); /* 6 pieces */
    text_is(g, "tokenizer.ggml.model", "none");
    assert_non_null(strstr(gs_strbuf_text(&why), "6 pieces"));
    assert_int_equal(gs_gguf_array(g, "tokenizer.ggml.tokens", GS_GGUF_STRING), -1);
    gs_gguf_close(g);
    gs_strbuf_reset(&why);
    write_text(dir, "tokenizer.json", "{\"model\": {\"type\": \"Unigram\", \"vocab\": []}}");
    g = put(dir, 6, NULL, &why);
    text_is(g, "tokenizer.ggml.model", "none");
    assert_non_null(strstr(gs_strbuf_text(&why), "Unigram"));
    gs_gguf_close(g);
    gs_strbuf_clear(&why);
    gs_test_rmdir(dir);
}

static void broken_files_are_errors(void **state) {
    (void)state;
    static const char *const files[] = {
        "{", "{}", SMALL(BYTE_LEVEL, "3"), SMALL(BYTE_LEVEL, "[\"a\"]"),
        "{\"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"vocab\": {\"a\": 1, \"b\": 1}, \"merges\": []}}",
        "{\"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"vocab\": {\"a\": -1, \"b\": 1}, \"merges\": []}}",
        "{\"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"vocab\": {\"a\": 2000000000}, \"merges\": []}}",
        "{\"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"vocab\": {}, \"merges\": []}}",
    };
    char *dir = gs_test_tmpdir();
    gs_model_config c = {.vocab = 8};
    for (size_t i = 0; i < GS_COUNTOF(files); i++) {
        gs_gguf_writer *w;
        gs_strbuf why = {0};
        gs_error err = {0};
        write_text(dir, "tokenizer.json", files[i]);
        assert_ok(gs_gguf_writer_create(&w, &err), &err);
        assert_fails(gs_tokenizer_put_gguf(dir, &c, w, &why, &err), GS_E_FORMAT, &err);
        gs_gguf_writer_abort(w);
        gs_strbuf_clear(&why);
    }
    gs_test_rmdir(dir);
}

static void no_memory_is_survived(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir();
    gs_model_config c = {.vocab = 8};
    gs_status status = GS_E_NOMEM;
    write_text(dir, "tokenizer.json", SMALL(BYTE_LEVEL, "[\"a\", \"b\"]"));
    write_text(dir, "tokenizer_config.json", "{\"bos_token\": \"<s>\", \"chat_template\": \"x\"}");
    for (int64_t k = 0; status != GS_OK; k++) {
        gs_gguf_writer *w;
        gs_strbuf why = {0};
        assert_true(k < 2000);
        assert_int_equal(gs_gguf_writer_create(&w, NULL), GS_OK);
        gs_mem_fail_after(k);
        status = gs_tokenizer_put_gguf(dir, &c, w, &why, NULL);
        gs_mem_fail_after(-1);
        assert_true(status == GS_OK || status == GS_E_NOMEM);
        gs_gguf_writer_abort(w);
        gs_strbuf_clear(&why);
    }
    gs_test_rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt2_goes_round),
        cmocka_unit_test(deepseek_goes_round),
        cmocka_unit_test(sentencepiece_goes_round),
        cmocka_unit_test(the_original_model_file_gives_the_converters_table),
        cmocka_unit_test(a_small_file),
        cmocka_unit_test(pre_tokenizers_get_their_names),
        cmocka_unit_test(what_cannot_be_said_is_none),
        cmocka_unit_test(broken_files_are_errors),
        cmocka_unit_test(no_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
