/* Builds the IR of one segment from a NetworkHelper row (internal to llm/). */
#ifndef GS_LLM_DECODER_H
#define GS_LLM_DECODER_H

#include <llm/helpers/network_helper.h>
#include <loaders/checkpoint.h>

gs_status gs_decoder_embed(const gs_network_helper *h, const gs_checkpoint *c, gs_net **out, gs_error *err) GS_NODISCARD;
gs_status gs_decoder_block(const gs_network_helper *h, const gs_checkpoint *c, int layer, gs_net **out, gs_error *err) GS_NODISCARD;
/* tied: the projection reads the embedding's tensor. */
gs_status gs_decoder_head(const gs_network_helper *h, const gs_checkpoint *c, bool tied, gs_net **out, gs_error *err) GS_NODISCARD;

#endif
