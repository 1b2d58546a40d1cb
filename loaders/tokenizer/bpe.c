#include <loaders/tokenizer/bpe.h>

#include <stdio.h>
#include <string.h>

#include <loaders/tokenizer/bpe_lookup.h>
#include <loaders/tokenizer/utf8.h>

uint32_t gs_bpe_byte_char(uint8_t b) {
    /* The bytes that do not print are counted through in order and put at U+0100. */
    if (b <= 0x20) return 0x100u + b;
    if (b >= 0x7f && b <= 0xa0) return 0x100u + 0x21 + (b - 0x7fu);
    if (b == 0xad) return 0x143;
    return b;
}

gs_status gs_bpe_reserve(gs_bpe *b, size_t merges, gs_error *err) {
    if (merges > INT32_MAX / 4) return GS_FAIL(err, GS_E_FORMAT, "%zu merges", merges);
    b->bits = 4;
    while (((size_t)1 << b->bits) < 2 * merges) b->bits++;
    size_t slots = (size_t)1 << b->bits;
    b->pairs = gs_calloc(slots, sizeof *b->pairs);
    if (!b->pairs) return gs_error_nomem(err, slots * sizeof *b->pairs);
    for (size_t i = 0; i < slots; i++) b->pairs[i].pair = UINT64_MAX;
    return GS_OK;
}

static gs_status unknown_piece(const char *s, size_t len, int32_t rank, gs_error *err) {
    return GS_FAIL(err, GS_E_FORMAT,
                   "merge %d needs the piece '%.*s', which the vocabulary lacks", rank,
                   (int)(len < 60 ? len : 60), s);
}

static const char blank[] = "\xe2\x96\x81";

static bool begins_word(const char *s, size_t len) { return len >= 3 && memcmp(s, blank, 3) == 0; }
static bool ends_in_blank(const char *s, size_t len) { return len >= 3 && memcmp(s + len - 3, blank, 3) == 0; }

gs_status gs_bpe_merge(gs_bpe *b, const char *left, size_t left_len, const char *right,
                       size_t right_len, int32_t rank, bool replace, gs_error *err) {
    char small[256], *both = small;
    int32_t l = gs_vocab_id(&b->vocab, left, left_len);
    int32_t r = gs_vocab_id(&b->vocab, right, right_len);
    if (l < 0) return unknown_piece(left, left_len, rank, err);
    if (r < 0) return unknown_piece(right, right_len, rank, err);
    size_t len = left_len + right_len; /* both are parts of one file in memory */
    if (len > sizeof small) both = gs_alloc(len);
    if (!both) return gs_error_nomem(err, len);
    memcpy(both, left, left_len);
    memcpy(both + left_len, right, right_len);
    int32_t id = gs_vocab_id(&b->vocab, both, len);
    gs_status status = id < 0 ? unknown_piece(both, len, rank, err) : GS_OK;
    if (both != small) gs_free(both);
    GS_TRY(status);
    if (left_len && begins_word(right, right_len) && !ends_in_blank(left, left_len)) b->crosses[(uint8_t)left[left_len - 1]] = true;
    uint64_t pair = gs_bpe_pair_key(l, r);
    gs_bpe_pair *slot = gs_bpe_slot(b, pair);
    if (slot->pair != pair || replace) *slot = (gs_bpe_pair){pair, rank, id};
    return GS_OK;
}

/* The blank is a piece, so no unknown token waits across; there is an unknown token, so no character vanishes; and what stands
 * for characters that are no pieces, the unknown token and <0xHH>, does not merge with the blank, whatever the characters are. */
static bool is_cuttable(const gs_bpe *b, const char *unk) {
    size_t n = strlen(unk);
    bool safe = n && !ends_in_blank(unk, n) && !b->crosses[(uint8_t)unk[n - 1]];
    return safe && !b->crosses['>'] && !b->byte_level && !b->ignore_merges && gs_vocab_id(&b->vocab, blank, 3) >= 0;
}

void gs_bpe_finish(gs_bpe *b, const char *unk) {
    b->cuttable = is_cuttable(b, unk);
    for (int i = 0; i < 256; i++) {
        char text[8];
        size_t n = b->byte_level ? gs_utf8_put(gs_bpe_byte_char((uint8_t)i), text)
                                 : (size_t)snprintf(text, sizeof text, "<0x%02X>", (unsigned)i);
        b->byte_ids[i] = gs_vocab_id(&b->vocab, text, n);
    }
}

void gs_bpe_clear(gs_bpe *b) {
    gs_vocab_clear(&b->vocab);
    gs_free(b->pairs);
    memset(b, 0, sizeof *b);
}
