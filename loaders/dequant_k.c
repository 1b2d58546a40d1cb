#include <loaders/dequant_k.h>

#include <base/half.h>

static float f16_at(const uint8_t *p) {
    return gs_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

/* Two-bit quants come in halves of 128 elements, 32 bytes each: bits 2g..2g+1 of byte j are
 * element 32*g + j of the half. */
void gs_dequant_q2_k(int64_t blocks, const uint8_t *restrict src, float *restrict dst) {
    for (int64_t b = 0; b < blocks; b++, src += 84) {
        const uint8_t *scales = src, *q = src + 16;
        float d = f16_at(src + 80), dmin = f16_at(src + 82);
        for (int group = 0; group < 16; group++, dst += 16) {
            const uint8_t *bytes = q + group / 8 * 32 + group % 2 * 16;
            int shift = group % 8 / 2 * 2;
            float dl = d * (float)(scales[group] & 15);
            float ml = dmin * (float)(scales[group] >> 4);
            for (int j = 0; j < 16; j++) dst[j] = dl * (float)(bytes[j] >> shift & 3) - ml;
        }
    }
}

/* Sixteen 6-bit scales, biased by 32: bytes 0..7 hold the low nibbles of scales i (low
 * nibble) and i + 8 (high nibble); byte 8 + i%4 holds the two high bits of scale i at bit
 * 2*(i/4). */
static int q3_k_scale(const uint8_t *packed, int i) {
    int low = packed[i % 8] >> (i / 8 * 4) & 15;
    int high = packed[8 + i % 4] >> (i / 4 * 2) & 3;
    return (low | high << 4) - 32;
}

/* A set bit in hmask means that 4 is NOT subtracted; bit g of byte j belongs to element
 * 32*g + j of the whole block. */
void gs_dequant_q3_k(int64_t blocks, const uint8_t *restrict src, float *restrict dst) {
    for (int64_t b = 0; b < blocks; b++, src += 110) {
        const uint8_t *hmask = src, *q = src + 32, *scales = src + 96;
        float d = f16_at(src + 108);
        for (int group = 0; group < 16; group++, dst += 16) {
            const uint8_t *bytes = q + group / 8 * 32 + group % 2 * 16;
            const uint8_t *high = hmask + group % 2 * 16;
            int shift = group % 8 / 2 * 2, bit = group / 2;
            int scale = q3_k_scale(scales, group);
            float dl = d * (float)scale;
            for (int j = 0; j < 16; j++) {
                int v = (bytes[j] >> shift & 3) + (high[j] >> bit & 1) * 4 - 4;
                dst[j] = dl * (float)v;
            }
        }
    }
}

/* Eight 6-bit scales and eight 6-bit minima in 12 bytes: bytes 0..3 scales 0..3 and bytes
 * 4..7 minima 0..3 in their low six bits; byte 8 + i holds the low nibbles of scale and
 * minimum 4 + i, whose high two bits sit on top of bytes i and 4 + i. */
static void k4_scale_min(const uint8_t *packed, int i, int *scale, int *min) {
    if (i < 4) {
        *scale = packed[i] & 63;
        *min = packed[i + 4] & 63;
    } else {
        *scale = (packed[i + 4] & 15) | (packed[i - 4] >> 6) << 4;
        *min = (packed[i + 4] >> 4) | (packed[i] >> 6) << 4;
    }
}

void gs_dequant_q4_k(int64_t blocks, const uint8_t *restrict src, float *restrict dst) {
    for (int64_t b = 0; b < blocks; b++, src += 144) {
        const uint8_t *scales = src + 4, *q = src + 16;
        float d = f16_at(src), dmin = f16_at(src + 2);
        for (int group = 0; group < 8; group += 2, q += 32, dst += 64) {
            int scale[2], min[2];
            k4_scale_min(scales, group, &scale[0], &min[0]);
            k4_scale_min(scales, group + 1, &scale[1], &min[1]);
            float d0 = d * (float)scale[0], m0 = dmin * (float)min[0];
            float d1 = d * (float)scale[1], m1 = dmin * (float)min[1];
            for (int j = 0; j < 32; j++) dst[j] = d0 * (float)(q[j] & 15) - m0;
            for (int j = 0; j < 32; j++) dst[32 + j] = d1 * (float)(q[j] >> 4) - m1;
        }
    }
}

/* The fifth bit of element 32*g + j is bit g of qh[j]. */
void gs_dequant_q5_k(int64_t blocks, const uint8_t *restrict src, float *restrict dst) {
    for (int64_t b = 0; b < blocks; b++, src += 176) {
        const uint8_t *scales = src + 4, *high = src + 16, *q = src + 48;
        float d = f16_at(src), dmin = f16_at(src + 2);
        for (int group = 0; group < 8; group++, dst += 32) {
            const uint8_t *bytes = q + group / 2 * 32;
            int scale, min, shift = group % 2 * 4;
            k4_scale_min(scales, group, &scale, &min);
            float dl = d * (float)scale, ml = dmin * (float)min;
            for (int j = 0; j < 32; j++) {
                int v = (bytes[j] >> shift & 15) | (high[j] >> group & 1) << 4;
                dst[j] = dl * (float)v - ml;
            }
        }
    }
}

/* Halves of 128 elements with 64 bytes of low nibbles and 32 bytes of high bits: the low
 * nibbles of the 64 bytes are elements 0..63, the high ones 64..127; bits 2g..2g+1 of high
 * byte j belong to element 32*g + j. One scale for 16 elements. */
void gs_dequant_q6_k(int64_t blocks, const uint8_t *restrict src, float *restrict dst) {
    for (int64_t b = 0; b < blocks; b++, src += 210) {
        float d = f16_at(src + 208);
        for (int group = 0; group < 16; group++, dst += 16) {
            int half = group / 8, in_half = group % 8;
            const uint8_t *low = src + half * 64 + in_half % 4 * 16;
            const uint8_t *high = src + 128 + half * 32 + in_half % 2 * 16;
            int low_shift = in_half / 4 * 4, high_shift = in_half / 2 * 2;
            float dl = d * (float)(int8_t)src[192 + group];
            for (int j = 0; j < 16; j++) {
                int v = (low[j] >> low_shift & 15) | (high[j] >> high_shift & 3) << 4;
                dst[j] = dl * (float)(v - 32);
            }
        }
    }
}
