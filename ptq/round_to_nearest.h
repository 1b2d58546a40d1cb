/* RoundToNearest: weights to int8, per output channel or per group of columns, symmetric; activations float (W8A16) or scaled
 * token by token at run time (W8A8_DYNAMIC). No data needed. apply and convert as linear_batch.h states.
 */
#ifndef GS_PTQ_ROUND_TO_NEAREST_H
#define GS_PTQ_ROUND_TO_NEAREST_H

#include <ptq/comp_algo.h>
#include <ptq/ptq_config.h>

/* config and what it points to are borrowed for the algorithm's life. GS_E_INVALID when the
 * config asks for what needs calibration, or for other weights than int8 or float. */
gs_status gs_round_to_nearest_create(const gs_ptq_config *config, gs_comp_algo **out, gs_error *err) GS_NODISCARD;

#endif
