/* Statistics of per-token scores (internal to eval/): from arrays of -ln p and KL to the
 * figures of gs_eval_result. Pure functions, summed in index order in double. */
#ifndef GS_EVAL_SCORE_H
#define GS_EVAL_SCORE_H

#include <eval/perplexity.h>

typedef struct gs_scores {
    int64_t count, capacity;
    double *nll;                     /* [count] of the model */
    double *ref_nll, *kld;           /* [count] with a reference, else NULL */
    int64_t agree;                   /* positions with the same most likely token */
} gs_scores;

gs_status gs_scores_init(gs_scores *s, int64_t capacity, bool compared, gs_error *err) GS_NODISCARD;
void gs_scores_clear(gs_scores *s);
/* Fills everything but window, windows, seconds. Sorts s->kld. GS_E_NUMERIC when a mean is not
 * finite. */
gs_status gs_scores_summarise(gs_scores *s, gs_eval_result *r, gs_error *err) GS_NODISCARD;

#endif
