#include <deploy/gguf_encode.h>

#include <base/half.h>
#include <base/mem.h>
#include <deploy/encode.h>

#include <string.h>

enum { BLOCK_BYTES = 4 << 20, GRAIN = 16, Q8_CODES = 32, Q8_BYTES = 34 };

/* ---- rows in the file's order */

typedef struct row_job row_job;
/* Bytes of the file's row `stored`, made from row `row`. */
typedef gs_status row_maker(const row_job *j, int64_t row, uint8_t *out, int8_t *codes, float *scales, gs_error *err);

struct row_job {
    const gs_stored *t;
    const gs_param *weight, *scale, *offset;
    row_maker *make;
    int64_t rows, cols, heads;
    int64_t groups;   /* scales a row */
    size_t row_bytes; /* in the file */
    int64_t row0;     /* first stored row of the block */
    uint8_t *out;
    bool failed;
};

/* Which of `rows` lies at `stored` (GS_ROWS_LLAMA_INTERLEAVED). */
static int64_t row_of(int64_t rows, int64_t heads, int64_t stored) {
    if (heads == 0) return stored;
    int64_t dim = rows / heads, head = stored / dim, in_head = stored % dim;
    return head * dim + in_head % 2 * (dim / 2) + in_head / 2;
}

static int64_t row_at(const row_job *j, int64_t stored) { return row_of(j->rows, j->heads, stored); }

static gs_status check_heads(const gs_stored *t, int64_t rows, int64_t heads, gs_error *err) {
    if (heads == 0 || (rows % heads == 0 && rows / heads % 2 == 0)) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "tensor '%s': %lld rows are not %lld heads of even size", t->name, (long long)rows,
                   (long long)heads);
}

static gs_status make_rows(const row_job *j, int64_t begin, int64_t end, gs_error *err) {
    /* offsets are read into the second half */
    float *scales = gs_alloc((size_t)(2 * j->groups + 1) * sizeof *scales);
    int8_t *codes = gs_alloc((size_t)j->cols + 1);
    gs_status status = scales && codes ? GS_OK : gs_error_nomem(err, (size_t)j->cols);
    for (int64_t r = begin; r < end && status == GS_OK; r++)
        status = j->make(j, row_at(j, j->row0 + r), j->out + (size_t)r * j->row_bytes, codes, scales, err);
    gs_free(scales);
    gs_free(codes);
    return status;
}

static void work(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    row_job *j = ctx;
    if (make_rows(j, begin, end, NULL) != GS_OK) __atomic_store_n(&j->failed, true, __ATOMIC_RELAXED);
}

static gs_status encode_block(row_job *j, int64_t n, gs_sink *sink, gs_error *err) {
    gs_team_for(gs_sink_context(sink)->team, n, GRAIN, work, j);
    if (j->failed) { /* once more, for its words */
        GS_TRY(make_rows(j, 0, n, err));
        return GS_FAIL(err, GS_E_NOMEM, "tensor '%s': no memory for its rows", j->t->name);
    }
    return gs_sink_put(sink, j->out, (size_t)n * j->row_bytes, err);
}

static void drop(gs_sink *sink, const gs_param *p) {
    if (p && p->source) gs_checkpoint_drop(gs_sink_options(sink)->source, p->source);
}

static gs_status encode_rows(row_job *j, gs_sink *sink, gs_error *err) {
    if (j->rows == 0 || j->row_bytes == 0) return GS_OK;
    int64_t block = BLOCK_BYTES / (int64_t)j->row_bytes;
    block = block < 1 ? 1 : block < j->rows ? block : j->rows;
    j->out = gs_alloc((size_t)block * j->row_bytes);
    if (!j->out) return gs_error_nomem(err, (size_t)block * j->row_bytes);
    gs_status status = GS_OK;
    for (j->row0 = 0; j->row0 < j->rows && status == GS_OK; j->row0 += block) {
        int64_t n = j->rows - j->row0 < block ? j->rows - j->row0 : block;
        status = encode_block(j, n, sink, err);
    }
    gs_free(j->out);
    drop(sink, j->weight);
    drop(sink, j->scale);
    drop(sink, j->offset);
    return status;
}

static gs_status start(row_job *j, const gs_stored *t, gs_error *err) {
    if (!j->weight || !gs_param_ready(j->weight)) return GS_FAIL(err, GS_E_INVALID, "tensor '%s' has no bytes", t->name);
    gs_param_matrix(j->weight, &j->rows, &j->cols);
    j->t = t;
    j->heads = (int64_t)t->constant;
    return check_heads(t, j->rows, j->heads, err);
}

/* ---- floats */

static gs_status float_row(const row_job *j, int64_t row, uint8_t *out, int8_t *codes, float *scales, gs_error *err) {
    (void)codes;
    (void)scales;
    gs_dtype dtype = j->t->dtype;
    if (dtype == GS_F32) GS_TRY(gs_param_read_f32(j->weight, row, 1, (float *)(void *)out, err));
    else GS_TRY(gs_param_read_16(j->weight, dtype, row, 1, (uint16_t *)(void *)out, err));
    return gs_encode_check_finite(j->t, j->cols, out, err);
}

gs_status gs_encode_gguf_float(const gs_stored *t, gs_sink *sink, gs_error *err) {
    row_job j = {.weight = t->param, .make = float_row};
    GS_TRY(start(&j, t, err));
    j.row_bytes = (size_t)j.cols * (size_t)gs_dtype_block_bytes(t->dtype);
    return encode_rows(&j, sink, err);
}

/* ---- vectors */

/* As F32. */
static gs_status put_vector(const gs_stored *t, gs_sink *sink, const float *values, int64_t n, gs_error *err) {
    GS_TRY(gs_encode_check_finite(t, n, values, err));
    return gs_sink_put(sink, values, (size_t)n * sizeof *values, err);
}

gs_status gs_encode_gguf_bias(const gs_stored *t, gs_sink *sink, gs_error *err) {
    float *v = NULL;
    int64_t n = 0, heads = (int64_t)t->constant;
    GS_TRY(gs_encode_read(t->param, &v, &n, err));
    float *woven = gs_alloc((size_t)(n ? n : 1) * sizeof *woven);
    gs_status status = woven ? check_heads(t, n, heads, err) : gs_error_nomem(err, (size_t)n * sizeof *woven);
    for (int64_t i = 0; i < n && status == GS_OK; i++) woven[i] = v[row_of(n, heads, i)];
    if (status == GS_OK) status = put_vector(t, sink, woven, n, err);
    gs_free(woven);
    gs_free(v);
    drop(sink, t->param);
    return status;
}

gs_status gs_encode_gguf_norm(const gs_stored *t, gs_sink *sink, gs_error *err) {
    float *v = NULL, shift = (float)t->constant;
    int64_t n = 0;
    GS_TRY(gs_encode_read(t->param, &v, &n, err));
    for (int64_t i = 0; i < n; i++) v[i] += shift;
    gs_status status = put_vector(t, sink, v, n, err);
    gs_free(v);
    drop(sink, t->param);
    return status;
}

/* ---- Q8_0 */

static gs_status check_scale(const char *name, int64_t row, float scale, float offset, gs_error *err) {
    if (gs_f16_to_f32(gs_f32_to_f16(scale)) != scale || scale - scale != 0)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': the scale %.9g of row %lld is no float16, and Q8_0 stores that", name,
                       (double)scale, (long long)row);
    if (offset != 0)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': the offset %g of row %lld; Q8_0 is symmetric", name, (double)offset,
                       (long long)row);
    return GS_OK;
}

/* A linear's scales and offsets. A vector [n] is the column [n, 1], so that its rows can be read one by one. */
typedef struct row_scales {
    gs_param column[2];
    gs_tensor view[2];
    const gs_param *scale, *offset; /* offset may be NULL */
} row_scales;

static const gs_param *as_column(const gs_param *p, gs_param *column, gs_tensor *view) {
    if (!p || p->ndim != 1 || p->row_factor || p->col_factor) return p;
    *column = *p;
    column->ndim = 2;
    column->shape[1] = 1;
    if (!p->source) return column;
    *view = *p->source;
    view->ndim = 2;
    view->shape[1] = 1;
    column->source = view;
    return column;
}

/* *s is pointed into. */
static void find_scales(const gs_node *node, row_scales *s) {
    s->scale = as_column(node->param[GS_ROLE_WEIGHT_SCALE], &s->column[0], &s->view[0]);
    s->offset = as_column(node->param[GS_ROLE_WEIGHT_OFFSET], &s->column[1], &s->view[1]);
}

/* scales: [2 * groups], filled with the row's scales and offsets. */
static gs_status read_scales(const char *name, const gs_param *scale, const gs_param *offset, int64_t row, int64_t groups,
                             float *scales, gs_error *err) {
    memset(scales + groups, 0, (size_t)groups * sizeof *scales);
    GS_TRY(gs_param_read_f32(scale, row, 1, scales, err));
    if (offset) GS_TRY(gs_param_read_f32(offset, row, 1, scales + groups, err));
    for (int64_t g = 0; g < groups; g++) GS_TRY(check_scale(name, row, scales[g], scales[groups + g], err));
    return GS_OK;
}

static gs_status q8_row(const row_job *j, int64_t row, uint8_t *out, int8_t *codes, float *scales, gs_error *err) {
    int64_t blocks = j->cols / Q8_CODES, per_group = blocks / j->groups;
    GS_TRY(gs_param_read_s8(j->weight, row, 1, codes, err));
    GS_TRY(read_scales(j->t->node->name, j->scale, j->offset, row, j->groups, scales, err));
    for (int64_t b = 0; b < blocks; b++, out += Q8_BYTES) {
        uint16_t d = gs_f32_to_f16(scales[b / per_group]);
        out[0] = (uint8_t)d;
        out[1] = (uint8_t)(d >> 8);
        memcpy(out + 2, codes + b * Q8_CODES, Q8_CODES);
    }
    return GS_OK;
}

static gs_status check_shapes(const gs_node *node, const row_scales *s, int64_t *groups, gs_error *err) {
    const gs_param *weight = node->param[GS_ROLE_WEIGHT], *scale = s->scale, *offset = s->offset;
    int64_t n, k, rows, offset_rows, offset_groups;
    if (!weight || !scale) return GS_FAIL(err, GS_E_INVALID, "'%s' lacks codes or scales", node->name);
    gs_param_matrix(weight, &n, &k);
    gs_param_matrix(scale, &rows, groups);
    if (k < 1 || k % Q8_CODES)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': rows of %lld are no whole blocks of %d (Q8_0)", node->name,
                       (long long)k, Q8_CODES);
    if (rows != n || *groups < 1 || k / Q8_CODES % *groups)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': scales [%lld, %lld] for [%lld, %lld] codes cut blocks of %d (Q8_0)",
                       node->name, (long long)rows, (long long)*groups, (long long)n, (long long)k, Q8_CODES);
    if (!offset) return GS_OK;
    gs_param_matrix(offset, &offset_rows, &offset_groups);
    if (offset_rows == rows && offset_groups == *groups) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "'%s': offsets and scales differ in shape", node->name);
}

gs_status gs_gguf_q8_0_permits(const gs_node *node, gs_error *err) {
    int64_t groups = 0, n, k;
    row_scales s;
    find_scales(node, &s);
    GS_TRY(check_shapes(node, &s, &groups, err));
    if (!gs_param_ready(s.scale) || (s.offset && !gs_param_ready(s.offset))) return GS_OK;
    gs_param_matrix(node->param[GS_ROLE_WEIGHT], &n, &k);
    float *scales = gs_alloc((size_t)(2 * groups) * sizeof *scales);
    gs_status status = scales ? GS_OK : gs_error_nomem(err, (size_t)(2 * groups) * sizeof *scales);
    for (int64_t row = 0; row < n && status == GS_OK; row++) status = read_scales(node->name, s.scale, s.offset, row, groups, scales, err);
    gs_free(scales);
    return status;
}

gs_status gs_encode_gguf_q8_0(const gs_stored *t, gs_sink *sink, gs_error *err) {
    row_scales s;
    find_scales(t->node, &s);
    row_job j = {.weight = t->param, .scale = s.scale, .offset = s.offset, .make = q8_row};
    GS_TRY(check_shapes(t->node, &s, &j.groups, err));
    GS_TRY(start(&j, t, err));
    j.row_bytes = (size_t)(j.cols / Q8_CODES) * Q8_BYTES;
    return encode_rows(&j, sink, err);
}
