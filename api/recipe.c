#include <api/recipe.h>

#include <base/json.h>
#include <base/mem.h>
#include <base/nearest.h>
#include <base/numbers.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_RECIPE = 1 << 20 };

#define MEMBER(member) (((gs_quantize_options *)0)->member)
/* A row whose kind does not fit its member does not compile. */
#define TYPE_STRING const char *
#define TYPE_PATH const char *
#define TYPE_WORD const char *
#define TYPE_INT int64_t
#define TYPE_BYTES int64_t
#define TYPE_DOUBLE double
#define TYPE_BOOL bool
#define TYPE_LIST const char *const *
#define OFFSET(kind, member) _Generic(MEMBER(member), TYPE_##kind: offsetof(gs_quantize_options, member))
#define ROW(kind, member, value, help) {#member, GS_OPTION_##kind, OFFSET(kind, member), 0, value, help},
#define LIST(member, value, help)                                                                                      \
    {#member, GS_OPTION_LIST, OFFSET(LIST, member), offsetof(gs_quantize_options, member##_count), value, help},

#define NESTED(kind, member, value, help)                                                                              \
    {#member, GS_OPTION_##kind, OFFSET(kind, calibrate.member), 0, value, help},

static const gs_option_row rows[] = {
    ROW(STRING, scheme, "NAME", "w8a16 (default), w8a8, w8a8-dynamic, w8a8-mix (both), float (nothing)")
    ROW(STRING, format, "NAME", "ascend (default), mindspore, mindspore-ckpt, compressed-tensors, gptq or gguf")
    ROW(STRING, target, "NAME", "both (default), vllm-ascend, mindie, 310p: which mixtures are allowed")
    ROW(STRING, dtype, "T", "of what stays float: auto (default), f16, bf16, f32")
    ROW(STRING, scale_convention, "NAME", "ascend max|w|/127 (default), goldenstick 2max|w|/255")
    LIST(blacklist, "WORDS", "linears whose name contains one stay float (default lm_head)")
    ROW(WORD, alpha, "A", "smoothing: none, auto (searched), or a number (default auto with data)")
    ROW(STRING, observer, "NAME", "static activations: minmax (default), percentile, mse")
    ROW(DOUBLE, percentile, "P", "of --observer percentile (default 99.99)")
    ROW(BOOL, act_symmetric, NULL, "static activations without an offset")
    ROW(BOOL, refine, NULL, "weight scales by output error, from calibration data")
    ROW(INT, group_size, "N", "w8a16: columns that share a weight scale (default: the format's own)")
    ROW(STRING, compat, "NAME", "imitate msmodelslim-v1, msmodelslim-v0 or goldenstick bit by bit (default none)")
    LIST(fallback, "WORDS", "auto (default for w8a8), none, or names: what one static scale can't serve")
    ROW(DOUBLE, fallback_threshold, "E", "largest relative output error that stays (default 0.02)")
    ROW(DOUBLE, fallback_share, "S", "largest share of the weights that auto may treat otherwise (default 0.05)")
    ROW(BOOL, sequential, NULL, "calibrate on what the quantized layers before give")
    ROW(PATH, stats, "STATS", "statistics of gstick calibrate, instead of --calib")
    NESTED(PATH, calib, "FILE", "calibration set: text, .jsonl or .i32 token ids")
    NESTED(PATH, tokenizer, "FILE|DIR", "for --calib instead of the model's own")
    NESTED(STRING, calib_field, "NAME", "text member of a .jsonl line (default: the usual ones)")
    NESTED(INT, samples, "N", "calibration sequences (default 128)")
    NESTED(INT, seq, "N", "tokens a sequence (default 512, at most the model's positions)")
    NESTED(INT, seed, "N", "0: the first sequences of the file (default), else drawn at random")
    NESTED(INT, skip_tokens, "N", "tokens at each start that are not counted (default 0)")
    NESTED(INT, sample_rows, "N", "rows kept of each linear's input for searches (default 512)")
    NESTED(STRING, calib_dtype, "T", "products while calibrating: auto (default), f32, bf16")
    NESTED(STRING, store, "T", "activations between segments: f32 (default), bf16")
    NESTED(STRING, kv_cache, "T", "int8: scales of a key-value cache in int8 (default none)")
    NESTED(PATH, scratch_dir, "DIR", "for activations beyond --memory (default $TMPDIR or /tmp)")
    ROW(BYTES, max_shard_size, "SIZE", "tensor bytes a file (default 4G)")
    ROW(BOOL, dry_run, NULL, "quantize and report, write nothing")
};
_Static_assert(GS_COUNTOF(rows) <= GS_OPTION_ROWS_MAX, "raise GS_OPTION_ROWS_MAX");

struct gs_recipe {
    cJSON *json;                         /* owns the strings */
    const char **list[GS_COUNTOF(rows)]; /* of LIST rows, else NULL */
    char word[GS_COUNTOF(rows)][32];     /* of WORD rows that are numbers */
};

const gs_option_row *gs_quantize_option_rows(size_t *count) {
    *count = GS_COUNTOF(rows);
    return rows;
}

bool gs_option_is_calibration(const gs_option_row *row) {
    size_t begin = offsetof(gs_quantize_options, calibrate);
    return row->offset >= begin && row->offset < begin + sizeof(gs_calibrate_options);
}

void *gs_option_member(const gs_option_row *row, gs_quantize_options *o) { return (char *)o + row->offset; }

static const gs_option_row *find(const char *name) {
    for (size_t i = 0; i < GS_COUNTOF(rows); i++)
        if (strcmp(rows[i].name, name) == 0) return &rows[i];
    return NULL;
}

static gs_status unknown(const char *key, gs_error *err) {
    const char *known[GS_COUNTOF(rows)];
    for (size_t i = 0; i < GS_COUNTOF(rows); i++) known[i] = rows[i].name;
    gs_status status = GS_FAIL(err, GS_E_INVALID, "unknown key \"%.100s\"", key);
    gs_error_hint(err, "did you mean \"%s\"?", gs_nearest(key, known, GS_COUNTOF(known)));
    return status;
}

static gs_status wrong(const gs_option_row *row, gs_error *err) {
    static const char *const wanted[] = {
        [GS_OPTION_STRING] = "a string",
        [GS_OPTION_PATH] = "a string",
        [GS_OPTION_WORD] = "a string or a number",
        [GS_OPTION_INT] = "a whole number, zero or more",
        [GS_OPTION_BYTES] = "a size: a number of bytes, or a string like \"4G\"",
        [GS_OPTION_DOUBLE] = "a number",
        [GS_OPTION_BOOL] = "true or false",
        [GS_OPTION_LIST] = "a list of strings",
    };
    return GS_FAIL(err, GS_E_INVALID, "\"%s\" wants %s", row->name, wanted[row->kind]);
}

static gs_status set_list(gs_recipe *r, const gs_option_row *row, const cJSON *value, gs_quantize_options *o,
                          gs_error *err) {
    const cJSON *item;
    size_t count = 0, n = (size_t)cJSON_GetArraySize(value);
    const char **list = gs_calloc(n + 1, sizeof *list); /* an empty list is not NULL, which is "not given" */
    if (!list) return gs_error_nomem(err, (n + 1) * sizeof *list);
    r->list[row - rows] = list;
    cJSON_ArrayForEach(item, value) {
        if (!cJSON_IsString(item)) return wrong(row, err);
        list[count++] = item->valuestring;
    }
    *(const char *const **)gs_option_member(row, o) = list;
    *(size_t *)(void *)((char *)o + row->count_offset) = count;
    return GS_OK;
}

static gs_status set(gs_recipe *r, const gs_option_row *row, const cJSON *value, gs_quantize_options *o,
                     gs_error *err) {
    void *member = gs_option_member(row, o);
    int64_t n = -1;
    switch (row->kind) {
    case GS_OPTION_STRING:
    case GS_OPTION_PATH:
        if (!cJSON_IsString(value)) return wrong(row, err);
        *(const char **)member = value->valuestring;
        return GS_OK;
    case GS_OPTION_WORD:
        if (!cJSON_IsString(value) && !cJSON_IsNumber(value)) return wrong(row, err);
        snprintf(r->word[row - rows], sizeof r->word[0], "%.9g", value->valuedouble);
        *(const char **)member = cJSON_IsString(value) ? value->valuestring : r->word[row - rows];
        return GS_OK;
    case GS_OPTION_BYTES:
        if (cJSON_IsString(value) && gs_number_bytes(value->valuestring, member)) return GS_OK;
        /* fall through */
    case GS_OPTION_INT:
        if (!gs_json_is_int(value, &n) || n < 0) return wrong(row, err);
        *(int64_t *)member = n;
        return GS_OK;
    case GS_OPTION_DOUBLE:
        if (!cJSON_IsNumber(value)) return wrong(row, err);
        *(double *)member = value->valuedouble;
        return GS_OK;
    case GS_OPTION_BOOL:
        if (!cJSON_IsBool(value)) return wrong(row, err);
        *(bool *)member = cJSON_IsTrue(value);
        return GS_OK;
    case GS_OPTION_LIST:
        if (!cJSON_IsArray(value)) return wrong(row, err);
        return set_list(r, row, value, o, err);
    }
    return GS_OK;
}

static gs_status set_all(gs_recipe *r, gs_quantize_options *o, gs_error *err) {
    const cJSON *item;
    if (!cJSON_IsObject(r->json)) {
        gs_status status = GS_FAIL(err, GS_E_INVALID, "a recipe is a JSON object");
        gs_error_hint(err, "such as {\"scheme\": \"w8a16\"}");
        return status;
    }
    cJSON_ArrayForEach(item, r->json) {
        const gs_option_row *row = find(item->string);
        if (!row) return unknown(item->string, err);
        if (!cJSON_IsNull(item)) GS_TRY(set(r, row, item, o, err));
    }
    return GS_OK;
}

/* Takes json. */
static gs_status from_tree(cJSON *json, gs_quantize_options *o, gs_recipe **out, gs_error *err) {
    gs_quantize_options made = *o;
    gs_recipe *r = gs_calloc(1, sizeof *r);
    *out = NULL;
    if (!r) {
        cJSON_Delete(json);
        return gs_error_nomem(err, sizeof *r);
    }
    r->json = json;
    gs_status status = set_all(r, &made, err);
    if (status != GS_OK) {
        gs_recipe_destroy(r);
        return status;
    }
    *o = made;
    *out = r;
    return GS_OK;
}

gs_status gs_recipe_from_json(const char *text, size_t len, gs_quantize_options *o, gs_recipe **out,
                              gs_error *err) {
    cJSON *json;
    *out = NULL;
    GS_TRY(gs_json_parse(text, len, &json, err));
    return from_tree(json, o, out, err);
}

gs_status gs_recipe_read(const char *path, gs_quantize_options *o, gs_recipe **out, gs_error *err) {
    cJSON *json;
    *out = NULL;
    GS_TRY(gs_json_load(path, MAX_RECIPE, &json, err));
    gs_status status = from_tree(json, o, out, err);
    if (status != GS_OK) gs_error_at(err, "%s", path);
    return status;
}

void gs_recipe_destroy(gs_recipe *r) {
    if (!r) return;
    for (size_t i = 0; i < GS_COUNTOF(rows); i++) gs_free(r->list[i]);
    cJSON_Delete(r->json);
    gs_free(r);
}

static void print_list(const char *const *list, size_t count, gs_strbuf *out) {
    gs_strbuf_putc(out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i) gs_strbuf_puts(out, ", ");
        gs_strbuf_json(out, list[i], strlen(list[i]));
    }
    gs_strbuf_putc(out, ']');
}

/* The fewest digits that read back equal. */
static void print_double(double value, gs_strbuf *out) {
    char text[40];
    double back = 0;
    for (int digits = 15; digits <= 17 && back != value; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        gs_number_double(text, &back);
    }
    gs_strbuf_puts(out, text);
}

static bool is_default(const gs_option_row *row, const void *member) {
    switch (row->kind) {
    case GS_OPTION_STRING:
    case GS_OPTION_WORD:
        return !*(const char *const *)member;
    case GS_OPTION_PATH:
        return true;
    case GS_OPTION_INT:
    case GS_OPTION_BYTES:
        return *(const int64_t *)member == 0;
    case GS_OPTION_DOUBLE:
        return *(const double *)member == 0 || !isfinite(*(const double *)member);
    case GS_OPTION_BOOL:
        return !*(const bool *)member;
    case GS_OPTION_LIST:
        return !*(const char *const *const *)member;
    }
    return true;
}

static void print_value(const gs_option_row *row, const gs_quantize_options *o, gs_strbuf *out) {
    const void *member = (const char *)o + row->offset;
    switch (row->kind) {
    case GS_OPTION_STRING:
    case GS_OPTION_WORD:
    case GS_OPTION_PATH:
        gs_strbuf_json(out, *(const char *const *)member, strlen(*(const char *const *)member));
        break;
    case GS_OPTION_INT:
    case GS_OPTION_BYTES:
        gs_strbuf_printf(out, "%lld", (long long)*(const int64_t *)member);
        break;
    case GS_OPTION_DOUBLE:
        print_double(*(const double *)member, out);
        break;
    case GS_OPTION_BOOL:
        gs_strbuf_puts(out, "true");
        break;
    case GS_OPTION_LIST:
        print_list(*(const char *const *const *)member, *(const size_t *)(const void *)((const char *)o + row->count_offset),
                   out);
        break;
    }
}

void gs_recipe_print(const gs_quantize_options *o, int indent, gs_strbuf *out) {
    const char *before = "{";
    for (size_t i = 0; i < GS_COUNTOF(rows); i++) {
        if (is_default(&rows[i], (const char *)o + rows[i].offset)) continue;
        gs_strbuf_printf(out, "%s\n%*s  \"%s\": ", before, indent, "", rows[i].name);
        print_value(&rows[i], o, out);
        before = ",";
    }
    if (before[0] == '{')
        gs_strbuf_puts(out, "{}");
    else
        gs_strbuf_printf(out, "\n%*s}", indent, "");
}
