#include <verify/verify.h>

#include <base/mem.h>
#include <verify/subject.h>

#include <stdio.h>
#include <string.h>

const gs_check_info *gs_verify_table(size_t *count) {
    static const gs_check_info table[] = {
#define X(name, id, what, why, source) {id, what, why, source},
        GS_CHECK_LIST(X)
#undef X
    };
    *count = GS_COUNTOF(table);
    return table;
}

static const struct {
    const char *name;
    unsigned bits;
} targets[] = {
    {"both", GS_FOR_VLLM | GS_FOR_MINDIE},
    {"vllm-ascend", GS_FOR_VLLM},
    {"mindie", GS_FOR_MINDIE},
    {"310p", GS_FOR_310P},
};

static unsigned target_bits(const char *name) {
    for (size_t i = 0; i < GS_COUNTOF(targets); i++)
        if (strcmp(targets[i].name, name) == 0) return targets[i].bits;
    return 0;
}

/* What the manifest says: who the bundle is for (without one: both), and how codes were chosen. */
static unsigned read_manifest(gs_subject *s) {
    enum { MAX_MANIFEST = 100 << 20 };
    cJSON *json = NULL;
    unsigned bits = 0;
    char *path = gs_subject_path(s, "gstick_manifest.json");
    if (path && gs_path_exists(path) && gs_json_load(path, MAX_MANIFEST, &json, NULL) == GS_OK) {
        const cJSON *recipe = gs_json_get(json, "recipe"), *word = gs_json_get(recipe, "target");
        if (cJSON_IsString(word)) bits = target_bits(word->valuestring);
        s->refined = cJSON_IsTrue(gs_json_get(recipe, "refine"));
        word = gs_json_get(recipe, "compat");
        if (cJSON_IsString(word)) snprintf(s->compat, sizeof s->compat, "%.39s", word->valuestring);
    }
    cJSON_Delete(json);
    gs_free(path);
    return bits ? bits : target_bits("both");
}

static gs_status read_target(gs_subject *s, gs_error *err) {
    s->target = read_manifest(s);
    if (!s->options->target) return GS_OK;
    s->target = target_bits(s->options->target);
    if (s->target) return GS_OK;
    GS_FAIL(err, GS_E_INVALID, "unknown target '%s'", s->options->target);
    return gs_error_hint(err, "known are both, vllm-ascend, mindie and 310p");
}

static bool has(const gs_subject *s, const char *name) {
    char *path = gs_subject_path(s, name);
    bool there = path && gs_path_exists(path);
    gs_free(path);
    return there;
}

static bool has_ending(const gs_subject *s, const char *end) {
    for (size_t i = 0; i < s->name_count; i++)
        if (gs_ends_with(s->names[i], end)) return true;
    return false;
}

/* The method of config.json's quantization_config: "" without one, "?" where it is no word. */
static void method_of(const gs_subject *s, char out[40]) {
    cJSON *json = NULL;
    char *path = gs_subject_path(s, "config.json");
    out[0] = 0;
    if (path && gs_path_exists(path) && gs_json_load(path, 16 << 20, &json, NULL) == GS_OK) {
        const cJSON *config = gs_json_get(json, "quantization_config"), *method = gs_json_get(config, "quant_method");
        if (config) snprintf(out, 40, "%.39s", cJSON_IsString(method) && method->valuestring[0] ? method->valuestring : "?");
    }
    cJSON_Delete(json);
    gs_free(path);
}

static bool plain_weights(const char *name) {
    return strncmp(name, "model", 5) == 0 && (name[5] == '.' || name[5] == '-') && gs_ends_with(name, ".safetensors");
}

static bool has_plain_weights(const gs_subject *s) {
    for (size_t i = 0; i < s->name_count; i++)
        if (plain_weights(s->names[i])) return true;
    return false;
}

static bool has_ascend(const gs_subject *s) {
    for (size_t i = 0; i < s->name_count; i++)
        if (strncmp(s->names[i], "quant_model_", 12) == 0) return true;
    return false;
}

/* By what is there; a directory that says nothing is judged as an ascend bundle, and fails. */
static void detect(gs_subject *s) {
    char method[40];
    method_of(s, method);
    s->kind = GS_KIND_ASCEND;
    s->report.ran[GS_CHECK_FORMAT] = true;
    if (has_ascend(s)) return;
    if (has(s, "quantization_description.json")) s->kind = GS_KIND_MINDSPORE;
    else if (strcmp(method, "compressed-tensors") == 0) s->kind = GS_KIND_COMPRESSED;
    else if (strcmp(method, "gptq") == 0) s->kind = GS_KIND_GPTQ;
    else if (!method[0] && has_plain_weights(s) && has(s, "config.json")) s->kind = GS_KIND_FLOAT;
    else if (has_ending(s, ".ckpt")) s->kind = GS_KIND_CKPT;
    else if (has_ending(s, ".gguf")) s->kind = GS_KIND_GGUF;
    else
        gs_report_fail(&s->report, GS_CHECK_FORMAT, "",
                       "no description, no quantization_config of a known method, no .ckpt or .gguf file, no plain model");
}

static gs_status check_ascend(gs_subject *s, gs_error *err) {
    GS_TRY(gs_verify_settings(s, err));
    GS_TRY(gs_subject_modules(s, err));
    GS_TRY(gs_verify_description(s, err));
    gs_verify_described(s);
    /* stored but not listed */
    for (size_t i = 0; s->description && i < s->tensors; i++) {
        const char *name = s->tensor[i].t->name;
        gs_report_that(&s->report, GS_CHECK_DESCRIPTION_COMPLETE, gs_described_item(s, name) != NULL, name, "it is stored and not listed");
    }
    gs_verify_types(s);
    GS_TRY(gs_verify_parts(s, err));
    GS_TRY(gs_verify_norm_bias(s, err));
    GS_TRY(gs_verify_cache(s, err));
    gs_verify_unclaimed(s);
    return gs_verify_values(s, err);
}

static gs_status check_safetensors(gs_subject *s, gs_error *err) {
    GS_TRY(gs_verify_container(s, err));
    GS_TRY(gs_verify_index(s, err));
    switch (s->kind) {
    case GS_KIND_MINDSPORE: return gs_verify_mindspore(s, err);
    case GS_KIND_COMPRESSED: return gs_verify_compressed(s, err);
    case GS_KIND_GPTQ: return gs_verify_gptq(s, err);
    case GS_KIND_FLOAT: return gs_verify_plain(s, err);
    default: return check_ascend(s, err);
    }
}

static gs_status check_directory(gs_subject *s, gs_error *err) {
    GS_TRY(gs_verify_files(s, err));
    detect(s);
    if (s->kind == GS_KIND_GGUF) return gs_verify_gguf(s, err);
    return s->kind == GS_KIND_CKPT ? gs_verify_ckpt(s, err) : check_safetensors(s, err);
}

static gs_status check_file(gs_subject *s, gs_error *err) {
    s->kind = GS_KIND_GGUF;
    return gs_verify_gguf(s, err);
}

static void clear(gs_subject *s) {
    gs_report_clear(&s->report);
    gs_strlist_free(s->names, s->name_count);
    for (size_t f = 0; s->file && f < s->files; f++) gs_safetensors_close(s->file[f]);
    gs_free(s->weights);
    gs_free(s->file);
    gs_free(s->tensor);
    gs_map_clear(&s->by_name);
    gs_map_clear(&s->described);
    cJSON_Delete(s->description);
    gs_checkpoint_close(s->gguf);
    gs_mindspore_ckpt_close(s->ckpt);
    gs_model_config_clear(&s->config);
    for (int i = 0; i < s->modules; i++) gs_free(s->module[i].name);
    gs_free(s->module);
}

/* Moves the findings out. */
static void give(gs_subject *s, gs_verify_result *out) {
    out->finding = s->report.finding;
    out->finding_count = s->report.count;
    out->total_findings = s->report.total;
    out->tensors = s->tensors;
    out->bytes = s->bytes;
    for (int i = 0; i < GS_CHECK_COUNT; i++) out->checks_run += s->report.ran[i];
    s->report.finding = NULL;
    s->report.count = 0;
}

gs_status gs_verify_run(gs_context *cx, const char *bundle, const gs_verify_options *options, gs_verify_result *result,
                        gs_error *err) {
    static const gs_verify_options defaults;
    gs_subject s = {.cx = cx, .path = bundle, .options = options ? options : &defaults, .dtype = GS_DTYPE_NONE};
    *result = (gs_verify_result){0};
    if (!gs_path_exists(bundle)) return GS_FAIL(err, GS_E_FORMAT, "'%s' does not exist", bundle);
    if (!(s.options->tolerance_steps >= 0)) return GS_FAIL(err, GS_E_INVALID, "a tolerance of %g steps", s.options->tolerance_steps);
    gs_status status = read_target(&s, err);
    if (status == GS_OK) status = gs_path_is_dir(bundle) ? check_directory(&s, err) : check_file(&s, err);
    if (status == GS_OK) status = gs_verify_against(&s, err);
    if (status == GS_OK && s.report.status != GS_OK) status = gs_error_nomem(err, s.report.count * sizeof *s.report.finding);
    if (status == GS_OK) give(&s, result);
    clear(&s);
    return status;
}
