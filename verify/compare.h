/* A stored matrix against the source's, row by row (internal to verify/).
 *
 * Codes q with scale s and offset o: |w f - (q - o) s| <= steps s + eps |w f|, or q at the end of its range, w f beyond it on
 * the same side and at most 1.6 times as large (a search may clip). Floats: exactly w rounded to the stored dtype, directly or
 * through the bundle's, when there are no factors; else within eps. eps is what casts to the dtype cost: 2^-7 for bf16, 2^-10
 * for f16 (2^-25 at least), 2^-19 for f32; with factors that were themselves estimated (rows) 2 % more, and `slack`.
 */
#ifndef GS_VERIFY_COMPARE_H
#define GS_VERIFY_COMPARE_H

#include <base/context.h>
#include <verify/codes.h>

typedef struct gs_compare {
    gs_codes codes;       /* of the stored matrix; layout FLOAT: its values */
    const gs_tensor *source; /* of that shape */
    const float *scale;   /* [rows, groups] of codes */
    const float *offset;  /* [rows, groups] of codes, or NULL */
    int64_t groups;       /* divides the columns */
    int bits;             /* of codes */
    const float *columns; /* [cols] factors, or NULL */
    float *rows;          /* [rows]: factors are looked for and left here (1: none); NULL: there are none */
    float steps;          /* how many scales a code may be off */
    float slack;          /* relative error that scales or columns bring along */
    float shift;          /* of floats that are kept with it added, in f32: what that rounds off is no difference; else 0 */
    gs_dtype dtype;       /* the bundle's; NONE: unknown */
} gs_compare;

typedef struct gs_compare_result {
    int64_t bad;      /* rows that do not fit */
    int64_t row, col; /* the first value that does not */
    float stored, wanted;
} gs_compare_result;

gs_status gs_compare_matrix(gs_context *cx, const gs_compare *c, gs_compare_result *out, gs_error *err) GS_NODISCARD;

#endif
