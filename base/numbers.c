#include <base/numbers.h>

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool gs_number_int(const char *text, int64_t *out) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end || errno || value < 0) return false;
    *out = value;
    return true;
}

/* 1, or the power of 1024 of a suffix; 0 when it is none. */
static double unit_of(const char *suffix) {
    static const char letters[] = "KMGT";
    double unit = 1;
    const char *letter = *suffix ? strchr(letters, toupper((unsigned char)*suffix)) : NULL;
    if (letter) {
        for (const char *p = letters; p <= letter; p++) unit *= 1024;
        suffix++;
        if (*suffix == 'i') suffix++;
    }
    if (*suffix == 'B' || *suffix == 'b') suffix++;
    return *suffix ? 0 : unit;
}

bool gs_number_bytes(const char *text, int64_t *out) {
    char *end;
    double value = strtod(text, &end), unit = end == text ? 0 : unit_of(end);
    if (unit == 0 || !(value >= 0 && value * unit < 9e18)) return false;
    *out = (int64_t)(value * unit);
    return true;
}

bool gs_number_double(const char *text, double *out) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value)) return false;
    *out = value;
    return true;
}
