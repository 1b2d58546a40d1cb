/* The key-value cache in int8 (C8), as a stage around any algorithm: the inner one does what it does to the linears, and
 * each ATTENTION gets a CACHE node on its keys (after the rotary embedding) and on its values.
 *
 *   scale[j] = that of a symmetric static activation (act_quant.h; with compat, compat_quant.h) whose range is
 *              max |x_j| over all calibration rows, channel by channel; offset 0.
 * Keys are cached after the rotary embedding, which turns channels j and j + head_dim/2 into each other as positions grow:
 * a slow pair has turned little within the calibration sequences, and would clip in longer ones. So both channels of a
 * pair get the range sqrt(max|x_j|^2 + max|x_j'|^2), which no rotation leaves, unless config says that every position was
 * seen. With compat: plain maxima, as the tools do.
 * stored as F32 [width] params "<linear>.kv_cache_scale" and ".kv_cache_offset", after the linear that makes the keys or
 * values. A channel that was always 0 gets the least scale.
 */
#ifndef GS_PTQ_CACHE_QUANT_H
#define GS_PTQ_CACHE_QUANT_H

#include <ptq/comp_algo.h>
#include <ptq/ptq_config.h>
#include <ptq/smooth_quant.h>

/* Takes inner, also on failure. config, whose kvcache_quant_dtype must be INT8, and source_ctx are borrowed; source is
 * asked in decide, for the edges that ATTENTION reads at its inputs 1 and 2. GS_E_INVALID for another config. decide and
 * apply refuse what gs_cache_quant_check does. */
gs_status gs_cache_quant_create(const gs_ptq_config *config, gs_comp_algo *inner, gs_observer_source *source,
                                void *source_ctx, gs_comp_algo **out, gs_error *err) GS_NODISCARD;
/* GS_E_UNSUPPORTED for an attention whose keys or values are no output of a linear of their own. */
gs_status gs_cache_quant_check(const gs_net *net, gs_error *err) GS_NODISCARD;
/* The algorithm inside, or algo itself when it is no such stage. */
gs_comp_algo *gs_cache_quant_inner(gs_comp_algo *algo);

#endif
