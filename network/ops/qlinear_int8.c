/* int8 weights and int8 activations, static (one scale for all inputs) or dynamic (one a token). */
#include <network/ops/qlinear.h>
#include <network/ops/round.h>

#include <base/mem.h>
#include <kernels/gemm/gemm_s8.h>

#include <math.h>
#include <stdatomic.h>

struct gs_int8_linear {
    gs_gemm_s8_weight *weight;
    gs_static_linear fixed; /* static; dynamic: scale (weight_scale) and addend (bias) alone */
    bool dynamic;
    float token_levels; /* most / token_levels is a token's scale */
    gs_dtype round; /* of results */
    int64_t out, in;
};

void gs_int8_linear_release(gs_int8_linear *p) {
    if (!p) return;
    gs_gemm_s8_weight_destroy(p->weight);
    gs_static_linear_clear(&p->fixed);
    gs_free(p);
}

static gs_status read_dynamic(gs_int8_linear *p, const gs_op_env *env, const gs_node *node, gs_error *err) {
    GS_TRY(gs_qlinear_read(env, node, GS_ROLE_WEIGHT_SCALE, true, &p->fixed.scale, err));
    if (!node->param[GS_ROLE_BIAS]) return GS_OK;
    return gs_qlinear_read(env, node, GS_ROLE_BIAS, false, &p->fixed.addend, err);
}

/* Integer products have no term for one. */
static gs_status check_symmetric(const gs_op_env *env, const gs_node *node, gs_error *err) {
    float *offset;
    gs_status status = GS_OK;
    if (!node->param[GS_ROLE_WEIGHT_OFFSET]) return GS_OK;
    GS_TRY(gs_qlinear_read(env, node, GS_ROLE_WEIGHT_OFFSET, false, &offset, err));
    for (int64_t r = 0; r < node->param[GS_ROLE_WEIGHT]->shape[0] && status == GS_OK; r++)
        if (offset[r] != 0)
            status = GS_FAIL(err, GS_E_UNSUPPORTED, "%s with a weight_offset of %g (row %lld): no consumer computes it",
                             gs_scheme_name(node->attr.quant.scheme), (double)offset[r], (long long)r);
    gs_free(offset);
    return status;
}

static gs_status fill(gs_int8_linear *p, const gs_op_env *env, const gs_node *node, gs_error *err) {
    const int8_t *codes;
    int8_t *own;
    GS_TRY(check_symmetric(env, node, err));
    GS_TRY(gs_qlinear_codes(env, node, &codes, &own, err));
    gs_status status = p->dynamic ? read_dynamic(p, env, node, err)
                                  : gs_static_linear_read(env, node, codes, &p->fixed, err);
    if (status == GS_OK) status = gs_gemm_s8_weight_create(p->out, p->in, codes, env->team, NULL, &p->weight, err);
    gs_free(own);
    if (status == GS_OK) gs_op_dropped(env, node->param[GS_ROLE_WEIGHT]);
    return status;
}

gs_status gs_int8_linear_create(const gs_op_env *env, const gs_node *node, gs_int8_linear **out, gs_error *err) {
    const gs_param *w = node->param[GS_ROLE_WEIGHT];
    gs_int8_linear *p = gs_calloc(1, sizeof *p);
    if (!p) return gs_error_nomem(err, sizeof *p);
    p->out = w->shape[0];
    p->in = w->shape[1];
    p->round = node->attr.quant.arith == GS_ARITH_CONSUMER ? node->attr.quant.compute : GS_F32;
    p->dynamic = gs_qlinear_scheme(node) == GS_SCHEME_W8A8_DYNAMIC;
    bool exact = node->attr.quant.arith == GS_ARITH_EXACT;
    p->token_levels = exact && node->attr.quant.token_levels > 0 ? node->attr.quant.token_levels : 127.0f;
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

/* q = clamp(rne(x / s) + o): a plain division, for the arithmetic that no server has. The limits are
 * integers, so clamping before rounding gives the same. */
static void quantize_exact(int64_t n, const float *restrict x, float scale, float offset, int8_t *restrict q) {
    for (int64_t i = 0; i < n; i++)
        q[i] = (int8_t)(gs_round_even(gs_clamp(x[i] / scale, -128 - offset, 127 - offset)) + offset);
}

static void quantize_static(const quantize_job *j, const float *x, int8_t *codes) {
    const gs_static_linear *s = &j->p->fixed;
    if (s->reciprocal > 0) j->kernels->quantize_affine_s8(j->p->in, x, s->reciprocal, s->offset, codes);
    else quantize_exact(j->p->in, x, s->input_scale, s->offset, codes);
}

static void quantize_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    quantize_job *j = ctx;
    int64_t n = j->p->in;
    for (int64_t r = begin; r < end; r++) {
        const float *x = j->x + r * n;
        float most = j->kernels->absmax_f32(n, x); /* also finds NaN, which codes would hide */
        if (!isfinite(most)) {
            atomic_store(&j->bad, r);
            continue;
        }
        if (!j->row_scale) {
            quantize_static(j, x, j->codes + r * n);
            continue;
        }
        float scale = most / j->p->token_levels;
        j->row_scale[r] = scale > 0 ? scale : 1.0f; /* a row of zeros (or of tiny subnormals) has codes 0 */
        j->kernels->quantize_s8(n, x, j->row_scale[r], j->codes + r * n);
    }
}

gs_status gs_int8_linear_run(const void *linear, const gs_op_call *call, gs_error *err) {
    const gs_int8_linear *p = linear;
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
        gs_gemm_s8_epilogue e = {.bias = p->fixed.bias, .scale = p->fixed.scale, .row_scale = j.row_scale,
                                 .addend = p->fixed.addend, .round = p->round};
        status = gs_gemm_s8_run(call->env->team, p->weight, rows, j.codes, p->in, &e, call->out, p->out, err);
    }
    gs_op_scratch_give(call, &codes);
    gs_op_scratch_give(call, &scales);
    return status;
}
