#include <ptq/alpha_search.h>

#include <base/half.h>
#include <base/mem.h>
#include <ptq/smooth_scale.h>

#include <math.h>
#include <string.h>

enum { GRID = 21, FINE = 5, MOST = GRID + 1 };
static const float FINE_STEP = 0.0125f;

/* ---- what every candidate is made from ---- */

void gs_group_data_clear(gs_group_data *d) {
    gs_free(d->act);
    gs_free(d->weight);
    gs_free(d->x);
    *d = (gs_group_data){0};
}

static gs_status widen_samples(gs_group_data *d, gs_error *err) {
    size_t cells = (size_t)d->observer->sample_rows * (size_t)d->observer->width;
    if (cells == 0) return GS_OK;
    d->x = gs_calloc(cells, sizeof *d->x);
    if (!d->x) return gs_error_nomem(err, cells * sizeof *d->x);
    for (size_t i = 0; i < cells; i++) d->x[i] = gs_bf16_to_f32(d->observer->sample[i]);
    return GS_OK;
}

/* Largest |x| and |w| of each channel that can carry a factor. */
static gs_status measure_channels(gs_group_data *d, gs_context *cx, gs_error *err) {
    const gs_edge_group *g = d->group;
    if (!g->site.node || d->options->smoothing == GS_SMOOTHING_NONE) return GS_OK;
    float *wide = gs_calloc((size_t)g->width, sizeof *wide);
    d->act = gs_calloc((size_t)g->site.channels, sizeof *d->act);
    d->weight = gs_calloc((size_t)g->site.channels, sizeof *d->weight);
    gs_status status = wide && d->act && d->weight ? GS_OK : gs_error_nomem(err, (size_t)g->width * sizeof *wide);
    if (status == GS_OK) {
        for (int64_t j = 0; j < g->width; j++) wide[j] = gs_observer_absmax(d->observer, j);
        gs_edge_group_fold_max(g, wide, d->act);
        status = gs_column_absmax(cx, d->linear, d->count, g->width, wide, err);
    }
    if (status == GS_OK) gs_edge_group_fold_max(g, wide, d->weight);
    gs_free(wide);
    return status;
}

gs_status gs_group_data_init(gs_group_data *d, gs_context *cx, const gs_edge_group *group, gs_node *const *linear,
                             int count, const gs_observer *observer, const gs_smooth_quant_options *options,
                             gs_scale_convention convention, gs_dtype compute, gs_error *err) {
    *d = (gs_group_data){.group = group, .linear = linear, .count = count, .observer = observer, .options = options,
                         .rule = {convention, compute, NULL}};
    if (observer->width != group->width)
        return GS_FAIL(err, GS_E_FORMAT, "statistics of '%s' are of %lld channels, its linears read %lld",
                       group->edge->name, (long long)observer->width, (long long)group->width);
    gs_status status = widen_samples(d, err);
    if (status == GS_OK) status = measure_channels(d, cx, err);
    if (status != GS_OK) gs_group_data_clear(d);
    return status;
}

void gs_group_choice_clear(gs_group_choice *c) {
    gs_free(c->s);
    gs_free(c->importance);
    *c = (gs_group_choice){0};
}

/* ---- one candidate ---- */

typedef struct candidate {
    float alpha;   /* NAN: not smoothed */
    float *s;      /* [channels] */
    float *spread; /* [width] */
    float *importance;
    gs_trial trial;
} candidate;

static void clear_candidate(candidate *c) {
    gs_free(c->s);
    gs_free(c->spread);
    gs_free(c->importance);
    *c = (candidate){0};
}

/* Clipped range of the smoothed sample rows. */
static gs_status sample_range(const gs_group_data *d, const float *spread, float *lo, float *hi, gs_error *err) {
    const gs_observer *o = d->observer;
    gs_observer smoothed = {0};
    float *row = gs_calloc((size_t)o->width, sizeof *row);
    gs_status status = row ? gs_observer_init(&smoothed, o->name, o->width, 0, err)
                           : gs_error_nomem(err, (size_t)o->width * sizeof *row);
    for (int64_t r = 0; r < o->sample_rows && status == GS_OK; r++) {
        for (int64_t j = 0; j < o->width; j++) row[j] = d->x[r * o->width + j] / spread[j];
        status = gs_observer_see(&smoothed, NULL, r, 1, row, err);
    }
    if (status == GS_OK && d->options->range == GS_RANGE_MSE)
        gs_observer_mse(&smoothed, d->options->act_symmetric, lo, hi);
    else if (status == GS_OK)
        gs_observer_percentile(&smoothed, d->options->percentile, lo, hi);
    gs_observer_clear(&smoothed);
    gs_free(row);
    return status;
}

static gs_status find_range(const gs_group_data *d, const float *spread, float *lo, float *hi, gs_error *err) {
    const gs_observer *o = d->observer;
    if (d->options->range != GS_RANGE_MINMAX && spread && d->x) return sample_range(d, spread, lo, hi, err);
    if (d->options->range == GS_RANGE_PERCENTILE && !spread) {
        gs_observer_percentile(o, d->options->percentile, lo, hi);
    } else if (d->options->range == GS_RANGE_MSE && !spread) {
        gs_observer_mse(o, d->options->act_symmetric, lo, hi);
    } else {
        *lo = INFINITY;
        *hi = -INFINITY;
        for (int64_t j = 0; j < o->width; j++) {
            float s = spread ? spread[j] : 1.0f;
            *lo = fminf(*lo, o->min[j] / s);
            *hi = fmaxf(*hi, o->max[j] / s);
        }
    }
    return GS_OK;
}

static gs_status make_importance(const gs_group_data *d, candidate *c, gs_error *err) {
    const gs_observer *o = d->observer;
    c->importance = gs_calloc((size_t)o->width, sizeof *c->importance);
    if (!c->importance) return gs_error_nomem(err, (size_t)o->width * sizeof *c->importance);
    for (int64_t j = 0; j < o->width; j++) {
        double s = c->spread ? (double)c->spread[j] : 1.0;
        c->importance[j] = (float)(o->square_sum[j] / (double)(o->rows ? o->rows : 1) / (s * s));
    }
    return GS_OK;
}

static gs_status smooth_candidate(const gs_group_data *d, candidate *c, gs_error *err) {
    const gs_edge_group *g = d->group;
    c->s = gs_calloc((size_t)g->site.channels, sizeof *c->s);
    c->spread = gs_calloc((size_t)g->width, sizeof *c->spread);
    if (!c->s || !c->spread) return gs_error_nomem(err, (size_t)g->width * sizeof *c->s);
    gs_smooth_scales(g->site.channels, d->act, d->weight, c->alpha, c->s);
    GS_TRY(gs_smooth_scales_fit(g, d->rule.compute, c->s, err));
    gs_edge_group_spread(g, c->s, c->spread);
    return GS_OK;
}

static gs_status make_candidate(const gs_group_data *d, gs_scheme scheme, float alpha, candidate *c, gs_error *err) {
    *c = (candidate){.alpha = alpha};
    if (!isnan(alpha)) GS_TRY(smooth_candidate(d, c, err));
    if (d->options->refine) GS_TRY(make_importance(d, c, err));
    c->trial = (gs_trial){.scheme = scheme, .smooth = c->spread, .rule = d->rule};
    c->trial.rule.importance = c->importance;
    if (scheme != GS_SCHEME_W8A8) return GS_OK;
    float lo, hi;
    GS_TRY(find_range(d, c->spread, &lo, &hi, err));
    c->trial.act = gs_act_params_from_range(lo, hi, d->options->act_symmetric, d->rule.compute);
    return GS_OK;
}

/* ---- comparing them ---- */

static double objective(int64_t rows, const double *error, const double *energy) {
    double lost = 0, all = 0;
    for (int64_t r = 0; r < rows; r++) {
        lost += error[r];
        all += energy[r];
    }
    return all > 0 ? lost / all : lost > 0 ? INFINITY : 0;
}

typedef struct search {
    gs_context *cx;
    const gs_group_data *d;
    gs_scheme scheme;
    gs_exec_drop *drop;
    void *drop_ctx;
    candidate best;
    double least; /* objective of the best so far; infinite: none yet */
} search;

static gs_status measure(const search *s, const candidate *c, int n, double *score, gs_error *err) {
    const gs_group_data *d = s->d;
    int64_t rows = d->observer->sample_rows;
    gs_trial trial[MOST];
    for (int i = 0; i < n; i++) trial[i] = c[i].trial;
    gs_trial_set set = {.linear = d->linear, .count = d->count, .x = d->x, .rows = rows, .k = d->group->width,
                        .trial = trial, .trials = n, .drop = s->drop, .drop_ctx = s->drop_ctx};
    double *error = gs_calloc((size_t)n * (size_t)rows, sizeof *error), *energy = gs_calloc((size_t)rows, sizeof *energy);
    gs_status status = error && energy ? gs_trial_run(s->cx, &set, error, energy, err)
                                       : gs_error_nomem(err, (size_t)n * (size_t)rows * sizeof *error);
    for (int i = 0; i < n && status == GS_OK; i++) score[i] = objective(rows, error + i * rows, energy);
    gs_free(error);
    gs_free(energy);
    return status;
}

/* Tries the given alphas; the first of equals, and an earlier best, win. */
static gs_status try_alphas(search *s, const float *alpha, int n, gs_error *err) {
    candidate c[MOST] = {0};
    double score[MOST];
    gs_status status = GS_OK;
    for (int i = 0; i < n && status == GS_OK; i++) status = make_candidate(s->d, s->scheme, alpha[i], &c[i], err);
    if (status == GS_OK && s->d->x) status = measure(s, c, n, score, err);
    for (int i = 0; i < n && status == GS_OK; i++) {
        double got = s->d->x ? score[i] : NAN;
        if (i > 0 && !(got < s->least)) continue;
        if (i == 0 && s->least < INFINITY && !(got < s->least)) continue;
        clear_candidate(&s->best);
        s->best = c[i];
        s->least = got;
        c[i] = (candidate){0};
    }
    for (int i = 0; i < n; i++) clear_candidate(&c[i]);
    return status;
}

static gs_status search_alpha(search *s, gs_error *err) {
    float alpha[MOST];
    if (!s->d->x) {
        GS_FAIL(err, GS_E_INVALID, "'%s': a search for alpha needs sample rows, the statistics have none",
                s->d->group->edge->name);
        return gs_error_hint(err, "calibrate again with --sample-rows 256, or give a fixed --alpha");
    }
    alpha[0] = NAN;
    for (int i = 0; i < GRID; i++) alpha[1 + i] = (float)i / (GRID - 1);
    GS_TRY(try_alphas(s, alpha, 1 + GRID, err));
    if (isnan(s->best.alpha)) return GS_OK;
    int n = 0;
    for (int i = -FINE / 2 - 1; i <= FINE / 2 + 1; i++) {
        float a = s->best.alpha + (float)i * FINE_STEP;
        if (i != 0 && a >= 0 && a <= 1) alpha[n++] = a;
    }
    return try_alphas(s, alpha, n, err);
}

gs_status gs_group_choose(gs_context *cx, const gs_group_data *d, gs_scheme scheme, gs_exec_drop *drop,
                          void *drop_ctx, gs_group_choice *out, gs_error *err) {
    search s = {.cx = cx, .d = d, .scheme = scheme, .drop = drop, .drop_ctx = drop_ctx, .least = INFINITY};
    bool smooth = d->act && scheme != GS_SCHEME_W8A16;
    float alpha = smooth && d->options->smoothing == GS_SMOOTHING_FIXED ? d->options->alpha : NAN;
    gs_status status = smooth && d->options->smoothing == GS_SMOOTHING_AUTO ? search_alpha(&s, err)
                                                                            : try_alphas(&s, &alpha, 1, err);
    if (status != GS_OK) {
        clear_candidate(&s.best);
        return status;
    }
    *out = (gs_group_choice){.scheme = scheme, .alpha = s.best.alpha, .s = s.best.s, .act = s.best.trial.act,
                             .importance = s.best.importance, .error = (float)sqrt(s.least)};
    gs_free(s.best.spread);
    return GS_OK;
}
