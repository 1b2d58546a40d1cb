#include <deploy/encode.h>

#include <base/half.h>
#include <base/mem.h>

#include <string.h>

enum { BLOCK_BYTES = 4 << 20, WORD_COLUMNS = 256 };

static gs_status has_values(const gs_stored *t, gs_error *err) {
    if (t->param && gs_param_ready(t->param)) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "tensor '%s' has no bytes", t->name);
}

static int64_t block_rows(int64_t rows, size_t row_bytes) {
    int64_t block = BLOCK_BYTES / (int64_t)row_bytes;
    if (block < 1) block = 1;
    return block < rows ? block : rows;
}

static void drop_rows(gs_sink *sink, const gs_param *p, int64_t row0, int64_t n) {
    if (p->source) gs_checkpoint_drop_rows(gs_sink_options(sink)->source, p->source, row0, n);
}

static void drop(gs_sink *sink, const gs_param *p) {
    if (p->source) gs_checkpoint_drop(gs_sink_options(sink)->source, p->source);
}

/* ---- floats ---- */

typedef struct cast_job {
    const gs_param *param;
    gs_dtype dtype;
    int64_t row0, cols;
    uint8_t *out;
    bool failed;
} cast_job;

static gs_status read_rows(const gs_param *p, gs_dtype as, int64_t row0, int64_t n, void *out, gs_error *err) {
    if (as == GS_F32) return gs_param_read_f32(p, row0, n, out, err);
    return gs_param_read_16(p, as, row0, n, out, err);
}

static void cast_rows(void *ctx, int64_t begin_row, int64_t end_row, int worker) {
    (void)worker;
    cast_job *j = ctx;
    uint8_t *out = j->out + (size_t)(begin_row * j->cols) * (size_t)gs_dtype_block_bytes(j->dtype);
    if (read_rows(j->param, j->dtype, j->row0 + begin_row, end_row - begin_row, out, NULL) != GS_OK)
        __atomic_store_n(&j->failed, true, __ATOMIC_RELAXED);
}

/* Casting may overflow f16; NaN and infinities of the source are no better. */
static bool all_finite(gs_dtype dtype, int64_t n, const void *values) {
    uint32_t bad = 0;
    if (dtype == GS_F32) {
        const uint32_t *x = values;
        for (int64_t i = 0; i < n; i++) bad |= (x[i] & 0x7f800000u) == 0x7f800000u;
    } else {
        const uint16_t *x = values;
        uint16_t exponent = dtype == GS_F16 ? 0x7c00 : 0x7f80;
        for (int64_t i = 0; i < n; i++) bad |= (x[i] & exponent) == exponent;
    }
    return bad == 0;
}

gs_status gs_encode_check_finite(const gs_stored *t, int64_t n, const void *values, gs_error *err) {
    if (all_finite(t->dtype, n, values)) return GS_OK;
    gs_status status = GS_FAIL(err, GS_E_NUMERIC, "tensor '%s' holds NaN, an infinity or a value beyond %s", t->name,
                               gs_dtype_torch_name(t->dtype));
    return t->dtype == GS_F16 ? gs_error_hint(err, "bfloat16 has a wider range: --dtype bf16") : status;
}

static gs_status cast_block(const gs_stored *t, cast_job *j, int64_t n, gs_sink *sink, gs_error *err) {
    gs_team_for(gs_sink_context(sink)->team, n, 64, cast_rows, j);
    if (j->failed) GS_TRY(read_rows(t->param, t->dtype, j->row0, n, j->out, err)); /* once more, for its words */
    GS_TRY(gs_encode_check_finite(t, n * j->cols, j->out, err));
    return gs_sink_put(sink, j->out, (size_t)(n * j->cols) * (size_t)gs_dtype_block_bytes(t->dtype), err);
}

gs_status gs_encode_float(const gs_stored *t, gs_sink *sink, gs_error *err) {
    int64_t rows, cols;
    GS_TRY(has_values(t, err));
    const gs_param *p = t->param;
    gs_param_matrix(p, &rows, &cols);
    size_t row_bytes = (size_t)cols * (size_t)gs_dtype_block_bytes(t->dtype);
    if (row_bytes == 0 || rows == 0) return GS_OK;
    int64_t block = block_rows(rows, row_bytes);
    cast_job j = {.param = p, .dtype = t->dtype, .cols = cols, .out = gs_alloc((size_t)block * row_bytes)};
    if (!j.out) return gs_error_nomem(err, (size_t)block * row_bytes);
    gs_status status = GS_OK;
    for (j.row0 = 0; j.row0 < rows && status == GS_OK; j.row0 += block) {
        int64_t n = rows - j.row0 < block ? rows - j.row0 : block;
        status = cast_block(t, &j, n, sink, err);
        drop_rows(sink, p, j.row0, n);
    }
    gs_free(j.out);
    drop(sink, p);
    return status;
}

/* ---- codes ---- */

typedef struct code_job {
    const gs_param *param;
    int64_t row0, cols;
    int8_t *codes; /* [block, cols] */
    uint8_t flip;  /* of every byte */
    uint8_t *words; /* [cols/4, rows] words, for columns; else NULL */
    int64_t rows;
    bool failed;
} code_job;

/* Rows [begin, end) of the block. */
static gs_status read_flipped(const code_job *j, int64_t begin, int64_t end, gs_error *err) {
    int8_t *out = j->codes + begin * j->cols;
    GS_TRY(gs_param_read_s8(j->param, j->row0 + begin, end - begin, out, err));
    if (j->flip)
        for (int64_t i = 0; i < (end - begin) * j->cols; i++) out[i] = (int8_t)((uint8_t)out[i] ^ j->flip);
    return GS_OK;
}

static void read_codes(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    code_job *j = ctx;
    if (read_flipped(j, begin, end, NULL) != GS_OK) __atomic_store_n(&j->failed, true, __ATOMIC_RELAXED);
}

/* Word rows [begin, end) of the block's columns of words. */
static void spread_words(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const code_job *j = ctx;
    int64_t n = j->rows - j->row0 < WORD_COLUMNS ? j->rows - j->row0 : WORD_COLUMNS;
    for (int64_t w = begin; w < end; w++)
        for (int64_t r = 0; r < n; r++)
            memcpy(j->words + 4 * (w * j->rows + j->row0 + r), j->codes + r * j->cols + 4 * w, 4);
}

static gs_status read_block(const gs_stored *t, code_job *j, int64_t n, gs_sink *sink, gs_error *err) {
    gs_team_for(gs_sink_context(sink)->team, n, 64, read_codes, j);
    if (j->failed) GS_TRY(read_flipped(j, 0, n, err)); /* once more, for its words */
    drop_rows(sink, t->param, j->row0, n);
    return GS_OK;
}

static gs_status put_codes(const gs_stored *t, uint8_t flip, gs_sink *sink, gs_error *err) {
    GS_TRY(has_values(t, err));
    code_job j = {.param = t->param, .flip = flip};
    gs_param_matrix(t->param, &j.rows, &j.cols);
    if (j.rows == 0 || j.cols == 0) return GS_OK;
    int64_t block = block_rows(j.rows, (size_t)j.cols);
    j.codes = gs_alloc((size_t)(block * j.cols));
    if (!j.codes) return gs_error_nomem(err, (size_t)(block * j.cols));
    gs_status status = GS_OK;
    for (; j.row0 < j.rows && status == GS_OK; j.row0 += block) {
        int64_t n = j.rows - j.row0 < block ? j.rows - j.row0 : block;
        status = read_block(t, &j, n, sink, err);
        if (status == GS_OK) status = gs_sink_put(sink, j.codes, (size_t)(n * j.cols), err);
    }
    gs_free(j.codes);
    drop(sink, t->param);
    return status;
}

gs_status gs_encode_codes(const gs_stored *t, gs_sink *sink, gs_error *err) { return put_codes(t, 0, sink, err); }
gs_status gs_encode_biased(const gs_stored *t, gs_sink *sink, gs_error *err) { return put_codes(t, 0x80, sink, err); }

static gs_status fill_words(const gs_stored *t, code_job *j, gs_sink *sink, gs_error *err) {
    for (; j->row0 < j->rows; j->row0 += WORD_COLUMNS) {
        int64_t n = j->rows - j->row0 < WORD_COLUMNS ? j->rows - j->row0 : WORD_COLUMNS;
        GS_TRY(read_block(t, j, n, sink, err));
        gs_team_for(gs_sink_context(sink)->team, j->cols / 4, 64, spread_words, j);
    }
    return gs_sink_put(sink, j->words, (size_t)(j->rows * j->cols), err);
}

gs_status gs_encode_columns(const gs_stored *t, gs_sink *sink, gs_error *err) {
    GS_TRY(has_values(t, err));
    code_job j = {.param = t->param, .flip = 0x80};
    gs_param_matrix(t->param, &j.rows, &j.cols);
    if (j.rows == 0 || j.cols == 0) return GS_OK;
    if (j.cols % 4) return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': %lld columns do not fill words of four", t->name, (long long)j.cols);
    j.codes = gs_alloc((size_t)(WORD_COLUMNS * j.cols));
    j.words = gs_alloc((size_t)(j.rows * j.cols));
    gs_status status = j.codes && j.words ? fill_words(t, &j, sink, err) : gs_error_nomem(err, (size_t)(j.rows * j.cols));
    gs_free(j.codes);
    gs_free(j.words);
    drop(sink, t->param);
    return status;
}
