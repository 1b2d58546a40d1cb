/* SmoothQuant: int8 weights and activations with the outliers of the activations moved into the weights
 * (Xiao et al. 2023), and everything else that needs calibration statistics: static activation scales,
 * the guard against linears that one static scale cannot serve, and the choice of weight scales by output error.
 *
 * It works on groups (edge_group.h): the linears that read one value share its factors and its scale.
 * decide, for each group of a segment, reads the group's observer and settles
 *   1. the factors s: none, those of a given alpha, or those of the alpha with the least objective
 *      (alpha_search.h) over sample rows: first a grid, then a finer one around the best; alpha 0 and 1 are the ends, and
 *      "no smoothing" is a candidate too. Where nothing can carry the factors the group is left unsmoothed, with the reason.
 *   2. the activation scale (act_quant.h) of x / s, W8A8 and W8A8_MIX only: from the extremes of its channels, or clipped by a
 *      percentile or by least mean square error over the sample rows;
 *   3. with fallback: whether the group stays with its scheme. A group whose output error (alpha_search.h) exceeds
 *      the threshold is to get the first permitted scheme, in the order W8A8_DYNAMIC, W8A16, FLOAT, that meets it.
 * Linears of an expert that no token reached keep a scheme that needs no data; instead of a static one they get the first
 * permitted one in the same order, unmeasured and outside the share; with experts_alike so do all experts of that layer, and
 * in other layers those whose error is too large stay as asked.
 * settle, once all segments were decided, lets the worst groups fall back first until their share of the weights is used up.
 * apply folds the factors and replaces the linears, convert makes the bytes (linear_batch.h). The float function
 * of the net is unchanged by the factors, up to rounding.
 */
#ifndef GS_PTQ_SMOOTH_QUANT_H
#define GS_PTQ_SMOOTH_QUANT_H

#include <calibrate/observer.h>
#include <ptq/comp_algo.h>
#include <ptq/ptq_config.h>

typedef enum gs_smoothing { GS_SMOOTHING_NONE, GS_SMOOTHING_FIXED, GS_SMOOTHING_AUTO } gs_smoothing;
typedef enum gs_range_rule { GS_RANGE_MINMAX, GS_RANGE_PERCENTILE, GS_RANGE_MSE } gs_range_rule;
typedef enum gs_fallback { GS_FALLBACK_NONE, GS_FALLBACK_AUTO, GS_FALLBACK_LIST } gs_fallback;

typedef struct gs_smooth_quant_options {
    gs_smoothing smoothing;
    float alpha;                 /* FIXED: in [0, 1] */
    gs_range_rule range;
    double percentile;           /* PERCENTILE: in (50, 100] */
    bool act_symmetric;
    bool refine;                 /* weight scales by output error (row_quant.h) */
    gs_fallback fallback;
    const char *const *fallback_list; /* LIST: words in the names of linears; borrowed */
    size_t fallback_count;
    double fallback_threshold;   /* AUTO and LIST: largest output error allowed */
    double fallback_share;       /* AUTO: largest share of the weights to be quantized that may fall back */
    bool experts_alike;          /* the experts of a layer keep one scheme: fallbacks are for all of them or none */
    unsigned fallback_schemes;   /* bit i: gs_scheme i is permitted beside the config's own; FLOAT always is */
} gs_smooth_quant_options;

/* Where statistics come from: a copy of the edge's observer, for the algorithm to clear, also on failure. Asked in
 * decide, and with `refine` again in convert. */
typedef gs_status gs_observer_source(void *ctx, const char *edge, gs_observer *out, gs_error *err);

/* config, the lists and ctx are borrowed for the algorithm's life. GS_E_INVALID for settings that contradict,
 * for scales by groups, and with config->compat for whatever the tools do not do: searches, refinement, clipping. */
gs_status gs_smooth_quant_create(const gs_ptq_config *config, const gs_smooth_quant_options *options,
                                 gs_observer_source *source, void *source_ctx, gs_comp_algo **out,
                                 gs_error *err) GS_NODISCARD;

/* Folds the decided factors into a float segment and leaves it float: the net whose function must be the same. In f32
 * whatever config->compat says. */
gs_status gs_smooth_quant_fold(gs_comp_algo *algo, gs_net *net, gs_error *err) GS_NODISCARD;

#endif
