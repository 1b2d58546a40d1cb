/* tokenizer.model as a vocabulary of the "llama" kind. */
#include <loaders/tokenizer/to_gguf.h>

#include <base/file.h>
#include <base/half.h>
#include <loaders/tokenizer/wire.h>

enum { MAX_PROTO = 1 << 28 };

/* gs_spm_check has seen every field that is read here, but the trainer's numbers. */

static gs_status read_piece(gs_ggml_vocab *v, const gs_wire_field *field, gs_error *err) {
    gs_wire w = {field->bytes, field->len, 0};
    gs_wire_field f;
    const char *text = "";
    size_t len = 0;
    float score = 0;
    uint64_t type = GS_PIECE_NORMAL;
    bool more;
    for (;;) {
        GS_TRY(gs_wire_next(&w, &f, &more, err));
        if (!more) break;
        if (f.number == 1) {
            text = (const char *)f.bytes;
            len = f.len;
        } else if (f.number == 2) {
            score = gs_f32_from_bits((uint32_t)f.value);
        } else if (f.number == 3) {
            type = f.value;
        }
    }
    return gs_ggml_vocab_put(v, v->count, text, len, score, (gs_piece_type)type, err);
}

/* trainer_spec: 40 unk_id, 41 bos_id, 42 eos_id, 43 pad_id, int32 with -1 for none (ten bytes on the wire). */
static gs_status read_trainer(gs_ggml_vocab *v, const gs_wire_field *field, gs_error *err) {
    gs_wire w = {field->bytes, field->len, 0};
    gs_wire_field f;
    int64_t *const ids[] = {&v->unk, &v->bos, &v->eos, &v->pad};
    bool more;
    for (;;) {
        GS_TRY(gs_wire_next(&w, &f, &more, err));
        if (!more) return GS_OK;
        if (f.number < 40 || f.number > 43) continue;
        GS_TRY(gs_wire_expect(&f, GS_WIRE_VARINT, err));
        *ids[f.number - 40] = (int32_t)(uint32_t)f.value;
    }
}

static gs_status read_model(gs_ggml_vocab *v, const uint8_t *proto, size_t len, gs_error *err) {
    gs_wire w = {proto, len, 0};
    gs_wire_field f;
    bool more;
    v->unk = 0; /* what the .proto gives for fields that are absent */
    v->bos = 1;
    v->eos = 2;
    v->pad = -1;
    for (;;) {
        GS_TRY(gs_wire_next(&w, &f, &more, err));
        if (!more) return GS_OK;
        if (f.number == 1) GS_TRY(read_piece(v, &f, err));
        if (f.number == 2) GS_TRY(read_trainer(v, &f, err));
    }
}

static gs_status read_proto(gs_ggml_vocab *v, const uint8_t *proto, size_t len, gs_error *err) {
    gs_spm_facts facts;
    GS_TRY(gs_spm_check(proto, len, &facts, NULL, NULL, err));
    if (facts.type != GS_SPM_BPE)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "a SentencePiece model that is not byte-pair has no kind in GGUF");
    v->model = "llama";
    v->has_scores = true;
    v->no_space_prefix = !facts.dummy_prefix;
    GS_TRY(gs_ggml_vocab_reserve(v, facts.pieces, err));
    return read_model(v, proto, len, err);
}

gs_status gs_ggml_vocab_from_spm(gs_ggml_vocab *v, const char *path, gs_error *err) {
    size_t len;
    GS_TRY(gs_file_read(path, MAX_PROTO, &v->bytes, &len, err));
    gs_status status = read_proto(v, (const uint8_t *)v->bytes, len, err);
    if (status != GS_OK) gs_error_at(err, "%s", path);
    return status;
}
