/* An include may only point to a room further down: the table of docs/architecture.md,
 * checked over every source, and checked against the build's own order of rooms. */
#include <tests/support.h>

#include <ctype.h>

#include "sources.h"

/* A room and the rooms it may look at (besides itself and the public header). */
typedef struct gs_room_rule {
    const char *room;
    const char *sees[12];
} gs_room_rule;

static const gs_room_rule rules[] = {
    {"base", {NULL}},
    {"kernels", {"base", NULL}},
    {"loaders", {"base", NULL}},
    {"network", {"kernels", "loaders", "base", NULL}},
    {"llm", {"network", "kernels", "loaders", "base", NULL}},
    {"calibrate", {"llm", "network", "kernels", "loaders", "base", NULL}},
    {"ptq", {"calibrate", "llm", "network", "kernels", "loaders", "base", NULL}},
    {"deploy", {"network", "loaders", "base", NULL}},
    /* nothing of deploy/, calibrate/ or ptq/: it must be able to disagree with them */
    {"verify", {"llm", "network", "kernels", "loaders", "base", NULL}},
    {"eval", {"llm", "network", "kernels", "loaders", "base", NULL}},
    {"api", {"eval", "verify", "deploy", "ptq", "calibrate", "llm", "network", "kernels", "loaders",
             "base", NULL}},
    {"cli", {"api", "eval", "verify", "deploy", "ptq", "calibrate", "llm", "network", "kernels", "loaders",
             "base", NULL}},
};

static const gs_room_rule *rule_of(const char *room) {
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (!strcmp(rules[i].room, room)) return &rules[i];
    return NULL;
}

/* Rooms outside the library that the library must not look at. */
static const char *const outside[] = {"tests", "bench", "scripts", "examples", NULL};

/* Replaces "a/../" and "./" in a relative path, in place. */
static void normalise(char *path) {
    char out[1024] = "";
    for (char *part = strtok(path, "/"); part; part = strtok(NULL, "/")) {
        if (!strcmp(part, ".")) continue;
        char *slash = strrchr(out, '/');
        if (!strcmp(part, "..")) {
            if (slash) *slash = 0;
            else out[0] = 0;
            continue;
        }
        if (out[0]) strncat(out, "/", sizeof out - strlen(out) - 1);
        strncat(out, part, sizeof out - strlen(out) - 1);
    }
    strcpy(path, out);
}

/* The room that `spec`, included by `path`, lies in; "" for a system header. */
static void included_room(const char *path, const char *spec, bool quoted, char out[32]) {
    gs_source_room(spec, out);
    if (rule_of(out) || gs_source_listed(outside, out)) return;
    out[0] = 0;
    const char *slash = strrchr(path, '/');
    if (!quoted || !slash) return;
    char full[1024];
    snprintf(full, sizeof full, "%.*s/%s", (int)(slash - path), path, spec);
    normalise(full);
    gs_source_room(full, out);
}

/* Parses `#include <spec>` or `#include "spec"`. */
static bool parse_include(const char *line, char spec[512], bool *quoted) {
    while (isspace((unsigned char)*line)) line++;
    if (*line++ != '#') return false;
    while (isspace((unsigned char)*line)) line++;
    if (strncmp(line, "include", 7)) return false;
    line += 7;
    while (isspace((unsigned char)*line)) line++;
    if (*line != '<' && *line != '"') return false;
    *quoted = *line == '"';
    size_t n = strcspn(++line, *quoted ? "\"" : ">");
    if (n >= 512) return false;
    memcpy(spec, line, n);
    spec[n] = 0;
    return true;
}

typedef struct gs_scan {
    const char *path;
    const gs_room_rule *rule;
    int bad;       /* includes that point up or sideways */
    int includes;  /* includes of any room */
    char last[700];
    bool quiet;
} gs_scan;

static void check_line(const char *line, int number, void *user) {
    gs_scan *scan = user;
    char spec[512], room[32];
    bool quoted;
    if (!parse_include(line, spec, &quoted)) return;
    included_room(scan->path, spec, quoted, room);
    if (!room[0]) return;
    scan->includes++;
    if (!strcmp(room, scan->rule->room) || gs_source_listed(scan->rule->sees, room)) return;
    scan->bad++;
    snprintf(scan->last, sizeof scan->last, "%s:%d", scan->path, number);
    if (!scan->quiet)
        print_error("%s:%d: %s/ must not look at %s/ (%s)\n", scan->path, number,
                    scan->rule->room, room, spec);
}

static gs_scan scan_text(const char *path, char *text, bool quiet) {
    char room[32];
    gs_source_room(path, room);
    gs_scan scan = {.path = path, .rule = rule_of(room), .quiet = quiet};
    assert_non_null(scan.rule);
    gs_source_blank_comments(text);
    gs_source_each_line(text, check_line, &scan);
    return scan;
}

static void no_include_points_up(void **state) {
    (void)state;
    int bad = 0, includes = 0;
    for (size_t r = 0; r < sizeof rules / sizeof rules[0]; r++) {
        gs_sources sources;
        gs_sources_read(".", rules[r].room, &sources);
        for (size_t i = 0; i < sources.count; i++) {
            gs_scan scan = scan_text(sources.items[i].path, sources.items[i].text, false);
            bad += scan.bad;
            includes += scan.includes;
        }
        gs_sources_clear(&sources);
    }
    assert_true(includes > 10); /* the sources were found at all */
    assert_int_equal(bad, 0);
}

static void an_include_that_points_up_would_be_found(void **state) {
    (void)state;
    char up[] = "#include <base/error.h>\n\n  # include <ptq/row_quant.h>\n";
    gs_scan scan = scan_text("network/sample.c", up, true);
    assert_int_equal(scan.bad, 1);
    assert_string_equal(scan.last, "network/sample.c:3");

    char relative[] = "#include \"../../ptq/row_quant.h\"\n#include \"../model.h\"\n";
    assert_int_equal(scan_text("llm/helpers/sample.c", relative, true).bad, 1);

    char sideways[] = "#include <kernels/kernels.h>\n#include <llm/model.h>\n";
    assert_int_equal(scan_text("deploy/sample.h", sideways, true).bad, 2);
    assert_int_equal(scan_text("eval/sample.c", sideways, true).bad, 0);

    char tests[] = "#include <tests/support.h>\n#include <stdio.h>\n#include <gstick.h>\n";
    assert_int_equal(scan_text("base/sample.c", tests, true).bad, 1);
}

static void a_comment_is_no_include(void **state) {
    (void)state;
    char text[] = "/* as in\n#include <ptq/row_quant.h>\n*/\n// #include <eval/head.h>\n"
                  "const char *s = \"/*\";\n#include <base/mem.h>\n";
    gs_scan scan = scan_text("base/sample.c", text, true);
    assert_int_equal(scan.bad, 0);
    assert_int_equal(scan.includes, 1);
}

/* The rooms of set(GSTICK_ROOMS ...) in the top CMakeLists.txt, in order. */
static size_t rooms_of_the_build(char rooms[16][32]) {
    FILE *f = fopen("CMakeLists.txt", "r");
    assert_non_null(f);
    char line[1024];
    size_t count = 0;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "set(GSTICK_ROOMS ", 17)) continue;
        for (char *w = strtok(line + 17, " )\n"); w && count < 16; w = strtok(NULL, " )\n"))
            snprintf(rooms[count++], 32, "%.31s", w);
    }
    fclose(f);
    return count;
}

static void the_rules_agree_with_the_order_of_the_build(void **state) {
    (void)state;
    char rooms[16][32];
    size_t count = rooms_of_the_build(rooms);
    /* every room of the build has its row, in the same order; cli comes on top */
    assert_int_equal(count + 1, sizeof rules / sizeof rules[0]);
    for (size_t i = 0; i < count; i++) assert_string_equal(rooms[i], rules[i].room);
    for (size_t i = 0; i < count + 1; i++) {
        for (const char *const *seen = rules[i].sees; *seen; seen++)
            assert_true(rule_of(*seen) && rule_of(*seen) < &rules[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_include_points_up),
        cmocka_unit_test(an_include_that_points_up_would_be_found),
        cmocka_unit_test(a_comment_is_no_include),
        cmocka_unit_test(the_rules_agree_with_the_order_of_the_build),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
