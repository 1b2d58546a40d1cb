#include <cli/ui.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t caught;

void gs_ui_init(gs_ui *ui) {
    *ui = (gs_ui){0};
    gs_progress_bar_init(&ui->bar, true);
}

static void on_signal(int number) {
    if (caught) _exit(GS_EXIT_SIGNAL + number);
    caught = number;
    gs_cancel_request();
}

void gs_ui_catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    /* a closed pipe or a file-size limit is an error of a write, not a sudden death */
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&ignore.sa_mask);
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL);
}

static void log_line(void *ctx, gs_log_level level, const char *text) {
    static const char *const prefix[] = {"error: ", "warning: ", "", ""};
    gs_ui *ui = ctx;
    if (ui->quiet && level > GS_LOG_ERROR) return;
    if (level == GS_LOG_DEBUG && !ui->verbose) return;
    gs_progress_bar_erase(&ui->bar);
    fprintf(stderr, "gstick: %s%s\n", prefix[level], text);
}

static void progress(void *ctx, const char *what, int64_t done, int64_t total) {
    gs_ui *ui = ctx;
    if (!ui->quiet) gs_progress_bar_update(&ui->bar, what, done, total);
}

gs_status gs_ui_session(gs_ui *ui, gs_session **out, gs_error *err) {
    if (ui->threads > 4096) return GS_FAIL(err, GS_E_INVALID, "--threads %lld is beyond any machine", (long long)ui->threads);
    gs_session_options options = {.threads = (int)ui->threads, .memory_budget = ui->memory, .log = log_line,
                                  .helper = ui->helper, .progress = progress, .ui = ui};
    return gs_session_create(&options, out, err);
}

static int exit_code(gs_status status) {
    switch (status) {
    case GS_OK:
        return GS_EXIT_OK;
    case GS_E_CHECK:
        return GS_EXIT_CHECK;
    case GS_E_INVALID:
        return GS_EXIT_USAGE;
    case GS_E_NOMEM:
    case GS_E_NOSPACE:
        return GS_EXIT_RESOURCES;
    case GS_E_IO:
        return GS_EXIT_IO;
    case GS_E_CANCELLED:
        return GS_EXIT_SIGNAL + (caught ? caught : SIGINT);
    default:
        return GS_EXIT_INPUT;
    }
}

int gs_ui_fail(gs_ui *ui, const gs_error *err) {
    gs_progress_bar_erase(&ui->bar);
    if (err->status == GS_E_CANCELLED)
        fprintf(stderr, "gstick: interrupted; nothing was left behind\n");
    else
        fprintf(stderr, "gstick: %s%s%s%s\n", err->text, err->hint[0] ? " (" : "", err->hint,
                err->hint[0] ? ")" : "");
    return exit_code(err->status);
}

int gs_ui_print(gs_ui *ui, gs_strbuf *text) {
    gs_progress_bar_erase(&ui->bar);
    bool ok = !text->failed && fwrite(gs_strbuf_text(text), 1, text->len, stdout) == text->len && fflush(stdout) == 0;
    gs_strbuf_clear(text);
    if (ok) return GS_EXIT_OK;
    fprintf(stderr, "gstick: standard output could not be written\n");
    return GS_EXIT_IO;
}

const char *gs_ui_bytes(uint64_t bytes) {
    static char ring[8][32];
    static int turn;
    char *out = ring[turn = (turn + 1) % 8];
    if (bytes < 1000000)
        snprintf(out, sizeof ring[0], "%.1f kB", (double)bytes / 1e3);
    else if (bytes < 1000000000)
        snprintf(out, sizeof ring[0], "%.1f MB", (double)bytes / 1e6);
    else
        snprintf(out, sizeof ring[0], "%.2f GB", (double)bytes / 1e9);
    return out;
}
