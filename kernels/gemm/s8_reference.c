#include <kernels/gemm/gemm_s8.h>

void gs_gemm_s8_reference(int64_t m, int64_t n, int64_t k, const int8_t *a, const int8_t *w,
                          int32_t *acc) {
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            int32_t sum = 0;
            for (int64_t l = 0; l < k; l++) sum += (int32_t)a[i * k + l] * (int32_t)w[j * k + l];
            acc[i * n + j] = sum;
        }
    }
}
