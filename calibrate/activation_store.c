#include <calibrate/activation_store.h>

#include <base/file.h>
#include <base/mem.h>
#include <base/scratch_file.h>
#include <kernels/kernels.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Elements converted at a time on their way to and from disk, on the caller's stack: a read
 * or write then cannot fail for want of memory. */
enum { PIECE = 16384 };

struct gs_activation_store {
    int64_t rows, width;
    gs_dtype dtype;
    int64_t element;  /* bytes */
    int64_t split;    /* rows in memory */
    void *memory;     /* [split, width] of dtype */
    int fd;           /* of rows [split, rows); -1 when there are none */
};

static gs_status check_shape(int64_t rows, int64_t width, gs_dtype dtype, int64_t memory,
                             gs_error *err) {
    int64_t bytes;
    if (dtype != GS_F32 && dtype != GS_BF16)
        return GS_FAIL(err, GS_E_INVALID, "activations are kept as F32 or BF16, not %s",
                       gs_dtype_name(dtype));
    if (rows < 0 || width < 1 || memory < 0)
        return GS_FAIL(err, GS_E_INVALID, "cannot keep %lld rows of %lld values in %lld bytes of memory",
                       (long long)rows, (long long)width, (long long)memory);
    if (__builtin_mul_overflow(rows, width, &bytes) || bytes > INT64_MAX / 8)
        return GS_FAIL(err, GS_E_INVALID, "%lld rows of %lld activations overflow", (long long)rows,
                       (long long)width);
    return GS_OK;
}

static gs_status make_room(gs_activation_store *s, const char *scratch_dir, gs_error *err) {
    int64_t row_bytes = s->width * s->element, spilled = gs_activation_store_spilled(s);
    if (spilled) GS_TRY(gs_scratch_reserve(gs_scratch_dir(scratch_dir), (uint64_t)spilled, "activations", &s->fd, err));
    s->memory = gs_alloc((size_t)(s->split * row_bytes));
    return s->memory ? GS_OK : gs_error_nomem(err, (size_t)(s->split * row_bytes));
}

gs_status gs_activation_store_create(int64_t rows, int64_t width, gs_dtype dtype, int64_t memory,
                                     const char *scratch_dir, gs_activation_store **out, gs_error *err) {
    *out = NULL;
    GS_TRY(check_shape(rows, width, dtype, memory, err));
    gs_activation_store *s = gs_calloc(1, sizeof *s);
    if (!s) return gs_error_nomem(err, sizeof *s);
    *s = (gs_activation_store){.rows = rows, .width = width, .dtype = dtype, .fd = -1};
    s->element = gs_dtype_block_bytes(dtype);
    int64_t fits = memory / (width * s->element);
    s->split = fits < rows ? fits : rows;
    gs_status status = make_room(s, scratch_dir, err);
    if (status == GS_OK) *out = s;
    else gs_activation_store_destroy(s);
    return status;
}

void gs_activation_store_destroy(gs_activation_store *s) {
    if (!s) return;
    if (s->fd >= 0) close(s->fd);
    gs_free(s->memory);
    gs_free(s);
}

int64_t gs_activation_store_spilled(const gs_activation_store *s) {
    return (s->rows - s->split) * s->width * s->element;
}

static gs_status check_rows(const gs_activation_store *s, int64_t row0, int64_t n, gs_error *err) {
    if (row0 >= 0 && n >= 0 && row0 <= s->rows && n <= s->rows - row0) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "rows %lld to %lld of %lld activations", (long long)row0,
                   (long long)(row0 + (n > 0 && row0 < INT64_MAX - n ? n : 0)), (long long)s->rows);
}

static gs_status write_at(int fd, const void *data, size_t n, int64_t offset, gs_error *err) {
    const uint8_t *p = data;
    while (n > 0) {
        ssize_t done = pwrite(fd, p, n, offset);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0)
            return gs_error_errno(err, done < 0 ? errno : ENOSPC, "cannot write activations to the scratch file");
        p += done;
        n -= (size_t)done;
        offset += done;
    }
    return GS_OK;
}

static gs_status read_at(int fd, void *data, size_t n, int64_t offset, gs_error *err) {
    uint8_t *p = data;
    while (n > 0) {
        ssize_t done = pread(fd, p, n, offset);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return gs_error_errno(err, errno, "cannot read activations from the scratch file");
        if (done == 0) return GS_FAIL(err, GS_E_IO, "the scratch file of activations ends too early");
        p += done;
        n -= (size_t)done;
        offset += done;
    }
    return GS_OK;
}

/* Elements [first, first + n) of the part on disk. */
static gs_status write_disk(const gs_activation_store *s, int64_t first, int64_t n, const float *x, gs_error *err) {
    if (s->dtype == GS_F32) return write_at(s->fd, x, (size_t)n * sizeof *x, first * s->element, err);
    uint16_t piece[PIECE];
    for (int64_t i = 0; i < n; i += PIECE) {
        int64_t m = n - i < PIECE ? n - i : PIECE;
        gs_kernels_get()->convert_f32_bf16(m, x + i, piece);
        GS_TRY(write_at(s->fd, piece, (size_t)m * sizeof *piece, (first + i) * s->element, err));
    }
    return GS_OK;
}

static gs_status read_disk(const gs_activation_store *s, int64_t first, int64_t n, float *x, gs_error *err) {
    if (s->dtype == GS_F32) return read_at(s->fd, x, (size_t)n * sizeof *x, first * s->element, err);
    uint16_t piece[PIECE];
    for (int64_t i = 0; i < n; i += PIECE) {
        int64_t m = n - i < PIECE ? n - i : PIECE;
        GS_TRY(read_at(s->fd, piece, (size_t)m * sizeof *piece, (first + i) * s->element, err));
        gs_kernels_get()->convert_bf16_f32(m, piece, x + i);
    }
    return GS_OK;
}

static void write_memory(const gs_activation_store *s, int64_t first, int64_t n, const float *x) {
    if (s->dtype == GS_F32) memcpy((float *)s->memory + first, x, (size_t)n * sizeof *x);
    else gs_kernels_get()->convert_f32_bf16(n, x, (uint16_t *)s->memory + first);
}

static void read_memory(const gs_activation_store *s, int64_t first, int64_t n, float *x) {
    if (s->dtype == GS_F32) memcpy(x, (const float *)s->memory + first, (size_t)n * sizeof *x);
    else gs_kernels_get()->convert_bf16_f32(n, (const uint16_t *)s->memory + first, x);
}

/* How many of the n rows from row0 on live in memory. */
static int64_t rows_in_memory(const gs_activation_store *s, int64_t row0, int64_t n) {
    int64_t near = s->split - row0;
    return near < 0 ? 0 : near < n ? near : n;
}

gs_status gs_activation_store_write(gs_activation_store *s, int64_t row0, int64_t n, const float *x, gs_error *err) {
    GS_TRY(check_rows(s, row0, n, err));
    int64_t here = rows_in_memory(s, row0, n), values = here * s->width;
    if (values) write_memory(s, row0 * s->width, values, x);
    if (here == n) return GS_OK;
    return write_disk(s, (row0 + here - s->split) * s->width, (n - here) * s->width, x + values, err);
}

gs_status gs_activation_store_read(const gs_activation_store *s, int64_t row0, int64_t n, float *x, gs_error *err) {
    GS_TRY(check_rows(s, row0, n, err));
    int64_t here = rows_in_memory(s, row0, n), values = here * s->width;
    if (values) read_memory(s, row0 * s->width, values, x);
    if (here == n) return GS_OK;
    return read_disk(s, (row0 + here - s->split) * s->width, (n - here) * s->width, x + values, err);
}
