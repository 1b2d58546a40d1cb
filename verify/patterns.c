#include <verify/patterns.h>

#include <base/mem.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

/* A name is looked up, an expression is tried on every linear: there are few of those in any list. */
enum { MOST_WORDS = 1000000, LONGEST = 4096, MOST_EXPRESSIONS = 1024, MOST_STEPS = 100000, MOST_HEAP = 1 << 16 /* KiB */ };

typedef struct word {
    const char *text;
    pcre2_code *expression; /* of "re:..." */
    bool met, endless;
} word;

struct gs_patterns {
    word *word;        /* each text once */
    size_t count;
    gs_map by_text;    /* -> word */
    size_t *expression; /* words that are one */
    size_t expressions;
    pcre2_match_context *limits;
    pcre2_match_data *match;
};

void gs_patterns_destroy(gs_patterns *p) {
    if (!p) return;
    for (size_t i = 0; i < p->count; i++) pcre2_code_free(p->word[i].expression);
    pcre2_match_data_free(p->match);
    pcre2_match_context_free(p->limits);
    gs_map_clear(&p->by_text);
    gs_free(p->expression);
    gs_free(p->word);
    gs_free(p);
}

static bool is_expression(const char *text) { return strncmp(text, "re:", 3) == 0; }

/* NULL: it is none. */
static pcre2_code *compile(const char *text) {
    int code;
    PCRE2_SIZE at;
    return pcre2_compile((PCRE2_SPTR)text + 3, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED, &code, &at, NULL);
}

/* *fits: it is a name or an expression. */
static gs_status add(gs_patterns *p, const char *text, bool *fits, gs_error *err) {
    word w = {.text = text};
    bool twice, expression = is_expression(text);
    *fits = text[0] && strlen(text) <= LONGEST && !(expression && p->expressions == MOST_EXPRESSIONS);
    if (*fits && expression) *fits = (w.expression = compile(text)) != NULL;
    if (!*fits) return GS_OK;
    gs_status status = gs_map_put(&p->by_text, text, strlen(text), (int64_t)p->count, &twice, err);
    if (status != GS_OK || twice) {
        pcre2_code_free(w.expression);
        return status;
    }
    if (expression) p->expression[p->expressions++] = p->count;
    p->word[p->count++] = w;
    return GS_OK;
}

static gs_status make_room(gs_patterns *p, size_t n, gs_error *err) {
    p->word = gs_calloc(n + 1, sizeof *p->word);
    p->expression = gs_calloc(MOST_EXPRESSIONS, sizeof *p->expression);
    p->limits = pcre2_match_context_create(NULL);
    p->match = pcre2_match_data_create(1, NULL);
    if (!p->word || !p->expression || !p->limits || !p->match) return gs_error_nomem(err, (n + 1) * sizeof *p->word);
    pcre2_set_match_limit(p->limits, MOST_STEPS);
    pcre2_set_heap_limit(p->limits, MOST_HEAP);
    return GS_OK;
}

static gs_status fill(gs_subject *s, gs_check check, const char *about, const cJSON *list, gs_patterns *p, gs_error *err) {
    const cJSON *item;
    int n = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;
    if (!gs_report_that(&s->report, check, n <= MOST_WORDS, about, "a list of %d modules", n)) n = 0;
    GS_TRY(make_room(p, (size_t)n, err));
    if (n == 0) return GS_OK;
    cJSON_ArrayForEach(item, list) {
        const char *text = cJSON_IsString(item) ? item->valuestring : "";
        bool fits;
        GS_TRY(add(p, text, &fits, err));
        gs_report_that(&s->report, check, fits, about, "'%.100s' is no name of a module and no expression%s", text,
                       p->expressions == MOST_EXPRESSIONS ? ", or one too many" : "");
    }
    return GS_OK;
}

gs_status gs_patterns_create(gs_subject *s, gs_check check, const char *about, const cJSON *list, gs_patterns **out, gs_error *err) {
    bool fits = !list || cJSON_IsNull(list) || cJSON_IsArray(list);
    *out = NULL;
    gs_report_that(&s->report, check, fits, about, "it is no list of modules");
    gs_patterns *p = gs_calloc(1, sizeof *p);
    if (!p) return gs_error_nomem(err, sizeof *p);
    gs_status status = fill(s, check, about, list, p, err);
    if (status == GS_OK) *out = p;
    else gs_patterns_destroy(p);
    return status;
}

static const char class[] = "Linear";

/* Whether that very text is in the list, and no expression; then it is met. */
static bool meet_text(gs_patterns *p, const char *text) {
    int64_t at;
    if (!gs_map_get(&p->by_text, text, strlen(text), &at) || p->word[at].expression) return false;
    p->word[at].met = true;
    return true;
}

static bool meet_expressions(gs_patterns *p, const char *module) {
    bool any = false;
    for (size_t i = 0; i < p->expressions; i++) {
        word *w = &p->word[p->expression[i]];
        if (w->endless) continue; /* said once; that it is waited for once, too, bounds the whole */
        int found = pcre2_match(w->expression, (PCRE2_SPTR)module, strlen(module), 0, 0, p->match, p->limits);
        w->endless = found < 0 && found != PCRE2_ERROR_NOMATCH;
        if (found < 0) continue;
        w->met = any = true;
    }
    return any;
}

const char *gs_patterns_endless(const gs_patterns *p) {
    for (size_t i = 0; i < p->expressions; i++)
        if (p->word[p->expression[i]].endless) return p->word[p->expression[i]].text;
    return NULL;
}

gs_meets gs_patterns_meet(gs_patterns *p, const char *module) {
    gs_meets nearest = meet_text(p, class) ? GS_MEETS_CLASS : GS_MEETS_NOT;
    bool named = strcmp(module, class) != 0 && meet_text(p, module);
    return meet_expressions(p, module) || named ? GS_MEETS_NAME : nearest;
}

const char *gs_patterns_idle(const gs_patterns *p) {
    for (size_t i = 0; i < p->count; i++)
        if (!p->word[i].met && strcmp(p->word[i].text, class) != 0) return p->word[i].text;
    return NULL;
}
