/* Vocabularies inside GGUF files, made by hand: both kinds, and what is refused. */
#include "gguf_builder.h"
#include "tokenizer_support.h"

#include <loaders/tokenizer/spm.h>
#include <loaders/tokenizer/spm_shim.h>

static gguf_builder b;

typedef struct piece {
    const char *text;
    float score;
    int type;
} piece;

static void put_pieces(const piece *p, size_t n, bool scores) {
    gguf_kv_array(&b, "tokenizer.ggml.tokens", GS_GGUF_STRING, n);
    for (size_t i = 0; i < n; i++) gguf_text(&b, p[i].text);
    gguf_kv_array(&b, "tokenizer.ggml.token_type", GS_GGUF_I32, n);
    for (size_t i = 0; i < n; i++) gguf_int(&b, (uint32_t)p[i].type, 4);
    if (!scores) return;
    gguf_kv_array(&b, "tokenizer.ggml.scores", GS_GGUF_F32, n);
    for (size_t i = 0; i < n; i++) gguf_int(&b, gs_f32_bits(p[i].score), 4);
}

static void put_merges(const char *const *merges, size_t n) {
    gguf_kv_array(&b, "tokenizer.ggml.merges", GS_GGUF_STRING, n);
    for (size_t i = 0; i < n; i++) gguf_text(&b, merges[i]);
}

static gs_gguf *finish(void) {
    gs_gguf *g = NULL;
    gs_error err = {0};
    gguf_finish(&b);
    assert_ok(gguf_open_copy(b.data, b.len, &g, &err), &err);
    return g;
}

static gs_tokenizer *open_ok(void) {
    gs_gguf *g = finish();
    gs_tokenizer *t = NULL;
    gs_error err = {0};
    assert_ok(gs_tokenizer_from_gguf(g, &t, &err), &err);
    gs_gguf_close(g); /* nothing of it is used any more */
    return t;
}

static void refused(gs_status status, const char *word) {
    gs_gguf *g = finish();
    gs_tokenizer *t = NULL;
    gs_error err = {0};
    assert_fails(gs_tokenizer_from_gguf(g, &t, &err), status, &err);
    assert_null(t);
    gs_gguf_close(g);
    if (!strstr(err.text, word)) fail_msg("'%s' says nothing of '%s'", err.text, word);
}

/* ---- byte pairs */

static const piece pairs[] = {
    {"a", 0, 1},
    {"b", 0, 1},
    {"\xc4\xa0", 0, 1},
    {"ab", 0, 1},
    {"\xc4\xa0"
     "ab",
     0, 1},
    {"<s>", 0, 3},
    {"<tool>", 0, 4},
    {"[PAD7]", 0, 4},
    {"1", 0, 1},
    {"11", 0, 1},
    {"[PAD3]", 0, 4},
    {"[", 0, 1},
    {"P", 0, 1},
    {"A", 0, 1},
    {"D", 0, 1},
    {"7", 0, 1},
    {"]", 0, 1},
};
static const char *const merges[] = {"a b", "\xc4\xa0 ab", "1 1"};

static void begin_pairs(const char *pre) {
    gguf_begin(&b, 3);
    gguf_kv_text(&b, "tokenizer.ggml.model", "gpt2");
    if (pre) gguf_kv_text(&b, "tokenizer.ggml.pre", pre);
    put_pieces(pairs, GS_COUNTOF(pairs), false);
}

static void byte_pairs_of_a_gguf(void **state) {
    (void)state;
    begin_pairs("gpt-2");
    put_merges(merges, GS_COUNTOF(merges));
    gs_tokenizer *t = open_ok();
    assert_int_equal(gs_tokenizer_vocab(t), GS_COUNTOF(pairs));
    assert_int_equal(gs_tokenizer_bos(t), -1);
    assert_false(gs_tokenizer_adds_bos(t));
    assert_ids(t, "ab ab11", "3 4 9");
    gs_tokenizer_destroy(t);
}

static void the_named_pre_tokenizer_is_used(void **state) {
    (void)state;
    begin_pairs("smollm");
    put_merges(merges, GS_COUNTOF(merges));
    gs_tokenizer *t = open_ok();
    assert_ids(t, "11", "8 8"); /* each digit by itself */
    gs_tokenizer_destroy(t);
}

static void every_known_pre_tokenizer_compiles(void **state) {
    (void)state;
    static const char *const names[] = {
        "gpt-2",          "phi-2",
        "olmo",           "smollm",
        "starcoder",      "refact",
        "codeshell",      "command-r",
        "llama-bpe",      "llama3",
        "llama-v3",       "dbrx",
        "qwen2",          "deepseek-r1-qwen",
        "megrez",         "qwen35",
        "gpt-4o",         "llama4",
        "tekken",         "deepseek-llm",
        "deepseek-coder", "deepseek-v3",
        "default",        NULL,
    };
    for (size_t i = 0; i < GS_COUNTOF(names); i++) {
        begin_pairs(names[i]);
        put_merges(merges, GS_COUNTOF(merges));
        gs_tokenizer *t = open_ok();
        assert_ids(t, "ab ab", "3 4");
        gs_tokenizer_destroy(t);
    }
}

static void added_tokens_come_from_the_types(void **state) {
    (void)state;
    begin_pairs("gpt-2");
    put_merges(merges, GS_COUNTOF(merges));
    gs_tokenizer *t = open_ok();
    assert_ids(t, "a<tool>b", "0 6 1");
    assert_special_ids(t, "a<s>b", "0 5 1");
    assert_ids(t, "a<s>b", "0 1"); /* its characters are no pieces */
    /* what filled the table up is no token; at another place it is one */
    assert_ids(t, "[PAD7]", "11 12 13 14 15 16");
    assert_ids(t, "[PAD3]", "10");
    gs_tokenizer_destroy(t);
}

static void bos_of_a_gguf(void **state) {
    (void)state;
    begin_pairs("gpt-2");
    put_merges(merges, GS_COUNTOF(merges));
    gguf_kv_u32(&b, "tokenizer.ggml.bos_token_id", 5);
    gguf_kv_int(&b, "tokenizer.ggml.add_bos_token", GS_GGUF_BOOL, 1, 1);
    gs_tokenizer *t = open_ok();
    assert_int_equal(gs_tokenizer_bos(t), 5);
    assert_true(gs_tokenizer_adds_bos(t));
    gs_tokenizer_destroy(t);
    /* Llama 3 adds it unless told otherwise */
    begin_pairs("llama-bpe");
    put_merges(merges, GS_COUNTOF(merges));
    gguf_kv_u32(&b, "tokenizer.ggml.bos_token_id", 5);
    t = open_ok();
    assert_true(gs_tokenizer_adds_bos(t));
    gs_tokenizer_destroy(t);
}

static void wrong_byte_pairs_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *merge, *word;
    } bad[] = {{"a c", "'c'"},     {"b a", "'ba'"},      {"ab", "two pieces"},
               {"", "two pieces"}, {" a", "two pieces"}, {"a b 1", "'b 1'"}};
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        begin_pairs("gpt-2");
        put_merges(&bad[i].merge, 1);
        refused(GS_E_FORMAT, bad[i].word);
    }
    begin_pairs("gpt-2");
    refused(GS_E_FORMAT, "merges");
    begin_pairs("weird-pre");
    put_merges(merges, GS_COUNTOF(merges));
    refused(GS_E_UNSUPPORTED, "weird-pre");
    begin_pairs("gpt-2 phi-2");
    put_merges(merges, GS_COUNTOF(merges));
    refused(GS_E_UNSUPPORTED, "gpt-2 phi-2");
    begin_pairs("gpt-2");
    put_merges(merges, GS_COUNTOF(merges));
    gguf_kv_int(&b, "tokenizer.ggml.add_bos_token", GS_GGUF_BOOL, 1, 1);
    refused(GS_E_FORMAT, "bos_token_id");
    begin_pairs("gpt-2");
    gguf_kv_u32(&b, "tokenizer.ggml.bos_token_id", 1000);
    refused(GS_E_FORMAT, "1000");
}

static void begin_two(const char *first, const char *second, int type) {
    const piece two[] = {{first, 0, 1}, {second, 0, type}};
    gguf_begin(&b, 3);
    gguf_kv_text(&b, "tokenizer.ggml.model", "gpt2");
    put_pieces(two, 2, false);
    put_merges(NULL, 0);
}

static void wrong_pieces_are_refused(void **state) {
    (void)state;
    begin_two("a", "a", 1);
    refused(GS_E_FORMAT, "twice");
    begin_two("a", "\xff", 1);
    refused(GS_E_FORMAT, "UTF-8");
    begin_two("a", "b", 7);
    refused(GS_E_FORMAT, "type 7");
    begin_two("a", "", 3);
    refused(GS_E_FORMAT, "empty");
    gguf_begin(&b, 3);
    refused(GS_E_FORMAT, "tokenizer.ggml.model");
    gguf_kv_text(&b, "tokenizer.ggml.model", "bert");
    refused(GS_E_FORMAT, "tokens");
    gguf_kv_array(&b, "tokenizer.ggml.tokens", GS_GGUF_STRING, 1);
    gguf_text(&b, "a");
    refused(GS_E_UNSUPPORTED, "bert");
    gguf_kv_array(&b, "tokenizer.ggml.token_type", GS_GGUF_I32, 2);
    gguf_int(&b, 0, 8);
    refused(GS_E_FORMAT, "2 entries for 1");
}

/* ---- SentencePiece */

#define SPACE "\xe2\x96\x81"
static const piece words[] = {
    {"<unk>", 0, 2}, {"<s>", 0, 3}, {"</s>", 0, 3}, {SPACE, -10, 1}, {"a", -11, 1}, {"b", -12, 1},
    {SPACE "a", -1, 1}, {"ab", -2, 1}, {"bb", -3, 1}, {SPACE SPACE, -4, 1}, {"!", -13, 1},
};

static void begin_words(const piece *p, size_t n) {
    gguf_begin(&b, 3);
    gguf_kv_text(&b, "tokenizer.ggml.model", "llama");
    put_pieces(p, n, true);
    gguf_kv_u32(&b, "tokenizer.ggml.bos_token_id", 1);
    gguf_kv_u32(&b, "tokenizer.ggml.eos_token_id", 2);
}

static void sentencepiece_of_a_gguf(void **state) {
    (void)state;
    begin_words(words, GS_COUNTOF(words));
    gs_tokenizer *t = open_ok();
    assert_string_equal(gs_tokenizer_kind(t), "SentencePiece BPE");
    assert_int_equal(gs_tokenizer_bos(t), 1);
    assert_true(gs_tokenizer_adds_bos(t));
    /* the best score merges first: the space with a before a with b */
    assert_ids(t, "ab", "6 5");
    assert_ids(t, "", "");
    assert_ids(t, "b  ab", "3 5 3 6 5");
    /* no byte pieces here: what is no piece is unknown */
    assert_ids(t, "a?", "6 0");
    gs_tokenizer_destroy(t);
}

static void control_pieces_are_found_only_on_request(void **state) {
    (void)state;
    begin_words(words, GS_COUNTOF(words));
    gs_tokenizer *t = open_ok();
    assert_special_ids(t, "a<s>a</s>", "6 1 6 2");
    assert_ids(t, "a</s>", "6 0");
    gs_tokenizer_destroy(t);
}

static void the_space_in_front_can_be_switched_off(void **state) {
    (void)state;
    begin_words(words, GS_COUNTOF(words));
    gguf_kv_int(&b, "tokenizer.ggml.add_space_prefix", GS_GGUF_BOOL, 0, 1);
    gguf_kv_int(&b, "tokenizer.ggml.add_bos_token", GS_GGUF_BOOL, 0, 1);
    gs_tokenizer *t = open_ok();
    assert_ids(t, "ab", "7");
    assert_ids(t, " ab", "6 5");
    assert_false(gs_tokenizer_adds_bos(t));
    gs_tokenizer_destroy(t);
}

static int take_all(void *ctx, const int *ids, size_t n) {
    gs_strbuf *out = ctx;
    for (size_t i = 0; i < n; i++) gs_strbuf_printf(out, "%s%d", out->len ? " " : "", ids[i]);
    return 0;
}

/* Long texts are encoded in parts; the library gives the same for the whole. */
static void parts_give_the_ids_of_the_whole(void **state) {
    (void)state;
    for (int prefix = 0; prefix < 2; prefix++) {
        begin_words(words, GS_COUNTOF(words));
        gguf_kv_int(&b, "tokenizer.ggml.add_space_prefix", GS_GGUF_BOOL, (uint64_t)prefix, 1);
        gs_gguf *g = finish();
        gs_error err = {0};
        gs_strbuf proto = {0};
        gs_tokenizer *t;
        gs_spm_facts facts;
        void *whole;
        char why[100];
        assert_ok(gs_tokenizer_from_gguf(g, &t, &err), &err);
        assert_ok(gs_spm_from_gguf(g, &proto, &err), &err);
        assert_ok(gs_spm_check((const uint8_t *)proto.data, proto.len, &facts, NULL, NULL, &err),
                  &err);
        assert_true(facts.cuttable);
        assert_int_equal(facts.dummy_prefix, prefix);
        assert_int_equal(
            gs_spm_load((const uint8_t *)proto.data, proto.len, &whole, why, sizeof why),
            GS_SPM_OK);
        gs_gguf_close(g);
        uint64_t seed = 5;
        for (int round = 0; round < 60; round++) {
            static const char *const bits[] = {"a", "b", " ", "  ", "!", SPACE, "ab", "?", "\n"};
            gs_strbuf text = {0}, want = {0};
            size_t n = gs_test_rand(&seed) % 8000;
            while (text.len < n)
                gs_strbuf_puts(&text, bits[gs_test_rand(&seed) % GS_COUNTOF(bits)]);
            /* a space at the very end is no place to cut */
            if (round % 3 == 0) gs_strbuf_reset(&text);
            while (round % 3 == 0 && text.len < 4000) gs_strbuf_puts(&text, "ab");
            if (round % 3 == 0) gs_strbuf_putc(&text, ' ');
            assert_int_equal(gs_spm_encode(whole, gs_strbuf_text(&text), text.len, take_all,
                                           &want, why, sizeof why),
                             GS_SPM_OK);
            assert_string_equal(tok_ids(t, gs_strbuf_text(&text), text.len, false),
                                gs_strbuf_text(&want));
            gs_strbuf_clear(&text);
            gs_strbuf_clear(&want);
        }
        gs_spm_unload(whole);
        gs_strbuf_clear(&proto);
        gs_tokenizer_destroy(t);
    }
}

static void a_piece_across_a_space_forbids_parts(void **state) {
    (void)state;
    static const char *const across[] = {"a" SPACE "b", "a b", " ", SPACE "a" SPACE};
    for (size_t i = 0; i < GS_COUNTOF(across); i++) {
        piece more[GS_COUNTOF(words) + 1];
        gs_error err = {0};
        gs_strbuf proto = {0};
        gs_spm_facts facts;
        memcpy(more, words, sizeof words);
        more[GS_COUNTOF(words)] = (piece){across[i], -20, i % 2 ? 4 : 1};
        begin_words(more, GS_COUNTOF(more));
        gs_gguf *g = finish();
        assert_ok(gs_spm_from_gguf(g, &proto, &err), &err);
        assert_ok(gs_spm_check((const uint8_t *)proto.data, proto.len, &facts, NULL, NULL, &err),
                  &err);
        assert_false(facts.cuttable);
        gs_strbuf_clear(&proto);
        gs_gguf_close(g);
    }
}

static void begin_with(piece extra) {
    piece more[GS_COUNTOF(words) + 1];
    memcpy(more, words, sizeof words);
    more[GS_COUNTOF(words)] = extra;
    begin_words(more, GS_COUNTOF(more));
}

static void wrong_sentencepiece_vocabularies_are_refused(void **state) {
    (void)state;
    begin_with((piece){"", 0, 1});
    refused(GS_E_FORMAT, "0 bytes");
    begin_with((piece){"ab", 0, 1});
    refused(GS_E_FORMAT, "ab");
    begin_with((piece){"x", 0.0f / 0.0f, 1});
    refused(GS_E_FORMAT, "score");
    begin_with((piece){"x", 0, 2}); /* a second unknown */
    refused(GS_E_FORMAT, "SentencePiece");
    begin_with((piece){"<0x41>", 0, 6}); /* one byte of 256 */
    refused(GS_E_FORMAT, "SentencePiece");
    begin_words(words + 1, GS_COUNTOF(words) - 1); /* no unknown */
    refused(GS_E_FORMAT, "unknown");
    gguf_begin(&b, 3);
    gguf_kv_text(&b, "tokenizer.ggml.model", "llama");
    put_pieces(words, GS_COUNTOF(words), false);
    refused(GS_E_FORMAT, "scores");
}

/* ---- the normalizer's table */

enum { BLOCK = 256 };

/* A table whose only rule turns 'x' into "yz": root 0 leads to the unit of 'x', whose value
 * is the replacement's offset. */
static size_t make_table(uint32_t *map) {
    memset(map, 0, (1 + 2 * BLOCK + 2) * 4);
    map[0] = 2 * BLOCK * 4;
    uint32_t *unit = map + 1;
    unit[0] = BLOCK << 10;                                      /* children from 256 on */
    unit[BLOCK ^ 'x'] = 'x' | 0x100 | (uint32_t)('x' ^ 1) << 10; /* its value at 256 ^ 1 */
    unit[BLOCK ^ 1] = 0x80000000u | 1;
    memcpy(map + 1 + 2 * BLOCK, "\0yz\0", 4);
    return 4 + 2 * BLOCK * 4 + 4;
}

static gs_status check_table(const uint32_t *map, size_t len, gs_error *err) {
    uint8_t *copy = malloc(len); /* exactly, for the sanitizers */
    assert_non_null(copy);
    memcpy(copy, map, len);
    gs_status status = gs_spm_check_charsmap(copy, len, err);
    free(copy);
    return status;
}

static void a_normalizer_table_is_checked_and_used(void **state) {
    (void)state;
    static uint32_t map[2 + 2 * BLOCK + 2];
    gs_error err = {0};
    size_t len = make_table(map);
    assert_ok(check_table(map, len, &err), &err);
    static const piece letters[] = {{"<unk>", 0, 2}, {"<s>", 0, 3}, {"</s>", 0, 3},
                                    {SPACE, -1, 1},  {"x", -2, 1},  {"y", -3, 1},
                                    {"z", -4, 1}};
    begin_words(letters, GS_COUNTOF(letters));
    gguf_kv_array(&b, "tokenizer.ggml.precompiled_charsmap", GS_GGUF_U8, len);
    gguf_raw(&b, map, len);
    gs_tokenizer *t = open_ok();
    assert_ids(t, "zx", "3 6 5 6");
    gs_tokenizer_destroy(t);
}

static void wrong_normalizer_tables_are_refused(void **state) {
    (void)state;
    static uint32_t map[2 + 2 * BLOCK + 2];
    gs_error err = {0};
    size_t len = make_table(map);
    for (size_t n = 0; n < len; n += n < 8 ? 1 : 101)
        if (n > 0) assert_fails(check_table(map, n, &err), GS_E_FORMAT, &err);
    map[0] = 0;
    assert_fails(check_table(map, len, &err), GS_E_FORMAT, &err);
    map[0] = 1;
    assert_fails(check_table(map, len, &err), GS_E_FORMAT, &err);
    map[0] = 0xfffffc00u;
    assert_fails(check_table(map, len, &err), GS_E_FORMAT, &err);
    make_table(map);
    map[1] = 0x3fffffu << 10; /* children far outside */
    assert_fails(check_table(map, len, &err), GS_E_FORMAT, &err);
    make_table(map);
    map[1] = 0x80000000u | 2 * BLOCK << 10; /* bit 31 does not excuse the root */
    assert_fails(check_table(map, len, &err), GS_E_FORMAT, &err);
    make_table(map);
    map[1 + (BLOCK ^ 1)] = 0x80000000u | 4; /* a replacement behind the end */
    assert_fails(check_table(map, len, &err), GS_E_FORMAT, &err);
    make_table(map);
    map[1 + 2 * BLOCK] = 0x7a7a7a7a; /* none that ends */
    assert_fails(check_table(map, len, &err), GS_E_FORMAT, &err);
}

static void check_memory(void) {
    gguf_finish(&b);
    for (int64_t k = 0; k < 3000; k++) {
        gs_error err = {0};
        gs_gguf *g = NULL;
        gs_tokenizer *t = NULL;
        int32_t *ids = NULL;
        size_t n;
        assert_ok(gguf_open_copy(b.data, b.len, &g, &err), &err);
        gs_mem_fail_after(k);
        gs_status status = gs_tokenizer_from_gguf(g, &t, &err);
        if (status == GS_OK)
            status = gs_tokenizer_encode(t, NULL, "ab ab<s>!", 9, GS_BOS_NEVER, true, &ids, &n, &err);
        gs_mem_fail_after(-1);
        gs_tokenizer_destroy(t);
        gs_gguf_close(g);
        gs_free(ids);
        if (status == GS_OK) return;
        assert_int_equal(status, GS_E_NOMEM);
        assert_true(err.text[0] != 0);
    }
    fail_msg("never enough memory");
}

static void without_memory_there_is_an_error_and_no_leak(void **state) {
    (void)state;
    begin_pairs("qwen2");
    put_merges(merges, GS_COUNTOF(merges));
    check_memory();
    begin_words(words, GS_COUNTOF(words));
    check_memory();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(byte_pairs_of_a_gguf),
        cmocka_unit_test(the_named_pre_tokenizer_is_used),
        cmocka_unit_test(every_known_pre_tokenizer_compiles),
        cmocka_unit_test(added_tokens_come_from_the_types),
        cmocka_unit_test(bos_of_a_gguf),
        cmocka_unit_test(wrong_byte_pairs_are_refused),
        cmocka_unit_test(wrong_pieces_are_refused),
        cmocka_unit_test(sentencepiece_of_a_gguf),
        cmocka_unit_test(control_pieces_are_found_only_on_request),
        cmocka_unit_test(the_space_in_front_can_be_switched_off),
        cmocka_unit_test(parts_give_the_ids_of_the_whole),
        cmocka_unit_test(a_piece_across_a_space_forbids_parts),
        cmocka_unit_test(wrong_sentencepiece_vocabularies_are_refused),
        cmocka_unit_test(a_normalizer_table_is_checked_and_used),
        cmocka_unit_test(wrong_normalizer_tables_are_refused),
        cmocka_unit_test(without_memory_there_is_an_error_and_no_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
