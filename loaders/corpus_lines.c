#include <loaders/corpus_lines.h>

#include <base/json.h>
#include <base/mem.h>
#include <base/nearest.h>
#include <loaders/corpus.h>

#include <ctype.h>
#include <string.h>

static bool is_blank(const char *s, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r') return false;
    return true;
}

bool gs_corpus_line_next(const char *data, size_t len, size_t *at, size_t *begin, size_t *end) {
    while (*at < len) {
        const char *newline = memchr(data + *at, '\n', len - *at);
        *begin = *at;
        *end = newline ? (size_t)(newline - data) : len;
        *at = newline ? *end + 1 : len;
        if (!is_blank(data + *begin, *end - *begin)) return true;
    }
    return false;
}

size_t gs_corpus_line_number(const char *data, size_t begin) {
    size_t number = 1;
    for (size_t i = 0; i < begin; i++) number += data[i] == '\n';
    return number;
}

static bool is_escape(const char *s, size_t len) {
    if (len == 0) return false;
    if (s[0] != 'u') return s[0] && strchr("\"\\/bfnrt", s[0]);
    for (size_t i = 1; i <= 4; i++)
        if (i >= len || !isxdigit((unsigned char)s[i])) return false;
    return true;
}

/* The line with a backslash before each that begins no escape of JSON's: formulas are often
 * written into such files unescaped. False when there is none. */
static bool repair(const char *line, size_t len, gs_strbuf *out) {
    bool in_string = false, repaired = false;
    for (size_t i = 0; i < len; i++) {
        gs_strbuf_putc(out, line[i]);
        if (line[i] == '"') in_string = !in_string;
        if (line[i] != '\\' || !in_string) continue;
        if (is_escape(line + i + 1, len - i - 1)) {
            gs_strbuf_putc(out, line[++i]);
        } else {
            gs_strbuf_putc(out, '\\');
            repaired = true;
        }
    }
    return repaired;
}

static gs_status parse(const char *line, size_t len, cJSON **json, bool *repaired, gs_error *err) {
    gs_strbuf fixed = {0};
    gs_status status = gs_json_parse(line, len, json, err);
    *repaired = false;
    if (status == GS_E_FORMAT && repair(line, len, &fixed)) {
        gs_status again = fixed.failed ? GS_E_NOMEM : gs_json_parse(fixed.data, fixed.len, json, NULL);
        *repaired = again == GS_OK;
        if (again == GS_OK) status = again;
        if (again == GS_E_NOMEM) status = gs_error_nomem(err, len);
    }
    gs_strbuf_clear(&fixed);
    if (status != GS_E_FORMAT) return status;
    /* it is a line of a file here, so the parser's own count of lines would mislead */
    static const char prefix[] = "JSON line 1 ";
    if (err && strncmp(err->text, prefix, sizeof prefix - 1) == 0)
        gs_error_set(err, status, "%s", err->text + sizeof prefix - 1);
    gs_error_hint(err, line[0] == '[' ? "one object a line: jq -c '.[]' FILE makes such a file of an array"
                                      : "each line is one JSON object, such as {\"text\": \"...\"}");
    return status;
}

static gs_status no_field(const cJSON *object, const char *field, gs_error *err) {
    const char *known[16];
    size_t count = 0;
    gs_strbuf keys = {0};
    for (const cJSON *item = object->child; item && count < GS_COUNTOF(known); item = item->next) {
        gs_strbuf_printf(&keys, "%s%.40s", count ? ", " : "", item->string);
        known[count++] = item->string;
    }
    gs_status status = field ? GS_FAIL(err, GS_E_FORMAT, "there is no field \"%.100s\"", field)
                             : GS_FAIL(err, GS_E_FORMAT, "there is no text in any of the usual fields (text, prompt ...)");
    if (field && count)
        gs_error_hint(err, "did you mean \"%.100s\"?", gs_nearest(field, known, count));
    else if (count)
        gs_error_hint(err, "name the field to take; this line has %.300s", gs_strbuf_text(&keys));
    gs_strbuf_clear(&keys);
    return status;
}

/* The member that carries the text; null counts as absent. */
static const cJSON *find_field(const cJSON *object, const char *field) {
    static const char *const usual[] = {GS_CORPUS_FIELDS};
    const cJSON *item = NULL;
    if (field) {
        item = gs_json_get(object, field);
        return cJSON_IsNull(item) ? NULL : item;
    }
    for (size_t i = 0; i < GS_COUNTOF(usual) && (!item || cJSON_IsNull(item)); i++)
        item = gs_json_get(object, usual[i]);
    return cJSON_IsNull(item) ? NULL : item;
}

/* Depth is bounded by GS_JSON_MAX_DEPTH. False on anything that is no text. */
static bool append_text(const cJSON *item, bool *first, gs_strbuf *out) {
    if (cJSON_IsNull(item)) return true;
    if (cJSON_IsString(item)) {
        if (!*first) gs_strbuf_putc(out, '\n');
        *first = false;
        gs_strbuf_puts(out, item->valuestring);
        return true;
    }
    if (cJSON_IsObject(item)) {
        static const char *const parts[] = {"content", "value", "text"};
        for (size_t i = 0; i < GS_COUNTOF(parts); i++) {
            const cJSON *part = gs_json_get(item, parts[i]);
            if (part) return append_text(part, first, out);
        }
        return false;
    }
    if (!cJSON_IsArray(item)) return false;
    const cJSON *each;
    cJSON_ArrayForEach(each, item)
        if (!append_text(each, first, out)) return false;
    return true;
}

static gs_status text_of(const cJSON *json, const char *field, gs_strbuf *out, gs_error *err) {
    bool first = true;
    if (!cJSON_IsObject(json)) {
        gs_status status = GS_FAIL(err, GS_E_FORMAT, "this is no JSON object");
        gs_error_hint(err, "each line is one, such as {\"text\": \"...\"}; jq -c '.[]' FILE makes them of an array");
        return status;
    }
    const cJSON *item = find_field(json, field);
    if (!item) return no_field(json, field, err);
    if (!append_text(item, &first, out)) {
        gs_status status = GS_FAIL(err, GS_E_FORMAT, "\"%.100s\" is no text", item->string);
        gs_error_hint(err, "a string is wanted, a list of strings, or a chat's list of messages with a content each");
        return status;
    }
    return out->failed ? gs_error_nomem(err, out->len) : GS_OK;
}

gs_status gs_corpus_line_text(const char *line, size_t len, const char *field, gs_strbuf *out,
                              bool *repaired, gs_error *err) {
    cJSON *json = NULL;
    *repaired = false;
    if (len > GS_CORPUS_MAX_LINE)
        return GS_FAIL(err, GS_E_FORMAT, "%zu bytes in one line; at most %d are read", len, GS_CORPUS_MAX_LINE);
    GS_TRY(parse(line, len, &json, repaired, err));
    gs_status status = text_of(json, field, out, err);
    cJSON_Delete(json);
    return status;
}
