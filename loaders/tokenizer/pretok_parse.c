#include <loaders/tokenizer/pretok.h>

#include <string.h>

#include <base/mem.h>
#include <loaders/tokenizer/utf8.h>

/* the expression inside ByteLevel (GPT-2's encoder.py) */
static const char gpt2_words[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static gs_status parse_behavior(const cJSON *json, gs_split_behavior *out, gs_error *err) {
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const char *name = "Isolated";
    GS_TRY(gs_json_string(json, "behavior", &name, err));
    for (size_t i = 0; i < GS_COUNTOF(names); i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *out = (gs_split_behavior)i;
        return GS_OK;
    }
    return GS_FAIL(err, GS_E_UNSUPPORTED, "split behavior '%.60s'", name);
}

gs_status gs_pattern_parse(const cJSON *pattern, gs_tokregex **re, char **literal,
                           gs_error *err) {
    const char *regex = NULL, *string = NULL;
    if (!cJSON_IsObject(pattern)) return GS_FAIL(err, GS_E_FORMAT, "'pattern' is not an object");
    GS_TRY(gs_json_string(pattern, "Regex", &regex, err));
    GS_TRY(gs_json_string(pattern, "String", &string, err));
    if (!regex == !string)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'pattern' is neither a Regex nor a String");
    if (regex) return gs_tokregex_compile(regex, strlen(regex), re, err);
    if (!*string) return GS_FAIL(err, GS_E_UNSUPPORTED, "empty 'pattern'");
    *literal = gs_strdup(string);
    return *literal ? GS_OK : gs_error_nomem(err, strlen(string));
}

static gs_status parse_split(gs_pretok_stage *st, const cJSON *json, gs_error *err) {
    GS_TRY(parse_behavior(json, &st->behavior, err));
    GS_TRY(gs_json_bool(json, "invert", &st->invert, err));
    GS_TRY(gs_pattern_parse(gs_json_get(json, "pattern"), &st->re, &st->literal, err));
    if (st->literal) st->literal_len = strlen(st->literal);
    return GS_OK;
}

static gs_status parse_digits(gs_pretok_stage *st, const cJSON *json, gs_error *err) {
    bool individual = false;
    GS_TRY(gs_json_bool(json, "individual_digits", &individual, err));
    st->cls = gs_char_is_numeric;
    st->behavior = individual ? GS_SPLIT_ISOLATED : GS_SPLIT_CONTIGUOUS;
    return GS_OK;
}

static gs_status parse_punctuation(gs_pretok_stage *st, const cJSON *json, gs_error *err) {
    st->cls = gs_char_is_punctuation;
    return parse_behavior(json, &st->behavior, err);
}

static gs_status parse_whitespace_split(gs_pretok_stage *st, const cJSON *json, gs_error *err) {
    (void)json;
    (void)err;
    st->cls = gs_char_is_space;
    st->behavior = GS_SPLIT_REMOVED;
    return GS_OK;
}

static gs_status parse_byte_level(gs_pretok_stage *st, const cJSON *json, gs_error *err) {
    /* trim_offsets concerns only offsets, which are not kept here */
    bool prefix = true, regex = true;
    GS_TRY(gs_json_bool(json, "add_prefix_space", &prefix, err));
    GS_TRY(gs_json_bool(json, "use_regex", &regex, err));
    if (prefix) {
        st->prefix = GS_PREFIX_ALWAYS;
        st->space = gs_strdup(" ");
        if (!st->space) return gs_error_nomem(err, 2);
    }
    return regex ? gs_tokregex_compile(gpt2_words, strlen(gpt2_words), &st->re, err) : GS_OK;
}

static gs_status parse_metaspace(gs_pretok_stage *st, const cJSON *json, gs_error *err) {
    const char *replacement = "\xe2\x96\x81", *scheme = NULL;
    bool prefix = true, split = true;
    GS_TRY(gs_json_string(json, "replacement", &replacement, err));
    GS_TRY(gs_json_bool(json, "add_prefix_space", &prefix, err));
    GS_TRY(gs_json_bool(json, "split", &split, err));
    GS_TRY(gs_json_string(json, "prepend_scheme", &scheme, err));
    if (!scheme) scheme = prefix ? "always" : "never"; /* files of tokenizers < 0.15 */
    static const char *const schemes[] = {"never", "first", "always"};
    size_t k = 0;
    while (k < GS_COUNTOF(schemes) && strcmp(scheme, schemes[k]) != 0) k++;
    if (k == GS_COUNTOF(schemes))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "prepend_scheme '%.60s'", scheme);
    if (!*replacement || replacement[gs_utf8_len(*replacement)])
        return GS_FAIL(err, GS_E_FORMAT, "Metaspace: 'replacement' is not one character");
    st->prefix = (gs_pretok_prefix)k;
    st->replace_spaces = true;
    st->space = gs_strdup(replacement);
    if (!st->space) return gs_error_nomem(err, strlen(replacement));
    if (!split) return GS_OK;
    st->behavior = GS_SPLIT_MERGED_NEXT;
    st->literal = gs_strdup(replacement);
    st->literal_len = strlen(replacement);
    return st->literal ? GS_OK : gs_error_nomem(err, st->literal_len);
}

static const struct {
    const char *type;
    gs_status (*parse)(gs_pretok_stage *st, const cJSON *json, gs_error *err);
} kinds[] = {
    {"ByteLevel", parse_byte_level},   {"Split", parse_split},
    {"Digits", parse_digits},          {"Metaspace", parse_metaspace},
    {"Punctuation", parse_punctuation}, {"WhitespaceSplit", parse_whitespace_split},
};

gs_status gs_pretok_parse(gs_pretok *p, const cJSON *json, gs_error *err) {
    if (!json || cJSON_IsNull(json)) return GS_OK;
    const char *type = "";
    GS_TRY(gs_json_string(json, "type", &type, err));
    if (strcmp(type, "Sequence") == 0) {
        const cJSON *list = gs_json_get(json, "pretokenizers"), *each;
        if (!cJSON_IsArray(list))
            return GS_FAIL(err, GS_E_FORMAT, "pre_tokenizer Sequence without 'pretokenizers'");
        /* as deep as the JSON, which is bounded */
        cJSON_ArrayForEach(each, list) GS_TRY(gs_pretok_parse(p, each, err));
        return GS_OK;
    }
    for (size_t i = 0; i < GS_COUNTOF(kinds); i++) {
        if (strcmp(type, kinds[i].type) != 0) continue;
        if (p->byte_level)
            return GS_FAIL(err, GS_E_UNSUPPORTED, "pre_tokenizer '%s' behind ByteLevel", type);
        if (p->count == GS_PRETOK_MAX_STAGES)
            return GS_FAIL(err, GS_E_UNSUPPORTED, "more than %d pre_tokenizers",
                           GS_PRETOK_MAX_STAGES);
        p->byte_level = kinds[i].parse == parse_byte_level;
        return kinds[i].parse(&p->stage[p->count++], json, err);
    }
    return GS_FAIL(err, GS_E_UNSUPPORTED, "pre_tokenizer type '%.60s'", type);
}
