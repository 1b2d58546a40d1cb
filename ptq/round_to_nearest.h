/* RoundToNearest: weights to int8, per output channel, symmetric, no data needed (W8A16).
 *
 * apply replaces each chosen LINEAR by a QLINEAR with planned params
 *     weight        I8  [out, in]
 *     weight_scale  F32 [out, 1]
 *     weight_offset F32 [out, 1], zeros
 * named "<node>.weight" and so on; a bias moves over. convert quantizes the rows as row_quant.h
 * states, by blocks of rows over the team.
 */
#ifndef GS_PTQ_ROUND_TO_NEAREST_H
#define GS_PTQ_ROUND_TO_NEAREST_H

#include <ptq/comp_algo.h>
#include <ptq/ptq_config.h>

/* config and what it points to are borrowed for the algorithm's life. GS_E_INVALID when the
 * config asks for more than int8 weights per channel. */
gs_status gs_round_to_nearest_create(const gs_ptq_config *config, gs_comp_algo **out, gs_error *err) GS_NODISCARD;

#endif
