/* config.json against the source's: what the network computes must be the same. */
#include <verify/subject.h>

#include <math.h>
#include <string.h>

/* What writers of bundles set, and what no model computes with. */
static bool is_free(const char *key) {
    static const char *const keys[] = {"torch_dtype", "dtype", "quantize", "quantization", "quantization_config", "transformers_version",
                                       "_name_or_path", "use_cache", "_attn_implementation_autoset", "auto_map", "architectures"};
    for (size_t i = 0; i < GS_COUNTOF(keys); i++)
        if (strcmp(key, keys[i]) == 0) return true;
    return false;
}

/* GGUF keeps numbers as f32. */
static bool same_number(const cJSON *a, const cJSON *b, double tolerance) {
    return a && cJSON_IsNumber(a) && cJSON_IsNumber(b) &&
           fabs(a->valuedouble - b->valuedouble) <= tolerance * fabs(b->valuedouble);
}

/* A head that is stored beside the embedding it equals is compared like any other. */
static bool is_untied(const char *key, const cJSON *ours, const cJSON *source) {
    return strcmp(key, "tie_word_embeddings") == 0 && cJSON_IsFalse(ours) && cJSON_IsTrue(source);
}

gs_status gs_verify_settings_against(gs_subject *s, const cJSON *source, gs_error *err) {
    const cJSON *item;
    gs_strbuf got = {0}, want = {0};
    gs_status status = GS_OK;
    bool gguf = s->kind == GS_KIND_GGUF;
    cJSON_ArrayForEach(item, source) {
        const cJSON *ours = gs_json_get(s->config.json, item->string);
        bool absent = !ours && (gguf || cJSON_IsNull(item)); /* null says no more than no key */
        if (is_free(item->string) || absent) continue;
        bool same = ours && (cJSON_Compare(ours, item, true) || same_number(ours, item, gguf ? 1e-6 : 0) ||
                             is_untied(item->string, ours, item));
        gs_strbuf_clear(&got);
        gs_strbuf_clear(&want);
        if (!same && ours) status = gs_json_print(ours, 0, &got, err);
        if (!same && status == GS_OK) status = gs_json_print(item, 0, &want, err);
        if (status != GS_OK) break;
        gs_report_that(&s->report, GS_CHECK_AGAINST_CONFIG, same, item->string, "%.100s, the source's is %.100s", ours ? got.data : "it is missing",
                       want.data ? want.data : "");
    }
    gs_strbuf_clear(&got);
    gs_strbuf_clear(&want);
    return status;
}
