#include <ptq/round_to_nearest.h>

#include <base/mem.h>
#include <network/rewrite.h>
#include <ptq/row_quant.h>

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { ROW_GRAIN = 32 };

/* A linear between apply and convert. Its float weight is out of the net by then; one that
 * stays float has config NULL and keeps its weight. */
typedef struct pending {
    gs_node *node;
    gs_param *weight;
    const gs_ptq_config *config;
    int64_t rows, cols;
    char reason[64];
} pending;

typedef struct rtn {
    gs_comp_algo base;
    const gs_ptq_config *config;
    gs_layer_rules *rules;
    pending *pending;
    size_t count, capacity;
} rtn;

static gs_status remember(rtn *a, const pending *p, gs_error *err) {
    if (a->count == a->capacity) {
        size_t capacity = a->capacity ? 2 * a->capacity : 16;
        pending *grown = gs_realloc(a->pending, capacity, sizeof *grown);
        if (!grown) return gs_error_nomem(err, capacity * sizeof *grown);
        a->pending = grown;
        a->capacity = capacity;
    }
    a->pending[a->count] = *p;
    if (p->config) a->pending[a->count].weight = gs_node_param_detach(p->node, GS_ROLE_WEIGHT);
    a->count++;
    return GS_OK;
}

static void forget(rtn *a) {
    for (size_t i = 0; i < a->count; i++) gs_param_destroy(a->pending[i].weight);
    a->count = 0;
}

static gs_status plan_params(gs_net *net, gs_node *node, int64_t rows, int64_t cols, gs_error *err) {
    static const struct {
        gs_role role;
        gs_dtype dtype;
    } plan[] = {{GS_ROLE_WEIGHT, GS_I8}, {GS_ROLE_WEIGHT_SCALE, GS_F32}, {GS_ROLE_WEIGHT_OFFSET, GS_F32}};
    for (size_t i = 0; i < GS_COUNTOF(plan); i++) {
        char name[512];
        int64_t shape[2] = {rows, plan[i].role == GS_ROLE_WEIGHT ? cols : 1};
        snprintf(name, sizeof name, "%s.%s", node->name, gs_role_name(plan[i].role));
        GS_TRY(gs_net_param_new(net, node, plan[i].role, name, plan[i].dtype, 2, shape, NULL, err));
    }
    return GS_OK;
}

static gs_status apply_linear(rtn *a, gs_net *net, gs_node *node, gs_error *err) {
    pending p = {.node = node};
    gs_param_matrix(node->param[GS_ROLE_WEIGHT], &p.rows, &p.cols);
    GS_TRY(gs_layer_rules_find(a->rules, node->name, &p.config, p.reason, err));
    GS_TRY(remember(a, &p, err));
    if (!p.config) return GS_OK;
    gs_attr attr = {.quant = {.scheme = GS_SCHEME_W8A16, .compute = a->config->compute}};
    GS_TRY(gs_net_replace(net, node, GS_OP_QLINEAR, &attr, &node, err));
    return plan_params(net, node, p.rows, p.cols, err);
}

static gs_status apply(gs_comp_algo *algo, gs_net *net, gs_error *err) {
    rtn *a = (rtn *)algo;
    forget(a);
    for (int i = 0; i < gs_net_node_count(net); i++) {
        gs_node *node = gs_net_node(net, i);
        if (node->op == GS_OP_LINEAR) GS_TRY(apply_linear(a, net, node, err));
    }
    return GS_OK;
}

/* One tensor's rows, shared out by blocks; statistics are kept by block so that their sum does
 * not depend on which worker took which. */
typedef struct quantize_job {
    const pending *p;
    int64_t cols;
    gs_scale_convention convention;
    gs_dtype compute;
    int8_t *q;
    float *scale;
    gs_row_stats *stats; /* a block */
    float *scratch;      /* [workers, ROW_GRAIN + 1, cols] */
    _Atomic int64_t bad_row;
} quantize_job;

/* The first bad row, whichever worker meets one first. */
static void note_bad_row(quantize_job *j, int64_t row) {
    int64_t seen = atomic_load(&j->bad_row);
    while ((seen < 0 || row < seen) && !atomic_compare_exchange_weak(&j->bad_row, &seen, row)) continue;
}

static void quantize_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    quantize_job *j = ctx;
    float *rows = j->scratch + (int64_t)worker * (ROW_GRAIN + 1) * j->cols;
    float *back = rows + ROW_GRAIN * j->cols;
    gs_row_stats *stats = &j->stats[begin / ROW_GRAIN];
    if (gs_param_read_f32(j->p->weight, begin, end - begin, rows, NULL) != GS_OK) {
        note_bad_row(j, begin);
        return;
    }
    for (int64_t r = begin; r < end; r++)
        if (!gs_row_quantize(j->convention, j->compute, j->cols, rows + (r - begin) * j->cols,
                             j->q + r * j->cols, &j->scale[r], back, stats))
            note_bad_row(j, r);
}

/* Says what is wrong with a row that could not be quantized. */
static gs_status bad_row(const pending *p, int64_t row, float *scratch, gs_error *err) {
    GS_TRY(gs_param_read_f32(p->weight, row, 1, scratch, err));
    for (int64_t i = 0; i < p->cols; i++)
        if (!isfinite(scratch[i]))
            return GS_FAIL(err, GS_E_NUMERIC, "tensor '%s' holds %s at [%lld, %lld]", p->weight->name,
                           isnan(scratch[i]) ? "NaN" : "an infinity", (long long)row, (long long)i);
    return GS_FAIL(err, GS_E_NUMERIC, "tensor '%s' cannot be quantized at row %lld", p->weight->name,
                   (long long)row);
}

/* The summary row of a linear; stats of its blocks, none for one that stays float. */
static gs_status summarise(rtn *a, const pending *p, const gs_row_stats *stats, int64_t blocks,
                           gs_error *err) {
    gs_layer_summary *row;
    GS_TRY(gs_summary_add(&a->base.summary, p->node->name, &row, err));
    row->out_features = p->rows;
    row->in_features = p->cols;
    memcpy(row->reason, p->reason, sizeof row->reason);
    row->scheme = gs_scheme_name(p->node->attr.quant.scheme);
    if (!p->config) return GS_OK;
    gs_row_stats sum = {0};
    for (int64_t i = 0; i < blocks; i++) gs_row_stats_merge(&sum, &stats[i]);
    row->scale_min = sum.scale_min;
    row->scale_max = sum.scale_max;
    row->sqnr_db = sum.error_square > 0 ? 10 * log10(sum.weight_square / sum.error_square) : INFINITY;
    row->max_error = sum.max_error;
    row->saturated = sum.saturated;
    row->zero_rows = sum.zero_rows;
    return GS_OK;
}

static gs_status convert_linear(rtn *a, gs_context *cx, const pending *p, gs_error *err) {
    if (!p->config) return summarise(a, p, NULL, 0, err);
    gs_param *const *param = p->node->param;
    for (int r = 0; r < GS_ROLE_COUNT; r++)
        if (param[r] && !param[r]->source) GS_TRY(gs_param_allocate(param[r], err));
    int64_t blocks = (p->rows + ROW_GRAIN - 1) / ROW_GRAIN;
    size_t scratch = (size_t)gs_team_size(cx->team) * (ROW_GRAIN + 1) * (size_t)p->cols;
    quantize_job j = {.p = p, .cols = p->cols, .convention = p->config->scale_convention,
                      .compute = a->config->compute, .q = param[GS_ROLE_WEIGHT]->data,
                      .scale = param[GS_ROLE_WEIGHT_SCALE]->data, .bad_row = -1};
    j.stats = gs_calloc((size_t)blocks, sizeof *j.stats);
    j.scratch = gs_calloc(scratch, sizeof(float));
    gs_status status = GS_OK;
    if (!j.stats || !j.scratch) {
        status = gs_error_nomem(err, scratch * sizeof(float));
    } else {
        memset(param[GS_ROLE_WEIGHT_OFFSET]->data, 0, (size_t)gs_param_bytes(param[GS_ROLE_WEIGHT_OFFSET]));
        gs_team_for(cx->team, p->rows, ROW_GRAIN, quantize_rows, &j);
        if (j.bad_row >= 0)
            status = bad_row(p, j.bad_row, j.scratch, err);
        else
            status = summarise(a, p, j.stats, blocks, err);
    }
    gs_free(j.stats);
    gs_free(j.scratch);
    if (a->base.drop && p->weight->source) a->base.drop(a->base.drop_ctx, p->weight->source);
    return status;
}

static gs_status convert(gs_comp_algo *algo, gs_context *cx, gs_net *net, gs_error *err) {
    rtn *a = (rtn *)algo;
    (void)net; /* the nodes were found by apply */
    gs_status status = GS_OK;
    for (size_t i = 0; i < a->count && status == GS_OK; i++)
        status = convert_linear(a, cx, &a->pending[i], err);
    forget(a);
    return status;
}

static void destroy(gs_comp_algo *algo) {
    rtn *a = (rtn *)algo;
    forget(a);
    gs_free(a->pending);
    gs_layer_rules_destroy(a->rules);
    gs_free(a);
}

static const gs_comp_algo_class round_to_nearest = {
    .name = "RoundToNearest",
    .apply = apply,
    .convert = convert,
    .destroy = destroy,
};

static gs_status check_weights_only(const gs_ptq_config *c, gs_error *err) {
    bool fits = c->act_quant_dtype == GS_QUANT_NONE && c->kvcache_quant_dtype == GS_QUANT_NONE &&
                c->weight_quant_dtype != GS_QUANT_INT4 && c->weight_quant_granularity == GS_PER_CHANNEL &&
                c->precision_recovery == GS_RECOVERY_NONE;
    if (fits) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "RoundToNearest quantizes weights to int8 per channel, not %s",
                   gs_ptq_config_tag(c));
}

gs_status gs_round_to_nearest_create(const gs_ptq_config *config, gs_comp_algo **out, gs_error *err) {
    GS_TRY(gs_ptq_config_check(config, err));
    GS_TRY(check_weights_only(config, err));
    for (size_t i = 0; i < config->layer_policy_count; i++)
        if (config->layer_policies[i].config) GS_TRY(check_weights_only(config->layer_policies[i].config, err));
    rtn *a = gs_calloc(1, sizeof *a);
    if (!a) return gs_error_nomem(err, sizeof *a);
    a->base = (gs_comp_algo){.class = &round_to_nearest, .save = true};
    a->config = config;
    gs_status status = gs_layer_rules_create(config, &a->rules, err);
    if (status != GS_OK) {
        destroy(&a->base);
        return status;
    }
    *out = &a->base;
    return GS_OK;
}
