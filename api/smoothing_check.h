/* Does smoothing leave the float network's function alone? Measured, not assumed. */
#ifndef GS_API_SMOOTHING_CHECK_H
#define GS_API_SMOOTHING_CHECK_H

#include <base/context.h>
#include <ptq/comp_algo.h>

/* Runs the float model and the model with the algorithm's factors folded in (nothing quantized) over `count` tokens,
 * both in f32: *change = max |logit - logit'| / max |logit|. path: the model's, opened once more. tokens: [count], at
 * least one. */
gs_status gs_smoothing_check(gs_context *cx, const char *path, gs_comp_algo *algo, const int32_t *tokens,
                             int64_t count, double *change, gs_error *err) GS_NODISCARD;

#endif
