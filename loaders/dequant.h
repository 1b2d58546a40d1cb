/* GGUF block formats to f32, as ggml's reference dequantization defines them (ggml-quants:
 * dequantize_row_*): bit-exact f32 results. n is a multiple of the block length; src may be
 * unaligned. Single thread, no allocation. */
#ifndef GS_LOADERS_DEQUANT_H
#define GS_LOADERS_DEQUANT_H

#include <base/dtype.h>

/* Row of n elements of block type t; false when t is not a block type. */
bool gs_dequant_row(gs_dtype t, int64_t n, const uint8_t *src, float *dst);

#endif
