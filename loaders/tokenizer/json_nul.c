#include <loaders/tokenizer/json_nul.h>

#include <string.h>

#include <base/mem.h>

/* Noncharacters U+FDD0..U+FDEF; EF B7 90..AF in UTF-8. */
enum { FIRST = 0xfdd0, COUNT = 32 };

static bool hex4(const char *s, size_t left, unsigned *value) {
    *value = 0;
    if (left < 4) return false;
    for (int i = 0; i < 4; i++) {
        char c = s[i];
        unsigned digit = c >= '0' && c <= '9' ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
                                                : 16;
        if (digit == 16) return false;
        *value = *value << 4 | digit;
    }
    return true;
}

/* What begins at text[i], i being moved behind it: an escape's value, or UINT32_MAX. */
static unsigned step(const char *text, size_t len, size_t *i) {
    unsigned value;
    if (text[*i] != '\\') {
        ++*i;
        return UINT32_MAX;
    }
    if (*i + 1 < len && text[*i + 1] == 'u' && hex4(text + *i + 2, len - *i - 2, &value)) {
        *i += 6;
        return value;
    }
    *i += *i + 1 < len ? 2 : 1;
    return UINT32_MAX;
}

/* *used: a bit for each noncharacter that occurs. */
static size_t count_nuls(const char *text, size_t len, uint32_t *used) {
    size_t count = 0;
    *used = 0;
    for (size_t i = 0; i < len;) {
        const unsigned char *u = (const unsigned char *)text + i;
        if (u[0] == 0xef && i + 2 < len && u[1] == 0xb7 && u[2] >= 0x90 && u[2] < 0x90 + COUNT) *used |= 1u << (u[2] - 0x90);
        unsigned value = step(text, len, &i);
        count += value == 0;
        if (value >= FIRST && value < FIRST + COUNT) *used |= 1u << (value - FIRST);
    }
    return count;
}

gs_status gs_json_nul_hide(const char *text, size_t len, gs_strbuf *out, gs_json_nul *n, gs_error *err) {
    uint32_t used;
    memset(n, 0, sizeof *n);
    if (!memmem(text, len, "\\u0000", 6)) return GS_OK;
    n->count = count_nuls(text, len, &used);
    if (!n->count) return GS_OK;
    if (used == UINT32_MAX) return GS_FAIL(err, GS_E_UNSUPPORTED, "NUL and all of U+FDD0..U+FDEF in the strings of tokenizer.json");
    unsigned free_one = 0;
    while (used >> free_one & 1) free_one++;
    n->mark[0] = 0xef;
    n->mark[1] = 0xb7;
    n->mark[2] = (unsigned char)(0x90 + free_one);
    for (size_t i = 0, begin = 0; i < len; begin = i) {
        if (step(text, len, &i) == 0) gs_strbuf_append(out, n->mark, 3);
        else gs_strbuf_append(out, text + begin, i - begin);
    }
    return out->failed ? gs_error_nomem(err, len) : GS_OK;
}

size_t gs_json_nul_show(gs_json_nul *n, char *s, size_t len) {
    const char *from = s, *end = s + len, *hit;
    char *to = s;
    if (!n->count) return len;
    for (; (hit = memmem(from, (size_t)(end - from), n->mark, sizeof n->mark)); from = hit + sizeof n->mark) {
        size_t kept = (size_t)(hit - from);
        memmove(to, from, kept);
        to += kept;
        *to++ = 0;
        n->taken++;
    }
    memmove(to, from, (size_t)(end - from));
    return (size_t)(to - s) + (size_t)(end - from);
}
