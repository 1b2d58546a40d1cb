#include <loaders/tokenizer.h>

#include <string.h>

#include <loaders/tokenizer/model.h>
#include <loaders/tokenizer/utf8.h>

gs_tokenizer *gs_tok_new(const gs_tok_ops *ops) {
    gs_tokenizer *t = gs_calloc(1, sizeof *t);
    if (!t) return NULL;
    t->ops = ops;
    t->bos = t->eos = -1;
    return t;
}

void gs_tokenizer_destroy(gs_tokenizer *t) {
    if (!t) return;
    t->ops->destroy(t);
    gs_added_clear(&t->added);
    gs_added_clear(&t->added_normalized);
    gs_normalizer_clear(&t->normalizer);
    gs_free(t);
}

const char *gs_tokenizer_kind(const gs_tokenizer *t) {
    return t->kind;
}

int64_t gs_tokenizer_vocab(const gs_tokenizer *t) {
    return t->vocab;
}

int32_t gs_tokenizer_bos(const gs_tokenizer *t) {
    return t->bos;
}

bool gs_tokenizer_adds_bos(const gs_tokenizer *t) {
    return t->adds_bos;
}

bool gs_tokenizer_adds_eos(const gs_tokenizer *t) {
    return t->adds_eos;
}

typedef struct job {
    const gs_tokenizer *t;
    gs_context *cx;
    void *run;
    gs_strbuf buffers[2]; /* of the normalizer */
    bool parse_special;
    gs_ids ids;
} job;

static gs_status to_model(job *j, const char *text, size_t len, bool first, gs_error *err) {
    if (len == 0) return GS_OK;
    GS_TRY(gs_cancel_check(err));
    return j->t->ops->encode(j->t, j->cx, j->run, text, len, first, &j->ids, err);
}

typedef gs_status stretch_fn(job *j, const char *text, size_t len, bool first, gs_error *err);

/* Tokens of `a` become ids, the text between them goes to `rest`. */
static gs_status cut_added(job *j, const gs_added *a, const char *text, size_t len, bool first,
                           stretch_fn *rest, gs_error *err) {
    gs_added_match m;
    size_t done = 0, at = 0;
    while (gs_added_next(a, text, len, &at, j->parse_special, &m)) {
        GS_TRY(rest(j, text + done, m.begin - done, first && done == 0, err));
        GS_TRY(gs_ids_push(&j->ids, m.id, err));
        done = m.end;
    }
    return rest(j, text + done, len - done, first && done == 0, err);
}

static gs_status normalize(job *j, const char *text, size_t len, bool first, gs_error *err) {
    if (len == 0) return GS_OK;
    GS_TRY(gs_normalizer_run(&j->t->normalizer, &text, &len, j->buffers, err));
    return cut_added(j, &j->t->added_normalized, text, len, first, to_model, err);
}

gs_status gs_tokenizer_encode(const gs_tokenizer *t, gs_context *cx, const char *text, size_t len,
                              gs_bos_mode bos, bool parse_special, int32_t **ids, size_t *count,
                              gs_error *err) {
    *ids = NULL;
    *count = 0;
    /* offsets inside one text are 32 bits wide in the models */
    if (len > INT32_MAX / 4)
        return GS_FAIL(err, GS_E_INVALID, "text of %zu bytes, at most %d in one piece", len,
                       INT32_MAX / 4);
    if (len == 0) text = "";
    GS_TRY(gs_utf8_check(text, len, err));
    job j = {.t = t, .cx = cx, .parse_special = parse_special};
    gs_status status = GS_OK;
    bool with_bos = bos == GS_BOS_ALWAYS || (bos == GS_BOS_AUTO && t->adds_bos);
    if (with_bos && t->bos < 0) {
        status = GS_FAIL(err, GS_E_INVALID, "a BOS is asked for, but this tokenizer has none");
        goto done;
    }
    /* about four bytes an id; one at least, so that an empty result is no NULL */
    GS_TRY_GOTO(status, done, gs_ids_reserve(&j.ids, len / 4 + 16, err));
    if (with_bos) GS_TRY_GOTO(status, done, gs_ids_push(&j.ids, t->bos, err));
    if (t->ops->begin) GS_TRY_GOTO(status, done, t->ops->begin(t, &j.run, err));
    GS_TRY_GOTO(status, done, cut_added(&j, &t->added, text, len, true, normalize, err));
    if (bos == GS_BOS_AUTO && t->adds_eos) GS_TRY_GOTO(status, done, gs_ids_push(&j.ids, t->eos, err));
    *ids = j.ids.v;
    *count = j.ids.n;
    j.ids.v = NULL;
done:
    if (t->ops->end) t->ops->end(j.run);
    gs_strbuf_clear(&j.buffers[0]);
    gs_strbuf_clear(&j.buffers[1]);
    gs_free(j.ids.v);
    return status;
}
