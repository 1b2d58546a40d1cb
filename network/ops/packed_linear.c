#include <network/ops/packed_linear.h>

#include <base/mem.h>

struct gs_packed_linear {
    gs_gemm_weight *weight;
    void *rows;  /* the rows we made, when the back end reads them in place */
    float *bias; /* [out] or NULL */
    int64_t out, in;
};

gs_status gs_packed_linear_infer(const gs_node *node, gs_dims *out, gs_error *err) {
    const gs_dims *in = &node->input[0]->dims;
    const gs_param *w = node->param[GS_ROLE_WEIGHT];
    bool fits = in->ndim == 1 && w->ndim == 2 && w->shape[0] >= 1 && w->shape[1] >= 1 &&
                gs_op_dim_fits(in->dim[0], w->shape[1]);
    if (!fits) return gs_op_misfit(node, GS_ROLE_WEIGHT, in, err);
    GS_TRY(gs_op_check_vector(node, GS_ROLE_BIAS, w->shape[0], err));
    *out = (gs_dims){.ndim = 1, .dim = {w->shape[0]}};
    return GS_OK;
}

gs_status gs_weight_rows_alloc(const gs_op_env *env, const gs_param *weight, void **out, gs_error *err) {
    size_t bytes, size = env->type == GS_GEMM_BF16 ? sizeof(uint16_t) : sizeof(float);
    if (!gs_mul_size((size_t)gs_param_count(weight), size, &bytes)) return gs_error_nomem(err, SIZE_MAX);
    *out = gs_alloc(bytes);
    return *out ? GS_OK : gs_error_nomem(err, bytes);
}

void gs_packed_linear_release(void *packed) {
    gs_packed_linear *p = packed;
    gs_gemm_weight_destroy(p->weight);
    gs_free(p->rows);
    gs_free(p->bias);
    gs_free(p);
}

gs_status gs_packed_linear_create(const gs_op_env *env, const gs_node *node, gs_weight_rows rows,
                                  bool *kept, gs_packed_linear **out, gs_error *err) {
    const gs_param *w = node->param[GS_ROLE_WEIGHT];
    bool borrowed = false;
    gs_packed_linear *p = gs_calloc(1, sizeof *p);
    if (!p) {
        gs_free(rows.own);
        gs_free(rows.bias);
        return gs_error_nomem(err, sizeof *p);
    }
    p->rows = rows.own;
    p->bias = rows.bias;
    p->out = w->shape[0];
    p->in = w->shape[1];
    gs_status status =
        gs_gemm_weight_create(env->type, p->out, p->in, rows.data, env->team, &borrowed, &p->weight, err);
    if (status == GS_OK && !borrowed) {
        gs_free(p->rows);
        p->rows = NULL;
    }
    if (status != GS_OK) {
        gs_packed_linear_release(p);
        return status;
    }
    if (kept) *kept = borrowed;
    *out = p;
    return GS_OK;
}

typedef struct bias_job {
    const gs_packed_linear *p;
    const gs_op_call *call;
} bias_job;

static void add_bias(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const bias_job *j = ctx;
    for (int64_t r = begin; r < end; r++) {
        float *y = j->call->out + r * j->p->out;
        j->call->env->kernels->add_f32(j->p->out, y, j->p->bias, y);
    }
}

gs_status gs_packed_linear_run(const void *packed, const gs_op_call *call, gs_error *err) {
    const gs_packed_linear *p = packed;
    const void *x = call->in[0];
    const uint16_t *half;
    if (call->env->type == GS_GEMM_BF16) {
        GS_TRY(gs_op_input_bf16(call, 0, &half, err));
        x = half;
    }
    GS_TRY(gs_gemm_run(call->env->team, p->weight, call->batch->rows, x, p->in, call->out, p->out, err));
    bias_job j = {p, call};
    if (p->bias) gs_team_for(call->env->team, call->batch->rows, GS_OP_ROWS, add_bias, &j);
    return GS_OK;
}
