/* tokenizer.json as a vocabulary of the "gpt2" kind. */
#include <loaders/tokenizer/to_gguf.h>

#include <base/file.h>
#include <base/mem.h>
#include <loaders/tokenizer/gguf_vocab.h>
#include <loaders/tokenizer/json_nul.h>
#include <loaders/tokenizer/pre.h>

#include <string.h>

enum { MAX_JSON = 1 << 28 };

static gs_status check_kind(const cJSON *root, const cJSON *model, bool *ignore_merges, gs_error *err) {
    const char *type = "BPE";
    bool fallback = false;
    if (!cJSON_IsObject(model)) return GS_FAIL(err, GS_E_FORMAT, "no 'model'");
    GS_TRY(gs_json_string(model, "type", &type, err));
    GS_TRY(gs_json_bool(model, "byte_fallback", &fallback, err));
    GS_TRY(gs_json_bool(model, "ignore_merges", ignore_merges, err));
    const cJSON *decoder = gs_json_get(root, "decoder"), *kind = gs_json_get(decoder, "type");
    bool bytes = cJSON_IsString(kind) && !strcmp(kind->valuestring, "ByteLevel");
    if (strcmp(type, "BPE") != 0 || fallback || !bytes)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "a %.40s model that is not byte-level has no kind in GGUF", type);
    return GS_OK;
}

static int64_t end_of(const cJSON *list, bool objects, int64_t end) {
    const cJSON *each;
    cJSON_ArrayForEach(each, list) {
        int64_t id;
        if (gs_json_is_int(objects ? gs_json_get(each, "id") : each, &id) && id >= end && id < INT32_MAX) end = id + 1;
    }
    return end;
}

static gs_status read_pieces(gs_ggml_vocab *v, const cJSON *vocab, gs_error *err) {
    const cJSON *each;
    cJSON_ArrayForEach(each, vocab) {
        int64_t id;
        if (!gs_json_is_int(each, &id))
            return GS_FAIL(err, GS_E_FORMAT, "vocab: id of '%.60s' is not an integer", each->string);
        gs_gguf_str text = {each->string, strlen(each->string)};
        gs_piece_type type = gs_gguf_is_filler(text, id) ? GS_PIECE_UNUSED : GS_PIECE_NORMAL;
        GS_TRY(gs_ggml_vocab_put(v, id, text.data, text.len, 0, type, err));
    }
    return GS_OK;
}

/* Added tokens may repeat a piece of the vocabulary: then only its type changes. */
static gs_status read_added(gs_ggml_vocab *v, const cJSON *added, gs_error *err) {
    const cJSON *each;
    cJSON_ArrayForEach(each, added) {
        const char *content = NULL;
        bool special = false;
        int64_t id;
        GS_TRY(gs_json_string(each, "content", &content, err));
        GS_TRY(gs_json_bool(each, "special", &special, err));
        if (!content || !gs_json_is_int(gs_json_get(each, "id"), &id))
            return GS_FAIL(err, GS_E_FORMAT, "added_tokens: one without content or id");
        GS_TRY(gs_ggml_vocab_put(v, id, content, strlen(content), 0, special ? GS_PIECE_CONTROL : GS_PIECE_USER, err));
    }
    return GS_OK;
}

static gs_status read_merge(gs_ggml_vocab *v, const cJSON *merge, gs_gguf_str *out, gs_error *err) {
    if (cJSON_IsString(merge)) {
        *out = (gs_gguf_str){merge->valuestring, strlen(merge->valuestring)};
        return GS_OK;
    }
    const cJSON *left = cJSON_IsArray(merge) ? merge->child : NULL, *right = left ? left->next : NULL;
    if (!cJSON_IsString(left) || !cJSON_IsString(right) || right->next)
        return GS_FAIL(err, GS_E_FORMAT, "merge %zu is not two pieces", v->merge_count);
    gs_strbuf text = {0};
    gs_strbuf_printf(&text, "%s %s", left->valuestring, right->valuestring);
    out->len = text.len;
    out->data = text.failed ? NULL : gs_ggml_vocab_own(v, text.data, text.len);
    gs_strbuf_clear(&text);
    return out->data ? GS_OK : gs_error_nomem(err, 64);
}

static gs_status read_merges(gs_ggml_vocab *v, const cJSON *merges, gs_error *err) {
    const cJSON *each;
    if (!cJSON_IsArray(merges)) return GS_FAIL(err, GS_E_FORMAT, "model: 'merges' is not an array");
    size_t n = (size_t)cJSON_GetArraySize(merges);
    v->merges = gs_calloc(n ? n : 1, sizeof *v->merges);
    if (!v->merges) return gs_error_nomem(err, n * sizeof *v->merges);
    cJSON_ArrayForEach(each, merges) {
        GS_TRY(read_merge(v, each, &v->merges[v->merge_count], err));
        v->merge_count++;
    }
    return GS_OK;
}

static gs_status read_root(gs_ggml_vocab *v, gs_error *err) {
    const cJSON *model = gs_json_get(v->json, "model"), *added = gs_json_get(v->json, "added_tokens");
    const cJSON *vocab = gs_json_get(model, "vocab");
    bool ignore_merges = false;
    GS_TRY(check_kind(v->json, model, &ignore_merges, err));
    v->model = "gpt2";
    v->bos = v->eos = v->unk = v->pad = -1;
    GS_TRY(gs_pre_name(gs_json_get(v->json, "pre_tokenizer"), gs_json_get(v->json, "normalizer"), ignore_merges, &v->pre,
                       err));
    GS_TRY(gs_ggml_vocab_reserve(v, end_of(added, true, end_of(vocab, false, 0)), err));
    GS_TRY(read_pieces(v, vocab, err));
    GS_TRY(read_added(v, added, err));
    return read_merges(v, gs_json_get(model, "merges"), err);
}

/* NUL is spelled otherwise in a byte-level vocabulary, so a file that has it is of another kind. */
static gs_status parse(const char *text, size_t len, cJSON **out, gs_error *err) {
    gs_strbuf hidden = {0};
    gs_json_nul nul;
    gs_status status = gs_json_nul_hide(text, len, &hidden, &nul, err);
    gs_strbuf_clear(&hidden);
    if (status == GS_OK && nul.count) return GS_FAIL(err, GS_E_UNSUPPORTED, "a piece with NUL");
    return status == GS_OK ? gs_json_parse(text, len, out, err) : status;
}

gs_status gs_ggml_vocab_from_json(gs_ggml_vocab *v, const char *path, gs_error *err) {
    char *text;
    size_t len;
    GS_TRY(gs_file_read(path, MAX_JSON, &text, &len, err));
    gs_status status = parse(text, len, &v->json, err);
    gs_free(text);
    if (status == GS_OK) status = read_root(v, err);
    if (status != GS_OK) gs_error_at(err, "%s", path);
    return status;
}
