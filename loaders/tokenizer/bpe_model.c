/* The row of the byte-pair kinds: cut into words, then each word by itself. */
#include <loaders/tokenizer/model.h>

typedef struct bpe_run {
    gs_pretok_run pretok;
    gs_bpe_run *bpe;
    gs_ids *out; /* of the call under way */
    size_t since_check;
} bpe_run;

static gs_status word(void *ctx, const char *text, size_t len, gs_error *err) {
    bpe_run *r = ctx;
    if (++r->since_check >= 65536) {
        r->since_check = 0;
        GS_TRY(gs_cancel_check(err));
    }
    return gs_bpe_word(r->bpe, text, len, r->out, err);
}

static void end(void *run) {
    bpe_run *r = run;
    if (!r) return;
    if (r->pretok.chain) gs_pretok_run_clear(&r->pretok);
    gs_bpe_run_destroy(r->bpe);
    gs_free(r);
}

static gs_status begin(const gs_tokenizer *t, void **run, gs_error *err) {
    bpe_run *r = *run = gs_calloc(1, sizeof *r);
    if (!r) return gs_error_nomem(err, sizeof *r);
    r->pretok = (gs_pretok_run){.chain = &t->pretok, .word = word, .ctx = r};
    GS_TRY(gs_pretok_run_init(&r->pretok, err));
    return gs_bpe_run_create(&t->bpe, &r->bpe, err);
}

static gs_status encode(const gs_tokenizer *t, gs_context *cx, void *run, const char *text,
                        size_t len, bool first, gs_ids *out, gs_error *err) {
    (void)t;
    (void)cx;
    bpe_run *r = run;
    r->out = out;
    return gs_pretok_cut(&r->pretok, text, len, first, err);
}

static void destroy(gs_tokenizer *t) {
    gs_bpe_clear(&t->bpe);
    gs_pretok_clear(&t->pretok);
}

const gs_tok_ops gs_tok_bpe_ops = {begin, end, encode, destroy};
