/* The vocabulary inside a GGUF file. */
#include <loaders/tokenizer.h>

#include <string.h>

#include <loaders/tokenizer/gguf_vocab.h>
#include <loaders/tokenizer/model.h>
#include <loaders/tokenizer/pre.h>

static gs_status parse_pre(gs_tokenizer *t, const gs_pre *pre, gs_error *err) {
    cJSON *json = NULL;
    gs_status status = gs_json_parse(pre->pre_tokenizer, strlen(pre->pre_tokenizer), &json, err);
    if (status == GS_OK) status = gs_pretok_parse(&t->pretok, json, err);
    cJSON_Delete(json);
    GS_TRY(status);
    status = gs_json_parse(pre->normalizer, strlen(pre->normalizer), &json, err);
    if (status == GS_OK) status = gs_normalizer_parse(&t->normalizer, json, err);
    cJSON_Delete(json);
    return status;
}

static gs_status read_pieces(gs_tokenizer *t, const gs_gguf_vocab *v, gs_error *err) {
    size_t bytes = 0;
    gs_gguf_str text;
    gs_piece_type type;
    /* strings inside the mapped file: their sum cannot overflow */
    for (int64_t i = 0; i < v->count; i++) {
        GS_TRY(gs_gguf_vocab_piece(v, i, &text, &type, err));
        bytes += text.len;
    }
    GS_TRY(gs_vocab_init(&t->bpe.vocab, (size_t)v->count, bytes, err));
    for (int64_t i = 0; i < v->count; i++) {
        GS_TRY(gs_gguf_vocab_piece(v, i, &text, &type, err));
        GS_TRY(gs_vocab_add(&t->bpe.vocab, text.data, text.len, i, err));
        if (type != GS_PIECE_CONTROL && type != GS_PIECE_UNKNOWN && type != GS_PIECE_USER)
            continue;
        const gs_added_token token = {.id = (int32_t)i, .special = type != GS_PIECE_USER};
        GS_TRY(gs_added_add(&t->added, text.data, text.len, &token, NULL, err));
    }
    return GS_OK;
}

/* "left right": the space that parts them is not the first byte, as a piece is not empty. */
static gs_status read_merges(gs_bpe *b, const gs_gguf *g, gs_error *err) {
    int64_t n = gs_gguf_array(g, "tokenizer.ggml.merges", GS_GGUF_STRING);
    if (n < 0 || n > INT32_MAX / 4)
        return GS_FAIL(err, GS_E_FORMAT, "tokenizer.ggml.merges: %lld strings", (long long)n);
    GS_TRY(gs_bpe_reserve(b, (size_t)n, err));
    for (int64_t i = 0; i < n; i++) {
        gs_gguf_str m = {0};
        const char *space = NULL;
        if (gs_gguf_array_string(g, "tokenizer.ggml.merges", i, &m) && m.len > 1)
            space = memchr(m.data + 1, ' ', m.len - 1);
        if (!space)
            return GS_FAIL(err, GS_E_FORMAT, "merge %lld is not two pieces", (long long)i);
        size_t left = (size_t)(space - m.data);
        GS_TRY(
            gs_bpe_merge(b, m.data, left, space + 1, m.len - left - 1, (int32_t)i, false, err));
    }
    return GS_OK;
}

static gs_status read_bpe(gs_tokenizer *t, const gs_gguf_vocab *v, gs_error *err) {
    const gs_pre *pre;
    GS_TRY(gs_pre_find(v->g, &pre, err));
    GS_TRY(parse_pre(t, pre, err));
    t->bpe.byte_level = t->pretok.byte_level;
    t->bpe.ignore_merges = pre->ignore_merges;
    t->bpe.unk = -1;
    GS_TRY(read_pieces(t, v, err));
    GS_TRY(read_merges(&t->bpe, v->g, err));
    gs_bpe_finish(&t->bpe, "");
    t->kind = "byte-level BPE";
    t->vocab = v->count;
    t->bos = (int32_t)v->bos;
    t->adds_bos = pre->adds_bos && t->bos >= 0;
    return GS_OK;
}

static gs_status open_bpe(const gs_gguf_vocab *v, gs_tokenizer **out, gs_error *err) {
    *out = gs_tok_new(&gs_tok_bpe_ops);
    return *out ? read_bpe(*out, v, err) : gs_error_nomem(err, sizeof **out);
}

static gs_status open_spm(const gs_gguf_vocab *v, gs_tokenizer **out, gs_error *err) {
    gs_strbuf proto = {0};
    gs_status status = gs_spm_from_gguf(v->g, &proto, err);
    if (status == GS_OK)
        status = gs_tok_from_spm((const uint8_t *)proto.data, proto.len, out, err);
    gs_strbuf_clear(&proto);
    if (status == GS_OK && v->bos >= 0) (*out)->bos = (int32_t)v->bos;
    return status;
}

static gs_status open_any(const gs_gguf *g, gs_tokenizer **out, gs_error *err) {
    gs_gguf_vocab v;
    GS_TRY(gs_gguf_vocab_read(&v, g, err));
    if (gs_gguf_str_is(v.model, "gpt2")) GS_TRY(open_bpe(&v, out, err));
    else if (gs_gguf_str_is(v.model, "llama")) GS_TRY(open_spm(&v, out, err));
    else
        return GS_FAIL(err, GS_E_UNSUPPORTED,
                       "tokenizer.ggml.model '%.*s', gpt2 and llama are known",
                       (int)(v.model.len < 40 ? v.model.len : 40), v.model.data);
    gs_gguf_bool(g, "tokenizer.ggml.add_bos_token", &(*out)->adds_bos);
    if ((*out)->adds_bos && (*out)->bos < 0)
        return GS_FAIL(err, GS_E_FORMAT, "tokenizer.ggml.add_bos_token without a bos_token_id");
    (*out)->eos = (int32_t)v.eos;
    gs_gguf_bool(g, "tokenizer.ggml.add_eos_token", &(*out)->adds_eos);
    if ((*out)->adds_eos && v.eos < 0)
        return GS_FAIL(err, GS_E_FORMAT, "tokenizer.ggml.add_eos_token without an eos_token_id");
    return GS_OK;
}

gs_status gs_tokenizer_from_gguf(const gs_gguf *g, gs_tokenizer **out, gs_error *err) {
    *out = NULL;
    gs_status status = open_any(g, out, err);
    if (status != GS_OK) {
        gs_tokenizer_destroy(*out);
        *out = NULL;
    }
    return status;
}
