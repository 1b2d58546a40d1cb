/* Any bytes as a calibration set. The first byte says which kind, with which seed and BOS, the
 * second how long its sequences are. */
#include <loaders/corpus.h>

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char tokenizer_json[] =
    "{\"added_tokens\":[{\"id\":6,\"content\":\"<s>\",\"special\":true}],\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\","
    "\"merges\":[\"a b\"],\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\" \":3,\"<unk>\":4,\"\\n\":5,\"<s>\":6}},"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
    "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[6]}}}}";

static void require(bool promise) {
    if (!promise) abort();
}

static void check(const gs_corpus *c, const gs_corpus_options *o) {
    require(c->sequences >= 1 && c->starts[0] == 0 && c->starts[c->sequences] == c->tokens);
    require(o->samples == 0 || c->sequences <= o->samples);
    for (int64_t s = 0; s < c->sequences; s++) {
        int64_t n = c->starts[s + 1] - c->starts[s];
        require(n >= 2 && n <= o->length);
    }
    for (int64_t i = 0; i < c->tokens; i++) require(c->ids[i] >= 0 && c->ids[i] < o->vocab);
    require(memchr(c->note, 0, sizeof c->note) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const paths[] = {"f.txt", "f.jsonl", "f.i32", "f.jsonl"};
    static gs_tokenizer *tokenizer; /* lives as long as the process */
    gs_error err = {0};
    if (size < 2) return 0;
    if (!tokenizer) require(gs_tokenizer_from_json(tokenizer_json, sizeof tokenizer_json - 1, &tokenizer, &err) == GS_OK);
    gs_corpus_options o = {.path = paths[data[0] & 3], .length = 2 + data[1] % 16, .samples = data[1] >> 4,
                           .seed = data[0] >> 4, .bos = (data[0] >> 2 & 3) - 1, .vocab = 7};
    gs_corpus a, b;
    if (gs_corpus_from_memory(NULL, tokenizer, &o, data + 2, size - 2, &a, &err) != GS_OK) {
        require(err.text[0] && !strchr(err.text, '\n') && !a.ids && !a.starts && !a.sequences);
        return 0;
    }
    check(&a, &o);
    require(gs_corpus_from_memory(NULL, tokenizer, &o, data + 2, size - 2, &b, &err) == GS_OK && a.hash == b.hash);
    gs_corpus_clear(&a);
    gs_corpus_clear(&b);
    return 0;
}
