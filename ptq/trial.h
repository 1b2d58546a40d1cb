/* Trying out ways to quantize the linears of one group, on sample rows of what they read: the square error of
 * their outputs, row by row, computed with the consumer's integer arithmetic.
 *
 * error[t][r] = sum over all linears and outputs of (y - y_t)^2 for sample row r under trial t;
 *               infinite for a trial whose static constants do not fit 32 bits (act_quant.h);
 * energy[r]   = the same sum of y^2, y the float outputs. Biases are in neither.
 * Weights are read once, by panels of rows, whatever the number of trials; nothing larger than a panel
 * and the samples is held. Sums are in double in a fixed order: results do not depend on the team.
 */
#ifndef GS_PTQ_TRIAL_H
#define GS_PTQ_TRIAL_H

#include <base/context.h>
#include <network/exec.h>
#include <ptq/act_quant.h>
#include <ptq/row_quant.h>

typedef struct gs_trial {
    gs_scheme scheme;    /* W8A16, W8A8, W8A8_DYNAMIC, or W8A8_MIX: as W8A8, its decoding half */
    const float *smooth; /* [k] factors on the columns of the weights and 1/factors on x, or NULL; W8A16: NULL */
    gs_act_params act;   /* W8A8 */
    gs_row_rule rule;    /* its importance is of x / smooth */
} gs_trial;

typedef struct gs_trial_set {
    gs_node *const *linear; /* [count] LINEARs that read the same edge */
    int count;
    const float *x;         /* [rows, k] */
    int64_t rows, k;
    const gs_trial *trial;
    int trials;
    gs_exec_drop *drop; /* told of each weight once it was read; may be NULL */
    void *drop_ctx;
} gs_trial_set;

/* error: [trials, rows]; energy: [rows]; both written. */
gs_status gs_trial_run(gs_context *cx, const gs_trial_set *set, double *error, double *energy,
                       gs_error *err) GS_NODISCARD;

#endif
