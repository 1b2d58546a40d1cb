/* Smoothing as the original tools do it, beside smooth_scale.h and gs_edge_group_smooth (see compat_quant.h for R).
 *
 * Factors of a channel j from A_j = max|x_j| and W_j:
 *   msModelSlim   s_j = max(R(R(A^alpha) / R(W^(1 - alpha))), 1e-5), W at least 1e-5; where several channels share a factor
 *                 (grouped heads) their mean, summed in channel order in f32. W_j = max|w[:, j]|; V1: the signed maximum
 *                 where rows of a linear take the factors, and rows that have been given factors are seen with them
 *   Golden Stick  A and W are first the largest of the channels that share a factor; s_j as above without a lower bound of
 *                 W, and 1 where either power is 0
 * Powers are the C library's powf; the tools' differ from them by an ulp here and there.
 */
#ifndef GS_PTQ_COMPAT_SMOOTH_H
#define GS_PTQ_COMPAT_SMOOTH_H

#include <ptq/edge_group.h>
#include <ptq/ptq_config.h>

/* W_j over the linears, [width]; reads each weight once, on one thread. GS_E_NUMERIC for NaN or infinity. */
gs_status gs_compat_column_max(gs_compat tool, gs_dtype r, const gs_edge_group *g, gs_node *const *linear, int count,
                               float *out, gs_error *err) GS_NODISCARD;
/* act, weight: [width]; s: [site.channels], values of R, positive and finite for finite act and weight. */
gs_status gs_compat_factors(gs_compat tool, gs_dtype r, const gs_edge_group *g, const float *act, const float *weight,
                            double alpha, float *s, gs_error *err) GS_NODISCARD;
/* As gs_edge_group_smooth: V1 and Golden Stick multiply the site by R(1 / s), V0 divides it by s. A norm's weight is replaced
 * by the products or quotients; rows of a linear get the factors R(1 / s), for whoever knows s to divide instead
 * (gs_linear_decision). */
gs_status gs_compat_fold(gs_compat tool, gs_dtype r, gs_net *net, const gs_edge_group *g, const float *s, gs_error *err) GS_NODISCARD;

#endif
