/* A decoder-only language model on disk, seen as a list of segments: the embedding, decoder
 * blocks 0..layers-1, and the head (final norm and output projection). A segment is an IR net
 * whose params view the checkpoint: building one costs no weight memory, and only the segment
 * that a walk is working on is ever materialised.
 *
 * A rewrite, when set, changes each segment right after it is built: this is how a quantized
 * bundle becomes the same network with other nodes. Read-only after open; one thread a net.
 */
#ifndef GS_LLM_MODEL_H
#define GS_LLM_MODEL_H

#include <llm/helpers/network_helper.h>
#include <loaders/checkpoint.h>
#include <network/net.h>

typedef struct gs_model gs_model;
typedef gs_status gs_model_rewrite(void *ctx, gs_net *segment, gs_error *err);

typedef enum gs_segment_kind { GS_SEGMENT_EMBED, GS_SEGMENT_BLOCK, GS_SEGMENT_HEAD } gs_segment_kind;

/* The same network without a checkpoint: segment i of what config.json describes, its params planned (name, shape; type
 * F32, which stands for any float) but without bytes. The head of a tied model has the embedding's param name. What a
 * verifier holds a bundle against. *segments: how many there are; may be NULL. */
gs_status gs_model_blueprint(const gs_model_config *config, int i, gs_net **out, int *segments, gs_error *err) GS_NODISCARD;
/* The same with a row given at run time (gs_network_helper_find); extra may be NULL. */
gs_status gs_model_blueprint_as(const gs_network_helper *extra, const gs_model_config *config, int i, gs_net **out,
                                int *segments, gs_error *err) GS_NODISCARD;

/* Takes the checkpoint (closes it with the model, also on failure). Tensors under a row's alternative names are
 * presented under its first ones. Every tensor that the
 * architecture needs must be there with the right shape, and no unknown one: the error names it.
 * rewrite may be NULL. */
gs_status gs_model_take(gs_checkpoint *checkpoint, gs_model_rewrite *rewrite, void *rewrite_ctx,
                        gs_model **out, gs_error *err) GS_NODISCARD;
/* The same with a row given at run time (gs_network_helper_find), which stays as long as the model; extra may be NULL. */
gs_status gs_model_take_as(const gs_network_helper *extra, gs_checkpoint *checkpoint, gs_model_rewrite *rewrite,
                           void *rewrite_ctx, gs_model **out, gs_error *err) GS_NODISCARD;
void gs_model_close(gs_model *m);
/* Of a checkpoint that nobody makes a model of: its tensors are presented as gs_model_take presents them. *helper: its row. */
gs_status gs_model_rename(const gs_network_helper *extra, gs_checkpoint *checkpoint, const gs_network_helper **helper,
                          gs_error *err) GS_NODISCARD;

const gs_checkpoint *gs_model_checkpoint(const gs_model *m);
const gs_model_config *gs_model_settings(const gs_model *m);
const gs_network_helper *gs_model_helper(const gs_model *m);
int64_t gs_model_parameters(const gs_model *m); /* elements, tied ones once */

int gs_model_segments(const gs_model *m);
gs_segment_kind gs_model_segment_kind(const gs_model *m, int i);
/* A fresh net with inferred dims; the caller destroys it.
 *   EMBED: tokens [] -> [hidden];  BLOCK: [hidden] -> [hidden];
 *   HEAD: [hidden] -> [vocab], its last nodes the output projection and elementwise ones behind it. */
gs_status gs_model_segment(const gs_model *m, int i, gs_net **out, gs_error *err) GS_NODISCARD;

#endif
