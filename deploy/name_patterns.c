#include <deploy/name_patterns.h>

#include <base/affix.h>
#include <base/map.h>
#include <base/mem.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

enum {
    MAX_PATTERNS = 100000, MAX_PATTERN = 4096,
    MATCH_LIMIT = 100000 /* steps; names of modules are short */
};

typedef struct pattern {
    const char *word; /* "re:..." */
    pcre2_code *code;
} pattern;

struct gs_name_patterns {
    gs_map names; /* the words that are names: a configuration may list every linear of a model */
    pattern *item;
    size_t count;
    pcre2_match_context *limits;
    pcre2_match_data *match;
};

void gs_name_patterns_destroy(gs_name_patterns *p) {
    if (!p) return;
    for (size_t i = 0; i < p->count; i++) pcre2_code_free(p->item[i].code);
    gs_free(p->item);
    gs_map_clear(&p->names);
    pcre2_match_data_free(p->match);
    pcre2_match_context_free(p->limits);
    gs_free(p);
}

static gs_status compile(pattern *p, gs_error *err) {
    int code;
    PCRE2_SIZE at;
    p->code = pcre2_compile((PCRE2_SPTR)p->word + 3, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED, &code, &at, NULL);
    if (p->code) return GS_OK;
    unsigned char why[128] = "";
    pcre2_get_error_message(code, why, sizeof why);
    return GS_FAIL(err, GS_E_UNSUPPORTED, "'%.200s' is no regular expression: %s at %zu", p->word, (const char *)why,
                   (size_t)at);
}

static gs_status add(gs_name_patterns *p, const char *word, gs_error *err) {
    size_t n = strlen(word);
    if (n > MAX_PATTERN) return GS_FAIL(err, GS_E_UNSUPPORTED, "a name pattern of %zu bytes", n);
    if (!gs_starts_with(word, "re:")) return gs_map_put(&p->names, word, n, 0, NULL, err);
    p->item[p->count].word = word;
    return compile(&p->item[p->count++], err);
}

static gs_status fill(gs_name_patterns *p, const cJSON *list, size_t count, gs_error *err) {
    const cJSON *item;
    p->item = gs_calloc(count, sizeof *p->item);
    p->limits = pcre2_match_context_create(NULL);
    p->match = pcre2_match_data_create(1, NULL);
    if (!p->item || !p->limits || !p->match) return gs_error_nomem(err, count * sizeof *p->item);
    pcre2_set_match_limit(p->limits, MATCH_LIMIT);
    cJSON_ArrayForEach(item, list) {
        if (!cJSON_IsString(item)) return GS_FAIL(err, GS_E_FORMAT, "a list of modules holds something that is no name");
        GS_TRY(add(p, item->valuestring, err));
    }
    return GS_OK;
}

gs_status gs_name_patterns_create(const cJSON *list, gs_name_patterns **out, gs_error *err) {
    int count = 0;
    *out = NULL;
    if (list && !cJSON_IsNull(list) && !cJSON_IsArray(list))
        return GS_FAIL(err, GS_E_FORMAT, "a list of modules is no array");
    if (cJSON_IsArray(list)) count = cJSON_GetArraySize(list);
    if (count > MAX_PATTERNS) return GS_FAIL(err, GS_E_UNSUPPORTED, "a list of %d modules", count);
    gs_name_patterns *p = gs_calloc(1, sizeof *p);
    if (!p) return gs_error_nomem(err, sizeof *p);
    gs_status status = fill(p, count ? list : NULL, (size_t)count + 1, err);
    if (status != GS_OK) {
        gs_name_patterns_destroy(p);
        return status;
    }
    *out = p;
    return GS_OK;
}

gs_status gs_name_patterns_match(const gs_name_patterns *p, const char *name, bool *hit, gs_error *err) {
    *hit = gs_name_patterns_has(p, name);
    for (size_t i = 0; i < p->count && !*hit; i++) {
        int found = pcre2_match(p->item[i].code, (PCRE2_SPTR)name, strlen(name), 0, 0, p->match, p->limits);
        if (found < 0 && found != PCRE2_ERROR_NOMATCH)
            return GS_FAIL(err, GS_E_UNSUPPORTED, "'%.200s' cannot be matched against '%.200s' (PCRE2 error %d)",
                           p->item[i].word, name, found);
        *hit = found >= 0;
    }
    return GS_OK;
}

bool gs_name_patterns_has(const gs_name_patterns *p, const char *word) {
    int64_t unused;
    return gs_map_get(&p->names, word, strlen(word), &unused);
}
