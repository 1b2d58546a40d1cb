/* Files of the directory, before any is opened. */
#include <verify/subject.h>

#include <base/mem.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const int64_t MAX_JSON = (int64_t)100 << 20;

const char *gs_verify_only_file(gs_subject *s, const char *end) {
    const char *first = NULL;
    for (size_t i = 0; i < s->name_count; i++) {
        if (!gs_ends_with(s->names[i], end)) continue;
        gs_report_that(&s->report, GS_CHECK_STRAY_WEIGHTS, !first, s->names[i], "%s is there already", first ? first : "");
        if (!first) first = s->names[i];
    }
    return first;
}

static bool plain_name(const char *name) {
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && !strchr("_.-", *name)) return false;
    return true;
}

static void check_mode(gs_subject *s, const char *name, const struct stat *st) {
    gs_report_that(&s->report, GS_CHECK_PERMISSIONS, !(st->st_mode & S_IWOTH), name, "mode %04o: others may write it",
              (unsigned)(st->st_mode & 07777));
    gs_report_that(&s->report, GS_CHECK_PERMISSIONS, (st->st_mode & S_IRUSR) != 0, name,
              "mode %04o: its owner may not read it", (unsigned)(st->st_mode & 07777));
}

static void check_file(gs_subject *s, const char *name) {
    struct stat st;
    char *path = gs_subject_path(s, name);
    if (!path || stat(path, &st) != 0) {
        gs_report_fail(&s->report, GS_CHECK_PERMISSIONS, name, "it cannot be looked at");
    } else {
        check_mode(s, name, &st);
        if (gs_ends_with(name, ".json"))
            gs_report_that(&s->report, GS_CHECK_JSON_SIZE, st.st_size < MAX_JSON, name, "%lld bytes, below %lld expected",
                      (long long)st.st_size, (long long)MAX_JSON);
    }
    gs_free(path);
    gs_report_that(&s->report, GS_CHECK_PATH_CHARACTERS, plain_name(name), name, "characters beyond letters, digits and _.-");
}

static void check_directory(gs_subject *s) {
    struct stat st;
    if (stat(s->path, &st) == 0)
        gs_report_that(&s->report, GS_CHECK_PERMISSIONS, !(st.st_mode & S_IWOTH), "", "the directory's mode is %04o: others may write it",
                  (unsigned)(st.st_mode & 07777));
}

gs_status gs_verify_files(gs_subject *s, gs_error *err) {
    GS_TRY(gs_dir_list(s->path, &s->names, &s->name_count, err));
    check_directory(s);
    for (size_t i = 0; i < s->name_count; i++) check_file(s, s->names[i]);
    return GS_OK;
}
