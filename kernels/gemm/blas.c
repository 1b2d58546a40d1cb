/* f32 products through OpenBLAS, one thread a call: our team makes the parallelism. */
#include <cblas.h>
#include <kernels/gemm/backend.h>
#include <limits.h>
#include <pthread.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void init(void) { openblas_set_num_threads(1); }

static bool fits(int64_t x) { return x <= INT_MAX; }

gs_status gs_gemm_blas(bool trans_b, bool accumulate, int64_t m, int64_t n, int64_t k,
                       const float *a, int64_t lda, const float *b, int64_t ldb, float *c,
                       int64_t ldc, gs_error *err) {
    pthread_once(&once, init);
    if (!fits(m) || !fits(n) || !fits(k) || !fits(lda) || !fits(ldb) || !fits(ldc))
        return GS_FAIL(err, GS_E_UNSUPPORTED,
                       "product of %lld x %lld x %lld is beyond the 32-bit sizes of OpenBLAS",
                       (long long)m, (long long)n, (long long)k);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, trans_b ? CblasTrans : CblasNoTrans, (blasint)m,
                (blasint)n, (blasint)k, 1.0f, a, (blasint)lda, b, (blasint)ldb,
                accumulate ? 1.0f : 0.0f, c, (blasint)ldc);
    return GS_OK;
}

const char *gs_gemm_blas_name(void) { return openblas_get_corename(); }
