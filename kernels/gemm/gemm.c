/* Which library multiplies, and products of single blocks on the calling thread. */
#include <base/half.h>
#include <base/mem.h>
#include <kernels/gemm/backend.h>
#include <kernels/gemm/product.h>
#include <kernels/kernels.h>
#include <kernels/onednn/onednn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static gs_gemm_engine engine;
static char name_f32[128], name_bf16[128];

static void init(void) {
#if defined(__x86_64__)
    engine = GS_ENGINE_ONEDNN;
#else
    engine = GS_ENGINE_OPENBLAS;
#endif
    const char *forced = getenv("GSTICK_GEMM");
    if (forced && !strcmp(forced, "onednn")) engine = GS_ENGINE_ONEDNN;
    if (forced && !strcmp(forced, "openblas")) engine = GS_ENGINE_OPENBLAS;
    if (forced && !strcmp(forced, "reference")) engine = GS_ENGINE_REFERENCE;

    bool native = true;
    switch (engine) {
    case GS_ENGINE_ONEDNN:
        snprintf(name_f32, sizeof name_f32, "%s", gs_dnnl_name());
        native = gs_dnnl_has_bf16();
        break;
    case GS_ENGINE_OPENBLAS:
        snprintf(name_f32, sizeof name_f32, "OpenBLAS (%s)", gs_gemm_blas_name());
        native = false;
        break;
    case GS_ENGINE_REFERENCE: snprintf(name_f32, sizeof name_f32, "reference"); break;
    }
    snprintf(name_bf16, sizeof name_bf16, "%.100s%s", name_f32,
             native ? "" : ", bf16 widened to f32");
}

gs_gemm_engine gs_gemm_engine_get(void) {
    pthread_once(&once, init);
    return engine;
}

bool gs_gemm_engine_has_bf16(void) {
    switch (gs_gemm_engine_get()) {
    case GS_ENGINE_ONEDNN: return gs_dnnl_has_bf16();
    case GS_ENGINE_OPENBLAS: return false;
    case GS_ENGINE_REFERENCE: return true;
    }
    return false;
}

const char *gs_gemm_backend(gs_gemm_type type) {
    pthread_once(&once, init);
    return type == GS_GEMM_BF16 ? name_bf16 : name_f32;
}

void gs_gemm_widen(int64_t rows, int64_t cols, const uint16_t *src, int64_t ld, float *dst) {
    const gs_kernels *kernels = gs_kernels_get();
    for (int64_t i = 0; i < rows; i++)
        kernels->convert_bf16_f32(cols, src + i * ld, dst + i * cols);
}

static gs_status block_dnnl(const gs_product_key *key, const void *a, const void *b, float *c,
                            gs_error *err) {
    gs_product *p;
    GS_TRY(gs_product_acquire(key, &p, err));
    size_t bytes = gs_product_scratch_bytes(p);
    void *scratch = bytes ? gs_gemm_scratch(bytes) : NULL;
    gs_status status = bytes && !scratch ? gs_error_nomem(err, bytes)
                                         : gs_product_run(p, a, b, c, scratch, err);
    gs_product_release(p);
    return status;
}

static gs_status block_native(gs_gemm_type type, bool trans_b, bool accumulate, int64_t m,
                              int64_t n, int64_t k, const void *a, int64_t lda, const void *b,
                              int64_t ldb, float *c, int64_t ldc, gs_error *err) {
    if (gs_gemm_engine_get() == GS_ENGINE_REFERENCE) {
        gs_gemm_reference(type, trans_b, accumulate, m, n, k, a, lda, b, ldb, c, ldc);
        return GS_OK;
    }
    if (gs_gemm_engine_get() == GS_ENGINE_OPENBLAS)
        return gs_gemm_blas(trans_b, accumulate, m, n, k, a, lda, b, ldb, c, ldc, err);
    /* the stride of a single row says nothing, and a dense one is the faster layout */
    gs_product_key key = {.type = type,
                          .weights = trans_b ? GS_PRODUCT_TRANSPOSED : GS_PRODUCT_PLAIN,
                          .accumulate = accumulate,
                          .m = m,
                          .n = n,
                          .k = k,
                          .lda = m == 1 ? k : lda,
                          .ldb = ldb,
                          .ldc = m == 1 ? n : ldc};
    return block_dnnl(&key, a, b, c, err);
}

/* The back end has no bf16: widen both operands, which is exact, and multiply in f32. */
static gs_status block_widened(bool trans_b, bool accumulate, int64_t m, int64_t n, int64_t k,
                               const uint16_t *a, int64_t lda, const uint16_t *b, int64_t ldb,
                               float *c, int64_t ldc, gs_error *err) {
    int64_t b_rows = trans_b ? n : k, b_cols = trans_b ? k : n;
    size_t a_count, b_count, bytes;
    if (!gs_mul_size((size_t)m, (size_t)k, &a_count) ||
        !gs_mul_size((size_t)b_rows, (size_t)b_cols, &b_count) ||
        a_count > SIZE_MAX - b_count ||
        !gs_mul_size(a_count + b_count, sizeof(float), &bytes))
        return gs_error_nomem(err, SIZE_MAX);
    /* not the thread's scratch: the product below may want that */
    float *wide = gs_alloc(bytes);
    if (!wide) return gs_error_nomem(err, bytes);
    gs_gemm_widen(m, k, a, lda, wide);
    gs_gemm_widen(b_rows, b_cols, b, ldb, wide + a_count);
    gs_status status = block_native(GS_GEMM_F32, trans_b, accumulate, m, n, k, wide, k,
                                    wide + a_count, b_cols, c, ldc, err);
    gs_free(wide);
    return status;
}

static void clear_block(int64_t m, int64_t n, float *c, int64_t ldc) {
    for (int64_t i = 0; i < m; i++) memset(c + i * ldc, 0, (size_t)n * sizeof *c);
}

gs_status gs_gemm_block(gs_gemm_type type, bool trans_b, bool accumulate, int64_t m,
                        int64_t n, int64_t k, const void *a, int64_t lda, const void *b,
                        int64_t ldb, float *c, int64_t ldc, gs_error *err) {
    if (m < 0 || n < 0 || k < 0 || lda < k || ldb < (trans_b ? k : n) || ldc < n)
        return GS_FAIL(err, GS_E_INVALID,
                       "product %lld x %lld x %lld with strides %lld, %lld, %lld",
                       (long long)m, (long long)n, (long long)k, (long long)lda,
                       (long long)ldb, (long long)ldc);
    if (m == 0 || n == 0) return GS_OK;
    if (k == 0) {
        if (!accumulate) clear_block(m, n, c, ldc);
        return GS_OK;
    }
    if (type == GS_GEMM_BF16 && !gs_gemm_engine_has_bf16())
        return block_widened(trans_b, accumulate, m, n, k, a, lda, b, ldb, c, ldc, err);
    return block_native(type, trans_b, accumulate, m, n, k, a, lda, b, ldb, c, ldc, err);
}
