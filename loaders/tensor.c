#include <loaders/tensor_private.h>

#include <base/half.h>
#include <loaders/dequant.h>

#include <assert.h>
#include <stdio.h>

/* Elements converted at a time on the way to 16 bits: a multiple of every block length,
 * small enough to stay in the first-level cache. */
enum { CHUNK = 1024 };

int64_t gs_tensor_count(const gs_tensor *t) {
    int64_t count = 1;
    for (int i = 0; i < t->ndim; i++) count *= t->shape[i];
    return count;
}

void gs_tensor_matrix(const gs_tensor *t, int64_t *rows, int64_t *cols) {
    *rows = 1;
    *cols = t->ndim ? t->shape[t->ndim - 1] : 1;
    for (int i = 0; i + 1 < t->ndim; i++) *rows *= t->shape[i];
}

const char *gs_tensor_shape_text(const gs_tensor *t, char *buf, size_t size) {
    size_t len = 0;
    if (size == 0) return buf;
    buf[0] = 0;
    for (int i = 0; i < t->ndim && len < size; i++) {
        int n = snprintf(buf + len, size - len, "%s%lld", i ? ", " : "[",
                         (long long)t->shape[i]);
        len += n > 0 ? (size_t)n : 0;
    }
    if (len < size) snprintf(buf + len, size - len, "%s", t->ndim ? "]" : "[]");
    return buf;
}

/* All ones when the condition (0 or 1) holds: selects without control flow, so that the
 * loops around the next three functions vectorise with every compiler. */
static inline uint32_t mask(uint32_t condition) {
    return 0u - condition;
}

/* gs_f16_to_f32. */
static inline float f16_value(uint16_t h) {
    uint32_t magnitude = h & 0x7fffu, sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t small = mask(magnitude < 0x0400u), special = mask(magnitude >= 0x7c00u);
    uint32_t quiet = mask(magnitude > 0x7c00u) & 0x00400000u;
    uint32_t subnormal = gs_f32_bits((float)(int32_t)magnitude * 0x1p-24f);
    uint32_t normal = ((magnitude << 13) + (112u << 23)) | (special & 0x7f800000u) | quiet;
    return gs_f32_from_bits(sign | (small & subnormal) | (~small & normal));
}

/* gs_f32_to_f16. */
static inline uint16_t f16_bits(float x) {
    uint32_t u = gs_f32_bits(x), sign = (u >> 16) & 0x8000u;
    u &= 0x7fffffffu;
    uint32_t small = mask(u < 0x38800000u), large = mask(u >= 0x477ff000u);
    uint32_t nan = mask(u > 0x7f800000u);
    uint32_t subnormal = gs_f32_bits(gs_f32_from_bits(u) + 0.5f) - 0x3f000000u;
    uint32_t normal = (u + 0xc8000fffu + ((u >> 13) & 1u)) >> 13;
    uint32_t special = 0x7c00u | (nan & (0x0200u | ((u >> 13) & 0x3ffu)));
    uint32_t finite = (small & subnormal) | (~small & normal);
    return (uint16_t)(sign | (large & special) | (~large & finite));
}

/* gs_f32_to_bf16. */
static inline uint16_t bf16_bits(float x) {
    uint32_t u = gs_f32_bits(x), nan = mask((u & 0x7fffffffu) > 0x7f800000u);
    uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    return (uint16_t)((nan & ((u >> 16) | 0x0040u)) | (~nan & rounded));
}

static inline float bf16_value(uint16_t h) {
    return gs_bf16_to_f32(h);
}

/* Elements may lie at any address, hence memcpy; compilers make it a plain load. */
#define DEFINE_CONVERT(name, type, value)                                      \
    static void name(int64_t n, const uint8_t *restrict src, float *restrict dst) { \
        for (int64_t i = 0; i < n; i++) {                                      \
            type x;                                                            \
            memcpy(&x, src + i * (int64_t)sizeof x, sizeof x);                 \
            dst[i] = value(x);                                                 \
        }                                                                      \
    }

DEFINE_CONVERT(convert_f64, double, (float))
DEFINE_CONVERT(convert_f16, uint16_t, f16_value)
DEFINE_CONVERT(convert_bf16, uint16_t, bf16_value)
DEFINE_CONVERT(convert_i32, int32_t, (float))
DEFINE_CONVERT(convert_i16, int16_t, (float))
DEFINE_CONVERT(convert_i8, int8_t, (float))
DEFINE_CONVERT(convert_u16, uint16_t, (float))
DEFINE_CONVERT(convert_u8, uint8_t, (float))

/* n elements (whole blocks) to f32; false for a dtype without a numeric value for us. */
static bool convert(gs_dtype t, int64_t n, const uint8_t *src, float *dst) {
    switch (t) {
    case GS_F32:
        if (n) memcpy(dst, src, (size_t)n * sizeof *dst);
        return true;
    case GS_F64: convert_f64(n, src, dst); return true;
    case GS_F16: convert_f16(n, src, dst); return true;
    case GS_BF16: convert_bf16(n, src, dst); return true;
    case GS_I32: convert_i32(n, src, dst); return true;
    case GS_I16: convert_i16(n, src, dst); return true;
    case GS_I8: convert_i8(n, src, dst); return true;
    case GS_U16: convert_u16(n, src, dst); return true;
    case GS_U8: convert_u8(n, src, dst); return true;
    default: return gs_dequant_row(t, n, src, dst);
    }
}

static gs_status check_interleaved(const gs_tensor *t, gs_row_range *range, gs_error *err) {
    int64_t rows = range->rows;
    if (t->order_heads < 1 || rows % t->order_heads != 0 || rows / t->order_heads % 2 != 0)
        return GS_FAIL(err, GS_E_FORMAT,
                       "tensor '%s': %lld rows do not split into %lld heads of two halves",
                       t->name, (long long)rows, (long long)t->order_heads);
    range->head_rows = rows / t->order_heads;
    return GS_OK;
}

gs_status gs_tensor_rows(const gs_tensor *t, int64_t row0, int64_t nrows, gs_row_range *range,
                         gs_error *err) {
    *range = (gs_row_range){.row0 = row0, .nrows = nrows};
    gs_tensor_matrix(t, &range->rows, &range->cols);
    if (row0 < 0 || nrows < 0 || row0 > range->rows || nrows > range->rows - row0)
        return GS_FAIL(err, GS_E_INVALID,
                       "tensor '%s': %lld rows from row %lld asked for, it has %lld", t->name,
                       (long long)nrows, (long long)row0, (long long)range->rows);
    return t->order == GS_ROWS_LLAMA_INTERLEAVED ? check_interleaved(t, range, err) : GS_OK;
}

/* The rows of a tensor that is no packed codes, and the bytes of one. */
static gs_status check_rows(const gs_tensor *t, int64_t row0, int64_t nrows, gs_row_range *range,
                            int64_t *row_bytes, gs_error *err) {
    uint64_t bytes;
    GS_TRY(gs_tensor_rows(t, row0, nrows, range, err));
    if (!gs_dtype_bytes(t->dtype, (uint64_t)range->cols, &bytes))
        return GS_FAIL(err, GS_E_UNSUPPORTED,
                       "tensor '%s': a row of %lld %s elements is not whole bytes", t->name,
                       (long long)range->cols, gs_dtype_name(t->dtype));
    assert(bytes * (uint64_t)range->rows == t->bytes);
    *row_bytes = (int64_t)bytes;
    return GS_OK;
}

/* The range as runs that are contiguous in the file and in the result: one run for a
 * tensor as stored, else one a row. */
typedef struct run {
    const uint8_t *src;
    int64_t at, count; /* elements: place in the result, length */
} run;

static int64_t run_count(const gs_row_range *range) {
    return range->head_rows ? range->nrows : 1;
}

static run run_at(const gs_tensor *t, const gs_row_range *range, int64_t row_bytes, int64_t i) {
    if (!range->head_rows)
        return (run){t->data + range->row0 * row_bytes, 0, range->nrows * range->cols};
    int64_t row = gs_stored_row(range, range->row0 + i);
    return (run){t->data + row * row_bytes, i * range->cols, range->cols};
}

/* Packed codes are unpacked into the last bytes of the result and widened from its first element on: element i
 * of `size` bytes ends where code i begins, or before. */
static gs_status unpack(const gs_tensor *t, int64_t row0, int64_t nrows, size_t size, void *dst, int8_t **codes,
                        int64_t *count, gs_error *err) {
    gs_row_range range;
    GS_TRY(gs_tensor_rows(t, row0, nrows, &range, err));
    *count = nrows * range.cols;
    *codes = (int8_t *)dst + *count * (int64_t)(size - 1);
    return gs_tensor_read_s8(t, row0, nrows, *codes, err);
}

/* Copies the next codes to where widened ones cannot reach them. */
static int64_t next_codes(const int8_t *codes, int64_t done, int64_t count, int8_t *chunk) {
    int64_t n = count - done < CHUNK ? count - done : CHUNK;
    memcpy(chunk, codes + done, (size_t)n);
    return n;
}

static gs_status read_codes_f32(const gs_tensor *t, int64_t row0, int64_t nrows, float *dst, gs_error *err) {
    int8_t *codes, chunk[CHUNK];
    int64_t count;
    GS_TRY(unpack(t, row0, nrows, sizeof *dst, dst, &codes, &count, err));
    for (int64_t done = 0; done < count; done += CHUNK) {
        int64_t n = next_codes(codes, done, count, chunk);
        convert_i8(n, (const uint8_t *)chunk, dst + done);
    }
    return GS_OK;
}

static gs_status unsupported(const gs_tensor *t, gs_error *err) {
    return GS_FAIL(err, GS_E_UNSUPPORTED, "tensor '%s': %s values cannot be read as numbers",
                   t->name, gs_dtype_name(t->dtype));
}

gs_status gs_tensor_read_f32(const gs_tensor *t, int64_t row0, int64_t nrows, float *dst,
                             gs_error *err) {
    gs_row_range range;
    int64_t row_bytes = 0;
    if (t->codes != GS_CODES_PLAIN) return read_codes_f32(t, row0, nrows, dst, err);
    GS_TRY(check_rows(t, row0, nrows, &range, &row_bytes, err));
    for (int64_t i = 0; i < run_count(&range); i++) {
        run r = run_at(t, &range, row_bytes, i);
        if (!convert(t->dtype, r.count, r.src, dst + r.at)) return unsupported(t, err);
    }
    return GS_OK;
}

static void round_16(gs_dtype as, int64_t n, const float *restrict src,
                     uint16_t *restrict dst) {
    if (as == GS_BF16)
        for (int64_t i = 0; i < n; i++) dst[i] = bf16_bits(src[i]);
    else
        for (int64_t i = 0; i < n; i++) dst[i] = f16_bits(src[i]);
}

/* Through f32, a chunk at a time. */
static bool convert_16(const gs_tensor *t, gs_dtype as, const run *r, uint16_t *dst) {
    float chunk[CHUNK];
    int block = gs_dtype_block(t->dtype), bytes = gs_dtype_block_bytes(t->dtype);
    for (int64_t done = 0; done < r->count; done += CHUNK) {
        int64_t n = r->count - done < CHUNK ? r->count - done : CHUNK;
        if (!convert(t->dtype, n, r->src + done / block * bytes, chunk)) return false;
        round_16(as, n, chunk, dst + done);
    }
    return true;
}

/* Codes are exact in both types. */
static gs_status read_codes_16(const gs_tensor *t, gs_dtype as, int64_t row0, int64_t nrows, uint16_t *dst,
                               gs_error *err) {
    int8_t *codes, chunk[CHUNK];
    float wide[CHUNK];
    int64_t count;
    GS_TRY(unpack(t, row0, nrows, sizeof *dst, dst, &codes, &count, err));
    for (int64_t done = 0; done < count; done += CHUNK) {
        int64_t n = next_codes(codes, done, count, chunk);
        convert_i8(n, (const uint8_t *)chunk, wide);
        round_16(as, n, wide, dst + done);
    }
    return GS_OK;
}

gs_status gs_tensor_read_16(const gs_tensor *t, gs_dtype as, int64_t row0, int64_t nrows,
                            uint16_t *dst, gs_error *err) {
    if (as != GS_F16 && as != GS_BF16)
        return GS_FAIL(err, GS_E_INVALID, "tensor '%s': %s is not a 16-bit float", t->name,
                       gs_dtype_name(as));
    gs_row_range range;
    int64_t row_bytes = 0;
    if (t->codes != GS_CODES_PLAIN) return read_codes_16(t, as, row0, nrows, dst, err);
    GS_TRY(check_rows(t, row0, nrows, &range, &row_bytes, err));
    for (int64_t i = 0; i < run_count(&range); i++) {
        run r = run_at(t, &range, row_bytes, i);
        if (t->dtype == as) {
            if (r.count) memcpy(dst + r.at, r.src, (size_t)r.count * sizeof *dst);
        } else if (!convert_16(t, as, &r, dst + r.at)) {
            return unsupported(t, err);
        }
    }
    return GS_OK;
}
