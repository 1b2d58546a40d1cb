/* What a long-running call needs from its caller: the worker team, where messages
 * go, where progress goes, and whether to stop. The library itself never prints.
 * A zeroed gs_context is valid: serial, silent. One user at a time. */
#ifndef GS_BASE_CONTEXT_H
#define GS_BASE_CONTEXT_H

#include <base/error.h>
#include <base/team.h>

typedef struct gs_context {
    gs_team *team;                /* may be NULL */
    const gs_topology *topology;  /* may be NULL */
    void (*log)(void *ui, gs_log_level level, const char *text); /* one line, no newline */
    /* done of total units of `what`; called often, throttling is the sink's task.
     * total < 0: unknown; done == total: finished. */
    void (*progress)(void *ui, const char *what, int64_t done, int64_t total);
    void *ui;
    int64_t memory_budget;        /* bytes for activations in flight; 0 = default */
    const struct gs_network_helper *helper; /* a model family given at run time (llm/), or NULL */
} gs_context;

void gs_log(gs_context *cx, gs_log_level level, const char *fmt, ...) GS_PRINTF(3, 4);
void gs_progress(gs_context *cx, const char *what, int64_t done, int64_t total);

/* After gs_cancel_request (gstick.h): GS_E_CANCELLED, else GS_OK. Jobs call it between pieces of work. */
gs_status gs_cancel_check(gs_error *err) GS_NODISCARD;
void gs_cancel_reset(void);

/* Monotonic seconds. */
double gs_clock(void);

/* A sink for terminals: a bar with percentage, rate and ETA on stderr, redrawn at
 * most ten times a second, shown only after two seconds and only if stderr is a
 * terminal; the line is erased when done. */
typedef struct gs_progress_bar {
    uint64_t what;          /* hash of the current label: the caller's text may be gone */
    int64_t done;           /* at the last update; going back restarts the clock */
    double started, drawn;  /* gs_clock */
    bool enabled, visible;
} gs_progress_bar;
void gs_progress_bar_init(gs_progress_bar *bar, bool enabled);
void gs_progress_bar_update(gs_progress_bar *bar, const char *what, int64_t done, int64_t total);
void gs_progress_bar_erase(gs_progress_bar *bar); /* before printing other lines */
/* The bar's text for a terminal of `columns` columns after `seconds` of work, at most
 * columns - 1 bytes and always less than cap:
 * "walk [####----]  50% 20/40 2.0/s ETA 0:00:10". */
void gs_progress_bar_format(char *out, size_t cap, int columns, const char *what,
                            int64_t done, int64_t total, double seconds);

#endif
