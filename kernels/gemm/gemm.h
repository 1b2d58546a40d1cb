/* Matrix products for linears and attention: f32, or bf16 operands with f32 accumulation
 * and f32 results. Back ends: oneDNN where it is fast (x86-64), OpenBLAS for f32 elsewhere;
 * bf16 on machines without bf16 (or faster emulation) widens the operands to f32, which is
 * exact, and multiplies in f32. A plain triple loop is the reference. The environment variable
 * GSTICK_GEMM (onednn | openblas | reference) chooses another back end.
 *
 * gs_gemm_run splits C into blocks of fixed size (rows, and columns of wide weights) over the
 * team; inside a block the library runs on one thread. So results do not depend on the team's
 * size.
 *
 * State kept for the process: oneDNN's engine and a bounded cache of its generated code
 * (gemm/product.h), and one scratch buffer a thread, released when the thread ends.
 */
#ifndef GS_KERNELS_GEMM_H
#define GS_KERNELS_GEMM_H

#include <base/team.h>
#include <stdint.h>

typedef enum gs_gemm_type { GS_GEMM_F32, GS_GEMM_BF16 } gs_gemm_type;

/* The weight of a linear, packed once for many products. Read-only after creation: any
 * number of threads may run it. */
typedef struct gs_gemm_weight gs_gemm_weight;

/* w: [n, k] row-major (out_features, in_features), f32 or bf16 bits by type. When the back
 * end wants another layout, or the team's placement a copy on each NUMA node (base/placed.h),
 * the weight is copied (w may be freed after), else w is borrowed for the life of the handle:
 * *borrowed tells which (NULL: always copy). */
gs_status gs_gemm_weight_create(gs_gemm_type type, int64_t n, int64_t k, const void *w,
                                gs_team *team, bool *borrowed, gs_gemm_weight **out,
                                gs_error *err) GS_NODISCARD;
void gs_gemm_weight_destroy(gs_gemm_weight *w);
size_t gs_gemm_weight_bytes(const gs_gemm_weight *w); /* memory it holds itself, all copies */

/* c[m, n] = a[m, k] * w^T. a: row stride lda >= k elements, f32 or bf16 bits by the weight's
 * type; c: f32, row stride ldc >= n. a and c do not overlap. */
gs_status gs_gemm_run(gs_team *team, const gs_gemm_weight *w, int64_t m, const void *a, int64_t lda,
                      float *c, int64_t ldc, gs_error *err) GS_NODISCARD;

/* One product on the calling thread, for small blocks with strides:
 * c[m, n] (+)= a[m, k] * b, b is [n, k] when trans_b else [k, n], row-major with strides. */
gs_status gs_gemm_block(gs_gemm_type type, bool trans_b, bool accumulate, int64_t m, int64_t n,
                        int64_t k, const void *a, int64_t lda, const void *b, int64_t ldb, float *c,
                        int64_t ldc, gs_error *err) GS_NODISCARD;

/* The specification: double accumulation over k in ascending order, rounded once. */
void gs_gemm_reference(gs_gemm_type type, bool trans_b, bool accumulate, int64_t m, int64_t n,
                       int64_t k, const void *a, int64_t lda, const void *b, int64_t ldb, float *c,
                       int64_t ldc);

/* "oneDNN 2.6.3 (avx512_core_bf16)", for --verbose and benches; static text. */
const char *gs_gemm_backend(gs_gemm_type type);

#endif
