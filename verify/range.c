/* Whether rows use the range of their codes. */
#include <verify/scan.h>

#include <base/mem.h>

#include <string.h>

static const float LEAST_SCALE = 0x1p-23f; /* of a row that is all zero (AB 4.2) */

/* msModelSlim and we leave the largest code of a row at the end of the range or one beside it, clipping searches too; GPTQ a
 * few below. */
typedef struct limits {
    int least, usual, end;
} limits;

static limits limits_of(const gs_module *m) { return m->weight.bits == 4 ? (limits){4, 6, 7} : (limits){64, 112, 127}; }

/* Rounding a subnormal scale up leaves fewer codes. */
static bool at_floor(const gs_subject *s, const gs_module *m, const float *scale) {
    float most = 0;
    for (int64_t g = 0; g < m->weight.groups; g++) most = scale[g] > most ? scale[g] : most;
    return most <= LEAST_SCALE * 1.01f || (s->dtype == GS_F16 && most <= 0x1p-20f);
}

/* Other tools give a row of zeros another scale. scale: the row's, NULL: unknown. */
static bool exempt(const gs_subject *s, const gs_module *m, const gs_code_row *row, const float *scale) {
    return (scale && at_floor(s, m, scale)) || (s->kind != GS_KIND_ASCEND && row->magnitude == 0);
}

typedef struct tally {
    int64_t rows, low, ends, beyond, worst;
    int least;
} tally;

static void count(const gs_subject *s, const gs_module *m, const gs_code_row *row, const float *scale, tally *t) {
    limits l = limits_of(m);
    for (int64_t n = 0; n < m->rows; n++) {
        const gs_code_row *r = &row[n];
        int top = -r->low > r->high ? -r->low : r->high;
        t->ends += r->ends;
        t->beyond += r->high > l.end || r->low < -l.end - 1;
        if (exempt(s, m, r, scale ? scale + n * m->weight.groups : NULL)) continue;
        t->rows++;
        t->low += top < l.usual;
        if (top >= t->least) continue;
        t->least = top;
        t->worst = n;
    }
}

static void report(gs_subject *s, const gs_module *m, const tally *t) {
    limits l = limits_of(m);
    const char *name = m->weight.at->t->name;
    gs_report *r = &s->report;
    gs_report_that(r, GS_CHECK_CODE_RANGE, t->beyond == 0, name, "%lld rows have codes beyond the %d bits that are said",
                   (long long)t->beyond, m->weight.bits);
    if (!t->rows) return;
    gs_report_that(r, GS_CHECK_CODE_RANGE, t->least >= l.least, name, "row %lld reaches %d only, expected %d or near it",
                   (long long)t->worst, t->least, l.end);
    gs_report_that(r, GS_CHECK_CODE_RANGE, t->low <= 1 || t->low * 20 <= t->rows, name,
                   "%lld of %lld rows do not reach %d, expected %d or near it", (long long)t->low, (long long)t->rows, l.usual, l.end);
    bool judged = m->cols >= 32 && m->weight.bits == 8; /* few codes lie at the ends often */
    gs_report_that(r, GS_CHECK_CODE_SATURATION, !judged || t->ends * 4 <= m->rows * m->cols, name,
                   "%lld of %lld codes lie at the ends of the range", (long long)t->ends, (long long)(m->rows * m->cols));
}

gs_status gs_verify_code_range(gs_subject *s, const gs_module *m, const gs_code_row *row, gs_error *err) {
    float *scale = NULL, *offset = NULL;
    tally t = {.worst = -1, .least = 129};
    if (m->weight.layout != GS_LAYOUT_Q8_0) GS_TRY(gs_weight_scales(m, &scale, &offset, err));
    count(s, m, row, scale, &t);
    report(s, m, &t);
    gs_free(scale);
    gs_free(offset);
    return GS_OK;
}

gs_status gs_verify_codes(gs_subject *s, const gs_module *m, gs_error *err) {
    if (!m->weight.at || m->weight.layout == GS_LAYOUT_FLOAT) return GS_OK;
    gs_codes c = gs_weight_codes(m);
    gs_code_row *row = gs_calloc((size_t)m->rows, sizeof *row);
    if (!row) return gs_error_nomem(err, (size_t)m->rows * sizeof *row);
    gs_status status = gs_scan_codes(s, m->weight.at, &c, row, err);
    if (status == GS_OK) status = gs_verify_code_range(s, m, row, err);
    gs_free(row);
    return status;
}
