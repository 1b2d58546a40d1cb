#include <deploy/side_files.h>

#include <base/affix.h>
#include <base/file.h>
#include <base/mem.h>
#include <loaders/tokenizer.h>

#include <string.h>

/* Texts that belong to the model whatever its weights are. Index files, foreign quantization
 * descriptions and the config are not among them. */
static bool is_side_file(const char *name) {
    static const char *const never[] = {"config.json", "quantize_config.json", "quant_config.json",
                                        "quantization_description.json", "gstick_manifest.json"};
    static const char *const endings[] = {".json", ".model", ".jinja", ".py", ".txt", ".tiktoken"};
    for (size_t i = 0; i < GS_COUNTOF(never); i++)
        if (strcmp(name, never[i]) == 0) return false;
    if (gs_starts_with(name, "quant_model_description")) return false; /* also _w8a8.json and the like */
    if (name[0] == '.' || gs_ends_with(name, ".index.json")) return false;
    for (size_t i = 0; i < GS_COUNTOF(endings); i++)
        if (gs_ends_with(name, endings[i])) return true;
    return gs_starts_with(name, "LICENSE");
}

gs_status gs_side_set(cJSON *object, const char *key, const char *value, gs_error *err) {
    cJSON *fresh = cJSON_CreateString(value);
    bool done = fresh && (cJSON_GetObjectItemCaseSensitive(object, key)
                              ? cJSON_ReplaceItemInObjectCaseSensitive(object, key, fresh)
                              : cJSON_AddItemToObject(object, key, fresh));
    if (done) return GS_OK;
    cJSON_Delete(fresh);
    return gs_error_nomem(err, strlen(key) + strlen(value));
}

/* What another bundle's writer, or ours, said of the numbers that are being replaced. */
static void forget_quantization(cJSON *config) {
    static const char *const keys[] = {"quantization_config", "quantize", "quantization"};
    for (size_t i = 0; i < GS_COUNTOF(keys); i++) cJSON_DeleteItemFromObjectCaseSensitive(config, keys[i]);
}

gs_status gs_side_config(const gs_bundle_options *o, cJSON **out, gs_error *err) {
    cJSON *config = cJSON_Duplicate(gs_checkpoint_config(o->source)->json, 1);
    if (!config) return gs_error_nomem(err, 4096);
    forget_quantization(config);
    cJSON *inner = cJSON_GetObjectItemCaseSensitive(config, "text_config");
    if (cJSON_IsObject(inner)) forget_quantization(inner);
    const char *dtype = gs_dtype_torch_name(o->dtype);
    gs_status status = gs_side_set(config, "torch_dtype", dtype, err);
    if (status == GS_OK && cJSON_GetObjectItemCaseSensitive(config, "dtype"))
        status = gs_side_set(config, "dtype", dtype, err);
    if (status == GS_OK) *out = config;
    else cJSON_Delete(config);
    return status;
}

gs_status gs_side_write(const char *dir, const char *name, const char *text, size_t len, gs_error *err) {
    char *path = gs_path_join(dir, name);
    if (!path) return gs_error_nomem(err, 256);
    gs_outfile *file = NULL;
    gs_status status = gs_outfile_create(path, &file, err);
    if (status == GS_OK) status = gs_outfile_write(file, text, len, err);
    if (status == GS_OK)
        status = gs_outfile_commit(file, err);
    else
        gs_outfile_abort(file);
    gs_free(path);
    return status;
}

gs_status gs_side_json(const char *dir, const char *name, cJSON *json, int indent, gs_error *err) {
    gs_strbuf text = {0};
    gs_status status = gs_json_print(json, indent, &text, err);
    gs_strbuf_putc(&text, '\n');
    if (status == GS_OK && text.failed) status = gs_error_nomem(err, text.len);
    if (status == GS_OK) status = gs_side_write(dir, name, gs_strbuf_text(&text), text.len, err);
    gs_strbuf_clear(&text);
    cJSON_Delete(json);
    return status;
}

static gs_status copy_one(const char *from_dir, const char *to_dir, const char *name, gs_error *err) {
    char *from = gs_path_join(from_dir, name), *to = gs_path_join(to_dir, name);
    gs_status status = from && to ? gs_file_copy(from, to, err) : gs_error_nomem(err, 256);
    gs_free(from);
    gs_free(to);
    return status;
}

gs_status gs_side_copy(gs_context *cx, const gs_bundle_options *o, const char *dir, gs_error *err) {
    const gs_gguf *gguf = gs_checkpoint_gguf(o->source);
    if (gguf) {
        gs_gguf_str kind;
        if (!gs_gguf_string(gguf, "tokenizer.ggml.model", &kind)) {
            gs_log(cx, GS_LOG_WARN, "the GGUF file carries no vocabulary: the bundle will have no tokenizer");
            return GS_OK;
        }
        return gs_tokenizer_export_gguf(gguf, dir, err);
    }
    char **names;
    size_t count;
    bool tokenizer = false;
    const char *from = gs_checkpoint_path(o->source);
    GS_TRY(gs_dir_list(from, &names, &count, err));
    gs_status status = GS_OK;
    for (size_t i = 0; i < count && status == GS_OK; i++) {
        if (!is_side_file(names[i])) continue;
        tokenizer |= gs_starts_with(names[i], "tokenizer");
        status = copy_one(from, dir, names[i], err);
    }
    if (!tokenizer) gs_log(cx, GS_LOG_WARN, "%s has no tokenizer files: the bundle will have none", from);
    gs_strlist_free(names, count);
    return status;
}
