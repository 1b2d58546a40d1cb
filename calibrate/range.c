#include <calibrate/histogram.h>

#include <math.h>

void gs_observer_range(const gs_observer *o, float *min, float *max) {
    *min = INFINITY;
    *max = -INFINITY;
    for (int64_t i = 0; i < o->width; i++) {
        *min = o->min[i] < *min ? o->min[i] : *min;
        *max = o->max[i] > *max ? o->max[i] : *max;
    }
}

float gs_observer_absmax(const gs_observer *o, int64_t channel) {
    if (o->rows == 0) return 0;
    return fmaxf(fabsf(o->min[channel]), fabsf(o->max[channel]));
}

/* Where the values of a bin lie: between its edges, and no further out than the extremes. Values
 * that count as zero are taken for zero. */
static void bin_span(int bin, double min, double max, double *low, double *high) {
    gs_histogram_edges(bin, low, high);
    if (bin == GS_HISTOGRAM_SIDE) *low = *high = 0;
    *low = *low < min ? min : *low > max ? max : *low;
    *high = *high < min ? min : *high > max ? max : *high;
}

/* The value with `below` values below it, those of a bin spread evenly; step 1 counts from the
 * lowest bin up, -1 from the highest down. */
static double rank_value(const gs_observer *o, double below, int step, double min, double max) {
    double seen = 0, low = 0, high = 0;
    int bin = step > 0 ? 0 : GS_HISTOGRAM_BINS - 1;
    for (; bin >= 0 && bin < GS_HISTOGRAM_BINS; bin += step) {
        double count = (double)o->histogram[bin];
        if (count > 0 && seen + count > below) {
            double share = (below - seen) / count;
            bin_span(bin, min, max, &low, &high);
            return step > 0 ? low + (high - low) * share : high - (high - low) * share;
        }
        seen += count;
    }
    return step > 0 ? min : max;
}

void gs_observer_percentile(const gs_observer *o, double percentile, float *min, float *max) {
    gs_observer_range(o, min, max);
    if (o->rows == 0 || !(percentile < 100)) return;
    double share = percentile > 50 ? 1 - percentile / 100 : 0.5;
    double dropped = share / 2 * ((double)o->rows * (double)o->width);
    double low = rank_value(o, dropped, 1, (double)*min, (double)*max);
    double high = rank_value(o, dropped, -1, (double)*min, (double)*max);
    *min = (float)low;
    *max = (float)high;
}

/* Values x become (clamp(rne(x / scale + zero), -128, 127) - zero) * scale. */
typedef struct quantizer {
    double scale, zero;
} quantizer;

static quantizer quantizer_for(double min, double max, bool symmetric) {
    if (symmetric) return (quantizer){fmax(fabs(min), fabs(max)) / 127, 0};
    double low = fmin(min, 0), scale = (fmax(max, 0) - low) / 255;
    return (quantizer){scale, scale > 0 ? rint(-128 - low / scale) : 0};
}

static double code_of(const quantizer *q, double x) {
    double code = rint(x / q->scale + q->zero);
    return code < -128 ? -128 : code > 127 ? 127 : code;
}

/* Integral of (x - quantized x)^2 from low to high, code by code. */
static double square_error(const quantizer *q, double low, double high) {
    double sum = 0, left = low, last = code_of(q, high);
    for (double code = code_of(q, low); code <= last; code += 1) {
        double level = (code - q->zero) * q->scale;
        double right = code == last ? high : level + 0.5 * q->scale;
        double a = left - level, b = right - level;
        sum += (b * b * b - a * a * a) / 3;
        left = right;
    }
    return sum;
}

/* Sum of square errors over the histogram, the values of a bin spread evenly over it: with the
 * middle of each bin alone, the error would depend on where the middles meet the grid. */
static double histogram_error(const gs_observer *o, const quantizer *q, double min, double max) {
    double sum = 0;
    if (!(q->scale > 0)) return 0;
    for (int bin = 0; bin < GS_HISTOGRAM_BINS; bin++) {
        double low, high, count = (double)o->histogram[bin];
        if (bin == GS_HISTOGRAM_SIDE || !(count > 0)) continue; /* zero is exact */
        bin_span(bin, min, max, &low, &high);
        if (high > low) {
            sum += count * square_error(q, low, high) / (high - low);
        } else {
            double e = low - (code_of(q, low) - q->zero) * q->scale;
            sum += count * e * e;
        }
    }
    return sum;
}

void gs_observer_mse(const gs_observer *o, bool symmetric, float *min, float *max) {
    gs_observer_range(o, min, max);
    if (o->rows == 0) return;
    double low = (double)*min, high = (double)*max, best = INFINITY;
    for (int percent = 100; percent >= 30; percent--) {
        double factor = percent / 100.0;
        quantizer q = quantizer_for(factor * low, factor * high, symmetric);
        double error = histogram_error(o, &q, low, high);
        if (error >= best) continue;
        best = error;
        *min = (float)(factor * low);
        *max = (float)(factor * high);
    }
}
