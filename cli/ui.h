/* The program's face: where messages, progress and errors go, exit codes, and the options that
 * every command shares. Results go to standard output; everything else to standard error. */
#ifndef GS_CLI_UI_H
#define GS_CLI_UI_H

#include <base/context.h>
#include <base/strbuf.h>
#include <cli/args.h>

enum {
    GS_EXIT_OK = 0,
    GS_EXIT_CHECK = 1,
    GS_EXIT_USAGE = 2,
    GS_EXIT_INPUT = 3,
    GS_EXIT_RESOURCES = 4,
    GS_EXIT_IO = 5,
    GS_EXIT_SIGNAL = 128 /* plus the signal's number */
};

#define GS_EXIT_CODES                                                          \
    "exit codes: 0 done; 1 a check said no; 2 usage; 3 bad input; 4 not enough memory or disk;\n" \
    "            5 read or write failed; 130, 143 interrupted"

typedef struct gs_ui {
    gs_progress_bar bar;
    bool verbose, quiet, json;
    int64_t threads, memory;
    const char *helper;
} gs_ui;

/* The shared options as rows of an argument table. */
#define GS_UI_ARGS(ui)                                                         \
    {"--threads", "N", GS_ARG_INT, &(ui)->threads, "worker threads (default: one per core)"},    \
    {"--helper", "FILE.json", GS_ARG_STRING, &(ui)->helper, "a model family that is not built in (docs/adding-a-model.md)"}, \
    {"--memory", "SIZE", GS_ARG_BYTES, &(ui)->memory, "activations in flight (default 512M)"},   \
    {"--json", NULL, GS_ARG_FLAG, &(ui)->json, "print one JSON object on standard output"},      \
    {"-v,--verbose", NULL, GS_ARG_FLAG, &(ui)->verbose, "say more on standard error"},           \
    {"-q,--quiet", NULL, GS_ARG_FLAG, &(ui)->quiet, "errors only on standard error"}

void gs_ui_init(gs_ui *ui);
/* Catches SIGINT and SIGTERM: the job stops at the next safe point and cleans up; a second
 * signal ends the program at once. */
void gs_ui_catch_signals(void);
gs_status gs_ui_session(gs_ui *ui, gs_session **out, gs_error *err) GS_NODISCARD;
/* Prints "gstick: <text>" and the hint, returns the exit code. */
int gs_ui_fail(gs_ui *ui, const gs_error *err);
/* Writes out a result built in a buffer: the exit code. */
int gs_ui_print(gs_ui *ui, gs_strbuf *text);

/* "1.23 GB" into a static ring of buffers. */
const char *gs_ui_bytes(uint64_t bytes);

int gs_cmd_calibrate(int argc, char **argv);
int gs_cmd_eval(int argc, char **argv);
int gs_cmd_export(int argc, char **argv);
int gs_cmd_inspect(int argc, char **argv);
int gs_cmd_quantize(int argc, char **argv);
int gs_cmd_tokenize(int argc, char **argv);
int gs_cmd_verify(int argc, char **argv);

#endif
