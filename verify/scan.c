#include <verify/scan.h>

#include <base/half.h>
#include <base/mem.h>

#include <string.h>

enum { BLOCK = 16 << 20 /* bytes between two drops */, GRAIN = 1 << 16 /* bytes a chunk */, PIECE = 128 };

/* At most PIECE codes, so that 16-bit sums hold; plain loops over bytes, which compilers vectorise. */
static void scan_piece(const int8_t *q, int n, gs_code_row *r) {
    int8_t low = 127, high = -128;
    int16_t sum = 0, magnitude = 0, ends = 0;
    for (int i = 0; i < n; i++) {
        int8_t v = q[i];
        low = v < low ? v : low;
        high = v > high ? v : high;
        sum = (int16_t)(sum + v);
        magnitude = (int16_t)(magnitude + (v < 0 ? -v : v));
        ends = (int16_t)(ends + (v == 127 || v <= -127));
    }
    r->low = low < r->low ? low : r->low;
    r->high = high > r->high ? high : r->high;
    r->sum += sum;
    r->magnitude += magnitude;
    r->ends += ends;
}

void gs_code_row_scan(const int8_t *q, int64_t n, gs_code_row *out) {
    *out = (gs_code_row){.low = 127, .high = -128};
    int64_t i = 0;
    for (; i + PIECE <= n; i += PIECE) scan_piece(q + i, PIECE, out);
    if (i < n) scan_piece(q + i, (int)(n - i), out);
}

typedef struct code_job {
    const gs_codes *codes;
    int64_t row0, together;
    gs_code_row *out;
    int8_t *buffer; /* a worker: rows that are read together; NULL: codes are scanned where they are */
} code_job;

static void scan_stored(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const code_job *j = ctx;
    const gs_codes *c = j->codes;
    for (int64_t r = j->row0 + begin; r < j->row0 + end; r++)
        gs_code_row_scan((const int8_t *)c->t->data + r * c->cols, c->cols, &j->out[r]);
}

static void scan_read(void *ctx, int64_t begin, int64_t end, int worker) {
    const code_job *j = ctx;
    const gs_codes *c = j->codes;
    int8_t *codes = j->buffer + worker * j->together * c->cols;
    for (int64_t r = j->row0 + begin; r < j->row0 + end; r += j->together) {
        int64_t n = j->row0 + end - r < j->together ? j->row0 + end - r : j->together;
        gs_codes_read(c, r, n, codes);
        for (int64_t i = 0; i < n; i++) gs_code_row_scan(codes + i * c->cols, c->cols, &j->out[r + i]);
    }
}

/* Codes of one tensor whose rows lie one after the other can be dropped block by block. */
static void scan_all(gs_subject *s, gs_stored *t, code_job *j) {
    const gs_codes *c = j->codes;
    bool in_order = j->together == 1 && c->t->order == GS_ROWS_AS_STORED;
    int64_t grain = c->cols > GRAIN ? 1 : GRAIN / c->cols, step = !in_order ? c->rows : c->cols > BLOCK ? 1 : BLOCK / c->cols;
    if (j->together > 1) grain = j->together; /* a whole line of words belongs to one worker */
    if (step % 2) step++; /* two rows may share their bytes */
    for (; j->row0 < c->rows; j->row0 += step) {
        int64_t n = c->rows - j->row0 < step ? c->rows - j->row0 : step;
        gs_team_for(s->cx->team, n, grain, j->buffer ? scan_read : scan_stored, j);
        uint64_t from = t->t->bytes / (uint64_t)c->rows * (uint64_t)j->row0;
        gs_subject_drop(s, t, from, j->row0 + n == c->rows ? t->t->bytes - from : t->t->bytes / (uint64_t)c->rows * (uint64_t)n);
    }
}

gs_status gs_scan_codes(gs_subject *s, gs_stored *t, const gs_codes *c, gs_code_row *out, gs_error *err) {
    code_job j = {.codes = c, .out = out, .together = gs_codes_best_rows(c)};
    if (c->rows < 1 || c->cols < 1) return GS_OK;
    if (c->layout != GS_LAYOUT_S8 || c->t->order != GS_ROWS_AS_STORED) {
        size_t bytes = (size_t)(j.together * c->cols) * (size_t)gs_team_size(s->cx->team);
        j.buffer = gs_alloc(bytes);
        if (!j.buffer) return gs_error_nomem(err, bytes);
    }
    scan_all(s, t, &j);
    gs_free(j.buffer);
    t->scanned = true;
    return GS_OK;
}

typedef struct float_job {
    const uint8_t *data;
    gs_dtype dtype;
    int64_t begin; /* of the block, in values */
    int64_t bad, first;
} float_job;

static bool bad_value(const float_job *j, int64_t i) {
    uint16_t h;
    uint32_t w;
    uint64_t d;
    switch (j->dtype) {
    case GS_F64: memcpy(&d, j->data + 8 * i, 8); return (d >> 52 & 0x7ff) == 0x7ff;
    case GS_F32: memcpy(&w, j->data + 4 * i, 4); return (w >> 23 & 0xff) == 0xff;
    case GS_BF16: memcpy(&h, j->data + 2 * i, 2); return (h >> 7 & 0xff) == 0xff;
    default: memcpy(&h, j->data + 2 * i, 2); return (h >> 10 & 0x1f) == 0x1f;
    }
}

/* The same as a plain loop for the two sizes that matter: any bad value at all? */
static bool any_bad_16(const uint8_t *p, int64_t n, uint16_t exponent) {
    uint16_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, 2);
        bad |= (uint16_t)((h & exponent) == exponent);
    }
    return bad != 0;
}

static bool any_bad_32(const uint8_t *p, int64_t n) {
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t w;
        memcpy(&w, p + 4 * i, 4);
        bad |= (uint32_t)((w & 0x7f800000u) == 0x7f800000u);
    }
    return bad != 0;
}

static bool any_bad(const float_job *j, int64_t begin, int64_t end) {
    if (j->dtype == GS_F32) return any_bad_32(j->data + 4 * begin, end - begin);
    if (j->dtype == GS_F16 || j->dtype == GS_BF16)
        return any_bad_16(j->data + 2 * begin, end - begin, j->dtype == GS_F16 ? 0x7c00 : 0x7f80);
    return true;
}

static void scan_values(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    float_job *j = ctx;
    int64_t bad = 0, first = INT64_MAX;
    begin += j->begin;
    end += j->begin;
    if (!any_bad(j, begin, end)) return;
    for (int64_t i = begin; i < end; i++) {
        if (!bad_value(j, i)) continue;
        if (!bad++) first = i;
    }
    if (!bad) return;
    __atomic_fetch_add(&j->bad, bad, __ATOMIC_RELAXED);
    int64_t old = __atomic_load_n(&j->first, __ATOMIC_RELAXED);
    while (first < old && !__atomic_compare_exchange_n(&j->first, &old, first, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
}

int64_t gs_scan_floats(gs_subject *s, gs_stored *t, int64_t *first) {
    int64_t size = gs_dtype_block_bytes(t->t->dtype), n = gs_tensor_count(t->t), step = BLOCK / size;
    float_job j = {.data = t->t->data, .dtype = t->t->dtype, .first = INT64_MAX};
    for (; j.begin < n; j.begin += step) {
        int64_t count = n - j.begin < step ? n - j.begin : step;
        gs_team_for(s->cx->team, count, GRAIN / size, scan_values, &j);
        gs_subject_drop(s, t, (uint64_t)(j.begin * size), (uint64_t)(count * size));
    }
    t->scanned = true;
    *first = j.first;
    return j.bad;
}
