/* Integer matrix products for int8 weights and int8 activations: exact s32 sums, then one
 * epilogue that turns them into f32. Two engines give the same bits:
 *   oneDNN u8 x s8 -> s32, the codes of a shifted by 128 and the shift taken out of the sums, where
 *   the processor has integer dot products (VNNI, AMX): without them its kernels saturate 16-bit
 *   sums, and its own s8 x s8 rounds sums beyond 2^24 to f32; neither is exact;
 *   elsewhere f32 products of the codes over at most 1024 terms at a time -- every partial sum
 *   is an integer up to 2^24, so f32 is exact in any order -- added up in s32.
 * GSTICK_GEMM chooses as in gemm/gemm.h; `reference` is the plain triple loop.
 *
 * Work is cut as in gemm_run: blocks of rows and panels of columns that depend on shapes alone.
 */
#ifndef GS_KERNELS_GEMM_S8_H
#define GS_KERNELS_GEMM_S8_H

#include <base/dtype.h>
#include <base/team.h>
#include <stdint.h>

/* |sum| <= 128 * 128 * k must stay below 2^31 */
enum { GS_GEMM_S8_MAX_K = 131071 };

/* An int8 weight, packed once. Read-only after creation: any number of threads may run it. */
typedef struct gs_gemm_s8_weight gs_gemm_s8_weight;

/* w: [n, k] row-major codes; as gs_gemm_weight_create: copied into another layout, or borrowed
 * when *borrowed says so (NULL: always copy). GS_E_INVALID for k beyond GS_GEMM_S8_MAX_K. */
gs_status gs_gemm_s8_weight_create(int64_t n, int64_t k, const int8_t *w, gs_team *team, bool *borrowed,
                                   gs_gemm_s8_weight **out, gs_error *err) GS_NODISCARD;
void gs_gemm_s8_weight_destroy(gs_gemm_s8_weight *w); /* NULL ok */
size_t gs_gemm_s8_weight_bytes(const gs_gemm_s8_weight *w);

/* y[i][j] = T( (float)(acc[i][j] + bias[j]) * scale[j] * row_scale[i] + addend[j] ), evaluated from
 * left to right, each operation rounded to f32, then rounded (to nearest even) to T, F16 or BF16, and widened
 * back; T = F32: no rounding. Terms whose pointer is NULL are left out. acc + bias must not overflow
 * (caller's duty). */
typedef struct gs_gemm_s8_epilogue {
    const int32_t *bias;    /* [n] or NULL */
    const float *scale;     /* [n] */
    const float *row_scale; /* [m] or NULL */
    const float *addend;    /* [n] or NULL */
    gs_dtype round;         /* GS_F32, GS_F16 or GS_BF16 */
} gs_gemm_s8_epilogue;

/* c[m, n] = epilogue(a[m, k] * w^T). a: row stride lda >= k; c: f32, row stride ldc >= n. */
gs_status gs_gemm_s8_run(gs_team *team, const gs_gemm_s8_weight *w, int64_t m, const int8_t *a, int64_t lda,
                         const gs_gemm_s8_epilogue *e, float *c, int64_t ldc, gs_error *err) GS_NODISCARD;

/* The specification: acc[i][j] = sum over p ascending of a[i][p] * w[j][p], in int32; dense. */
void gs_gemm_s8_reference(int64_t m, int64_t n, int64_t k, const int8_t *a, const int8_t *w, int32_t *acc);

/* "oneDNN 2.6.3 (avx512_core_bf16), int8", static text. */
const char *gs_gemm_s8_backend(void);

#endif
