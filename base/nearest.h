/* The known word nearest to a mistyped one, for hints. */
#ifndef GS_BASE_NEAREST_H
#define GS_BASE_NEAREST_H

#include <base/error.h>

/* Smallest edit distance (Levenshtein 1966), first of equals; "" for count 0. Words longer than
 * 63 bytes are compared by their first 63. */
const char *gs_nearest(const char *word, const char *const *known, size_t count);

/* Index of a word in a list; NULL takes the first. GS_E_INVALID "unknown <what> '<word>'" with the
 * nearest as a hint. */
gs_status gs_choose(const char *what, const char *word, const char *const *known, size_t count, int *index,
                    gs_error *err) GS_NODISCARD;

#endif
