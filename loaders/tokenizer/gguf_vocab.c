#include <loaders/tokenizer/gguf_vocab.h>

#include <stdio.h>
#include <string.h>

#include <base/half.h>
#include <loaders/tokenizer/utf8.h>
#include <loaders/tokenizer/vocab.h>

bool gs_gguf_str_is(gs_gguf_str s, const char *text) {
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

static gs_status special_id(const gs_gguf_vocab *v, const char *key, int64_t *out,
                            gs_error *err) {
    *out = -1;
    if (!gs_gguf_int(v->g, key, out)) return GS_OK;
    /* some converters write all ones for "none" */
    if (*out == -1 || *out == UINT32_MAX) *out = -1;
    else if (*out < 0 || *out >= v->count)
        return GS_FAIL(err, GS_E_FORMAT, "%s is %lld, the vocabulary has %lld pieces", key,
                       (long long)*out, (long long)v->count);
    return GS_OK;
}

static gs_status list(const gs_gguf_vocab *v, const char *key, gs_gguf_type type,
                      const uint8_t **out, gs_error *err) {
    int64_t n = 0;
    *out = gs_gguf_array_data(v->g, key, type, &n);
    if (*out && n != v->count)
        return GS_FAIL(err, GS_E_FORMAT, "%s has %lld entries for %lld pieces", key, (long long)n,
                       (long long)v->count);
    return GS_OK;
}

gs_status gs_gguf_vocab_read(gs_gguf_vocab *v, const gs_gguf *g, gs_error *err) {
    *v = (gs_gguf_vocab){.g = g};
    if (!gs_gguf_string(g, "tokenizer.ggml.model", &v->model))
        return GS_FAIL(err, GS_E_FORMAT, "no tokenizer.ggml.model in this GGUF file");
    v->count = gs_gguf_array(g, "tokenizer.ggml.tokens", GS_GGUF_STRING);
    if (v->count < 1 || v->count > GS_VOCAB_MAX_ID)
        return GS_FAIL(err, GS_E_FORMAT, "tokenizer.ggml.tokens: %lld strings",
                       (long long)v->count);
    GS_TRY(list(v, "tokenizer.ggml.token_type", GS_GGUF_I32, &v->types, err));
    GS_TRY(list(v, "tokenizer.ggml.scores", GS_GGUF_F32, &v->scores, err));
    GS_TRY(special_id(v, "tokenizer.ggml.bos_token_id", &v->bos, err));
    GS_TRY(special_id(v, "tokenizer.ggml.eos_token_id", &v->eos, err));
    GS_TRY(special_id(v, "tokenizer.ggml.unknown_token_id", &v->unk, err));
    return special_id(v, "tokenizer.ggml.padding_token_id", &v->pad, err);
}

bool gs_gguf_is_filler(gs_gguf_str text, int64_t i) {
    char filler[40];
    snprintf(filler, sizeof filler, "[PAD%lld]", (long long)i);
    return gs_gguf_str_is(text, filler);
}

gs_status gs_gguf_vocab_piece(const gs_gguf_vocab *v, int64_t i, gs_gguf_str *text,
                              gs_piece_type *type, gs_error *err) {
    if (!gs_gguf_array_string(v->g, "tokenizer.ggml.tokens", i, text))
        return GS_FAIL(err, GS_E_FORMAT, "piece %lld cannot be read", (long long)i);
    if (gs_utf8_check(text->data, text->len, err) != GS_OK)
        return gs_error_at(err, "piece %lld", (long long)i);
    *type = GS_PIECE_NORMAL;
    if (v->types) {
        uint32_t t;
        memcpy(&t, v->types + 4 * i, sizeof t);
        if (t < GS_PIECE_NORMAL || t > GS_PIECE_BYTE)
            return GS_FAIL(err, GS_E_FORMAT, "piece %lld has type %d", (long long)i, (int)t);
        *type = (gs_piece_type)t;
    }
    if (text->len > 5 && memcmp(text->data, "[PAD", 4) == 0 && gs_gguf_is_filler(*text, i))
        *type = GS_PIECE_UNUSED;
    return GS_OK;
}

float gs_gguf_vocab_score(const gs_gguf_vocab *v, int64_t i) {
    uint32_t bits = 0;
    if (v->scores) memcpy(&bits, v->scores + 4 * i, sizeof bits);
    return gs_f32_from_bits(bits);
}
