/* Which file to read, and what tokenizer_config.json beside it says about BOS and EOS. */
#include <loaders/tokenizer.h>

#include <string.h>
#include <strings.h>

#include <base/file.h>
#include <loaders/tokenizer/model.h>

enum { MAX_JSON = 1 << 28, MAX_PROTO = 1 << 28, MAX_CONFIG = 1 << 24 };

/* In any case: these are names that somebody typed. */
static bool has_extension(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcasecmp(s + n - m, end) == 0;
}

int32_t gs_tok_find(const gs_tokenizer *t, const char *text, size_t len) {
    int32_t id = gs_added_find(&t->added, text, len);
    if (id < 0) id = gs_added_find(&t->added_normalized, text, len);
    return id < 0 ? gs_vocab_id(&t->bpe.vocab, text, len) : id;
}

/* "bos_token", "eos_token": a string or an AddedToken object with "content". add_bos_token and add_eos_token want an id. */
static gs_status apply_end(const gs_tokenizer *t, const cJSON *config, const char *token_key, const char *add_key, int32_t *id,
                           bool *adds, gs_error *err) {
    const cJSON *item = gs_json_get(config, token_key);
    const char *token = NULL;
    if (cJSON_IsObject(item)) GS_TRY(gs_json_string(item, "content", &token, err));
    else GS_TRY(gs_json_string(config, token_key, &token, err));
    GS_TRY(gs_json_bool(config, add_key, adds, err));
    if (token) {
        int32_t found = gs_tok_find(t, token, strlen(token));
        if (found >= 0) *id = found;
        else if (*adds) return GS_FAIL(err, GS_E_FORMAT, "%s '%.60s' is no piece", token_key, token);
    }
    return *adds && *id < 0 ? GS_FAIL(err, GS_E_FORMAT, "%s without a %s", add_key, token_key) : GS_OK;
}

static gs_status apply(gs_tokenizer *t, const cJSON *config, gs_error *err) {
    GS_TRY(apply_end(t, config, "bos_token", "add_bos_token", &t->bos, &t->adds_bos, err));
    return apply_end(t, config, "eos_token", "add_eos_token", &t->eos, &t->adds_eos, err);
}

gs_status gs_tok_apply_config(gs_tokenizer *t, const char *dir, gs_error *err) {
    char *path = gs_path_join(dir, "tokenizer_config.json");
    if (!path) return gs_error_nomem(err, strlen(dir));
    gs_status status = GS_OK;
    cJSON *config = NULL;
    if (gs_path_exists(path)) {
        status = gs_json_load(path, MAX_CONFIG, &config, err);
        if (status == GS_OK && (status = apply(t, config, err)) != GS_OK)
            gs_error_at(err, "%s", path);
    }
    cJSON_Delete(config);
    gs_free(path);
    return status;
}

static gs_status open_json(const char *path, gs_tokenizer **out, gs_error *err) {
    char *text;
    size_t len;
    GS_TRY(gs_file_read(path, MAX_JSON, &text, &len, err));
    gs_status status = gs_tokenizer_from_json(text, len, out, err);
    gs_free(text);
    if (status != GS_OK) gs_error_at(err, "%s", path);
    return status;
}

static gs_status open_spm(const char *path, gs_tokenizer **out, gs_error *err) {
    char *bytes;
    size_t len;
    GS_TRY(gs_file_read(path, MAX_PROTO, &bytes, &len, err));
    gs_status status = gs_tok_from_spm((const uint8_t *)bytes, len, out, err);
    gs_free(bytes);
    if (status != GS_OK) gs_error_at(err, "%s", path);
    return status;
}

static gs_status open_gguf(const char *path, gs_tokenizer **out, gs_error *err) {
    gs_gguf *g;
    GS_TRY(gs_gguf_open(path, &g, err));
    gs_status status = gs_tokenizer_from_gguf(g, out, err);
    gs_gguf_close(g);
    if (status != GS_OK) gs_error_at(err, "%s", path);
    return status;
}

/* A file with its directory's configuration. */
static gs_status open_with_config(const char *file, gs_tokenizer **out, gs_error *err) {
    const char *slash = strrchr(file, '/');
    char *dir = slash ? gs_strndup(file, (size_t)(slash - file) + 1) : gs_strdup(".");
    if (!dir) return gs_error_nomem(err, strlen(file));
    gs_status status =
        has_extension(file, ".json") ? open_json(file, out, err) : open_spm(file, out, err);
    if (status == GS_OK) status = gs_tok_apply_config(*out, dir, err);
    gs_free(dir);
    return status;
}

static gs_status open_dir(const char *dir, gs_tokenizer **out, gs_error *err) {
    static const char *const names[] = {"tokenizer.json", "tokenizer.model"};
    for (size_t i = 0; i < GS_COUNTOF(names); i++) {
        char *path = gs_path_join(dir, names[i]);
        if (!path) return gs_error_nomem(err, strlen(dir));
        bool there = gs_path_exists(path);
        gs_status status = there ? open_with_config(path, out, err) : GS_OK;
        gs_free(path);
        if (there) return status;
    }
    char *gguf = gs_dir_only_file(dir, ".gguf");
    if (gguf) {
        gs_status status = open_gguf(gguf, out, err);
        gs_free(gguf);
        return status;
    }
    GS_FAIL(err, GS_E_FORMAT, "%s: neither tokenizer.json nor tokenizer.model", dir);
    gs_error_hint(err, "tokenizer files of the model belong beside its weights");
    return GS_E_FORMAT;
}

gs_status gs_tokenizer_open(const char *path, gs_tokenizer **out, gs_error *err) {
    gs_status status;
    *out = NULL;
    if (gs_path_is_dir(path)) status = open_dir(path, out, err);
    else if (has_extension(path, ".gguf")) status = open_gguf(path, out, err);
    else if (has_extension(path, ".json") || has_extension(path, ".model"))
        status = open_with_config(path, out, err);
    else
        status = GS_FAIL(err, GS_E_INVALID, "%s: not a directory, .json, .model or .gguf", path);
    if (status != GS_OK) {
        gs_tokenizer_destroy(*out);
        *out = NULL;
    }
    return status;
}
