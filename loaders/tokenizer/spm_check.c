#include <loaders/tokenizer/spm.h>

#include <math.h>
#include <string.h>

#include <base/half.h>
#include <loaders/tokenizer/utf8.h>
#include <loaders/tokenizer/wire.h>

enum { MAX_PIECE = 1 << 15, MAX_PIECES = 1 << 24 };

typedef struct check {
    gs_spm_facts *facts;
    gs_spm_piece_fn *each;
    void *ctx;
    bool extra_spaces, escape, suffix, charsmap, crossing;
} check;

/* A space (U+2581 or a real one) behind another character, or a real one at all. */
static bool crosses_space(const char *s, size_t n) {
    static const char mark[] = "\xe2\x96\x81";
    bool other = false;
    if (memchr(s, ' ', n)) return true;
    for (size_t i = 0; i < n; i += gs_utf8_len(s[i])) {
        bool space = n - i >= 3 && memcmp(s + i, mark, 3) == 0;
        if (space && other) return true;
        other = !space;
    }
    return false;
}

typedef struct spm_piece {
    const char *text;
    size_t len;
    float score;
    uint64_t type;
} spm_piece;

static gs_status read_piece(spm_piece *p, const uint8_t *bytes, size_t len, gs_error *err) {
    gs_wire w = {bytes, len, 0};
    gs_wire_field f;
    bool more;
    *p = (spm_piece){.text = "", .type = GS_PIECE_NORMAL};
    for (;;) {
        GS_TRY(gs_wire_next(&w, &f, &more, err));
        if (!more) return GS_OK;
        if (f.number == 1) {
            GS_TRY(gs_wire_expect(&f, GS_WIRE_BYTES, err));
            p->text = (const char *)f.bytes;
            p->len = f.len;
        } else if (f.number == 2) {
            GS_TRY(gs_wire_expect(&f, GS_WIRE_32, err));
            p->score = gs_f32_from_bits((uint32_t)f.value);
        } else if (f.number == 3) {
            GS_TRY(gs_wire_expect(&f, GS_WIRE_VARINT, err));
            p->type = f.value;
        }
    }
}

static gs_status judge_piece(const spm_piece *p, gs_error *err) {
    if (p->len == 0 || p->len > MAX_PIECE)
        return GS_FAIL(err, GS_E_FORMAT, "%zu bytes, 1..%d are known", p->len, MAX_PIECE);
    /* the library's tries take pieces as C strings */
    if (memchr(p->text, 0, p->len)) return GS_FAIL(err, GS_E_FORMAT, "NUL in its text");
    GS_TRY(gs_utf8_check(p->text, p->len, err));
    if (!isfinite(p->score)) return GS_FAIL(err, GS_E_FORMAT, "score %g", (double)p->score);
    if (p->type < GS_PIECE_NORMAL || p->type > GS_PIECE_BYTE)
        return GS_FAIL(err, GS_E_FORMAT, "type %llu", (unsigned long long)p->type);
    return GS_OK;
}

static gs_status check_piece(check *c, const uint8_t *bytes, size_t len, gs_error *err) {
    spm_piece p;
    int64_t id = c->facts->pieces;
    if (id >= MAX_PIECES) return GS_FAIL(err, GS_E_FORMAT, "more than %d pieces", MAX_PIECES);
    gs_status status = read_piece(&p, bytes, len, err);
    if (status == GS_OK) status = judge_piece(&p, err);
    if (status != GS_OK) {
        gs_error_at(err, "piece %lld", (long long)id);
        return status;
    }
    if (p.type == GS_PIECE_NORMAL || p.type == GS_PIECE_USER || p.type == GS_PIECE_UNUSED)
        c->crossing = c->crossing || crosses_space(p.text, p.len);
    c->facts->pieces++;
    if (!c->each) return GS_OK;
    return c->each(c->ctx, (int32_t)id, p.text, p.len, (gs_piece_type)p.type, err);
}

static gs_status check_trainer(check *c, const uint8_t *bytes, size_t len, gs_error *err) {
    gs_wire w = {bytes, len, 0};
    gs_wire_field f;
    bool more;
    for (;;) {
        GS_TRY(gs_wire_next(&w, &f, &more, err));
        if (!more) return GS_OK;
        if (f.number != 3 && f.number != 24) continue;
        GS_TRY(gs_wire_expect(&f, GS_WIRE_VARINT, err));
        if (f.number == 24) c->suffix = f.value != 0;
        else if (f.value < GS_SPM_UNIGRAM || f.value > GS_SPM_CHAR)
            return GS_FAIL(err, GS_E_UNSUPPORTED, "SentencePiece model type %llu",
                           (unsigned long long)f.value);
        else c->facts->type = (gs_spm_type)f.value;
    }
}

static gs_status check_normalizer(check *c, const uint8_t *bytes, size_t len, gs_error *err) {
    gs_wire w = {bytes, len, 0};
    gs_wire_field f;
    bool more;
    for (;;) {
        GS_TRY(gs_wire_next(&w, &f, &more, err));
        if (!more) return GS_OK;
        if (f.number == 2) {
            GS_TRY(gs_wire_expect(&f, GS_WIRE_BYTES, err));
            if (f.len) GS_TRY(gs_spm_check_charsmap(f.bytes, f.len, err));
            c->charsmap = c->charsmap || f.len > 0;
        } else if (f.number >= 3 && f.number <= 5) {
            GS_TRY(gs_wire_expect(&f, GS_WIRE_VARINT, err));
            if (f.number == 3) c->facts->dummy_prefix = f.value != 0;
            else if (f.number == 4) c->extra_spaces = f.value != 0;
            else c->escape = f.value != 0;
        }
    }
}

static gs_status check_model(check *c, gs_wire *w, gs_error *err) {
    gs_wire_field f;
    bool more;
    for (;;) {
        GS_TRY(gs_wire_next(w, &f, &more, err));
        if (!more) return GS_OK;
        if (f.number < 1 || f.number > 5) continue;
        GS_TRY(gs_wire_expect(&f, GS_WIRE_BYTES, err));
        if (f.number == 1) GS_TRY(check_piece(c, f.bytes, f.len, err));
        if (f.number == 2) GS_TRY(check_trainer(c, f.bytes, f.len, err));
        if (f.number == 3) GS_TRY(check_normalizer(c, f.bytes, f.len, err));
        if (f.number == 5) {
            /* only decoding uses it, but its table is taken over when the model is loaded */
            gs_spm_facts unused = {0};
            check apart = {.facts = &unused};
            GS_TRY(check_normalizer(&apart, f.bytes, f.len, err));
        }
    }
}

gs_status gs_spm_check(const uint8_t *proto, size_t len, gs_spm_facts *facts,
                       gs_spm_piece_fn *each, void *ctx, gs_error *err) {
    /* what the .proto gives for fields that are absent */
    *facts = (gs_spm_facts){.type = GS_SPM_UNIGRAM, .dummy_prefix = true};
    check c = {.facts = facts, .each = each, .ctx = ctx, .extra_spaces = true, .escape = true};
    gs_wire w = {proto, len, 0};
    GS_TRY(check_model(&c, &w, err));
    if (facts->pieces == 0)
        return GS_FAIL(err, GS_E_FORMAT, "no pieces in a SentencePiece model of %zu bytes", len);
    facts->cuttable = facts->type == GS_SPM_BPE && !c.extra_spaces && c.escape && !c.suffix &&
                      !c.charsmap && !c.crossing;
    return GS_OK;
}

/* ---- the normalizer's table: u32 size of the trie, the trie, replacements ending in NUL.
 *
 * The trie is a double array of 32-bit units (darts-clone): a unit has its label in bits
 * 0..7, bit 8 says that a value hangs on it, bits 10..31 its offset, multiplied by 256 when
 * bit 9 is set. From unit i the children lie at (i ^ offset) ^ label, the value at
 * i ^ offset, in bits 0..30 there. A unit is a child when its label is the one looked for and
 * bit 31 is clear. */

static uint32_t unit_at(const uint8_t *trie, size_t i) {
    const uint8_t *p = trie + 4 * i;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

gs_status gs_spm_check_charsmap(const uint8_t *map, size_t len, gs_error *err) {
    if (len <= 4) return GS_FAIL(err, GS_E_FORMAT, "normalizer table of %zu bytes", len);
    size_t size = unit_at(map, 0), units = size / 4;
    if (size > len - 4 || size == 0 || size % 1024)
        return GS_FAIL(err, GS_E_FORMAT, "normalizer table: trie of %zu bytes in %zu", size,
                       len - 4);
    const uint8_t *trie = map + 4;
    size_t text = len - 4 - size;
    if (text == 0 || map[len - 1] != 0)
        return GS_FAIL(err, GS_E_FORMAT, "normalizer table: replacements do not end in NUL");
    for (size_t i = 0; i < units; i++) {
        uint32_t u = unit_at(trie, i);
        /* a value: no character leads here; but every walk starts from unit 0 */
        if (u >> 31 && i > 0) continue;
        size_t base = i ^ ((size_t)(u >> 10) << ((u & 0x200) >> 6));
        /* blocks are of 256 units: with base all children base ^ label are inside */
        if (base >= units)
            return GS_FAIL(err, GS_E_FORMAT, "normalizer table: unit %zu leads to %zu of %zu", i,
                           base, units);
        if ((u & 0x100) && (unit_at(trie, base) & 0x7fffffffu) >= text)
            return GS_FAIL(err, GS_E_FORMAT,
                           "normalizer table: unit %zu names replacement byte %u of %zu", i,
                           unit_at(trie, base) & 0x7fffffffu, text);
    }
    return GS_OK;
}
