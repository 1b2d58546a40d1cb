/* The constants that finish an integer product of static activations. */
#include <network/ops/qlinear.h>
#include <network/static_constants.h>

#include <base/mem.h>

#include <limits.h>
#include <math.h>
#include <stdatomic.h>

/* ---- sums of codes ---- */

/* For each row of [n, k] codes: their sum, and that of their magnitudes. */
typedef struct code_sums {
    int64_t *sum, *most; /* [n]; gs_free(sum) frees both */
} code_sums;

typedef struct sums_job {
    int64_t k;
    const int8_t *codes;
    code_sums sums;
} sums_job;

static void sum_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const sums_job *j = ctx;
    for (int64_t r = begin; r < end; r++) {
        const int8_t *row = j->codes + r * j->k;
        int64_t sum = 0, most = 0;
        for (int64_t k0 = 0; k0 < j->k; k0 += 1 << 20) { /* 32-bit sums vectorise better */
            int64_t k1 = k0 + (1 << 20) < j->k ? k0 + (1 << 20) : j->k;
            int32_t part = 0, magnitude = 0;
            for (int64_t k = k0; k < k1; k++) {
                part += row[k];
                magnitude += row[k] < 0 ? -row[k] : row[k];
            }
            sum += part;
            most += magnitude;
        }
        j->sums.sum[r] = sum;
        j->sums.most[r] = most;
    }
}

static gs_status add_codes(const gs_op_env *env, int64_t n, int64_t k, const int8_t *codes, code_sums *out, gs_error *err) {
    out->sum = gs_calloc((size_t)n, 2 * sizeof *out->sum);
    if (!out->sum) return gs_error_nomem(err, (size_t)n * 2 * sizeof *out->sum);
    out->most = out->sum + n;
    sums_job j = {k, codes, *out};
    gs_team_for(env->team, n, GS_OP_ROWS, sum_rows, &j);
    return GS_OK;
}

/* The accumulator of a row lies within bias +- 128 * sum |w|. */
static gs_status check_headroom(int64_t n, const int32_t *bias, const code_sums *sums, gs_error *err) {
    for (int64_t r = 0; r < n; r++) {
        int64_t b = bias[r];
        if ((b < 0 ? -b : b) + 128 * sums->most[r] > INT32_MAX)
            return GS_FAIL(err, GS_E_NUMERIC, "row %lld can overflow its 32-bit accumulator (quant_bias %lld)",
                           (long long)r, (long long)b);
    }
    return GS_OK;
}

static gs_status read_sums(const gs_op_env *env, const gs_node *node, const int8_t *codes, code_sums *out,
                           gs_error *err) {
    const gs_param *w = node->param[GS_ROLE_WEIGHT];
    return add_codes(env, w->shape[0], w->shape[1], codes, out, err);
}

/* ---- constants as stored ---- */

static gs_status read_stored(gs_static_linear *s, const gs_op_env *env, const gs_node *node, const int8_t *codes,
                             gs_error *err) {
    code_sums sums;
    GS_TRY(gs_qlinear_read_deq_scale(env, node, &s->scale, err));
    GS_TRY(gs_qlinear_read_quant_bias(env, node, &s->bias, err));
    GS_TRY(read_sums(env, node, codes, &sums, err));
    gs_status status = check_headroom(node->param[GS_ROLE_WEIGHT]->shape[0], s->bias, &sums, err);
    gs_free(sums.sum);
    return status;
}

gs_status gs_qlinear_folded_bias(const gs_op_env *env, const gs_node *node, const int8_t *codes, float **out,
                                 gs_error *err) {
    int64_t n = node->param[GS_ROLE_WEIGHT]->shape[0];
    code_sums sums = {0};
    float *bias = NULL, offset;
    int32_t *quant_bias = NULL;
    bool any = false;
    *out = NULL;
    if (!node->param[GS_ROLE_DEQ_SCALE] || !node->param[GS_ROLE_QUANT_BIAS]) return GS_OK;
    gs_status status = gs_qlinear_read_input_offset(env, node, &offset, err);
    if (status == GS_OK) status = gs_qlinear_read_deq_scale(env, node, &bias, err);
    if (status == GS_OK) status = gs_qlinear_read_quant_bias(env, node, &quant_bias, err);
    if (status == GS_OK) status = read_sums(env, node, codes, &sums, err);
    for (int64_t r = 0; r < n && status == GS_OK; r++) {
        int64_t steps = quant_bias[r] + (int64_t)offset * sums.sum[r];
        bias[r] = (float)((double)steps * (double)bias[r]);
        any |= steps != 0;
    }
    gs_free(quant_bias);
    gs_free(sums.sum);
    if (status == GS_OK && any) *out = bias;
    else gs_free(bias);
    return status;
}

/* ---- constants from the scales ---- */

typedef struct derive_job {
    gs_act_params act;
    const char *name;
    int64_t k;
    const int8_t *codes;
    const float *scale, *bias; /* bias NULL: none */
    gs_static_linear *out;
    _Atomic int64_t bad; /* the first row whose constants do not fit */
} derive_job;

static gs_status derive_row(const derive_job *j, int64_t r, gs_error *err) {
    return gs_static_constants(j->act, j->scale[r], j->bias ? j->bias[r] : 0.0f, j->k, j->codes + r * j->k, j->name, r,
                               &j->out->scale[r], &j->out->bias[r], err);
}

static void derive_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    derive_job *j = ctx;
    for (int64_t r = begin; r < end; r++) {
        if (derive_row(j, r, NULL) == GS_OK) continue;
        int64_t first = atomic_load(&j->bad);
        while (r < first && !atomic_compare_exchange_weak(&j->bad, &first, r)) continue;
        return;
    }
}

static gs_status derive(gs_static_linear *s, const gs_op_env *env, const gs_node *node, const int8_t *codes,
                        const float *weight_scale, const float *bias, gs_error *err) {
    const gs_param *w = node->param[GS_ROLE_WEIGHT];
    int64_t n = w->shape[0];
    derive_job j = {.act = {s->input_scale, s->offset}, .name = w->name, .k = w->shape[1], .codes = codes,
                    .scale = weight_scale, .bias = bias, .out = s, .bad = INT64_MAX};
    gs_team_for(env->team, n, GS_OP_ROWS, derive_rows, &j);
    int64_t bad = atomic_load(&j.bad);
    return bad == INT64_MAX ? GS_OK : derive_row(&j, bad, err);
}

/* y = (acc - offset * sum q) * (s * sw) + bias. */
static gs_status exact(gs_static_linear *s, const gs_op_env *env, const gs_node *node, const int8_t *codes,
                       const float *weight_scale, gs_error *err) {
    int64_t n = node->param[GS_ROLE_WEIGHT]->shape[0];
    code_sums sums;
    GS_TRY(read_sums(env, node, codes, &sums, err));
    gs_status status = GS_OK;
    for (int64_t r = 0; r < n && status == GS_OK; r++) {
        int64_t correction = -(int64_t)s->offset * sums.sum[r];
        s->scale[r] = s->input_scale * weight_scale[r];
        if (correction > INT32_MAX || correction < -INT32_MAX || !(s->scale[r] > 0) || !isfinite(s->scale[r]))
            status = GS_FAIL(err, GS_E_NUMERIC, "row %lld: a scale of %g, an offset's part of %lld", (long long)r,
                             (double)s->scale[r], (long long)correction);
        else
            s->bias[r] = (int32_t)correction;
    }
    if (status == GS_OK) status = check_headroom(n, s->bias, &sums, err);
    gs_free(sums.sum);
    return status;
}

static gs_status read_derived(gs_static_linear *s, const gs_op_env *env, const gs_node *node, const int8_t *codes,
                              gs_error *err) {
    int64_t n = node->param[GS_ROLE_WEIGHT]->shape[0];
    bool consumer = node->attr.quant.arith == GS_ARITH_CONSUMER;
    float *weight_scale = NULL, *bias = NULL;
    s->scale = gs_calloc((size_t)n, sizeof *s->scale);
    s->bias = gs_calloc((size_t)n, sizeof *s->bias);
    gs_status status = s->scale && s->bias ? GS_OK : gs_error_nomem(err, (size_t)n * sizeof *s->scale);
    if (status == GS_OK) status = gs_qlinear_read(env, node, GS_ROLE_WEIGHT_SCALE, true, &weight_scale, err);
    if (status == GS_OK && node->param[GS_ROLE_BIAS])
        status = gs_qlinear_read(env, node, GS_ROLE_BIAS, false, &bias, err);
    else if (status == GS_OK)
        status = gs_qlinear_folded_bias(env, node, codes, &bias, err);
    if (status == GS_OK)
        status = consumer ? derive(s, env, node, codes, weight_scale, bias, err)
                          : exact(s, env, node, codes, weight_scale, err);
    gs_free(weight_scale);
    if (consumer) gs_free(bias); /* inside the integer one */
    else s->addend = bias;
    return status;
}

/* The consumer's T(1/s). */
static gs_status read_reciprocal(gs_static_linear *s, const gs_node *node, gs_error *err) {
    if (node->attr.quant.arith != GS_ARITH_CONSUMER) return GS_OK;
    s->reciprocal = gs_qlinear_held(node, 1.0f / s->input_scale);
    if (isfinite(s->reciprocal)) return GS_OK;
    return GS_FAIL(err, GS_E_NUMERIC, "input_scale %g has no reciprocal in %s", (double)s->input_scale,
                   gs_dtype_name(node->attr.quant.compute));
}

gs_status gs_static_linear_read(const gs_op_env *env, const gs_node *node, const int8_t *codes, gs_static_linear *s,
                                gs_error *err) {
    float *input_scale;
    *s = (gs_static_linear){0};
    GS_TRY(gs_qlinear_read(env, node, GS_ROLE_INPUT_SCALE, true, &input_scale, err));
    s->input_scale = input_scale[0];
    gs_free(input_scale);
    GS_TRY(read_reciprocal(s, node, err));
    GS_TRY(gs_qlinear_read_input_offset(env, node, &s->offset, err));
    bool stored = node->param[GS_ROLE_DEQ_SCALE], scaled = node->param[GS_ROLE_WEIGHT_SCALE];
    bool as_stored = stored && (node->attr.quant.arith == GS_ARITH_CONSUMER || !scaled);
    return as_stored ? read_stored(s, env, node, codes, err) : read_derived(s, env, node, codes, err);
}

void gs_static_linear_clear(gs_static_linear *s) {
    gs_free(s->scale);
    gs_free(s->bias);
    gs_free(s->addend);
    *s = (gs_static_linear){0};
}
