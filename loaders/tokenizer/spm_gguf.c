#include <loaders/tokenizer/spm.h>

#include <string.h>

#include <loaders/tokenizer/gguf_vocab.h>
#include <loaders/tokenizer/wire.h>

/* field numbers of sentencepiece_model.proto */
enum {
    MODEL_PIECES = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3,
    PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3,
    TRAINER_TYPE = 3, TRAINER_VOCAB_SIZE = 4, TRAINER_BYTE_FALLBACK = 35, TRAINER_UNK_ID = 40,
    TRAINER_UNK_PIECE = 45,
    NORMALIZER_NAME = 1, NORMALIZER_CHARSMAP = 2, NORMALIZER_DUMMY_PREFIX = 3,
    NORMALIZER_EXTRA_SPACES = 4, NORMALIZER_ESCAPE = 5
};

typedef struct seen {
    int64_t unknown, bytes; /* first unknown piece or -1; count of byte pieces */
} seen;

static gs_status put_piece(gs_strbuf *proto, gs_strbuf *one, const gs_gguf_vocab *v, int64_t i,
                           seen *s, gs_error *err) {
    gs_gguf_str text;
    gs_piece_type type;
    GS_TRY(gs_gguf_vocab_piece(v, i, &text, &type, err));
    /* files without types: the unknown piece is named by its id */
    if (!v->types && i == (v->unk < 0 ? 0 : v->unk)) type = GS_PIECE_UNKNOWN;
    if (type == GS_PIECE_UNKNOWN && s->unknown < 0) s->unknown = i;
    if (type == GS_PIECE_BYTE) s->bytes++;
    gs_strbuf_reset(one);
    gs_wire_put_bytes(one, PIECE_TEXT, text.data, text.len);
    gs_wire_put_float(one, PIECE_SCORE, gs_gguf_vocab_score(v, i));
    if (type != GS_PIECE_NORMAL) gs_wire_put_varint(one, PIECE_TYPE, type);
    gs_wire_put_bytes(proto, MODEL_PIECES, gs_strbuf_text(one), one->len);
    return GS_OK;
}

/* unk, bos, eos, pad have consecutive numbers for their ids and for their texts. */
static gs_status put_trainer(gs_strbuf *one, const gs_gguf_vocab *v, const seen *s,
                             gs_error *err) {
    const int64_t ids[4] = {s->unknown, v->bos, v->eos, v->pad};
    gs_wire_put_varint(one, TRAINER_TYPE, GS_SPM_BPE);
    gs_wire_put_varint(one, TRAINER_VOCAB_SIZE, (uint64_t)v->count);
    gs_wire_put_varint(one, TRAINER_BYTE_FALLBACK, s->bytes > 0);
    for (uint32_t k = 0; k < 4; k++) {
        gs_gguf_str text;
        gs_piece_type type;
        /* -1 is sign extended, as the wire has int32 */
        gs_wire_put_varint(one, TRAINER_UNK_ID + k, (uint64_t)ids[k]);
        if (ids[k] < 0) continue;
        GS_TRY(gs_gguf_vocab_piece(v, ids[k], &text, &type, err));
        gs_wire_put_bytes(one, TRAINER_UNK_PIECE + k, text.data, text.len);
    }
    return GS_OK;
}

static void put_normalizer(gs_strbuf *one, const gs_gguf *g) {
    bool prefix = true, extra_spaces = false;
    int64_t n = 0;
    gs_gguf_bool(g, "tokenizer.ggml.add_space_prefix", &prefix);
    gs_gguf_bool(g, "tokenizer.ggml.remove_extra_whitespaces", &extra_spaces);
    const uint8_t *map =
        gs_gguf_array_data(g, "tokenizer.ggml.precompiled_charsmap", GS_GGUF_U8, &n);
    if (!map) map = gs_gguf_array_data(g, "tokenizer.ggml.precompiled_charsmap", GS_GGUF_I8, &n);
    gs_wire_put_bytes(one, NORMALIZER_NAME, map ? "user_defined" : "identity", map ? 12 : 8);
    if (map) gs_wire_put_bytes(one, NORMALIZER_CHARSMAP, map, (size_t)n);
    gs_wire_put_varint(one, NORMALIZER_DUMMY_PREFIX, prefix);
    gs_wire_put_varint(one, NORMALIZER_EXTRA_SPACES, extra_spaces);
    gs_wire_put_varint(one, NORMALIZER_ESCAPE, 1);
}

static gs_status build(const gs_gguf_vocab *v, gs_strbuf *proto, gs_strbuf *one, gs_error *err) {
    seen s = {-1, 0};
    if (!v->scores) return GS_FAIL(err, GS_E_FORMAT, "tokenizer.ggml.scores is missing");
    for (int64_t i = 0; i < v->count; i++) GS_TRY(put_piece(proto, one, v, i, &s, err));
    if (s.unknown < 0)
        return GS_FAIL(err, GS_E_FORMAT, "no piece of type 'unknown' among %lld",
                       (long long)v->count);
    gs_strbuf_reset(one);
    GS_TRY(put_trainer(one, v, &s, err));
    gs_wire_put_bytes(proto, MODEL_TRAINER, one->data, one->len);
    gs_strbuf_reset(one);
    put_normalizer(one, v->g);
    gs_wire_put_bytes(proto, MODEL_NORMALIZER, one->data, one->len);
    return one->failed || proto->failed
               ? GS_FAIL(err, GS_E_NOMEM, "no memory for %lld pieces", (long long)v->count)
               : GS_OK;
}

gs_status gs_spm_from_gguf(const gs_gguf *g, gs_strbuf *proto, gs_error *err) {
    gs_gguf_vocab v;
    gs_strbuf one = {0};
    GS_TRY(gs_gguf_vocab_read(&v, g, err));
    gs_status status = build(&v, proto, &one, err);
    gs_strbuf_clear(&one);
    return status;
}
