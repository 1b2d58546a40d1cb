/* The params of a quantized linear, as its arithmetic holds them. */
#include <network/net_private.h>
#include <network/ops/qlinear.h>
#include <network/static_constants.h>

#include <base/half.h>
#include <base/mem.h>

#include <math.h>
#include <stdatomic.h>
#include <string.h>

float gs_qlinear_held(const gs_node *node, float x) {
    return node->attr.quant.arith == GS_ARITH_CONSUMER ? gs_round_to(node->attr.quant.compute, x) : x;
}

gs_status gs_qlinear_read(const gs_op_env *env, const gs_node *node, gs_role role, bool positive, float **out,
                          gs_error *err) {
    const gs_param *p = node->param[role];
    int64_t count = gs_param_count(p), groups = count / p->shape[0];
    GS_TRY(gs_op_read(env, p, out, err));
    for (int64_t i = 0; i < count; i++) {
        float x = gs_qlinear_held(node, (*out)[i]);
        if (isfinite(x) && (!positive || x > 0)) {
            (*out)[i] = x;
            continue;
        }
        gs_status status = GS_FAIL(err, GS_E_NUMERIC, "%s of row %lld is %g, %g as %s", gs_role_name(role),
                                   (long long)(i / groups), (double)(*out)[i], (double)x,
                                   gs_dtype_name(node->attr.quant.compute));
        gs_free(*out);
        *out = NULL;
        return status;
    }
    return GS_OK;
}

static gs_status read_deq(const gs_node *node, int64_t i, float *scale, gs_error *err) {
    const gs_attr *a = &node->attr;
    const gs_param *p = node->param[GS_ROLE_DEQ_SCALE];
    uint64_t word = gs_deq_scale_word(p, i);
    uint32_t bits = (uint32_t)word;
    if (p->dtype == GS_I64 && a->quant.deq19 && a->quant.arith == GS_ARITH_CONSUMER) bits &= ~0x1fffu;
    *scale = gs_f32_from_bits(bits);
    if (!(word >> 32) && isfinite(*scale) && *scale > 0) return GS_OK;
    return GS_FAIL(err, GS_E_NUMERIC, "deq_scale of row %lld is %g (0x%llx)", (long long)i, (double)*scale,
                   (unsigned long long)word);
}

gs_status gs_qlinear_read_deq_scale(const gs_op_env *env, const gs_node *node, float **out, gs_error *err) {
    const gs_param *p = node->param[GS_ROLE_DEQ_SCALE];
    int64_t n = p->shape[0];
    if (!gs_param_stored(p)) return GS_FAIL(err, GS_E_INVALID, "deq_scale has no values");
    float *scale = gs_calloc((size_t)n, sizeof *scale);
    if (!scale) return gs_error_nomem(err, (size_t)n * sizeof *scale);
    gs_status status = GS_OK;
    for (int64_t i = 0; i < n && status == GS_OK; i++) status = read_deq(node, i, &scale[i], err);
    if (status != GS_OK) {
        gs_free(scale);
        return status;
    }
    gs_op_dropped(env, p);
    *out = scale;
    return GS_OK;
}

gs_status gs_qlinear_read_quant_bias(const gs_op_env *env, const gs_node *node, int32_t **out, gs_error *err) {
    const gs_param *p = node->param[GS_ROLE_QUANT_BIAS];
    const void *stored = gs_param_stored(p);
    size_t bytes = (size_t)gs_param_bytes(p);
    if (!stored) return GS_FAIL(err, GS_E_INVALID, "quant_bias has no values");
    *out = gs_alloc(bytes);
    if (!*out) return gs_error_nomem(err, bytes);
    memcpy(*out, stored, bytes);
    gs_op_dropped(env, p);
    return GS_OK;
}

gs_status gs_qlinear_read_input_offset(const gs_op_env *env, const gs_node *node, float *out, gs_error *err) {
    float *offset;
    GS_TRY(gs_op_read(env, node->param[GS_ROLE_INPUT_OFFSET], &offset, err));
    *out = offset[0];
    gs_free(offset);
    if (*out >= -128 && *out <= 127 && *out == rintf(*out)) return GS_OK;
    return GS_FAIL(err, GS_E_NUMERIC, "input_offset %g is no integer from -128 to 127", (double)*out);
}

typedef struct unpack_job {
    const gs_param *weight;
    int8_t *codes;
    _Atomic int64_t bad; /* a block of rows that could not be read, -1 when none */
} unpack_job;

static void unpack_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    unpack_job *j = ctx;
    if (gs_param_read_s8(j->weight, begin, end - begin, j->codes + begin * j->weight->shape[1], NULL) != GS_OK)
        atomic_store(&j->bad, begin);
}

gs_status gs_qlinear_codes(const gs_op_env *env, const gs_node *node, const int8_t **codes, int8_t **own,
                           gs_error *err) {
    const gs_param *w = node->param[GS_ROLE_WEIGHT];
    *own = NULL;
    *codes = gs_param_stored(w);
    if (*codes) return GS_OK;
    if (!gs_param_ready(w)) return GS_FAIL(err, GS_E_INVALID, "weight '%s' has no values", w->name);
    size_t bytes = (size_t)gs_param_bytes(w);
    unpack_job j = {.weight = w, .codes = gs_alloc(bytes), .bad = -1};
    if (!j.codes) return gs_error_nomem(err, bytes);
    gs_team_for(env->team, w->shape[0], GS_OP_ROWS, unpack_rows, &j);
    int64_t bad = atomic_load(&j.bad);
    if (bad >= 0) {
        gs_status status = gs_param_read_s8(w, bad, 1, j.codes, err); /* again, for its words */
        gs_free(j.codes);
        return status != GS_OK ? status : GS_FAIL(err, GS_E_FORMAT, "'%s' cannot be read", w->name);
    }
    *codes = *own = j.codes;
    return GS_OK;
}
