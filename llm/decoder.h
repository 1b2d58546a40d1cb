/* Builds the IR of one segment from a NetworkHelper row (internal to llm/). */
#ifndef GS_LLM_DECODER_H
#define GS_LLM_DECODER_H

#include <llm/settings.h>
#include <loaders/checkpoint.h>

/* What a segment is built from. Without a checkpoint its params are planned: named and shaped, type F32, no bytes. */
typedef struct gs_decoder_source {
    const gs_decoder_settings *settings;
    const gs_checkpoint *checkpoint; /* NULL: a blueprint */
} gs_decoder_source;

gs_status gs_decoder_embed(const gs_decoder_source *s, gs_net **out, gs_error *err) GS_NODISCARD;
gs_status gs_decoder_block(const gs_decoder_source *s, int layer, gs_net **out, gs_error *err) GS_NODISCARD;
/* tied: the projection reads the embedding's tensor. */
gs_status gs_decoder_head(const gs_decoder_source *s, bool tied, gs_net **out, gs_error *err) GS_NODISCARD;

/* Which channels of a fused projection are queries, keys and values: attributes of the three SLICE nodes. */
void gs_decoder_qkv_slices(const gs_network_helper *helper, int64_t heads, int64_t kv_heads, int64_t head_dim, gs_attr slice[3]);

#endif
