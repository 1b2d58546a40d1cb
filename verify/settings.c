/* config.json: what the server computes in, and what it must not find there. */
#include <verify/subject.h>

#include <base/mem.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static void check_quantization_key(gs_subject *s) {
    const cJSON *json = s->config.json, *text = gs_json_get(json, "text_config");
    gs_report_that(&s->report, GS_CHECK_CONFIG_QUANTIZATION, !gs_json_get(json, "quantization_config"), "config.json",
              "quantization_config is still there");
    gs_report_that(&s->report, GS_CHECK_CONFIG_QUANTIZATION, !gs_json_get(text, "quantization_config"), "config.json",
              "text_config.quantization_config is still there");
}

static void check_dtype_keys(gs_subject *s) {
    const cJSON *torch = gs_json_get(s->config.json, "torch_dtype"), *plain = gs_json_get(s->config.json, "dtype");
    if (!gs_report_that(&s->report, GS_CHECK_CONFIG_DTYPE, cJSON_IsString(torch), "config.json", "\"torch_dtype\" is missing")) return;
    if (!cJSON_IsString(plain)) return;
    gs_report_that(&s->report, GS_CHECK_CONFIG_DTYPE, gs_dtype_from_torch(torch->valuestring) == gs_dtype_from_torch(plain->valuestring),
              "config.json", "torch_dtype '%.40s', dtype '%.40s'", torch->valuestring, plain->valuestring);
}

static gs_status load(gs_subject *s, gs_error *err) {
    const char *dir = s->options->config ? s->options->config : s->path;
    gs_error why = {0};
    char *path = gs_path_join(dir, "config.json");
    if (!path) return gs_error_nomem(err, strlen(dir));
    bool there = gs_path_exists(path);
    gs_status status = there ? gs_model_config_load(path, &s->config, &why) : GS_E_FORMAT;
    gs_free(path);
    if (status == GS_E_NOMEM) return gs_error_nomem(err, 1 << 16);
    s->has_config = gs_report_that(&s->report, GS_CHECK_CONFIG, status == GS_OK, "config.json", "%s",
                              there ? why.text : "it is missing (--config names a directory that has one)");
    if (s->has_config) s->dtype = s->config.dtype;
    return GS_OK;
}

gs_status gs_verify_settings(gs_subject *s, gs_error *err) {
    GS_TRY(load(s, err));
    if (!s->has_config || s->kind != GS_KIND_ASCEND) return GS_OK;
    check_quantization_key(s);
    check_dtype_keys(s);
    return GS_OK;
}

/* MindIE has no word for bundles of float linears alone; any that it knows reads them as what they are (AB 5.1, 5.2). */
static bool known_word(const char *word) {
    static const char *const words[] = {"w8a8", "w8a8_dynamic", "w8a16", "w4a16", "w8a8s", "w8a8sc", "w8a8_pdmix", "w8a8_mix",
                                        "w4a8_dynamic", "w16a16s"};
    for (size_t i = 0; i < GS_COUNTOF(words); i++)
        if (strcmp(words[i], word) == 0) return true;
    return false;
}

void gs_verify_quantize_word(gs_subject *s, gs_type dominant) {
    const cJSON *word = s->has_config ? gs_json_get(s->config.json, "quantize") : NULL;
    char want[24];
    if (!word) return;
    snprintf(want, sizeof want, "%s", gs_type_name(dominant));
    for (char *p = want; *p; p++) *p = (char)tolower((unsigned char)*p);
    const char *got = cJSON_IsString(word) ? word->valuestring : "";
    bool same = strcmp(got, want) == 0 || (dominant == GS_TYPE_FLOAT && known_word(got)) || (dominant == GS_TYPE_W8A8_MIX && strcmp(got, "w8a8_pdmix") == 0);
    gs_report_that(&s->report, GS_CHECK_CONFIG_QUANTIZE, same, "config.json", "\"quantize\" is '%.40s', the bundle is %s", got, want);
}
