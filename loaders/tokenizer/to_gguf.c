/* Which of a model's files gives the vocabulary, what the configurations beside it add, and the pairs. */
#include <loaders/tokenizer/to_gguf.h>

#include <base/file.h>
#include <base/mem.h>
#include <loaders/tokenizer.h>
#include <loaders/tokenizer/vocab.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CONFIG = 1 << 24 };

/* ---- the table */

gs_status gs_ggml_vocab_reserve(gs_ggml_vocab *v, int64_t n, gs_error *err) {
    if (n < 1 || n > GS_VOCAB_MAX_ID) return GS_FAIL(err, GS_E_FORMAT, "a vocabulary of %lld pieces", (long long)n);
    if (n <= v->room) return GS_OK;
    size_t room = (size_t)n;
    gs_gguf_str *text = gs_realloc(v->text, room, sizeof *text);
    if (!text) return gs_error_nomem(err, room * sizeof *text);
    v->text = text;
    float *scores = gs_realloc(v->scores, room, sizeof *scores);
    if (!scores) return gs_error_nomem(err, room * sizeof *scores);
    v->scores = scores;
    int32_t *types = gs_realloc(v->types, room, sizeof *types);
    if (!types) return gs_error_nomem(err, room * sizeof *types);
    v->types = types;
    memset(text + v->room, 0, (room - (size_t)v->room) * sizeof *text);
    v->room = n;
    return GS_OK;
}

gs_status gs_ggml_vocab_put(gs_ggml_vocab *v, int64_t id, const char *text, size_t len, float score,
                            gs_piece_type type, gs_error *err) {
    if (id < 0 || id >= v->room) return GS_FAIL(err, GS_E_FORMAT, "'%.60s' has the id %lld", text, (long long)id);
    const gs_gguf_str *old = &v->text[id];
    if (old->data && (old->len != len || memcmp(old->data, text, len) != 0))
        return GS_FAIL(err, GS_E_FORMAT, "two pieces have the id %lld", (long long)id);
    v->text[id] = (gs_gguf_str){text, len};
    v->scores[id] = score;
    v->types[id] = (int32_t)type;
    if (id >= v->count) v->count = id + 1;
    return GS_OK;
}

char *gs_ggml_vocab_own(gs_ggml_vocab *v, const char *text, size_t len) {
    if (v->owned_count == v->owned_room) {
        size_t room = v->owned_room ? 2 * v->owned_room : 64;
        char **more = gs_realloc(v->owned, room, sizeof *more);
        if (!more) return NULL;
        v->owned = more;
        v->owned_room = room;
    }
    char *copy = gs_strndup(text, len);
    if (copy) v->owned[v->owned_count++] = copy;
    return copy;
}

void gs_ggml_vocab_clear(gs_ggml_vocab *v) {
    for (size_t i = 0; i < v->owned_count; i++) gs_free(v->owned[i]);
    gs_free(v->owned);
    gs_free(v->text);
    gs_free(v->scores);
    gs_free(v->types);
    gs_free(v->merges);
    gs_free(v->bytes);
    cJSON_Delete(v->json);
    *v = (gs_ggml_vocab){.model = NULL};
}

/* Ids without a piece, up to the model's vocabulary: the name is the one that converters give them. */
static gs_status fill_up(gs_ggml_vocab *v, int64_t vocab, gs_error *err) {
    GS_TRY(gs_ggml_vocab_reserve(v, vocab, err));
    for (int64_t i = 0; i < vocab; i++) {
        char name[32];
        if (i < v->count && v->text[i].data) continue;
        int n = snprintf(name, sizeof name, "[PAD%lld]", (long long)i);
        char *text = gs_ggml_vocab_own(v, name, (size_t)n);
        if (!text) return gs_error_nomem(err, sizeof name);
        GS_TRY(gs_ggml_vocab_put(v, i, text, (size_t)n, GS_GGML_FILL_SCORE, GS_PIECE_UNUSED, err));
    }
    return GS_OK;
}

/* ---- configurations beside the file */

static gs_status load_beside(const char *dir, const char *name, cJSON **out, gs_error *err) {
    char *path = gs_path_join(dir, name);
    *out = NULL;
    if (!path) return gs_error_nomem(err, strlen(dir));
    gs_status status = gs_path_exists(path) ? gs_json_load(path, MAX_CONFIG, out, err) : GS_OK;
    gs_free(path);
    return status;
}

static int64_t find_piece(const gs_ggml_vocab *v, const char *text) {
    size_t len = strlen(text);
    for (int64_t i = 0; i < v->count; i++)
        if (v->text[i].data && v->text[i].len == len && !memcmp(v->text[i].data, text, len)) return i;
    return -1;
}

/* "added_tokens_decoder": { "<id>": {"content": text, "special": bool} }: what SentencePiece's file does not have. */
static gs_status add_tokens(gs_ggml_vocab *v, const cJSON *config, int64_t vocab, gs_error *err) {
    const cJSON *each, *added = gs_json_get(config, "added_tokens_decoder");
    cJSON_ArrayForEach(each, added) {
        const char *content = NULL;
        bool special = false;
        char *end;
        GS_TRY(gs_json_string(each, "content", &content, err));
        GS_TRY(gs_json_bool(each, "special", &special, err));
        long id = strtol(each->string, &end, 10);
        if (!content || *end || id < v->count || id >= vocab) continue;
        GS_TRY(gs_ggml_vocab_reserve(v, vocab, err));
        char *text = gs_ggml_vocab_own(v, content, strlen(content));
        if (!text) return gs_error_nomem(err, strlen(content));
        GS_TRY(gs_ggml_vocab_put(v, id, text, strlen(text), GS_GGML_FILL_SCORE,
                                 special ? GS_PIECE_CONTROL : GS_PIECE_USER, err));
    }
    return GS_OK;
}

/* "<name>_token" of tokenizer_config.json (a string or an object with "content"), else "<name>_token_id" of config.json (the first
 * of a list), else what the file itself says. */
static void special_id(const gs_ggml_vocab *v, const cJSON *tokenizer, const cJSON *model, const char *name,
                       int64_t *id) {
    char key[32];
    int64_t found;
    snprintf(key, sizeof key, "%s_token", name);
    const cJSON *text = gs_json_get(tokenizer, key);
    if (cJSON_IsObject(text)) text = gs_json_get(text, "content");
    if (cJSON_IsString(text) && (found = find_piece(v, text->valuestring)) >= 0) {
        *id = found;
        return;
    }
    snprintf(key, sizeof key, "%s_token_id", name);
    const cJSON *number = gs_json_get(model, key);
    if (cJSON_IsArray(number)) number = number->child;
    if (gs_json_is_int(number, &found) && found >= 0 && found < v->count) *id = found;
    if (*id >= v->count) *id = -1;
}

static void special_ids(gs_ggml_vocab *v, const cJSON *tokenizer, const cJSON *model) {
    special_id(v, tokenizer, model, "bos", &v->bos);
    special_id(v, tokenizer, model, "eos", &v->eos);
    special_id(v, tokenizer, model, "unk", &v->unk);
    special_id(v, tokenizer, model, "pad", &v->pad);
}

/* ---- pairs */

static gs_status put_id(gs_gguf_writer *w, const char *key, int64_t id, gs_error *err) {
    return id < 0 ? GS_OK : gs_gguf_writer_u32(w, key, (uint32_t)id, err);
}

static gs_status put_table(const gs_ggml_vocab *v, gs_gguf_writer *w, gs_error *err) {
    size_t n = (size_t)v->count;
    gs_gguf_str pre = v->pre.len ? v->pre : (gs_gguf_str){"default", 7};
    GS_TRY(gs_gguf_writer_string(w, "tokenizer.ggml.model", v->model, strlen(v->model), err));
    GS_TRY(gs_gguf_writer_string(w, "tokenizer.ggml.pre", pre.data, pre.len, err));
    GS_TRY(gs_gguf_writer_strings(w, "tokenizer.ggml.tokens", v->text, n, err));
    if (v->has_scores) GS_TRY(gs_gguf_writer_f32s(w, "tokenizer.ggml.scores", v->scores, n, err));
    GS_TRY(gs_gguf_writer_i32s(w, "tokenizer.ggml.token_type", v->types, n, err));
    if (v->merges) GS_TRY(gs_gguf_writer_strings(w, "tokenizer.ggml.merges", v->merges, v->merge_count, err));
    GS_TRY(put_id(w, "tokenizer.ggml.bos_token_id", v->bos, err));
    GS_TRY(put_id(w, "tokenizer.ggml.eos_token_id", v->eos, err));
    GS_TRY(put_id(w, "tokenizer.ggml.unknown_token_id", v->unk, err));
    GS_TRY(put_id(w, "tokenizer.ggml.padding_token_id", v->pad, err));
    return v->no_space_prefix ? gs_gguf_writer_bool(w, "tokenizer.ggml.add_space_prefix", false, err) : GS_OK;
}

/* Whether a BOS comes first and an EOS last is for the tokenizer itself to say; one that cannot be opened here says nothing. */
static gs_status put_end_rules(const gs_ggml_vocab *v, const char *dir, gs_gguf_writer *w, gs_error *err) {
    gs_tokenizer *t;
    gs_status status = gs_tokenizer_open(dir, &t, err);
    if (status == GS_E_NOMEM) return status;
    if (status != GS_OK) return GS_OK;
    bool bos = gs_tokenizer_adds_bos(t) && v->bos >= 0, eos = gs_tokenizer_adds_eos(t) && v->eos >= 0;
    gs_tokenizer_destroy(t);
    GS_TRY(gs_gguf_writer_bool(w, "tokenizer.ggml.add_bos_token", bos, err));
    return eos ? gs_gguf_writer_bool(w, "tokenizer.ggml.add_eos_token", true, err) : GS_OK;
}

static gs_status put_chat(const cJSON *tokenizer, gs_gguf_writer *w, gs_error *err) {
    const cJSON *chat = gs_json_get(tokenizer, "chat_template");
    if (!cJSON_IsString(chat)) return GS_OK;
    return gs_gguf_writer_string(w, "tokenizer.chat_template", chat->valuestring, strlen(chat->valuestring), err);
}

/* ---- the whole */

static gs_status read_vocab(gs_ggml_vocab *v, const char *dir, bool *found, gs_error *err) {
    static const struct {
        const char *name;
        gs_status (*read)(gs_ggml_vocab *, const char *, gs_error *);
    } kinds[] = {{"tokenizer.model", gs_ggml_vocab_from_spm}, {"tokenizer.json", gs_ggml_vocab_from_json}};
    *found = false;
    for (size_t i = 0; i < GS_COUNTOF(kinds) && !*found; i++) {
        char *path = gs_path_join(dir, kinds[i].name);
        if (!path) return gs_error_nomem(err, strlen(dir));
        *found = gs_path_exists(path);
        gs_status status = *found ? kinds[i].read(v, path, err) : GS_OK;
        gs_free(path);
        GS_TRY(status);
    }
    return GS_OK;
}

static gs_status complete(gs_ggml_vocab *v, const cJSON *tokenizer, const gs_model_config *config, gs_error *err) {
    if (v->count > config->vocab)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "the tokenizer has %lld pieces, the model %lld", (long long)v->count,
                       (long long)config->vocab);
    GS_TRY(add_tokens(v, tokenizer, config->vocab, err));
    GS_TRY(fill_up(v, config->vocab, err));
    special_ids(v, tokenizer, config->json);
    return GS_OK;
}

static gs_status put_all(const gs_ggml_vocab *v, const char *dir, const cJSON *tokenizer, gs_gguf_writer *w,
                         gs_error *err) {
    GS_TRY(put_table(v, w, err));
    GS_TRY(put_end_rules(v, dir, w, err));
    return put_chat(tokenizer, w, err);
}

static gs_status put_none(const char *reason, gs_gguf_writer *w, gs_strbuf *why, gs_error *err) {
    gs_strbuf_printf(why, "the GGUF file gets no vocabulary, it takes token ids only: %s", reason);
    if (why->failed) return gs_error_nomem(err, strlen(reason));
    return gs_gguf_writer_string(w, "tokenizer.ggml.model", "none", 4, err);
}

gs_status gs_tokenizer_put_gguf(const char *dir, const gs_model_config *config, gs_gguf_writer *w, gs_strbuf *why,
                                gs_error *err) {
    gs_ggml_vocab v = {.model = NULL};
    gs_error said = {0}; /* a refusal is told as a warning */
    cJSON *tokenizer = NULL;
    bool found = false;
    gs_status status = load_beside(dir, "tokenizer_config.json", &tokenizer, &said);
    if (status == GS_OK) status = read_vocab(&v, dir, &found, &said);
    if (status == GS_OK && found) status = complete(&v, tokenizer, config, &said);
    if (status == GS_E_UNSUPPORTED || (status == GS_OK && !found)) {
        status = put_none(found ? said.text : "the model has no tokenizer.model or tokenizer.json", w, why, err);
    } else if (status != GS_OK) {
        GS_FAIL(err, status, "%s", said.text);
    } else {
        status = put_all(&v, dir, tokenizer, w, err);
        if (!v.pre.len && !v.has_scores)
            gs_strbuf_puts(why, "the GGUF file names its pre-tokenizer 'default': the model's own has no name there that is "
                                "known here, and text may be cut into other tokens");
    }
    cJSON_Delete(tokenizer);
    gs_ggml_vocab_clear(&v);
    return status;
}
