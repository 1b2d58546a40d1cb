/* Which Unicode counts. Hugging Face's tokenizers carry several versions of it, and ids depend on them: Oniguruma has 16.0,
 * Rust's digits and lower case are newer still, punctuation and normal forms are those of 8.0 and 9.0. Our libraries
 * have one version each, PCRE2 14.0 or later. The tables (scripts/make_unicode_tables.py, which asks that
 * package about every character) hold the differences. Characters that no table names are the libraries'. */
#ifndef GS_LOADERS_TOKENIZER_UNICODE_H
#define GS_LOADERS_TOKENIZER_UNICODE_H

#include <base/strbuf.h>

/* Assigned after 14.0 and until 16.0, in order. */
typedef struct gs_unicode_newer {
    uint32_t first, last;
    char category[3];
    const char *script;
} gs_unicode_newer;

/* The row of cp, or NULL. */
const gs_unicode_newer *gs_unicode_newer_find(uint32_t cp);
/* Appends "\x{first}-\x{last}" for the rows whose category begins with name[0, len) or, of longer names, whose script it is:
 * part of a class for PCRE2. False when there are none. */
bool gs_unicode_newer_ranges(const char *name, size_t len, gs_strbuf *out);

bool gs_unicode_numeric_newer(uint32_t cp); /* general category N, and utf8proc may not know */
bool gs_unicode_punctuation(uint32_t cp);   /* beyond ASCII; all of it */
/* cp, or the lower case that utf8proc may not know. */
uint32_t gs_unicode_lower_newer(uint32_t cp);
/* A starter that no normal form changes, joins or moves, though utf8proc may. */
bool gs_unicode_inert(uint32_t cp);

#endif
