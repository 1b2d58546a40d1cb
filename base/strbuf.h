/* A growing byte string, always NUL-terminated. Errors are sticky: after a failed
 * allocation `failed` is true and appends do nothing, so callers check once.
 * Start with `gs_strbuf sb = {0}`; gs_strbuf_clear releases. Not thread safe. */
#ifndef GS_BASE_STRBUF_H
#define GS_BASE_STRBUF_H

#include <base/error.h>

typedef struct gs_strbuf {
    char *data; /* NULL while empty; use gs_strbuf_text for printing */
    size_t len, cap;
    bool failed;
} gs_strbuf;

void gs_strbuf_append(gs_strbuf *sb, const void *bytes, size_t n);
void gs_strbuf_puts(gs_strbuf *sb, const char *s);
void gs_strbuf_putc(gs_strbuf *sb, char c);
void gs_strbuf_printf(gs_strbuf *sb, const char *fmt, ...) GS_PRINTF(2, 3);
/* Appends s (n bytes of UTF-8) as a JSON string with quotes. Malformed bytes
 * become U+FFFD, one each. */
void gs_strbuf_json(gs_strbuf *sb, const char *s, size_t n);
const char *gs_strbuf_text(const gs_strbuf *sb); /* "" when empty */
/* Moves the bytes out (gs_free them); NULL if failed or empty. */
char *gs_strbuf_take(gs_strbuf *sb, size_t *len);
void gs_strbuf_reset(gs_strbuf *sb); /* keep memory, length 0 */
void gs_strbuf_clear(gs_strbuf *sb);

#endif
