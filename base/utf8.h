/* Validity of UTF-8, as RFC 3629 section 4 has it: no overlong forms, no surrogates,
 * nothing above U+10FFFF; and of names, which may be shown on a terminal. */
#ifndef GS_BASE_UTF8_H
#define GS_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes (1..4) of the well-formed sequence that starts at s, of which n >= 1 bytes may
 * be read; 0 when it is malformed or cut off. */
static inline size_t gs_utf8_sequence(const char *s, size_t n) {
    const uint8_t *p = (const uint8_t *)s;
    uint8_t lead = p[0], low = 0x80, high = 0xbf;
    size_t len;
    if (lead < 0x80) return 1;
    if (lead >= 0xc2 && lead <= 0xdf) {
        len = 2;
    } else if (lead >= 0xe0 && lead <= 0xef) {
        len = 3;
        if (lead == 0xe0) low = 0xa0;
        if (lead == 0xed) high = 0x9f;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
        len = 4;
        if (lead == 0xf0) low = 0x90;
        if (lead == 0xf4) high = 0x8f;
    } else {
        return 0;
    }
    if (n < len || p[1] < low || p[1] > high) return 0;
    for (size_t i = 2; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
    }
    return len;
}

/* n bytes that may be shown: well-formed, without control characters, which a terminal would obey (U+0000..U+001F and
 * U+007F..U+009F). True for none. */
static inline bool gs_utf8_is_plain(const char *s, size_t n) {
    for (size_t i = 0, step; i < n; i += step) {
        uint8_t c = (uint8_t)s[i];
        step = gs_utf8_sequence(s + i, n - i);
        if (!step || c < 0x20 || c == 0x7f || (c == 0xc2 && (uint8_t)s[i + 1] < 0xa0)) return false;
    }
    return true;
}

#endif
