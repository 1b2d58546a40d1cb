/* oneDNN products of one shape, shared by the whole process through a bounded cache, because
 * making one (code generation) costs a tenth of a millisecond and more.
 *
 * State: the cache (256 entries, least recently used of four goes), behind a mutex. A product
 * that is in use outlives its eviction. Executing one is free of locks.
 */
#ifndef GS_KERNELS_GEMM_PRODUCT_H
#define GS_KERNELS_GEMM_PRODUCT_H

#include <kernels/gemm/gemm.h>

/* Rows of the product for which the packed layout of a weight is chosen. */
enum { GS_PRODUCT_ROWS = 64 };

/* A key's type, beside those of gs_gemm_type: a u8, b s8, c s32 modulo 2^32; accumulate is 0. */
enum { GS_PRODUCT_U8S8 = GS_GEMM_BF16 + 1 };

typedef enum gs_product_weights {
    GS_PRODUCT_PLAIN,      /* b is [k, n] with row stride ldb */
    GS_PRODUCT_TRANSPOSED, /* b is [n, k] with row stride ldb */
    GS_PRODUCT_PACKED      /* b is what gs_product_pack wrote for (type, n, k); ldb is 0 */
} gs_product_weights;

/* All fields are 64 bits wide: keys are compared as bytes. */
typedef struct gs_product_key {
    int64_t type, weights, accumulate;
    int64_t m, n, k, lda, ldb, ldc;
} gs_product_key;

typedef struct gs_product gs_product;

gs_status gs_product_acquire(const gs_product_key *key, gs_product **out,
                             gs_error *err) GS_NODISCARD;
void gs_product_release(gs_product *p); /* NULL is fine */
size_t gs_product_scratch_bytes(const gs_product *p);
/* On the calling thread; c: f32, or s32 by the type; scratch: scratch_bytes, 64-byte aligned. */
gs_status gs_product_run(const gs_product *p, const void *a, const void *b, void *c,
                         void *scratch, gs_error *err) GS_NODISCARD;

/* Of a product with GS_PRODUCT_PACKED weights: size of the packed copy, and making it from
 * w [n, k] with row stride k. */
size_t gs_product_packed_bytes(const gs_product *p);
gs_status gs_product_pack(const gs_product *p, const void *w, void *packed,
                          gs_error *err) GS_NODISCARD;

#endif
