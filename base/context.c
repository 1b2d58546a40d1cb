#include <base/context.h>

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

/* Lock-free, so a signal handler may store to it. */
static atomic_int cancelled;
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "the cancel flag is set from signal handlers");

void gs_log(gs_context *cx, gs_log_level level, const char *fmt, ...) {
    if (!cx || !cx->log) return;
    char line[1024];
    va_list args;
    va_start(args, fmt);
    if (vsnprintf(line, sizeof line, fmt, args) < 0) line[0] = 0;
    va_end(args);
    /* texts may hold names from untrusted files: keep it one harmless line */
    for (char *p = line; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c < 0x20 || c == 0x7f) *p = ' ';
    }
    cx->log(cx->ui, level, line);
}

void gs_progress(gs_context *cx, const char *what, int64_t done, int64_t total) {
    if (cx && cx->progress) cx->progress(cx->ui, what, done, total);
}

void gs_cancel_request(void) {
    atomic_store(&cancelled, 1);
}

gs_status gs_cancel_check(gs_error *err) {
    if (!atomic_load_explicit(&cancelled, memory_order_relaxed)) return GS_OK;
    return GS_FAIL(err, GS_E_CANCELLED, "interrupted");
}

void gs_cancel_reset(void) {
    atomic_store(&cancelled, 0);
}

double gs_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
