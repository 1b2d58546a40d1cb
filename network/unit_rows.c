#include <network/net.h>

#include <base/half.h>
#include <base/mem.h>
#include <kernels/kernels.h>

#include <math.h>

enum { LANES = 8 };

static double sum_of_squares(int64_t n, const float *x) {
    double lane[LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += (double)x[i + l] * (double)x[i + l];
    for (; i < n; i++) lane[i % LANES] += (double)x[i] * (double)x[i];
    for (int l = 0; l < LANES; l++) sum += lane[l];
    return sum;
}

static void normalize(int64_t n, float *x) {
    float norm = (float)sqrt(sum_of_squares(n, x));
    if (norm < 1e-12f) norm = 1e-12f;
    for (int64_t i = 0; i < n; i++) x[i] /= norm;
}

gs_status gs_param_read_unit_f32(const gs_param *p, int64_t row0, int64_t nrows, float *dst, gs_error *err) {
    int64_t rows, cols;
    gs_param_matrix(p, &rows, &cols);
    GS_TRY(gs_param_read_f32(p, row0, nrows, dst, err));
    for (int64_t r = 0; r < nrows; r++) normalize(cols, dst + r * cols);
    return GS_OK;
}

gs_status gs_param_read_unit_16(const gs_param *p, gs_dtype dtype, int64_t row0, int64_t nrows, uint16_t *dst,
                                gs_error *err) {
    const gs_kernels *k = gs_kernels_get();
    int64_t rows, cols;
    gs_param_matrix(p, &rows, &cols);
    if (dtype != GS_F16 && dtype != GS_BF16)
        return GS_FAIL(err, GS_E_INVALID, "'%s' read as %s", p->name, gs_dtype_name(dtype));
    float *row = gs_calloc((size_t)cols, sizeof *row);
    gs_status status = row ? GS_OK : gs_error_nomem(err, (size_t)cols * sizeof *row);
    for (int64_t r = 0; r < nrows && status == GS_OK; r++) {
        status = gs_param_read_unit_f32(p, row0 + r, 1, row, err);
        if (status != GS_OK) break;
        if (dtype == GS_F16) k->convert_f32_f16(cols, row, dst + r * cols);
        else k->convert_f32_bf16(cols, row, dst + r * cols);
    }
    gs_free(row);
    return status;
}
