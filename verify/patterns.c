#include <verify/patterns.h>

#include <base/mem.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

enum { MOST_WORDS = 1000000, LONGEST = 4096, MOST_STEPS = 100000 };

typedef struct word {
    const char *text;
    pcre2_code *expression; /* of "re:..." */
    bool met;
} word;

struct gs_patterns {
    word *word;
    size_t count;
    pcre2_match_context *limits;
    pcre2_match_data *match;
};

void gs_patterns_destroy(gs_patterns *p) {
    if (!p) return;
    for (size_t i = 0; i < p->count; i++) pcre2_code_free(p->word[i].expression);
    pcre2_match_data_free(p->match);
    pcre2_match_context_free(p->limits);
    gs_free(p->word);
    gs_free(p);
}

static bool add(gs_patterns *p, const char *text) {
    int code;
    PCRE2_SIZE at;
    word *w = &p->word[p->count];
    *w = (word){.text = text};
    if (strlen(text) > LONGEST) return false;
    if (strncmp(text, "re:", 3) == 0) {
        w->expression = pcre2_compile((PCRE2_SPTR)text + 3, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED, &code, &at, NULL);
        if (!w->expression) return false;
    }
    p->count++;
    return true;
}

static gs_status fill(gs_subject *s, gs_check check, const char *about, const cJSON *list, gs_patterns *p, gs_error *err) {
    const cJSON *item;
    int n = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;
    if (!gs_report_that(&s->report, check, n <= MOST_WORDS, about, "a list of %d modules", n)) n = 0;
    p->word = gs_calloc((size_t)n + 1, sizeof *p->word);
    p->limits = pcre2_match_context_create(NULL);
    p->match = pcre2_match_data_create(1, NULL);
    if (!p->word || !p->limits || !p->match) return gs_error_nomem(err, ((size_t)n + 1) * sizeof *p->word);
    pcre2_set_match_limit(p->limits, MOST_STEPS);
    if (n == 0) return GS_OK;
    cJSON_ArrayForEach(item, list) {
        const char *text = cJSON_IsString(item) ? item->valuestring : "";
        gs_report_that(&s->report, check, text[0] && add(p, text), about, "'%.100s' is no name of a module and no expression", text);
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

static bool is_class(const char *text) { return strcmp(text, "Linear") == 0; }

static gs_meets meet(gs_patterns *p, const word *w, const char *module) {
    if (is_class(w->text)) return GS_MEETS_CLASS;
    if (!w->expression) return strcmp(w->text, module) == 0 ? GS_MEETS_NAME : GS_MEETS_NOT;
    int found = pcre2_match(w->expression, (PCRE2_SPTR)module, strlen(module), 0, 0, p->match, p->limits);
    return found >= 0 ? GS_MEETS_NAME : GS_MEETS_NOT;
}

gs_meets gs_patterns_meet(gs_patterns *p, const char *module) {
    gs_meets nearest = GS_MEETS_NOT;
    for (size_t i = 0; i < p->count; i++) {
        gs_meets how = meet(p, &p->word[i], module);
        if (how != GS_MEETS_NOT) p->word[i].met = true;
        if (how > nearest) nearest = how;
    }
    return nearest;
}

const char *gs_patterns_idle(const gs_patterns *p) {
    for (size_t i = 0; i < p->count; i++)
        if (!p->word[i].met && !is_class(p->word[i].text)) return p->word[i].text;
    return NULL;
}
