#include <base/half.h>
#include <kernels/gemm/gemm.h>

static double element(gs_gemm_type type, const void *p, int64_t i) {
    if (type == GS_GEMM_BF16) return (double)gs_bf16_to_f32(((const uint16_t *)p)[i]);
    return (double)((const float *)p)[i];
}

void gs_gemm_reference(gs_gemm_type type, bool trans_b, bool accumulate, int64_t m, int64_t n,
                       int64_t k, const void *a, int64_t lda, const void *b, int64_t ldb,
                       float *c, int64_t ldc) {
    int64_t step = trans_b ? 1 : ldb, column = trans_b ? ldb : 1;
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = accumulate ? (double)c[i * ldc + j] : 0;
            for (int64_t l = 0; l < k; l++)
                sum +=
                    element(type, a, i * lda + l) * element(type, b, j * column + l * step);
            c[i * ldc + j] = (float)sum;
        }
    }
}
