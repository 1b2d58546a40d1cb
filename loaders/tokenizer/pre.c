#include <loaders/tokenizer/pre.h>

#include <stdio.h>
#include <string.h>

#include <base/strbuf.h>

/* JSON inside C: two backslashes in the file's text are four here. */
#define SPLIT(regex)                                                                     \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex "\"},"                         \
    "\"behavior\":\"Isolated\",\"invert\":false}"
#define BYTE_LEVEL(regex)                                                                \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"          \
    "\"use_regex\":" regex "}"
#define WORDS BYTE_LEVEL("true")
#define BYTES BYTE_LEVEL("false")
#define SEQUENCE(list) "{\"type\":\"Sequence\",\"pretokenizers\":[" list "]}"
#define DIGITS "{\"type\":\"Digits\",\"individual_digits\":true}"
#define NFC "{\"type\":\"NFC\"}"

#define GPT2                                                                             \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\\\p{L}+| ?\\\\p{N}+| ?[^\\\\s\\\\p{L}\\\\p{N}]+"        \
    "|\\\\s+(?!\\\\S)|\\\\s+"
#define SUFFIXES "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
/* cl100k and its children: they differ in how many digits make a word */
#define CL100K(digits)                                                                   \
    SUFFIXES "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}" digits                  \
    "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
/* letters join their combining marks */
#define QWEN35                                                                           \
    SUFFIXES "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{L}\\\\p{M}]+|\\\\p{N}"               \
    "| ?[^\\\\s\\\\p{L}\\\\p{M}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
/* o200k: a word changes from capitals to small letters once */
#define UPPER "[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]"
#define LOWER "[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]"
#define O200K(suffixes, digits)                                                          \
    "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?" UPPER "*" LOWER "+" suffixes                        \
    "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?" UPPER "+" LOWER "*" suffixes                       \
    "|\\\\p{N}" digits "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n/]*|\\\\s*[\\\\r\\\\n]+"  \
    "|\\\\s+(?!\\\\S)|\\\\s+"

/* DeepSeek LLM spells out the cased letters of the Latin, Greek, Cyrillic, Armenian,
 * Georgian, Cherokee, Glagolitic, Coptic and Deseret scripts and their neighbours. */
#define CASED_LETTERS                                                                    \
    "A-Za-z\\u00b5\\u00c0-\\u00d6\\u00d8-\\u00f6\\u00f8-\\u01ba\\u01bc-\\u01bf"          \
    "\\u01c4-\\u0293\\u0295-\\u02af\\u0370-\\u0373\\u0376\\u0377\\u037b-\\u037d\\u037f"  \
    "\\u0386\\u0388-\\u038a\\u038c\\u038e-\\u03a1\\u03a3-\\u03f5\\u03f7-\\u0481"         \
    "\\u048a-\\u052f\\u0531-\\u0556\\u10a0-\\u10c5\\u13a0-\\u13f5\\u13f8-\\u13fd"        \
    "\\u1c90-\\u1cba\\u1cbd-\\u1cbf\\u1d00-\\u1d2b\\u1d6b-\\u1d77\\u1d79-\\u1d9a"        \
    "\\u1e00-\\u1f15\\u1f18-\\u1f1d\\u1f20-\\u1f45\\u1f48-\\u1f4d\\u1f50-\\u1f57"        \
    "\\u1f59\\u1f5b\\u1f5d\\u1f5f-\\u1f7d\\u1f80-\\u1fb4\\u1fb6-\\u1fbc\\u1fbe"          \
    "\\u1fc2-\\u1fc4\\u1fc6-\\u1fcc\\u1fd0-\\u1fd3\\u1fd6-\\u1fdb\\u1fe0-\\u1fec"        \
    "\\u1ff2-\\u1ff4\\u1ff6-\\u1ffc\\u2102\\u2107\\u210a-\\u2113\\u2115\\u2119-\\u211d"  \
    "\\u2124\\u2126\\u2128\\u212a-\\u212d\\u212f-\\u2134\\u2139\\u213c-\\u213f"          \
    "\\u2145-\\u2149\\u214e\\u2183\\u2184\\u2c00-\\u2c7b\\u2c7e-\\u2ce4\\u2ceb-\\u2cee"  \
    "\\u2cf2\\u2cf3\\ua640-\\ua66d\\ua680-\\ua69b\\ua722-\\ua76f\\ua771-\\ua787"         \
    "\\ua78b-\\ua78e\\uab70-\\uabbf\\ufb00-\\ufb06\\ufb13-\\ufb17\\uff21-\\uff3a"        \
    "\\uff41-\\uff5a\\ud801\\udc00-\\ud801\\udc4f\\ud801\\udcb0-\\ud801\\udcd3"          \
    "\\ud801\\udcd8-\\ud801\\udcfb\\ud803\\udc80-\\ud803\\udcb2\\ud803\\udcc0-"          \
    "\\ud803\\udcf2\\ud806\\udca0-\\ud806\\udcdf\\ud83a\\udd00-\\ud83a\\udd43"
#define EASTERN "[\\u4e00-\\u9fa5\\u0800-\\u4e00\\uac00-\\ud7ff]+"
#define SIGNS "!-/:-~\\uff01-\\uff0f\\uff1a-\\uff5e\\u2018-\\u201f\\u3000-\\u3002"
#define DEEPSEEK3_WORDS                                                                  \
    "[!\\\"#$%&'()*+,\\\\-./:;<=>?@\\\\[\\\\\\\\\\\\]^_`{|}~][A-Za-z]+"                  \
    "|[^\\r\\n\\\\p{L}\\\\p{P}\\\\p{S}]?[\\\\p{L}\\\\p{M}]+"                             \
    "| ?[\\\\p{P}\\\\p{S}]+[\\r\\n]*|\\\\s*[\\r\\n]+|\\\\s+(?!\\\\S)|\\\\s+"

static const gs_pre table[] = {
    {"gpt-2 phi-2", WORDS, "null", false, false},
    {"olmo", WORDS, NFC, false, false},
    {"smollm starcoder refact codeshell", SEQUENCE(DIGITS "," WORDS), "null", false, false},
    {"command-r", SEQUENCE(DIGITS "," WORDS), NFC, false, false},
    {"llama-bpe llama3 llama-v3", SEQUENCE(SPLIT(CL100K("{1,3}")) "," BYTES), "null", true, true},
    {"dbrx", SEQUENCE(SPLIT(CL100K("{1,3}")) "," BYTES), "null", false, false},
    {"qwen2 deepseek-r1-qwen megrez", SEQUENCE(SPLIT(CL100K("")) "," BYTES), NFC, false, false},
    {"qwen35", SEQUENCE(SPLIT(QWEN35) "," BYTES), NFC, false, false},
    {"gpt-4o llama4", SEQUENCE(SPLIT(O200K(SUFFIXES "?", "{1,3}")) "," BYTES), "null", false, false},
    {"tekken", SEQUENCE(SPLIT(O200K("", "")) "," BYTES), "null", true, true},
    {"deepseek-llm",
     SEQUENCE(SPLIT("[\\r\\n]") "," SPLIT("\\\\s?[" CASED_LETTERS "]+") ","
              SPLIT("\\\\s?[" SIGNS "]+") "," SPLIT("\\\\s+$") "," SPLIT(EASTERN) ","
              DIGITS "," BYTES),
     "null", false, false},
    {"deepseek-coder",
     SEQUENCE(SPLIT("[\\r\\n]") "," SPLIT("\\\\s?\\\\p{L}+") "," SPLIT("\\\\s?\\\\p{P}+") ","
              SPLIT(EASTERN) "," DIGITS "," BYTES),
     "null", false, false},
    {"deepseek-v3",
     SEQUENCE(SPLIT("\\\\p{N}{1,3}") ","
              SPLIT("[\\u4e00-\\u9fa5\\u3040-\\u309f\\u30a0-\\u30ff]+") ","
              SPLIT(DEEPSEEK3_WORDS) "," BYTES),
     "null", false, false},
    /* what llama.cpp does with files that name nothing */
    {"default",
     SEQUENCE(SPLIT("[\\\\p{P}\\\\$\\\\+<=>\\\\^~\\\\|]+") "," SPLIT(GPT2) ","
              SPLIT("\\\\p{N}+") "," SPLIT("[0-9][0-9][0-9]") "," BYTES),
     "null", false, false},
};

static bool has_name(const char *names, gs_gguf_str name) {
    while (name.len && *names) {
        size_t n = strcspn(names, " ");
        if (n == name.len && memcmp(names, name.data, n) == 0) return true;
        names += n + (names[n] == ' ');
    }
    return false;
}

gs_status gs_pre_find(const gs_gguf *g, const gs_pre **out, gs_error *err) {
    gs_gguf_str name = {"default", 7};
    gs_gguf_string(g, "tokenizer.ggml.pre", &name);
    for (size_t i = 0; i < GS_COUNTOF(table); i++) {
        if (!has_name(table[i].names, name)) continue;
        *out = &table[i];
        return GS_OK;
    }
    char known[512] = "";
    for (size_t i = 0, used = 0; i < GS_COUNTOF(table) && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, " %s", table[i].names);
    int shown = (int)(name.len < 60 ? name.len : 60);
    GS_FAIL(err, GS_E_UNSUPPORTED, "tokenizer.ggml.pre '%.*s'", shown, name.data);
    gs_error_hint(err, "known:%s; or put the model's own tokenizer.json beside it", known);
    return GS_E_UNSUPPORTED;
}

/* ---- the other way: from tokenizer.json to a name */

enum { MAX_STAGES = 32 };

typedef struct stages {
    const cJSON *stage[MAX_STAGES];
    int count;
    bool too_many;
} stages;

/* A sequence of sequences is the same cuts in the same order. */
static void flatten(stages *s, const cJSON *item) {
    const cJSON *type = gs_json_get(item, "type"), *list, *each;
    if (!cJSON_IsObject(item)) return;
    list = cJSON_IsString(type) && !strcmp(type->valuestring, "Sequence") ? gs_json_get(item, "pretokenizers") : NULL;
    if (list) {
        cJSON_ArrayForEach(each, list) flatten(s, each);
    } else if (s->count < MAX_STAGES) {
        s->stage[s->count++] = item;
    } else {
        s->too_many = true;
    }
}

static bool flag(const cJSON *item, const char *key, bool absent) {
    const cJSON *value = gs_json_get(item, key);
    return cJSON_IsBool(value) ? cJSON_IsTrue(value) : absent;
}

/* The members that change what is cut; others (trim_offsets) only say where it was. */
static bool same_stage(const cJSON *a, const cJSON *b) {
    static const char *const values[] = {"type", "pattern", "behavior"};
    static const struct {
        const char *key;
        bool absent;
    } flags[] = {{"add_prefix_space", true}, {"use_regex", true}, {"individual_digits", false}, {"invert", false}};
    for (size_t i = 0; i < GS_COUNTOF(values); i++) {
        const cJSON *x = gs_json_get(a, values[i]), *y = gs_json_get(b, values[i]);
        if ((x || y) && !cJSON_Compare(x, y, true)) return false;
    }
    for (size_t i = 0; i < GS_COUNTOF(flags); i++)
        if (flag(a, flags[i].key, flags[i].absent) != flag(b, flags[i].key, flags[i].absent)) return false;
    return true;
}

static bool same_chain(const stages *a, const cJSON *pre_tokenizer) {
    stages b = {.count = 0};
    flatten(&b, pre_tokenizer);
    bool same = a->count == b.count && !a->too_many && !b.too_many;
    for (int i = 0; i < a->count && same; i++) same = same_stage(a->stage[i], b.stage[i]);
    return same;
}

static bool same_normalizer(const cJSON *row, const cJSON *normalizer) {
    if (!normalizer || cJSON_IsNull(normalizer)) return cJSON_IsNull(row);
    return cJSON_Compare(row, normalizer, true);
}

/* *same: the row says the same. Its texts are JSON of our own, so parsing fails for want of memory only. */
static gs_status compare(const gs_pre *row, const stages *chain, const cJSON *normalizer, bool *same, gs_error *err) {
    cJSON *pre = NULL, *norm = NULL;
    GS_TRY(gs_json_parse(row->pre_tokenizer, strlen(row->pre_tokenizer), &pre, err));
    gs_status status = gs_json_parse(row->normalizer, strlen(row->normalizer), &norm, err);
    *same = status == GS_OK && same_chain(chain, pre) && same_normalizer(norm, normalizer);
    cJSON_Delete(pre);
    cJSON_Delete(norm);
    return status;
}

gs_status gs_pre_name(const cJSON *pre_tokenizer, const cJSON *normalizer, bool ignore_merges, gs_gguf_str *out,
                      gs_error *err) {
    stages chain = {.count = 0};
    *out = (gs_gguf_str){"", 0};
    flatten(&chain, pre_tokenizer);
    for (size_t i = 0; i < GS_COUNTOF(table); i++) {
        bool same;
        if (table[i].ignore_merges != ignore_merges) continue;
        GS_TRY(compare(&table[i], &chain, normalizer, &same, err));
        if (!same) continue;
        *out = (gs_gguf_str){table[i].names, strcspn(table[i].names, " ")};
        break;
    }
    return GS_OK;
}
