/* Factors on a param's values: how an algorithm moves scales between layers without making a
 * second copy of either. */
#include <network/net_private.h>

#include <base/mem.h>
#include <kernels/kernels.h>

#include <math.h>

void gs_param_apply_factors(const gs_param *p, int64_t row0, int64_t nrows, float *values) {
    int64_t rows, cols;
    const gs_kernels *k = gs_kernels_get();
    if (!p->row_factor && !p->col_factor) return;
    gs_param_matrix(p, &rows, &cols);
    for (int64_t r = 0; r < nrows; r++) {
        float *row = values + r * cols;
        if (p->col_factor) k->scale_channels(cols, row, p->col_factor, row);
        if (p->row_factor) k->scale_f32(cols, row, p->row_factor[row0 + r], row);
    }
}

gs_status gs_param_read_scaled_16(const gs_param *p, gs_dtype dtype, int64_t row0, int64_t nrows,
                                  uint16_t *dst, gs_error *err) {
    int64_t rows, cols;
    const gs_kernels *k = gs_kernels_get();
    gs_param_matrix(p, &rows, &cols);
    float *row = gs_calloc((size_t)cols + 1, sizeof *row);
    if (!row) return gs_error_nomem(err, (size_t)cols * sizeof *row);
    gs_status status = GS_OK;
    for (int64_t r = 0; r < nrows && status == GS_OK; r++) {
        status = gs_param_read_f32(p, row0 + r, 1, row, err);
        if (status != GS_OK) break;
        if (dtype == GS_F16)
            k->convert_f32_f16(cols, row, dst + r * cols);
        else
            k->convert_f32_bf16(cols, row, dst + r * cols);
    }
    gs_free(row);
    return status;
}

static gs_status multiply(const gs_param *p, float **factors, int64_t n, const float *factor, gs_error *err) {
    if (!gs_dtype_is_float(p->dtype) && gs_dtype_block(p->dtype) <= 1)
        return GS_FAIL(err, GS_E_INVALID, "'%s' is %s: only float values are scaled", p->name,
                       gs_dtype_name(p->dtype));
    for (int64_t i = 0; i < n; i++) {
        float all = *factors ? (*factors)[i] * factor[i] : factor[i]; /* may overflow, or vanish */
        if (!isfinite(all) || all == 0)
            return GS_FAIL(err, GS_E_NUMERIC, "'%s' cannot be scaled by %g (element %lld)", p->name,
                           (double)factor[i], (long long)i);
    }
    if (!*factors) {
        *factors = gs_calloc((size_t)n + 1, sizeof **factors);
        if (!*factors) return gs_error_nomem(err, (size_t)n * sizeof **factors);
        for (int64_t i = 0; i < n; i++) (*factors)[i] = factor[i];
        return GS_OK;
    }
    for (int64_t i = 0; i < n; i++) (*factors)[i] *= factor[i];
    return GS_OK;
}

gs_status gs_param_scale_rows(gs_param *p, const float *factor, gs_error *err) {
    int64_t rows, cols;
    gs_param_matrix(p, &rows, &cols);
    return multiply(p, &p->row_factor, rows, factor, err);
}

gs_status gs_param_scale_cols(gs_param *p, const float *factor, gs_error *err) {
    int64_t rows, cols;
    gs_param_matrix(p, &rows, &cols);
    return multiply(p, &p->col_factor, cols, factor, err);
}
