/* The project's own C sources as text, for the tests that read them. Single-threaded. */
#ifndef GS_TESTS_ARCHITECTURE_SOURCES_H
#define GS_TESTS_ARCHITECTURE_SOURCES_H

#include <stdbool.h>
#include <stddef.h>

/* One source file: path relative to the project ("llm/helpers/x.c"), whole text. */
typedef struct gs_source {
    char *path;
    char *text; /* NUL-terminated */
} gs_source;

typedef struct gs_sources {
    gs_source *items;
    size_t count;
} gs_sources;

/* Reads every .c .h .cc .inc below `room` of the project at `root`; a room that does not
 * exist has no sources. Fails the running test on an I/O error. Free with
 * gs_sources_clear. */
void gs_sources_read(const char *root, const char *room, gs_sources *out);
void gs_sources_clear(gs_sources *sources);

/* Overwrites comments with spaces (newlines stay); string literals are kept, and comment
 * marks inside them are none. */
void gs_source_blank_comments(char *text);

/* Calls visit(line, number) for each line of text, which is cut at newlines meanwhile and
 * restored afterwards. */
void gs_source_each_line(char *text, void (*visit)(const char *line, int number, void *user),
                         void *user);

/* First component of a path: "llm" of "llm/helpers/x.c"; "" when it has none. Copied
 * into out[32]. */
void gs_source_room(const char *path, char out[32]);

/* Whether `room` is in the NULL-terminated list. */
bool gs_source_listed(const char *const *list, const char *room);

#endif
