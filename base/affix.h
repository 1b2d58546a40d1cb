/* What a text begins and ends with, byte for byte. Every text begins and ends with "". Thread safe. */
#ifndef GS_BASE_AFFIX_H
#define GS_BASE_AFFIX_H

#include <stdbool.h>
#include <string.h>

static inline bool gs_starts_with(const char *text, const char *beginning) {
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

static inline bool gs_ends_with(const char *text, const char *end) {
    size_t n = strlen(text), k = strlen(end);
    return n >= k && memcmp(text + n - k, end, k) == 0;
}

#endif
