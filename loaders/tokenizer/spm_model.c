/* The row of the SentencePiece kinds. Pieces of type control and unknown are added tokens
 * here, because the library never finds them in a text; behind one of them a text begins
 * anew, with its dummy space. */
#include <loaders/tokenizer/model.h>

#include <string.h>

#include <loaders/tokenizer/spm.h>
#include <loaders/tokenizer/spm_shim.h>

/* The library needs more than linear time: cut at spaces where that is exact. */
enum { PART_BYTES = 2048 };

struct gs_spm {
    void *model;
    gs_spm_facts facts;
};

typedef struct part {
    size_t begin, end;
    gs_ids ids;
    gs_spm_result result;
    char why[200];
} part;

typedef struct parts {
    const struct gs_spm *spm;
    const char *text;
    part *part;
    size_t count;
} parts;

static int push(void *ctx, const int *ids, size_t n) {
    gs_ids *out = ctx;
    if (gs_ids_reserve(out, n, NULL) != GS_OK) return 1;
    if (n) memcpy(out->v + out->n, ids, n * sizeof *ids);
    out->n += n;
    return 0;
}

/* End of the part that begins at `begin`: the text's end, or a space behind a character
 * that is no space of either kind, so that no run of spaces is cut. Something follows it:
 * of an empty text the library would make nothing, not even the dummy space. */
static size_t part_end(const struct gs_spm *spm, const char *text, size_t len, size_t begin) {
    if (!spm->facts.cuttable || len - begin <= PART_BYTES) return len;
    for (size_t i = begin + PART_BYTES; i + 1 < len; i++) {
        if (text[i] != ' ' || text[i - 1] == ' ') continue;
        if (i >= 3 && memcmp(text + i - 3, "\xe2\x96\x81", 3) == 0) continue;
        return i;
    }
    return len;
}

static void encode_parts(void *ctx, int64_t begin, int64_t end, int worker) {
    const parts *all = ctx;
    (void)worker;
    for (int64_t i = begin; i < end; i++) {
        part *p = &all->part[i];
        /* the dummy space stands for the space at which the text was cut */
        size_t skip = i > 0 && all->spm->facts.dummy_prefix;
        p->result = gs_spm_encode(all->spm->model, all->text + p->begin + skip,
                                  p->end - p->begin - skip, push, &p->ids, p->why, sizeof p->why);
    }
}

static gs_status gather(const parts *all, gs_ids *out, gs_error *err) {
    for (size_t i = 0; i < all->count; i++) {
        const part *p = &all->part[i];
        if (p->result == GS_SPM_NOMEM) return gs_error_nomem(err, p->end - p->begin);
        if (p->result != GS_SPM_OK)
            return GS_FAIL(err, GS_E_FORMAT, "SentencePiece, bytes %zu..%zu: %s", p->begin,
                           p->end, p->why);
        if (push(out, p->ids.v, p->ids.n) != 0) return gs_error_nomem(err, p->ids.n * 4);
    }
    return GS_OK;
}

static gs_status encode(const gs_tokenizer *t, gs_context *cx, void *run, const char *text,
                        size_t len, bool first, gs_ids *out, gs_error *err) {
    (void)run;
    (void)first;
    parts all = {.spm = t->spm, .text = text};
    size_t most = t->spm->facts.cuttable ? len / PART_BYTES + 1 : 1;
    all.part = gs_calloc(most, sizeof *all.part);
    if (!all.part) return gs_error_nomem(err, most * sizeof *all.part);
    for (size_t at = 0; at < len; at = all.part[all.count - 1].end) {
        part *p = &all.part[all.count++];
        p->begin = at;
        p->end = part_end(t->spm, text, len, at);
    }
    gs_team_for(cx ? cx->team : NULL, (int64_t)all.count, 1, encode_parts, &all);
    gs_status status = gather(&all, out, err);
    for (size_t i = 0; i < all.count; i++) gs_free(all.part[i].ids.v);
    gs_free(all.part);
    return status;
}

static void destroy(gs_tokenizer *t) {
    if (!t->spm) return;
    gs_spm_unload(t->spm->model);
    gs_free(t->spm);
}

const gs_tok_ops gs_tok_spm_ops = {NULL, NULL, encode, destroy};

static gs_status take_control(void *ctx, int32_t id, const char *piece, size_t len,
                              gs_piece_type type, gs_error *err) {
    gs_tokenizer *t = ctx;
    const gs_added_token token = {.id = id, .special = true};
    if (type != GS_PIECE_CONTROL && type != GS_PIECE_UNKNOWN) return GS_OK;
    return gs_added_add(&t->added, piece, len, &token, NULL, err);
}

static gs_status load(gs_tokenizer *t, const uint8_t *proto, size_t len, gs_error *err) {
    static const char *const kinds[] = {"", "SentencePiece unigram", "SentencePiece BPE",
                                        "SentencePiece words", "SentencePiece characters"};
    char why[200] = "";
    struct gs_spm *spm = t->spm = gs_calloc(1, sizeof *spm);
    if (!spm) return gs_error_nomem(err, sizeof *spm);
    GS_TRY(gs_spm_check(proto, len, &spm->facts, take_control, t, err));
    gs_spm_result result = gs_spm_load(proto, len, &spm->model, why, sizeof why);
    if (result == GS_SPM_NOMEM) return gs_error_nomem(err, len);
    if (result != GS_SPM_OK) return GS_FAIL(err, GS_E_FORMAT, "SentencePiece: %s", why);
    t->kind = kinds[spm->facts.type];
    t->vocab = spm->facts.pieces;
    t->bos = gs_spm_bos(spm->model);
    /* the default of the Hugging Face classes around these models */
    t->adds_bos = t->bos >= 0;
    return GS_OK;
}

gs_status gs_tok_from_spm(const uint8_t *proto, size_t len, gs_tokenizer **out, gs_error *err) {
    gs_tokenizer *t = gs_tok_new(&gs_tok_spm_ops);
    *out = NULL;
    if (!t) return gs_error_nomem(err, sizeof *t);
    gs_status status = load(t, proto, len, err);
    if (status == GS_OK) *out = t;
    else gs_tokenizer_destroy(t);
    return status;
}
