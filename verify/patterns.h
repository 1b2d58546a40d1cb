/* Lists of modules in a quantization_config: "lm_head" is a name, "Linear" a class, "re:PATTERN" a regular expression that
 * matches from the name's beginning on (internal to verify/). One thread at a time. */
#ifndef GS_VERIFY_PATTERNS_H
#define GS_VERIFY_PATTERNS_H

#include <verify/subject.h>

/* How a module is met; a name is nearer than a class. */
typedef enum gs_meets { GS_MEETS_NOT, GS_MEETS_CLASS, GS_MEETS_NAME } gs_meets;

typedef struct gs_patterns gs_patterns;

/* list: borrowed until destroy. What is no list of words, or no expression, or more than 1024 of those, is a finding of
 * that check and is left out. */
gs_status gs_patterns_create(gs_subject *s, gs_check check, const char *about, const cJSON *list, gs_patterns **out,
                             gs_error *err) GS_NODISCARD;
void gs_patterns_destroy(gs_patterns *p); /* NULL ok */
gs_meets gs_patterns_meet(gs_patterns *p, const char *module);
/* The first expression that took too many steps on a module, and met none from then on, or NULL. */
const char *gs_patterns_endless(const gs_patterns *p);
/* The first word but for a class that has met no module so far, or NULL. */
const char *gs_patterns_idle(const gs_patterns *p);

#endif
