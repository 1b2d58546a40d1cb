#include <loaders/tokenizer/normalizer.h>

#include <string.h>
#include <utf8proc.h>

#include <base/mem.h>
#include <loaders/tokenizer/pretok.h>
#include <loaders/tokenizer/unicode.h>
#include <loaders/tokenizer/utf8.h>

enum {
    MOST_OF_ONE = 64,   /* code points that one becomes: 18 in Unicode (U+FDFA) */
    MOST_MARKS = 1000,  /* on one character */
    MOST_GROWTH = 16,   /* bytes made of one: 11 in NFKC (U+FDFA) */
    FREE_GROWTH = 512   /* and on top, for what is put in front */
};

/* True when no byte reaches `lead`. */
static bool all_below(const char *text, size_t len, unsigned char lead) {
    unsigned char most = 0;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] > most) most = (unsigned char)text[i];
    return most < lead;
}

/* Code points of the decomposed text. Marks on one character are sorted by insertion: long runs of them are refused. */
static gs_status count_points(utf8proc_option_t form, const char *text, size_t len, utf8proc_ssize_t *count,
                              gs_error *err) {
    utf8proc_int32_t points[MOST_OF_ONE];
    int run = 0, boundary = 0;
    *count = 0;
    for (size_t i = 0, n; i < len; i += n) {
        utf8proc_int32_t cp = (utf8proc_int32_t)gs_utf8_get(text + i, &n);
        utf8proc_ssize_t m = utf8proc_decompose_char(cp, points, MOST_OF_ONE, form, &boundary);
        if (m < 0 || m > MOST_OF_ONE)
            return GS_FAIL(err, GS_E_FORMAT, "normal form: %s", m < 0 ? utf8proc_errmsg(m) : "too many parts");
        for (utf8proc_ssize_t k = 0; k < m; k++) run = utf8proc_get_property(points[k])->combining_class ? run + 1 : 0;
        if (run > MOST_MARKS)
            return GS_FAIL(err, GS_E_UNSUPPORTED, "normal form: more than %d marks on one character", MOST_MARKS);
        *count += m;
    }
    return GS_OK;
}

static gs_status normal_form(const gs_norm_step *st, const char *text, size_t len, gs_strbuf *out, gs_error *err) {
    if (len == 0) return GS_OK;
    utf8proc_option_t form = (utf8proc_option_t)st->form;
    const utf8proc_uint8_t *in = (const utf8proc_uint8_t *)text;
    utf8proc_ssize_t n;
    GS_TRY(count_points(form, text, len, &n, err));
    size_t bytes;
    if (!gs_mul_size((size_t)n + 1, sizeof(utf8proc_int32_t), &bytes))
        return gs_error_nomem(err, SIZE_MAX);
    utf8proc_int32_t *points = gs_alloc(bytes);
    if (!points) return gs_error_nomem(err, bytes);
    utf8proc_ssize_t m = utf8proc_decompose(in, (utf8proc_ssize_t)len, points, n, form);
    if (m == n) m = utf8proc_reencode(points, n, form); /* in place, UTF-8 */
    gs_status status = GS_OK;
    if (m < 0) status = GS_FAIL(err, GS_E_FORMAT, "normal form: %s", utf8proc_errmsg(m));
    else gs_strbuf_append(out, points, (size_t)m);
    gs_free(points);
    return status;
}

/* Start of the first character at or after i that the reference does not know, or len. All of them are beyond U+0400. */
static size_t next_inert(const char *text, size_t len, size_t i) {
    while (i < len) {
        if ((unsigned char)text[i] < 0xd0) {
            i++;
            continue;
        }
        size_t n;
        if (gs_unicode_inert(gs_utf8_get(text + i, &n))) return i;
        i += n;
    }
    return len;
}

/* Unicode normal forms. Below U+0300 (first byte CC) every character is its own NFC (UAX
 * #15, quick check), below U+0080 its own NFD, NFKC and NFKD. Nothing reaches over an inert
 * character, so what lies between them is worked on by itself. */
static gs_status run_form(const gs_norm_step *st, const char *text, size_t len, size_t limit, gs_strbuf *out,
                          gs_error *err) {
    (void)limit;
    bool nfc = (st->form & UTF8PROC_COMPOSE) && !(st->form & UTF8PROC_COMPAT);
    if (all_below(text, len, nfc ? 0xcc : 0x80)) {
        gs_strbuf_append(out, text, len);
        return GS_OK;
    }
    for (size_t begin = 0, n; begin < len; begin += n) {
        size_t end = next_inert(text, len, begin);
        GS_TRY(normal_form(st, text + begin, end - begin, out, err));
        n = end < len ? gs_utf8_len(text[end]) : 0;
        gs_strbuf_append(out, text + end, n);
        n += end - begin;
    }
    return GS_OK;
}

/* Before a piece is added, so that the pieces alone bound what is made. */
static gs_status check_growth(const gs_strbuf *out, size_t limit, gs_error *err) {
    if (out->len <= limit) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "the normalizer makes more than %zu bytes of a text", limit);
}

static gs_status run_prepend(const gs_norm_step *st, const char *text, size_t len, size_t limit, gs_strbuf *out,
                             gs_error *err) {
    (void)limit;
    (void)err;
    if (len) gs_strbuf_puts(out, st->literal);
    gs_strbuf_append(out, text, len);
    return GS_OK;
}

static gs_status run_replace_literal(const gs_norm_step *st, const char *text, size_t len, size_t limit, gs_strbuf *out,
                                     gs_error *err) {
    size_t n = strlen(st->literal), with = strlen(st->content);
    for (const char *end = text + len, *hit; text < end; text = hit + n) {
        GS_TRY(check_growth(out, limit, err));
        hit = memmem(text, (size_t)(end - text), st->literal, n);
        if (!hit) {
            gs_strbuf_append(out, text, (size_t)(end - text));
            break;
        }
        gs_strbuf_append(out, text, (size_t)(hit - text));
        gs_strbuf_append(out, st->content, with);
    }
    return GS_OK;
}

static gs_status replace_matches(gs_tokregex_run *run, const gs_norm_step *st, const char *text, size_t len, size_t limit,
                                 gs_strbuf *out, gs_error *err) {
    size_t done = 0;
    for (;;) {
        size_t begin, end;
        bool found;
        GS_TRY(check_growth(out, limit, err));
        GS_TRY(gs_tokregex_next(run, text, len, done, &begin, &end, &found, err));
        if (!found) break;
        if (begin == end)
            return GS_FAIL(err, GS_E_UNSUPPORTED, "normalizer Replace matches the empty text");
        gs_strbuf_append(out, text + done, begin - done);
        gs_strbuf_puts(out, st->content);
        done = end;
    }
    gs_strbuf_append(out, text + done, len - done);
    return GS_OK;
}

static gs_status run_replace_regex(const gs_norm_step *st, const char *text, size_t len, size_t limit, gs_strbuf *out,
                                   gs_error *err) {
    gs_tokregex_run *run;
    GS_TRY(gs_tokregex_run_create(st->re, &run, err));
    gs_status status = replace_matches(run, st, text, len, limit, out, err);
    gs_tokregex_run_destroy(run);
    return status;
}

static gs_status run_lowercase(const gs_norm_step *st, const char *text, size_t len, size_t limit, gs_strbuf *out,
                               gs_error *err) {
    (void)limit;
    (void)st;
    (void)err;
    for (size_t i = 0, n; i < len; i += n) {
        char low[8];
        gs_strbuf_append(out, low, gs_char_lower(gs_utf8_get(text + i, &n), low));
    }
    return GS_OK;
}

static gs_status run_strip(const gs_norm_step *st, const char *text, size_t len, size_t limit, gs_strbuf *out,
                           gs_error *err) {
    (void)limit;
    (void)err;
    size_t begin = 0, end = len, n;
    while (st->left && begin < end && gs_char_is_space(gs_utf8_get(text + begin, &n))) begin += n;
    while (st->right && end > begin) {
        size_t at = gs_utf8_before(text, end);
        if (!gs_char_is_space(gs_utf8_get(text + at, &n))) break;
        end = at;
    }
    gs_strbuf_append(out, text + begin, end - begin);
    return GS_OK;
}

/* Of all steps together: a chain of steps that each double the text is as bad as one. */
static size_t most_bytes(size_t len) {
    const size_t most = INT32_MAX / 2;
    return len < (most - FREE_GROWTH) / MOST_GROWTH ? MOST_GROWTH * len + FREE_GROWTH : most;
}

gs_status gs_normalizer_run(const gs_normalizer *n, const char **text, size_t *len,
                            gs_strbuf buffers[2], gs_error *err) {
    size_t limit = most_bytes(*len);
    for (int i = 0; i < n->count; i++) {
        gs_strbuf *out = &buffers[i & 1];
        gs_strbuf_reset(out);
        GS_TRY(n->step[i].run(&n->step[i], *text, *len, limit, out, err));
        if (out->failed) return gs_error_nomem(err, *len);
        GS_TRY(check_growth(out, limit, err));
        *text = gs_strbuf_text(out);
        *len = out->len;
    }
    return GS_OK;
}

static char *copy(const char *s, gs_status *status, gs_error *err) {
    char *c = gs_strdup(s);
    if (!c) *status = gs_error_nomem(err, strlen(s));
    return c;
}

static gs_status parse_prepend(gs_norm_step *st, const cJSON *json, gs_error *err) {
    const char *text = NULL;
    gs_status status = GS_OK;
    GS_TRY(gs_json_string(json, "prepend", &text, err));
    if (!text) return GS_FAIL(err, GS_E_FORMAT, "normalizer Prepend without 'prepend'");
    st->run = run_prepend;
    st->literal = copy(text, &status, err);
    return status;
}

static gs_status parse_replace(gs_norm_step *st, const cJSON *json, gs_error *err) {
    const char *content = NULL;
    gs_status status = GS_OK;
    GS_TRY(gs_json_string(json, "content", &content, err));
    if (!content) return GS_FAIL(err, GS_E_FORMAT, "normalizer Replace without 'content'");
    GS_TRY(gs_pattern_parse(gs_json_get(json, "pattern"), &st->re, &st->literal, err));
    st->run = st->re ? run_replace_regex : run_replace_literal;
    st->content = copy(content, &status, err);
    return status;
}

static gs_status parse_strip(gs_norm_step *st, const cJSON *json, gs_error *err) {
    st->run = run_strip;
    st->left = st->right = true;
    GS_TRY(gs_json_bool(json, "strip_left", &st->left, err));
    return gs_json_bool(json, "strip_right", &st->right, err);
}

static gs_status parse_step(gs_norm_step *st, const char *type, const cJSON *json,
                            gs_error *err) {
    static const struct {
        const char *type;
        int form;
    } forms[] = {{"NFC", UTF8PROC_STABLE | UTF8PROC_COMPOSE},
                 {"NFD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
                 {"NFKC", UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
                 {"NFKD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT}};
    for (size_t i = 0; i < GS_COUNTOF(forms); i++) {
        if (strcmp(type, forms[i].type) != 0) continue;
        st->run = run_form;
        st->form = forms[i].form;
        return GS_OK;
    }
    if (strcmp(type, "Prepend") == 0) return parse_prepend(st, json, err);
    if (strcmp(type, "Replace") == 0) return parse_replace(st, json, err);
    if (strcmp(type, "Strip") == 0) return parse_strip(st, json, err);
    if (strcmp(type, "Lowercase") == 0) {
        st->run = run_lowercase;
        return GS_OK;
    }
    return GS_FAIL(err, GS_E_UNSUPPORTED, "normalizer type '%.60s'", type);
}

gs_status gs_normalizer_parse(gs_normalizer *n, const cJSON *json, gs_error *err) {
    if (!json || cJSON_IsNull(json)) return GS_OK;
    const char *type = "";
    GS_TRY(gs_json_string(json, "type", &type, err));
    if (strcmp(type, "Sequence") == 0) {
        const cJSON *list = gs_json_get(json, "normalizers"), *each;
        if (!cJSON_IsArray(list))
            return GS_FAIL(err, GS_E_FORMAT, "normalizer Sequence without 'normalizers'");
        cJSON_ArrayForEach(each, list) GS_TRY(gs_normalizer_parse(n, each, err));
        return GS_OK;
    }
    if (n->count == GS_NORM_MAX_STEPS)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "more than %d normalizers", GS_NORM_MAX_STEPS);
    return parse_step(&n->step[n->count++], type, json, err);
}

void gs_normalizer_clear(gs_normalizer *n) {
    for (int i = 0; i < n->count; i++) {
        gs_tokregex_destroy(n->step[i].re);
        gs_free(n->step[i].literal);
        gs_free(n->step[i].content);
    }
    memset(n, 0, sizeof *n);
}
