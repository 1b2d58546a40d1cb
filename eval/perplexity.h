/* Perplexity of a model on token ids, and its divergence from a reference model.
 *
 * Two named protocols:
 *   WINDOWS    non-overlapping windows of `window` tokens (default 2048), every token but the
 *              first of a window is scored: the protocol of the GPTQ papers (Frantar et al. 2022);
 *   LLAMA_CPP  windows of 512, scored are the predictions from the middle on, as llama-perplexity
 *              does: with `first` = window/2, tokens first+1 .. window-1; with a BOS the first
 *              token of each window is replaced by it.
 * A rest shorter than a window is dropped, unless it is all there is.
 *
 *   nll = mean of -ln p(token | window so far); ppl = exp(nll);
 *   ppl_stderr = ppl * sqrt(var(nll_i) / (n - 1))        (delta method)
 *   KL(ref || model) per scored position over the whole vocabulary, natural log.
 *   delta_ppl_stderr: delta method on the paired per-token values, with their covariance.
 *
 * Memory: window groups sized by the context's budget; never a T x T or a T x V matrix. Both
 * models are computed group by group in the same pass.
 */
#ifndef GS_EVAL_PERPLEXITY_H
#define GS_EVAL_PERPLEXITY_H

#include <base/context.h>
#include <kernels/gemm/gemm.h>
#include <llm/model.h>

typedef enum gs_protocol { GS_PROTOCOL_WINDOWS, GS_PROTOCOL_LLAMA_CPP } gs_protocol;

typedef struct gs_eval_options {
    gs_gemm_type type;
    gs_protocol protocol;
    int64_t window;        /* 0: the protocol's default, at most the model's positions */
    int64_t max_windows;   /* 0: all */
    int32_t bos;           /* for LLAMA_CPP: replaces each window's first token; -1: none */
    const char *dump_logits; /* [tokens, vocab] f32 of the model, every position, or NULL */
} gs_eval_options;

/* tokens: [count] ids, all in [0, vocab). reference may be NULL; its vocabulary must be as large.
 * GS_E_INVALID when there are fewer than two tokens or an id is out of range. */
gs_status gs_eval_perplexity(gs_context *cx, const gs_model *model, const gs_model *reference,
                             const gs_eval_options *options, const int32_t *tokens, int64_t count,
                             gs_eval_result *result, gs_error *err) GS_NODISCARD;

#endif
