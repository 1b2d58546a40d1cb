#include <base/error.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

GS_API const char *gs_status_text(gs_status status) {
    switch (status) {
#define X(name, text) case GS_##name: return text;
        GS_STATUS_LIST(X)
#undef X
    }
    return "unknown status";
}

GS_API const char *gs_version(void) {
    return GSTICK_VERSION;
}

/* Names in messages come from untrusted files: a control byte could break the
 * one-line promise or drive the user's terminal. */
static void make_one_line(char *text) {
    for (char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '\n' || c == '\r' || c == '\t') *p = ' ';
        else if (c < 0x20 || c == 0x7f) *p = '?';
        else if (c == 0xc2 && (unsigned char)p[1] >= 0x80 && (unsigned char)p[1] < 0xa0) p[0] = p[1] = '?'; /* C1 */
    }
}

/* A cut in the middle of a UTF-8 sequence would leave a broken last character. */
static void drop_partial_utf8(char *text, size_t len) {
    size_t start = len;
    while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80) start--;
    if (start == 0) return;
    unsigned char lead = (unsigned char)text[start - 1];
    size_t want = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    if (len - (start - 1) < want) text[start - 1] = 0;
}

/* Formats into a buffer of its own first: the arguments may point into the target. */
static void format_line(char *out, size_t cap, const char *fmt, va_list args) {
    char line[sizeof((gs_error *)0)->text];
    if (cap > sizeof line) cap = sizeof line;
    int n = vsnprintf(line, cap, fmt, args);
    if (n < 0) {
        line[0] = 0;
    } else if ((size_t)n >= cap) {
        drop_partial_utf8(line, cap - 1);
    }
    make_one_line(line);
    memcpy(out, line, strlen(line) + 1);
}

gs_status gs_error_set(gs_error *err, gs_status status, const char *fmt, ...) {
    if (!err) return status;
    va_list args;
    va_start(args, fmt);
    format_line(err->text, sizeof err->text, fmt, args);
    va_end(args);
    err->status = status;
    err->hint[0] = 0;
    return status;
}

/* "<where>: <text>" in place of text; the end gives way when it does not fit. */
static void prepend(gs_error *err, const char *where) {
    char whole[sizeof err->text];
    size_t cap = sizeof whole, have = strlen(where);
    memcpy(whole, where, have + 1);
    /* `where` fits whole by construction; what follows takes the room that is left */
    int n = snprintf(whole + have, cap - have, ": %s", err->text);
    if (n >= 0 && (size_t)n >= cap - have) drop_partial_utf8(whole, cap - 1);
    memcpy(err->text, whole, strlen(whole) + 1);
}

gs_status gs_error_at(gs_error *err, const char *fmt, ...) {
    if (!err) return GS_E_FORMAT;
    char where[sizeof err->text];
    va_list args;
    va_start(args, fmt);
    format_line(where, sizeof where, fmt, args);
    va_end(args);
    prepend(err, where);
    return err->status;
}

gs_status gs_error_hint(gs_error *err, const char *fmt, ...) {
    if (!err) return GS_E_FORMAT;
    va_list args;
    va_start(args, fmt);
    format_line(err->hint, sizeof err->hint, fmt, args);
    va_end(args);
    return err->status;
}

static gs_status status_of_errno(int errnum) {
    switch (errnum) {
    case ENOSPC:
    case EDQUOT: return GS_E_NOSPACE;
    case ENOMEM: return GS_E_NOMEM;
    case ENOENT:
    case ENOTDIR: return GS_E_FORMAT;
    default: return GS_E_IO;
    }
}

gs_status gs_error_errno(gs_error *err, int errnum, const char *fmt, ...) {
    gs_status status = status_of_errno(errnum);
    if (!err) return status;
    char reason[128], what[sizeof err->text];
    va_list args;
    va_start(args, fmt);
    format_line(what, sizeof what, fmt, args);
    va_end(args);
    /* the GNU strerror_r: thread safe, and may return a static text instead */
    gs_error_set(err, status, "%s", strerror_r(errnum, reason, sizeof reason));
    prepend(err, what);
    if (status == GS_E_NOSPACE)
        gs_error_hint(err, "free some space there, or choose another output path");
    return status;
}
