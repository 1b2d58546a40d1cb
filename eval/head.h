/* The head, streamed: final norm, then the vocabulary in blocks (the projection, and the SCALE and SOFTCAP nodes behind
 * it), with an
 * online log-softmax per row -- logits exist for one block of rows and one block of the
 * vocabulary at a time, and so does the projection's weight.
 *
 * Online log-sum-exp (Milakov and Gimelshein 2018): keep the running maximum m and
 * Z = sum exp(l - m); a block with a larger maximum rescales Z by exp(m_old - m_new). For
 * KL(p||q) = sum p (l_p - l_q) - ln Z_p + ln Z_q the sum A = sum exp(l_p - m_p)(l_p - l_q) is
 * kept the same way.
 */
#ifndef GS_EVAL_HEAD_H
#define GS_EVAL_HEAD_H

#include <base/context.h>
#include <base/file.h>
#include <kernels/gemm/gemm.h>
#include <llm/model.h>

/* Per scored row, by the model (q) and, with a reference, by it (p). */
typedef struct gs_row_score {
    double nll, ref_nll, kld;
    bool agree;
} gs_row_score;

/* Where the model's logits go, or NULL: row r of the call at (row0 + r) * vocab floats. */
typedef struct gs_logit_dump {
    gs_outfile *file;
    int64_t row0;
} gs_logit_dump;

/* hidden (and ref_hidden, NULL without reference): [rows, hidden] f32 as the last block left
 * them; overwritten by their norm. target: [rows] token ids; a negative one marks a row that is
 * not scored. scores: [rows]. */
gs_status gs_head_score(gs_context *cx, const gs_model *model, const gs_model *reference,
                        gs_gemm_type type, int64_t rows, float *hidden, float *ref_hidden,
                        const int32_t *target, const gs_logit_dump *dump, gs_row_score *scores,
                        gs_error *err) GS_NODISCARD;

/* How far apart two models' logits are, nothing scored: max |q - p| and max |p| over all rows and the vocabulary.
 * hidden and ref_hidden as above. */
gs_status gs_head_change(gs_context *cx, const gs_model *model, const gs_model *reference, gs_gemm_type type,
                         int64_t rows, float *hidden, float *ref_hidden, float *change, float *largest,
                         gs_error *err) GS_NODISCARD;

#endif
