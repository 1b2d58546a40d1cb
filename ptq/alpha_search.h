/* The settings of one group (edge_group.h), chosen or measured by the error they leave in its outputs.
 *
 * objective(t) = sum_r e_t(r) / sum_r E(r) over sample rows r: the share of the outputs' energy that is lost.
 */
#ifndef GS_PTQ_ALPHA_SEARCH_H
#define GS_PTQ_ALPHA_SEARCH_H

#include <calibrate/observer.h>
#include <ptq/edge_group.h>
#include <ptq/smooth_quant.h>
#include <ptq/trial.h>

/* One group with everything a search needs, made once. */
typedef struct gs_group_data {
    const gs_edge_group *group;
    gs_node *const *linear;   /* [count] those that will be quantized */
    int count;
    const gs_observer *observer;
    const gs_smooth_quant_options *options;
    gs_row_rule rule;         /* convention and compute */
    float *act, *weight;      /* [site.channels] absmax, for smoothing; NULL without a site */
    float *x;                 /* [sample rows, width]; NULL without samples */
} gs_group_data;

gs_status gs_group_data_init(gs_group_data *d, gs_context *cx, const gs_edge_group *group, gs_node *const *linear,
                             int count, const gs_observer *observer, const gs_smooth_quant_options *options,
                             gs_scale_convention convention, gs_dtype compute, gs_error *err) GS_NODISCARD;
void gs_group_data_clear(gs_group_data *d);

/* One way to treat the group, and how good it is. */
typedef struct gs_group_choice {
    gs_scheme scheme;
    float alpha;        /* NAN: not smoothed */
    float *s;           /* [site.channels], owned; NULL: not smoothed */
    gs_act_params act;  /* W8A8 */
    float *importance;  /* [width], owned; NULL unless refined */
    float error;        /* sqrt(objective); NAN: not measured */
} gs_group_choice;
void gs_group_choice_clear(gs_group_choice *c); /* safe on a zeroed struct */

/* The best choice for a scheme under the data's options (alpha none, fixed or searched). W8A16 is never
 * smoothed. Without sample rows the error is NAN, and a search is GS_E_INVALID. */
gs_status gs_group_choose(gs_context *cx, const gs_group_data *d, gs_scheme scheme, gs_exec_drop *drop,
                          void *drop_ctx, gs_group_choice *out, gs_error *err) GS_NODISCARD;

#endif
