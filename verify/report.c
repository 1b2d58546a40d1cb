#include <verify/report.h>

#include <base/mem.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static bool grow(gs_report *r) {
    if (r->count < r->capacity) return true;
    size_t capacity = r->capacity ? 2 * r->capacity : 64;
    gs_finding *grown = gs_realloc(r->finding, capacity, sizeof *grown);
    if (!grown) return false;
    r->finding = grown;
    r->capacity = capacity;
    return true;
}

/* Names come from files: a finding stays one line. */
static char *one_line(const char *text) {
    char *copy = gs_strdup(text);
    for (char *p = copy; p && *p; p++)
        if ((unsigned char)*p < ' ' || *p == 127) *p = '?';
    return copy;
}

static const char *const ids[] = {
#define X(name, id, what, why, source) id,
    GS_CHECK_LIST(X)
#undef X
};

static void keep(gs_report *r, gs_check check, const char *about, const char *fmt, va_list args) {
    char text[400];
    r->total++;
    if (r->count == GS_REPORT_MAX || r->status != GS_OK) return;
    vsnprintf(text, sizeof text, fmt, args);
    gs_finding f = {.check = ids[check], .tensor = one_line(about), .text = one_line(text)};
    if (f.tensor && f.text && grow(r)) {
        r->finding[r->count++] = f;
        return;
    }
    gs_free(f.tensor);
    gs_free(f.text);
    r->status = GS_E_NOMEM;
}

bool gs_report_that(gs_report *r, gs_check check, bool holds, const char *about, const char *fmt, ...) {
    r->ran[check] = true;
    if (holds) return true;
    va_list args;
    va_start(args, fmt);
    keep(r, check, about, fmt, args);
    va_end(args);
    return false;
}

void gs_report_fail(gs_report *r, gs_check check, const char *about, const char *fmt, ...) {
    va_list args;
    r->ran[check] = true;
    va_start(args, fmt);
    keep(r, check, about, fmt, args);
    va_end(args);
}

void gs_report_clear(gs_report *r) {
    for (size_t i = 0; i < r->count; i++) {
        gs_free(r->finding[i].tensor);
        gs_free(r->finding[i].text);
    }
    gs_free(r->finding);
    *r = (gs_report){0};
}
