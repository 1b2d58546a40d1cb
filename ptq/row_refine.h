/* Weight codes chosen by the error they leave in the layer's output, by coordinate descent: the row scale stays, and
 * each code may move by one step where that lowers
 *
 *     J(q) = sum_r (x_r . e)^2 + lambda sum_j P_j e_j^2,   e = w - s q,   P_j = R E[x_j^2]
 *
 * over R sample rows x of what the linear reads. The first term is the error of the row's output on the samples; the
 * second, the same error for inputs that do not correlate (row_quant.h), keeps a few samples from being fitted where
 * they say nothing. (One coordinate at a time as in QuantEase, Behdin et al. 2023, eq. 6, from round to nearest.)
 *
 * A step is taken only when it lowers J; a code stays within one step of w / s and within [-127, 127], or where it was.
 * Passes go over the columns in order of falling P_j, at most GS_REFINE_PASSES times or until one changes
 * nothing. All sums in f32, in the lane order of kernels/kernels.h; the result does not depend on threads. It may
 * depend on the processor only as the samples do.
 */
#ifndef GS_PTQ_ROW_REFINE_H
#define GS_PTQ_ROW_REFINE_H

#include <base/error.h>

enum { GS_REFINE_PASSES = 4 };

/* The samples of one edge, shared by all linears that read it. Read-only while rows are refined. */
typedef struct gs_refine_samples {
    int64_t rows, k;  /* rows: a multiple of 16, padded with zeros */
    float *xt;        /* [k, rows]: column j of the samples is contiguous */
    float *power;     /* [k]: sum_r x_rj^2 */
    float *prior;     /* [k]: lambda P_j */
    int32_t *order;   /* [k]: columns by falling P_j, the earlier of equals first */
} gs_refine_samples;

/* x: [n, k] sample rows; mean_square: [k], E[x_j^2]; both as the quantized linear will read them. */
gs_status gs_refine_samples_init(gs_refine_samples *s, int64_t n, int64_t k, const float *x, const float *mean_square,
                                 gs_error *err) GS_NODISCARD;
void gs_refine_samples_clear(gs_refine_samples *s); /* safe on a zeroed struct */

/* w: [k]; q: [k] codes for `scale`, changed. work: [k + rows]. Returns how many steps were taken. */
int64_t gs_row_refine(const gs_refine_samples *s, const float *w, float scale, int8_t *q, float *work);

#endif
