#include <loaders/tokenizer/utf8.h>

#include <string.h>
#include <utf8proc.h>

#include <base/utf8.h>
#include <loaders/tokenizer/unicode.h>

gs_status gs_utf8_check(const char *s, size_t n, gs_error *err) {
    for (size_t i = 0; i < n;) {
        size_t len = (unsigned char)s[i] < 0x80 ? 1 : gs_utf8_sequence(s + i, n - i);
        if (!len) return GS_FAIL(err, GS_E_FORMAT, "not valid UTF-8 at byte %zu of %zu", i, n);
        i += len;
    }
    return GS_OK;
}

size_t gs_utf8_put(uint32_t cp, char out[4]) {
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)cp, (utf8proc_uint8_t *)out);
}

bool gs_char_is_space(uint32_t cp) {
    if (cp < 0x80) return cp == ' ' || (cp >= '\t' && cp <= '\r');
    return cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

bool gs_char_is_numeric(uint32_t cp) {
    if (cp < 0x80) return cp >= '0' && cp <= '9';
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return (c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO) || gs_unicode_numeric_newer(cp);
}

bool gs_char_is_punctuation(uint32_t cp) {
    if (cp < 0x80)
        return (cp >= '!' && cp <= '/') || (cp >= ':' && cp <= '@') || (cp >= '[' && cp <= '`') ||
               (cp >= '{' && cp <= '~');
    return gs_unicode_punctuation(cp);
}

bool gs_char_is_word(uint32_t cp) {
    /* the joiners, and the enclosed letters that are Alphabetic though symbols */
    if (cp == 0x200c || cp == 0x200d || (cp >= 0x24b6 && cp <= 0x24e9) ||
        (cp >= 0x1f130 && cp <= 0x1f149) || (cp >= 0x1f150 && cp <= 0x1f169) ||
        (cp >= 0x1f170 && cp <= 0x1f189))
        return true;
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    if ((c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_NL) || c == UTF8PROC_CATEGORY_PC) return true;
    const gs_unicode_newer *row = gs_unicode_newer_find(cp);
    return row && (strchr("LM", row->category[0]) || strcmp(row->category, "Nd") == 0);
}

size_t gs_char_lower(uint32_t cp, char out[8]) {
    /* the one character whose lower case is two (SpecialCasing.txt, unconditional) */
    if (cp == 0x130) {
        size_t n = gs_utf8_put('i', out);
        return n + gs_utf8_put(0x307, out + n);
    }
    uint32_t low = (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
    return gs_utf8_put(low == cp ? gs_unicode_lower_newer(cp) : low, out);
}
