/* Integer codes out of the layouts that formats store them in: code that is shared with no reader of bundles (internal to
 * verify/). Thread safe.
 */
#ifndef GS_VERIFY_CODES_H
#define GS_VERIFY_CODES_H

#include <loaders/tensor.h>

/* How the codes of a weight [n, k] lie in their tensor. A nibble is two's complement unless biased, the low one first. */
typedef enum gs_layout {
    GS_LAYOUT_FLOAT,    /* no codes */
    GS_LAYOUT_S8,       /* one int8 a code */
    GS_LAYOUT_BIASED8,  /* rows of ceil(k/4) words, byte j of word r is code 4r + j, plus 128 */
    GS_LAYOUT_BIASED4,  /* rows of ceil(k/8) words, nibble j of word r is code 8r + j, plus 8 */
    GS_LAYOUT_COLUMNS4, /* [n, k/2]: columns 2j and 2j + 1 in a byte */
    GS_LAYOUT_ROWS4,    /* [n/2, k]: rows 2i and 2i + 1 in a byte */
    GS_LAYOUT_GPTQ8,    /* words [k/4, n]: byte j of word (r, c) is code (c, 4r + j), plus 128 */
    GS_LAYOUT_GPTQ4,    /* words [k/8, n]: nibble j of word (r, c) is code (c, 8r + j), plus 8 */
    GS_LAYOUT_Q8_0      /* GGUF's blocks: an f16 scale and 32 int8 */
} gs_layout;

enum { GS_Q8_0_BYTES = 34, GS_Q8_0_CODES = 32 };

/* t holds all bytes that the layout of [rows, cols] needs: whoever fills this has checked its shape. */
typedef struct gs_codes {
    const gs_tensor *t;
    gs_layout layout;
    int64_t rows, cols;
} gs_codes;

/* Rows that are best read at once: words that run across rows are read by whole cache lines. */
int64_t gs_codes_best_rows(const gs_codes *c);
/* Codes of rows [row0, row0 + n), row-major, out: [n, cols]. Rows are the model's, whatever order they are stored in. */
void gs_codes_read(const gs_codes *c, int64_t row0, int64_t n, int8_t *out);
/* The stored row of the model's row. */
int64_t gs_codes_stored_row(const gs_codes *c, int64_t row);

#endif
