#include <loaders/tokenizer/pretok.h>

#include <string.h>

#include <base/mem.h>
#include <loaders/tokenizer/utf8.h>

/* The alternation of matches and of the gaps between them, left to right. */
typedef struct spans {
    const gs_pretok_stage *stage;
    gs_tokregex_run *re;
    const char *text;
    size_t len;
    size_t at;         /* everything before is delivered */
    size_t search;     /* where the next search begins */
    size_t last_end;   /* end of the last match, SIZE_MAX before the first */
    bool pending;      /* a match was found but the gap before it went out first */
    size_t begin, end; /* that match */
} spans;

static size_t skip_class(const spans *s, size_t i, bool until) {
    while (i < s->len) {
        size_t n;
        uint32_t cp = gs_utf8_get(s->text + i, &n);
        if (s->stage->cls(cp) == until) break;
        i += n;
    }
    return i;
}

static gs_status search(spans *s, bool *found, gs_error *err) {
    const gs_pretok_stage *st = s->stage;
    for (;;) {
        if (s->search > s->len) {
            *found = false;
            return GS_OK;
        }
        if (st->cls) {
            size_t n = 0;
            s->begin = skip_class(s, s->search, true);
            *found = s->begin < s->len;
            if (*found) n = gs_utf8_len(s->text[s->begin]);
            s->end = s->begin + n;
        } else if (st->literal) {
            const char *hit = memmem(s->text + s->search, s->len - s->search, st->literal,
                                     st->literal_len);
            *found = hit != NULL;
            if (hit) {
                s->begin = (size_t)(hit - s->text);
                s->end = s->begin + st->literal_len;
            }
        } else {
            GS_TRY(gs_tokregex_next(s->re, s->text, s->len, s->search, &s->begin, &s->end, found,
                                    err));
        }
        if (!*found) return GS_OK;
        /* an empty match right behind the last match is none: step over one character */
        if (s->begin == s->end && s->end == s->last_end) {
            s->search += s->search < s->len ? gs_utf8_len(s->text[s->search]) : 1;
            continue;
        }
        s->search = s->last_end = s->end;
        return GS_OK;
    }
}

/* *more is false at the end. A gap is never empty, a match may be. */
static gs_status next_span(spans *s, size_t *begin, size_t *end, bool *is_match, bool *more,
                           gs_error *err) {
    *more = true;
    if (!s->pending) {
        bool found;
        GS_TRY(search(s, &found, err));
        if (!found) {
            *more = s->at < s->len;
            *begin = s->at;
            *end = s->at = s->len;
            *is_match = false;
            s->search = s->len + 1;
            return GS_OK;
        }
        s->pending = true;
    }
    *is_match = s->at == s->begin;
    *begin = s->at;
    *end = *is_match ? s->end : s->begin;
    s->pending = !*is_match;
    s->at = *end;
    return GS_OK;
}

static gs_status run_stage(gs_pretok_run *r, int i, const char *text, size_t len, bool first,
                           gs_error *err);

typedef struct piece_sink {
    gs_pretok_run *r;
    int next;
    const char *text;
    bool first;
} piece_sink;

static gs_status emit(piece_sink *k, size_t begin, size_t end, gs_error *err) {
    if (begin == end) return GS_OK;
    return run_stage(k->r, k->next, k->text + begin, end - begin, k->first && begin == 0, err);
}

/* Merging behaviors hold one piece back until they know whether the next joins it. */
static gs_status cut(piece_sink *k, spans *s, gs_error *err) {
    const gs_pretok_stage *st = s->stage;
    size_t held_begin = 0, held_end = 0;
    bool held = false, held_match = false;
    for (;;) {
        size_t begin, end;
        bool is_match, more;
        GS_TRY(next_span(s, &begin, &end, &is_match, &more, err));
        if (!more) break;
        is_match ^= st->invert;
        switch (st->behavior) {
        case GS_SPLIT_ISOLATED: GS_TRY(emit(k, begin, end, err)); continue;
        case GS_SPLIT_REMOVED:
            if (!is_match) GS_TRY(emit(k, begin, end, err));
            continue;
        default: break;
        }
        bool join = held && (st->behavior == GS_SPLIT_MERGED_PREVIOUS ? is_match && !held_match
                             : st->behavior == GS_SPLIT_MERGED_NEXT   ? !is_match && held_match
                                                                      : is_match == held_match);
        if (join) {
            held_end = end;
        } else {
            if (held) GS_TRY(emit(k, held_begin, held_end, err));
            held_begin = begin;
            held_end = end;
        }
        held = true;
        held_match = is_match;
    }
    return held ? emit(k, held_begin, held_end, err) : GS_OK;
}

/* The piece after the stage's changes: the text itself where there are none. */
static gs_status transform(gs_pretok_run *r, int i, const char **text, size_t *len, bool first,
                           gs_error *err) {
    const gs_pretok_stage *st = &r->chain->stage[i];
    if (!st->space) return GS_OK;
    size_t n = strlen(st->space);
    bool begins = (*len >= n && memcmp(*text, st->space, n) == 0) ||
                  (st->replace_spaces && *len > 0 && **text == ' ');
    bool prefix =
        !begins && (st->prefix == GS_PREFIX_ALWAYS || (st->prefix == GS_PREFIX_FIRST && first));
    bool replace = st->replace_spaces && memchr(*text, ' ', *len);
    if (!prefix && !replace) return GS_OK;
    gs_strbuf *b = &r->buffer[i];
    gs_strbuf_reset(b);
    if (prefix) gs_strbuf_append(b, st->space, n);
    const char *p = *text, *end = *text + *len;
    while (replace && p < end) {
        const char *blank = memchr(p, ' ', (size_t)(end - p));
        if (!blank) break;
        gs_strbuf_append(b, p, (size_t)(blank - p));
        gs_strbuf_append(b, st->space, n);
        p = blank + 1;
    }
    gs_strbuf_append(b, p, (size_t)(end - p));
    if (b->failed) return gs_error_nomem(err, *len);
    *text = b->data;
    *len = b->len;
    return GS_OK;
}

static gs_status run_stage(gs_pretok_run *r, int i, const char *text, size_t len, bool first,
                           gs_error *err) {
    if (i == r->chain->count) return r->word(r->ctx, text, len, err);
    const gs_pretok_stage *st = &r->chain->stage[i];
    GS_TRY(transform(r, i, &text, &len, first, err));
    if (!st->re && !st->literal && !st->cls) return run_stage(r, i + 1, text, len, first, err);
    spans s = {.stage = st, .re = r->re[i], .text = text, .len = len, .last_end = SIZE_MAX};
    piece_sink k = {r, i + 1, text, first};
    return cut(&k, &s, err);
}

gs_status gs_pretok_cut(gs_pretok_run *r, const char *text, size_t len, bool first,
                        gs_error *err) {
    return len == 0 ? GS_OK : run_stage(r, 0, text, len, first, err);
}

gs_status gs_pretok_run_init(gs_pretok_run *r, gs_error *err) {
    for (int i = 0; i < r->chain->count; i++)
        if (r->chain->stage[i].re)
            GS_TRY(gs_tokregex_run_create(r->chain->stage[i].re, &r->re[i], err));
    return GS_OK;
}

void gs_pretok_run_clear(gs_pretok_run *r) {
    for (int i = 0; i < GS_PRETOK_MAX_STAGES; i++) {
        gs_tokregex_run_destroy(r->re[i]);
        gs_strbuf_clear(&r->buffer[i]);
    }
    memset(r, 0, sizeof *r);
}

void gs_pretok_clear(gs_pretok *p) {
    for (int i = 0; i < p->count; i++) {
        gs_free(p->stage[i].space);
        gs_free(p->stage[i].literal);
        gs_tokregex_destroy(p->stage[i].re);
    }
    memset(p, 0, sizeof *p);
}
