/* GGUF's super-block ("K") formats to f32; private to dequant.c. Each call converts `blocks`
 * super-blocks of 256 elements from src (unaligned bytes, gs_dtype_block_bytes each) to
 * dst[256*blocks]. Layouts, all little endian, in file order:
 *   Q2_K  scales[16] (low nibble scale, high nibble min), qs[64] 2-bit, f16 d, f16 dmin
 *   Q3_K  hmask[32], qs[64] 2-bit, scales[12] 6-bit packed, f16 d
 *   Q4_K  f16 d, f16 dmin, scales[12] 6-bit packed, qs[128] 4-bit
 *   Q5_K  f16 d, f16 dmin, scales[12] 6-bit packed, qh[32], qs[128] 4-bit
 *   Q6_K  ql[128] 4-bit, qh[64] 2-bit, int8 scales[16], f16 d
 * Single thread, no allocation. Source: ggml's block definitions and its reference
 * dequantization, whose order of f32 operations is kept: scale = d*sc first, then scale*q,
 * then minus min = dmin*m. */
#ifndef GS_LOADERS_DEQUANT_K_H
#define GS_LOADERS_DEQUANT_K_H

#include <stdint.h>

enum { GS_K_BLOCK = 256 };

void gs_dequant_q2_k(int64_t blocks, const uint8_t *src, float *dst);
void gs_dequant_q3_k(int64_t blocks, const uint8_t *src, float *dst);
void gs_dequant_q4_k(int64_t blocks, const uint8_t *src, float *dst);
void gs_dequant_q5_k(int64_t blocks, const uint8_t *src, float *dst);
void gs_dequant_q6_k(int64_t blocks, const uint8_t *src, float *dst);

#endif
