#include <loaders/tokenizer/unicode.h>

#include <stdlib.h>
#include <string.h>

/* All rows begin like this, so that one search serves them. */
typedef struct range {
    uint32_t first, last;
} range;

typedef struct shifted {
    uint32_t first, last;
    int32_t by;
} shifted;

#include "unicode_tables.inc"

static int place(const void *key, const void *row) {
    uint32_t cp = *(const uint32_t *)key;
    const range *r = row;
    return cp < r->first ? -1 : cp > r->last;
}

#define FIND(table, cp) bsearch(&(cp), table, GS_COUNTOF(table), sizeof *(table), place)

const gs_unicode_newer *gs_unicode_newer_find(uint32_t cp) { return FIND(newer, cp); }

static bool has_property(const gs_unicode_newer *r, const char *name, size_t len) {
    if (len <= 2) return memcmp(r->category, name, len) == 0;
    return strlen(r->script) == len && memcmp(r->script, name, len) == 0;
}

/* Neighbours are put together: every range costs time in each match. */
bool gs_unicode_newer_ranges(const char *name, size_t len, gs_strbuf *out) {
    bool any = false;
    for (size_t i = 0; i < GS_COUNTOF(newer); i++) {
        if (!has_property(&newer[i], name, len)) continue;
        uint32_t first = newer[i].first;
        while (i + 1 < GS_COUNTOF(newer) && newer[i + 1].first == newer[i].last + 1 && has_property(&newer[i + 1], name, len)) i++;
        gs_strbuf_printf(out, "\\x{%x}-\\x{%x}", (unsigned)first, (unsigned)newer[i].last);
        any = true;
    }
    return any;
}

bool gs_unicode_numeric_newer(uint32_t cp) { return FIND(numeric, cp) != NULL; }

bool gs_unicode_punctuation(uint32_t cp) { return FIND(punctuation, cp) != NULL; }

uint32_t gs_unicode_lower_newer(uint32_t cp) {
    const shifted *s = FIND(lower, cp);
    return s ? (uint32_t)((int32_t)cp + s->by) : cp;
}

bool gs_unicode_inert(uint32_t cp) { return FIND(inert, cp) != NULL; }
