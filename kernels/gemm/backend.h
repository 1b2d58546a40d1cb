/* What gemm.c and weight.c share: which library multiplies, and the plain pieces. */
#ifndef GS_KERNELS_GEMM_BACKEND_H
#define GS_KERNELS_GEMM_BACKEND_H

#include <base/placed.h>
#include <kernels/gemm/gemm.h>

typedef enum gs_gemm_engine {
    GS_ENGINE_ONEDNN,
    GS_ENGINE_OPENBLAS,
    GS_ENGINE_REFERENCE
} gs_gemm_engine;

/* oneDNN on x86-64, OpenBLAS elsewhere; the environment variable GSTICK_GEMM (onednn |
 * openblas | reference) chooses another, for tests and measurements; an unknown word there is
 * ignored. Read once. */
gs_gemm_engine gs_gemm_engine_get(void);
/* True when the engine multiplies bf16 operands itself; else they are widened first. */
bool gs_gemm_engine_has_bf16(void);

/* c[m, n] (+)= a * b in f32 on the calling thread, strides as gs_gemm_block. */
gs_status gs_gemm_blas(bool trans_b, bool accumulate, int64_t m, int64_t n, int64_t k,
                       const float *a, int64_t lda, const float *b, int64_t ldb, float *c,
                       int64_t ldc, gs_error *err);
const char *gs_gemm_blas_name(void);

/* Rows of bf16 to dense f32 rows. */
void gs_gemm_widen(int64_t rows, int64_t cols, const uint16_t *src, int64_t ld, float *dst);

/* A buffer of the calling thread, 64-byte aligned, kept until the thread ends; the next call
 * on the same thread may move it. NULL: no memory. */
void *gs_gemm_scratch(size_t bytes);

/* What w holds itself, for tests; NULL when it is borrowed. */
gs_placed *gs_gemm_weight_placed(const gs_gemm_weight *w);

#endif
