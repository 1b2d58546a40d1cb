/* Linears whose activations stay float: the weight is dequantized once, when it is prepared. */
#include <network/ops/qlinear.h>

#include <base/mem.h>

#include <stdatomic.h>

typedef struct dequantize_job {
    const gs_op_env *env;
    int64_t cols, groups; /* groups of columns that share a scale */
    const int8_t *codes;
    const float *scale, *offset; /* [rows, groups]; offset NULL: 0 */
    int most;                    /* codes lie in [-most - 1, most] */
    void *rows;
    float *scratch; /* [workers, cols], for bf16 */
    _Atomic int64_t bad; /* a row with a code out of range, -1 when none */
} dequantize_job;

static bool codes_fit(int64_t n, const int8_t *q, int most) {
    int low = 0, high = 0;
    for (int64_t i = 0; i < n; i++) {
        low = q[i] < low ? q[i] : low;
        high = q[i] > high ? q[i] : high;
    }
    return high <= most && low >= -most - 1;
}

static void dequantize_row(const dequantize_job *j, int64_t r, float *row) {
    int64_t group = j->cols / j->groups;
    for (int64_t g = 0; g < j->groups; g++) {
        int64_t at = r * j->groups + g;
        /* a stored offset is subtracted */
        float offset = j->offset ? -j->offset[at] : 0.0f;
        j->env->kernels->dequantize_s8(group, j->codes + r * j->cols + g * group, j->scale[at], offset,
                                       row + g * group);
    }
}

static void dequantize_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    dequantize_job *j = ctx;
    for (int64_t r = begin; r < end; r++) {
        if (j->most < 127 && !codes_fit(j->cols, j->codes + r * j->cols, j->most)) atomic_store(&j->bad, r);
        if (j->env->type == GS_GEMM_BF16) {
            float *row = j->scratch + worker * j->cols;
            dequantize_row(j, r, row);
            j->env->kernels->convert_f32_bf16(j->cols, row, (uint16_t *)j->rows + r * j->cols);
        } else {
            dequantize_row(j, r, (float *)j->rows + r * j->cols);
        }
    }
}

static gs_status dequantize(dequantize_job *j, const gs_param *w, gs_error *err) {
    size_t bytes;
    if (!gs_mul_size((size_t)gs_team_size(j->env->team) * sizeof(float), (size_t)j->cols, &bytes))
        return gs_error_nomem(err, SIZE_MAX);
    GS_TRY(gs_weight_rows_alloc(j->env, w, &j->rows, err));
    gs_status status = GS_OK;
    if (j->env->type == GS_GEMM_BF16 && !(j->scratch = gs_alloc(bytes))) status = gs_error_nomem(err, bytes);
    if (status == GS_OK) gs_team_for(j->env->team, w->shape[0], GS_OP_ROWS, dequantize_rows, j);
    gs_free(j->scratch);
    if (status == GS_OK && atomic_load(&j->bad) >= 0)
        status = GS_FAIL(err, GS_E_NUMERIC, "weight '%s' has codes beyond %d and %d", w->name, -j->most - 1, j->most);
    if (status != GS_OK) gs_free(j->rows);
    return status;
}

/* Static linears may store deq_scale = input_scale * weight_scale alone. */
static gs_status read_scales(const gs_op_env *env, const gs_node *node, float **scale, gs_error *err) {
    float *input;
    if (node->param[GS_ROLE_WEIGHT_SCALE])
        return gs_qlinear_read(env, node, GS_ROLE_WEIGHT_SCALE, true, scale, err);
    GS_TRY(gs_qlinear_read(env, node, GS_ROLE_INPUT_SCALE, true, &input, err));
    float s = input[0];
    gs_free(input);
    GS_TRY(gs_qlinear_read_deq_scale(env, node, scale, err));
    for (int64_t r = 0; r < node->param[GS_ROLE_WEIGHT]->shape[0]; r++) (*scale)[r] /= s;
    return GS_OK;
}

static gs_status read_bias(const gs_op_env *env, const gs_node *node, const int8_t *codes, float **bias,
                           gs_error *err) {
    if (node->param[GS_ROLE_BIAS]) return gs_qlinear_read(env, node, GS_ROLE_BIAS, false, bias, err);
    return gs_qlinear_folded_bias(env, node, codes, bias, err);
}

gs_status gs_qlinear_float_prepare(const gs_op_env *env, const gs_node *node, gs_packed_linear **out, gs_error *err) {
    const gs_param *w = node->param[GS_ROLE_WEIGHT], *scales = node->param[GS_ROLE_WEIGHT_SCALE];
    float *scale = NULL, *offset = NULL, *bias = NULL;
    int8_t *own = NULL;
    dequantize_job j = {.env = env, .cols = w->shape[1], .bad = -1};
    j.groups = scales ? gs_param_count(scales) / scales->shape[0] : 1;
    j.most = node->attr.quant.scheme == GS_SCHEME_W4A16 ? 7 : 127;
    gs_status status = gs_qlinear_codes(env, node, &j.codes, &own, err);
    if (status == GS_OK) status = read_scales(env, node, &scale, err);
    if (status == GS_OK && node->param[GS_ROLE_WEIGHT_OFFSET])
        status = gs_qlinear_read(env, node, GS_ROLE_WEIGHT_OFFSET, false, &offset, err);
    if (status == GS_OK) status = read_bias(env, node, j.codes, &bias, err);
    j.scale = scale;
    j.offset = offset;
    if (status == GS_OK) status = dequantize(&j, w, err);
    gs_free(scale);
    gs_free(offset);
    gs_free(own);
    if (status != GS_OK) {
        gs_free(bias);
        return status;
    }
    gs_op_dropped(env, w);
    gs_weight_rows rows = {.data = j.rows, .own = j.rows, .bias = bias};
    return gs_packed_linear_create(env, node, rows, NULL, out, err);
}
