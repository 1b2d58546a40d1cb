#include <base/context.h>
#include <base/hash.h>

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SHOWN_AFTER 2.0 /* seconds; short jobs need no bar */
#define REDRAW_EVERY 0.1

enum { BAR_CELLS = 24, WIDEST = 512 };

void gs_progress_bar_init(gs_progress_bar *bar, bool enabled) {
    *bar = (gs_progress_bar){.enabled = enabled && isatty(STDERR_FILENO)};
}

static void format_eta(char *out, size_t cap, double seconds) {
    if (!(seconds < 1e8)) { /* also NaN; nobody waits three years */
        snprintf(out, cap, "-:--:--");
        return;
    }
    long s = (long)(seconds + 0.5);
    snprintf(out, cap, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
}

void gs_progress_bar_format(char *out, size_t cap, int columns, const char *what,
                            int64_t done, int64_t total, double seconds) {
    char line[WIDEST];
    double rate = seconds > 0 ? (double)done / seconds : 0;
    if (total > 0) {
        double percent = 100.0 * (double)done / (double)total;
        percent = percent < 0 ? 0 : percent > 100 ? 100 : percent;
        char cells[BAR_CELLS + 1], eta[32];
        int full = (int)(percent * BAR_CELLS / 100);
        memset(cells, '#', (size_t)full);
        memset(cells + full, '-', (size_t)(BAR_CELLS - full));
        cells[BAR_CELLS] = 0;
        format_eta(eta, sizeof eta, (double)(total - done) / rate);
        snprintf(line, sizeof line, "%.200s [%s] %3d%% %lld/%lld %.1f/s ETA %s", what,
                 cells, (int)percent, (long long)done, (long long)total, rate, eta);
    } else {
        snprintf(line, sizeof line, "%.200s %lld %.1f/s", what, (long long)done, rate);
    }
    /* the last column stays free: writing to it makes some terminals wrap */
    size_t room = columns > 1 ? (size_t)columns - 1 : 0;
    snprintf(out, cap, "%.*s", room < WIDEST ? (int)room : WIDEST, line);
}

static int terminal_columns(void) {
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    return 80;
}

void gs_progress_bar_update(gs_progress_bar *bar, const char *what, int64_t done,
                            int64_t total) {
    if (!bar->enabled) return;
    double now = gs_clock();
    uint64_t label = gs_hash64(what, strlen(what));
    if (bar->started <= 0 || label != bar->what || done < bar->done) {
        gs_progress_bar_erase(bar);
        bar->what = label;
        bar->started = now;
        bar->drawn = 0;
    }
    bar->done = done;
    if (total >= 0 && done >= total) {
        gs_progress_bar_erase(bar);
        return;
    }
    if (now - bar->started < SHOWN_AFTER || now - bar->drawn < REDRAW_EVERY) return;
    char text[WIDEST];
    gs_progress_bar_format(text, sizeof text, terminal_columns(), what, done, total,
                           now - bar->started);
    fprintf(stderr, "\r%s\033[K", text);
    fflush(stderr);
    bar->drawn = now;
    bar->visible = true;
}

void gs_progress_bar_erase(gs_progress_bar *bar) {
    if (!bar->visible) return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    bar->visible = false;
}
