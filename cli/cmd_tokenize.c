#include <api/output.h>
#include <api/session.h>
#include <base/file.h>
#include <base/mem.h>
#include <cli/ui.h>
#include <loaders/corpus_lines.h>
#include <loaders/tokenizer/ids.h>
#include <loaders/tokenizer.h>

#include <string.h>

enum { MAX_TEXT = 1 << 30 };

typedef struct job {
    const char *model, *text, *out;
    gs_bos_mode bos;
    bool special, lines;
    size_t count, marks; /* ids, and marks among them that end a line's */
    double seconds;
    char kind[64];
} job;

static gs_status write_ids(const char *path, const int32_t *ids, size_t count, gs_error *err) {
    gs_outfile *file = NULL;
    uint8_t *bytes = gs_calloc(count ? count : 1, 4);
    if (!bytes) return gs_error_nomem(err, 4 * count);
    for (size_t i = 0; i < count; i++)
        for (int b = 0; b < 4; b++) bytes[4 * i + (size_t)b] = (uint8_t)((uint32_t)ids[i] >> (8 * b));
    gs_status status = gs_outfile_create(path, &file, err);
    if (status == GS_OK) status = gs_outfile_write(file, bytes, 4 * count, err);
    gs_free(bytes);
    if (status == GS_OK) return gs_outfile_commit(file, err);
    gs_outfile_abort(file);
    return status;
}

static gs_status tokenize_line(const job *j, gs_context *cx, const gs_tokenizer *t, const char *line, size_t len, gs_ids *all,
                               gs_error *err) {
    gs_strbuf text = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    bool repaired;
    gs_status status = gs_corpus_line_text(line, len, NULL, &text, &repaired, err);
    if (status == GS_OK)
        status = gs_tokenizer_encode(t, cx, gs_strbuf_text(&text), text.len, j->bos, j->special, &ids, &count, err);
    if (status == GS_OK) status = gs_ids_reserve(all, count + 1, err);
    if (status == GS_OK) {
        memcpy(all->v + all->n, ids, count * sizeof *ids);
        all->n += count;
        all->v[all->n++] = -1;
    }
    gs_free(ids);
    gs_strbuf_clear(&text);
    return status;
}

static gs_status tokenize_lines(job *j, gs_context *cx, const gs_tokenizer *t, const char *data, size_t len, int32_t **ids,
                                gs_error *err) {
    gs_ids all = {0};
    gs_status status = GS_OK;
    size_t at = 0, begin, end;
    while (status == GS_OK && gs_corpus_line_next(data, len, &at, &begin, &end)) {
        status = tokenize_line(j, cx, t, data + begin, end - begin, &all, err);
        if (status != GS_OK) gs_error_at(err, "line %zu", gs_corpus_line_number(data, begin));
        j->marks++;
    }
    *ids = all.v;
    j->count = all.n;
    return status;
}

static gs_status run(job *j, gs_context *cx, gs_error *err) {
    double began = gs_clock();
    gs_tokenizer *tokenizer;
    char *text = NULL;
    int32_t *ids = NULL;
    size_t len;
    GS_TRY(gs_output_check_input(j->model, j->out, err));
    GS_TRY(gs_output_check_input(j->text, j->out, err));
    GS_TRY(gs_tokenizer_open(j->model, &tokenizer, err));
    gs_status status = gs_file_read(j->text, MAX_TEXT, &text, &len, err);
    if (status == GS_OK) {
        status = j->lines ? tokenize_lines(j, cx, tokenizer, text, len, &ids, err)
                          : gs_tokenizer_encode(tokenizer, cx, text, len, j->bos, j->special, &ids, &j->count, err);
        if (status != GS_OK) gs_error_at(err, "%s", j->text);
    }
    if (status == GS_OK) status = write_ids(j->out, ids, j->count, err);
    strncpy(j->kind, gs_tokenizer_kind(tokenizer), sizeof j->kind - 1);
    j->seconds = gs_clock() - began;
    gs_free(ids);
    gs_free(text);
    gs_tokenizer_destroy(tokenizer);
    return status;
}

int gs_cmd_tokenize(int argc, char **argv) {
    gs_ui ui;
    job j = {0};
    bool bos = false, no_bos = false;
    gs_ui_init(&ui);
    const gs_arg args[] = {
        {"--text", "FILE", GS_ARG_STRING, &j.text, "UTF-8 text"},
        {"-o,--output", "FILE.i32", GS_ARG_STRING, &j.out, "where the ids go: little-endian int32"},
        {"--bos", NULL, GS_ARG_FLAG, &bos, "put a BOS first, whatever the tokenizer's configuration says"},
        {"--no-bos", NULL, GS_ARG_FLAG, &no_bos, "put no BOS first"},
        {"--jsonl", NULL, GS_ARG_FLAG, &j.lines,
         "the file is JSON lines, each with a text of its own as calibration sets have it; -1 ends the ids of each"},
        {"--special", NULL, GS_ARG_FLAG, &j.special, "recognise special tokens written in the text"},
        GS_UI_ARGS(&ui),
    };
    const gs_command command = {"gstick tokenize MODEL --text FILE -o FILE.i32 [options]",
                                "Token ids of a text. MODEL is a directory with tokenizer.json or tokenizer.model, such a\n"
                                "file, or a GGUF file.",
                                GS_EXIT_CODES, args, GS_COUNTOF(args)};
    size_t words;
    bool help;
    gs_error err = {0};
    if (gs_args_parse(&command, argc, argv, &j.model, 1, &words, &help, &err) != GS_OK) return gs_ui_fail(&ui, &err);
    if (help) {
        gs_args_help(&command);
        return GS_EXIT_OK;
    }
    if (!j.model || !j.text || !j.out || (bos && no_bos)) {
        gs_error_set(&err, GS_E_INVALID, "a model, --text and -o are needed, and at most one of --bos and --no-bos");
        gs_error_hint(&err, "%s", command.usage);
        return gs_ui_fail(&ui, &err);
    }
    j.bos = bos ? GS_BOS_ALWAYS : no_bos ? GS_BOS_NEVER : GS_BOS_AUTO;
    gs_session *session = NULL;
    gs_status status = gs_ui_session(&ui, &session, &err);
    if (status == GS_OK) status = run(&j, &session->context, &err);
    gs_session_destroy(session);
    if (status != GS_OK) return gs_ui_fail(&ui, &err);
    gs_strbuf out = {0};
    if (ui.json) {
        gs_strbuf_printf(&out, "{\"tokens\": %zu, \"seconds\": %.6g, \"tokenizer\": ", j.count - j.marks, j.seconds);
        gs_strbuf_json(&out, j.kind, strlen(j.kind));
        gs_strbuf_puts(&out, "}\n");
    } else {
        gs_strbuf_printf(&out, "%zu tokens (%s) in %.2f s -> %s\n", j.count - j.marks, j.kind, j.seconds, j.out);
    }
    return gs_ui_print(&ui, &out);
}
