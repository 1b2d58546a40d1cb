/* What the files behind gemm_s8.h share: the pieces of an integer product, each on the calling
 * thread. acc is dense [rows, cols]. */
#ifndef GS_KERNELS_GEMM_S8_PIECES_H
#define GS_KERNELS_GEMM_S8_PIECES_H

#include <kernels/gemm/gemm_s8.h>

/* acc = a[rows, k] * w[cols, k]^T by f32 products over slices of k that are exact in any order; w
 * is dense. scratch: gs_s8_sliced_bytes of at least these sizes, 64-byte aligned, not that of
 * gs_gemm_scratch. */
gs_status gs_s8_sliced(int64_t rows, int64_t cols, int64_t k, const int8_t *a, int64_t lda,
                       const int8_t *w, int32_t *acc, float *scratch,
                       gs_error *err) GS_NODISCARD;
size_t gs_s8_sliced_bytes(int64_t rows, int64_t cols, int64_t k);

/* A block of C: rows row.. and columns col.. of the whole. */
typedef struct gs_s8_piece {
    int64_t row, rows, col, cols;
} gs_s8_piece;

/* c (the whole, row stride ldc) gets the epilogue of acc + bias modulo 2^32; bias: [cols] of the
 * piece or NULL, in place of e's. half: [cols]. */
void gs_s8_epilogue_run(const gs_gemm_s8_epilogue *e, const gs_s8_piece *p, const int32_t *acc,
                        const int32_t *bias, uint16_t *half, float *c, int64_t ldc);

#endif
