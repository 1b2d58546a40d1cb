/* Lines of a .jsonl text, and the text that one of them carries. For corpus.c. */
#ifndef GS_LOADERS_CORPUS_LINES_H
#define GS_LOADERS_CORPUS_LINES_H

#include <base/strbuf.h>

/* A line's JSON tree takes up to 50 bytes a byte. */
enum { GS_CORPUS_MAX_LINE = 16 << 20 };

/* The next line from *at on that holds more than white space: data[*begin, *end), without its
 * newline. *at moves behind it. False at the end. */
bool gs_corpus_line_next(const char *data, size_t len, size_t *at, size_t *begin, size_t *end);
/* Number, from 1, of the line that begins at data[begin]. */
size_t gs_corpus_line_number(const char *data, size_t begin);

/* Appends the text of a line as corpus.h has it. *repaired: the line has escapes that JSON does
 * not know, which were read as they stand. Errors name the column or the field, not the line. */
gs_status gs_corpus_line_text(const char *line, size_t len, const char *field, gs_strbuf *out,
                              bool *repaired, gs_error *err) GS_NODISCARD;

#endif
