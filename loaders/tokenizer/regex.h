/* The regular expressions of tokenizer.json, run by PCRE2.
 *
 * They are written for Oniguruma (Ruby syntax), which Hugging Face's tokenizers use; the
 * two engines agree on most of the language but not on all. gs_tokregex_translate rewrites
 * what can be said in PCRE2 with the same meaning and refuses the rest, so that a pattern
 * never silently splits differently.
 *
 * A compiled expression is read-only and shared between threads; each thread brings its
 * own gs_tokregex_run. */
#ifndef GS_LOADERS_TOKENIZER_REGEX_H
#define GS_LOADERS_TOKENIZER_REGEX_H

#include <base/error.h>
#include <base/strbuf.h>

typedef struct gs_tokregex gs_tokregex;
typedef struct gs_tokregex_run gs_tokregex_run;

/* GS_E_UNSUPPORTED with the construct's name and offset. pattern: valid UTF-8. */
gs_status gs_tokregex_translate(const char *pattern, size_t len, gs_strbuf *out,
                                gs_error *err) GS_NODISCARD;

gs_status gs_tokregex_compile(const char *pattern, size_t len, gs_tokregex **out,
                              gs_error *err) GS_NODISCARD;
void gs_tokregex_destroy(gs_tokregex *re);

gs_status gs_tokregex_run_create(const gs_tokregex *re, gs_tokregex_run **out,
                                 gs_error *err) GS_NODISCARD;
void gs_tokregex_run_destroy(gs_tokregex_run *run);

/* First match in text[from, len), text[0, len) being the whole subject. *found is false
 * when there is none. An expression that needs too many steps is GS_E_UNSUPPORTED. */
gs_status gs_tokregex_next(gs_tokregex_run *run, const char *text, size_t len, size_t from,
                           size_t *begin, size_t *end, bool *found, gs_error *err) GS_NODISCARD;

#endif
