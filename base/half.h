/* Scalar conversions of the 16-bit floats. Rounding: to nearest, ties to even.
 * NaN stays NaN (quiet), overflow becomes infinity, subnormals are exact.
 * These are the specification that the vector kernels are tested against. */
#ifndef GS_BASE_HALF_H
#define GS_BASE_HALF_H

#include <base/dtype.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t gs_f32_bits(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float gs_f32_from_bits(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline float gs_bf16_to_f32(uint16_t h) {
    return gs_f32_from_bits((uint32_t)h << 16);
}

static inline uint16_t gs_f32_to_bf16(float x) {
    uint32_t u = gs_f32_bits(x);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x0040u);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

static inline float gs_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exp = (h >> 10) & 0x1fu, man = h & 0x3ffu;
    if (exp == 31) {
        /* a signalling NaN is quieted, as the hardware conversions do */
        uint32_t quiet = man ? 0x00400000u : 0;
        return gs_f32_from_bits(sign | 0x7f800000u | quiet | (man << 13));
    }
    if (exp == 0) {
        /* subnormal: man * 2^-24, exact in f32 */
        float v = (float)man * 0x1p-24f;
        return sign ? -v : v;
    }
    return gs_f32_from_bits(sign | ((exp + 112u) << 23) | (man << 13));
}

static inline uint16_t gs_f32_to_f16(float x) {
    uint32_t u = gs_f32_bits(x), sign = (u >> 16) & 0x8000u;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | ((u >> 13) & 0x3ffu));
    if (u >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* >= 65520 */
    if (u < 0x38800000u) {
        /* below 2^-14: adding 0.5 makes the FPU round at the subnormal's last bit */
        float r = gs_f32_from_bits(u) + 0.5f;
        return (uint16_t)(sign | (gs_f32_bits(r) - 0x3f000000u));
    }
    u += 0xc8000fffu + ((u >> 13) & 1u);
    return (uint16_t)(sign | (u >> 13));
}

/* x rounded to nearest even to a float dtype and widened back; other dtypes leave it as it is. */
static inline float gs_round_to(gs_dtype dtype, float x) {
    if (dtype == GS_BF16) return gs_bf16_to_f32(gs_f32_to_bf16(x));
    if (dtype == GS_F16) return gs_f16_to_f32(gs_f32_to_f16(x));
    return x;
}

#endif
