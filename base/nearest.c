#include <base/nearest.h>

#include <string.h>

enum { LONGEST = 63 };

static size_t distance(const char *a, const char *b) {
    size_t n = strnlen(a, LONGEST), m = strnlen(b, LONGEST), row[LONGEST + 1];
    for (size_t j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t above = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
            if (above + 1 < best) best = above + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
            diagonal = above;
        }
    }
    return row[m];
}

const char *gs_nearest(const char *word, const char *const *known, size_t count) {
    const char *best = "";
    size_t best_distance = (size_t)-1;
    for (size_t i = 0; i < count; i++) {
        size_t d = distance(word, known[i]);
        if (d < best_distance) {
            best_distance = d;
            best = known[i];
        }
    }
    return best;
}

gs_status gs_choose(const char *what, const char *word, const char *const *known, size_t count, int *index,
                    gs_error *err) {
    *index = 0;
    if (!word) return GS_OK;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(word, known[i]) != 0) continue;
        *index = (int)i;
        return GS_OK;
    }
    gs_status status = GS_FAIL(err, GS_E_INVALID, "unknown %s '%s'", what, word);
    gs_error_hint(err, "did you mean '%s'?", gs_nearest(word, known, count));
    return status;
}
