#include <ptq/smooth_quant.h>

#include <base/map.h>
#include <base/mem.h>
#include <kernels/kernels.h>
#include <network/routing.h>
#include <ptq/alpha_search.h>
#include <ptq/compat_smooth.h>
#include <ptq/edge_group.h>
#include <ptq/linear_batch.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What was found out about one group; found again by the name of its edge. */
typedef struct decision {
    char *edge;
    char *routing;                 /* of an expert's group: what chooses it; else NULL */
    gs_group_choice wanted, other; /* as asked, and the fallback (scheme FLOAT: nothing is quantized) */
    bool falls;                    /* the fallback is taken */
    bool unseen;                   /* an expert's, and no token reached it: nothing was measured */
    bool alike;                    /* it falls because another expert does */
    int64_t weights;               /* elements that were to be quantized */
} decision;

static const gs_group_choice *taken(const decision *d) { return d->falls ? &d->other : &d->wanted; }

typedef struct smooth_quant {
    gs_comp_algo base;
    const gs_ptq_config *config;
    gs_smooth_quant_options options;
    gs_layer_rules *rules;
    gs_observer_source *source;
    void *source_ctx;
    gs_linear_batch *batch;
    decision *decision;
    size_t count, capacity;
    gs_map by_edge;
} smooth_quant;

/* ---- decisions ---- */

/* Takes d. */
static gs_status add_decision(smooth_quant *a, const char *edge, decision *d, gs_error *err) {
    if (a->count == a->capacity) {
        size_t capacity = a->capacity ? 2 * a->capacity : 64;
        decision *grown = gs_realloc(a->decision, capacity, sizeof *grown);
        if (!grown) return gs_error_nomem(err, capacity * sizeof *grown);
        a->decision = grown;
        a->capacity = capacity;
    }
    bool existed;
    d->edge = gs_strdup(edge);
    if (!d->edge) return gs_error_nomem(err, 256);
    GS_TRY(gs_map_put(&a->by_edge, d->edge, strlen(d->edge), (int64_t)a->count, &existed, err));
    if (existed) return GS_FAIL(err, GS_E_INVALID, "'%s' was decided before", edge);
    a->decision[a->count++] = *d;
    *d = (decision){0};
    return GS_OK;
}

static void clear_decision(decision *d) {
    gs_free(d->edge);
    gs_free(d->routing);
    gs_group_choice_clear(&d->wanted);
    gs_group_choice_clear(&d->other);
}

/* NULL: the group holds no quantized linear. */
static const decision *find_decision(const smooth_quant *a, const char *edge) {
    int64_t at;
    return gs_map_get(&a->by_edge, edge, strlen(edge), &at) ? &a->decision[at] : NULL;
}

/* The linears of a group that the rules want quantized, and the scheme they share. */
static gs_status wanted(const smooth_quant *a, const gs_net *net, const gs_edge_group *g, gs_node **linear, int *count,
                        const gs_ptq_config **config, gs_error *err) {
    *count = 0;
    for (int i = 0; i < g->count; i++) {
        const gs_ptq_config *c;
        char reason[64];
        GS_TRY(gs_layer_rules_find_linear(a->rules, net, g->linear[i], &c, reason, err));
        if (!c || gs_ptq_config_scheme(c) == GS_SCHEME_FLOAT) continue;
        if (*count > 0 && gs_ptq_config_scheme(c) != gs_ptq_config_scheme(*config))
            return GS_FAIL(err, GS_E_INVALID, "'%s' and '%s' read the same value but are to be %s and %s",
                           linear[0]->name, g->linear[i]->name, gs_scheme_name(gs_ptq_config_scheme(*config)),
                           gs_scheme_name(gs_ptq_config_scheme(c)));
        *config = c;
        linear[(*count)++] = g->linear[i];
    }
    return GS_OK;
}

static bool listed(const smooth_quant *a, const gs_group_data *d) {
    for (int i = 0; i < d->count; i++)
        for (size_t w = 0; w < a->options.fallback_count; w++)
            if (strstr(d->linear[i]->name, a->options.fallback_list[w])) return true;
    return false;
}

static const gs_scheme fallbacks[] = {GS_SCHEME_W8A8_DYNAMIC, GS_SCHEME_W8A16};

/* The first permitted fallback; none of them needs data. */
static gs_group_choice unmeasured(const smooth_quant *a) {
    gs_group_choice c = {.scheme = GS_SCHEME_FLOAT, .alpha = NAN, .error = NAN};
    for (size_t i = GS_COUNTOF(fallbacks); i-- > 0;)
        if (a->options.fallback_schemes >> fallbacks[i] & 1u) c.scheme = fallbacks[i];
    return c;
}

/* What needs no data stays as asked; a static scale there is none for. */
static void decide_unseen(const smooth_quant *a, gs_scheme scheme, decision *out) {
    out->unseen = true;
    out->wanted = out->other = unmeasured(a);
    out->wanted.scheme = scheme;
    out->falls = gs_scheme_is_static(scheme);
}

/* The first permitted scheme after the wanted one whose error is small enough; FLOAT at last. */
static gs_status find_other(smooth_quant *a, gs_context *cx, const gs_group_data *d, decision *out, gs_error *err) {
    for (size_t i = 0; i < GS_COUNTOF(fallbacks); i++) {
        if (!(a->options.fallback_schemes >> fallbacks[i] & 1u) || fallbacks[i] == out->wanted.scheme) continue;
        GS_TRY(gs_group_choose(cx, d, fallbacks[i], a->base.drop, a->base.drop_ctx, &out->other, err));
        if ((double)out->other.error <= a->options.fallback_threshold) return GS_OK;
        gs_group_choice_clear(&out->other);
    }
    out->other = (gs_group_choice){.scheme = GS_SCHEME_FLOAT, .alpha = NAN, .error = NAN};
    return GS_OK;
}

static gs_status decide_data(smooth_quant *a, gs_context *cx, const gs_group_data *d, gs_scheme scheme,
                             decision *out, gs_error *err) {
    for (int i = 0; i < d->count; i++) out->weights += gs_param_count(d->linear[i]->param[GS_ROLE_WEIGHT]);
    if (d->observer->rows == 0) {
        decide_unseen(a, scheme, out);
        return GS_OK;
    }
    GS_TRY(gs_group_choose(cx, d, scheme, a->base.drop, a->base.drop_ctx, &out->wanted, err));
    if (a->options.fallback == GS_FALLBACK_AUTO && isnan(out->wanted.error))
        return GS_FAIL(err, GS_E_INVALID, "'%s': --fallback auto needs sample rows, the statistics have none",
                       d->group->edge->name);
    out->falls = a->options.fallback == GS_FALLBACK_LIST
                     ? listed(a, d)
                     : a->options.fallback == GS_FALLBACK_AUTO && (double)out->wanted.error > a->options.fallback_threshold;
    return out->falls ? find_other(a, cx, d, out, err) : GS_OK;
}

/* Worst first. */
static int by_error(const void *left, const void *right) {
    const decision *const *a = left, *const *b = right;
    if ((*a)->wanted.error != (*b)->wanted.error) return (*a)->wanted.error < (*b)->wanted.error ? 1 : -1;
    return *a < *b ? -1 : 1; /* the earlier one: settled alike every time */
}

/* Lets all experts of a layer fall with one that has to, and none where one merely should. */
static gs_status settle_experts(smooth_quant *a, gs_context *cx, gs_error *err) {
    gs_map falling = {0};
    gs_status status = GS_OK;
    size_t kept = 0, unseen = 0;
    int64_t one;
    for (size_t i = 0; i < a->count && status == GS_OK; i++) {
        const decision *d = &a->decision[i];
        unseen += d->unseen;
        if (a->options.experts_alike && d->routing && d->unseen && d->falls)
            status = gs_map_put(&falling, d->routing, strlen(d->routing), 1, NULL, err);
    }
    for (size_t i = 0; i < a->count && a->options.experts_alike; i++) {
        decision *d = &a->decision[i];
        if (!d->routing || d->unseen || !gs_scheme_is_static(d->wanted.scheme)) continue;
        d->alike = gs_map_get(&falling, d->routing, strlen(d->routing), &one);
        kept += d->falls && !d->alike && a->options.fallback == GS_FALLBACK_AUTO;
        if (a->options.fallback == GS_FALLBACK_AUTO) d->falls = false;
        if (!d->alike) continue;
        gs_group_choice_clear(&d->other);
        d->other = unmeasured(a);
        d->falls = true;
    }
    gs_map_clear(&falling);
    if (unseen) gs_log(cx, GS_LOG_WARN, "no calibration token reached %zu groups of experts' linears", unseen);
    if (kept)
        gs_log(cx, GS_LOG_WARN, "%zu groups of experts' linears exceed the fallback threshold and stay: servers take the "
               "experts of a layer as one type", kept);
    return status;
}

/* Keeps fallbacks to their share of the weights: the worst groups fall first, and one that does not fit any more
 * stays as asked. */
static gs_status settle(gs_comp_algo *algo, gs_context *cx, gs_error *err) {
    smooth_quant *a = (smooth_quant *)algo;
    int64_t all = 0, fallen = 0;
    size_t n = 0, kept = 0;
    GS_TRY(settle_experts(a, cx, err));
    if (a->options.fallback != GS_FALLBACK_AUTO) return GS_OK;
    decision **order = gs_calloc(a->count + 1, sizeof(decision *));
    if (!order) return gs_error_nomem(err, a->count * sizeof(decision *));
    for (size_t i = 0; i < a->count; i++) {
        all += a->decision[i].weights;
        if (a->decision[i].falls && !a->decision[i].unseen && !a->decision[i].alike) order[n++] = &a->decision[i];
    }
    qsort(order, n, sizeof(decision *), by_error);
    for (size_t i = 0; i < n; i++) {
        order[i]->falls = (double)(fallen + order[i]->weights) <= a->options.fallback_share * (double)all * (1 + 1e-9);
        if (order[i]->falls) fallen += order[i]->weights;
        else kept++;
    }
    gs_free(order);
    if (kept)
        gs_log(cx, GS_LOG_WARN, "%zu more groups of linears exceed the fallback threshold; %.1f %% of the weights have fallen "
               "back, more than %.1f %% may not", kept, 100 * (double)fallen / (double)all,
               100 * a->options.fallback_share);
    return GS_OK;
}

/* Column maxima are read even where nothing is tried out. */
static void drop_weights(const smooth_quant *a, gs_node *const *linear, int count) {
    for (int i = 0; i < count && a->base.drop; i++) {
        const gs_tensor *view = linear[i]->param[GS_ROLE_WEIGHT]->source;
        if (view) a->base.drop(a->base.drop_ctx, view);
    }
}

static gs_status decide_group(smooth_quant *a, gs_context *cx, const gs_net *net, const gs_edge_group *g, gs_error *err) {
    const gs_ptq_config *config = NULL;
    gs_observer observer = {0};
    gs_group_data data = {0};
    decision d = {0};
    int count;
    gs_node **linear = gs_calloc((size_t)g->count, sizeof(gs_node *));
    if (!linear) return gs_error_nomem(err, (size_t)g->count * sizeof(gs_node *));
    gs_status status = wanted(a, net, g, linear, &count, &config, err);
    if (status == GS_OK && count > 0) {
        GS_TRY_GOTO(status, done, a->source(a->source_ctx, g->edge->name, &observer, err));
        gs_row_rule rule = {.convention = config->scale_convention, .compute = a->config->compute,
                            .scale_dtype = a->config->scale_dtype, .compat = a->config->compat};
        GS_TRY_GOTO(status, done, gs_group_data_init(&data, cx, g, linear, count, &observer, &a->options, &rule, err));
        GS_TRY_GOTO(status, done, decide_data(a, cx, &data, gs_ptq_config_scheme(config), &d, err));
        const gs_node *select = gs_routed_select(g->edge);
        d.routing = select ? gs_strdup(select->input[1]->name) : NULL;
        if (select && !d.routing) status = gs_error_nomem(err, strlen(select->input[1]->name));
        if (status == GS_OK) status = add_decision(a, g->edge->name, &d, err);
    }
done:
    drop_weights(a, linear, count);
    clear_decision(&d);
    gs_group_data_clear(&data);
    gs_observer_clear(&observer);
    gs_free(linear);
    return status;
}

static bool on_rows(const gs_edge_group *g) { return g->site.node && g->site.node->op == GS_OP_LINEAR; }

/* msModelSlim V1 gives rows of linears their factors first, and the maxima of a norm's readers see them: so that they do
 * here, those linears have the factors while the segment is decided. */
static gs_status decide_groups(smooth_quant *a, gs_context *cx, const gs_net *net, const gs_edge_groups *groups, float **lent,
                               gs_error *err) {
    bool first = a->config->compat == GS_COMPAT_MSMODELSLIM_V1;
    for (int i = 0; i < groups->count; i++) {
        const gs_edge_group *g = &groups->group[i];
        if (first && !on_rows(g)) continue;
        GS_TRY(decide_group(a, cx, net, g, err));
        const decision *d = find_decision(a, g->edge->name);
        gs_param *w = g->site.node ? g->site.node->param[GS_ROLE_WEIGHT] : NULL;
        if (!first || !d || !taken(d)->s || w->row_factor) continue;
        GS_TRY(gs_scale_site_expand(&g->site, taken(d)->s, &lent[i], err));
        w->row_factor = lent[i];
        for (int64_t c = 0; c < w->shape[0]; c++) lent[i][c] = 1.0f / lent[i][c];
    }
    for (int i = 0; i < groups->count && first; i++)
        if (!on_rows(&groups->group[i])) GS_TRY(decide_group(a, cx, net, &groups->group[i], err));
    return GS_OK;
}

static gs_status decide(gs_comp_algo *algo, gs_context *cx, gs_net *net, gs_error *err) {
    gs_edge_groups groups;
    GS_TRY(gs_edge_groups_find(net, &groups, err));
    float **lent = gs_calloc((size_t)groups.count + 1, sizeof(float *));
    gs_status status = lent ? decide_groups((smooth_quant *)algo, cx, net, &groups, lent, err)
                            : gs_error_nomem(err, (size_t)groups.count * sizeof(float *));
    for (int i = 0; lent && i < groups.count; i++) {
        if (!lent[i]) continue;
        groups.group[i].site.node->param[GS_ROLE_WEIGHT]->row_factor = NULL;
        gs_free(lent[i]);
    }
    gs_free(lent);
    gs_edge_groups_clear(&groups);
    return status;
}

/* ---- applying them ---- */

static gs_status fold_groups(const smooth_quant *a, gs_compat tool, gs_net *net, const gs_edge_groups *groups, gs_error *err) {
    for (int i = 0; i < groups->count; i++) {
        const gs_edge_group *g = &groups->group[i];
        const decision *d = find_decision(a, g->edge->name);
        if (!d || !taken(d)->s) continue;
        GS_TRY(tool ? gs_compat_fold(tool, a->config->compute, net, g, taken(d)->s, err)
                    : gs_edge_group_smooth(g, taken(d)->s, err));
    }
    return GS_OK;
}

/* The factors that the rows of a linear are divided by; NULL: none, or not of all rows: then they are multiplied by the
 * inverse, as param factors. */
static const float *divisor_of(const smooth_quant *a, const gs_edge_groups *groups, const gs_node *linear) {
    for (int i = 0; i < groups->count; i++) {
        const decision *d = groups->group[i].site.node == linear ? find_decision(a, groups->group[i].edge->name) : NULL;
        if (d) return groups->group[i].site.row ? NULL : taken(d)->s;
    }
    return NULL;
}

gs_status gs_smooth_quant_fold(gs_comp_algo *algo, gs_net *net, gs_error *err) {
    gs_edge_groups groups;
    GS_TRY(gs_edge_groups_find(net, &groups, err));
    gs_status status = fold_groups((smooth_quant *)algo, GS_COMPAT_NONE, net, &groups, err);
    gs_edge_groups_clear(&groups);
    return status;
}

static gs_status plan_linear(smooth_quant *a, gs_net *net, const gs_edge_groups *groups, const gs_edge_group *g,
                             gs_node *node, gs_error *err) {
    const decision *d = find_decision(a, g->edge->name);
    const gs_ptq_config *c;
    gs_linear_decision l = {.compute = a->config->compute, .alpha = NAN, .output_error = NAN};
    GS_TRY(gs_layer_rules_find_linear(a->rules, net, node, &c, l.reason, err));
    if (!c) return gs_linear_batch_plan(a->batch, net, node, &l, err);
    if (!d && a->count > 0) return GS_FAIL(err, GS_E_INVALID, "'%s': nothing was decided", node->name);
    if (!d) { /* asked for the structure before anything was decided */
        l.scheme = gs_ptq_config_scheme(c);
        return gs_linear_batch_plan(a->batch, net, node, &l, err);
    }
    const gs_group_choice *choice = taken(d);
    l.scheme = choice->scheme;
    l.convention = c->scale_convention;
    l.scale_dtype = a->config->scale_dtype;
    l.compat = a->config->compat;
    if (l.compat == GS_COMPAT_MSMODELSLIM_V0) l.row_divisor = divisor_of(a, groups, node);
    l.act = choice->act;
    l.alpha = choice->alpha;
    l.output_error = choice->error;
    l.importance = choice->importance;
    if (a->options.refine && !d->unseen) l.refine_edge = d->edge;
    l.fallback = d->falls;
    if (d->alike)
        snprintf(l.reason, sizeof l.reason, "as another expert of its layer, which no token reached");
    else if (d->unseen)
        snprintf(l.reason, sizeof l.reason, "no calibration token reached it");
    else if (d->falls && a->options.fallback == GS_FALLBACK_LIST)
        snprintf(l.reason, sizeof l.reason, "in the list of fallbacks");
    else if (d->falls)
        snprintf(l.reason, sizeof l.reason, "output error %.3g as %s", (double)d->wanted.error,
                 gs_scheme_name(d->wanted.scheme));
    bool unsmoothed = a->options.smoothing != GS_SMOOTHING_NONE && !g->site.node && !l.reason[0];
    if (unsmoothed) snprintf(l.reason, sizeof l.reason, "not smoothed: %.48s", g->reason);
    return gs_linear_batch_plan(a->batch, net, node, &l, err);
}

static gs_status apply(gs_comp_algo *algo, gs_net *net, gs_error *err) {
    smooth_quant *a = (smooth_quant *)algo;
    gs_edge_groups groups;
    gs_linear_batch_reset(a->batch);
    GS_TRY(gs_edge_groups_find(net, &groups, err));
    gs_status status = fold_groups(a, a->config->compat, net, &groups, err);
    for (int i = 0; i < groups.count && status == GS_OK; i++) {
        const gs_edge_group *g = &groups.group[i];
        for (int k = 0; k < g->count && status == GS_OK; k++)
            status = plan_linear(a, net, &groups, g, g->linear[k], err);
    }
    gs_edge_groups_clear(&groups);
    return status;
}

/* Sample rows as the quantized linears of an edge will read them. */
static gs_status make_samples(const decision *d, const gs_observer *o, gs_refine_samples *out, gs_error *err) {
    int64_t k = o->width, n = o->sample_rows;
    const float *spread = taken(d)->spread;
    float *x = gs_calloc((size_t)n * (size_t)k + 1, sizeof *x);
    if (!x) return gs_error_nomem(err, (size_t)n * (size_t)k * sizeof *x);
    gs_kernels_get()->convert_bf16_f32(n * k, o->sample, x);
    for (int64_t i = 0; spread && i < n * k; i++) x[i] /= spread[i % k];
    gs_status status = gs_refine_samples_init(out, n, k, x, taken(d)->importance, err);
    gs_free(x);
    return status;
}

/* A gs_refine_source. */
static gs_status read_samples(void *algo, const char *edge, gs_refine_samples *out, gs_error *err) {
    smooth_quant *a = algo;
    gs_observer o = {0};
    gs_status status = a->source(a->source_ctx, edge, &o, err);
    if (status == GS_OK) status = make_samples(find_decision(a, edge), &o, out, err);
    gs_observer_clear(&o);
    return status;
}

static gs_status convert(gs_comp_algo *algo, gs_context *cx, gs_net *net, gs_error *err) {
    (void)net; /* the nodes were found by apply */
    return gs_linear_batch_convert(((smooth_quant *)algo)->batch, algo, cx, read_samples, algo, err);
}

static void destroy(gs_comp_algo *algo) {
    smooth_quant *a = (smooth_quant *)algo;
    for (size_t i = 0; i < a->count; i++) clear_decision(&a->decision[i]);
    gs_free(a->decision);
    gs_map_clear(&a->by_edge);
    gs_linear_batch_destroy(a->batch);
    gs_layer_rules_destroy(a->rules);
    gs_free(a);
}

static const gs_comp_algo_class smooth_quant_class = {
    .name = "SmoothQuant",
    .decide = decide,
    .settle = settle,
    .apply = apply,
    .convert = convert,
    .destroy = destroy,
};

/* ---- settings ---- */

static bool contradicts(const gs_ptq_config *c, const gs_smooth_quant_options *o) {
    return (c->outliers_suppression == GS_OUTLIERS_SMOOTH) != (o->smoothing != GS_SMOOTHING_NONE);
}

static gs_status refuse_groups(const gs_ptq_config *c, gs_error *err) {
    if (c->weight_quant_granularity != GS_PER_GROUP) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "scales by groups of columns are made without data: neither refinement nor int8 "
                   "activations go with them");
}

static gs_status check_config(const gs_ptq_config *c, const gs_smooth_quant_options *o, gs_error *err) {
    GS_TRY(gs_ptq_config_check(c, err));
    GS_TRY(gs_ptq_config_check_done(c, err));
    if (c->weight_quant_dtype == GS_QUANT_NONE)
        return GS_FAIL(err, GS_E_INVALID, "SmoothQuant quantizes weights to int8 per channel, not %s",
                       gs_ptq_config_tag(c));
    GS_TRY(refuse_groups(c, err));
    if (c->compat && (o->smoothing == GS_SMOOTHING_AUTO || o->refine || o->range != GS_RANGE_MINMAX ||
                      o->fallback == GS_FALLBACK_AUTO))
        return GS_FAIL(err, GS_E_INVALID, "imitating another tool leaves nothing to search, to refine or to clip");
    if (contradicts(c, o)) return GS_FAIL(err, GS_E_INVALID, "outliers_suppression and alpha contradict each other");
    for (size_t i = 0; i < c->layer_policy_count; i++) {
        const gs_ptq_config *policy = c->layer_policies[i].config;
        if (policy) GS_TRY(refuse_groups(policy, err));
        /* float activations are never smoothed */
        if (policy && policy->act_quant_dtype != GS_QUANT_NONE && contradicts(policy, o))
            return GS_FAIL(err, GS_E_INVALID, "outliers_suppression of policy '%s' and alpha contradict each other",
                           c->layer_policies[i].pattern);
    }
    return GS_OK;
}

static gs_status check_options(const gs_smooth_quant_options *o, gs_error *err) {
    if (o->smoothing == GS_SMOOTHING_FIXED && !(o->alpha >= 0 && o->alpha <= 1))
        return GS_FAIL(err, GS_E_INVALID, "alpha %g is not between 0 and 1", (double)o->alpha);
    if (o->range == GS_RANGE_PERCENTILE && !(o->percentile > 50 && o->percentile <= 100))
        return GS_FAIL(err, GS_E_INVALID, "percentile %g is not above 50 and at most 100", o->percentile);
    if (o->fallback != GS_FALLBACK_NONE && !(o->fallback_threshold > 0))
        return GS_FAIL(err, GS_E_INVALID, "the fallback threshold %g is not positive", o->fallback_threshold);
    if (o->fallback == GS_FALLBACK_AUTO && !(o->fallback_share >= 0 && o->fallback_share <= 1))
        return GS_FAIL(err, GS_E_INVALID, "a fallback share of %g is not between 0 and 1", o->fallback_share);
    return GS_OK;
}

gs_status gs_smooth_quant_create(const gs_ptq_config *config, const gs_smooth_quant_options *options,
                                 gs_observer_source *source, void *source_ctx, gs_comp_algo **out,
                                 gs_error *err) {
    GS_TRY(check_config(config, options, err));
    GS_TRY(check_options(options, err));
    smooth_quant *a = gs_calloc(1, sizeof *a);
    if (!a) return gs_error_nomem(err, sizeof *a);
    a->base = (gs_comp_algo){.class = &smooth_quant_class, .save = true};
    a->config = config;
    a->options = *options;
    a->source = source;
    a->source_ctx = source_ctx;
    gs_status status = gs_layer_rules_create(config, &a->rules, err);
    if (status == GS_OK) status = gs_linear_batch_create(&a->batch, err);
    if (status != GS_OK) {
        destroy(&a->base);
        return status;
    }
    *out = &a->base;
    return GS_OK;
}
