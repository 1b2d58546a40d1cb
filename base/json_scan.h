/* Is this text JSON? A full check of RFC 8259 without building anything, so that the
 * tree builder (cJSON, which is recursive and lenient) only ever sees good input.
 *
 * Stricter than the RFC: nesting and number length are limited, strings may not hold
 * NUL (also escaped) or half a surrogate pair, keys are not checked for duplicates
 * here. */
#ifndef GS_BASE_JSON_SCAN_H
#define GS_BASE_JSON_SCAN_H

#include <base/error.h>

/* GS_E_FORMAT with line and column (both from 1, column in bytes). */
gs_status gs_json_scan(const char *text, size_t len, gs_error *err) GS_NODISCARD;

#endif
