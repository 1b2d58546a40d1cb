#include <deploy/encode.h>

#include <base/half.h>
#include <base/mem.h>
#include <network/static_constants.h>

enum { GRAIN = 16, BLOCK_ROWS = 256 };

/* ---- what the node itself has ---- */

static gs_status own_deq(const gs_stored *t, const gs_param *p, float *deq, int64_t n, gs_error *err) {
    if (!gs_param_ready(p)) return GS_FAIL(err, GS_E_INVALID, "tensor '%s' has no bytes", t->name);
    if ((p->dtype != GS_F32 && p->dtype != GS_I64) || gs_param_count(p) != n)
        return GS_FAIL(err, GS_E_INVALID, "tensor '%s': a deq_scale of %s", t->name, gs_dtype_name(p->dtype));
    for (int64_t i = 0; i < n; i++) {
        uint64_t word = gs_deq_scale_word(p, i);
        deq[i] = gs_f32_from_bits((uint32_t)word);
        if (word >> 32)
            return GS_FAIL(err, GS_E_NUMERIC, "'%s': deq_scale of row %lld is 0x%llx, no float32", t->node->name,
                           (long long)i, (unsigned long long)word);
    }
    return GS_OK;
}

/* ---- what follows from codes and scales ---- */

typedef struct derive_job {
    const gs_node *node;
    gs_act_params act;
    int64_t n, k, row0;
    float *scale, *bias; /* [n]; bias may be NULL */
    int8_t *codes;       /* [BLOCK_ROWS, k] */
    float *deq;          /* [n] */
    int32_t *quant_bias; /* [n] */
    bool failed;
} derive_job;

static gs_status derive_row(const derive_job *j, int64_t row, gs_error *err) {
    int8_t *q = j->codes + (row - j->row0) * j->k;
    GS_TRY(gs_param_read_s8(j->node->param[GS_ROLE_WEIGHT], row, 1, q, err));
    return gs_static_constants(j->act, j->scale[row], j->bias ? j->bias[row] : 0, j->k, q, j->node->name, row,
                               &j->deq[row], &j->quant_bias[row], err);
}

static void derive_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    derive_job *j = ctx;
    for (int64_t r = begin; r < end; r++)
        if (derive_row(j, j->row0 + r, NULL) != GS_OK) __atomic_store_n(&j->failed, true, __ATOMIC_RELAXED);
}

static gs_status derive_all(derive_job *j, gs_sink *sink, gs_error *err) {
    for (; j->row0 < j->n; j->row0 += BLOCK_ROWS) {
        int64_t n = j->n - j->row0 < BLOCK_ROWS ? j->n - j->row0 : BLOCK_ROWS;
        gs_team_for(gs_sink_context(sink)->team, n, GRAIN, derive_rows, j);
        for (int64_t r = 0; j->failed && r < n; r++) GS_TRY(derive_row(j, j->row0 + r, err)); /* for its words */
    }
    return GS_OK;
}

static gs_status read_one(const gs_node *node, gs_role role, int64_t want, float **out, gs_error *err) {
    int64_t n;
    if (!node->param[role]) return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' stores no %s", node->name, gs_role_name(role));
    GS_TRY(gs_encode_read(node->param[role], out, &n, err));
    if (n == want) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': %lld values of %s, %lld are needed", node->name, (long long)n,
                   gs_role_name(role), (long long)want);
}

static gs_status read_act(const gs_stored *t, gs_sink *sink, gs_act_params *act, gs_error *err) {
    float *scale = NULL, *offset = NULL;
    gs_status status = read_one(t->node, GS_ROLE_INPUT_SCALE, 1, &scale, err);
    if (status == GS_OK && t->node->param[GS_ROLE_INPUT_OFFSET])
        status = read_one(t->node, GS_ROLE_INPUT_OFFSET, 1, &offset, err);
    if (status == GS_OK)
        *act = (gs_act_params){gs_round_to(gs_sink_options(sink)->dtype, *scale), offset ? *offset : 0};
    gs_free(scale);
    gs_free(offset);
    return status;
}

static gs_status prepare(const gs_stored *t, derive_job *j, gs_sink *sink, gs_error *err) {
    gs_param_matrix(t->node->param[GS_ROLE_WEIGHT], &j->n, &j->k);
    GS_TRY(read_act(t, sink, &j->act, err));
    GS_TRY(read_one(t->node, GS_ROLE_WEIGHT_SCALE, j->n, &j->scale, err));
    if (t->node->param[GS_ROLE_BIAS]) GS_TRY(read_one(t->node, GS_ROLE_BIAS, j->n, &j->bias, err));
    j->codes = gs_alloc((size_t)(BLOCK_ROWS * j->k));
    j->deq = gs_alloc((size_t)j->n * sizeof *j->deq);
    j->quant_bias = gs_alloc((size_t)j->n * sizeof *j->quant_bias);
    return j->codes && j->deq && j->quant_bias ? GS_OK : gs_error_nomem(err, (size_t)(BLOCK_ROWS * j->k));
}

static gs_status derive_quant_bias(const gs_stored *t, gs_sink *sink, gs_error *err) {
    derive_job j = {.node = t->node};
    gs_status status = prepare(t, &j, sink, err);
    if (status == GS_OK) status = derive_all(&j, sink, err);
    if (status == GS_OK) status = gs_sink_put(sink, j.quant_bias, (size_t)j.n * sizeof *j.quant_bias, err);
    gs_free(j.scale);
    gs_free(j.bias);
    gs_free(j.codes);
    gs_free(j.deq);
    gs_free(j.quant_bias);
    return status;
}

static gs_status derive_deq(const gs_stored *t, gs_sink *sink, float *deq, int64_t n, gs_error *err) {
    gs_act_params act;
    float *scale = NULL;
    GS_TRY(read_act(t, sink, &act, err));
    gs_status status = read_one(t->node, GS_ROLE_WEIGHT_SCALE, n, &scale, err);
    for (int64_t i = 0; status == GS_OK && i < n; i++) deq[i] = act.scale * scale[i];
    gs_free(scale);
    return status;
}

/* ---- the encoders ---- */

static gs_status put_deq(const gs_stored *t, gs_sink *sink, const float *deq, int64_t n, gs_error *err) {
    if (t->dtype == GS_F32) return gs_sink_put(sink, deq, (size_t)n * sizeof *deq, err);
    int64_t *bits = gs_alloc((size_t)n * sizeof *bits);
    if (!bits) return gs_error_nomem(err, (size_t)n * sizeof *bits);
    for (int64_t i = 0; i < n; i++) bits[i] = (int64_t)gs_f32_bits(deq[i]);
    gs_status status = gs_sink_put(sink, bits, (size_t)n * sizeof *bits, err);
    gs_free(bits);
    return status;
}

gs_status gs_encode_deq_scale(const gs_stored *t, gs_sink *sink, gs_error *err) {
    const gs_param *own = t->node->param[GS_ROLE_DEQ_SCALE];
    int64_t n = t->shape[0];
    float *deq = gs_alloc((size_t)(n ? n : 1) * sizeof *deq);
    if (!deq) return gs_error_nomem(err, (size_t)n * sizeof *deq);
    gs_status status = own ? own_deq(t, own, deq, n, err) : derive_deq(t, sink, deq, n, err);
    if (status == GS_OK) status = put_deq(t, sink, deq, n, err);
    gs_free(deq);
    return status;
}

gs_status gs_encode_quant_bias(const gs_stored *t, gs_sink *sink, gs_error *err) {
    const gs_param *own = t->node->param[GS_ROLE_QUANT_BIAS];
    if (!own) return derive_quant_bias(t, sink, err);
    if (!gs_param_ready(own)) return GS_FAIL(err, GS_E_INVALID, "tensor '%s' has no bytes", t->name);
    if (own->dtype != GS_I32) return GS_FAIL(err, GS_E_INVALID, "tensor '%s' is not I32", own->name);
    return gs_sink_put(sink, own->data ? own->data : own->source->data, (size_t)gs_param_bytes(own), err);
}
