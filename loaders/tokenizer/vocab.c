#include <loaders/tokenizer/vocab.h>

#include <string.h>

#include <base/mem.h>

gs_status gs_vocab_init(gs_vocab *v, size_t pieces, size_t bytes, gs_error *err) {
    v->text = gs_alloc(bytes);
    v->seen = gs_calloc(GS_VOCAB_MAX_ID / 64, sizeof *v->seen);
    v->room = bytes;
    if (!v->text || !v->seen) return gs_error_nomem(err, bytes);
    return gs_map_reserve(&v->map, pieces, err);
}

void gs_vocab_clear(gs_vocab *v) {
    gs_map_clear(&v->map);
    gs_free(v->text);
    gs_free(v->seen);
    memset(v, 0, sizeof *v);
}

gs_status gs_vocab_take_id(gs_vocab *v, int64_t id, gs_error *err) {
    if (id < 0 || id >= GS_VOCAB_MAX_ID)
        return GS_FAIL(err, GS_E_FORMAT, "token id %lld is not in 0..%d", (long long)id,
                       GS_VOCAB_MAX_ID - 1);
    uint64_t bit = (uint64_t)1 << (id % 64);
    if (v->seen[id / 64] & bit)
        return GS_FAIL(err, GS_E_FORMAT, "token id %lld belongs to two pieces", (long long)id);
    v->seen[id / 64] |= bit;
    if (id >= v->end) v->end = id + 1;
    return GS_OK;
}

gs_status gs_vocab_add(gs_vocab *v, const char *piece, size_t len, int64_t id, gs_error *err) {
    if (len > v->room - v->used) return GS_FAIL(err, GS_E_INVALID, "vocabulary text overflows");
    GS_TRY(gs_vocab_take_id(v, id, err));
    char *own = v->text + v->used;
    if (len) memcpy(own, piece, len);
    v->used += len;
    bool existed;
    GS_TRY(gs_map_put(&v->map, own, len, id, &existed, err));
    if (existed)
        return GS_FAIL(err, GS_E_FORMAT, "piece '%.*s' appears twice in the vocabulary",
                       (int)(len < 60 ? len : 60), piece);
    return GS_OK;
}

int32_t gs_vocab_id(const gs_vocab *v, const char *piece, size_t len) {
    int64_t id;
    return gs_map_get(&v->map, piece, len, &id) ? (int32_t)id : -1;
}
