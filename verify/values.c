/* The numbers: floats are finite, codes and constants of every quantized linear agree with each other. Constants are
 * looked for in gs_weight, never by name: what stands under a name and is no part of the linear's type was not checked.
 */
#include <verify/scan.h>

#include <base/half.h>
#include <base/mem.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

static const int64_t INT32_LIMIT = (int64_t)1 << 31;

/* The constants of one linear, NULL where it has none; vectors as f32. */
typedef struct constants {
    gs_module *m;
    gs_code_row *row;   /* [rows] */
    float *weight_scale, *weight_offset; /* [rows * groups] */
    float *input_scale, *input_offset;   /* [1] */
    float *deq, *bias;  /* [rows] */
    int32_t *quant_bias;
    int64_t groups;
    char at[400]; /* "<module>.<suffix>" under judgement */
} constants;

static void clear(constants *c) {
    gs_free(c->row);
    gs_free(c->weight_scale);
    gs_free(c->weight_offset);
    gs_free(c->input_scale);
    gs_free(c->input_offset);
    gs_free(c->deq);
    gs_free(c->bias);
    gs_free(c->quant_bias);
}

static gs_status read_floats(const gs_stored *t, float **out, gs_error *err) {
    return t ? gs_read_floats(t->t, out, err) : GS_OK;
}

/* An I64 holds the bits of an f32 and zeros, or those of the packing operator (AB 3.5: bit 46). */
static gs_status read_deq(gs_subject *s, constants *c, gs_error *err) {
    const gs_stored *t = c->m->weight.deq;
    if (!t) return GS_OK;
    GS_TRY(gs_read_deq(t->t, &c->deq, err));
    for (int64_t n = 0; t->t->dtype == GS_I64 && n < c->m->rows; n++) {
        uint64_t bits;
        memcpy(&bits, t->t->data + 8 * n, 8);
        uint64_t rest = bits >> 32;
        if (!gs_report_that(&s->report, GS_CHECK_DEQ_SCALE_BITS, rest == 0 || rest == (uint64_t)1 << 14, t->t->name,
                            "row %lld is 0x%016llx", (long long)n, (unsigned long long)bits))
            break;
    }
    return GS_OK;
}

static gs_status read_quant_bias(constants *c, gs_error *err) {
    const gs_stored *t = c->m->weight.quant_bias;
    if (!t) return GS_OK;
    c->quant_bias = gs_alloc((size_t)c->m->rows * 4);
    if (!c->quant_bias) return gs_error_nomem(err, (size_t)c->m->rows * 4);
    memcpy(c->quant_bias, t->t->data, (size_t)c->m->rows * 4);
    return GS_OK;
}

static const char *at(constants *c, const char *suffix) {
    snprintf(c->at, sizeof c->at, "%s.%s", c->m->name, suffix);
    return c->at;
}

/* In the dtype it is used in: not zero, finite, and normal (an f16 may be subnormal: 2^-23 is). */
static bool usable(gs_dtype dtype, float v) {
    float r = gs_round_to(dtype, v);
    return v > 0 && isfinite(r) && r > 0 && (dtype == GS_F16 || r >= 0x1p-126f);
}

static bool check_positive(gs_subject *s, constants *c, const char *suffix, const float *v, int64_t n, gs_dtype dtype) {
    for (int64_t i = 0; v && i < n; i++)
        if (!gs_report_that(&s->report, GS_CHECK_SCALE_POSITIVE, usable(dtype, v[i]), at(c, suffix), "[%lld] is %g, in %s %g",
                            (long long)i, (double)v[i], gs_dtype_name(dtype), (double)gs_round_to(dtype, v[i])))
            return false; /* one a tensor */
    return true;
}

static bool is_whole(float v) { return v == rintf(v) && v >= -128 && v <= 127; }

static void check_weight_offset(gs_subject *s, constants *c) {
    bool may = s->target == GS_FOR_MINDIE;
    for (int64_t i = 0; c->weight_offset && i < c->m->rows * c->groups; i++) {
        float v = c->weight_offset[i];
        if (!gs_report_that(&s->report, GS_CHECK_WEIGHT_OFFSET, v == 0 || (may && is_whole(v)), at(c, "weight_offset"),
                            "[%lld] is %g, expected %s", (long long)i, (double)v, may ? "a whole number of int8" : "0"))
            return;
    }
}

static bool check_input(gs_subject *s, constants *c) {
    if (!c->input_scale || !c->input_offset) return true;
    float v = c->input_scale[0], o = c->input_offset[0];
    bool fine = check_positive(s, c, "input_scale", c->input_scale, 1, s->dtype);
    if (fine)
        gs_report_that(&s->report, GS_CHECK_SCALE_ROUNDING, gs_round_to(s->dtype, v) == v, at(c, "input_scale"),
                       "%.9g becomes %.9g in %s", (double)v, (double)gs_round_to(s->dtype, v), gs_dtype_name(s->dtype));
    return gs_report_that(&s->report, GS_CHECK_OFFSET_RANGE, is_whole(o), at(c, "input_offset"), "%g, expected a whole number of int8",
                          (double)o) && fine;
}

static void check_deq_product(gs_subject *s, constants *c) {
    for (int64_t n = 0; c->deq && c->weight_scale && c->groups == 1 && n < c->m->rows; n++) {
        float product = c->input_scale[0] * c->weight_scale[n], rounded = gs_round_to(s->dtype, product);
        if (!gs_report_that(&s->report, GS_CHECK_DEQ_SCALE_PRODUCT, c->deq[n] == product || c->deq[n] == rounded, at(c, "deq_scale"),
                            "[%lld] is %.9g, input_scale * weight_scale is %.9g", (long long)n, (double)c->deq[n], (double)product))
            return;
    }
}

/* How far quant_bias is off beyond one, and beyond what float32 sums and a bias quotient rounded to the dtype cost the
 * original tool. */
static double bias_excess(const gs_subject *s, const constants *c, int64_t n) {
    double quotient = c->bias ? (double)c->bias[n] / (double)c->deq[n] : 0;
    double correction = (double)c->input_offset[0] * (double)c->row[n].sum;
    double unit = s->dtype == GS_BF16 ? 0x1p-8 : s->dtype == GS_F16 ? 0x1p-11 : 0x1p-23;
    double slack = (c->bias ? 1 : 0) + fabs(quotient) * unit + fabs(correction) * 0x1p-23;
    return fabs((double)c->quant_bias[n] - (rint(quotient) - correction)) - slack;
}

/* The arithmetic of another tool is no fault of the file, and still what a server would compute with. */
static const char *compat_words(const gs_subject *s, char out[160]) {
    out[0] = 0;
    if (s->compat[0]) snprintf(out, 160, " (the manifest names compat %s: that tool sums and rounds in 16 bits)", s->compat);
    return out;
}

static void check_quant_bias(gs_subject *s, constants *c) {
    int64_t rows = 0, first = 0;
    double worst = 0;
    char words[160];
    if (!c->quant_bias || !c->input_offset || !c->deq) return;
    for (int64_t n = 0; n < c->m->rows; n++) {
        double excess = bias_excess(s, c, n);
        if (!(excess > 0) && !isnan(excess)) continue;
        if (rows++ == 0) first = n;
        worst = fmax(worst, excess);
    }
    gs_report_that(&s->report, GS_CHECK_QUANT_BIAS, rows == 0, at(c, "quant_bias"),
                   "%lld of %lld rows are off, by %.9g counts at most; [%lld] is %lld: offset %g, codes sum to %lld, bias / deq_scale is %.9g%s",
                   (long long)rows, (long long)c->m->rows, worst, (long long)first, (long long)c->quant_bias[first],
                   (double)c->input_offset[0], (long long)c->row[first].sum, c->bias ? (double)c->bias[first] / (double)c->deq[first] : 0.0,
                   compat_words(s, words));
}

static void check_accumulator(gs_subject *s, constants *c) {
    for (int64_t n = 0; c->quant_bias && n < c->m->rows; n++) {
        int64_t b = c->quant_bias[n], reach = (b < 0 ? -b : b) + 128 * c->row[n].magnitude;
        if (!gs_report_that(&s->report, GS_CHECK_ACCUMULATOR, reach < INT32_LIMIT, at(c, "quant_bias"),
                            "row %lld: the accumulator may reach %lld", (long long)n, (long long)reach))
            return;
    }
}

static gs_status read_constants(gs_subject *s, constants *c, gs_error *err) {
    const gs_weight *w = &c->m->weight;
    GS_TRY(read_floats(w->scale, &c->weight_scale, err));
    GS_TRY(read_floats(w->offset, &c->weight_offset, err));
    GS_TRY(read_floats(w->input, &c->input_scale, err));
    GS_TRY(read_floats(w->input_offset, &c->input_offset, err));
    GS_TRY(read_floats(w->bias, &c->bias, err));
    GS_TRY(read_deq(s, c, err));
    GS_TRY(read_quant_bias(c, err));
    c->groups = w->groups;
    return GS_OK;
}

static gs_status scan_codes(gs_subject *s, constants *c, gs_error *err) {
    gs_codes codes = gs_weight_codes(c->m);
    c->row = gs_calloc((size_t)c->m->rows, sizeof *c->row);
    if (!c->row) return gs_error_nomem(err, (size_t)c->m->rows * sizeof *c->row);
    GS_TRY(gs_scan_codes(s, c->m->weight.at, &codes, c->row, err));
    return gs_verify_code_range(s, c->m, c->row, err);
}

static gs_status judge(gs_subject *s, gs_module *m, constants *c, gs_error *err) {
    GS_TRY(read_constants(s, c, err));
    bool fine = check_positive(s, c, "weight_scale", c->weight_scale, m->rows * c->groups, s->dtype);
    check_weight_offset(s, c);
    fine = check_input(s, c) && fine;
    fine = check_positive(s, c, "deq_scale", c->deq, m->rows, GS_F32) && fine;
    GS_TRY(scan_codes(s, c, err));
    if (!fine) m->weight.at = NULL; /* nothing that could be compared */
    if (!fine) return GS_OK;
    if (c->input_scale) check_deq_product(s, c);
    check_quant_bias(s, c);
    check_accumulator(s, c);
    return GS_OK;
}

/* A constant and that of the group's first, bit by bit. */
static void check_shared(gs_subject *s, const gs_stored *a, const gs_stored *b) {
    if (a == b || !a || !b) return;
    bool same = a->t->bytes == b->t->bytes && memcmp(a->t->data, b->t->data, a->t->bytes) == 0;
    gs_report_that(&s->report, GS_CHECK_FUSED_INPUT, same, a->t->name, "it differs from %s", b->t->name);
}

static gs_status quantized(gs_subject *s, gs_module *m, gs_error *err) {
    constants c = {.m = m, .groups = 1};
    const gs_weight *first = &s->module[m->group].weight;
    check_shared(s, m->weight.input, first->input);
    check_shared(s, m->weight.input_offset, first->input_offset);
    gs_status status = judge(s, m, &c, err);
    clear(&c);
    return status;
}

static void check_one(gs_subject *s, gs_stored *t) {
    int64_t first, bad;
    if (t->scanned || !gs_dtype_is_float(t->t->dtype)) return;
    bad = gs_scan_floats(s, t, &first);
    gs_report_that(&s->report, GS_CHECK_FINITE, bad == 0, t->t->name, "%lld values are NaN or infinite, the first is value %lld",
                   (long long)bad, (long long)first);
}

void gs_verify_tied(gs_subject *s) {
    if (!s->modules) return;
    const gs_module *head = &s->module[s->modules - 1];
    const gs_stored *h = head->weight.at, *e = s->module[0].weight.at;
    if (!head->tied || !h || !e || head->weight.layout != GS_LAYOUT_FLOAT) return;
    bool same = h->t->dtype == e->t->dtype && h->t->bytes == e->t->bytes;
    const uint64_t step = 16 << 20;
    for (uint64_t i = 0; same && i < h->t->bytes; i += step) {
        uint64_t n = h->t->bytes - i < step ? h->t->bytes - i : step;
        same = memcmp(h->t->data + i, e->t->data + i, (size_t)n) == 0;
        gs_subject_drop(s, h, i, n);
        gs_subject_drop(s, e, i, n);
    }
    gs_report_that(&s->report, GS_CHECK_TIED_HEAD, same, h->t->name, "tie_word_embeddings is set, and it is not %s", e->t->name);
}

void gs_verify_finite(gs_subject *s) {
    for (size_t i = 0; i < s->tensors; i++) check_one(s, &s->tensor[i]);
}

gs_status gs_verify_values(gs_subject *s, gs_error *err) {
    for (int i = 0; i < s->modules; i++) {
        gs_module *m = &s->module[i];
        GS_TRY(gs_cancel_check(err));
        if (m->type != GS_TYPE_FLOAT && m->type != GS_TYPE_UNKNOWN && m->sound) GS_TRY(quantized(s, m, err));
        gs_progress(s->cx, "verifying", i, s->modules + 1);
    }
    gs_verify_finite(s);
    gs_verify_tied(s);
    return gs_cancel_check(err);
}
