/* UTF-8 and the few character classes that tokenizers speak of.
 *
 * gs_utf8_check is the gate: everything behind it may assume well-formed text, so the
 * inline steps below do not look at the length again. */
#ifndef GS_LOADERS_TOKENIZER_UTF8_H
#define GS_LOADERS_TOKENIZER_UTF8_H

#include <base/error.h>

/* GS_E_FORMAT with the byte offset unless the n bytes are well-formed UTF-8 (no overlong
 * forms, no surrogates, nothing above U+10FFFF). NUL is a character like any other. */
gs_status gs_utf8_check(const char *s, size_t n, gs_error *err) GS_NODISCARD;

/* Bytes of the character whose first byte is b (valid text only). */
static inline size_t gs_utf8_len(char b) {
    unsigned char c = (unsigned char)b;
    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* Code point at s (valid text only); *n becomes its length in bytes. */
static inline uint32_t gs_utf8_get(const char *s, size_t *n) {
    const unsigned char *u = (const unsigned char *)s;
    switch (*n = gs_utf8_len(*s)) {
    case 1: return u[0];
    case 2: return (u[0] & 0x1fu) << 6 | (u[1] & 0x3fu);
    case 3: return (u[0] & 0x0fu) << 12 | (u[1] & 0x3fu) << 6 | (u[2] & 0x3fu);
    default:
        return (u[0] & 0x07u) << 18 | (u[1] & 0x3fu) << 12 | (u[2] & 0x3fu) << 6 | (u[3] & 0x3fu);
    }
}

/* Start of the character that ends before s[end]; end > 0. */
static inline size_t gs_utf8_before(const char *s, size_t end) {
    do end--;
    while (end > 0 && ((unsigned char)s[end] & 0xc0) == 0x80);
    return end;
}

/* Encodes cp (a valid scalar value) into out[4]; its length in bytes. */
size_t gs_utf8_put(uint32_t cp, char out[4]);

bool gs_char_is_space(uint32_t cp);       /* Unicode White_Space */
bool gs_char_is_numeric(uint32_t cp);     /* general category Nd, Nl or No; versions: unicode.h */
bool gs_char_is_punctuation(uint32_t cp); /* ASCII punctuation or general category P */
bool gs_char_is_word(uint32_t cp);        /* UTS #18 \w: Alphabetic, M, Nd, Pc, joiners */
size_t gs_char_lower(uint32_t cp, char out[8]); /* full lower case, as UTF-8; bytes */

#endif
