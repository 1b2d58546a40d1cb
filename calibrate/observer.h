/* What is remembered about the values of one edge while calibration data streams past.
 *
 * Per channel (the last dimension): minimum, maximum, sum of |x|, sum of x^2 -- the sums in double, rows
 * in ascending order. Per tensor: minimum, maximum, and a histogram on the float's own bits
 * (gs_histogram), which needs no range in advance and adds up exactly. Per token: the largest absmax of any row and
 * the sum of absmax. And a sample: evenly spaced rows as bf16, for searches that need outputs.
 *
 * Everything but the sums is independent of the order of rows; the sums are taken column by column in
 * row order, so that nothing depends on the number of threads or on how rows are grouped.
 * NaN or infinity in a row: GS_E_NUMERIC with the edge, row and channel.
 *
 * Two observers of the same edge merge: extremes, sums, counts and histograms add up, samples are
 * laid end to end.
 */
#ifndef GS_CALIBRATE_OBSERVER_H
#define GS_CALIBRATE_OBSERVER_H

#include <base/error.h>
#include <base/team.h>

/* Bin of x != 0: its sign, exponent and first GS_HISTOGRAM_BITS mantissa bits; relative width 1/32.
 * Bins are numbered by ascending value: negative ones, then zero, then positive ones. |x| below
 * 2^GS_HISTOGRAM_LOW counts as zero, above 2^GS_HISTOGRAM_HIGH in the last bin. */
enum { GS_HISTOGRAM_BITS = 5, GS_HISTOGRAM_LOW = -24, GS_HISTOGRAM_HIGH = 24 };
enum { GS_HISTOGRAM_SIDE = (GS_HISTOGRAM_HIGH - GS_HISTOGRAM_LOW) << GS_HISTOGRAM_BITS,
       GS_HISTOGRAM_BINS = 2 * GS_HISTOGRAM_SIDE + 1 };
int gs_histogram_bin(float x);
/* Middle of a bin. */
float gs_histogram_value(int bin);

typedef struct gs_observer {
    char *name;       /* of the edge */
    int64_t width;    /* channels */
    int64_t rows;     /* seen */
    float *min, *max; /* [width]; +inf, -inf before the first row */
    /* The same of the two halves of the data, [2, width], so that a setting can be fitted on one and judged on the
     * other: rows that gs_observer_see gets belong to half `fold`, 0 or 1, which the caller sets. */
    float *fold_min, *fold_max;
    int fold;
    double *abs_sum, *square_sum; /* [width] */
    uint64_t *histogram;          /* [GS_HISTOGRAM_BINS] */
    double token_absmax_sum;      /* sum over rows of max_j |x_j| */
    float token_absmax_max;
    uint16_t *sample; /* [sample_rows, width] bf16 */
    uint8_t *sample_fold; /* [sample_rows]: the half each row is of */
    /* [sample_rows]: what the outputs computed from the row end up in, its sum of squares: set by who knows (the
     * stream); 0: unknown */
    float *sample_energy;
    int64_t sample_rows, sample_capacity;
} gs_observer;

/* width in [1, 2^31); sample_capacity: room for rows that gs_observer_keep will be given. On failure
 * *o is clear. */
gs_status gs_observer_init(gs_observer *o, const char *name, int64_t width, int64_t sample_capacity,
                           gs_error *err) GS_NODISCARD;
void gs_observer_clear(gs_observer *o); /* safe on a zeroed struct */
/* x: [n, width] f32, rows in ascending order from call to call; row0 is only for messages. Zeros
 * lose their sign in min and max. After GS_E_NUMERIC (the first bad row of the call, and its first bad
 * channel) o can only be cleared. */
gs_status gs_observer_see(gs_observer *o, gs_team *team, int64_t row0, int64_t n, const float *x,
                          gs_error *err) GS_NODISCARD;
/* Adds one row to the sample, rounded to nearest even: GS_E_INVALID beyond the capacity, GS_E_NUMERIC
 * when a value is not finite as bf16. x: [width]. */
gs_status gs_observer_keep(gs_observer *o, const float *x, gs_error *err) GS_NODISCARD;
/* Keeps every other row of the sample, beginning with the first. */
void gs_observer_thin(gs_observer *o);
/* Fills the sample up with rows of zeros, of half 0 and unknown energy. */
void gs_observer_pad(gs_observer *o);
/* into += from; names and widths must agree (GS_E_INVALID). The sample grows as needed. A failure
 * leaves `into` as it was. */
gs_status gs_observer_merge(gs_observer *into, const gs_observer *from, gs_error *err) GS_NODISCARD;

/* Extremes of the whole tensor. Before the first row this and the two searches below give +inf, -inf. */
void gs_observer_range(const gs_observer *o, float *min, float *max);
/* Of one channel; 0 before the first row. */
float gs_observer_absmax(const gs_observer *o, int64_t channel);
/* The range that leaves out a share (1 - percentile / 100) of the values in all, half on each side,
 * by the histogram, whose bins are taken as evenly filled; percentile in (50, 100] (clamped); 100 is
 * the extremes. Never wider than the extremes. */
void gs_observer_percentile(const gs_observer *o, double percentile, float *min, float *max);
/* The shrink of the extremes towards 0 (both ends by the same factor in 1.00, 0.99 .. 0.30) with the
 * least mean square error of an asymmetric (or symmetric) int8 quantizer over the histogram, whose bins
 * are taken as evenly filled; of equal ones the widest. The quantizer, in double:
 *   asymmetric  low = min(min, 0), high = max(max, 0), scale = (high - low) / 255,
 *               zero = rne(-128 - low / scale)
 *   symmetric   scale = max(|min|, |max|) / 127, zero = 0
 *   x' = (clamp(rne(x / scale + zero), -128, 127) - zero) * scale */
void gs_observer_mse(const gs_observer *o, bool symmetric, float *min, float *max);

#endif
