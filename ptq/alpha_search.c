#include <ptq/alpha_search.h>

#include <base/mem.h>
#include <kernels/kernels.h>
#include <ptq/compat_quant.h>
#include <ptq/compat_smooth.h>
#include <ptq/smooth_scale.h>

#include <math.h>
#include <string.h>

enum { GRID = 21, FINE = 3, MOST = GRID + 1 };
static const float FINE_STEP = 0.0125f;

/* ---- what every candidate is made from ---- */

void gs_group_data_clear(gs_group_data *d) {
    for (int v = 0; v < GS_VIEWS; v++) gs_free(d->view[v].act);
    gs_free(d->weight);
    gs_free(d->x);
    gs_free(d->energy);
    *d = (gs_group_data){0};
}

/* Sample rows as f32, those of the first half first. */
static gs_status widen_samples(gs_group_data *d, gs_error *err) {
    const gs_observer *o = d->observer;
    int64_t width = o->width, at = 0;
    size_t cells = (size_t)o->sample_rows * (size_t)width;
    if (cells == 0) return GS_OK;
    d->x = gs_calloc(cells, sizeof *d->x);
    d->energy = gs_calloc((size_t)o->sample_rows, sizeof *d->energy);
    if (!d->x || !d->energy) return gs_error_nomem(err, cells * sizeof *d->x);
    for (int half = 0; half < 2; half++) {
        d->view[half].x = d->x + at * width;
        d->view[half].energy = d->energy + at;
        for (int64_t r = 0; r < o->sample_rows; r++) {
            if (o->sample_fold[r] != half) continue;
            gs_kernels_get()->convert_bf16_f32(width, o->sample + r * width, d->x + at * width);
            d->energy[at++] = o->sample_energy[r];
            d->view[half].rows++;
        }
    }
    d->view[GS_VIEW_ALL].x = d->x;
    d->view[GS_VIEW_ALL].energy = d->energy;
    d->view[GS_VIEW_ALL].rows = o->sample_rows;
    return GS_OK;
}

/* Largest |x| of each channel that can carry a factor; an empty half has zeros. */
static gs_status view_absmax(const gs_group_data *d, gs_group_view *v, float *wide, gs_error *err) {
    const gs_edge_group *g = d->group;
    v->act = gs_calloc((size_t)g->width, sizeof *v->act); /* channels <= width */
    if (!v->act) return gs_error_nomem(err, (size_t)g->width * sizeof *v->act);
    for (int64_t j = 0; j < g->width; j++)
        wide[j] = v->min[j] <= v->max[j] ? fmaxf(fabsf(v->min[j]), fabsf(v->max[j])) : 0.0f;
    if (d->rule.compat) memcpy(v->act, wide, (size_t)g->width * sizeof *wide);
    else gs_edge_group_fold_max(g, wide, v->act);
    return GS_OK;
}

static gs_status weight_maxima(gs_group_data *d, gs_context *cx, float *wide, gs_error *err) {
    const gs_edge_group *g = d->group;
    if (d->rule.compat)
        return gs_compat_column_max(d->rule.compat, d->rule.compute, g, d->linear, d->count, d->weight, err);
    GS_TRY(gs_column_absmax(cx, d->linear, d->count, g->width, wide, err));
    gs_edge_group_fold_max(g, wide, d->weight);
    return GS_OK;
}

static gs_status measure_channels(gs_group_data *d, gs_context *cx, gs_error *err) {
    const gs_edge_group *g = d->group;
    if (!g->site.node || d->options->smoothing == GS_SMOOTHING_NONE) return GS_OK;
    float *wide = gs_calloc((size_t)g->width, sizeof *wide);
    d->weight = gs_calloc((size_t)g->width, sizeof *d->weight);
    gs_status status = wide && d->weight ? GS_OK : gs_error_nomem(err, (size_t)g->width * sizeof *wide);
    for (int v = 0; v < GS_VIEWS && status == GS_OK; v++) status = view_absmax(d, &d->view[v], wide, err);
    if (status == GS_OK) status = weight_maxima(d, cx, wide, err);
    gs_free(wide);
    return status;
}

gs_status gs_group_data_init(gs_group_data *d, gs_context *cx, const gs_edge_group *group, gs_node *const *linear,
                             int count, const gs_observer *observer, const gs_smooth_quant_options *options,
                             const gs_row_rule *rule, gs_error *err) {
    int64_t width = group->width;
    *d = (gs_group_data){.group = group, .linear = linear, .count = count, .observer = observer, .options = options,
                         .rule = *rule};
    if (observer->width != width)
        return GS_FAIL(err, GS_E_FORMAT, "statistics of '%s' are of %lld channels, its linears read %lld",
                       group->edge->name, (long long)observer->width, (long long)width);
    for (int half = 0; half < 2; half++) {
        d->view[half].min = observer->fold_min + half * width;
        d->view[half].max = observer->fold_max + half * width;
    }
    d->view[GS_VIEW_ALL].min = observer->min;
    d->view[GS_VIEW_ALL].max = observer->max;
    gs_status status = widen_samples(d, err);
    if (status == GS_OK) status = measure_channels(d, cx, err);
    if (status != GS_OK) gs_group_data_clear(d);
    return status;
}

void gs_group_choice_clear(gs_group_choice *c) {
    gs_free(c->s);
    gs_free(c->spread);
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
static gs_status sample_range(const gs_group_data *d, const gs_group_view *v, const float *spread, float *lo,
                              float *hi, gs_error *err) {
    int64_t width = d->group->width;
    gs_observer smoothed = {0};
    float *row = gs_calloc((size_t)width, sizeof *row);
    gs_status status = row ? gs_observer_init(&smoothed, d->group->edge->name, width, 0, err)
                           : gs_error_nomem(err, (size_t)width * sizeof *row);
    for (int64_t r = 0; r < v->rows && status == GS_OK; r++) {
        for (int64_t j = 0; j < width; j++) row[j] = v->x[r * width + j] / spread[j];
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

static gs_status find_range(const gs_group_data *d, const gs_group_view *v, const float *spread, float *lo,
                            float *hi, gs_error *err) {
    if (d->options->range != GS_RANGE_MINMAX && spread) {
        if (!v->rows)
            return GS_FAIL(err, GS_E_INVALID, "'%s': a clipped range of smoothed activations needs sample rows, the "
                           "statistics have none", d->group->edge->name);
        return sample_range(d, v, spread, lo, hi, err);
    }
    if (d->options->range == GS_RANGE_PERCENTILE && !spread) {
        gs_observer_percentile(d->observer, d->options->percentile, lo, hi);
        return GS_OK;
    }
    if (d->options->range == GS_RANGE_MSE && !spread) {
        gs_observer_mse(d->observer, d->options->act_symmetric, lo, hi);
        return GS_OK;
    }
    *lo = INFINITY;
    *hi = -INFINITY;
    for (int64_t j = 0; j < d->group->width; j++) {
        float s = spread ? spread[j] : 1.0f;
        *lo = fminf(*lo, v->min[j] / s);
        *hi = fmaxf(*hi, v->max[j] / s);
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

static gs_status smooth_candidate(const gs_group_data *d, const gs_group_view *v, candidate *c, gs_error *err) {
    const gs_edge_group *g = d->group;
    c->s = gs_calloc((size_t)g->site.channels, sizeof *c->s);
    c->spread = gs_calloc((size_t)g->width, sizeof *c->spread);
    if (!c->s || !c->spread) return gs_error_nomem(err, (size_t)g->width * sizeof *c->s);
    if (d->rule.compat) {
        GS_TRY(gs_compat_factors(d->rule.compat, d->rule.compute, g, v->act, d->weight, (double)c->alpha, c->s, err));
    } else {
        gs_smooth_scales(g->site.channels, v->act, d->weight, c->alpha, c->s);
        GS_TRY(gs_smooth_scales_fit(g, d->rule.compute, c->s, err));
    }
    gs_edge_group_spread(g, c->s, c->spread);
    return GS_OK;
}

static gs_status make_candidate(const gs_group_data *d, const gs_group_view *v, gs_scheme scheme, float alpha,
                                candidate *c, gs_error *err) {
    *c = (candidate){.alpha = alpha};
    if (!isnan(alpha)) GS_TRY(smooth_candidate(d, v, c, err));
    if (d->options->refine) GS_TRY(make_importance(d, c, err));
    c->trial = (gs_trial){.scheme = scheme, .smooth = c->spread, .rule = d->rule};
    c->trial.rule.importance = c->importance;
    if (!gs_scheme_is_static(scheme)) return GS_OK;
    float lo, hi;
    GS_TRY(find_range(d, v, c->spread, &lo, &hi, err));
    bool symmetric = d->options->act_symmetric;
    c->trial.act = d->rule.compat ? gs_compat_act(d->rule.compat, d->rule.compute, lo, hi, symmetric)
                                  : gs_act_params_from_range(lo, hi, symmetric, d->rule.compute);
    return GS_OK;
}

/* ---- comparing them ---- */

typedef struct search {
    gs_context *cx;
    const gs_group_data *d;
    gs_scheme scheme;
    gs_exec_drop *drop;
    void *drop_ctx;
} search;

/* What candidates lose, summed over rows. */
typedef struct tally {
    double lost[MOST], relative[MOST]; /* sum of e, and of e / F */
    double all;                        /* sum of E */
    int64_t rows;                      /* that have some energy */
} tally;

static void count_rows(tally *t, int n, const gs_group_view *v, const double *error, const double *energy) {
    for (int64_t r = 0; r < v->rows; r++) {
        double ends_in = v->energy[r] > 0 ? (double)v->energy[r] : energy[r];
        t->all += energy[r];
        t->rows += energy[r] > 0; /* a row of zeros tells nothing */
        for (int i = 0; i < n; i++) {
            double e = error[i * v->rows + r];
            t->lost[i] += e;
            t->relative[i] += ends_in > 0 ? e / ends_in : e > 0 ? INFINITY : 0;
        }
    }
}

/* Adds what candidates lose on the rows of a view. */
static gs_status add_losses(const search *s, const candidate *c, int n, const gs_group_view *v, tally *t,
                            gs_error *err) {
    const gs_group_data *d = s->d;
    gs_trial trial[MOST];
    for (int i = 0; i < n; i++) trial[i] = c[i].trial;
    gs_trial_set set = {.linear = d->linear, .count = d->count, .x = v->x, .rows = v->rows, .k = d->group->width,
                        .trial = trial, .trials = n, .drop = s->drop, .drop_ctx = s->drop_ctx};
    size_t cells = (size_t)n * (size_t)v->rows;
    double *error = gs_calloc(cells, sizeof *error), *energy = gs_calloc((size_t)v->rows, sizeof *energy);
    gs_status status = error && energy ? gs_trial_run(s->cx, &set, error, energy, err)
                                       : gs_error_nomem(err, cells * sizeof *error);
    if (status == GS_OK) count_rows(t, n, v, error, energy);
    gs_free(error);
    gs_free(energy);
    return status;
}

/* Alphas fitted on one view, judged on another. */
static gs_status judge(const search *s, const float *alpha, int n, int fit, int rows, tally *t, gs_error *err) {
    candidate c[MOST] = {0};
    gs_status status = GS_OK;
    for (int i = 0; i < n && status == GS_OK; i++)
        status = make_candidate(s->d, &s->d->view[fit], s->scheme, alpha[i], &c[i], err);
    if (status == GS_OK) status = add_losses(s, c, n, &s->d->view[rows], t, err);
    for (int i = 0; i < n; i++) clear_candidate(&c[i]);
    return status;
}

/* How good an alpha is. */
typedef struct score {
    double objective, error;
} score;

/* Values to fit on, and rows to judge by. */
static bool is_whole(const gs_group_view *v) { return v->rows && v->min[0] <= v->max[0]; }

static gs_status score_alphas(const search *s, const float *alpha, int n, score *out, gs_error *err) {
    const gs_group_view *v = s->d->view;
    tally t = {.all = 0};
    if (gs_scheme_is_static(s->scheme) && is_whole(&v[GS_VIEW_FIRST]) && is_whole(&v[GS_VIEW_SECOND])) {
        GS_TRY(judge(s, alpha, n, GS_VIEW_FIRST, GS_VIEW_SECOND, &t, err));
        GS_TRY(judge(s, alpha, n, GS_VIEW_SECOND, GS_VIEW_FIRST, &t, err));
    } else {
        GS_TRY(judge(s, alpha, n, GS_VIEW_ALL, GS_VIEW_ALL, &t, err));
    }
    for (int i = 0; i < n; i++) {
        out[i].objective = t.all > 0 ? t.lost[i] / t.all : t.lost[i] > 0 ? INFINITY : 0;
        out[i].error = t.rows ? sqrt(t.relative[i] / (double)t.rows) : t.relative[i];
    }
    return GS_OK;
}

/* The best alpha so far. */
typedef struct best {
    float alpha;
    score score;
} best;

/* Tries the given alphas against the best so far; the first of equals wins. */
static gs_status try_alphas(const search *s, const float *alpha, int n, best *b, gs_error *err) {
    score got[MOST];
    GS_TRY(score_alphas(s, alpha, n, got, err));
    for (int i = 0; i < n; i++)
        if (got[i].objective < b->score.objective) *b = (best){alpha[i], got[i]};
    return GS_OK;
}

static gs_status search_alpha(const search *s, best *b, gs_error *err) {
    float alpha[MOST];
    if (!s->d->x) {
        GS_FAIL(err, GS_E_INVALID, "'%s': a search for alpha needs sample rows, the statistics have none",
                s->d->group->edge->name);
        return gs_error_hint(err, "calibrate again, or give a fixed --alpha");
    }
    alpha[0] = NAN;
    for (int i = 0; i < GRID; i++) alpha[1 + i] = (float)i / (GRID - 1);
    GS_TRY(try_alphas(s, alpha, 1 + GRID, b, err));
    if (isnan(b->alpha)) return GS_OK;
    int n = 0;
    float middle = b->alpha;
    for (int i = -FINE; i <= FINE; i++) {
        float a = middle + (float)i * FINE_STEP;
        if (i != 0 && a >= 0 && a <= 1) alpha[n++] = a;
    }
    return try_alphas(s, alpha, n, b, err);
}

gs_status gs_group_choose(gs_context *cx, const gs_group_data *d, gs_scheme scheme, gs_exec_drop *drop,
                          void *drop_ctx, gs_group_choice *out, gs_error *err) {
    search s = {.cx = cx, .d = d, .scheme = scheme, .drop = drop, .drop_ctx = drop_ctx};
    bool smooth = d->weight && scheme != GS_SCHEME_W8A16;
    best b = {NAN, {INFINITY, d->x ? (double)INFINITY : (double)NAN}};
    candidate c;
    if (smooth && d->options->smoothing == GS_SMOOTHING_FIXED) b.alpha = d->options->alpha;
    if (smooth && d->options->smoothing == GS_SMOOTHING_AUTO)
        GS_TRY(search_alpha(&s, &b, err));
    else if (d->x)
        GS_TRY(score_alphas(&s, &b.alpha, 1, &b.score, err));
    gs_status status = make_candidate(d, &d->view[GS_VIEW_ALL], scheme, b.alpha, &c, err);
    if (status != GS_OK) {
        clear_candidate(&c);
        return status;
    }
    *out = (gs_group_choice){.scheme = scheme, .alpha = c.alpha, .s = c.s, .spread = c.spread,
                             .act = c.trial.act, .importance = c.importance, .error = (float)b.score.error};
    return GS_OK;
}
