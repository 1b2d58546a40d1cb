/* Findings as they are collected (internal to verify/). One thread at a time. */
#ifndef GS_VERIFY_REPORT_H
#define GS_VERIFY_REPORT_H

#include <base/error.h>
#include <verify/checks.h>

enum { GS_REPORT_MAX = 10000 };

/* Starts zeroed. */
typedef struct gs_report {
    gs_finding *finding;
    size_t count, capacity, total;
    bool ran[GS_CHECK_COUNT];
    gs_status status; /* GS_E_NOMEM once a finding could not be kept */
} gs_report;

/* One thing that does not hold; `about` is a tensor or a file, or "". Text is cut at 400 bytes, control characters
 * become '?'. */
void gs_report_fail(gs_report *r, gs_check check, const char *about, const char *fmt, ...) GS_PRINTF(4, 5);
/* Notes that the check was run; a finding unless it holds. Returns holds. */
bool gs_report_that(gs_report *r, gs_check check, bool holds, const char *about, const char *fmt, ...) GS_PRINTF(5, 6);
void gs_report_clear(gs_report *r);

#endif
