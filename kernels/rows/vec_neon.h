/* The pack of rows.inc in four Advanced SIMD registers. */
#ifndef GS_KERNELS_VEC_NEON_H
#define GS_KERNELS_VEC_NEON_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#define GS_VEC_FN inline __attribute__((always_inline))
typedef float32x4x4_t pack;

/* one expression over the four quarters i of a result v */
#define QUARTERS(expr) \
    pack v; \
    for (int i = 0; i < 4; i++) v.val[i] = (expr); \
    return v

static GS_VEC_FN pack load_f32(const float *x) { QUARTERS(vld1q_f32(x + 4 * i)); }
static GS_VEC_FN void store_f32(float *y, pack x) {
    for (int i = 0; i < 4; i++) vst1q_f32(y + 4 * i, x.val[i]);
}
static GS_VEC_FN pack set1(float x) { QUARTERS(vdupq_n_f32(x)); }
static GS_VEC_FN pack add(pack x, pack y) { QUARTERS(vaddq_f32(x.val[i], y.val[i])); }
static GS_VEC_FN pack sub(pack x, pack y) { QUARTERS(vsubq_f32(x.val[i], y.val[i])); }
static GS_VEC_FN pack mul(pack x, pack y) { QUARTERS(vmulq_f32(x.val[i], y.val[i])); }
static GS_VEC_FN pack divide(pack x, pack y) { QUARTERS(vdivq_f32(x.val[i], y.val[i])); }
/* x*y + z, rounded once */
static GS_VEC_FN pack fused(pack x, pack y, pack z) {
    QUARTERS(vfmaq_f32(z.val[i], x.val[i], y.val[i]));
}
static GS_VEC_FN pack nearest(pack x) { QUARTERS(vrndnq_f32(x.val[i])); }
static GS_VEC_FN pack negate(pack x) { QUARTERS(vnegq_f32(x.val[i])); }

/* By comparison and selection: the NEON minimum and maximum order zeroes and pass NaN. */
static GS_VEC_FN float32x4_t choose_greater(float32x4_t a, float32x4_t otherwise) {
    return vbslq_f32(vcgtq_f32(a, otherwise), a, otherwise);
}
static GS_VEC_FN pack cap(pack x, float top) {
    float32x4_t t = vdupq_n_f32(top);
    QUARTERS(vbslq_f32(vcgtq_f32(x.val[i], t), t, x.val[i]));
}
static GS_VEC_FN pack greater(pack x, pack otherwise) {
    QUARTERS(choose_greater(x.val[i], otherwise.val[i]));
}
static GS_VEC_FN float32x4_t choose_lesser(float32x4_t a, float32x4_t otherwise) {
    return vbslq_f32(vcltq_f32(a, otherwise), a, otherwise);
}
static GS_VEC_FN pack lesser(pack x, pack otherwise) {
    QUARTERS(choose_lesser(x.val[i], otherwise.val[i]));
}
static GS_VEC_FN pack not_negative(pack x) {
    QUARTERS(choose_greater(vdupq_n_f32(0), x.val[i]));
}

/* As integers: NaN is above infinity. */
static GS_VEC_FN float32x4_t max_magnitude4(float32x4_t top, float32x4_t x) {
    uint32x4_t bits = vandq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(0x7fffffffu));
    return vreinterpretq_f32_u32(vmaxq_u32(vreinterpretq_u32_f32(top), bits));
}
static GS_VEC_FN pack max_magnitude(pack top, pack x) {
    QUARTERS(max_magnitude4(top.val[i], x.val[i]));
}

/* a * 2^n for whole n in [-126, 128]; in two steps, since 2^128 is no float; the first is
 * exact. What n is for lanes that zero_below clears, or NaN, does not matter. */
static GS_VEC_FN float32x4_t times_pow2_4(float32x4_t a, float32x4_t n) {
    const int32x4_t bias = vdupq_n_s32(127);
    int32x4_t k = vcvtq_s32_f32(n), half = vshrq_n_s32(k, 1);
    int32x4_t one = vshlq_n_s32(vaddq_s32(half, bias), 23);
    int32x4_t two = vshlq_n_s32(vaddq_s32(vsubq_s32(k, half), bias), 23);
    return vmulq_f32(vmulq_f32(a, vreinterpretq_f32_s32(one)), vreinterpretq_f32_s32(two));
}
static GS_VEC_FN pack times_pow2(pack x, pack n) {
    QUARTERS(times_pow2_4(x.val[i], n.val[i]));
}
/* 0 where x < low (so not for NaN), else a */
static GS_VEC_FN float32x4_t zero_where(uint32x4_t mask, float32x4_t a) {
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(a), mask));
}
static GS_VEC_FN pack zero_below(pack x, pack at, float low) {
    QUARTERS(zero_where(vcltq_f32(at.val[i], vdupq_n_f32(low)), x.val[i]));
}
static GS_VEC_FN pack first_lanes(pack x, int count) {
    static const int32_t index[4] = {0, 1, 2, 3};
    int32x4_t lane = vld1q_s32(index);
    QUARTERS(zero_where(vcgeq_s32(lane, vdupq_n_s32(count - 4 * i)), x.val[i]));
}

static GS_VEC_FN pack load_bf16(const uint16_t *x) {
    QUARTERS(vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(x + 4 * i), 16)));
}
static GS_VEC_FN uint16x4_t bf16_bits4(float32x4_t v) {
    uint32x4_t u = vreinterpretq_u32_f32(v);
    uint32x4_t odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
    uint32x4_t r = vaddq_u32(vaddq_u32(u, vdupq_n_u32(0x7fff)), odd);
    uint32x4_t quiet = vorrq_u32(u, vdupq_n_u32(0x400000));
    return vshrn_n_u32(vbslq_u32(vceqq_f32(v, v), r, quiet), 16);
}
static GS_VEC_FN void store_bf16(uint16_t *y, pack x) {
    for (int i = 0; i < 4; i++) vst1_u16(y + 4 * i, bf16_bits4(x.val[i]));
}
static GS_VEC_FN pack load_f16(const uint16_t *x) {
    QUARTERS(vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(x + 4 * i))));
}
static GS_VEC_FN void store_f16(uint16_t *y, pack x) {
    for (int i = 0; i < 4; i++)
        vst1_u16(y + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(x.val[i])));
}
static GS_VEC_FN pack load_s8(const int8_t *x) {
    int8x16_t q = vld1q_s8(x);
    int16x8_t low = vmovl_s8(vget_low_s8(q)), high = vmovl_s8(vget_high_s8(q));
    pack v;
    v.val[0] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(low)));
    v.val[1] = vcvtq_f32_s32(vmovl_s16(vget_high_s16(low)));
    v.val[2] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(high)));
    v.val[3] = vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)));
    return v;
}
/* x + y modulo 2^32, to the nearest float; y may be NULL */
static GS_VEC_FN float32x4_t load_sum4(const int32_t *x, const int32_t *y) {
    int32x4_t sum = vld1q_s32(x);
    if (y) sum = vaddq_s32(sum, vld1q_s32(y));
    return vcvtq_f32_s32(sum);
}
static GS_VEC_FN pack load_sum_s32(const int32_t *x, const int32_t *y) {
    QUARTERS(load_sum4(x + 4 * i, y ? y + 4 * i : NULL));
}
/* Rounds to nearest even; narrowing saturates, which is the clamp (its bounds are whole, so
 * rounding before it changes nothing); NaN converts to 0. */
static GS_VEC_FN void store_s8(int8_t *y, pack x) {
    int16x4_t q[4];
    for (int i = 0; i < 4; i++) q[i] = vqmovn_s32(vcvtnq_s32_f32(x.val[i]));
    int8x8_t low = vqmovn_s16(vcombine_s16(q[0], q[1]));
    int8x8_t high = vqmovn_s16(vcombine_s16(q[2], q[3]));
    vst1q_s8(y, vcombine_s8(low, high));
}

#undef QUARTERS

#endif
