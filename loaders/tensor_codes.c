/* int8 codes out of the layouts that formats store them in. */
#include <loaders/tensor_private.h>

#include <stdio.h>
#include <string.h>

enum { Q8_BLOCK = 32, Q8_BYTES = 34, Q8_SCALE = 2, WORD = 4 };

bool gs_tensor_codes_bytes(gs_code_layout layout, int64_t n, int64_t k, uint64_t *bytes) {
    static const struct { /* codes of a row, or rows, that are packed together, and their bytes a row */
        int64_t k, n, bytes;
    } pack[] = {
        [GS_CODES_PLAIN] = {1, 1, 1},         [GS_CODES_BIASED] = {1, 1, 1},
        [GS_CODES_GPTQ8] = {WORD, 1, WORD},   [GS_CODES_INT4_COLUMNS] = {2, 1, 1},
        [GS_CODES_INT4_ROWS] = {1, 2, 1},     [GS_CODES_Q8_0] = {Q8_BLOCK, 1, Q8_BYTES},
    };
    if ((unsigned)layout >= GS_COUNTOF(pack) || n < 0 || k < 0) return false;
    if (k % pack[layout].k || n % pack[layout].n) return false;
    uint64_t packs = (uint64_t)(k / pack[layout].k), rows = (uint64_t)(n / pack[layout].n);
    return !__builtin_mul_overflow(packs, rows, &packs) &&
           !__builtin_mul_overflow(packs, (uint64_t)pack[layout].bytes, bytes) && *bytes <= INT64_MAX;
}

/* ---- one row of a layout whose rows lie one after the other ---- */

static int8_t nibble(int code) { return (int8_t)(((code & 15) ^ 8) - 8); }

static void read_biased(int64_t k, const uint8_t *src, int8_t *dst) {
    for (int64_t i = 0; i < k; i++) dst[i] = (int8_t)(src[i] - 128);
}

static void read_columns(int64_t k, const uint8_t *restrict src, int8_t *restrict dst) {
    for (int64_t i = 0; i < k / 2; i++) {
        dst[2 * i] = nibble(src[i]);
        dst[2 * i + 1] = nibble(src[i] >> 4);
    }
}

static void read_blocks(int64_t k, const uint8_t *src, int8_t *dst) {
    for (int64_t i = 0; i < k; i += Q8_BLOCK, src += Q8_BYTES) memcpy(dst + i, src + Q8_SCALE, Q8_BLOCK);
}

/* Two rows share their bytes. */
static void read_half(int64_t k, const uint8_t *src, bool high, int8_t *dst) {
    for (int64_t i = 0; i < k; i++) dst[i] = nibble(high ? src[i] >> 4 : src[i]);
}

static void read_row(const gs_tensor *t, const gs_row_range *range, int64_t row, int8_t *dst) {
    int64_t k = range->cols;
    switch (t->codes) {
    case GS_CODES_BIASED: read_biased(k, t->data + row * k, dst); break;
    case GS_CODES_INT4_COLUMNS: read_columns(k, t->data + row * (k / 2), dst); break;
    case GS_CODES_INT4_ROWS: read_half(k, t->data + row / 2 * k, row & 1, dst); break;
    case GS_CODES_Q8_0: read_blocks(k, t->data + row * (k / Q8_BLOCK * Q8_BYTES), dst); break;
    default:
        if (k) memcpy(dst, t->data + row * k, (size_t)k);
    }
}

/* ---- words that run across rows ---- */

/* Words of one code row lie n words apart. A square of words is turned at a time: whole cache lines of the source
 * (rows are neighbours), then whole lines of the result, whatever powers of two n and k are multiples of. */
enum { SQUARE = 16 };

static void turn_square(const gs_tensor *t, const gs_row_range *range, int64_t row0, int64_t nrows, int64_t word0,
                        int64_t nwords, int8_t *dst) {
    uint32_t turned[SQUARE][SQUARE];
    int64_t stored[SQUARE];
    for (int64_t i = 0; i < nrows; i++) stored[i] = gs_stored_row(range, row0 + i) * WORD;
    for (int64_t w = 0; w < nwords; w++) {
        const uint8_t *src = t->data + (word0 + w) * range->rows * WORD;
        for (int64_t i = 0; i < nrows; i++) memcpy(&turned[i][w], src + stored[i], WORD);
    }
    for (int64_t i = 0; i < nrows; i++) {
        for (int64_t w = 0; w < nwords; w++) turned[i][w] ^= 0x80808080u;
        memcpy(dst + i * range->cols + word0 * WORD, turned[i], (size_t)(nwords * WORD));
    }
}

static void read_words(const gs_tensor *t, const gs_row_range *range, int8_t *dst) {
    int64_t words = range->cols / WORD;
    for (int64_t i = 0; i < range->nrows; i += SQUARE) {
        int64_t nrows = range->nrows - i < SQUARE ? range->nrows - i : SQUARE;
        for (int64_t w = 0; w < words; w += SQUARE)
            turn_square(t, range, range->row0 + i, nrows, w, words - w < SQUARE ? words - w : SQUARE,
                        dst + i * range->cols);
    }
}

static gs_status check_codes(const gs_tensor *t, const gs_row_range *range, gs_error *err) {
    char shape[256];
    uint64_t bytes;
    bool fits = gs_tensor_codes_bytes(t->codes, range->rows, range->cols, &bytes) && bytes == t->bytes;
    if (t->dtype != GS_I8)
        return GS_FAIL(err, GS_E_INVALID, "tensor '%s': %s values are no int8 codes", t->name,
                       gs_dtype_name(t->dtype));
    if (fits) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "tensor '%s': %llu bytes do not hold the codes of %s", t->name,
                   (unsigned long long)t->bytes, gs_tensor_shape_text(t, shape, sizeof shape));
}

gs_status gs_tensor_read_s8(const gs_tensor *t, int64_t row0, int64_t nrows, int8_t *dst, gs_error *err) {
    gs_row_range range;
    GS_TRY(gs_tensor_rows(t, row0, nrows, &range, err));
    GS_TRY(check_codes(t, &range, err));
    if (t->codes == GS_CODES_GPTQ8) {
        read_words(t, &range, dst);
    } else if (t->codes == GS_CODES_PLAIN && !range.head_rows) {
        size_t bytes = (size_t)nrows * (size_t)range.cols;
        if (bytes) memcpy(dst, t->data + row0 * range.cols, bytes);
    } else {
        for (int64_t i = 0; i < nrows; i++)
            read_row(t, &range, gs_stored_row(&range, row0 + i), dst + i * range.cols);
    }
    return GS_OK;
}

/* ---- checking a view ---- */

static bool same_bytes(const gs_tensor *t, int64_t rows, int64_t cols) {
    uint64_t bytes;
    if (t->codes != GS_CODES_PLAIN)
        return t->dtype == GS_I8 && t->ndim == 2 && gs_tensor_codes_bytes(t->codes, rows, cols, &bytes) &&
               bytes == t->bytes;
    return gs_dtype_bytes(t->dtype, (uint64_t)cols, &bytes) &&
           !__builtin_mul_overflow(bytes, (uint64_t)rows, &bytes) && bytes == t->bytes;
}

gs_status gs_tensor_check(const gs_tensor *t, gs_error *err) {
    bool fits = t->ndim >= 0 && t->ndim <= GS_MAX_DIMS && gs_dtype_block(t->dtype) > 0;
    int64_t count = 1;
    for (int i = 0; fits && i < t->ndim; i++)
        fits = t->shape[i] >= 0 && !__builtin_mul_overflow(count, t->shape[i], &count);
    if (!fits) return GS_FAIL(err, GS_E_FORMAT, "tensor '%.200s' has no usable type and shape", t->name);
    int64_t rows, cols;
    char shape[256];
    gs_tensor_matrix(t, &rows, &cols);
    if (!same_bytes(t, rows, cols) || (!t->data && t->bytes))
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%.200s': %llu bytes are no %s%s%s", t->name,
                       (unsigned long long)t->bytes, t->codes == GS_CODES_PLAIN ? "" : "packed ",
                       gs_dtype_name(t->dtype), gs_tensor_shape_text(t, shape, sizeof shape));
    gs_row_range range;
    return gs_tensor_rows(t, 0, rows, &range, err);
}
