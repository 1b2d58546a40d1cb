/* Rounding to integers in loops that vectorise without the machine's own instruction (internal to network/ops). */
#ifndef GS_NETWORK_OPS_ROUND_H
#define GS_NETWORK_OPS_ROUND_H

/* x to the nearest integer, halves to even, for |x| <= 2^22: beyond 2^23 an f32 has no fraction bits left. NaN stays NaN. */
static inline float gs_round_even(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

/* NaN stays NaN. */
static inline float gs_clamp(float x, float low, float high) { return x < low ? low : x > high ? high : x; }

#endif
