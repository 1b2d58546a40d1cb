/* Reading every byte of a tensor once, on the team, dropping pages behind (internal to verify/). */
#ifndef GS_VERIFY_SCAN_H
#define GS_VERIFY_SCAN_H

#include <verify/subject.h>

/* What one row of int8 codes is. */
typedef struct gs_code_row {
    int32_t low, high;  /* least and largest code */
    int64_t sum;        /* of the codes */
    int64_t magnitude;  /* of their absolute values */
    int64_t ends;       /* codes at -128, -127 or 127 */
} gs_code_row;

void gs_code_row_scan(const int8_t *q, int64_t n, gs_code_row *out);
/* c: the codes of t; out: [rows]. */
gs_status gs_scan_codes(gs_subject *s, gs_stored *t, const gs_codes *c, gs_code_row *out, gs_error *err) GS_NODISCARD;
/* range.c: what rows make of the range of their codes, from a scan (row: [rows]) or with one of its own. */
gs_status gs_verify_code_range(gs_subject *s, const gs_module *m, const gs_code_row *row, gs_error *err) GS_NODISCARD;
gs_status gs_verify_codes(gs_subject *s, const gs_module *m, gs_error *err) GS_NODISCARD;
/* Number of values that are NaN or infinite, of an F64, F32, F16 or BF16 tensor; *first: place of the first. */
int64_t gs_scan_floats(gs_subject *s, gs_stored *t, int64_t *first);

#endif
