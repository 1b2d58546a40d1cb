/* Any bytes as a vocabulary, told apart by how they begin: a GGUF file, a tokenizer.json
 * ("{" ...) or a SentencePiece model. What follows the first 0xff byte of a tokenizer.json
 * is the text to encode. */
#include <loaders/tokenizer.h>

#include <base/mem.h>
#include <loaders/tokenizer/model.h>

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char sample[] =
    "Hello, w\xc3\xb6rld  1\xc2\xbd \xe6\x97\xa5\n\t<s>a</s>e\xcc\x81'LL \xe2\x96\x81x";

static void encode(const gs_tokenizer *t, const char *text, size_t len, bool special) {
    int32_t *ids = NULL;
    size_t n = 0;
    gs_error err = {0};
    if (gs_tokenizer_encode(t, NULL, text, len, GS_BOS_AUTO, special, &ids, &n, &err) != GS_OK)
        return;
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= gs_tokenizer_vocab(t)) abort();
    gs_free(ids);
}

static gs_status open_any(const uint8_t *data, size_t size, gs_tokenizer **t) {
    gs_error err = {0};
    if (size >= 4 && memcmp(data, "GGUF", 4) == 0) {
        gs_gguf *g;
        gs_status status = gs_gguf_open_memory(data, size, &g, &err);
        if (status != GS_OK) return status;
        status = gs_tokenizer_from_gguf(g, t, &err);
        gs_gguf_close(g);
        return status;
    }
    if (size >= 1 && data[0] == '{')
        return gs_tokenizer_from_json((const char *)data, size, t, &err);
    return gs_tok_from_spm(data, size, t, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = sample;
    size_t len = sizeof sample - 1;
    if (size && data[0] == '{') {
        const uint8_t *cut = memchr(data, 0xff, size);
        if (cut) {
            text = (const char *)cut + 1;
            len = size - (size_t)(cut - data) - 1;
            size = (size_t)(cut - data);
        }
    }
    gs_tokenizer *t = NULL;
    if (open_any(data, size, &t) != GS_OK) return 0;
    encode(t, text, len, false);
    encode(t, text, len, true);
    encode(t, "", 0, true);
    gs_tokenizer_destroy(t);
    return 0;
}
