/* Ids of the original tokenizers: the 46 cases that llama.cpp ships for each vocabulary
 * (made with Hugging Face's tokenizers and SentencePiece), and WikiText-2. */
#include "tokenizer_support.h"

#include <base/context.h>
#include <base/hash.h>

static void check_gguf(const char *path, const char *kind) {
    gs_tokenizer *t = tok_open(path);
    assert_string_equal(gs_tokenizer_kind(t), kind);
    tok_run_cases(t, path, 46);
    gs_tokenizer_destroy(t);
}

static void llama_spm_of_a_gguf(void **state) {
    (void)state;
    gs_need_data(path, "data/tokenizers/llama.cpp/ggml-vocab-llama-spm.gguf");
    check_gguf(path, "SentencePiece BPE");
}

static void gpt2_of_a_gguf(void **state) {
    (void)state;
    gs_need_data(path, "data/tokenizers/llama.cpp/ggml-vocab-gpt-2.gguf");
    check_gguf(path, "byte-level BPE");
}

static void deepseek_llm_of_a_gguf(void **state) {
    (void)state;
    gs_need_data(path, "data/tokenizers/llama.cpp/ggml-vocab-deepseek-llm.gguf");
    check_gguf(path, "byte-level BPE");
}

static void llama2_of_its_tokenizer_model(void **state) {
    (void)state;
    gs_need_data(path, "data/tokenizers/llama2_tokenizer.model");
    gs_need_data(cases, "data/tokenizers/llama.cpp/ggml-vocab-llama-spm.gguf");
    gs_tokenizer *t = tok_open(path);
    assert_int_equal(gs_tokenizer_vocab(t), 32000);
    assert_int_equal(gs_tokenizer_bos(t), 1);
    assert_true(gs_tokenizer_adds_bos(t));
    tok_run_cases(t, cases, 46);
    gs_tokenizer_destroy(t);
}

static void qwen2_of_its_tokenizer_json(void **state) {
    (void)state;
    /* Qwen 3 has the vocabulary and the rules of Qwen 2 */
    tok_need_cached(path, "tokenizers/qwen3/tokenizer.json");
    gs_need_data(cases, "data/tokenizers/llama.cpp/ggml-vocab-qwen2.gguf.inp");
    char base[1100];
    snprintf(base, sizeof base, "%.*s", (int)(strlen(cases) - 4), cases);
    gs_tokenizer *t = tok_open(path);
    tok_run_cases(t, base, 46);
    gs_tokenizer_destroy(t);
}

/* tokenizer.json around GPT-2's two original files */
static gs_tokenizer *compose_gpt2(const char *vocab_path, const char *merges_path) {
    gs_strbuf json = {0};
    gs_error err = {0};
    size_t vocab_len, merges_len;
    char *vocab = tok_read(vocab_path, &vocab_len), *merges = tok_read(merges_path, &merges_len);
    gs_strbuf_puts(&json,
                   "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
                   "\"model\":{\"vocab\":");
    gs_strbuf_append(&json, vocab, vocab_len);
    gs_strbuf_puts(&json, ",\"merges\":[");
    bool any = false;
    for (char *line = strtok(merges, "\n"); line; line = strtok(NULL, "\n")) {
        if (strncmp(line, "#version", 8) == 0) continue;
        if (any) gs_strbuf_putc(&json, ',');
        any = true;
        gs_strbuf_json(&json, line, strlen(line));
    }
    gs_strbuf_puts(&json, "]}}");
    gs_tokenizer *t = NULL;
    assert_false(json.failed);
    assert_ok(gs_tokenizer_from_json(json.data, json.len, &t, &err), &err);
    gs_strbuf_clear(&json);
    gs_free(vocab);
    gs_free(merges);
    return t;
}

static void encode_file(const gs_tokenizer *t, gs_context *cx, const char *path, int32_t **ids,
                        size_t *n) {
    gs_error err = {0};
    size_t len;
    char *text = tok_read(path, &len);
    assert_ok(gs_tokenizer_encode(t, cx, text, len, GS_BOS_NEVER, false, ids, n, &err), &err);
    gs_free(text);
}

static void assert_same_ids(const gs_tokenizer *a, const gs_tokenizer *b, const char *path) {
    int32_t *x, *y;
    size_t n, m;
    encode_file(a, NULL, path, &x, &n);
    encode_file(b, NULL, path, &y, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n * sizeof *x);
    gs_free(x);
    gs_free(y);
}

static void gpt2_of_its_original_files(void **state) {
    (void)state;
    gs_need_data(vocab, "data/tokenizers/gpt2_vocab.json");
    gs_need_data(merges, "data/tokenizers/gpt2_merges.txt");
    gs_need_data(gguf, "data/tokenizers/llama.cpp/ggml-vocab-gpt-2.gguf");
    gs_need_data(text, "data/text/wikitext2.valid.tokens.txt");
    gs_tokenizer *t = compose_gpt2(vocab, merges), *g = tok_open(gguf);
    tok_run_cases(t, gguf, 46);
    assert_same_ids(t, g, text);
    gs_tokenizer_destroy(t);
    gs_tokenizer_destroy(g);
}

/* Text of SentencePiece ids: the pieces, bytes for <0xHH>, spaces for U+2581. */
static void decode(const gs_gguf *g, const int32_t *ids, size_t n, gs_strbuf *out) {
    for (size_t i = 0; i < n; i++) {
        gs_gguf_str s;
        unsigned byte;
        assert_true(gs_gguf_array_string(g, "tokenizer.ggml.tokens", ids[i], &s));
        if (s.len == 6 && sscanf(s.data, "<0x%02X>", &byte) == 1) {
            gs_strbuf_putc(out, (char)byte);
            continue;
        }
        for (size_t k = 0; k < s.len;) {
            bool space = s.len - k >= 3 && memcmp(s.data + k, "\xe2\x96\x81", 3) == 0;
            gs_strbuf_putc(out, space ? ' ' : s.data[k]);
            k += space ? 3 : 1;
        }
    }
}

static void baichuan_of_a_gguf_comes_back_as_it_went_in(void **state) {
    (void)state;
    gs_need_data(path, "data/tokenizers/llama.cpp/ggml-vocab-baichuan.gguf");
    gs_need_data(text, "data/text/wiki.test.raw");
    gs_error err = {0};
    gs_gguf *g;
    gs_strbuf back = {0};
    int32_t *ids;
    size_t n, len;
    gs_tokenizer *t = tok_open(path);
    char *want = tok_read(text, &len);
    assert_int_equal(gs_tokenizer_vocab(t), 64000);
    assert_int_equal(gs_tokenizer_bos(t), 1);
    encode_file(t, NULL, text, &ids, &n);
    assert_ok(gs_gguf_open(path, &g, &err), &err);
    decode(g, ids, n, &back);
    assert_int_equal(back.len, len + 1); /* the dummy space */
    assert_memory_equal(back.data + 1, want, len);
    gs_strbuf_clear(&back);
    gs_gguf_close(g);
    gs_free(want);
    gs_free(ids);
    gs_tokenizer_destroy(t);
}

static void stories_of_a_gguf_agree_with_their_golden_ids(void **state) {
    (void)state;
    gs_need_data(path, "data/lm/stories260K-f32.gguf");
    gs_need_data(text, "data/text/tinystories_sample_2MB.txt");
    gs_need_data(golden, "data/lm/golden/stories260K_eval_61440.i32");
    gs_tokenizer *t = tok_open(path);
    size_t len, golden_len, at = 0, checked = 0;
    char *all = tok_read(text, &len), *want = tok_read(golden, &golden_len);
    const size_t total = golden_len / 4;
    /* story by story: stripped, a BOS in front, until the golden windows are full */
    for (char *story = all; at < total;) {
        char *end = strstr(story, "<|endoftext|>"), *next = end ? end + 13 : NULL;
        gs_error err = {0};
        int32_t *ids;
        size_t n;
        assert_non_null(end);
        while (story < end && strchr(" \n\r\t", *story)) story++;
        while (end > story && strchr(" \n\r\t", end[-1])) end--;
        assert_ok(gs_tokenizer_encode(t, NULL, story, (size_t)(end - story), GS_BOS_AUTO, false,
                                      &ids, &n, &err),
                  &err);
        if (end > story) {
            size_t use = n < total - at ? n : total - at;
            assert_memory_equal(ids, want + 4 * at, use * 4);
            at += use;
            checked++;
        }
        gs_free(ids);
        story = next;
    }
    assert_in_range(checked, 100, 2000);
    gs_free(all);
    gs_free(want);
    gs_tokenizer_destroy(t);
}

static const char *smollm2(void) {
    const char *given = getenv("GSTICK_TEST_MODEL");
    return given ? given : tok_cached("SmolLM2-135M-Instruct.Q4_1.gguf");
}

static void smollm2_gives_wikitext_its_known_ids(void **state) {
    (void)state;
    const char *path = smollm2();
    gs_need_data(text, "data/text/wiki.test.raw");
    if (!path) skip();
    double start = gs_clock();
    gs_tokenizer *t = tok_open(path);
    double opened = gs_clock();
    int32_t *ids;
    size_t n;
    encode_file(t, NULL, text, &ids, &n);
    print_message("opened in %.3f s, %zu ids in %.3f s\n", opened - start, n,
                  gs_clock() - opened);
    /* their SHA-256 is 18e663b61dd00f49796c8a6ae498b7dbe009cac4a2eaf3c67fa7d81baf47d945 */
    char hex[33];
    gs_hasher *h = gs_hasher_create();
    gs_hasher_update(h, ids, n * sizeof *ids);
    gs_hasher_hex(h, hex);
    gs_hasher_destroy(h);
    assert_int_equal(n, 303415);
    assert_string_equal(hex, "a07ca0916926934c772eecde39b7cfb4");
    assert_int_equal(gs_tokenizer_bos(t), 1);
    assert_false(gs_tokenizer_adds_bos(t));
    gs_free(ids);
    gs_tokenizer_destroy(t);
}

/* Exported files, read back, give the ids of the GGUF. */
static void check_export(const char *path, const char *file) {
    gs_need_data(text, "data/text/wikitext2.valid.tokens.txt");
    gs_error err = {0};
    gs_gguf *g;
    char *dir = gs_test_tmpdir(), *made = gs_path_join(dir, file);
    assert_ok(gs_gguf_open(path, &g, &err), &err);
    assert_ok(gs_tokenizer_export_gguf(g, dir, &err), &err);
    gs_gguf_close(g);
    assert_true(gs_path_exists(made));
    gs_tokenizer *a = tok_open(path), *b = tok_open(dir);
    assert_int_equal(gs_tokenizer_vocab(a), gs_tokenizer_vocab(b));
    assert_int_equal(gs_tokenizer_bos(a), gs_tokenizer_bos(b));
    assert_int_equal(gs_tokenizer_adds_bos(a), gs_tokenizer_adds_bos(b));
    assert_same_ids(a, b, text);
    static const char marked[] = "<s>a<|im_start|>b</s><|endoftext|>";
    char *want = strdup(tok_ids(a, marked, sizeof marked - 1, true));
    assert_special_ids(b, marked, want);
    free(want);
    gs_tokenizer_destroy(a);
    gs_tokenizer_destroy(b);
    gs_free(made);
    gs_test_rmdir(dir);
}

static void exported_byte_level_vocabularies_read_back(void **state) {
    (void)state;
    gs_need_data(gpt2, "data/tokenizers/llama.cpp/ggml-vocab-gpt-2.gguf");
    check_export(gpt2, "tokenizer.json");
    gs_need_data(deepseek, "data/tokenizers/llama.cpp/ggml-vocab-deepseek-llm.gguf");
    check_export(deepseek, "tokenizer.json");
    if (smollm2()) check_export(smollm2(), "tokenizer.json");
}

static void exported_sentencepiece_vocabularies_read_back(void **state) {
    (void)state;
    gs_need_data(llama, "data/tokenizers/llama.cpp/ggml-vocab-llama-spm.gguf");
    check_export(llama, "tokenizer.model");
    gs_need_data(baichuan, "data/tokenizers/llama.cpp/ggml-vocab-baichuan.gguf");
    check_export(baichuan, "tokenizer.model");
}

static void a_team_changes_no_id(void **state) {
    (void)state;
    gs_need_data(path, "data/tokenizers/llama2_tokenizer.model");
    gs_need_data(text, "data/text/wikitext2.valid.tokens.txt");
    gs_error err = {0};
    gs_context cx = {0};
    assert_ok(gs_team_create(NULL, 3, &cx.team, &err), &err);
    gs_tokenizer *t = tok_open(path);
    int32_t *x, *y;
    size_t n, m;
    encode_file(t, NULL, text, &x, &n);
    encode_file(t, &cx, text, &y, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n * sizeof *x);
    gs_free(x);
    gs_free(y);
    gs_tokenizer_destroy(t);
    gs_team_destroy(cx.team);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_spm_of_a_gguf),
        cmocka_unit_test(gpt2_of_a_gguf),
        cmocka_unit_test(deepseek_llm_of_a_gguf),
        cmocka_unit_test(llama2_of_its_tokenizer_model),
        cmocka_unit_test(qwen2_of_its_tokenizer_json),
        cmocka_unit_test(gpt2_of_its_original_files),
        cmocka_unit_test(baichuan_of_a_gguf_comes_back_as_it_went_in),
        cmocka_unit_test(stories_of_a_gguf_agree_with_their_golden_ids),
        cmocka_unit_test(smollm2_gives_wikitext_its_known_ids),
        cmocka_unit_test(exported_byte_level_vocabularies_read_back),
        cmocka_unit_test(exported_sentencepiece_vocabularies_read_back),
        cmocka_unit_test(a_team_changes_no_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
