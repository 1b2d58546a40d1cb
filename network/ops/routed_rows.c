#include <network/ops/routed_rows.h>

#include <network/routing.h>

#include <string.h>

gs_status gs_routed_check(const gs_node *node, int routing, gs_error *err) {
    int64_t expert = node->attr.select.expert;
    GS_TRY(gs_op_check_ndim(node, routing, 1, err));
    int64_t experts = node->input[routing]->dims.dim[0];
    if (expert >= 0 && expert < GS_OP_MAX_HEADS && (!experts || expert < experts)) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "expert %lld of %lld", (long long)expert, (long long)experts);
}

float gs_routed_share(const gs_op_call *call, int routing, int64_t r) {
    return call->in[routing][r * gs_op_width(call->node->input[routing]) + call->node->attr.select.expert];
}

void gs_routed_describe(const gs_attr *attr, gs_strbuf *out) {
    gs_strbuf_printf(out, " expert %lld", (long long)attr->select.expert);
}

/* ---- running a linear on some of its rows ---- */

/* Which rows are computed: source[i] is the row that computed row i is of, place[r] the computed row that row r's
 * result is of. */
typedef struct choice {
    gs_buffer memory;
    int64_t *source, *place;
    int64_t rows;
} choice;

static gs_status choose(const gs_op_call *call, const gs_node *select, const float *routing, choice *c, gs_error *err) {
    int64_t rows = call->batch->rows, experts = gs_op_width(select->input[1]), other = -1;
    GS_TRY(gs_op_scratch_take(call, 2 * (size_t)rows * sizeof *c->source, &c->memory, err));
    c->source = c->memory.data;
    c->place = c->source + rows;
    for (int64_t r = 0; r < rows; r++) {
        bool counts = routing[r * experts + select->attr.select.expert] != 0;
        if (counts || other < 0) {
            if (!counts) other = c->rows;
            c->place[r] = c->rows;
            c->source[c->rows++] = r;
        } else {
            c->place[r] = other;
        }
    }
    return GS_OK;
}

typedef struct copy_job {
    const int64_t *from;
    int64_t width;
    const float *x;
    float *y;
} copy_job;

static void copy_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const copy_job *j = ctx;
    for (int64_t r = begin; r < end; r++)
        memcpy(j->y + r * j->width, j->x + j->from[r] * j->width, (size_t)j->width * sizeof *j->y);
}

static gs_status run_chosen(gs_linear_run_fn *run, const void *prepared, const gs_op_call *call, const choice *c,
                            gs_error *err) {
    int64_t in = gs_op_width(call->node->input[0]), out = gs_op_width(call->node->output);
    gs_buffer x = {0}, y = {0}, half = {0};
    gs_batch batch = {.rows = c->rows};
    gs_status status = gs_op_scratch_take(call, (size_t)(c->rows * in) * sizeof(float), &x, err);
    if (status == GS_OK) status = gs_op_scratch_take(call, (size_t)(c->rows * out) * sizeof(float), &y, err);
    if (status == GS_OK) {
        gs_op_call some = *call;
        some.batch = &batch;
        some.in[0] = x.data;
        some.out = y.data;
        some.half = &half;
        copy_job gather = {c->source, in, call->in[0], x.data}, spread = {c->place, out, y.data, call->out};
        gs_team_for(call->env->team, c->rows, GS_OP_ROWS, copy_rows, &gather);
        status = run(prepared, &some, err);
        if (status == GS_OK) gs_team_for(call->env->team, call->batch->rows, GS_OP_ROWS, copy_rows, &spread);
    }
    gs_op_scratch_give(call, &half);
    gs_op_scratch_give(call, &y);
    gs_op_scratch_give(call, &x);
    return status;
}

gs_status gs_routed_rows_run(gs_linear_run_fn *run, const void *prepared, const gs_op_call *call, gs_error *err) {
    const gs_node *select = gs_routed_select(call->node->input[0]);
    const float *routing = select ? gs_op_value(call, select->input[1]) : NULL;
    choice c = {0};
    if (!routing) return run(prepared, call, err);
    GS_TRY(choose(call, select, routing, &c, err));
    /* copying costs something, too */
    gs_status status = c.rows > call->batch->rows * 3 / 4 ? run(prepared, call, err)
                                                          : run_chosen(run, prepared, call, &c, err);
    gs_op_scratch_give(call, &c.memory);
    return status;
}
