#include <loaders/corpus.h>

#include <base/file.h>
#include <base/hash.h>
#include <base/mem.h>
#include <loaders/corpus_lines.h>
#include <loaders/token_file.h>
#include <loaders/tokenizer/utf8.h>

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { MAX_BYTES = 1 << 30, MIN_SEQUENCE = 2 };

/* Places 0 .. count-1, or the given ones, in file order or drawn. */
typedef struct draw {
    uint32_t *place; /* NULL: the numbers themselves */
    size_t count, next;
    bool random;
    uint64_t state;
} draw;

typedef struct job {
    gs_context *cx;
    const gs_tokenizer *tokenizer;
    const gs_corpus_options *o;
    const char *data;
    size_t len, at;          /* at: where the next line is looked for */
    draw lines;
    gs_corpus *out;
    size_t ids_cap, starts_cap;
    size_t repaired, repaired_line, short_lines;
} job;

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t next_random(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* One step of Fisher and Yates, so that drawing few of many is cheap. */
static bool draw_next(draw *d, size_t *place) {
    if (d->next == d->count) return false;
    if (d->random) {
        size_t other = d->next + (size_t)(next_random(&d->state) % (d->count - d->next));
        uint32_t taken = d->place[other];
        d->place[other] = d->place[d->next];
        d->place[d->next] = taken;
    }
    *place = d->place ? d->place[d->next] : d->next;
    d->next++;
    return true;
}

static gs_status draw_begin(draw *d, size_t count, uint64_t seed, gs_error *err) {
    *d = (draw){.count = count, .random = seed != 0, .state = seed};
    if (!d->random) return GS_OK;
    d->place = gs_calloc(count ? count : 1, sizeof *d->place);
    if (!d->place) return gs_error_nomem(err, count * sizeof *d->place);
    for (size_t i = 0; i < count; i++) d->place[i] = (uint32_t)i;
    return GS_OK;
}

static bool is_full(const job *j) { return j->o->samples > 0 && j->out->sequences >= j->o->samples; }

/* The array with room for `want` elements; NULL (it stays as it is) without memory. */
static void *reserve(void *array, size_t size, size_t *cap, size_t want) {
    if (want <= *cap) return array;
    size_t grown = *cap * 2 > want ? *cap * 2 : want;
    void *p = gs_realloc(array, grown, size);
    if (p) *cap = grown;
    return p;
}

/* One sequence; `first`: number of its first token, for the error. */
static gs_status append(job *j, const int32_t *ids, size_t n, size_t first, gs_error *err) {
    gs_corpus *c = j->out;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] >= 0 && ids[i] < j->o->vocab) continue;
        gs_status status = GS_FAIL(err, GS_E_FORMAT, "token %zu is id %d, outside the vocabulary of %lld", first + i, ids[i],
                                   (long long)j->o->vocab);
        gs_error_hint(err, "the ids must come from the model's own tokenizer");
        return status;
    }
    int32_t *all = reserve(c->ids, sizeof *all, &j->ids_cap, (size_t)c->tokens + n);
    if (!all) return gs_error_nomem(err, ((size_t)c->tokens + n) * sizeof *all);
    c->ids = all;
    int64_t *starts = reserve(c->starts, sizeof *starts, &j->starts_cap, (size_t)c->sequences + 2);
    if (!starts) return gs_error_nomem(err, ((size_t)c->sequences + 2) * sizeof *starts);
    c->starts = starts;
    memcpy(all + c->tokens, ids, n * sizeof *ids);
    c->tokens += (int64_t)n;
    starts[0] = 0;
    starts[++c->sequences] = c->tokens;
    return GS_OK;
}

/* ---- a text or ids: windows ---- */

static gs_status cut(job *j, const int32_t *ids, size_t count, gs_error *err) {
    size_t length = (uint64_t)j->o->length < count ? (size_t)j->o->length : count, window;
    draw d;
    if (count < MIN_SEQUENCE) return GS_FAIL(err, GS_E_FORMAT, "fewer than two tokens");
    GS_TRY(draw_begin(&d, count / length, j->o->seed, err));
    gs_status status = GS_OK;
    while (status == GS_OK && !is_full(j) && draw_next(&d, &window))
        status = append(j, ids + window * length, length, window * length, err);
    gs_free(d.place);
    return status;
}

static gs_status encode(job *j, const char *text, size_t len, int32_t **ids, size_t *count, gs_error *err) {
    gs_bos_mode bos = j->o->bos > 0 ? GS_BOS_ALWAYS : j->o->bos < 0 ? GS_BOS_NEVER : GS_BOS_AUTO;
    return gs_tokenizer_encode(j->tokenizer, j->cx, text, len, bos, false, ids, count, err);
}

static gs_status read_text(job *j, gs_error *err) {
    int32_t *ids = NULL;
    size_t count = 0;
    if (gs_utf8_check(j->data, j->len, err) != GS_OK) {
        gs_error_hint(err, "a calibration set is UTF-8 text, a .jsonl file of one object a line, or a .i32 file of token ids");
        return GS_E_FORMAT;
    }
    GS_TRY(encode(j, j->data + j->at, j->len - j->at, &ids, &count, err));
    gs_status status = cut(j, ids, count, err);
    gs_free(ids);
    return status;
}

static gs_status read_ids(job *j, gs_error *err) {
    int32_t *ids;
    size_t count;
    GS_TRY(gs_token_file_decode(j->data, j->len, &ids, &count, err));
    gs_status status = cut(j, ids, count, err);
    gs_free(ids);
    return status;
}

/* ---- lines ---- */

static gs_status index_lines(job *j, gs_error *err) {
    size_t count = 0, begin, end;
    for (size_t at = j->at; gs_corpus_line_next(j->data, j->len, &at, &begin, &end);) count++;
    GS_TRY(draw_begin(&j->lines, count, j->o->seed, err));
    count = 0;
    for (size_t at = j->at; gs_corpus_line_next(j->data, j->len, &at, &begin, &end);)
        j->lines.place[count++] = (uint32_t)begin;
    return GS_OK;
}

static bool next_line(job *j, size_t *begin, size_t *end) {
    if (!j->o->seed) return gs_corpus_line_next(j->data, j->len, &j->at, begin, end);
    size_t at;
    return draw_next(&j->lines, &at) && gs_corpus_line_next(j->data, j->len, &at, begin, end);
}

static gs_status take_line(job *j, size_t begin, size_t end, gs_strbuf *text, gs_error *err) {
    int32_t *ids = NULL;
    size_t count = 0;
    bool repaired;
    gs_strbuf_reset(text);
    GS_TRY(gs_corpus_line_text(j->data + begin, end - begin, j->o->field, text, &repaired, err));
    GS_TRY(encode(j, gs_strbuf_text(text), text->len, &ids, &count, err));
    gs_status status = GS_OK;
    if (count < MIN_SEQUENCE)
        j->short_lines++;
    else
        status = append(j, ids, (uint64_t)j->o->length < count ? (size_t)j->o->length : count, 0, err);
    gs_free(ids);
    if (repaired && j->repaired++ == 0) j->repaired_line = gs_corpus_line_number(j->data, begin);
    return status;
}

static gs_status read_lines(job *j, gs_error *err) {
    size_t begin, end;
    gs_strbuf text = {0};
    gs_status status = j->o->seed ? index_lines(j, err) : GS_OK;
    while (status == GS_OK && !is_full(j) && next_line(j, &begin, &end)) {
        GS_TRY_GOTO(status, done, gs_cancel_check(err));
        status = take_line(j, begin, end, &text, err);
        if (status != GS_OK) gs_error_at(err, "line %zu", gs_corpus_line_number(j->data, begin));
    }
    if (status == GS_OK && !j->out->sequences)
        status = GS_FAIL(err, GS_E_FORMAT, "no line has a text of two tokens or more");
done:
    gs_strbuf_clear(&text);
    gs_free(j->lines.place);
    return status;
}

/* ---- the whole ---- */

static bool has_ending(const char *path, const char *ending) {
    size_t n = strlen(path), e = strlen(ending);
    return n >= e && strcasecmp(path + n - e, ending) == 0;
}

static const char *plural(size_t n) { return n == 1 ? "" : "s"; }

static void describe(const job *j) {
    gs_strbuf note = {0};
    gs_corpus *c = j->out;
    if (c->sequences < j->o->samples)
        gs_strbuf_printf(&note, "%lld of %lld samples wanted are there", (long long)c->sequences, (long long)j->o->samples);
    if (j->short_lines)
        gs_strbuf_printf(&note, "%s%zu line%s of fewer than two tokens left out", note.len ? "; " : "", j->short_lines,
                         plural(j->short_lines));
    if (j->repaired)
        gs_strbuf_printf(&note, "%s%zu line%s (line %zu) with escapes unknown to JSON read as they stand",
                         note.len ? "; " : "", j->repaired, plural(j->repaired), j->repaired_line);
    snprintf(c->note, sizeof c->note, "%s", gs_strbuf_text(&note));
    gs_strbuf_clear(&note);
}

static gs_status read_any(job *j, gs_error *err) {
    const char *path = j->o->path;
    if (j->len == 0) return GS_FAIL(err, GS_E_FORMAT, "the file is empty");
    if (j->len > MAX_BYTES) return GS_FAIL(err, GS_E_FORMAT, "larger than %d bytes", MAX_BYTES);
    if (has_ending(path, ".i32")) return read_ids(j, err);
    if (!j->tokenizer) {
        gs_status status = GS_FAIL(err, GS_E_INVALID, "a text needs a tokenizer");
        gs_error_hint(err, "name one, or give a .i32 file of token ids");
        return status;
    }
    if (j->len >= 3 && memcmp(j->data, "\xef\xbb\xbf", 3) == 0) j->at = 3; /* a byte order mark */
    return has_ending(path, ".jsonl") || has_ending(path, ".json") ? read_lines(j, err) : read_text(j, err);
}

static gs_status check_options(const gs_corpus_options *o, gs_error *err) {
    if (o->length < MIN_SEQUENCE || o->samples < 0)
        return GS_FAIL(err, GS_E_INVALID, "%lld samples of %lld tokens: a sequence has at least two",
                       (long long)o->samples, (long long)o->length);
    return GS_OK;
}

gs_status gs_corpus_from_memory(gs_context *cx, const gs_tokenizer *tokenizer, const gs_corpus_options *options,
                                const void *data, size_t len, gs_corpus *out, gs_error *err) {
    job j = {.cx = cx, .tokenizer = tokenizer, .o = options, .data = data, .len = len, .out = out};
    *out = (gs_corpus){0};
    GS_TRY(check_options(options, err));
    gs_status status = read_any(&j, err);
    if (status != GS_OK) {
        gs_error_at(err, "%s", options->path);
        gs_corpus_clear(out);
        return status;
    }
    describe(&j);
    uint64_t parts[2] = {gs_hash64(out->ids, (size_t)out->tokens * sizeof *out->ids),
                         gs_hash64(out->starts, (size_t)(out->sequences + 1) * sizeof *out->starts)};
    out->hash = gs_hash64(parts, sizeof parts);
    return GS_OK;
}

gs_status gs_corpus_load(gs_context *cx, const gs_tokenizer *tokenizer, const gs_corpus_options *options,
                         gs_corpus *out, gs_error *err) {
    char *data;
    size_t len;
    *out = (gs_corpus){0};
    GS_TRY(check_options(options, err));
    GS_TRY(gs_file_read(options->path, MAX_BYTES, &data, &len, err));
    gs_status status = gs_corpus_from_memory(cx, tokenizer, options, data, len, out, err);
    gs_free(data);
    return status;
}

void gs_corpus_clear(gs_corpus *c) {
    gs_free(c->ids);
    gs_free(c->starts);
    *c = (gs_corpus){0};
}
