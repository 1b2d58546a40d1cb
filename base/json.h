/* JSON, read through cJSON but trusted only after our own checks.
 *
 * gs_json_parse refuses: bytes after the document, invalid UTF-8, nesting deeper
 * than the limit, duplicate keys in any object, escaped or raw NUL in strings; also
 * whatever RFC 8259 forbids and cJSON lets pass (raw control characters, "01", half a
 * surrogate pair), and numbers longer than 63 characters or beyond a double. A byte
 * order mark before the document is skipped.
 * The tree is a plain cJSON tree: iterate with cJSON_ArrayForEach, release with
 * cJSON_Delete. Key look-ups here are case sensitive.
 */
#ifndef GS_BASE_JSON_H
#define GS_BASE_JSON_H

#include <base/error.h>
#include <base/strbuf.h>
#include <cjson/cJSON.h>

enum { GS_JSON_MAX_DEPTH = 64 };

/* text: `len` bytes, no terminator needed. On failure *out is NULL. */
gs_status gs_json_parse(const char *text, size_t len, cJSON **out, gs_error *err)
    GS_NODISCARD;
/* Reads a whole file of at most max_bytes (GS_E_FORMAT beyond), then parses; the
 * error names the path. */
gs_status gs_json_load(const char *path, size_t max_bytes, cJSON **out,
                       gs_error *err) GS_NODISCARD;

const cJSON *gs_json_get(const cJSON *object, const char *key); /* or NULL */
/* True if the item is a number that is an integer with |v| <= 2^53. */
bool gs_json_is_int(const cJSON *item, int64_t *value);

/* Typed members of `object`. Absent or null: *out keeps its value (set your
 * default first) and GS_OK. Present with another type: GS_E_FORMAT naming the key.
 * Strings are borrowed from the tree. */
gs_status gs_json_int(const cJSON *object, const char *key, int64_t *out, gs_error *err) GS_NODISCARD;
gs_status gs_json_double(const cJSON *object, const char *key, double *out, gs_error *err) GS_NODISCARD;
gs_status gs_json_bool(const cJSON *object, const char *key, bool *out, gs_error *err) GS_NODISCARD;
gs_status gs_json_string(const cJSON *object, const char *key, const char **out, gs_error *err) GS_NODISCARD;

/* Appends the tree as text, indented by `indent` spaces a level (0: one line),
 * UTF-8 unescaped, integral numbers below 1e40 without exponent, others with the
 * fewest of 15..17 digits that read back equal. NaN and infinity are GS_E_NUMERIC.
 * After a failure `out` holds a part of the text. */
gs_status gs_json_print(const cJSON *item, int indent, gs_strbuf *out, gs_error *err) GS_NODISCARD;

#endif
