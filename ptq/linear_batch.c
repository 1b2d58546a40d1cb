#include <ptq/linear_batch.h>

#include <base/half.h>
#include <base/mem.h>
#include <network/rewrite.h>
#include <ptq/compat_quant.h>
#include <ptq/row_quant.h>

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { ROW_GRAIN = 32 };

/* Between plan and convert the float weight is out of the net; one that stays float keeps it. */
typedef struct pending {
    gs_node *node;
    gs_param *weight; /* owned when the linear is quantized */
    int64_t rows, cols, groups; /* groups: scales a row */
    gs_linear_decision decision;
} pending;

struct gs_linear_batch {
    pending *pending;
    size_t count, capacity;
};

gs_status gs_linear_batch_create(gs_linear_batch **out, gs_error *err) {
    *out = gs_calloc(1, sizeof **out);
    return *out ? GS_OK : gs_error_nomem(err, sizeof **out);
}

void gs_linear_batch_reset(gs_linear_batch *b) {
    for (size_t i = 0; i < b->count; i++) gs_param_destroy(b->pending[i].weight);
    b->count = 0;
}

void gs_linear_batch_destroy(gs_linear_batch *b) {
    if (!b) return;
    gs_linear_batch_reset(b);
    gs_free(b->pending);
    gs_free(b);
}

static gs_status remember(gs_linear_batch *b, const pending *p, gs_error *err) {
    if (b->count == b->capacity) {
        size_t capacity = b->capacity ? 2 * b->capacity : 16;
        pending *grown = gs_realloc(b->pending, capacity, sizeof *grown);
        if (!grown) return gs_error_nomem(err, capacity * sizeof *grown);
        b->pending = grown;
        b->capacity = capacity;
    }
    b->pending[b->count] = *p;
    if (p->decision.scheme != GS_SCHEME_FLOAT)
        b->pending[b->count].weight = gs_node_param_detach(p->node, GS_ROLE_WEIGHT);
    b->count++;
    return GS_OK;
}

static gs_status new_param(gs_net *net, gs_node *node, gs_role role, gs_dtype dtype, int ndim, int64_t rows,
                           int64_t cols, gs_error *err) {
    char name[512];
    int64_t shape[2] = {rows, cols};
    snprintf(name, sizeof name, "%s.%s", node->name, gs_role_name(role));
    return gs_net_param_new(net, node, role, name, dtype, ndim, shape, NULL, err);
}

bool gs_linear_decision_from(const gs_ptq_config *config, int64_t in, gs_linear_decision *d) {
    int64_t group = config->weight_quant_granularity == GS_PER_GROUP ? config->group_size : 0;
    if (group && in % group) {
        d->scheme = GS_SCHEME_FLOAT;
        snprintf(d->reason, sizeof d->reason, "%lld columns are no whole groups of %lld", (long long)in, (long long)group);
        return false;
    }
    d->scheme = gs_ptq_config_scheme(config);
    d->convention = config->scale_convention;
    d->scale_dtype = config->scale_dtype;
    d->group = group;
    return true;
}

static bool stores_scales(const gs_linear_decision *d) {
    return d->compat != GS_COMPAT_MSMODELSLIM_V1 || d->scheme != GS_SCHEME_W8A8;
}

static gs_status plan_params(gs_net *net, gs_node *node, const pending *p, gs_error *err) {
    const gs_linear_decision *d = &p->decision;
    gs_dtype scale = d->compat == GS_COMPAT_MSMODELSLIM_V0 ? d->compute : GS_F32;
    GS_TRY(new_param(net, node, GS_ROLE_WEIGHT, GS_I8, 2, p->rows, p->cols, err));
    if (stores_scales(d)) {
        GS_TRY(new_param(net, node, GS_ROLE_WEIGHT_SCALE, scale, 2, p->rows, p->groups, err));
        GS_TRY(new_param(net, node, GS_ROLE_WEIGHT_OFFSET, scale, 2, p->rows, p->groups, err));
    }
    if (!gs_scheme_is_static(d->scheme)) return GS_OK;
    GS_TRY(new_param(net, node, GS_ROLE_INPUT_SCALE, scale, 1, 1, 0, err));
    GS_TRY(new_param(net, node, GS_ROLE_INPUT_OFFSET, scale, 1, 1, 0, err));
    GS_TRY(new_param(net, node, GS_ROLE_QUANT_BIAS, GS_I32, 1, p->rows, 0, err));
    gs_dtype deq = d->compute == GS_BF16 ? GS_F32 : GS_I64;
    return new_param(net, node, GS_ROLE_DEQ_SCALE, deq, 1, p->rows, 0, err);
}

/* Rows that are normalised as they are read have no place in a quantized linear. */
static gs_linear_decision kept_float(const gs_linear_decision *wanted) {
    gs_linear_decision d = {.compute = wanted->compute, .alpha = NAN, .output_error = NAN, .fallback = wanted->fallback};
    snprintf(d.reason, sizeof d.reason, "its rows are normalised");
    return d;
}

gs_status gs_linear_batch_plan(gs_linear_batch *b, gs_net *net, gs_node *node, const gs_linear_decision *d,
                               gs_error *err) {
    gs_linear_decision kept = kept_float(d);
    if (node->attr.linear.normalize_rows && d->scheme != GS_SCHEME_FLOAT) d = &kept;
    pending p = {.node = node, .decision = *d};
    gs_param_matrix(node->param[GS_ROLE_WEIGHT], &p.rows, &p.cols);
    int64_t group = d->group ? d->group : p.cols;
    if (group < 1 || p.cols % group)
        return GS_FAIL(err, GS_E_INVALID, "'%s': %lld columns are no whole groups of %lld", node->name, (long long)p.cols,
                       (long long)group);
    p.groups = p.cols / group;
    GS_TRY(remember(b, &p, err));
    if (d->scheme == GS_SCHEME_FLOAT) return GS_OK;
    gs_attr attr = {.quant = {.scheme = d->scheme, .compute = d->compute}};
    GS_TRY(gs_net_replace(net, node, GS_OP_QLINEAR, &attr, &node, err));
    return plan_params(net, node, &p, err);
}

/* One tensor's rows, shared out by blocks; statistics are kept by block so that their sum does
 * not depend on which worker took which. */
typedef struct quantize_job {
    const pending *p;
    gs_row_rule rule;
    int8_t *q;
    float *scale;        /* [rows, groups] */
    gs_row_stats *stats; /* a block */
    float *scratch;      /* [workers, worker_floats] */
    size_t worker_floats; /* rows, one row of work, and what refinement wants */
    const gs_refine_samples *samples; /* NULL: not refined */
    _Atomic int64_t bad_row;
} quantize_job;

/* The first bad row, whichever worker meets one first. */
static void note_bad_row(quantize_job *j, int64_t row) {
    int64_t seen = atomic_load(&j->bad_row);
    while ((seen < 0 || row < seen) && !atomic_compare_exchange_weak(&j->bad_row, &seen, row)) continue;
}

static bool quantize_row(const quantize_job *j, const float *w, int8_t *q, float *scale, float *work,
                         gs_row_stats *stats) {
    int64_t cols = j->p->cols, groups = j->p->groups;
    if (groups > 1) return gs_row_quantize_groups(&j->rule, cols, cols / groups, w, q, scale, work, stats);
    if (!j->samples) return gs_row_quantize(&j->rule, cols, w, q, scale, work, stats);
    gs_row_stats before = {0};
    if (!gs_row_quantize(&j->rule, cols, w, q, scale, work, &before)) return false;
    gs_row_refine(j->samples, w, *scale, q, work);
    gs_row_measure(cols, w, q, *scale, work, stats);
    return true;
}

/* Rows of the float weight; with compat its factors are applied as the tool does. */
static gs_status read_rows(const pending *p, int64_t row0, int64_t n, float *out) {
    const gs_linear_decision *d = &p->decision;
    if (!d->compat) return gs_param_read_f32(p->weight, row0, n, out, NULL);
    return gs_compat_read_rows(d->compat, d->compute, p->weight, p->weight->col_factor, d->row_divisor, row0, n, out, NULL);
}

static void quantize_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    quantize_job *j = ctx;
    int64_t cols = j->p->cols;
    float *rows = j->scratch + (size_t)worker * j->worker_floats;
    float *work = rows + ROW_GRAIN * cols;
    gs_row_stats *stats = &j->stats[begin / ROW_GRAIN];
    if (read_rows(j->p, begin, end - begin, rows) != GS_OK) {
        note_bad_row(j, begin);
        return;
    }
    for (int64_t r = begin; r < end; r++)
        if (!quantize_row(j, rows + (r - begin) * cols, j->q + r * cols, &j->scale[r * j->p->groups], work, stats)) note_bad_row(j, r);
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

/* Values of dtype F32, F16 or BF16, which holds them exactly. */
static void put_floats(gs_param *p, int64_t n, const float *value) {
    for (int64_t i = 0; i < n; i++) {
        if (p->dtype == GS_F32) ((float *)p->data)[i] = value[i];
        else ((uint16_t *)p->data)[i] = p->dtype == GS_BF16 ? gs_f32_to_bf16(value[i]) : gs_f32_to_f16(value[i]);
    }
}

static void put_deq_scale(gs_param *p, int64_t row, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (p->dtype == GS_I64) ((int64_t *)p->data)[row] = (int64_t)bits;
    else ((float *)p->data)[row] = value;
}

static gs_status row_constants(const pending *p, float scale, float bias, const int8_t *q, int64_t r, float *deq,
                               int32_t *quant_bias, gs_error *err) {
    const gs_linear_decision *d = &p->decision;
    if (d->compat)
        return gs_compat_constants(d->compat, d->compute, d->act, scale, bias, p->cols, q, p->node->name, r, deq, quant_bias, err);
    return gs_static_constants(d->act, scale, bias, p->cols, q, p->node->name, r, deq, quant_bias, err);
}

/* Constants of a static linear, from the codes and scales made before. bias: [rows] or NULL. */
static gs_status static_constants(const pending *p, const float *scale, const float *bias, gs_error *err) {
    gs_param *const *param = p->node->param;
    const int8_t *q = param[GS_ROLE_WEIGHT]->data;
    int32_t *quant_bias = param[GS_ROLE_QUANT_BIAS]->data;
    for (int64_t r = 0; r < p->rows; r++) {
        float deq;
        GS_TRY(row_constants(p, scale[r], bias ? bias[r] : 0.0f, q + r * p->cols, r, &deq, &quant_bias[r], err));
        put_deq_scale(param[GS_ROLE_DEQ_SCALE], r, deq);
    }
    return GS_OK;
}

static gs_status fill_static(const pending *p, const float *scale, gs_error *err) {
    gs_param *const *param = p->node->param;
    float *bias = NULL;
    gs_status status = GS_OK;
    put_floats(param[GS_ROLE_INPUT_SCALE], 1, &p->decision.act.scale);
    put_floats(param[GS_ROLE_INPUT_OFFSET], 1, &p->decision.act.offset);
    if (param[GS_ROLE_BIAS]) {
        bias = gs_calloc((size_t)p->rows, sizeof *bias);
        if (!bias) return gs_error_nomem(err, (size_t)p->rows * sizeof *bias);
        status = gs_param_read_f32(param[GS_ROLE_BIAS], 0, 1, bias, err);
    }
    if (status == GS_OK) status = static_constants(p, scale, bias, err);
    gs_free(bias);
    return status;
}

/* The summary row of a linear; stats of its blocks, none for one that stays float. */
static gs_status summarise(const pending *p, gs_comp_algo *algo, const gs_row_stats *stats, int64_t blocks,
                           gs_error *err) {
    const gs_linear_decision *d = &p->decision;
    gs_layer_summary *row;
    GS_TRY(gs_summary_add(&algo->summary, p->node->name, &row, err));
    row->out_features = p->rows;
    row->in_features = p->cols;
    memcpy(row->reason, d->reason, sizeof row->reason);
    row->scheme = gs_scheme_name(d->scheme);
    row->fallback = d->fallback;
    row->alpha = (double)d->alpha;
    row->output_error = (double)d->output_error;
    if (d->scheme == GS_SCHEME_FLOAT) return GS_OK;
    row->input_scale = (double)d->act.scale;
    row->input_offset = (double)d->act.offset;
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

/* Everything but the codes. scale: [rows, groups]. */
static gs_status fill(const pending *p, const float *scale, gs_error *err) {
    gs_param *const *param = p->node->param;
    if (stores_scales(&p->decision)) {
        put_floats(param[GS_ROLE_WEIGHT_SCALE], p->rows * p->groups, scale);
        memset(param[GS_ROLE_WEIGHT_OFFSET]->data, 0, (size_t)gs_param_bytes(param[GS_ROLE_WEIGHT_OFFSET]));
    }
    return gs_scheme_is_static(p->decision.scheme) ? fill_static(p, scale, err) : GS_OK;
}

static gs_status quantize(const pending *p, gs_comp_algo *algo, gs_context *cx, const gs_refine_samples *samples,
                          gs_error *err) {
    gs_param *const *param = p->node->param;
    const gs_linear_decision *d = &p->decision;
    for (int r = 0; r < GS_ROLE_COUNT; r++)
        if (param[r] && !param[r]->source) GS_TRY(gs_param_allocate(param[r], err));
    int64_t blocks = (p->rows + ROW_GRAIN - 1) / ROW_GRAIN;
    size_t work = (size_t)p->cols + (samples ? (size_t)samples->rows : 0);
    size_t worker = ROW_GRAIN * (size_t)p->cols + work, scratch = (size_t)gs_team_size(cx->team) * worker;
    size_t scales = (size_t)p->rows * (size_t)p->groups;
    quantize_job j = {.p = p, .q = param[GS_ROLE_WEIGHT]->data, .worker_floats = worker, .samples = samples, .bad_row = -1,
                      .rule = {.convention = d->convention, .compute = d->compute, .importance = d->importance,
                               .scale_dtype = d->scale_dtype, .compat = d->compat}};
    j.stats = gs_calloc((size_t)blocks, sizeof *j.stats);
    j.scratch = gs_calloc(scratch, sizeof(float));
    j.scale = gs_calloc(scales, sizeof(float));
    gs_status status = GS_OK;
    if (!j.stats || !j.scratch || !j.scale) {
        status = gs_error_nomem(err, (scratch + scales) * sizeof(float));
    } else {
        gs_team_for(cx->team, p->rows, ROW_GRAIN, quantize_rows, &j);
        if (j.bad_row >= 0) status = bad_row(p, j.bad_row, j.scratch, err);
        if (status == GS_OK) status = fill(p, j.scale, err);
        if (status == GS_OK) status = summarise(p, algo, j.stats, blocks, err);
    }
    gs_free(j.stats);
    gs_free(j.scratch);
    gs_free(j.scale);
    if (algo->drop && p->weight->source) algo->drop(algo->drop_ctx, p->weight->source);
    return status;
}

/* The samples of the edge that the last refined linear read. */
typedef struct edge_samples {
    const char *edge;
    gs_refine_samples samples;
} edge_samples;

static gs_status quantize_pending(const pending *p, gs_comp_algo *algo, gs_context *cx, gs_refine_source *source,
                                  void *source_ctx, edge_samples *have, gs_error *err) {
    const char *edge = p->decision.refine_edge;
    if (!edge) return quantize(p, algo, cx, NULL, err);
    if (have->edge != edge) {
        have->edge = NULL;
        gs_refine_samples_clear(&have->samples);
        GS_TRY(source(source_ctx, edge, &have->samples, err));
        have->edge = edge;
    }
    return quantize(p, algo, cx, &have->samples, err);
}

gs_status gs_linear_batch_convert(gs_linear_batch *b, gs_comp_algo *algo, gs_context *cx, gs_refine_source *source,
                                  void *source_ctx, gs_error *err) {
    gs_status status = GS_OK;
    edge_samples have = {0};
    for (size_t i = 0; i < b->count && status == GS_OK; i++) {
        const pending *p = &b->pending[i];
        status = p->decision.scheme == GS_SCHEME_FLOAT
                     ? summarise(p, algo, NULL, 0, err)
                     : quantize_pending(p, algo, cx, source, source_ctx, &have, err);
    }
    gs_refine_samples_clear(&have.samples);
    gs_linear_batch_reset(b);
    return status;
}
