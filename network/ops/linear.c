#include <network/net_private.h>
#include <network/ops/packed_linear.h>
#include <network/ops/routed_rows.h>

#include <base/mem.h>

#include <stdatomic.h>

/* The stored bytes when they are already what the product wants. */
static const void *ready_rows(const gs_op_env *env, const gs_node *node) {
    const gs_param *w = node->param[GS_ROLE_WEIGHT];
    gs_dtype want = env->type == GS_GEMM_BF16 ? GS_BF16 : GS_F32;
    const void *data = w->dtype == want && !node->attr.linear.normalize_rows ? gs_param_stored(w) : NULL;
    bool aligned = (uintptr_t)data % (uintptr_t)gs_dtype_block_bytes(want) == 0;
    return aligned ? data : NULL;
}

typedef struct read_job {
    const gs_param *weight;
    gs_gemm_type type;
    bool unit;
    int64_t cols;
    void *rows;
    _Atomic int64_t bad; /* a row block that could not be read, -1 when none */
} read_job;

static gs_status read_block(const read_job *j, int64_t begin, int64_t end, gs_error *err) {
    if (j->type == GS_GEMM_BF16)
        return (j->unit ? gs_param_read_unit_16 : gs_param_read_16)(j->weight, GS_BF16, begin, end - begin,
                                                                    (uint16_t *)j->rows + begin * j->cols, err);
    return (j->unit ? gs_param_read_unit_f32 : gs_param_read_f32)(j->weight, begin, end - begin,
                                                                  (float *)j->rows + begin * j->cols, err);
}

static void read_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    read_job *j = ctx;
    if (read_block(j, begin, end, NULL) != GS_OK) atomic_store(&j->bad, begin);
}

static gs_status converted_rows(const gs_op_env *env, const gs_node *node, void **out, gs_error *err) {
    const gs_param *w = node->param[GS_ROLE_WEIGHT];
    read_job j = {.weight = w, .type = env->type, .unit = node->attr.linear.normalize_rows, .cols = w->shape[1], .bad = -1};
    GS_TRY(gs_weight_rows_alloc(env, w, &j.rows, err));
    gs_team_for(env->team, w->shape[0], GS_OP_ROWS, read_rows, &j);
    int64_t bad = atomic_load(&j.bad);
    if (bad >= 0) {
        gs_status status = read_block(&j, bad, bad + 1, err); /* again, for its words */
        gs_free(j.rows);
        return status != GS_OK ? status : GS_FAIL(err, GS_E_FORMAT, "'%s' cannot be read", w->name);
    }
    *out = j.rows;
    return GS_OK;
}

static gs_status prepare(const gs_op_env *env, gs_node *node, gs_error *err) {
    const gs_param *w = node->param[GS_ROLE_WEIGHT];
    gs_weight_rows rows = {.data = ready_rows(env, node)};
    gs_packed_linear *packed;
    bool kept;
    if (node->param[GS_ROLE_BIAS]) GS_TRY(gs_op_read(env, node->param[GS_ROLE_BIAS], &rows.bias, err));
    gs_status status = rows.data ? GS_OK : converted_rows(env, node, &rows.own, err);
    if (status != GS_OK) {
        gs_free(rows.bias);
        return status;
    }
    if (rows.own) rows.data = rows.own;
    bool view = !rows.own;
    GS_TRY(gs_packed_linear_create(env, node, rows, &kept, &packed, err));
    /* a file's pages that the product reads in place are still needed */
    if (!(view && kept)) gs_op_dropped(env, w);
    node->prepared = packed;
    return GS_OK;
}

static gs_status forward(const gs_op_call *call, gs_error *err) {
    return gs_routed_rows_run(gs_packed_linear_run, call->node->prepared, call, err);
}

/* Normalising would undo factors of rows. */
static bool is_rigid(const gs_attr *attr) { return attr->linear.normalize_rows; }

static void describe(const gs_attr *attr, gs_strbuf *out) {
    if (attr->linear.normalize_rows) gs_strbuf_puts(out, " rows normalized");
}

const gs_op_class gs_op_class_LINEAR = {
    .required = GS_ROLE_BIT(GS_ROLE_WEIGHT),
    .optional = GS_ROLE_BIT(GS_ROLE_BIAS),
    .infer = gs_packed_linear_infer,
    .prepare = prepare,
    .forward = forward,
    .release = gs_packed_linear_release,
    .scaling = GS_SCALED_BY_PARAMS,
    .is_rigid = is_rigid,
    .describe = describe,
};
