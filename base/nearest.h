/* The known word nearest to a mistyped one, for hints. */
#ifndef GS_BASE_NEAREST_H
#define GS_BASE_NEAREST_H

#include <stddef.h>

/* Smallest edit distance (Levenshtein 1966), first of equals; "" for count 0. Words longer than
 * 63 bytes are compared by their first 63. */
const char *gs_nearest(const char *word, const char *const *known, size_t count);

#endif
