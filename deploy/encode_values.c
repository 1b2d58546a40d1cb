#include <deploy/encode.h>

#include <base/half.h>
#include <base/mem.h>

#include <math.h>
#include <string.h>

gs_status gs_encode_read(const gs_param *p, float **values, int64_t *count, gs_error *err) {
    int64_t rows, cols;
    if (!gs_param_ready(p)) return GS_FAIL(err, GS_E_INVALID, "tensor '%s' has no bytes", p->name);
    gs_param_matrix(p, &rows, &cols);
    *count = rows * cols;
    *values = gs_alloc((size_t)(*count ? *count : 1) * sizeof **values);
    if (!*values) return gs_error_nomem(err, (size_t)*count * sizeof **values);
    gs_status status = gs_param_read_f32(p, 0, rows, *values, err);
    if (status == GS_OK) return GS_OK;
    gs_free(*values);
    *values = NULL;
    return status;
}

/* -0 is another value than 0 here only where a format asks for its sign. */
static bool holds(gs_dtype dtype, float x) {
    if (dtype == GS_I8) return x >= -128 && x <= 127 && rintf(x) == x;
    if (dtype == GS_I32) return x >= -0x1p31f && x < 0x1p31f && rintf(x) == x;
    return isfinite(x) && gs_round_to(dtype, x) == x;
}

static void store(gs_dtype dtype, float x, uint8_t *out) {
    uint16_t half = dtype == GS_F16 ? gs_f32_to_f16(x) : gs_f32_to_bf16(x);
    int32_t whole = dtype == GS_I32 || dtype == GS_I8 ? (int32_t)x : 0;
    int8_t byte = (int8_t)whole;
    switch (dtype) {
    case GS_F32: memcpy(out, &x, 4); break;
    case GS_I32: memcpy(out, &whole, 4); break;
    case GS_I8: memcpy(out, &byte, 1); break;
    default: memcpy(out, &half, 2); break;
    }
}

/* Puts n values as t->dtype, by the rule of gs_encode_values. */
static gs_status put_values(const gs_stored *t, gs_sink *sink, const float *values, int64_t n, gs_error *err) {
    size_t element = (size_t)gs_dtype_block_bytes(t->dtype);
    if (t->dtype != GS_F32 && t->dtype != GS_F16 && t->dtype != GS_BF16 && t->dtype != GS_I32 && t->dtype != GS_I8)
        return GS_FAIL(err, GS_E_INVALID, "tensor '%s' cannot be %s", t->name, gs_dtype_name(t->dtype));
    for (int64_t i = 0; i < n; i++)
        if (!holds(t->dtype, values[i]))
            return GS_FAIL(err, GS_E_UNSUPPORTED, "tensor '%s': %s does not hold %.9g at [%lld]", t->name,
                           gs_dtype_name(t->dtype), (double)values[i], (long long)i);
    uint8_t *bytes = gs_alloc((size_t)(n ? n : 1) * element);
    if (!bytes) return gs_error_nomem(err, (size_t)n * element);
    for (int64_t i = 0; i < n; i++) store(t->dtype, values[i], bytes + (size_t)i * element);
    gs_status status = gs_sink_put(sink, bytes, (size_t)n * element, err);
    gs_free(bytes);
    return status;
}

static gs_status read_values(const gs_stored *t, float **values, int64_t *n, gs_error *err) {
    if (!t->param) return GS_FAIL(err, GS_E_INVALID, "tensor '%s' has no bytes", t->name);
    return gs_encode_read(t->param, values, n, err);
}

gs_status gs_encode_values(const gs_stored *t, gs_sink *sink, gs_error *err) {
    float *v = NULL;
    int64_t n = 0;
    GS_TRY(read_values(t, &v, &n, err));
    gs_status status = put_values(t, sink, v, n, err);
    gs_free(v);
    return status;
}

gs_status gs_encode_transposed(const gs_stored *t, gs_sink *sink, gs_error *err) {
    float *v = NULL, *turned;
    int64_t n = 0, rows, cols;
    GS_TRY(read_values(t, &v, &n, err));
    gs_param_matrix(t->param, &rows, &cols);
    turned = gs_alloc((size_t)(n ? n : 1) * sizeof *turned);
    for (int64_t i = 0; turned && i < n; i++) turned[i % cols * rows + i / cols] = v[i];
    gs_status status = turned ? put_values(t, sink, turned, n, err) : gs_error_nomem(err, (size_t)n * sizeof *v);
    gs_free(turned);
    gs_free(v);
    return status;
}

gs_status gs_encode_negated(const gs_stored *t, gs_sink *sink, gs_error *err) {
    float *v = NULL;
    int64_t n = 0;
    GS_TRY(read_values(t, &v, &n, err));
    for (int64_t i = 0; i < n; i++) v[i] = -v[i];
    gs_status status = put_values(t, sink, v, n, err);
    gs_free(v);
    return status;
}

static gs_status put_repeated(const gs_stored *t, gs_sink *sink, float value, gs_error *err) {
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++) n *= t->shape[i];
    float *v = gs_alloc((size_t)(n ? n : 1) * sizeof *v);
    if (!v) return gs_error_nomem(err, (size_t)n * sizeof *v);
    for (int64_t i = 0; i < n; i++) v[i] = value;
    gs_status status = put_values(t, sink, v, n, err);
    gs_free(v);
    return status;
}

gs_status gs_encode_repeated(const gs_stored *t, gs_sink *sink, gs_error *err) {
    float *v = NULL;
    int64_t n = 0;
    GS_TRY(read_values(t, &v, &n, err));
    float first = n ? v[0] : 0;
    gs_free(v);
    return put_repeated(t, sink, first, err);
}

gs_status gs_encode_constant(const gs_stored *t, gs_sink *sink, gs_error *err) {
    return put_repeated(t, sink, (float)t->constant, err);
}

gs_status gs_encode_zeros(const gs_stored *t, gs_sink *sink, gs_error *err) {
    float *v = NULL;
    int64_t n = 0, at = 0;
    if (t->param) GS_TRY(gs_encode_read(t->param, &v, &n, err));
    while (at < n && v[at] == 0) at++;
    float met = at < n ? v[at] : 0;
    gs_free(v);
    if (at < n)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "tensor '%s': %.9g at [%lld], only zero offsets are carried", t->name,
                       (double)met, (long long)at);
    return put_repeated(t, sink, 0, err);
}

/* ---- asking before anything is written ---- */

/* Element i as it is stored; NaN for a type that such params do not have. */
static float element(const gs_param *p, int64_t i) {
    const uint8_t *bytes = p->data ? p->data : p->source->data;
    bool plain = p->data || p->source->codes == GS_CODES_PLAIN;
    uint16_t half;
    float x = NAN;
    int32_t whole;
    if (plain && p->dtype == GS_F32) {
        memcpy(&x, bytes + 4 * i, 4);
    } else if (plain && p->dtype == GS_I32) {
        memcpy(&whole, bytes + 4 * i, 4);
        x = (float)whole;
    } else if (plain && (p->dtype == GS_F16 || p->dtype == GS_BF16)) {
        memcpy(&half, bytes + 2 * i, 2);
        x = p->dtype == GS_F16 ? gs_f16_to_f32(half) : gs_bf16_to_f32(half);
    }
    return x;
}

bool gs_values_exact(const gs_param *p, gs_dtype dtype) {
    if (!gs_param_ready(p)) return true;
    bool exact = !p->row_factor && !p->col_factor;
    for (int64_t i = 0, n = gs_param_count(p); i < n && exact; i++) exact = holds(dtype, element(p, i));
    return exact;
}

bool gs_values_nonzero(const gs_param *p) {
    bool zero = true; /* factors are not zero */
    for (int64_t i = 0, n = gs_param_ready(p) ? gs_param_count(p) : 0; i < n && zero; i++) zero = element(p, i) == 0;
    return !zero;
}
