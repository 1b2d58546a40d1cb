/* int8 weights and int8 activations, static (one scale for all inputs) or dynamic (one a token). */
#include <network/net_private.h>
#include <network/ops/qlinear.h>

#include <base/half.h>
#include <base/mem.h>
#include <kernels/gemm/gemm_s8.h>

#include <math.h>
#include <stdatomic.h>
#include <string.h>

struct gs_int8_linear {
    gs_gemm_s8_weight *weight;
    float *scale;  /* [out]: deq_scale, or weight_scale when dynamic */
    int32_t *bias; /* [out] static only */
    float *addend; /* [out] or NULL, dynamic only: static biases are inside quant_bias */
    bool dynamic;
    float reciprocal, offset; /* static */
    gs_dtype compute;
    int64_t out, in;
};

void gs_int8_linear_release(gs_int8_linear *p) {
    if (!p) return;
    gs_gemm_s8_weight_destroy(p->weight);
    gs_free(p->scale);
    gs_free(p->bias);
    gs_free(p->addend);
    gs_free(p);
}

/* deq_scale: f32, or f32 bits in an int64 (the form fp16 kernels take). */
static gs_status read_deq_scale(const gs_op_env *env, const gs_param *p, float **out, gs_error *err) {
    int64_t n = p->shape[0];
    const uint8_t *bytes = gs_param_stored(p);
    if (!bytes) return GS_FAIL(err, GS_E_INVALID, "deq_scale has no values");
    float *scale = gs_calloc((size_t)n, sizeof *scale);
    if (!scale) return gs_error_nomem(err, (size_t)n * sizeof *scale);
    gs_status status = GS_OK;
    for (int64_t i = 0; i < n && status == GS_OK; i++) {
        uint64_t wide = 0;
        if (p->dtype == GS_I64) memcpy(&wide, bytes + 8 * i, 8);
        else memcpy(&wide, bytes + 4 * i, 4); /* little-endian, as the file */
        uint32_t bits = (uint32_t)wide;
        memcpy(&scale[i], &bits, sizeof bits);
        if (wide >> 32 || !isfinite(scale[i]) || scale[i] <= 0)
            status = GS_FAIL(err, GS_E_NUMERIC, "deq_scale of row %lld is %g (0x%llx)", (long long)i,
                             (double)scale[i], (unsigned long long)wide);
    }
    if (status != GS_OK) {
        gs_free(scale);
        return status;
    }
    gs_op_dropped(env, p);
    *out = scale;
    return GS_OK;
}

/* The consumer holds it in an int8. */
static gs_status read_offset(gs_int8_linear *p, const gs_op_env *env, const gs_node *node, gs_error *err) {
    float *offset;
    GS_TRY(gs_op_read(env, node->param[GS_ROLE_INPUT_OFFSET], &offset, err));
    p->offset = offset[0];
    gs_free(offset);
    if (p->offset >= -128 && p->offset <= 127 && p->offset == rintf(p->offset)) return GS_OK;
    return GS_FAIL(err, GS_E_NUMERIC, "input_offset %g is no integer from -128 to 127", (double)p->offset);
}

static gs_status read_reciprocal(gs_int8_linear *p, const gs_op_env *env, const gs_node *node, gs_error *err) {
    float *scale;
    GS_TRY(gs_qlinear_read(env, node, GS_ROLE_INPUT_SCALE, true, &scale, err));
    float s = scale[0];
    gs_free(scale);
    p->reciprocal = gs_round_to(p->compute, 1.0f / s);
    if (isfinite(p->reciprocal)) return GS_OK;
    return GS_FAIL(err, GS_E_NUMERIC, "input_scale %g has no reciprocal in %s", (double)s, gs_dtype_name(p->compute));
}

static gs_status read_static(gs_int8_linear *p, const gs_op_env *env, const gs_node *node, gs_error *err) {
    const gs_param *bias = node->param[GS_ROLE_QUANT_BIAS];
    GS_TRY(read_reciprocal(p, env, node, err));
    GS_TRY(read_offset(p, env, node, err));
    GS_TRY(read_deq_scale(env, node->param[GS_ROLE_DEQ_SCALE], &p->scale, err));
    const void *stored = gs_param_stored(bias);
    if (!stored) return GS_FAIL(err, GS_E_INVALID, "quant_bias has no values");
    p->bias = gs_calloc((size_t)p->out, sizeof *p->bias);
    if (!p->bias) return gs_error_nomem(err, (size_t)p->out * sizeof *p->bias);
    memcpy(p->bias, stored, (size_t)p->out * sizeof *p->bias);
    gs_op_dropped(env, bias);
    return GS_OK;
}

static gs_status read_dynamic(gs_int8_linear *p, const gs_op_env *env, const gs_node *node, gs_error *err) {
    GS_TRY(gs_qlinear_read(env, node, GS_ROLE_WEIGHT_SCALE, true, &p->scale, err));
    if (!node->param[GS_ROLE_BIAS]) return GS_OK;
    return gs_qlinear_read(env, node, GS_ROLE_BIAS, false, &p->addend, err);
}

/* The accumulator of row n lies within quant_bias +- 128 * sum |w|. */
static gs_status check_headroom(const gs_int8_linear *p, const int8_t *codes, gs_error *err) {
    for (int64_t n = 0; n < p->out; n++) {
        const int8_t *row = codes + n * p->in;
        int64_t sum = 0, bias = p->bias ? p->bias[n] : 0;
        for (int64_t k = 0; k < p->in; k++) sum += row[k] < 0 ? -row[k] : row[k];
        if ((bias < 0 ? -bias : bias) + 128 * sum > INT32_MAX)
            return GS_FAIL(err, GS_E_NUMERIC, "row %lld can overflow its 32-bit accumulator (quant_bias %lld)",
                           (long long)n, (long long)bias);
    }
    return GS_OK;
}

static gs_status fill(gs_int8_linear *p, const gs_op_env *env, const gs_node *node, gs_error *err) {
    const gs_param *w = node->param[GS_ROLE_WEIGHT];
    GS_TRY(p->dynamic ? read_dynamic(p, env, node, err) : read_static(p, env, node, err));
    const int8_t *codes = gs_param_stored(w);
    if (!codes) return GS_FAIL(err, GS_E_INVALID, "weight '%s' has no values, or reordered ones", w->name);
    GS_TRY(check_headroom(p, codes, err));
    GS_TRY(gs_gemm_s8_weight_create(p->out, p->in, codes, env->team, NULL, &p->weight, err));
    gs_op_dropped(env, w);
    return GS_OK;
}

gs_status gs_int8_linear_create(const gs_op_env *env, const gs_node *node, gs_int8_linear **out, gs_error *err) {
    const gs_param *w = node->param[GS_ROLE_WEIGHT];
    gs_int8_linear *p = gs_calloc(1, sizeof *p);
    if (!p) return gs_error_nomem(err, sizeof *p);
    p->out = w->shape[0];
    p->in = w->shape[1];
    p->compute = node->attr.quant.compute;
    p->dynamic = node->attr.quant.scheme == GS_SCHEME_W8A8_DYNAMIC;
    gs_status status = fill(p, env, node, err);
    if (status != GS_OK) {
        gs_int8_linear_release(p);
        return status;
    }
    *out = p;
    return GS_OK;
}

typedef struct quantize_job {
    const gs_int8_linear *p;
    const gs_kernels *kernels;
    const float *x;
    int8_t *codes;
    float *row_scale; /* NULL when static */
    _Atomic int64_t bad;
} quantize_job;

static void quantize_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    quantize_job *j = ctx;
    int64_t n = j->p->in;
    for (int64_t r = begin; r < end; r++) {
        const float *x = j->x + r * n;
        float most = j->kernels->absmax_f32(n, x); /* also finds NaN, which codes would hide */
        if (!isfinite(most)) atomic_store(&j->bad, r);
        if (!j->row_scale) {
            j->kernels->quantize_affine_s8(n, x, j->p->reciprocal, j->p->offset, j->codes + r * n);
            continue;
        }
        float scale = most / 127.0f;
        j->row_scale[r] = scale > 0 ? scale : 1.0f; /* a row of zeros (or of tiny subnormals) has codes 0 */
        j->kernels->quantize_s8(n, x, j->row_scale[r], j->codes + r * n);
    }
}

gs_status gs_int8_linear_run(const gs_int8_linear *p, const gs_op_call *call, gs_error *err) {
    int64_t rows = call->batch->rows;
    gs_buffer codes = {0}, scales = {0};
    quantize_job j = {.p = p, .kernels = call->env->kernels, .x = call->in[0], .bad = -1};
    gs_status status = gs_op_scratch_take(call, (size_t)rows * (size_t)p->in, &codes, err);
    if (status == GS_OK && p->dynamic)
        status = gs_op_scratch_take(call, (size_t)rows * sizeof(float), &scales, err);
    if (status == GS_OK) {
        j.codes = codes.data;
        j.row_scale = scales.data;
        gs_team_for(call->env->team, rows, GS_OP_ROWS, quantize_rows, &j);
        if (atomic_load(&j.bad) >= 0)
            status = GS_FAIL(err, GS_E_NUMERIC, "its input holds NaN or an infinity");
    }
    if (status == GS_OK) {
        gs_gemm_s8_epilogue e = {.bias = p->bias, .scale = p->scale, .row_scale = j.row_scale,
                                 .addend = p->addend, .round = p->compute};
        status = gs_gemm_s8_run(call->env->team, p->weight, rows, j.codes, p->in, &e, call->out, p->out, err);
    }
    gs_op_scratch_give(call, &codes);
    gs_op_scratch_give(call, &scales);
    return status;
}
