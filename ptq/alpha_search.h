/* The settings of one group (edge_group.h), chosen and measured by the error they leave in its outputs.
 *
 * For an alpha, and in general between ways to do the same:
 *     objective = sum_r e(r) / sum_r E(r)   over sample rows r, e and E as in trial.h,
 * the share of the outputs' energy that is lost. For whether the result is good enough:
 *     output error = sqrt(mean_r e(r) / F(r))   over rows whose outputs are not all zeros
 * with F(r) the energy of the value that the outputs end up in: of the sum, when they are added to something (a
 * residual stream), else of the outputs. An error that is large beside a small output may be nothing in a large sum, and the
 * other way round.
 *
 * Static activations are judged on data they were not fitted to: factors and range are fitted on one half of the
 * calibration data and measured on sample rows of the other, both ways, and the two sums are added; the
 * setting that wins is then fitted on all of it. Judged on its own data, a search drives every channel to the end of its range,
 * and the first unseen token clips. Statistics without two halves are judged on themselves.
 */
#ifndef GS_PTQ_ALPHA_SEARCH_H
#define GS_PTQ_ALPHA_SEARCH_H

#include <calibrate/observer.h>
#include <ptq/edge_group.h>
#include <ptq/smooth_quant.h>
#include <ptq/trial.h>

/* A part of the calibration data. */
typedef struct gs_group_view {
    const float *min, *max; /* [width] */
    float *act;             /* [site.channels] absmax, owned; with compat [width]; NULL: no smoothing */
    const float *x;         /* [rows, width] sample rows; NULL without */
    const float *energy;    /* [rows] of what their outputs end up in; 0: unknown */
    int64_t rows;
} gs_group_view;

enum { GS_VIEW_FIRST, GS_VIEW_SECOND, GS_VIEW_ALL, GS_VIEWS };

/* One group with everything a search needs, made once. */
typedef struct gs_group_data {
    const gs_edge_group *group;
    gs_node *const *linear;   /* [count] those that will be quantized */
    int count;
    const gs_observer *observer;
    const gs_smooth_quant_options *options;
    gs_row_rule rule;         /* without importance */
    float *weight;            /* [site.channels] absmax; with compat [width], the tool's maxima; NULL: no smoothing */
    float *x;                 /* [sample rows, width], the first half's rows before the second's; NULL without */
    float *energy;            /* [sample rows] in the same order */
    gs_group_view view[GS_VIEWS];
} gs_group_data;

gs_status gs_group_data_init(gs_group_data *d, gs_context *cx, const gs_edge_group *group, gs_node *const *linear,
                             int count, const gs_observer *observer, const gs_smooth_quant_options *options,
                             const gs_row_rule *rule, gs_error *err) GS_NODISCARD;
void gs_group_data_clear(gs_group_data *d);

/* One way to treat the group, and how good it is. */
typedef struct gs_group_choice {
    gs_scheme scheme;
    float alpha;        /* NAN: not smoothed */
    float *s, *spread;  /* [site.channels], and [width] spread out; owned; NULL: not smoothed */
    gs_act_params act;  /* static */
    float *importance;  /* [width], owned; NULL unless refined */
    float error;        /* output error; NAN: not measured */
} gs_group_choice;
void gs_group_choice_clear(gs_group_choice *c); /* safe on a zeroed struct */

/* The best choice for a scheme under the data's options (alpha none, fixed or searched). W8A16 is never
 * smoothed. Without sample rows the error is NAN, and a search is GS_E_INVALID. */
gs_status gs_group_choose(gs_context *cx, const gs_group_data *d, gs_scheme scheme, gs_exec_drop *drop,
                          void *drop_ctx, gs_group_choice *out, gs_error *err) GS_NODISCARD;

#endif
