/* quant_model_description.json against what is stored. */
#include <verify/subject.h>

#include <base/mem.h>

#include <stdio.h>
#include <string.h>

static const char exact_name[] = "quant_model_description.json";
enum { MAX_DESCRIPTION = 100 << 20 };

static const char *const globals[] = {"model_quant_type", "version", "group_size", "metadata", "optional", "kv_cache_type",
                                      "kv_quant_type", "fa_quant_type", "indexer_quant_type", "reduce_quant_type"};

static bool is_global(const char *key) {
    for (size_t i = 0; i < GS_COUNTOF(globals); i++)
        if (strcmp(globals[i], key) == 0) return true;
    return false;
}

/* The exact name, else the first that begins like it. */
static void find_name(gs_subject *s) {
    for (size_t i = 0; i < s->name_count; i++) {
        const char *name = s->names[i];
        bool like = gs_starts_with(name, "quant_model_description") && gs_ends_with(name, ".json");
        if (!like || strlen(name) >= sizeof s->description_name) continue;
        if (!s->description_name[0] || strcmp(name, exact_name) == 0) snprintf(s->description_name, sizeof s->description_name, "%s", name);
    }
}

static void check_name(gs_subject *s) {
    bool exact = strcmp(s->description_name, exact_name) == 0;
    if (s->target & (GS_FOR_VLLM | GS_FOR_310P))
        gs_report_that(&s->report, GS_CHECK_DESCRIPTION_NAME, exact, s->description_name, "vllm-ascend looks for %s alone", exact_name);
}

gs_status gs_verify_description(gs_subject *s, gs_error *err) {
    gs_error why = {0};
    find_name(s);
    if (!gs_report_that(&s->report, GS_CHECK_DESCRIPTION_JSON, s->description_name[0], exact_name, "it is missing")) return GS_OK;
    check_name(s);
    char *path = gs_subject_path(s, s->description_name);
    if (!path) return gs_error_nomem(err, 256);
    gs_status status = gs_json_load(path, MAX_DESCRIPTION, &s->description, &why);
    gs_free(path);
    if (status == GS_E_NOMEM) return gs_error_nomem(err, MAX_DESCRIPTION);
    if (!gs_report_that(&s->report, GS_CHECK_DESCRIPTION_JSON, status == GS_OK, s->description_name, "%s", why.text)) return GS_OK;
    gs_report_that(&s->report, GS_CHECK_DESCRIPTION_JSON, cJSON_IsObject(s->description), s->description_name, "no JSON object");
    return gs_subject_index_description(s, err);
}

bool gs_subject_tied_head(const gs_subject *s, const char *key) {
    const gs_module *last = s->modules ? &s->module[s->modules - 1] : NULL;
    size_t n = last ? strlen(last->name) : 0;
    return last && last->tied && strncmp(key, last->name, n) == 0 && strcmp(key + n, ".weight") == 0;
}

static void check_entry(gs_subject *s, const cJSON *entry) {
    const char *key = entry->string, *value = cJSON_IsString(entry) ? entry->valuestring : "";
    if (is_global(key)) return;
    bool known = gs_type_from_name(value) != GS_TYPE_UNKNOWN || strcmp(value, "C8") == 0;
    gs_report_that(&s->report, GS_CHECK_DESCRIPTION_VALUE, known, key, "'%.40s' is no type of this format", value);
    gs_report_that(&s->report, GS_CHECK_DESCRIPTION_STORED, gs_subject_find(s, key) || gs_subject_tied_head(s, key), key,
              "it is listed as %.40s and not stored", value);
}

static void check_object(gs_subject *s, const char *key) {
    const cJSON *item = gs_described_item(s, key);
    if (item) gs_report_that(&s->report, GS_CHECK_DESCRIPTION_GLOBALS, cJSON_IsObject(item), key, "it is no object");
}

static void check_globals(gs_subject *s) {
    const cJSON *version = gs_described_item(s, "version"), *group = gs_described_item(s, "group_size");
    const char *text = gs_described(s, "version");
    if (version) gs_report_that(&s->report, GS_CHECK_DESCRIPTION_GLOBALS, strcmp(text, "1.0.0") == 0, "version", "'%.40s', 1.0.0 expected", text);
    bool whole = !group || gs_json_is_int(group, &s->group_size);
    bool mindie = s->target & GS_FOR_MINDIE; /* which knows no groups of 32 (AB 5.1) */
    int64_t g = s->group_size;
    bool usual = g == 0 || g == 64 || g == 128 || g == 256 || (g == 32 && !mindie);
    gs_report_that(&s->report, GS_CHECK_DESCRIPTION_GLOBALS, whole && usual, "group_size", "%lld, expected 0, %s64, 128 or 256",
                   (long long)g, mindie ? "" : "32, ");
    if (g < 0 || g > 256) s->group_size = 0;
    check_object(s, "metadata");
    check_object(s, "optional");
}

static void check_cache_keys(gs_subject *s) {
    static const char *const keys[] = {"kv_cache_type", "kv_quant_type"};
    bool stored = false;
    for (size_t i = 0; i < s->tensors && !stored; i++) stored = strstr(s->tensor[i].t->name, ".kv_cache_scale") != NULL;
    for (size_t k = 0; k < GS_COUNTOF(keys); k++) {
        const char *value = gs_described(s, keys[k]);
        gs_report_that(&s->report, GS_CHECK_DESCRIPTION_KV, stored ? strcmp(value, "C8") == 0 : !gs_described_item(s, keys[k]), keys[k],
                  stored ? "'%.40s' with cache scales stored, C8 expected" : "'%.40s' without cache scales", value);
    }
}

/* The look-up of embeddings, head and norms. */
static void check_float_entries(gs_subject *s) {
    for (int i = 0; i < s->modules; i++) {
        const gs_module *m = &s->module[i];
        char key[400];
        bool head = m->op == GS_OP_LINEAR && m->segment == s->segments - 1;
        if (m->op == GS_OP_LINEAR && !head) continue;
        snprintf(key, sizeof key, "%s.weight", m->name);
        const char *value = gs_described(s, key);
        bool fine = head && !m->tied ? value[0] != 0 : strcmp(value, "FLOAT") == 0;
        gs_report_that(&s->report, GS_CHECK_DESCRIPTION_FLOAT, fine, key, "it is described as '%.40s', FLOAT expected", value);
    }
}

void gs_verify_described(gs_subject *s) {
    const cJSON *entry;
    if (!s->description) return;
    cJSON_ArrayForEach(entry, s->description) check_entry(s, entry);
    check_globals(s);
    check_cache_keys(s);
    check_float_entries(s);
}
