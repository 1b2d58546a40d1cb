#include <loaders/dequant.h>

#include <loaders/dequant_k.h>

#include <base/half.h>

/* Blocks of 32: scale d, for the "_1" kinds a minimum m, for the 5-bit kinds 32 high bits,
 * then the quants. Nibble j holds element j (low) and element j + 16 (high).
 * Source: ggml's block_q* definitions and reference dequantization. */
enum { BLOCK = 32, HALF = BLOCK / 2 };

static float f16_at(const uint8_t *p) {
    return gs_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

static void dequant_q8_0(int64_t blocks, const uint8_t *restrict src, float *restrict dst) {
    for (int64_t b = 0; b < blocks; b++, src += 2 + BLOCK, dst += BLOCK) {
        float d = f16_at(src);
        for (int j = 0; j < BLOCK; j++) dst[j] = (float)(int8_t)src[2 + j] * d;
    }
}

static void dequant_q4_0(int64_t blocks, const uint8_t *restrict src, float *restrict dst) {
    for (int64_t b = 0; b < blocks; b++, src += 2 + HALF, dst += BLOCK) {
        float d = f16_at(src);
        const uint8_t *q = src + 2;
        for (int j = 0; j < HALF; j++) dst[j] = (float)((q[j] & 15) - 8) * d;
        for (int j = 0; j < HALF; j++) dst[HALF + j] = (float)((q[j] >> 4) - 8) * d;
    }
}

static void dequant_q4_1(int64_t blocks, const uint8_t *restrict src, float *restrict dst) {
    for (int64_t b = 0; b < blocks; b++, src += 4 + HALF, dst += BLOCK) {
        float d = f16_at(src), m = f16_at(src + 2);
        const uint8_t *q = src + 4;
        for (int j = 0; j < HALF; j++) dst[j] = (float)(q[j] & 15) * d + m;
        for (int j = 0; j < HALF; j++) dst[HALF + j] = (float)(q[j] >> 4) * d + m;
    }
}

/* The 32 high bits (bit j belongs to element j) as bytes 0 or 16. Eight at a time: the
 * product repeats the byte in every byte lane (no carries, the copies don't overlap), the
 * mask keeps bit k in lane k, adding 0x7f.. moves any kept bit up to bit 7 of its lane. */
static void spread_high_bits(const uint8_t *restrict bits, uint8_t *restrict out) {
    for (int i = 0; i < BLOCK / 8; i++) {
        uint64_t lanes = bits[i] * UINT64_C(0x0101010101010101) & UINT64_C(0x8040201008040201);
        lanes = (lanes + UINT64_C(0x7f7f7f7f7f7f7f7f)) >> 3 & UINT64_C(0x1010101010101010);
        for (int k = 0; k < 8; k++) out[8 * i + k] = (uint8_t)(lanes >> (8 * k));
    }
}

static void dequant_q5_0(int64_t blocks, const uint8_t *restrict src, float *restrict dst) {
    for (int64_t b = 0; b < blocks; b++, src += 6 + HALF, dst += BLOCK) {
        float d = f16_at(src);
        const uint8_t *q = src + 6;
        uint8_t high[BLOCK];
        spread_high_bits(src + 2, high);
        for (int j = 0; j < HALF; j++) dst[j] = (float)(((q[j] & 15) | high[j]) - 16) * d;
        for (int j = 0; j < HALF; j++)
            dst[HALF + j] = (float)(((q[j] >> 4) | high[HALF + j]) - 16) * d;
    }
}

static void dequant_q5_1(int64_t blocks, const uint8_t *restrict src, float *restrict dst) {
    for (int64_t b = 0; b < blocks; b++, src += 8 + HALF, dst += BLOCK) {
        float d = f16_at(src), m = f16_at(src + 2);
        const uint8_t *q = src + 8;
        uint8_t high[BLOCK];
        spread_high_bits(src + 4, high);
        for (int j = 0; j < HALF; j++) dst[j] = (float)((q[j] & 15) | high[j]) * d + m;
        for (int j = 0; j < HALF; j++)
            dst[HALF + j] = (float)((q[j] >> 4) | high[HALF + j]) * d + m;
    }
}

bool gs_dequant_row(gs_dtype t, int64_t n, const uint8_t *src, float *dst) {
    switch (t) {
    case GS_Q8_0: dequant_q8_0(n / BLOCK, src, dst); return true;
    case GS_Q4_0: dequant_q4_0(n / BLOCK, src, dst); return true;
    case GS_Q4_1: dequant_q4_1(n / BLOCK, src, dst); return true;
    case GS_Q5_0: dequant_q5_0(n / BLOCK, src, dst); return true;
    case GS_Q5_1: dequant_q5_1(n / BLOCK, src, dst); return true;
    case GS_Q2_K: gs_dequant_q2_k(n / GS_K_BLOCK, src, dst); return true;
    case GS_Q3_K: gs_dequant_q3_k(n / GS_K_BLOCK, src, dst); return true;
    case GS_Q4_K: gs_dequant_q4_k(n / GS_K_BLOCK, src, dst); return true;
    case GS_Q5_K: gs_dequant_q5_k(n / GS_K_BLOCK, src, dst); return true;
    case GS_Q6_K: gs_dequant_q6_k(n / GS_K_BLOCK, src, dst); return true;
    default: return false;
    }
}
