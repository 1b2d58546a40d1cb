/* A checkpoint's tensor names held against a row's (internal to llm/). */
#ifndef GS_LLM_NAMES_H
#define GS_LLM_NAMES_H

#include <llm/settings.h>
#include <loaders/checkpoint.h>

/* Presents the tensors under the row's first names if they have its alternative ones (the alternative embedding is there
 * and the first is not), and says in the settings which fused linears are in parts: those that the alternative names lack,
 * or of which the first block has the parts under the row's own names (a bundle's reader may have renamed them). */
gs_status gs_names_settle(gs_checkpoint *checkpoint, gs_decoder_settings *settings, gs_error *err) GS_NODISCARD;
/* "model.embed_tokens.weight"; false when it does not fit. */
bool gs_names_embedding(const gs_helper_names *names, char *out, size_t size);
/* One more than the highest layer of any tensor. */
int64_t gs_names_layers(const gs_helper_names *names, const gs_checkpoint *checkpoint);

#endif
