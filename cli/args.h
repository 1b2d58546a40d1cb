/* Command-line options from a table: parsing, --help and "did you mean" share one list. */
#ifndef GS_CLI_ARGS_H
#define GS_CLI_ARGS_H

#include <base/error.h>

typedef enum gs_arg_kind {
    GS_ARG_FLAG,   /* bool * -> true */
    GS_ARG_STRING, /* const char ** */
    GS_ARG_INT,    /* int64_t *, >= 0 */
    GS_ARG_BYTES,  /* int64_t *: 512M, 4G, 5GB, 300MiB (base/numbers.h) */
    GS_ARG_DOUBLE, /* double *, finite */
    GS_ARG_LIST    /* gs_arg_list *: may be given several times, commas separate */
} gs_arg_kind;

enum { GS_ARG_LIST_MAX = 64 };
typedef struct gs_arg_list {
    const char *item[GS_ARG_LIST_MAX];
    size_t count;
    char buffer[4096];
    size_t used;
} gs_arg_list;

typedef struct gs_arg {
    const char *name;  /* "--window"; a short form after a comma: "-o,--output" */
    const char *value; /* placeholder in the help, NULL for a flag */
    gs_arg_kind kind;
    void *target;
    const char *help;
} gs_arg;

typedef struct gs_command {
    const char *usage;  /* "gstick eval MODEL|BUNDLE (--text FILE | --tokens FILE.i32) [options]" */
    const char *about;  /* a paragraph or two */
    const char *epilog; /* examples, exit codes; may be NULL */
    const gs_arg *args;
    size_t count;
} gs_command;

/* Fills the targets and up to `max` positional words. GS_E_INVALID on anything unknown, with the
 * nearest known option as a hint. *help is set on --help or -h (nothing else is checked then). */
gs_status gs_args_parse(const gs_command *c, int argc, char **argv, const char **positional, size_t max,
                        size_t *npositional, bool *help, gs_error *err) GS_NODISCARD;
void gs_args_help(const gs_command *c);

#endif
