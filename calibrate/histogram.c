#include <calibrate/histogram.h>

#include <base/half.h>

#include <math.h>

enum {
    EXPONENT_BIAS = 127,
    MANTISSA_BITS = 23,
    SHIFT = MANTISSA_BITS - GS_HISTOGRAM_BITS,
    /* exponent and leading mantissa bits of 2^GS_HISTOGRAM_LOW */
    FIRST = (EXPONENT_BIAS + GS_HISTOGRAM_LOW) << GS_HISTOGRAM_BITS
};

/* Steps away from the bin of zero, signed. Without branches, so that loops over it vectorise. */
static inline int32_t steps_from_zero(uint32_t bits) {
    int32_t n = (int32_t)((bits & 0x7fffffffu) >> SHIFT) - FIRST + 1;
    int32_t sign = -(int32_t)(bits >> 31);
    n = n < 0 ? 0 : n;
    n = n > GS_HISTOGRAM_SIDE ? GS_HISTOGRAM_SIDE : n;
    return (n ^ sign) - sign;
}

int gs_histogram_bin(float x) {
    return GS_HISTOGRAM_SIDE + steps_from_zero(gs_f32_bits(x));
}

/* Lower edge, towards zero, of the n-th bin away from the bin of zero, n >= 1. */
static double inner_edge(int n) {
    return (double)gs_f32_from_bits((uint32_t)(FIRST + n - 1) << SHIFT);
}

float gs_histogram_value(int bin) {
    int n = bin - GS_HISTOGRAM_SIDE, away = n < 0 ? -n : n;
    if (n == 0) return 0;
    float middle = (float)(0.5 * (inner_edge(away) + inner_edge(away + 1)));
    return n < 0 ? -middle : middle;
}

void gs_histogram_edges(int bin, double *low, double *high) {
    int n = bin - GS_HISTOGRAM_SIDE, away = n < 0 ? -n : n;
    double inner = n ? inner_edge(away) : -inner_edge(1);
    double outer = away == GS_HISTOGRAM_SIDE ? HUGE_VAL : inner_edge(away + 1);
    *low = n < 0 ? -outer : inner;
    *high = n < 0 ? -inner : outer;
}

void gs_histogram_count(int64_t n, const float *x, uint32_t *counts) {
    enum { PIECE = 256 };
    uint32_t *even = counts + GS_HISTOGRAM_SIDE, *odd = even + GS_HISTOGRAM_BINS;
    int32_t bins[PIECE];
    for (; n > 0; x += PIECE, n -= PIECE) {
        int m = n < PIECE ? (int)n : PIECE, i = 0;
        for (int k = 0; k < m; k++) bins[k] = steps_from_zero(gs_f32_bits(x[k]));
        for (; i + 1 < m; i += 2) {
            even[bins[i]]++;
            odd[bins[i + 1]]++;
        }
        if (i < m) even[bins[i]]++;
    }
}
