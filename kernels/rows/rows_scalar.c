/* The specification of the row kernels, in plain loops. Compiled without vectorisation, so
 * that what the vector versions are compared with is what stands here. */
#include <base/half.h>
#include <kernels/rows/exp.h>
#include <kernels/rows/rows.h>
#include <math.h>

enum { LANES = 16 };

/* lane i holds the elements i, i+16, ...; then pairs 8, 4, 2, 1 apart are added */
static float lane_sum(float *lane) {
    for (int step = LANES / 2; step; step /= 2)
        for (int i = 0; i < step; i++) lane[i] += lane[i + step];
    return lane[0];
}

static float exp_one(float x) {
    if (x != x) return x;
    if (x < GS_EXP_LOW) return 0;
    if (x > GS_EXP_CAP) x = GS_EXP_CAP;
    float n = rintf(x * GS_EXP_LOG2E);
    float r = fmaf(n, -GS_EXP_LN2_LOW, fmaf(n, -GS_EXP_LN2_HIGH, x));
    float c = GS_EXP_C4;
    c = fmaf(c, r, GS_EXP_C3);
    c = fmaf(c, r, GS_EXP_C2);
    c = fmaf(c, r, GS_EXP_C1);
    c = fmaf(c, r, GS_EXP_C0);
    float p = fmaf(r * r, c, r) + 1.0f;
    /* in two steps, since 2^128 is no float; the first is exact */
    int k = (int)n, half = k / 2;
    p *= gs_f32_from_bits((uint32_t)(half + 127) << 23);
    return p * gs_f32_from_bits((uint32_t)(k - half + 127) << 23);
}

static float absmax_f32(int64_t n, const float *x) {
    /* magnitudes are ordered like their bit patterns, with NaN above infinity */
    uint32_t top = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t u = gs_f32_bits(x[i]) & 0x7fffffffu;
        if (u > top) top = u;
    }
    return gs_f32_from_bits(top);
}

static void convert_bf16_f32(int64_t n, const uint16_t *src, float *dst) {
    for (int64_t i = 0; i < n; i++) dst[i] = gs_bf16_to_f32(src[i]);
}

static void convert_f16_f32(int64_t n, const uint16_t *src, float *dst) {
    for (int64_t i = 0; i < n; i++) dst[i] = gs_f16_to_f32(src[i]);
}

static void convert_f32_bf16(int64_t n, const float *src, uint16_t *dst) {
    for (int64_t i = 0; i < n; i++) dst[i] = gs_f32_to_bf16(src[i]);
}

static void convert_f32_f16(int64_t n, const float *src, uint16_t *dst) {
    for (int64_t i = 0; i < n; i++) dst[i] = gs_f32_to_f16(src[i]);
}

/* the bounds are whole, so clamping before rounding changes nothing */
static int8_t nearest_s8(float v) {
    if (v != v) v = 0;
    if (v < -128) v = -128;
    if (v > 127) v = 127;
    return (int8_t)rintf(v);
}

static void quantize_s8(int64_t n, const float *x, float scale, int8_t *q) {
    for (int64_t i = 0; i < n; i++) q[i] = nearest_s8(x[i] / scale);
}

static void quantize_affine_s8(int64_t n, const float *x, float reciprocal, float offset,
                               int8_t *q) {
    for (int64_t i = 0; i < n; i++) q[i] = nearest_s8(x[i] * reciprocal + offset);
}

static void dequantize_s8(int64_t n, const int8_t *q, float scale, float offset, float *y) {
    for (int64_t i = 0; i < n; i++) y[i] = ((float)q[i] + offset) * scale;
}

static void rescale_s32(int64_t n, const int32_t *acc, const int32_t *bias, const float *scale,
                        float row_scale, float *y) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t sum = (uint32_t)acc[i] + (bias ? (uint32_t)bias[i] : 0);
        y[i] = (float)(int32_t)sum * scale[i] * row_scale;
    }
}

static void rmsnorm_f32(int64_t n, const float *x, const float *w, float eps, float *y) {
    float lane[LANES] = {0};
    for (int64_t i = 0; i < n; i++) lane[i % LANES] += x[i] * x[i];
    float r = 1.0f / sqrtf(lane_sum(lane) / (float)n + eps);
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * r * w[i];
}

static void rope_f32(int64_t half, const float *cosine, const float *sine, float *x) {
    float *low = x, *high = x + half;
    for (int64_t j = 0; j < half; j++) {
        float a = low[j], b = high[j];
        low[j] = a * cosine[j] - b * sine[j];
        high[j] = b * cosine[j] + a * sine[j];
    }
}

static void swiglu_f32(int64_t n, const float *gate, const float *up, float *y) {
    for (int64_t i = 0; i < n; i++) y[i] = gate[i] / (1.0f + exp_one(-gate[i])) * up[i];
}

static void geglu_f32(int64_t n, const float *gate, const float *up, float *y) {
    for (int64_t i = 0; i < n; i++) {
        float g = gate[i], inner = g * fmaf(g * g, GS_GELU_C3, GS_GELU_C1);
        y[i] = g / (1.0f + exp_one(inner)) * up[i];
    }
}

/* (e - 1) / (e + 1) with e = exp(2t), where e - 1 = (e^r - 1) 2^n + (2^n - 1) does not cancel */
static float tanh_one(float t) {
    if (t != t) return t;
    if (t > GS_TANH_CAP) t = GS_TANH_CAP;
    if (t < -GS_TANH_CAP) t = -GS_TANH_CAP;
    float x = t + t, n = rintf(x * GS_EXP_LOG2E);
    float r = fmaf(n, -GS_EXP_LN2_LOW, fmaf(n, -GS_EXP_LN2_HIGH, x));
    float c = GS_EXP_C4;
    c = fmaf(c, r, GS_EXP_C3);
    c = fmaf(c, r, GS_EXP_C2);
    c = fmaf(c, r, GS_EXP_C1);
    c = fmaf(c, r, GS_EXP_C0);
    float power = gs_f32_from_bits((uint32_t)((int)n + 127) << 23);
    float less = fmaf(r * r, c, r) * power + (power - 1.0f);
    return less / (less + 2.0f);
}

static void softcap_f32(int64_t n, const float *x, float cap, float *y) {
    for (int64_t i = 0; i < n; i++) y[i] = tanh_one(x[i] / cap) * cap;
}

static void add_scaled_f32(int64_t n, const float *x, float factor, const float *t, float *y) {
    for (int64_t i = 0; i < n; i++) y[i] = x[i] + factor * t[i];
}

static void add_f32(int64_t n, const float *a, const float *b, float *y) {
    for (int64_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}

static void scale_f32(int64_t n, const float *x, float scale, float *y) {
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * scale;
}

static void scale_channels(int64_t n, const float *x, const float *s, float *y) {
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * s[i];
}

static void relu_f32(int64_t n, const float *x, float *y) {
    for (int64_t i = 0; i < n; i++) y[i] = x[i] < 0 ? 0 : x[i];
}

static float max_f32(int64_t n, const float *x) {
    float lane[LANES];
    for (int i = 0; i < LANES; i++) lane[i] = -INFINITY;
    for (int64_t i = 0; i < n; i++)
        if (x[i] > lane[i % LANES]) lane[i % LANES] = x[i];
    for (int step = LANES / 2; step; step /= 2)
        for (int i = 0; i < step; i++)
            if (lane[i + step] > lane[i]) lane[i] = lane[i + step];
    return lane[0];
}

static void min_max_channels(int64_t n, const float *x, float *lo, float *hi) {
    for (int64_t i = 0; i < n; i++) {
        if (x[i] < lo[i]) lo[i] = x[i];
        if (x[i] > hi[i]) hi[i] = x[i];
    }
}

static float exp_sum_f32(int64_t n, const float *x, float shift, float *y) {
    float lane[LANES] = {0};
    for (int64_t i = 0; i < n; i++) {
        y[i] = exp_one(x[i] - shift);
        lane[i % LANES] += y[i];
    }
    return lane_sum(lane);
}

static float exp_sum_bf16(int64_t n, const float *x, float shift, uint16_t *y) {
    float lane[LANES] = {0};
    for (int64_t i = 0; i < n; i++) {
        float e = exp_one(x[i] - shift);
        y[i] = gs_f32_to_bf16(e);
        lane[i % LANES] += e;
    }
    return lane_sum(lane);
}

static void kl_block_f32(int64_t n, const float *p, float mp, const float *q, float mq,
                         double *out) {
    float sp[LANES] = {0}, sq[LANES] = {0}, cross[LANES] = {0};
    for (int64_t i = 0; i < n; i++) {
        float e = exp_one(p[i] - mp);
        sp[i % LANES] += e;
        sq[i % LANES] += exp_one(q[i] - mq);
        cross[i % LANES] += e * (p[i] - q[i]);
    }
    out[0] += (double)lane_sum(sp);
    out[1] += (double)lane_sum(sq);
    out[2] += (double)lane_sum(cross);
}

const gs_kernels gs_kernels_scalar = {.isa = GS_ISA_SCALAR,
#define X(name) .name = name,
                                      GS_KERNEL_LIST(X)
#undef X
};
