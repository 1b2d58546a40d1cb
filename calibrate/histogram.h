/* The bins of gs_observer.histogram (calibrate/observer.h), one step below the observer. Pure
 * functions; any number of threads. */
#ifndef GS_CALIBRATE_HISTOGRAM_H
#define GS_CALIBRATE_HISTOGRAM_H

#include <calibrate/observer.h>

/* Adds the bins of x[0..n) to counts [2 * GS_HISTOGRAM_BINS]: two histograms side by side, which the
 * caller adds up: neighbouring values often share a bin, and a processor cannot raise the same
 * counter twice in a row at full speed. The caller sees to it that no count overflows.
 * NaN and the infinities count in the outermost bins. */
void gs_histogram_count(int64_t n, const float *x, uint32_t *counts);
/* Where a bin begins and ends, *low < *high; the bin of zero lies from -2^GS_HISTOGRAM_LOW to
 * 2^GS_HISTOGRAM_LOW, the outermost ones end at infinity. */
void gs_histogram_edges(int bin, double *low, double *high);

#endif
