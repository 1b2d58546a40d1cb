#include <base/strbuf.h>

#include <base/mem.h>
#include <base/utf8.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Room for n more bytes and the terminator. */
static bool reserve(gs_strbuf *sb, size_t n) {
    if (sb->failed) return false;
    if (n < sb->cap - sb->len) return true; /* also false for cap == len == 0 */
    size_t cap = sb->cap ? sb->cap : 64;
    while (cap - sb->len <= n && cap <= SIZE_MAX / 2) cap *= 2;
    char *data = cap - sb->len > n ? gs_realloc(sb->data, 1, cap) : NULL;
    if (!data) {
        sb->failed = true;
        return false;
    }
    sb->data = data;
    sb->cap = cap;
    return true;
}

void gs_strbuf_append(gs_strbuf *sb, const void *bytes, size_t n) {
    if (!reserve(sb, n)) return;
    if (n) memcpy(sb->data + sb->len, bytes, n);
    sb->len += n;
    sb->data[sb->len] = 0;
}

void gs_strbuf_puts(gs_strbuf *sb, const char *s) {
    gs_strbuf_append(sb, s, strlen(s));
}

void gs_strbuf_putc(gs_strbuf *sb, char c) {
    gs_strbuf_append(sb, &c, 1);
}

void gs_strbuf_printf(gs_strbuf *sb, const char *fmt, ...) {
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    char line[256];
    int n = vsnprintf(line, sizeof line, fmt, args);
    if (n < 0) {
        sb->failed = true;
    } else if ((size_t)n < sizeof line) {
        gs_strbuf_append(sb, line, (size_t)n);
    } else if (reserve(sb, (size_t)n)) {
        vsnprintf(sb->data + sb->len, (size_t)n + 1, fmt, again);
        sb->len += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

static void put_escape(gs_strbuf *sb, unsigned char c) {
    static const char plain[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (const char *p = plain; *p; p += 2) {
        if ((unsigned char)p[0] == c) {
            gs_strbuf_putc(sb, '\\');
            gs_strbuf_putc(sb, p[1]);
            return;
        }
    }
    gs_strbuf_printf(sb, "\\u%04x", c);
}

void gs_strbuf_json(gs_strbuf *sb, const char *s, size_t n) {
    gs_strbuf_putc(sb, '"');
    size_t clean = 0; /* start of the run that needs no escape */
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)s[i];
        size_t len = gs_utf8_sequence(s + i, n - i);
        if (len && c >= 0x20 && c != '"' && c != '\\') {
            i += len;
            continue;
        }
        gs_strbuf_append(sb, s + clean, i - clean);
        /* malformed bytes must not make the document malformed */
        if (len) put_escape(sb, c);
        else gs_strbuf_puts(sb, "\\ufffd");
        clean = ++i;
    }
    if (n > clean) gs_strbuf_append(sb, s + clean, n - clean);
    gs_strbuf_putc(sb, '"');
}

const char *gs_strbuf_text(const gs_strbuf *sb) {
    return sb->data ? sb->data : "";
}

char *gs_strbuf_take(gs_strbuf *sb, size_t *len) {
    char *data = sb->failed || !sb->len ? NULL : sb->data;
    if (len) *len = data ? sb->len : 0;
    if (data) sb->data = NULL;
    gs_strbuf_clear(sb);
    return data;
}

void gs_strbuf_reset(gs_strbuf *sb) {
    sb->len = 0;
    sb->failed = false;
    if (sb->data) sb->data[0] = 0;
}

void gs_strbuf_clear(gs_strbuf *sb) {
    gs_free(sb->data);
    *sb = (gs_strbuf){0};
}
