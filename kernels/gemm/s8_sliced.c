/* Integer products on back ends that have only f32: 1024 products of two codes add up to
 * 128*128*1024 = 2^24 at most, and so do all partial sums, in any order; f32 holds every integer
 * up to there. */
#include <kernels/gemm/gemm.h>
#include <kernels/gemm/s8.h>
#include <kernels/kernels.h>

enum { SLICE = 1024 };

static int64_t slice_of(int64_t k) { return k < SLICE ? k : SLICE; }

static int64_t padded(int64_t floats) { return (floats + 15) / 16 * 16; }

size_t gs_s8_sliced_bytes(int64_t rows, int64_t cols, int64_t k) {
    int64_t depth = slice_of(k);
    return (size_t)(padded(rows * depth) + padded(cols * depth) + rows * cols) * sizeof(float);
}

static void widen(int64_t rows, int64_t depth, const int8_t *src, int64_t ld, float *dst) {
    const gs_kernels *kernels = gs_kernels_get();
    for (int64_t i = 0; i < rows; i++)
        kernels->dequantize_s8(depth, src + i * ld, 1, 0, dst + i * depth);
}

gs_status gs_s8_sliced(int64_t rows, int64_t cols, int64_t k, const int8_t *a, int64_t lda,
                       const int8_t *w, int32_t *acc, float *scratch, gs_error *err) {
    int64_t depth = slice_of(k);
    float *wide_a = scratch, *wide_w = wide_a + padded(rows * depth),
          *sum = wide_w + padded(cols * depth);
    for (int64_t from = 0; from < k; from += depth) {
        if (depth > k - from) depth = k - from;
        widen(rows, depth, a + from, lda, wide_a);
        widen(cols, depth, w + from, k, wide_w);
        GS_TRY(gs_gemm_block(GS_GEMM_F32, true, false, rows, cols, depth, wide_a, depth, wide_w,
                             depth, sum, cols, err));
        if (from == 0)
            for (int64_t i = 0; i < rows * cols; i++) acc[i] = (int32_t)sum[i];
        else
            for (int64_t i = 0; i < rows * cols; i++) acc[i] += (int32_t)sum[i];
    }
    return GS_OK;
}
