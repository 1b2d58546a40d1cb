/* A list of module names as quantization configurations write them: "lm_head" is the name itself, "re:PATTERN" a regular
 * expression that matches from the name's beginning on (Python's re.match). */
#ifndef GS_DEPLOY_NAME_PATTERNS_H
#define GS_DEPLOY_NAME_PATTERNS_H

#include <base/json.h>

typedef struct gs_name_patterns gs_name_patterns;

/* list: an array of strings, borrowed until destroy; NULL or null: no names. GS_E_FORMAT for anything else,
 * GS_E_UNSUPPORTED for an expression that PCRE2 cannot compile. */
gs_status gs_name_patterns_create(const cJSON *list, gs_name_patterns **out, gs_error *err) GS_NODISCARD;
void gs_name_patterns_destroy(gs_name_patterns *p); /* NULL ok */
/* Whether one of them is or matches the name. GS_E_UNSUPPORTED for an expression that takes too many steps. */
gs_status gs_name_patterns_match(const gs_name_patterns *p, const char *name, bool *hit, gs_error *err) GS_NODISCARD;
/* Whether the list has exactly this name. */
bool gs_name_patterns_has(const gs_name_patterns *p, const char *word);

#endif
