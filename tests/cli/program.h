/* The program as a user meets it: run through the shell, with what it printed and how it ended. */
#ifndef GS_TESTS_CLI_PROGRAM_H
#define GS_TESTS_CLI_PROGRAM_H

#include "../support.h"
#include "../tiny_model.h"

#include <base/json.h>
#include <sys/stat.h>
#include <sys/wait.h>

typedef struct outcome {
    int code; /* exit status, or -signal */
    char out[1 << 16], err[4096];
} outcome;

static outcome last;

static inline void slurp(const char *path, char *text, size_t size) {
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    text[fread(text, 1, size - 1, f)] = 0;
    fclose(f);
}

/* Runs "gstick <arguments>" through the shell; `prefix` goes before it ("ulimit -f 1; "). */
static inline const outcome *gstick_with(const char *prefix, const char *format, ...) {
    char arguments[6000], command[16000], *dir = gs_test_tmpdir(), path[1200];
    const char *program = getenv("GSTICK_PROGRAM"), *runner = getenv("GSTICK_RUNNER");
    va_list rest;
    assert_non_null(program);
    va_start(rest, format);
    vsnprintf(arguments, sizeof arguments, format, rest);
    va_end(rest);
    char words[3000] = "";
    if (runner) snprintf(words, sizeof words, "%s", runner);
    for (char *p = words; *p; p++) *p = *p == ';' ? ' ' : *p; /* a list from CMake becomes words */
    snprintf(command, sizeof command, "%s %s '%s' >'%s/out' %s 2>'%s/err'", prefix, words, program, dir, arguments, dir);
    int status = system(command);
    last.code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    snprintf(path, sizeof path, "%s/out", dir);
    slurp(path, last.out, sizeof last.out);
    snprintf(path, sizeof path, "%s/err", dir);
    slurp(path, last.err, sizeof last.err);
    gs_test_rmdir(dir);
    return &last;
}

#define gstick(...) gstick_with("", __VA_ARGS__)

/* Exit code, a word of the message, exactly one line, and nothing on standard output. */
static inline void assert_refused(const outcome *o, int code, const char *word) {
    if (o->code != code || !strstr(o->err, word))
        fail_msg("exit %d, '%s'; wanted exit %d and '%s'", o->code, o->err, code, word);
    assert_string_equal(o->out, "");
    const char *newline = strchr(o->err, '\n');
    if (!newline || newline[1]) fail_msg("not one line: '%s'", o->err);
}

typedef struct fixture {
    char *root;
    char model[1024], bundle[1024], ids[1024];
} fixture;

static inline void begin(fixture *f) {
    f->root = gs_test_tmpdir();
    snprintf(f->model, sizeof f->model, "%s/model", f->root);
    snprintf(f->bundle, sizeof f->bundle, "%s/bundle", f->root);
    snprintf(f->ids, sizeof f->ids, "%s/ids.i32", f->root);
    assert_int_equal(mkdir(f->model, 0755), 0);
    tiny_model(f->model, &tiny_default, 3);
    tiny_tokens(f->ids, 300, 96, 5);
}

static inline void end(fixture *f) { gs_test_rmdir(f->root); }

static inline void assert_no_output(const fixture *f) {
    char command[1200];
    snprintf(command, sizeof command, "test \"$(ls -A '%s' | grep -v -e '^model' -e '^ids')\" = ''", f->root);
    assert_int_equal(system(command), 0);
}

static inline cJSON *json_of(const outcome *o) {
    gs_error err = {0};
    cJSON *json;
    if (o->code != 0) fail_msg("exit %d: %s", o->code, o->err);
    assert_ok(gs_json_parse(o->out, strlen(o->out), &json, &err), &err);
    return json;
}

static inline double number(const cJSON *json, const char *key) {
    const cJSON *item = gs_json_get(json, key);
    if (!cJSON_IsNumber(item)) fail_msg("no number '%s'", key);
    return item->valuedouble;
}

#endif
