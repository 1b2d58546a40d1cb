/* A GGUF vocabulary as the files of the ecosystem. */
#include <loaders/tokenizer.h>

#include <stdio.h>
#include <string.h>

#include <base/file.h>
#include <base/mem.h>
#include <base/strbuf.h>
#include <loaders/tokenizer/gguf_vocab.h>
#include <loaders/tokenizer/pre.h>
#include <loaders/tokenizer/vocab.h>

static gs_status write_file(const char *dir, const char *name, const void *data, size_t len,
                            gs_error *err) {
    gs_outfile *f;
    char *path = gs_path_join(dir, name);
    if (!path) return gs_error_nomem(err, strlen(dir));
    gs_status status = gs_outfile_create(path, &f, err);
    gs_free(path);
    GS_TRY(status);
    status = gs_outfile_write(f, data, len, err);
    if (status == GS_OK) return gs_outfile_commit(f, err);
    gs_outfile_abort(f);
    return status;
}

static gs_status write_text(const char *dir, const char *name, const gs_strbuf *text,
                            gs_error *err) {
    if (text->failed) return GS_FAIL(err, GS_E_NOMEM, "no memory for %s", name);
    return write_file(dir, name, gs_strbuf_text(text), text->len, err);
}

/* What tokenizer.ggml.* says about BOS and EOS, with the kind's defaults. */
typedef struct ends {
    bool bpe, add_bos, add_eos, add_space;
} ends;

static ends read_ends(const gs_gguf_vocab *v, bool bpe, bool add_bos) {
    ends e = {bpe, add_bos && v->bos >= 0, false, true};
    gs_gguf_bool(v->g, "tokenizer.ggml.add_bos_token", &e.add_bos);
    gs_gguf_bool(v->g, "tokenizer.ggml.add_eos_token", &e.add_eos);
    gs_gguf_bool(v->g, "tokenizer.ggml.add_space_prefix", &e.add_space);
    return e;
}

/* ---- tokenizer.json */

static gs_status put_added(gs_strbuf *out, const gs_gguf_vocab *v, gs_error *err) {
    const char *comma = "";
    gs_strbuf_puts(out, "  \"added_tokens\": [");
    for (int64_t i = 0; i < v->count; i++) {
        gs_gguf_str text;
        gs_piece_type type;
        GS_TRY(gs_gguf_vocab_piece(v, i, &text, &type, err));
        if (type != GS_PIECE_CONTROL && type != GS_PIECE_UNKNOWN && type != GS_PIECE_USER)
            continue;
        gs_strbuf_printf(out, "%s\n    {\"id\": %lld, \"content\": ", comma, (long long)i);
        gs_strbuf_json(out, text.data, text.len);
        gs_strbuf_printf(out, ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
                              "\"normalized\": false, \"special\": %s}",
                         type == GS_PIECE_USER ? "false" : "true");
        comma = ",";
    }
    gs_strbuf_puts(out, "\n  ],\n");
    return GS_OK;
}

/* ByteLevel as post-processor only trims offsets; a template in front of the text is what
 * puts the BOS there for those who read this file alone. */
static gs_status put_post(gs_strbuf *out, const gs_gguf_vocab *v, const ends *e, gs_error *err) {
    static const char trim[] = "{\"type\": \"ByteLevel\", \"add_prefix_space\": true, "
                               "\"trim_offsets\": false, \"use_regex\": true}";
    if (!e->add_bos) {
        gs_strbuf_printf(out, "  \"post_processor\": %s,\n", trim);
        return GS_OK;
    }
    gs_strbuf name = {0};
    gs_gguf_str text;
    gs_piece_type type;
    if (v->bos < 0) return GS_FAIL(err, GS_E_FORMAT, "add_bos_token without a bos_token_id");
    GS_TRY(gs_gguf_vocab_piece(v, v->bos, &text, &type, err));
    gs_strbuf_json(&name, text.data, text.len);
    const char *bos = gs_strbuf_text(&name);
    gs_strbuf_printf(out, "  \"post_processor\": {\"type\": \"Sequence\", \"processors\": [%s,\n",
                     trim);
    gs_strbuf_printf(out, "    {\"type\": \"TemplateProcessing\", \"single\": [");
    gs_strbuf_printf(out, "{\"SpecialToken\": {\"id\": %s, \"type_id\": 0}}, ", bos);
    gs_strbuf_printf(out, "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}],\n     \"pair\": [");
    gs_strbuf_printf(out, "{\"SpecialToken\": {\"id\": %s, \"type_id\": 0}}, ", bos);
    gs_strbuf_printf(out, "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, ");
    gs_strbuf_printf(out, "{\"SpecialToken\": {\"id\": %s, \"type_id\": 1}}, ", bos);
    gs_strbuf_printf(
        out, "{\"Sequence\": {\"id\": \"B\", \"type_id\": 1}}],\n     \"special_tokens\": {");
    gs_strbuf_printf(out, "%s: {\"id\": %s, \"ids\": [%lld], \"tokens\": [%s]}}}]},\n", bos, bos,
                     (long long)v->bos, bos);
    if (name.failed) out->failed = true;
    gs_strbuf_clear(&name);
    return GS_OK;
}

static gs_status put_model(gs_strbuf *out, const gs_gguf_vocab *v, const gs_pre *pre,
                           gs_error *err) {
    gs_strbuf_printf(out,
                     "  \"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null,\n"
                     "    \"continuing_subword_prefix\": null, \"end_of_word_suffix\": null,\n"
                     "    \"fuse_unk\": false, \"byte_fallback\": false, \"ignore_merges\": %s,\n"
                     "    \"vocab\": {",
                     pre->ignore_merges ? "true" : "false");
    for (int64_t i = 0; i < v->count; i++) {
        gs_gguf_str text;
        gs_piece_type type;
        GS_TRY(gs_gguf_vocab_piece(v, i, &text, &type, err));
        gs_strbuf_puts(out, i ? ",\n      " : "\n      ");
        gs_strbuf_json(out, text.data, text.len);
        gs_strbuf_printf(out, ": %lld", (long long)i);
    }
    gs_strbuf_puts(out, "\n    },\n    \"merges\": [");
    int64_t n = gs_gguf_array(v->g, "tokenizer.ggml.merges", GS_GGUF_STRING);
    for (int64_t i = 0; i < n; i++) {
        gs_gguf_str merge;
        if (!gs_gguf_array_string(v->g, "tokenizer.ggml.merges", i, &merge))
            return GS_FAIL(err, GS_E_FORMAT, "merge %lld cannot be read", (long long)i);
        gs_strbuf_puts(out, i ? ",\n      " : "\n      ");
        gs_strbuf_json(out, merge.data, merge.len);
    }
    gs_strbuf_puts(out, "\n    ]\n  }\n}\n");
    return GS_OK;
}

static gs_status put_tokenizer_json(gs_strbuf *out, const gs_gguf_vocab *v, const gs_pre *pre,
                                    const ends *e, gs_error *err) {
    gs_strbuf_puts(out,
                   "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
    GS_TRY(put_added(out, v, err));
    gs_strbuf_printf(out, "  \"normalizer\": %s,\n", pre->normalizer);
    gs_strbuf_printf(out, "  \"pre_tokenizer\": %s,\n", pre->pre_tokenizer);
    GS_TRY(put_post(out, v, e, err));
    gs_strbuf_puts(out, "  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, "
                        "\"trim_offsets\": true, \"use_regex\": true},\n");
    return put_model(out, v, pre, err);
}

/* ---- tokenizer_config.json */

static gs_status put_token(gs_strbuf *out, const gs_gguf_vocab *v, const char *key, int64_t id,
                           gs_error *err) {
    gs_gguf_str text;
    gs_piece_type type;
    if (id < 0) return GS_OK;
    GS_TRY(gs_gguf_vocab_piece(v, id, &text, &type, err));
    gs_strbuf_printf(out, "  \"%s\": ", key);
    gs_strbuf_json(out, text.data, text.len);
    gs_strbuf_puts(out, ",\n");
    return GS_OK;
}

static void put_flag(gs_strbuf *out, const char *key, bool value) {
    gs_strbuf_printf(out, "  \"%s\": %s,\n", key, value ? "true" : "false");
}

/* "<architecture>.context_length", or the library's own number for "no limit". */
static void put_max_length(gs_strbuf *out, const gs_gguf *g) {
    gs_gguf_str arch;
    char key[128];
    int64_t length = 0;
    if (gs_gguf_string(g, "general.architecture", &arch) && arch.len < 64) {
        int n = snprintf(key, sizeof key, "%.*s.context_length", (int)arch.len, arch.data);
        if (n > 0 && (size_t)n < sizeof key) gs_gguf_int(g, key, &length);
    }
    if (length > 0) gs_strbuf_printf(out, "  \"model_max_length\": %lld,\n", (long long)length);
    else gs_strbuf_puts(out, "  \"model_max_length\": 1000000000000000019884624838656,\n");
}

static gs_status put_config(gs_strbuf *out, const gs_gguf_vocab *v, const ends *e,
                            gs_error *err) {
    gs_gguf_str chat;
    gs_strbuf_puts(out, "{\n");
    put_flag(out, "add_bos_token", e->add_bos);
    put_flag(out, "add_eos_token", e->add_eos);
    GS_TRY(put_token(out, v, "bos_token", v->bos, err));
    GS_TRY(put_token(out, v, "eos_token", v->eos, err));
    GS_TRY(put_token(out, v, "unk_token", v->unk, err));
    GS_TRY(put_token(out, v, "pad_token", v->pad, err));
    if (gs_gguf_string(v->g, "tokenizer.chat_template", &chat)) {
        gs_strbuf_puts(out, "  \"chat_template\": ");
        gs_strbuf_json(out, chat.data, chat.len);
        gs_strbuf_puts(out, ",\n");
    }
    put_max_length(out, v->g);
    put_flag(out, "clean_up_tokenization_spaces", false);
    if (e->bpe) {
        gs_strbuf_puts(out, "  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n}\n");
        return GS_OK;
    }
    /* legacy: each stretch of text goes to SentencePiece as it is, dummy space and all,
     * which is how the model file itself and llama.cpp read it */
    put_flag(out, "legacy", true);
    put_flag(out, "add_prefix_space", e->add_space);
    gs_strbuf_puts(out,
                   "  \"sp_model_kwargs\": {},\n  \"tokenizer_class\": \"LlamaTokenizer\"\n}\n");
    return GS_OK;
}

/* ---- both kinds */

static gs_status export_bpe(const gs_gguf_vocab *v, gs_strbuf *text, const char *dir, ends *e,
                            gs_error *err) {
    const gs_pre *pre;
    GS_TRY(gs_pre_find(v->g, &pre, err));
    *e = read_ends(v, true, pre->adds_bos);
    GS_TRY(put_tokenizer_json(text, v, pre, e, err));
    return write_text(dir, "tokenizer.json", text, err);
}

static gs_status export_spm(const gs_gguf_vocab *v, gs_strbuf *text, const char *dir, ends *e,
                            gs_error *err) {
    *e = read_ends(v, false, true);
    GS_TRY(gs_spm_from_gguf(v->g, text, err));
    return write_text(dir, "tokenizer.model", text, err);
}

gs_status gs_tokenizer_export_gguf(const gs_gguf *g, const char *dir, gs_error *err) {
    gs_gguf_vocab v;
    gs_tokenizer *t;
    gs_strbuf text = {0};
    ends e = {0};
    /* what cannot be read back is not written */
    GS_TRY(gs_tokenizer_from_gguf(g, &t, err));
    gs_tokenizer_destroy(t);
    GS_TRY(gs_gguf_vocab_read(&v, g, err));
    gs_status status = gs_gguf_str_is(v.model, "gpt2") ? export_bpe(&v, &text, dir, &e, err)
                                                       : export_spm(&v, &text, dir, &e, err);
    gs_strbuf_reset(&text);
    if (status == GS_OK) status = put_config(&text, &v, &e, err);
    if (status == GS_OK) status = write_text(dir, "tokenizer_config.json", &text, err);
    gs_strbuf_clear(&text);
    return status;
}
