/* tokenizer.json: what each part does, on vocabularies small enough to check by hand, and
 * what is refused. */
#include "tokenizer_support.h"

/* a=0 b=1 c=2 ' '=3 <unk>=4 ab=5 abc=6 bc=7, merges ab, bc, ab+c */
#define VOCAB                                                                                    \
    "\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\" \":3,\"<unk>\":4,\"ab\":5,\"abc\":6,\"bc\":7}"
#define MERGES "\"merges\":[[\"a\",\"b\"],[\"b\",\"c\"],[\"ab\",\"c\"]]"
#define MODEL(more) "\"model\":{\"type\":\"BPE\"," VOCAB "," MERGES more "}"
#define SPLIT(pattern, behavior, more)                                                           \
    "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":" pattern ",\"behavior\":\"" behavior     \
    "\"" more "},"

static gs_status try_json(const char *json, gs_tokenizer **t, gs_error *err) {
    return gs_tokenizer_from_json(json, strlen(json), t, err);
}

static void refused(const char *json, gs_status status, const char *word) {
    gs_error err = {0};
    gs_tokenizer *t = NULL;
    assert_fails(try_json(json, &t, &err), status, &err);
    assert_null(t);
    if (!strstr(err.text, word)) fail_msg("'%s' says nothing of '%s'", err.text, word);
}

static void pairs_merge_by_rank_then_from_the_left(void **state) {
    (void)state;
    gs_tokenizer *t = tok_from_json("{" MODEL("") "}");
    assert_string_equal(gs_tokenizer_kind(t), "BPE");
    assert_int_equal(gs_tokenizer_vocab(t), 8);
    assert_int_equal(gs_tokenizer_bos(t), -1);
    assert_ids(t, "abc", "6");
    assert_ids(t, "bcab", "7 5");
    assert_ids(t, "aabcc", "0 6 2");
    assert_ids(t, "", "");
    gs_tokenizer_destroy(t);
}

static void long_words_merge_like_short_ones(void **state) {
    (void)state;
    gs_tokenizer *t = tok_from_json("{" MODEL("") "," SPLIT("{\"String\":\" \"}", "Isolated", "")
                                    "\"version\":\"1.0\"}");
    uint64_t seed = 7;
    for (int round = 0; round < 200; round++) {
        /* one word of up to 2000 symbols against the same text as ids of a plain reading:
         * here every "abc" is 6, every other "ab" 5, every other "bc" 7 */
        char text[2001];
        gs_strbuf want = {0};
        size_t n = gs_test_rand(&seed) % 2000;
        for (size_t i = 0; i < n; i++) text[i] = "abc"[gs_test_rand(&seed) % 3];
        text[n] = 0;
        for (size_t i = 0; i < n;) {
            size_t take = strncmp(text + i, "abc", 3) == 0 ? 3
                          : strncmp(text + i, "ab", 2) == 0 || strncmp(text + i, "bc", 2) == 0
                              ? 2
                              : 1;
            int id = take == 3 ? 6 : take == 2 ? (text[i] == 'a' ? 5 : 7) : text[i] - 'a';
            gs_strbuf_printf(&want, "%s%d", want.len ? " " : "", id);
            i += take;
        }
        assert_ids(t, text, gs_strbuf_text(&want));
        gs_strbuf_clear(&want);
    }
    gs_tokenizer_destroy(t);
}

static void equal_pairs_merge_from_the_left(void **state) {
    (void)state;
    gs_tokenizer *t =
        tok_from_json("{\"model\":{\"vocab\":{\"a\":0,\"aa\":1},\"merges\":[\"a a\"]}}");
    assert_ids(t, "aaa", "1 0");
    /* 301 symbols, beyond what is merged by scanning */
    char text[302];
    gs_strbuf want = {0};
    memset(text, 'a', 301);
    text[301] = 0;
    for (int i = 0; i < 150; i++) gs_strbuf_puts(&want, "1 ");
    gs_strbuf_puts(&want, "0");
    assert_ids(t, text, gs_strbuf_text(&want));
    gs_strbuf_clear(&want);
    gs_tokenizer_destroy(t);
}

static void a_whole_word_wins_where_merges_are_ignored(void **state) {
    (void)state;
    static const char model[] =
        "{\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"aba\":2},\"merges\":[]%s}}";
    char json[200];
    snprintf(json, sizeof json, model, "");
    gs_tokenizer *t = tok_from_json(json);
    assert_ids(t, "aba", "0 1 0");
    gs_tokenizer_destroy(t);
    snprintf(json, sizeof json, model, ",\"ignore_merges\":true");
    t = tok_from_json(json);
    assert_ids(t, "aba", "2");
    gs_tokenizer_destroy(t);
}

static void unknown_characters_fuse_or_vanish(void **state) {
    (void)state;
    gs_tokenizer *t = tok_from_json("{" MODEL("") "}");
    assert_ids(t, "a??b", "5"); /* nothing is left of them, so a and b meet */
    gs_tokenizer_destroy(t);
    t = tok_from_json("{" MODEL(",\"unk_token\":\"<unk>\"") "}");
    assert_ids(t, "a??b", "0 4 4 1");
    gs_tokenizer_destroy(t);
    t = tok_from_json("{" MODEL(",\"unk_token\":\"<unk>\",\"fuse_unk\":true") "}");
    assert_ids(t, "a??b?", "0 4 1 4");
    gs_tokenizer_destroy(t);
}

static void unknown_characters_fall_back_to_their_bytes(void **state) {
    (void)state;
    gs_tokenizer *t =
        tok_from_json("{\"model\":{\"byte_fallback\":true,\"unk_token\":\"u\",\"merges\":[],"
                      "\"vocab\":{\"u\":0,\"<0xC3>\":1,\"<0xA9>\":2,\"<0x0A>\":3}}}");
    assert_string_equal(gs_tokenizer_kind(t), "BPE with byte fallback");
    assert_ids(t, "\xc3\xa9\n", "1 2 3");
    assert_ids(t, "\xc3\xa8", "0"); /* not all of its bytes are pieces */
    gs_tokenizer_destroy(t);
}

static void splits_behave_as_their_names_say(void **state) {
    (void)state;
    /* words do not merge across a cut: "ab" stays two ids where it is cut */
    static const struct {
        const char *behavior, *invert, *text, *ids;
    } cases[] = {
        {"Isolated", "false", "a b", "0 3 1"},
        {"Removed", "false", "ab bc", "5 7"},
        {"Removed", "true", "ab bc", "3"},
        {"MergedWithPrevious", "false", "ab  bc", "5 3 3 7"},
        {"MergedWithNext", "false", "ab  bc", "5 3 3 7"},
        {"Contiguous", "false", "ab  bc", "5 3 3 7"},
    };
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        char json[600];
        snprintf(json, sizeof json,
                 "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\" "
                 "\"},\"behavior\":\"%s\","
                 "\"invert\":%s}," MODEL("") "}",
                 cases[i].behavior, cases[i].invert);
        gs_tokenizer *t = tok_from_json(json);
        assert_ids(t, cases[i].text, cases[i].ids);
        gs_tokenizer_destroy(t);
    }
}

/* "ab b" with b as the pattern: which neighbour a match joins shows in what merges. */
static void merging_splits_join_the_right_neighbour(void **state) {
    (void)state;
    gs_tokenizer *t =
        tok_from_json("{" SPLIT("{\"Regex\":\"b\"}", "MergedWithPrevious", "") MODEL("") "}");
    assert_ids(t, "abc", "5 2");
    gs_tokenizer_destroy(t);
    t = tok_from_json("{" SPLIT("{\"Regex\":\"b\"}", "MergedWithNext", "") MODEL("") "}");
    assert_ids(t, "abc", "0 7");
    gs_tokenizer_destroy(t);
    t = tok_from_json("{" SPLIT("{\"Regex\":\"[ab]\"}", "Contiguous", "") MODEL("") "}");
    assert_ids(t, "abc", "5 2");
    gs_tokenizer_destroy(t);
}

static void digits_split_off_every_numeric_character(void **state) {
    (void)state;
    static const char model[] =
        "\"model\":{\"vocab\":{\"1\":0,\"2\":1,\"\xc2\xbd\":2,\"12\":3,\"1\xc2\xbd\":4},"
        "\"merges\":[\"1 2\",\"1 \xc2\xbd\"]}}";
    char json[400];
    snprintf(json, sizeof json,
             "{\"pre_tokenizer\":{\"type\":\"Digits\",\"individual_digits\":true},%s", model);
    gs_tokenizer *t = tok_from_json(json);
    assert_ids(t, "12", "0 1");
    assert_ids(t, "1\xc2\xbd", "0 2");
    gs_tokenizer_destroy(t);
    snprintf(json, sizeof json,
             "{\"pre_tokenizer\":{\"type\":\"Digits\",\"individual_digits\":false},%s", model);
    t = tok_from_json(json);
    assert_ids(t, "12", "3");
    gs_tokenizer_destroy(t);
}

static void byte_level_spells_bytes(void **state) {
    (void)state;
    /* U+0120 stands for the space, U+00C3 U+00A9 for the bytes of e acute, U+0100 for NUL */
    gs_tokenizer *t = tok_from_json(
        "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"model\":{"
        "\"vocab\":{"
        "\"\\u0120\":0,\"a\":1,\"\\u0120a\":2,\"\\u00c3\":3,\"\\u00a9\":4,\"\\u00c3\\u00a9\":5,"
        "\"\\u0100\":6,"
        "\"\\u0143\":7,\"\\u010a\":8},\"merges\":[\"\\u0120 a\",\"\\u00c3 \\u00a9\"]}}");
    assert_string_equal(gs_tokenizer_kind(t), "byte-level BPE");
    assert_ids(t, "a a", "1 2");
    assert_ids(t, "\xc3\xa9", "5");
    assert_ids(t, "a  a", "1 0 2");
    assert_ids(t, "\n", "8");
    assert_string_equal(tok_ids(t, "a\0a", 3, false), "1 6 1");
    gs_tokenizer_destroy(t);
}

static void byte_level_may_put_a_space_in_front(void **state) {
    (void)state;
    gs_tokenizer *t =
        tok_from_json("{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true},"
                      "\"model\":{\"vocab\":{"
                      "\"\\u0120\":0,\"a\":1},\"merges\":[]},"
                      "\"added_tokens\":[{\"id\":2,\"content\":\"<s>\",\"special\":true}]}");
    assert_ids(t, "a", "0 1");
    assert_ids(t, " a", "0 1");
    assert_special_ids(t, "a<s>a", "0 1 2 0 1");
    gs_tokenizer_destroy(t);
}

static void metaspace_marks_words(void **state) {
    (void)state;
    static const char model[] =
        "\"model\":{\"vocab\":{\"\\u2581\":0,\"a\":1,\"\\u2581a\":2,\"a\\u2581\":3},"
        "\"merges\":[[\"a\",\"\\u2581\"],[\"\\u2581\",\"a\"]]},"
        "\"added_tokens\":[{\"id\":4,\"content\":\"<s>\",\"special\":true}]}";
    static const struct {
        const char *options, *text, *ids;
    } cases[] = {
        {"\"prepend_scheme\":\"always\"", "a a", "2 2"},
        {"\"prepend_scheme\":\"always\",\"split\":false", "a a", "0 3 1"},
        {"\"prepend_scheme\":\"always\"", "a<s>a", "2 4 2"},
        {"\"prepend_scheme\":\"first\"", "a<s>a", "2 4 1"},
        {"\"prepend_scheme\":\"first\"", "<s>a", "4 1"},
        {"\"prepend_scheme\":\"never\"", "a a", "1 2"},
        {"\"add_prefix_space\":false", "a a", "1 2"},
        {"\"add_prefix_space\":true", " a", "2"},
    };
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        char json[700];
        snprintf(json, sizeof json, "{\"pre_tokenizer\":{\"type\":\"Metaspace\",%s},%s",
                 cases[i].options, model);
        gs_tokenizer *t = tok_from_json(json);
        assert_special_ids(t, cases[i].text, cases[i].ids);
        gs_tokenizer_destroy(t);
    }
}

static void normalizers_change_the_text_first(void **state) {
    (void)state;
    static const struct {
        const char *normalizer, *text, *ids;
    } cases[] = {
        {"{\"type\":\"NFC\"}", "e\xcc\x81", "0"},
        {"{\"type\":\"NFD\"}", "\xc3\xa9", "1 2"},
        {"{\"type\":\"NFKC\"}", "\xef\xbc\xa1", "3"},
        {"{\"type\":\"NFKD\"}", "\xef\xbc\xa1\xc3\xa9", "3 1 2"},
        {"{\"type\":\"Lowercase\"}", "E", "1"},
        {"{\"type\":\"Lowercase\"}", "\xc4\xb0", "4 5"}, /* two characters */
        {"{\"type\":\"Strip\",\"strip_right\":false}", " e ", "1 6"},
        {"{\"type\":\"Strip\"}", " \xe3\x80\x80 e ", "1"},
        {"{\"type\":\"Prepend\",\"prepend\":\"A\"}", "e", "3 1"},
        {"{\"type\":\"Prepend\",\"prepend\":\"A\"}", "", ""},
        {"{\"type\":\"Replace\",\"pattern\":{\"String\":\"ee\"},\"content\":\"A\"}", "eee",
         "3 1"},
        {"{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"e+\"},\"content\":\"A \"}", "eAee",
         "3 6 3 3 6"},
        {"{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"},{\"type\":"
         "\"Sequence\","
         "\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"A\"}]}]}",
         "E", "3 1"},
    };
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        char json[600];
        snprintf(json, sizeof json,
                 "{\"normalizer\":%s,\"model\":{\"vocab\":{\"\\u00e9\":0,\"e\":1,\"\\u0301\":2,"
                 "\"A\":3,\"i\":4,"
                 "\"\\u0307\":5,\" \":6},\"merges\":[]}}",
                 cases[i].normalizer);
        gs_tokenizer *t = tok_from_json(json);
        assert_ids(t, cases[i].text, cases[i].ids);
        gs_tokenizer_destroy(t);
    }
}

#define ADDED(flags) "\"added_tokens\":[{\"id\":8,\"content\":\"<x>\"" flags "},"        \
                     "{\"id\":9,\"content\":\"<x>c\",\"special\":true}],"

static void added_tokens_are_found_longest_first(void **state) {
    (void)state;
    gs_tokenizer *t = tok_from_json("{" ADDED("") MODEL("") "}");
    assert_int_equal(gs_tokenizer_vocab(t), 10);
    /* the special one is the longest, counts only where asked for, and is then plain text */
    assert_special_ids(t, "a<x>cb", "0 9 1");
    assert_ids(t, "a<x>bc", "0 8 7");
    gs_tokenizer_destroy(t);
}

static void added_tokens_swallow_the_space_beside_them(void **state) {
    (void)state;
    gs_tokenizer *t = tok_from_json("{" ADDED(",\"lstrip\":true,\"rstrip\":true") MODEL("") "}");
    assert_ids(t, " a  <x> \n<x>b", "3 0 8 8 1");
    gs_tokenizer_destroy(t);
}

static void single_words_want_no_letter_beside_them(void **state) {
    (void)state;
    gs_tokenizer *t =
        tok_from_json("{" ADDED(",\"single_word\":true") MODEL(",\"unk_token\":\"<unk>\"") "}");
    assert_ids(t, "<x>", "8");
    assert_ids(t, "a <x> b", "0 3 8 3 1");
    assert_ids(t, "a<x>", "0 4 4 4");
    gs_tokenizer_destroy(t);
}

static void normalized_tokens_are_found_behind_the_normalizer(void **state) {
    (void)state;
    gs_tokenizer *t =
        tok_from_json("{\"normalizer\":{\"type\":\"Lowercase\"},\"added_tokens\":["
                      "{\"id\":8,\"content\":\"<X>\",\"normalized\":true},{\"id\":9,\"content\":"
                      "\"<Y>\",\"normalized\":false}]," MODEL("") "}");
    assert_ids(t, "<x>A<X><Y><y>", "8 0 8 9");
    gs_tokenizer_destroy(t);
}

static void a_path_without_a_tokenizer_is_refused(void **state) {
    (void)state;
    gs_error err = {0};
    gs_tokenizer *t;
    char *dir = gs_test_tmpdir(), path[1200];
    assert_fails(gs_tokenizer_open(dir, &t, &err), GS_E_FORMAT, &err);
    snprintf(path, sizeof path, "%s/none.json", dir);
    assert_fails(gs_tokenizer_open(path, &t, &err), GS_E_FORMAT, &err);
    snprintf(path, sizeof path, "%s/weights.bin", dir);
    assert_fails(gs_tokenizer_open(path, &t, &err), GS_E_INVALID, &err);
    gs_test_rmdir(dir);
}

static void text_that_is_not_utf8_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"a\xff",        "\xc0\x80",         "\xe0\x80\x80",
                                      "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc3",
                                      "a\x80",        "\xf0\x9f\xa6"};
    gs_tokenizer *t = tok_from_json("{" MODEL("") "}");
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        gs_error err = {0};
        int32_t *ids = (int32_t *)&err;
        size_t n = 1;
        assert_fails(gs_tokenizer_encode(t, NULL, bad[i], strlen(bad[i]), GS_BOS_AUTO, false,
                                         &ids, &n, &err),
                     GS_E_FORMAT, &err);
        assert_null(ids);
        assert_int_equal(n, 0);
    }
    gs_tokenizer_destroy(t);
}

static void unknown_parts_are_refused_by_name(void **state) {
    (void)state;
    static const char *const all[][2] = {
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", "Unigram"},
        {"{" MODEL(",\"dropout\":0.1") "}", "dropout"},
        {"{" MODEL(",\"continuing_subword_prefix\":\"##\"") "}", "continuing_subword_prefix"},
        {"{" MODEL(",\"end_of_word_suffix\":\"</w>\"") "}", "end_of_word_suffix"},
        {"{\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}," MODEL("") "}", "BertPreTokenizer"},
        {"{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},"
         "{\"type\":\"Digits\"}]}," MODEL("") "}",
         "behind ByteLevel"},
        {"{" SPLIT("{\"String\":\" \"}", "Sideways", "") MODEL("") "}", "Sideways"},
        {"{" SPLIT("{\"String\":\"\"}", "Isolated", "") MODEL("") "}", "empty"},
        {"{" SPLIT("{\"Glob\":\"*\"}", "Isolated", "") MODEL("") "}", "pattern"},
        {"{" SPLIT("{\"Regex\":\"\\\\b\"}", "Isolated", "") MODEL("") "}", "\\b"},
        {"{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"prepend_scheme\":\"last\"}," MODEL("") "}",
         "last"},
        {"{\"normalizer\":{\"type\":\"Strip\"},\"pre_tokenizer\":{\"type\":\"Metaspace\","
         "\"prepend_scheme\":"
         "\"first\"}," MODEL("") "}",
         "first"},
        {"{\"normalizer\":{\"type\":\"Precompiled\"}," MODEL("") "}", "Precompiled"},
        {"{\"post_processor\":{\"type\":\"RobertaProcessing\"}," MODEL("") "}",
         "RobertaProcessing"},
        {"{\"normalizer\":{\"type\":\"Lowercase\"},\"added_tokens\":[{\"id\":8,\"content\":\"<X>"
         "\",\"normalized\":"
         "true},{\"id\":9,\"content\":\"<x>\",\"normalized\":true}]," MODEL("") "}",
         "normalize to"},
        {"{\"normalizer\":{\"type\":\"Strip\"},\"added_tokens\":[{\"id\":8,\"content\":\"\\n\","
         "\"normalized\":true}]," MODEL("") "}",
         "nothing"},
    };
    for (size_t i = 0; i < GS_COUNTOF(all); i++) refused(all[i][0], GS_E_UNSUPPORTED, all[i][1]);
}

static void malformed_files_are_refused_with_the_place(void **state) {
    (void)state;
    static const char *const all[][2] = {
        {"", "JSON"},
        {"{", "JSON"},
        {"[]", "model"},
        {"{}", "model"},
        {"{\"model\":{}}", "vocab"},
        {"{\"model\":{\"vocab\":{}}}", "merges"},
        {"{\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}}", "-1"},
        {"{\"model\":{\"vocab\":{\"a\":16777216},\"merges\":[]}}", "16777216"},
        {"{\"model\":{\"vocab\":{\"a\":9007199254740992},\"merges\":[]}}", "9007199254740992"},
        {"{\"model\":{\"vocab\":{\"a\":1e300},\"merges\":[]}}", "integer"},
        {"{\"model\":{\"vocab\":{\"a\":0.5},\"merges\":[]}}", "integer"},
        {"{\"model\":{\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", "two pieces"},
        {"{\"model\":{\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}}", "twice"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}", "'b'"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"b a\"]}}", "'b'"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}}", "'aa'"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"aa\"]}}", "not two pieces"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a a a\"]}}", "not two pieces"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", "not two pieces"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[[\"a\",1]]}}", "not two pieces"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[7]}}", "not two pieces"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"u\"}}", "unk_token"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"fuse_unk\":1}}", "fuse_unk"},
        {"{\"added_tokens\":[{\"id\":1,\"content\":\"ab\"}]," MODEL("") "}", "in the vocabulary"},
        {"{\"added_tokens\":[{\"id\":3,\"content\":\"new\"}]," MODEL("") "}", "two pieces"},
        {"{\"added_tokens\":[{\"id\":99999999,\"content\":\"new\"}]," MODEL("") "}", "99999999"},
        {"{\"added_tokens\":[{\"id\":-5,\"content\":\"new\"}]," MODEL("") "}", "-5"},
        {"{\"added_tokens\":[{\"id\":8,\"content\":\"\"}]," MODEL("") "}", "no content"},
        {"{\"added_tokens\":[{\"id\":8}]," MODEL("") "}", "no content"},
        {"{\"added_tokens\":7," MODEL("") "}", "added_tokens"},
        {"{\"pre_tokenizer\":{\"type\":\"Sequence\"}," MODEL("") "}", "pretokenizers"},
        {"{\"normalizer\":{\"type\":\"Sequence\"}," MODEL("") "}", "normalizers"},
        {"{\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"}}," MODEL("") "}",
         "content"},
        {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{"
         "\"id\":\"s\"}}],"
         "\"special_tokens\":{\"s\":{\"ids\":[800]}}}," MODEL("") "}",
         "800"},
    };
    for (size_t i = 0; i < GS_COUNTOF(all); i++) refused(all[i][0], GS_E_FORMAT, all[i][1]);
}

static void endless_sequences_are_refused(void **state) {
    (void)state;
    gs_strbuf json = {0};
    gs_strbuf_puts(&json, "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[");
    for (int i = 0; i < 33; i++) gs_strbuf_printf(&json, "%s{\"type\":\"Digits\"}", i ? "," : "");
    gs_strbuf_puts(&json, "]}," MODEL("") "}");
    refused(json.data, GS_E_UNSUPPORTED, "32 pre_tokenizers");
    gs_strbuf_reset(&json);
    gs_strbuf_puts(&json, "{\"normalizer\":");
    for (int i = 0; i < 40; i++)
        gs_strbuf_puts(&json, "{\"type\":\"Sequence\",\"normalizers\":[");
    for (int i = 0; i < 40; i++) gs_strbuf_puts(&json, "]}");
    gs_strbuf_puts(&json, "," MODEL("") "}");
    refused(json.data, GS_E_FORMAT, "JSON");
    gs_strbuf_clear(&json);
}

static void a_runaway_expression_fails_the_text_and_not_the_process(void **state) {
    (void)state;
    gs_tokenizer *t =
        tok_from_json("{" SPLIT("{\"Regex\":\"(a+)+b|(a|a)*c\"}", "Isolated", "") MODEL("") "}");
    gs_error err = {0};
    int32_t *ids;
    size_t n;
    char text[64];
    memset(text, 'a', sizeof text);
    assert_fails(
        gs_tokenizer_encode(t, NULL, text, sizeof text, GS_BOS_AUTO, false, &ids, &n, &err),
        GS_E_UNSUPPORTED, &err);
    assert_null(ids);
    assert_ids(t, "abc", "5 2");
    gs_tokenizer_destroy(t);
}

/* Whatever allocation fails, there is an error, nothing leaks and nothing crashes. */
static void without_memory_there_is_an_error_and_no_leak(void **state) {
    (void)state;
    static const char json[] =
        "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":"
        "\"Replace\","
        "\"pattern\":{\"Regex\":\"x\"},\"content\":\"a\"}]},"
        "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Metaspace\"},{"
        "\"type\":\"Split\","
        "\"pattern\":{\"Regex\":\"b\"},\"behavior\":\"Isolated\"}]}," ADDED(
            ",\"normalized\":true") MODEL("") "}";
    for (int64_t k = 0; k < 2000; k++) {
        gs_error err = {0};
        gs_tokenizer *t = NULL;
        int32_t *ids = NULL;
        size_t n;
        gs_mem_fail_after(k);
        gs_status status = try_json(json, &t, &err);
        if (status == GS_OK)
            status = gs_tokenizer_encode(t, NULL, "ab<x>e\xcc\x81 x", 10, GS_BOS_AUTO, true, &ids,
                                         &n, &err);
        gs_mem_fail_after(-1);
        gs_tokenizer_destroy(t);
        gs_free(ids);
        if (status == GS_OK) return;
        assert_int_equal(status, GS_E_NOMEM);
        assert_true(err.text[0] != 0);
    }
    fail_msg("never enough memory");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_merge_by_rank_then_from_the_left),
        cmocka_unit_test(long_words_merge_like_short_ones),
        cmocka_unit_test(equal_pairs_merge_from_the_left),
        cmocka_unit_test(a_whole_word_wins_where_merges_are_ignored),
        cmocka_unit_test(unknown_characters_fuse_or_vanish),
        cmocka_unit_test(unknown_characters_fall_back_to_their_bytes),
        cmocka_unit_test(splits_behave_as_their_names_say),
        cmocka_unit_test(merging_splits_join_the_right_neighbour),
        cmocka_unit_test(digits_split_off_every_numeric_character),
        cmocka_unit_test(byte_level_spells_bytes),
        cmocka_unit_test(byte_level_may_put_a_space_in_front),
        cmocka_unit_test(metaspace_marks_words),
        cmocka_unit_test(normalizers_change_the_text_first),
        cmocka_unit_test(added_tokens_are_found_longest_first),
        cmocka_unit_test(added_tokens_swallow_the_space_beside_them),
        cmocka_unit_test(single_words_want_no_letter_beside_them),
        cmocka_unit_test(normalized_tokens_are_found_behind_the_normalizer),
        cmocka_unit_test(a_path_without_a_tokenizer_is_refused),
        cmocka_unit_test(text_that_is_not_utf8_is_refused),
        cmocka_unit_test(unknown_parts_are_refused_by_name),
        cmocka_unit_test(malformed_files_are_refused_with_the_place),
        cmocka_unit_test(endless_sequences_are_refused),
        cmocka_unit_test(a_runaway_expression_fails_the_text_and_not_the_process),
        cmocka_unit_test(without_memory_there_is_an_error_and_no_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
