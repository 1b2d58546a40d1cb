/* Calibration sets: what is taken of each kind of file, and what is refused. */
#include "tokenizer_support.h"

#include <loaders/corpus.h>
#include <loaders/token_file.h>

/* One id a character, so that texts and ids can be compared by eye. <unk>: whatever is not there. */
static const char tokenizer_json[] =
    "{\"added_tokens\":[{\"id\":9,\"content\":\"<s>\",\"special\":true}],"
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"merges\":[],\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\" \":3,"
    "\"<unk>\":4,\"\\n\":5,\"d\":6,\"\\\\\":7,\"\xe4\xb8\xad\":8,\"<s>\":9}},"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
    "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[9]}}}}";
enum { VOCAB = 10 };

static gs_tokenizer *tokenizer;
static gs_corpus corpus;
static gs_error err;

static int begin(void **state) {
    (void)state;
    tokenizer = tok_from_json(tokenizer_json);
    return 0;
}

static int end(void **state) {
    (void)state;
    gs_corpus_clear(&corpus);
    gs_tokenizer_destroy(tokenizer);
    return 0;
}

/* Without BOS, exactly as long as the text, so that sanitizers see any overrun. */
static gs_status load(gs_corpus_options o, const void *data, size_t len) {
    char *exact = malloc(len ? len : 1);
    assert_non_null(exact);
    memcpy(exact, data, len);
    if (!o.length) o.length = 4;
    if (!o.vocab) o.vocab = VOCAB;
    gs_corpus_clear(&corpus);
    err = (gs_error){0};
    gs_status status = gs_corpus_from_memory(NULL, tokenizer, &o, exact, len, &corpus, &err);
    free(exact);
    return status;
}

static gs_corpus_options named(const char *path) { return (gs_corpus_options){.path = path, .bos = -1}; }

/* The sequences as "0 1 2|3 4", in a static buffer. */
static const char *sequences(void) {
    static char text[4096];
    size_t n = 0;
    text[0] = 0;
    assert_int_equal(corpus.starts[0], 0);
    assert_int_equal(corpus.starts[corpus.sequences], corpus.tokens);
    for (int64_t s = 0; s < corpus.sequences; s++)
        for (int64_t i = corpus.starts[s]; i < corpus.starts[s + 1]; i++)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%d", i > corpus.starts[s] ? " " : s ? "|" : "", corpus.ids[i]);
    return text;
}

#define assert_loads(o, data, want)                                                              \
    do {                                                                                         \
        assert_ok(load(o, data, sizeof(data) - 1), &err);                                        \
        assert_string_equal(sequences(), want);                                                  \
    } while (0)
#define assert_refused(o, data, status, word)                                                    \
    do {                                                                                         \
        assert_fails(load(o, data, sizeof(data) - 1), status, &err);                             \
        if (!strstr(err.text, word)) fail_msg("'%s' (%s), wanted '%s'", err.text, err.hint, word); \
        assert_null(corpus.ids);                                                                 \
        assert_int_equal(corpus.sequences, 0);                                                   \
    } while (0)

static void a_text_is_cut_into_windows(void **state) {
    (void)state;
    gs_corpus_options o = named("t.txt");
    assert_loads(o, "abcdabcdab", "0 1 2 6|0 1 2 6"); /* the rest of two is dropped */
    assert_string_equal(corpus.note, "");
    assert_loads(o, "abc", "0 1 2"); /* it is all there is */
    assert_loads(o, "\xef\xbb\xbf" "ab\n\xe4\xb8\xad", "0 1 5 8");
    o.bos = 0; /* as the tokenizer says */
    assert_loads(o, "abcabca", "9 0 1 2|0 1 2 0");
    o.samples = 1;
    assert_loads(o, "abcabca", "9 0 1 2");
    o.samples = 3;
    assert_loads(o, "abcabca", "9 0 1 2|0 1 2 0");
    assert_string_equal(corpus.note, "2 of 3 samples wanted are there");
    o.length = INT64_MAX;
    assert_loads(o, "ab", "9 0 1");
    assert_refused(named("t.txt"), "", GS_E_FORMAT, "t.txt: the file is empty");
    assert_refused(named("t.txt"), "a", GS_E_FORMAT, "t.txt: fewer than two tokens");
    assert_refused(named("t.txt"), "ab\xff", GS_E_FORMAT, "t.txt: not valid UTF-8 at byte 2 of 3");
    assert_refused(named("t.txt"), "\xef\xbb\xbfx\xe4\xb8", GS_E_FORMAT, "not valid UTF-8 at byte 4 of 6");
}

static void a_seed_draws_without_replacement(void **state) {
    (void)state;
    /* windows 0..9 of two tokens each: window k begins with id k */
    int32_t ids[20];
    for (int i = 0; i < 20; i++) ids[i] = i % 2 ? 0 : i / 2;
    gs_corpus_options o = {.path = "t.i32", .length = 2, .seed = 42};
    static const int want42[] = {3, 2, 4, 5, 8, 7, 0, 9, 6, 1}; /* by an independent program */
    assert_ok(load(o, ids, sizeof ids), &err);
    assert_int_equal(corpus.sequences, 10);
    for (int i = 0; i < 10; i++) assert_int_equal(corpus.ids[2 * i], want42[i]);
    uint64_t all = corpus.hash;
    assert_true(all == 0xa9aafb7fe23f80c0u); /* on every machine */
    o.samples = 4;
    assert_ok(load(o, ids, sizeof ids), &err);
    for (int i = 0; i < 4; i++) assert_int_equal(corpus.ids[2 * i], want42[i]);
    assert_int_equal(corpus.sequences, 4);
    assert_true(corpus.hash != all);
    /* lines are drawn by the same rule; blank ones do not count */
    static const char lines[] = "{\"text\":\"ba\"}\n\n{\"text\":\"ca\"}\n \r\n{\"text\":\"da\"}\n";
    o = (gs_corpus_options){.path = "t.jsonl", .bos = -1, .seed = 5};
    assert_ok(load(o, lines, sizeof lines - 1), &err);
    assert_int_equal(corpus.sequences, 3);
    int sum = 0;
    for (int i = 0; i < 3; i++) sum += corpus.ids[2 * i];
    assert_int_equal(sum, 1 + 2 + 6);
    o.samples = 1;
    uint64_t seen = 0;
    for (o.seed = 1; o.seed < 20; o.seed++) {
        assert_ok(load(o, lines, sizeof lines - 1), &err);
        seen |= 1u << corpus.ids[0];
    }
    assert_true(seen == (1u << 1 | 1u << 2 | 1u << 6));
}

static void ids_are_checked_against_the_vocabulary(void **state) {
    (void)state;
    gs_corpus_options o = {.path = "t.i32", .length = 2, .vocab = 7};
    assert_loads(o, "\1\0\0\0\6\0\0\0\3\0\0\0\2\0\0\0", "1 6|3 2");
    assert_refused(o, "\1\0\0\0\6\0\0\0\7\0\0\0\2\0\0\0", GS_E_FORMAT, "t.i32: token 2 is id 7, outside the vocabulary of 7");
    assert_refused(o, "\1\0\0\0\xff\xff\xff\xff", GS_E_FORMAT, "id -1");
    assert_refused(o, "\1\0\0\0\1\0\0", GS_E_FORMAT, "t.i32: 7 bytes are no whole number");
    assert_refused(o, "\1\0\0\0", GS_E_FORMAT, "fewer than two");
    o = named("t.jsonl");
    o.vocab = 2;
    assert_refused(o, "{\"text\":\"ab\"}\n{\"text\":\"abc\"}", GS_E_FORMAT, "t.jsonl: line 2: token 2 is id 2, outside the vocabulary of 2");
}

static void a_line_is_a_sequence_and_has_many_shapes(void **state) {
    (void)state;
    gs_corpus_options o = named("t.jsonl");
    assert_loads(o, "{\"text\":\"abcdab\"}\n{\"text\":\"ab\"}", "0 1 2 6|0 1");
    assert_loads(o, "\xef\xbb\xbf\r\n{\"id\":1,\"inputs_pretokenized\":\"a\\u4e2d\"}\r\n\r\n{\"prompt\":\"bb\"}\r\n", "0 8|1 1");
    assert_loads(o, "{\"question\":\"ab\"}\n{\"instruction\":\"ac\"}\n{\"content\":\"ad\"}", "0 1|0 2|0 6");
    assert_loads(o, "{\"prompt\":\"b\",\"text\":null,\"content\":\"ca\"}", "2 0");
    assert_loads(o, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]}", "0 5 1");
    assert_loads(o, "{\"conversations\":[{\"from\":\"human\",\"value\":\"a\"},{\"from\":\"gpt\",\"value\":null}, \"c\"]}", "0 5 2");
    assert_loads(o, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"d\"}]}]}", "0 5 6");
    o.bos = 1;
    assert_loads(o, "{\"text\":\"abcd\"}\n{\"text\":\"b\"}", "9 0 1 2|9 1"); /* each its own */
    o.bos = -1;
    o.field = "body";
    assert_loads(o, "{\"text\":\"ab\",\"body\":\"cd\"}", "2 6");
    assert_refused(o, "{\"text\":\"ab\",\"bodi\":\"cd\"}", GS_E_FORMAT, "t.jsonl: line 1: there is no field \"body\"");
    assert_string_equal(err.hint, "did you mean \"bodi\"?");
    o = named("t.jsonl");
    assert_loads(o, "{\"text\":\"\"}\n{\"text\":\"a\"}\n{\"text\":\"ab\"}\n{\"text\":null,\"prompt\":[]}", "0 1");
    assert_string_equal(corpus.note, "3 lines of fewer than two tokens left out");
    assert_loads(o, "{\"text\":\"ab\"}\n\n{\"text\":\"c\\dfrac{1}\\u12\\\\d\\n\"}\n{\"text\":\"\\d\"}", "0 1|2 7 6 4|7 6");
    assert_string_equal(corpus.note, "2 lines (line 3) with escapes unknown to JSON read as they stand");
    o.samples = 1; /* what is not needed is not looked at */
    assert_loads(o, "{\"text\":\"ab\"}\nno JSON", "0 1");
}

static void what_is_wrong_with_a_line_is_said(void **state) {
    (void)state;
    static const struct {
        const char *line, *word, *hint;
    } cases[] = {
        {"{\"text\":\"ab\"", "line 2: column 13: the text ends too early", "one JSON object"},
        {"[\"ab\"]", "line 2: this is no JSON object", "jq"},
        {"[", "line 2: column 2", "jq"},
        {"\"ab\"", "this is no JSON object", "{\"text\""},
        {"{\"text\":1}", "\"text\" is no text", "a string is wanted"},
        {"{\"messages\":[{\"role\":\"user\"}]}", "\"messages\" is no text", "content"},
        {"{\"text\":[[\"a\",true]]}", "\"text\" is no text", ""},
        {"{\"id\":1,\"body\":\"ab\"}", "no text in any of the usual fields", "this line has id, body"},
        {"{}", "no text in any", ""},
        {"{\"text\":\"a\\ud800b\"}", "half a surrogate pair", ""},
        {"{\"text\":\"a\\udc00\"}", "half a surrogate pair", ""},
        {"{\"text\":\"\\d\\ud800\"}", "unknown escape", ""},
        {"{\"text\":\"a\\u0000b\"}", "NUL in a string", ""},
        {"{\"text\":\"a\\", "unknown escape", ""},
        {"{\"text\":\"a\xff\"}", "invalid UTF-8", ""},
        {"{\"text\":\"a\tb\"}", "control character", ""},
        {"{\"text\":\"ab\",\"text\":\"cd\"}", "appears twice", ""},
        {"{\"text\":\"ab\"} {\"text\":\"ab\"}", "after the end", ""},
    };
    char text[1000];
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        snprintf(text, sizeof text, "{\"text\":\"ab\"}\n%s\n{\"text\":\"ab\"}\n", cases[i].line);
        assert_fails(load(named("t.jsonl"), text, strlen(text)), GS_E_FORMAT, &err);
        if (!strstr(err.text, cases[i].word) || !strstr(err.text, "t.jsonl: ") || !strstr(err.hint, cases[i].hint))
            fail_msg("'%s' (%s), wanted '%s' (%s)", err.text, err.hint, cases[i].word, cases[i].hint);
    }
    assert_refused(named("t.jsonl"), "{\"text\":\"a\0b\"}", GS_E_FORMAT, "NUL");
    assert_refused(named("t.JSON"), "[\n{\"text\":\"ab\"}\n]", GS_E_FORMAT, "line 1");
    assert_refused(named("t.jsonl"), "\n \n", GS_E_FORMAT, "no line has a text");
    assert_refused(named("t.jsonl"), "{\"text\":\"a\"}\n", GS_E_FORMAT, "no line has a text");
    memset(text, '[', 900);
    assert_fails(load(named("t.jsonl"), text, 900), GS_E_FORMAT, &err);
    assert_non_null(strstr(err.text, "nested too deeply"));
}

static void options_are_checked(void **state) {
    (void)state;
    gs_corpus_options o = named("t.txt");
    o.length = 1;
    assert_refused(o, "abcd", GS_E_INVALID, "at least two");
    o.length = 4;
    o.samples = -1;
    assert_refused(o, "abcd", GS_E_INVALID, "-1 samples");
    gs_tokenizer *kept = tokenizer;
    tokenizer = NULL;
    assert_refused(named("t.txt"), "abcd", GS_E_INVALID, "t.txt: a text needs a tokenizer");
    assert_loads(((gs_corpus_options){.path = "t.i32"}), "\1\0\0\0\6\0\0\0", "1 6");
    tokenizer = kept;
}

static void a_huge_line_is_refused_before_it_is_parsed(void **state) {
    (void)state;
    size_t len = (16 << 20) + 20;
    char *text = malloc(len);
    assert_non_null(text);
    memset(text, ' ', len);
    text[0] = '{';
    assert_fails(load(named("t.jsonl"), text, len), GS_E_FORMAT, &err);
    assert_non_null(strstr(err.text, "t.jsonl: line 1: 16777236 bytes in one line"));
    /* a long one that is just in bounds is read */
    len = 1 << 20;
    memset(text, 'a', len);
    memcpy(text, "{\"text\":\"", 9);
    memcpy(text + len - 2, "\"}", 2);
    assert_ok(load(named("t.jsonl"), text, len), &err);
    assert_string_equal(sequences(), "0 0 0 0");
    free(text);
}

static void files_are_read_by_name(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir(), path[1200];
    snprintf(path, sizeof path, "%s/set.jsonl", dir);
    gs_corpus_options o = {.path = path, .length = 8, .vocab = VOCAB};
    gs_corpus_clear(&corpus);
    assert_fails(gs_corpus_load(NULL, tokenizer, &o, &corpus, &err), GS_E_FORMAT, &err);
    assert_non_null(strstr(err.text, "set.jsonl"));
    FILE *f = fopen(path, "w");
    fputs("{\"text\":\"abc\"}", f);
    fclose(f);
    assert_ok(gs_corpus_load(NULL, tokenizer, &o, &corpus, &err), &err);
    assert_string_equal(sequences(), "9 0 1 2");
    int32_t *ids;
    size_t count;
    assert_fails(gs_token_file_read(path, &ids, &count, &err), GS_E_FORMAT, &err); /* 14 bytes */
    assert_non_null(strstr(err.text, "set.jsonl: "));
    f = fopen(path, "w");
    fwrite("\1\0\0\0\xfe\xff\xff\xff", 1, 8, f);
    fclose(f);
    assert_ok(gs_token_file_read(path, &ids, &count, &err), &err);
    assert_int_equal(count, 2);
    assert_true(ids[0] == 1 && ids[1] == -2);
    gs_free(ids);
    gs_test_rmdir(dir);
}

static void without_memory_there_is_an_error_and_no_leak(void **state) {
    (void)state;
    static const char lines[] = "{\"text\":\"abc\"}\n{\"text\":\"\\d\"}\n{\"text\":\"cd\"}\n";
    static const char *const paths[] = {"t.jsonl", "t.txt", "t.i32"};
    for (size_t p = 0; p < GS_COUNTOF(paths); p++) {
        gs_corpus_options o = named(paths[p]);
        o.seed = 3;
        o.vocab = INT64_MAX;
        size_t len = p == 2 ? 40 : sizeof lines - 1;
        for (int64_t k = 0;; k++) {
            gs_mem_fail_after(k);
            gs_status status = load(o, lines, len);
            gs_mem_fail_after(-1);
            if (status == GS_OK) break;
            assert_int_equal(status, GS_E_NOMEM);
            assert_null(corpus.ids);
            assert_null(corpus.starts);
        }
    }
}

/* The sets that Ascend's own tools ship. */
static void load_shipped(const char *vocabulary) {
    static const struct {
        const char *name;
        int64_t sequences;
    } sets[] = {
        {"boolq", 50}, {"calib_prompt", 80}, {"ceval", 52}, {"golden-stick_calibrate", 200},
        {"mindie_quant_baichuan2_7b_w8a8_data", 47}, {"mix_calib", 48}, {"wiki", 128},
    };
    gs_tokenizer *t = tok_open(vocabulary);
    for (size_t i = 0; i < GS_COUNTOF(sets); i++) {
        char relative[200];
        snprintf(relative, sizeof relative, "data/text/calib/%s.jsonl", sets[i].name);
        gs_corpus_options o = {.path = gs_test_data(relative), .length = 1 << 20, .vocab = gs_tokenizer_vocab(t)};
        assert_non_null(o.path);
        gs_corpus_clear(&corpus);
        assert_ok(gs_corpus_load(NULL, t, &o, &corpus, &err), &err);
        print_message("%s: %lld tokens\n", sets[i].name, (long long)corpus.tokens);
        assert_int_equal(corpus.sequences, sets[i].sequences);
        assert_true((strstr(corpus.note, "(line 25)") != NULL) == (strcmp(sets[i].name, "ceval") == 0));
        for (int64_t s = 0; s < corpus.sequences; s++) assert_true(corpus.starts[s + 1] - corpus.starts[s] >= 8);
        uint64_t whole = corpus.hash;
        o.samples = 16;
        o.length = 64;
        o.seed = 7;
        gs_corpus_clear(&corpus);
        assert_ok(gs_corpus_load(NULL, t, &o, &corpus, &err), &err);
        assert_true(corpus.sequences == 16 && corpus.tokens <= 16 * 64 && corpus.hash != whole);
        assert_string_equal(strstr(corpus.note, "samples") ? "few" : "all", "all");
    }
    gs_tokenizer_destroy(t);
}

static void every_shipped_set_loads_with_a_sentencepiece_vocabulary(void **state) {
    (void)state;
    gs_need_data(path, "data/text/calib/wiki.jsonl");
    gs_need_data(vocabulary, "data/tokenizers/llama2_tokenizer.model");
    load_shipped(vocabulary);
}

static void every_shipped_set_loads_with_smollm2(void **state) {
    (void)state;
    gs_need_data(path, "data/text/calib/wiki.jsonl");
    tok_need_cached(vocabulary, "SmolLM2-135M-Instruct.Q4_1.gguf");
    load_shipped(vocabulary);
}

/* An unescaped formula's text is that of the line, backslashes and all. */
static void the_formulas_of_ceval_stay_whole(void **state) {
    (void)state;
    gs_need_data(path, "data/text/calib/ceval.jsonl");
    gs_need_data(vocabulary, "data/tokenizers/llama2_tokenizer.model");
    gs_tokenizer *t = tok_open(vocabulary);
    static const char tail[] = "A. $\\dfrac{1}{4}$\nB. $\\dfrac{1}{2}$\nC. 2\nD. 4\nAnswer:";
    int32_t *want;
    size_t n;
    assert_ok(gs_tokenizer_encode(t, NULL, tail, strlen(tail), GS_BOS_NEVER, false, &want, &n, &err), &err);
    gs_corpus_options o = {.path = path, .length = 1 << 20, .vocab = gs_tokenizer_vocab(t), .bos = -1};
    gs_corpus_clear(&corpus);
    assert_ok(gs_corpus_load(NULL, t, &o, &corpus, &err), &err);
    /* but for the first, which has a space before it at the beginning of a text only */
    assert_memory_equal(corpus.ids + corpus.starts[25] - (n - 2), want + 2, (n - 2) * sizeof *want);
    gs_free(want);
    gs_tokenizer_destroy(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_is_cut_into_windows),
        cmocka_unit_test(a_seed_draws_without_replacement),
        cmocka_unit_test(ids_are_checked_against_the_vocabulary),
        cmocka_unit_test(a_line_is_a_sequence_and_has_many_shapes),
        cmocka_unit_test(what_is_wrong_with_a_line_is_said),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(a_huge_line_is_refused_before_it_is_parsed),
        cmocka_unit_test(files_are_read_by_name),
        cmocka_unit_test(without_memory_there_is_an_error_and_no_leak),
        cmocka_unit_test(every_shipped_set_loads_with_a_sentencepiece_vocabulary),
        cmocka_unit_test(every_shipped_set_loads_with_smollm2),
        cmocka_unit_test(the_formulas_of_ceval_stay_whole),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
