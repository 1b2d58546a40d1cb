#include <api/bundle_dtype.h>

#include <base/mem.h>

#include <math.h>

/* Largest |value| of the tensors that will stay float, NaN and infinities included. */
static gs_status largest_float(const gs_checkpoint *c, const gs_net *net, float *largest, gs_error *err) {
    enum { ROWS = 64 };
    for (int i = 0; i < gs_net_node_count(net); i++) {
        for (int r = 0; r < GS_ROLE_COUNT; r++) {
            const gs_param *p = gs_net_node(net, i)->param[r];
            if (!p || !p->source) continue;
            int64_t rows, cols;
            gs_param_matrix(p, &rows, &cols);
            float *x = gs_calloc((size_t)(ROWS * cols), sizeof *x);
            if (!x) return gs_error_nomem(err, (size_t)(ROWS * cols) * sizeof *x);
            gs_status status = GS_OK;
            for (int64_t row = 0; row < rows && status == GS_OK; row += ROWS) {
                int64_t n = rows - row < ROWS ? rows - row : ROWS;
                status = gs_param_read_f32(p, row, n, x, err);
                for (int64_t k = 0; status == GS_OK && k < n * cols; k++)
                    if (fabsf(x[k]) > *largest) *largest = fabsf(x[k]);
                gs_checkpoint_drop_rows(c, p->source, row, n);
            }
            gs_free(x);
            GS_TRY(status);
        }
    }
    return GS_OK;
}

gs_status gs_bundle_dtype(const gs_model *m, gs_comp_algo *algo, gs_dtype *out, gs_error *err) {
    gs_dtype source = gs_model_settings(m)->dtype;
    float largest = 0;
    *out = source;
    if (source == GS_F16 || source == GS_BF16) return GS_OK;
    for (int i = 0; i < gs_model_segments(m); i++) {
        gs_net *net;
        GS_TRY(gs_model_segment(m, i, &net, err));
        gs_status status = gs_comp_algo_apply(algo, net, err);
        if (status == GS_OK) status = largest_float(gs_model_checkpoint(m), net, &largest, err);
        gs_net_destroy(net);
        GS_TRY(status);
    }
    *out = largest > 65504.0f ? GS_BF16 : GS_F16;
    return GS_OK;
}
