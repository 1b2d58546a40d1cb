#include <network/exec.h>

#include <base/mem.h>
#include <network/buffers.h>
#include <network/net_private.h>
#include <network/ops/op.h>

#include <string.h>

struct gs_exec {
    gs_context *cx; /* may be NULL */
    gs_op_env env;
    gs_exec_hook *hook;
    void *hook_ctx;
    gs_pool pool;
    int64_t pool_rows; /* of the batches that the pool's buffers were made for */
};

/* Where one edge's value is during a run. */
typedef struct value {
    const float *data;
    gs_buffer own;  /* data's memory, empty when it is the caller's */
    gs_buffer half; /* its bf16 copy, or empty */
    int uses;       /* reads by nodes still to come */
} value;

typedef struct gs_run {
    gs_exec *ex;
    gs_net *net;
    const gs_batch *batch;
    float *const *outputs;
    value *values; /* by edge index */
} gs_run;

gs_status gs_exec_create(gs_context *cx, gs_gemm_type type, gs_exec **out, gs_error *err) {
    gs_exec *ex = gs_calloc(1, sizeof *ex);
    if (!ex) return gs_error_nomem(err, sizeof *ex);
    ex->cx = cx;
    ex->env.team = cx ? cx->team : NULL;
    ex->env.type = type;
    ex->env.kernels = gs_kernels_get();
    *out = ex;
    return GS_OK;
}

void gs_exec_destroy(gs_exec *ex) {
    if (!ex) return;
    gs_pool_clear(&ex->pool);
    gs_free(ex);
}

void gs_exec_set_hook(gs_exec *ex, gs_exec_hook *hook, void *ctx) {
    ex->hook = hook;
    ex->hook_ctx = ctx;
}

void gs_exec_set_drop(gs_exec *ex, gs_exec_drop *drop, void *ctx) {
    ex->env.drop = drop;
    ex->env.drop_ctx = ctx;
}

/* Says which node failed, unless the user stopped it. */
static gs_status at_node(gs_status status, const gs_node *node, gs_error *err) {
    if (status != GS_OK && status != GS_E_CANCELLED) gs_error_at(err, "%s", node->name);
    return status;
}

gs_status gs_exec_prepare(gs_exec *ex, gs_net *net, gs_error *err) {
    gs_net_unprepare(net);
    GS_TRY(gs_net_infer(net, err));
    for (int i = 0; i < net->nodes.count; i++) {
        gs_node *node = net->nodes.at[i];
        const gs_op_class *class = gs_op_class_get(node->op);
        if (!class->prepare) continue;
        gs_status status = gs_cancel_check(err);
        if (status == GS_OK) status = class->prepare(&ex->env, node, err);
        if (status != GS_OK) {
            gs_net_unprepare(net);
            return at_node(status, node, err);
        }
    }
    net->prepared_by = ex;
    return GS_OK;
}

void gs_exec_release(gs_exec *ex, gs_net *net) {
    if (net->prepared_by == ex) gs_net_unprepare(net);
}

static gs_status check_prepared(const gs_exec *ex, const gs_net *net, gs_error *err) {
    bool prepared = net->prepared_by == ex;
    for (int i = 0; i < net->nodes.count && prepared; i++) {
        const gs_node *node = net->nodes.at[i];
        prepared = node->prepared || !gs_op_class_get(node->op)->prepare;
    }
    if (prepared) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "net '%s' is not prepared by this executor, or was changed since",
                   net->name);
}

static gs_status check_batch(const gs_batch *b, gs_error *err) {
    if (b->rows < 0 || b->sequences < 0 || (b->sequences > 0 && !b->starts))
        return GS_FAIL(err, GS_E_INVALID, "a batch of %lld rows in %lld sequences", (long long)b->rows,
                       (long long)b->sequences);
    if (b->sequences == 0) return GS_OK;
    bool ordered = b->starts[0] == 0 && b->starts[b->sequences] == b->rows;
    for (int64_t s = 0; s < b->sequences && ordered; s++) ordered = b->starts[s] <= b->starts[s + 1];
    if (ordered) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "the %lld sequences of a batch do not cover its %lld rows in order",
                   (long long)b->sequences, (long long)b->rows);
}

/* Every value's size is known and fits in memory. */
static gs_status check_sizes(const gs_net *net, int64_t rows, gs_error *err) {
    char text[128];
    for (int i = 0; i < net->edges.count; i++) {
        const gs_edge *edge = net->edges.at[i];
        int64_t width, count, bytes;
        if (!gs_dims_count(&edge->dims, &width))
            return GS_FAIL(err, GS_E_INVALID, "value '%s' has no size: %s", edge->name,
                           gs_op_dims_text(&edge->dims, text, sizeof text));
        if (__builtin_mul_overflow(rows, width, &count) ||
            __builtin_mul_overflow(count, (int64_t)sizeof(float), &bytes))
            return GS_FAIL(err, GS_E_NOMEM, "value '%s': %lld rows of %lld", edge->name,
                           (long long)rows, (long long)width);
    }
    return GS_OK;
}

static size_t value_count(const gs_run *run, const gs_edge *edge) {
    return (size_t)run->batch->rows * (size_t)gs_op_width(edge); /* check_sizes */
}

static gs_status observe(const gs_run *run, const gs_edge *edge, gs_error *err) {
    if (!run->ex->hook) return GS_OK;
    return run->ex->hook(run->ex->hook_ctx, edge, run->batch, run->values[edge->index].data, err);
}

static void forget(gs_run *run, value *v) {
    gs_pool_give(&run->ex->pool, &v->own);
    gs_pool_give(&run->ex->pool, &v->half);
}

typedef struct narrow_job {
    const gs_kernels *kernels;
    const float *from;
    uint16_t *to;
} narrow_job;

static void narrow(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const narrow_job *j = ctx;
    j->kernels->convert_f32_bf16(end - begin, j->from + begin, j->to + begin);
}

gs_status gs_op_input_bf16(const gs_op_call *call, int input, const uint16_t **out, gs_error *err) {
    const gs_edge *edge = call->node->input[input];
    gs_buffer *half = call->half ? call->half : &call->run->values[edge->index].half;
    if (!half->data) {
        size_t count = (size_t)call->batch->rows * (size_t)gs_op_width(edge);
        GS_TRY(gs_pool_take(&call->run->ex->pool, count * sizeof(uint16_t), half, err));
        narrow_job job = {call->env->kernels, call->in[input], half->data};
        gs_team_for(call->env->team, (int64_t)count, GS_OP_ELEMENTS, narrow, &job);
    }
    *out = half->data;
    return GS_OK;
}

const float *gs_op_value(const gs_op_call *call, const gs_edge *edge) {
    const value *v = &call->run->values[edge->index];
    return v->uses > 0 ? v->data : NULL;
}

gs_status gs_op_scratch_take(const gs_op_call *call, size_t bytes, gs_buffer *out, gs_error *err) {
    return gs_pool_take(&call->run->ex->pool, bytes, out, err);
}

void gs_op_scratch_give(const gs_op_call *call, gs_buffer *buffer) {
    gs_pool_give(&call->run->ex->pool, buffer);
}

/* An input whose memory the output may take: ours, read for the last time, by this input
 * alone. -1: none. */
static int donor(const gs_run *run, const gs_node *node) {
    unsigned allowed = gs_op_class_get(node->op)->in_place;
    for (int i = 0; i < node->ninputs; i++) {
        const value *v = &run->values[node->input[i]->index];
        if ((allowed >> i & 1u) && v->own.data && v->uses == 1) return i;
    }
    return -1;
}

/* Memory for the node's output: the caller's for a net output, an input's, or a buffer. Returns
 * it in *data; v->own says whether it is ours. */
static gs_status place_output(gs_run *run, const gs_node *node, float **data, gs_error *err) {
    const gs_edge *edge = node->output;
    value *v = &run->values[edge->index];
    if (edge->is_output) {
        *data = run->outputs[gs_list_find(&run->net->outputs, edge)];
        v->data = *data;
        return GS_OK;
    }
    int from = donor(run, node);
    if (from >= 0) {
        value *in = &run->values[node->input[from]->index];
        v->own = in->own;
        in->own = (gs_buffer){0};
    } else {
        GS_TRY(gs_pool_take(&run->ex->pool, value_count(run, edge) * sizeof(float), &v->own, err));
    }
    *data = v->own.data;
    v->data = *data;
    return GS_OK;
}

static gs_status run_node(gs_run *run, gs_node *node, gs_error *err) {
    gs_op_call call = {.env = &run->ex->env, .batch = run->batch, .node = node, .run = run};
    GS_TRY(place_output(run, node, &call.out, err));
    for (int i = 0; i < node->ninputs; i++) call.in[i] = run->values[node->input[i]->index].data;
    GS_TRY(gs_op_class_get(node->op)->forward(&call, err));
    for (int i = 0; i < node->ninputs; i++) {
        value *v = &run->values[node->input[i]->index];
        if (--v->uses == 0) forget(run, v);
    }
    GS_TRY(observe(run, node->output, err));
    value *v = &run->values[node->output->index];
    if (v->uses == 0) forget(run, v);
    return GS_OK;
}

static gs_status take_inputs(gs_run *run, const float *const *inputs, gs_error *err) {
    for (int e = 0; e < run->net->edges.count; e++) {
        const gs_edge *edge = run->net->edges.at[e];
        run->values[e].uses = edge->consumers - (edge->is_output ? 1 : 0);
    }
    for (int i = 0; i < run->net->inputs.count; i++) {
        const gs_edge *edge = run->net->inputs.at[i];
        run->values[edge->index].data = inputs[i];
        GS_TRY(observe(run, edge, err));
    }
    return GS_OK;
}

/* An input that is itself an output; all others were written in place. */
static void copy_outputs(const gs_run *run) {
    for (int i = 0; i < run->net->outputs.count; i++) {
        const gs_edge *edge = run->net->outputs.at[i];
        const float *from = run->values[edge->index].data;
        if (!edge->producer) memcpy(run->outputs[i], from, value_count(run, edge) * sizeof *from);
    }
}

static gs_status run_all(gs_run *run, const float *const *inputs, gs_error *err) {
    GS_TRY(take_inputs(run, inputs, err));
    for (int i = 0; i < run->net->nodes.count; i++) {
        gs_node *node = run->net->nodes.at[i];
        GS_TRY(gs_cancel_check(err));
        GS_TRY(at_node(run_node(run, node, err), node, err));
    }
    copy_outputs(run);
    return GS_OK;
}

gs_status gs_exec_run(gs_exec *ex, gs_net *net, const gs_batch *batch, const float *const *inputs,
                      float *const *outputs, gs_error *err) {
    GS_TRY(check_prepared(ex, net, err));
    GS_TRY(check_batch(batch, err));
    GS_TRY(check_sizes(net, batch->rows, err));
    if (batch->rows == 0) return GS_OK;
    if (ex->pool_rows != batch->rows) gs_pool_clear(&ex->pool);
    ex->pool_rows = batch->rows;
    gs_run run = {.ex = ex, .net = net, .batch = batch, .outputs = outputs};
    size_t edges = (size_t)net->edges.count;
    run.values = gs_calloc(edges, sizeof *run.values);
    if (!run.values) return gs_error_nomem(err, edges * sizeof *run.values);
    gs_status status = run_all(&run, inputs, err);
    for (size_t e = 0; e < edges; e++) forget(&run, &run.values[e]);
    gs_free(run.values);
    return status;
}
