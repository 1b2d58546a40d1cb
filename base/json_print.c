#include <base/json.h>

#include <base/mem.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Integral values below this are written digit by digit (cJSON reads numbers of up to
 * 63 characters; readers that tell 1e30 from an integer then see the integer). */
#define PLAIN_BELOW 1e40

/* The shortest of 15..17 digits that reads back as the same double; 17 always do. */
static void format_double(double v, char *out, size_t cap) {
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(out, cap, "%.*g", digits, v);
        if (strtod(out, NULL) == v) break;
    }
    /* the host program's locale may have another decimal point */
    for (char *p = out; *p; p++) {
        if (!strchr("0123456789+-eE", *p)) *p = '.';
    }
}

static gs_status print_number(double v, gs_strbuf *out, gs_error *err) {
    char text[64];
    if (!isfinite(v))
        return GS_FAIL(err, GS_E_NUMERIC, "JSON has no number for %s",
                       isnan(v) ? "NaN" : "infinity");
    if (v == trunc(v) && fabs(v) < PLAIN_BELOW) snprintf(text, sizeof text, "%.0f", v);
    else format_double(v, text, sizeof text);
    gs_strbuf_puts(out, text);
    return GS_OK;
}

static void new_line(int indent, int depth, gs_strbuf *out) {
    if (indent > 0) gs_strbuf_printf(out, "\n%*s", indent * depth, "");
}

static gs_status print_item(const cJSON *item, int indent, int depth, gs_strbuf *out,
                            gs_error *err);

static gs_status print_children(const cJSON *item, int indent, int depth, gs_strbuf *out,
                                gs_error *err) {
    bool object = cJSON_IsObject(item);
    if (depth >= GS_JSON_MAX_DEPTH)
        return GS_FAIL(err, GS_E_INVALID, "JSON tree is nested deeper than %d levels",
                       GS_JSON_MAX_DEPTH);
    gs_strbuf_putc(out, object ? '{' : '[');
    for (const cJSON *child = item->child; child; child = child->next) {
        if (child != item->child) gs_strbuf_puts(out, indent > 0 ? "," : ", ");
        new_line(indent, depth + 1, out);
        if (object) {
            if (!child->string) return GS_FAIL(err, GS_E_INVALID, "JSON member has no key");
            gs_strbuf_json(out, child->string, strlen(child->string));
            gs_strbuf_puts(out, ": ");
        }
        GS_TRY(print_item(child, indent, depth + 1, out, err));
    }
    if (item->child) new_line(indent, depth, out);
    gs_strbuf_putc(out, object ? '}' : ']');
    return GS_OK;
}

static gs_status print_item(const cJSON *item, int indent, int depth, gs_strbuf *out,
                            gs_error *err) {
    if (cJSON_IsObject(item) || cJSON_IsArray(item))
        return print_children(item, indent, depth, out, err);
    if (cJSON_IsNumber(item)) return print_number(item->valuedouble, out, err);
    if (cJSON_IsString(item) && item->valuestring)
        gs_strbuf_json(out, item->valuestring, strlen(item->valuestring));
    else if (cJSON_IsRaw(item) && item->valuestring) gs_strbuf_puts(out, item->valuestring);
    else if (cJSON_IsTrue(item)) gs_strbuf_puts(out, "true");
    else if (cJSON_IsFalse(item)) gs_strbuf_puts(out, "false");
    else if (cJSON_IsNull(item)) gs_strbuf_puts(out, "null");
    else return GS_FAIL(err, GS_E_INVALID, "JSON item without a type");
    return GS_OK;
}

gs_status gs_json_print(const cJSON *item, int indent, gs_strbuf *out, gs_error *err) {
    if (indent < 0 || indent > 16)
        return GS_FAIL(err, GS_E_INVALID, "JSON indent of %d is not in 0..16", indent);
    GS_TRY(print_item(item, indent, 0, out, err));
    return out->failed ? gs_error_nomem(err, out->len) : GS_OK;
}
