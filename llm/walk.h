/* The forward walk: tokens through the embedding and every decoder block, one segment
 * materialised at a time. The head is not part of it (see eval/head.h: it never holds a row of
 * logits for every token).
 */
#ifndef GS_LLM_WALK_H
#define GS_LLM_WALK_H

#include <llm/model.h>
#include <network/exec.h>

/* tokens: [batch->rows] ids below the vocabulary; hidden: [rows, hidden] f32, written. done (may be
 * NULL) is called after each segment. The result does not depend on the team's size. */
typedef void gs_walk_done(void *ctx);
gs_status gs_walk_hidden(gs_context *cx, const gs_model *m, gs_gemm_type type, const int32_t *tokens,
                         const gs_batch *batch, float *hidden, gs_walk_done *done, void *done_ctx,
                         gs_error *err) GS_NODISCARD;

/* Bytes of activations that a walk holds for each token row, for choosing batch sizes. */
int64_t gs_walk_bytes_per_row(const gs_model *m);

#endif
