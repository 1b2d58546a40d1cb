/* The linears of one segment on their way from LINEAR to QLINEAR: what every algorithm that
 * quantizes linears shares. plan changes the structure, convert makes the bytes.
 *
 * Params of a quantized linear, named "<node>.<role>" (ascend-bundles.md 3.4):
 *     weight        I8  [out, in]   all schemes
 *     weight_scale  F32 [out, 1]    all; [out, in / group] where scales are by groups
 *     weight_offset as weight_scale, zeros
 *     input_scale, input_offset F32 [1]   static: W8A8 and W8A8_MIX
 *     quant_bias    I32 [out]             static
 *     deq_scale     [out]                 static: F32 for bf16 consumers, else I64 with the f32's bits
 * A bias moves over. Rows are quantized as row_quant.h states, by blocks of rows over the team.
 * With `compat` (compat_quant.h): V0's scales and offsets are of the dtype `compute`, and V1's W8A8 stores neither
 * weight_scale nor weight_offset.
 */
#ifndef GS_PTQ_LINEAR_BATCH_H
#define GS_PTQ_LINEAR_BATCH_H

#include <ptq/act_quant.h>
#include <ptq/comp_algo.h>
#include <ptq/ptq_config.h>
#include <ptq/row_refine.h>

/* What is to become of one linear. */
typedef struct gs_linear_decision {
    gs_scheme scheme;            /* FLOAT: it stays, for `reason` */
    gs_scale_convention convention;
    gs_dtype compute, scale_dtype; /* as in gs_ptq_config */
    int64_t group;               /* columns that share a weight scale, a divisor of in; 0: all of them */
    gs_compat compat;            /* then the weight's factors are applied in the tool's order and dtype */
    const float *row_divisor;    /* [out] for a tool that divides rows by factors; borrowed until convert. NULL: none */
    gs_act_params act;           /* static */
    /* E[x_j^2] of the inputs, as the quantized linear will read them, to choose row scales by output error
     * (row_quant.h); borrowed until convert. NULL: plain rows */
    const float *importance;     /* [in] */
    /* codes by output error (row_refine.h), on the samples of the edge it reads; NULL: no. Borrowed until convert */
    const char *refine_edge;
    float alpha, output_error;   /* for the summary; NAN: none */
    bool fallback;               /* treated otherwise than asked, for `reason` */
    char reason[64];             /* "" when there is nothing to say */
} gs_linear_decision;

/* Whether a config's groups fit a linear of `in` columns; false: *d is made FLOAT with the reason, else the members of *d
 * that the config settles are set. */
bool gs_linear_decision_from(const gs_ptq_config *config, int64_t in, gs_linear_decision *d);

typedef struct gs_linear_batch gs_linear_batch;

gs_status gs_linear_batch_create(gs_linear_batch **out, gs_error *err) GS_NODISCARD;
void gs_linear_batch_destroy(gs_linear_batch *b); /* NULL ok */
/* Forgets everything planned. */
void gs_linear_batch_reset(gs_linear_batch *b);
/* Replaces `node` (a LINEAR), or leaves it; *d is copied. One with normalised rows stays float, whatever was decided. */
gs_status gs_linear_batch_plan(gs_linear_batch *b, gs_net *net, gs_node *node, const gs_linear_decision *d,
                               gs_error *err) GS_NODISCARD;
/* The samples of an edge, for the batch to clear. */
typedef gs_status gs_refine_source(void *ctx, const char *edge, gs_refine_samples *out, gs_error *err);

/* Fills in every planned param, adds a row to the algorithm's summary for each linear, tells its drop of each
 * view, and resets. GS_E_NUMERIC for NaN or infinity in a weight. source may be NULL when no linear is refined. */
gs_status gs_linear_batch_convert(gs_linear_batch *b, gs_comp_algo *algo, gs_context *cx, gs_refine_source *source,
                                  void *source_ctx, gs_error *err) GS_NODISCARD;

#endif
