/* W8A16: weights are int8, activations float. The weight is dequantized once, when it is prepared. */
#include <network/net_private.h>
#include <network/ops/qlinear.h>

#include <base/mem.h>

typedef struct dequantize_job {
    const gs_op_env *env;
    int64_t cols;
    const int8_t *codes;
    const float *scale, *offset; /* offset NULL: 0 */
    void *rows;
    float *scratch; /* [workers, cols], for bf16 */
} dequantize_job;

static void dequantize_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    const dequantize_job *j = ctx;
    const gs_kernels *k = j->env->kernels;
    for (int64_t r = begin; r < end; r++) {
        const int8_t *q = j->codes + r * j->cols;
        float offset = j->offset ? j->offset[r] : 0.0f;
        if (j->env->type == GS_GEMM_BF16) {
            float *row = j->scratch + worker * j->cols;
            k->dequantize_s8(j->cols, q, j->scale[r], offset, row);
            k->convert_f32_bf16(j->cols, row, (uint16_t *)j->rows + r * j->cols);
        } else {
            k->dequantize_s8(j->cols, q, j->scale[r], offset, (float *)j->rows + r * j->cols);
        }
    }
}

static gs_status dequantize(dequantize_job *j, const gs_param *w, gs_error *err) {
    size_t bytes;
    j->codes = gs_param_stored(w);
    j->cols = w->shape[1];
    if (!j->codes) return GS_FAIL(err, GS_E_INVALID, "weight '%s' has no values, or reordered ones", w->name);
    if (!gs_mul_size((size_t)gs_team_size(j->env->team) * sizeof(float), (size_t)j->cols, &bytes))
        return gs_error_nomem(err, SIZE_MAX);
    GS_TRY(gs_weight_rows_alloc(j->env, w, &j->rows, err));
    if (j->env->type == GS_GEMM_BF16 && !(j->scratch = gs_alloc(bytes))) {
        gs_free(j->rows);
        return gs_error_nomem(err, bytes);
    }
    gs_team_for(j->env->team, w->shape[0], GS_OP_ROWS, dequantize_rows, j);
    gs_free(j->scratch);
    return GS_OK;
}

gs_status gs_qlinear_w8a16_prepare(const gs_op_env *env, const gs_node *node, gs_packed_linear **out, gs_error *err) {
    const gs_param *w = node->param[GS_ROLE_WEIGHT];
    float *scale = NULL, *offset = NULL, *bias = NULL;
    dequantize_job j = {.env = env};
    gs_status status = gs_qlinear_read(env, node, GS_ROLE_WEIGHT_SCALE, true, &scale, err);
    if (status == GS_OK && node->param[GS_ROLE_WEIGHT_OFFSET])
        status = gs_qlinear_read(env, node, GS_ROLE_WEIGHT_OFFSET, false, &offset, err);
    if (status == GS_OK && node->param[GS_ROLE_BIAS])
        status = gs_qlinear_read(env, node, GS_ROLE_BIAS, false, &bias, err);
    j.scale = scale;
    j.offset = offset;
    if (status == GS_OK) status = dequantize(&j, w, err);
    gs_free(scale);
    gs_free(offset);
    if (status != GS_OK) {
        gs_free(bias);
        return status;
    }
    gs_op_dropped(env, w);
    gs_weight_rows rows = {.data = j.rows, .own = j.rows, .bias = bias};
    return gs_packed_linear_create(env, node, rows, NULL, out, err);
}
