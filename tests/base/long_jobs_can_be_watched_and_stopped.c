#include "../support.h"

#include <base/context.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>

static char logged[2048], watched[64];
static int log_level;
static int64_t watched_done, watched_total;

static void keep_log(void *ui, gs_log_level level, const char *text) {
    ++*(int *)ui;
    log_level = level;
    snprintf(logged, sizeof logged, "%s", text);
}

static void keep_progress(void *ui, const char *what, int64_t done, int64_t total) {
    ++*(int *)ui;
    snprintf(watched, sizeof watched, "%s", what);
    watched_done = done;
    watched_total = total;
}

static void messages_reach_the_sink(void **state) {
    (void)state;
    int calls = 0;
    gs_context cx = {.log = keep_log, .progress = keep_progress, .ui = &calls};
    gs_log(&cx, GS_LOG_WARN, "%d of %s\n\033[1m", 3, "x");
    assert_string_equal(logged, "3 of x  [1m");
    assert_int_equal(log_level, GS_LOG_WARN);
    gs_log(&cx, GS_LOG_INFO, "%5000d", 1);
    assert_int_equal(strlen(logged), 1023);
    gs_progress(&cx, "layers", 4, 9);
    assert_string_equal(watched, "layers");
    assert_int_equal(watched_done, 4);
    assert_int_equal(watched_total, 9);
    assert_int_equal(calls, 3);
}

static void an_empty_context_is_silent(void **state) {
    (void)state;
    gs_context cx = {0};
    gs_log(&cx, GS_LOG_ERROR, "nobody listens");
    gs_log(NULL, GS_LOG_ERROR, "nobody listens");
    gs_progress(&cx, "x", 1, 2);
    gs_progress(NULL, "x", 1, 2);
}

static void on_signal(int number) {
    (void)number;
    gs_cancel_request();
}

static void a_signal_handler_may_cancel(void **state) {
    (void)state;
    gs_error err = {0};
    gs_cancel_reset();
    assert_ok(gs_cancel_check(&err), &err);
    void (*before)(int) = signal(SIGUSR1, on_signal);
    raise(SIGUSR1);
    signal(SIGUSR1, before);
    assert_fails(gs_cancel_check(&err), GS_E_CANCELLED, &err);
    assert_int_equal(gs_cancel_check(NULL), GS_E_CANCELLED);
    gs_cancel_reset();
    assert_ok(gs_cancel_check(&err), &err);
}

static void the_clock_goes_forward(void **state) {
    (void)state;
    double start = gs_clock();
    usleep(2000);
    double later = gs_clock();
    assert_true(later - start >= 0.002 && later - start <= 60);
}

static void expect_line(int columns, const char *what, int64_t done, int64_t total, double seconds,
                        const char *want) {
    char line[512];
    gs_progress_bar_format(line, sizeof line, columns, what, done, total, seconds);
    assert_string_equal(line, want);
}

static void a_bar_has_percentage_rate_and_eta(void **state) {
    (void)state;
    expect_line(120, "walk", 20, 40, 10,
                "walk [############------------]  50% 20/40 2.0/s ETA 0:00:10");
    expect_line(120, "walk", 29, 100, 29,
                "walk [######------------------]  29% 29/100 1.0/s ETA 0:01:11");
    expect_line(120, "walk", 1, 36001, 1,
                "walk [------------------------]   0% 1/36001 1.0/s ETA 10:00:00");
    expect_line(120, "walk", 0, 4, 5,
                "walk [------------------------]   0% 0/4 0.0/s ETA -:--:--");
    expect_line(120, "bytes", 500, -1, 10, "bytes 500 50.0/s");
    /* one column less than there are */
    expect_line(21, "walk", 20, 40, 10, "walk [############--");
    expect_line(1, "walk", 20, 40, 10, "");
    char tiny[8];
    gs_progress_bar_format(tiny, sizeof tiny, 200, "walk", 1, 2, 1);
    assert_string_equal(tiny, "walk [#");
}

/* A terminal of our own in place of stderr; returns its other end. */
static int take_stderr(int *saved) {
    struct winsize size = {.ws_row = 24, .ws_col = 60};
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) skip();
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(slave >= 0);
    ioctl(slave, TIOCSWINSZ, &size);
    fcntl(master, F_SETFL, O_NONBLOCK);
    fflush(stderr);
    *saved = dup(STDERR_FILENO);
    dup2(slave, STDERR_FILENO);
    close(slave);
    return master;
}

/* All that reaches the other end within a fifth of a second of silence: the kernel hands a
 * terminal's output over in pieces, and not at once. */
static ssize_t read_all(int master, char *out, size_t size) {
    size_t got = 0;
    struct pollfd ready = {.fd = master, .events = POLLIN};
    while (got < size && poll(&ready, 1, 200) > 0 && (ready.revents & POLLIN)) {
        ssize_t n = read(master, out + got, size - got);
        if (n <= 0) break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

static void a_terminal_shows_the_bar_and_loses_it(void **state) {
    (void)state;
    char seen[4096] = "";
    int saved, master = take_stderr(&saved);
    gs_progress_bar bar;
    gs_progress_bar_init(&bar, true);
    bool enabled = bar.enabled;
    gs_progress_bar_update(&bar, "walk", 1, 40);
    ssize_t early = read(master, seen, sizeof seen); /* too soon to be shown */
    bar.started -= 10;
    gs_progress_bar_update(&bar, "walk", 20, 40);
    gs_progress_bar_update(&bar, "walk", 21, 40); /* within a tenth of a second */
    bool visible = bar.visible;
    gs_progress_bar_update(&bar, "walk", 40, 40);
    ssize_t n = read_all(master, seen, sizeof seen - 1);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(master);
    assert_true(enabled);
    assert_true(early <= 0);
    assert_true(visible);
    assert_false(bar.visible);
    assert_true(n > 0);
    seen[n] = 0;
    assert_string_equal(seen, "\rwalk [############------------]  50% 20/40 2.0/s ETA 0:00:1\033[K"
                              "\r\033[K");
}

static void another_task_starts_another_bar(void **state) {
    (void)state;
    char seen[4096] = "", label[8] = "one";
    int saved, master = take_stderr(&saved);
    gs_progress_bar bar;
    gs_progress_bar_init(&bar, true);
    gs_progress_bar_update(&bar, label, 1, 40);
    double first = bar.started;
    bar.started -= 10;
    strcpy(label, "two"); /* the same buffer, another text */
    gs_progress_bar_update(&bar, label, 2, 40);
    double second = bar.started;
    bar.started -= 10;
    gs_progress_bar_update(&bar, label, 1, 40); /* going back */
    double third = bar.started;
    gs_progress_bar_erase(&bar);
    ssize_t n = read_all(master, seen, sizeof seen - 1);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(master);
    assert_true(n <= 0);
    assert_true(second >= first && third >= second);
}

static void without_a_terminal_nothing_is_drawn(void **state) {
    (void)state;
    int pipes[2], saved = dup(STDERR_FILENO);
    char seen[64];
    assert_int_equal(pipe(pipes), 0);
    fcntl(pipes[0], F_SETFL, O_NONBLOCK);
    fflush(stderr);
    dup2(pipes[1], STDERR_FILENO);
    gs_progress_bar bar;
    gs_progress_bar_init(&bar, true);
    gs_progress_bar_update(&bar, "walk", 1, 40);
    bar.started -= 10;
    gs_progress_bar_update(&bar, "walk", 2, 40);
    gs_progress_bar_erase(&bar);
    ssize_t n = read(pipes[0], seen, sizeof seen);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(pipes[0]);
    close(pipes[1]);
    assert_false(bar.enabled);
    assert_true(n <= 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_reach_the_sink),
        cmocka_unit_test(an_empty_context_is_silent),
        cmocka_unit_test(a_signal_handler_may_cancel),
        cmocka_unit_test(the_clock_goes_forward),
        cmocka_unit_test(a_bar_has_percentage_rate_and_eta),
        cmocka_unit_test(a_terminal_shows_the_bar_and_loses_it),
        cmocka_unit_test(another_task_starts_another_bar),
        cmocka_unit_test(without_a_terminal_nothing_is_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
