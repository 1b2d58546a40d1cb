/* tokenizer.json of Hugging Face's tokenizers, byte-pair models. */
#include <loaders/tokenizer.h>

#include <string.h>

#include <loaders/tokenizer/json_nul.h>
#include <loaders/tokenizer/model.h>

/* ---- model */

static gs_status refuse_affix(const cJSON *model, const char *key, gs_error *err) {
    const char *text = NULL;
    GS_TRY(gs_json_string(model, key, &text, err));
    if (text && *text) return GS_FAIL(err, GS_E_UNSUPPORTED, "model: %s '%.40s'", key, text);
    return GS_OK;
}

static gs_status check_model(gs_bpe *b, const cJSON *model, const char **unk, gs_error *err) {
    const char *type = "BPE"; /* files of tokenizers < 0.8 do not say it */
    double dropout = 0;
    if (!cJSON_IsObject(model))
        return GS_FAIL(err, GS_E_FORMAT, "tokenizer.json without 'model'");
    GS_TRY(gs_json_string(model, "type", &type, err));
    if (strcmp(type, "BPE") != 0)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "model type '%.40s', only BPE is known", type);
    GS_TRY(gs_json_double(model, "dropout", &dropout, err));
    if (dropout != 0) return GS_FAIL(err, GS_E_UNSUPPORTED, "model: dropout %g", dropout);
    GS_TRY(refuse_affix(model, "continuing_subword_prefix", err));
    GS_TRY(refuse_affix(model, "end_of_word_suffix", err));
    GS_TRY(gs_json_bool(model, "ignore_merges", &b->ignore_merges, err));
    GS_TRY(gs_json_bool(model, "byte_fallback", &b->byte_fallback, err));
    GS_TRY(gs_json_bool(model, "fuse_unk", &b->fuse_unk, err));
    return gs_json_string(model, "unk_token", unk, err);
}

static gs_status read_vocab(gs_vocab *v, const cJSON *vocab, gs_json_nul *nul, gs_error *err) {
    const cJSON *each;
    size_t pieces = 0, bytes = 0;
    if (!cJSON_IsObject(vocab))
        return GS_FAIL(err, GS_E_FORMAT, "model: 'vocab' is not an object");
    cJSON_ArrayForEach(each, vocab) {
        pieces++;
        bytes += strlen(each->string);
    }
    GS_TRY(gs_vocab_init(v, pieces, bytes, err));
    cJSON_ArrayForEach(each, vocab) {
        int64_t id;
        if (!gs_json_is_int(each, &id))
            return GS_FAIL(err, GS_E_FORMAT, "vocab: id of '%.60s' is not an integer",
                           each->string);
        GS_TRY(gs_vocab_add(v, each->string, gs_json_nul_show(nul, each->string, strlen(each->string)), id, err));
    }
    return GS_OK;
}

/* "left right", cut at the first space as byte-pair pieces hold none, or [left, right]. */
static gs_status read_merge(gs_bpe *b, const cJSON *merge, int32_t rank, gs_json_nul *nul, gs_error *err) {
    char *left, *right;
    size_t left_len, right_len;
    if (cJSON_IsString(merge)) {
        left = merge->valuestring;
        right = strchr(left, ' ');
        if (!right || strchr(right + 1, ' '))
            return GS_FAIL(err, GS_E_FORMAT, "merge %d '%.60s' is not two pieces", rank, left);
        left_len = (size_t)(right++ - left);
    } else {
        const cJSON *l = cJSON_IsArray(merge) ? merge->child : NULL, *r = l ? l->next : NULL;
        if (!cJSON_IsString(l) || !cJSON_IsString(r) || r->next)
            return GS_FAIL(err, GS_E_FORMAT, "merge %d is not two pieces", rank);
        left = l->valuestring;
        left_len = strlen(left);
        right = r->valuestring;
    }
    right_len = gs_json_nul_show(nul, right, strlen(right));
    left_len = gs_json_nul_show(nul, left, left_len);
    return gs_bpe_merge(b, left, left_len, right, right_len, rank, true, err);
}

static gs_status read_merges(gs_bpe *b, const cJSON *merges, gs_json_nul *nul, gs_error *err) {
    const cJSON *each;
    int32_t rank = 0;
    if (!cJSON_IsArray(merges))
        return GS_FAIL(err, GS_E_FORMAT, "model: 'merges' is not an array");
    GS_TRY(gs_bpe_reserve(b, (size_t)cJSON_GetArraySize(merges), err));
    cJSON_ArrayForEach(each, merges) GS_TRY(read_merge(b, each, rank++, nul, err));
    return GS_OK;
}

static gs_status read_model(gs_tokenizer *t, const cJSON *model, gs_json_nul *nul, gs_error *err) {
    gs_bpe *b = &t->bpe;
    const char *unk = NULL;
    b->byte_level = t->pretok.byte_level;
    b->unk = -1;
    GS_TRY(check_model(b, model, &unk, err));
    GS_TRY(read_vocab(&b->vocab, gs_json_get(model, "vocab"), nul, err));
    GS_TRY(read_merges(b, gs_json_get(model, "merges"), nul, err));
    gs_bpe_finish(b, unk ? unk : "");
    if (unk) {
        b->unk = gs_vocab_id(&b->vocab, unk, strlen(unk));
        if (b->unk < 0) return GS_FAIL(err, GS_E_FORMAT, "unk_token '%.60s' is no piece", unk);
    }
    t->kind = b->byte_level      ? "byte-level BPE"
              : b->byte_fallback ? "BPE with byte fallback"
                                 : "BPE";
    return GS_OK;
}

/* ---- added tokens */

static gs_status add_normalized(gs_tokenizer *t, const char *content, const gs_added_token *token,
                                gs_error *err) {
    gs_strbuf buffers[2] = {{0}, {0}};
    size_t len = strlen(content);
    bool existed = false;
    gs_status status = gs_normalizer_run(&t->normalizer, &content, &len, buffers, err);
    if (status == GS_OK && !len)
        status =
            GS_FAIL(err, GS_E_UNSUPPORTED, "added token %d normalizes to nothing", token->id);
    if (status == GS_OK)
        status = gs_added_add(&t->added_normalized, content, len, token, &existed, err);
    if (existed)
        status = GS_FAIL(err, GS_E_UNSUPPORTED, "two added tokens normalize to '%.60s'", content);
    gs_strbuf_clear(&buffers[0]);
    gs_strbuf_clear(&buffers[1]);
    return status;
}

static gs_status read_added_token(gs_tokenizer *t, const cJSON *json, gs_error *err) {
    gs_added_token token = {0};
    const char *content = NULL;
    int64_t id = -1;
    GS_TRY(gs_json_string(json, "content", &content, err));
    GS_TRY(gs_json_int(json, "id", &id, err));
    if (!content || !*content)
        return GS_FAIL(err, GS_E_FORMAT, "added token %lld has no content", (long long)id);
    int32_t known = gs_vocab_id(&t->bpe.vocab, content, strlen(content));
    if (known < 0) {
        GS_TRY(gs_vocab_take_id(&t->bpe.vocab, id, err));
    } else if (known != id) {
        return GS_FAIL(err, GS_E_FORMAT, "added token '%.60s' has id %lld, in the vocabulary %d",
                       content, (long long)id, known);
    }
    token.id = (int32_t)id;
    GS_TRY(gs_json_bool(json, "special", &token.special, err));
    GS_TRY(gs_json_bool(json, "lstrip", &token.lstrip, err));
    GS_TRY(gs_json_bool(json, "rstrip", &token.rstrip, err));
    GS_TRY(gs_json_bool(json, "single_word", &token.single_word, err));
    bool normalized = !token.special;
    GS_TRY(gs_json_bool(json, "normalized", &normalized, err));
    if (normalized) return add_normalized(t, content, &token, err);
    bool existed;
    GS_TRY(gs_added_add(&t->added, content, strlen(content), &token, &existed, err));
    if (existed) return GS_FAIL(err, GS_E_FORMAT, "added token '%.60s' appears twice", content);
    return GS_OK;
}

static gs_status read_added(gs_tokenizer *t, const cJSON *list, gs_error *err) {
    const cJSON *each;
    if (!list || cJSON_IsNull(list)) return GS_OK;
    if (!cJSON_IsArray(list)) return GS_FAIL(err, GS_E_FORMAT, "'added_tokens' is not an array");
    cJSON_ArrayForEach(each, list) GS_TRY(read_added_token(t, each, err));
    return GS_OK;
}

/* ---- post-processor: only what it says about BOS and EOS */

/* The one id of a template's special token. */
static gs_status template_id(const gs_tokenizer *t, const cJSON *json, const cJSON *token, int32_t *out, gs_error *err) {
    const char *name = NULL;
    int64_t id;
    GS_TRY(gs_json_string(token, "id", &name, err));
    const cJSON *entry = name ? gs_json_get(gs_json_get(json, "special_tokens"), name) : NULL;
    const cJSON *ids = gs_json_get(entry, "ids");
    if (!cJSON_IsArray(ids) || !ids->child || ids->child->next || !gs_json_is_int(ids->child, &id))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "post_processor: the template's token '%.60s' is not one id", name ? name : "");
    if (id < 0 || id >= t->vocab)
        return GS_FAIL(err, GS_E_FORMAT, "post_processor: id %lld, vocabulary %lld",
                       (long long)id, (long long)t->vocab);
    *out = (int32_t)id;
    return GS_OK;
}

/* "single": the text, a token before it, a token behind it. */
static gs_status read_template(gs_tokenizer *t, const cJSON *json, gs_error *err) {
    const cJSON *single = gs_json_get(json, "single"), *each;
    bool text = false, tail = false;
    if (!cJSON_IsArray(single))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "post_processor: template 'single' is not an array");
    cJSON_ArrayForEach(each, single) {
        const cJSON *token = gs_json_get(each, "SpecialToken");
        if (tail || (text ? !token : token && t->adds_bos) || !(token || gs_json_get(each, "Sequence")))
            return GS_FAIL(err, GS_E_UNSUPPORTED, "post_processor: a template that is more than a token, the text and a token");
        if (!token) text = true;
        else if (!text) t->adds_bos = true;
        else tail = t->adds_eos = true;
        if (token) GS_TRY(template_id(t, json, token, text ? &t->eos : &t->bos, err));
    }
    return text ? GS_OK : GS_FAIL(err, GS_E_UNSUPPORTED, "post_processor: a template without the text");
}

static gs_status read_post(gs_tokenizer *t, const cJSON *json, gs_error *err) {
    if (!json || cJSON_IsNull(json)) return GS_OK;
    const char *type = "";
    GS_TRY(gs_json_string(json, "type", &type, err));
    if (strcmp(type, "Sequence") == 0) {
        const cJSON *each;
        cJSON_ArrayForEach(each, gs_json_get(json, "processors")) GS_TRY(read_post(t, each, err));
        return GS_OK;
    }
    if (strcmp(type, "ByteLevel") == 0) return GS_OK; /* offsets only */
    if (strcmp(type, "TemplateProcessing") == 0) return read_template(t, json, err);
    return GS_FAIL(err, GS_E_UNSUPPORTED, "post_processor type '%.60s'", type);
}

/* "first" means where the text began before any change; the chain knows only where it
 * begins now, which is the same as long as nothing was put in front or taken away. */
static gs_status check_first(const gs_tokenizer *t, gs_error *err) {
    bool first = false, moved = false;
    for (int i = 0; i < t->pretok.count; i++) {
        first = first || t->pretok.stage[i].prefix == GS_PREFIX_FIRST;
        moved = moved || (i > 0 && t->pretok.stage[i].prefix == GS_PREFIX_FIRST);
    }
    for (int i = 0; i < t->normalizer.count; i++) moved = moved || !t->normalizer.step[i].form;
    if (first && moved)
        return GS_FAIL(err, GS_E_UNSUPPORTED,
                       "Metaspace with prepend_scheme 'first' behind other changes");
    return GS_OK;
}

static gs_status read_all(gs_tokenizer *t, const cJSON *json, gs_json_nul *nul, gs_error *err) {
    GS_TRY(gs_pretok_parse(&t->pretok, gs_json_get(json, "pre_tokenizer"), err));
    GS_TRY(gs_normalizer_parse(&t->normalizer, gs_json_get(json, "normalizer"), err));
    GS_TRY(check_first(t, err));
    GS_TRY(read_model(t, gs_json_get(json, "model"), nul, err));
    if (nul->taken != nul->count)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "NUL in a string of tokenizer.json that is neither a piece nor a merge");
    GS_TRY(read_added(t, gs_json_get(json, "added_tokens"), err));
    t->vocab = t->bpe.vocab.end;
    return read_post(t, gs_json_get(json, "post_processor"), err);
}

gs_status gs_tokenizer_from_json(const char *text, size_t len, gs_tokenizer **out,
                                 gs_error *err) {
    cJSON *json = NULL;
    gs_strbuf hidden = {0};
    gs_json_nul nul;
    gs_tokenizer *t = NULL;
    gs_status status;
    *out = NULL;
    GS_TRY_GOTO(status, done, gs_json_nul_hide(text, len, &hidden, &nul, err));
    GS_TRY_GOTO(status, done, nul.count ? gs_json_parse(hidden.data, hidden.len, &json, err) : gs_json_parse(text, len, &json, err));
    t = gs_tok_new(&gs_tok_bpe_ops);
    GS_TRY_GOTO(status, done, t ? read_all(t, json, &nul, err) : gs_error_nomem(err, sizeof *t));
    *out = t;
    t = NULL;
done:
    gs_strbuf_clear(&hidden);
    cJSON_Delete(json);
    gs_tokenizer_destroy(t);
    return status;
}
