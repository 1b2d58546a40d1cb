/* Rows of a table, chosen by token ids. The ids come as f32, which is exact below 2^24, so the
 * table may have no more rows than that. Rows are read straight from the param: a batch needs
 * few of them, and the table may be the largest tensor of a model. */
#include <network/ops/op.h>

#include <stdatomic.h>

static const int64_t max_vocab = (int64_t)1 << 24;

static gs_status infer(const gs_node *node, gs_dims *out, gs_error *err) {
    const gs_dims *in = &node->input[0]->dims;
    const gs_param *w = node->param[GS_ROLE_WEIGHT];
    if (in->ndim > 1 || (in->ndim == 1 && !gs_op_dim_fits(in->dim[0], 1)))
        return gs_op_misfit(node, GS_ROLE_WEIGHT, in, err);
    if (w->ndim != 2 || w->shape[0] < 1 || w->shape[1] < 1)
        return gs_op_misfit(node, GS_ROLE_WEIGHT, in, err);
    if (w->shape[0] > max_vocab)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "a vocabulary of %lld, at most %lld", (long long)w->shape[0],
                       (long long)max_vocab);
    *out = (gs_dims){.ndim = 1, .dim = {w->shape[1]}};
    return GS_OK;
}

typedef struct lookup {
    const gs_op_call *call;
    const gs_param *table;
    int64_t vocab, width;
    _Atomic int64_t bad_row; /* the first that failed, rows when none did */
} lookup;

/* False also for NaN. */
static bool is_id(float x, int64_t vocab) {
    return x >= 0 && x < (float)vocab && (float)(int64_t)x == x;
}

static void note_bad(lookup *l, int64_t row) {
    int64_t seen = atomic_load(&l->bad_row);
    while (row < seen && !atomic_compare_exchange_weak(&l->bad_row, &seen, row)) continue;
}

static void look_up(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    lookup *l = ctx;
    for (int64_t r = begin; r < end; r++) {
        float id = l->call->in[0][r];
        if (!is_id(id, l->vocab) ||
            gs_param_read_f32(l->table, (int64_t)id, 1, l->call->out + r * l->width, NULL) != GS_OK)
            note_bad(l, r);
    }
}

static gs_status forward(const gs_op_call *call, gs_error *err) {
    const gs_param *table = call->node->param[GS_ROLE_WEIGHT];
    lookup l = {.call = call, .table = table, .vocab = table->shape[0], .width = table->shape[1],
                .bad_row = call->batch->rows};
    gs_team_for(call->env->team, call->batch->rows, GS_OP_ROWS, look_up, &l);
    int64_t row = atomic_load(&l.bad_row);
    if (row == call->batch->rows) return GS_OK;
    float id = call->in[0][row];
    if (!is_id(id, l.vocab))
        return GS_FAIL(err, GS_E_INVALID, "token id %.9g of row %lld is not in [0, %lld)", (double)id,
                       (long long)row, (long long)l.vocab);
    /* the read's own words */
    return gs_param_read_f32(table, (int64_t)id, 1, call->out + row * l.width, err);
}

const gs_op_class gs_op_class_EMBEDDING = {
    .required = GS_ROLE_BIT(GS_ROLE_WEIGHT),
    .infer = infer,
    .forward = forward,
};
