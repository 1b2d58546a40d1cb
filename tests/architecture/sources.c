#include "sources.h"

#include <dirent.h>
#include <sys/stat.h>

#include <tests/support.h>

static char *read_text(const char *path) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t size = 0, room = 1 << 16;
    char *text = malloc(room);
    assert_non_null(text);
    for (;;) {
        size += fread(text + size, 1, room - 1 - size, f);
        if (size < room - 1) break;
        room *= 2;
        text = realloc(text, room);
        assert_non_null(text);
    }
    assert_int_equal(ferror(f), 0);
    fclose(f);
    text[size] = 0;
    return text;
}

static bool is_source(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && (!strcmp(dot, ".c") || !strcmp(dot, ".h") || !strcmp(dot, ".cc") ||
                   !strcmp(dot, ".inc"));
}

static void read_folder(const char *root, const char *folder, gs_sources *out) {
    char full[2048];
    snprintf(full, sizeof full, "%s/%s", root, folder);
    DIR *dir = opendir(full);
    if (!dir) return;
    for (struct dirent *e; (e = readdir(dir));) {
        if (e->d_name[0] == '.') continue;
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        snprintf(full, sizeof full, "%s/%s", root, path);
        struct stat st;
        if (stat(full, &st) != 0) continue; /* an editor's file that came and went */
        if (S_ISDIR(st.st_mode)) {
            read_folder(root, path, out);
        } else if (is_source(e->d_name)) {
            out->items = realloc(out->items, (out->count + 1) * sizeof *out->items);
            assert_non_null(out->items);
            out->items[out->count++] = (gs_source){strdup(path), read_text(full)};
        }
    }
    closedir(dir);
}

void gs_sources_read(const char *root, const char *room, gs_sources *out) {
    *out = (gs_sources){0};
    read_folder(root, room, out);
}

void gs_sources_clear(gs_sources *sources) {
    for (size_t i = 0; i < sources->count; i++) {
        free(sources->items[i].path);
        free(sources->items[i].text);
    }
    free(sources->items);
    *sources = (gs_sources){0};
}

void gs_source_blank_comments(char *text) {
    char quote = 0;
    for (char *p = text; *p; p++) {
        if (quote) {
            if (*p == '\\' && p[1]) p++;
            else if (*p == quote || *p == '\n') quote = 0;
        } else if (*p == '"' || *p == '\'') {
            quote = *p;
        } else if (p[0] == '/' && p[1] == '/') {
            while (*p && *p != '\n') *p++ = ' ';
            p--;
        } else if (p[0] == '/' && p[1] == '*') {
            char *end = strstr(p + 2, "*/");
            end = end ? end + 2 : p + strlen(p);
            for (; p < end; p++)
                if (*p != '\n') *p = ' ';
            p--;
        }
    }
}

void gs_source_each_line(char *text, void (*visit)(const char *line, int number, void *user),
                         void *user) {
    int number = 1;
    for (char *line = text; *line; number++) {
        char *end = strchr(line, '\n');
        if (end) *end = 0;
        visit(line, number, user);
        if (!end) break;
        *end = '\n';
        line = end + 1;
    }
}

void gs_source_room(const char *path, char out[32]) {
    size_t n = strcspn(path, "/");
    if (path[n] != '/' || n >= 32) n = 0;
    memcpy(out, path, n);
    out[n] = 0;
}

bool gs_source_listed(const char *const *list, const char *room) {
    for (; *list; list++)
        if (!strcmp(*list, room)) return true;
    return false;
}
