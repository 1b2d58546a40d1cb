/* A tensor as it lies in a file: borrowed bytes plus what they mean. */
#ifndef GS_LOADERS_TENSOR_H
#define GS_LOADERS_TENSOR_H

#include <base/dtype.h>

enum { GS_MAX_DIMS = 8 };

/* How rows of a matrix must be reordered while they are read. */
typedef enum gs_row_order {
    GS_ROWS_AS_STORED,
    /* llama.cpp stores q and k with each head's two rotary halves interleaved:
     * stored row (head, 2*j + half) is original row (head, half*hd/2 + j). */
    GS_ROWS_LLAMA_INTERLEAVED
} gs_row_order;

/* How integer codes lie in the bytes of a tensor whose dtype (I8) and shape [n, k] say what they mean.
 * A nibble is a two's complement code from -8 to 7 unless biased. */
typedef enum gs_code_layout {
    GS_CODES_PLAIN,        /* one int8 a code, [n, k] row-major */
    GS_CODES_BIASED,       /* one byte a code, code + 128 */
    GS_CODES_GPTQ8,        /* [k/4, n] words: byte j of word (r, c) is code (c, 4r + j) + 128 */
    GS_CODES_INT4_COLUMNS, /* [n, k/2]: low nibble the even column */
    GS_CODES_INT4_ROWS,    /* [n/2, k]: low nibble the even row */
    GS_CODES_Q8_0          /* [n, k/32] blocks of an f16 scale and 32 codes (GGUF) */
} gs_code_layout;

/* Row-major, shape[0] outermost (GGUF's reversed order is already undone). `data`
 * points into a file map that outlives the view. For block dtypes shape[ndim-1] is
 * a multiple of the block length. */
typedef struct gs_tensor {
    const char *name; /* NUL-terminated, owned by the reader */
    gs_dtype dtype;
    int ndim; /* 0 for a scalar */
    int64_t shape[GS_MAX_DIMS];
    const uint8_t *data; /* may be unaligned */
    uint64_t bytes;
    gs_row_order order;
    int64_t order_heads; /* heads of an interleaved tensor */
    gs_code_layout codes; /* of an I8 tensor that another format packed; else PLAIN */
} gs_tensor;

/* Bytes of [n, k] codes in a layout; false when k (or n, for INT4_ROWS) does not divide, for a negative size, or on
 * overflow. */
bool gs_tensor_codes_bytes(gs_code_layout layout, int64_t n, int64_t k, uint64_t *bytes);
/* That a view can be read: dimensions, shape, dtype, layout and order make exactly `bytes`, and data is there. For
 * tensors that a reader makes itself. GS_E_FORMAT naming the tensor. */
gs_status gs_tensor_check(const gs_tensor *t, gs_error *err) GS_NODISCARD;

/* Product of the shape, 1 for a scalar; validated at open not to overflow. */
int64_t gs_tensor_count(const gs_tensor *t);
/* Rows = product of all but the last dimension (1 for a scalar or vector), cols = the
 * last dimension (1 for a scalar). */
void gs_tensor_matrix(const gs_tensor *t, int64_t *rows, int64_t *cols);

/* Converts rows [row0, row0+nrows) to f32, row-major [nrows, cols] into dst, in the
 * tensor's logical row order (interleaving undone). Exact for F16/BF16; F64 rounds to
 * nearest even; I8..I32/U8..U16 convert by value; GGUF blocks dequantize as ggml's
 * reference does. GS_E_UNSUPPORTED for other dtypes. Thread safe. */
gs_status gs_tensor_read_f32(const gs_tensor *t, int64_t row0, int64_t nrows, float *dst,
                             gs_error *err) GS_NODISCARD;
/* The same rounded to bf16 or f16 (to nearest even); copies when already that type. */
gs_status gs_tensor_read_16(const gs_tensor *t, gs_dtype as, int64_t row0, int64_t nrows,
                            uint16_t *dst, gs_error *err) GS_NODISCARD;

/* Codes of rows [row0, row0+nrows) of an I8 tensor, row-major [nrows, cols], whatever their layout and
 * order. GS_E_INVALID for another dtype. Thread safe. gs_tensor_read_f32 gives the same values. */
gs_status gs_tensor_read_s8(const gs_tensor *t, int64_t row0, int64_t nrows, int8_t *dst,
                            gs_error *err) GS_NODISCARD;

/* "[32000, 4096]" into buf, returns buf. */
const char *gs_tensor_shape_text(const gs_tensor *t, char *buf, size_t size);

#endif
