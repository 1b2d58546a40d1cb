/* What the files that read a tensor's bytes share; nobody outside includes it. */
#ifndef GS_LOADERS_TENSOR_PRIVATE_H
#define GS_LOADERS_TENSOR_PRIVATE_H

#include <loaders/tensor.h>

/* The rows a call asks for. */
typedef struct gs_row_range {
    int64_t row0, nrows;
    int64_t rows, cols;
    int64_t head_rows; /* rows of a head when interleaved, else 0 */
} gs_row_range;

/* GS_E_INVALID for rows that the tensor does not have, GS_E_FORMAT for an order that does not divide them. */
gs_status gs_tensor_rows(const gs_tensor *t, int64_t row0, int64_t nrows, gs_row_range *range,
                         gs_error *err) GS_NODISCARD;

/* Where logical row r is stored: (head, half*hd/2 + j) lies at (head, 2*j + half). */
static inline int64_t gs_stored_row(const gs_row_range *range, int64_t r) {
    int64_t hd = range->head_rows;
    if (hd == 0) return r;
    int64_t within = r % hd, half = within >= hd / 2, j = within - half * (hd / 2);
    return r - within + 2 * j + half;
}

#endif
