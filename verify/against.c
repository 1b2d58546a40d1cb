/* A bundle against the float model it was made from.
 *
 * A quantized row is within half a step of the source's (a whole one where the manifest says that codes were refined, another
 * number where the caller says so), or clipped at the end of its range by a search. Smoothing multiplies the columns of the
 * linears that read a norm by what it divides the norm's weight by, so that the norms tell the factors; factors between two
 * linears (values and output, up and down) are found as one number a row of the former, which the columns of the latter must
 * undo. A bundle that needs no factors gets none.
 *
 * Factors never leave a segment: it is compared whole, and what was found of it is freed before the next.
 */
#include <verify/compare.h>
#include <verify/scan.h>
#include <verify/source.h>
#include <verify/subject.h>

#include <base/half.h>
#include <base/mem.h>
#include <network/scaling.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

static const float ESTIMATED = 0.02f;          /* of factors that were fitted to codes */
static const float PRODUCT_ROUNDING = 0.0075f; /* of a deq_scale that was rounded to a 16-bit dtype, subnormal in f16 */

typedef struct against {
    gs_subject *s;
    gs_source from;
    int begin, end;    /* modules of the segment under comparison */
    gs_net *net;       /* and its nodes */
    float **row;       /* a module: factors found for its rows, or NULL */
    bool *carrier;     /* a module: its rows may have factors */
    gs_scale_site *site; /* the first linear of a group without norm: who carries its factors */
} against;

/* The module whose name the source's weight has: a tied head's is the embedding's, also where the bundle has unravelled them. */
static const char *named_as(const against *a, const gs_module *m) {
    const gs_model_config *config = gs_checkpoint_config(a->from.checkpoint);
    bool head = m == &a->s->module[a->s->modules - 1] && m->op == GS_OP_LINEAR;
    return m->tied || (head && cJSON_IsTrue(gs_json_get(config->json, "tie_word_embeddings"))) ? a->s->module[0].name : m->name;
}

/* The source's tensor of a module's weight or bias, of the shape that the bundle needs; NULL: a finding. */
static gs_status source_of(against *a, const gs_module *m, const char *suffix, const gs_tensor **out, gs_error *err) {
    char name[400], got[128];
    const gs_tensor *t;
    bool weight = strcmp(suffix, "weight") == 0;
    *out = NULL;
    snprintf(name, sizeof name, "%s.%s", weight ? named_as(a, m) : m->name, suffix);
    GS_TRY(gs_source_find(&a->from, name, m->rows, &t, err));
    if (!gs_report_that(&a->s->report, GS_CHECK_AGAINST_WEIGHTS, t != NULL, name, "the source has no such tensor")) return GS_OK;
    int64_t rows, cols, want_rows = weight ? m->rows : 1, want_cols = weight ? m->cols : m->rows;
    gs_tensor_matrix(t, &rows, &cols);
    if (gs_report_that(&a->s->report, GS_CHECK_AGAINST_WEIGHTS, rows == want_rows && cols == want_cols, name, "the source's is %s",
                       gs_tensor_shape_text(t, got, sizeof got)))
        *out = t;
    return GS_OK;
}

static bool comparable(const gs_module *m) { return m->sound && m->weight.at; }

static float steps_of(const gs_subject *s) {
    if (s->options->tolerance_steps > 0) return (float)s->options->tolerance_steps;
    return s->refined ? 1 : 0.5f;
}

/* What was found is a finding, or that it fits is known: the tensor is covered. */
static void done(against *a, gs_stored *stored, const gs_tensor *source) {
    stored->compared = true;
    gs_subject_drop(a->s, stored, 0, stored->t->bytes);
    gs_checkpoint_drop(a->from.checkpoint, source);
}

static gs_status compare_with_scales(against *a, int at, gs_compare *c, gs_compare_result *r, gs_error *err) {
    gs_module *m = &a->s->module[at];
    float *scale = NULL, *offset = NULL;
    if (c->codes.layout != GS_LAYOUT_FLOAT) GS_TRY(gs_weight_scales(m, &scale, &offset, err));
    c->scale = scale;
    c->offset = offset;
    gs_status status = gs_compare_matrix(a->s->cx, c, r, err);
    gs_free(scale);
    gs_free(offset);
    return status;
}

/* One weight with given column factors; `rows`: with factors of its rows, which are looked for. */
static gs_status compare(against *a, int at, const float *columns, float slack, bool rows, gs_compare_result *r, gs_error *err) {
    gs_module *m = &a->s->module[at];
    const gs_weight *w = &m->weight;
    const gs_tensor *source;
    GS_TRY(source_of(a, m, "weight", &source, err));
    *r = (gs_compare_result){0};
    if (!source || !comparable(m)) return GS_OK;
    gs_compare c = {.codes = gs_weight_codes(m), .source = source, .groups = w->groups ? w->groups : 1, .bits = w->bits,
                    .columns = columns, .slack = slack, .steps = steps_of(a->s), .dtype = a->s->dtype};
    if (w->layout == GS_LAYOUT_Q8_0) c.dtype = GS_F16; /* that of its scales */
    if (a->s->kind == GS_KIND_GGUF && m->plus_one) c.shift = 1; /* such norms are kept as 1 + weight there */
    if (w->deq && !w->scale && a->s->dtype != GS_F32) c.slack += PRODUCT_ROUNDING;
    if (rows) {
        gs_free(a->row[at]);
        a->row[at] = c.rows = gs_alloc((size_t)m->rows * sizeof *c.rows);
        if (!c.rows) return gs_error_nomem(err, (size_t)m->rows * sizeof *c.rows);
    }
    GS_TRY(compare_with_scales(a, at, &c, r, err));
    done(a, w->at, source);
    return GS_OK;
}

static void report_misfit(against *a, const gs_module *m, const gs_stored *stored, const gs_compare_result *r, bool smoothed) {
    bool codes = stored == m->weight.at && m->weight.layout != GS_LAYOUT_FLOAT;
    gs_report_that(&a->s->report, codes ? GS_CHECK_AGAINST_WEIGHTS : GS_CHECK_AGAINST_FLOAT, r->bad == 0, stored->t->name,
                   "%lld rows differ from the source's%s; the first at [%lld, %lld]: %.9g, the source's is %.9g", (long long)r->bad,
                   smoothed ? " with the factors of smoothing" : "", (long long)r->row, (long long)r->col, (double)r->stored,
                   (double)r->wanted);
}

/* Without factors; misfits are reported. */
static gs_status compare_as_it_is(against *a, int at, gs_error *err) {
    gs_compare_result r;
    gs_module *m = &a->s->module[at];
    if (!comparable(m)) return GS_OK;
    GS_TRY(compare(a, at, NULL, 0, false, &r, err));
    report_misfit(a, m, m->weight.at, &r, false);
    return GS_OK;
}

/* Factors of the columns that read the norm: source gain over stored gain; NULL when they are all one. */
static gs_status norm_factors(against *a, int norm, float **out, gs_error *err) {
    gs_module *m = &a->s->module[norm];
    const gs_tensor *source;
    GS_TRY(source_of(a, m, "weight", &source, err));
    float *theirs = NULL, one = m->plus_one ? 1 : 0;
    if (!source || !comparable(m)) return GS_OK;
    gs_status status = gs_read_floats(source, &theirs, err);
    if (status == GS_OK) status = gs_read_floats(m->weight.at->t, out, err);
    bool ones = true;
    for (int64_t j = 0; status == GS_OK && j < m->cols; j++) {
        float f = (theirs[j] + one) / ((*out)[j] + one);
        ones = ones && gs_round_to(a->s->dtype, theirs[j]) == (*out)[j];
        (*out)[j] = isfinite(f) && f > 0 ? f : 1;
    }
    gs_free(theirs);
    if (status == GS_OK && ones) {
        gs_free(*out);
        *out = NULL;
    }
    return status;
}

/* What the carrier's rows were multiplied by must be taken out of these columns. */
static gs_status carried_factors(against *a, int first, float **out, gs_error *err) {
    const gs_scale_site *site = &a->site[first];
    int carrier = -1;
    for (int i = a->begin; site->node && i < a->end; i++)
        if (strcmp(a->s->module[i].name, site->node->name) == 0) carrier = i;
    if (carrier < 0 || !a->row[carrier]) return GS_OK;
    *out = gs_alloc((size_t)site->width * sizeof **out);
    if (!*out) return gs_error_nomem(err, (size_t)site->width * sizeof **out);
    for (int64_t j = 0; j < site->width; j++) (*out)[j] = 1 / a->row[carrier][gs_scale_site_row(site, j)];
    return GS_OK;
}

/* Whether every linear of the group is the source's as it stands. */
static gs_status plain_group(against *a, int first, bool *all, gs_error *err) {
    *all = true;
    for (int i = first; i < a->end && *all; i++) {
        gs_module *m = &a->s->module[i];
        gs_compare_result r;
        if (m->op != GS_OP_LINEAR || m->group != first || !comparable(m)) continue;
        GS_TRY(compare(a, i, NULL, 0, false, &r, err));
        *all = r.bad == 0;
    }
    return GS_OK;
}

/* *any: there was one. */
static gs_status factored_group(against *a, int first, const float *factors, float slack, bool *any, gs_error *err) {
    *any = false;
    for (int i = first; i < a->end; i++) {
        gs_module *m = &a->s->module[i];
        gs_compare_result r;
        if (m->op != GS_OP_LINEAR || m->group != first || !comparable(m)) continue;
        GS_TRY(compare(a, i, factors, slack, a->carrier[i], &r, err));
        report_misfit(a, m, m->weight.at, &r, factors || a->carrier[i]);
        *any = true;
    }
    return GS_OK;
}

/* The norm's factors are judged by the linears that must undo them. */
static gs_status check_normed_group(against *a, int first, gs_error *err) {
    gs_module *norm = &a->s->module[a->s->module[first].norm];
    float *factors = NULL;
    bool plain, any = false;
    GS_TRY(plain_group(a, first, &plain, err));
    if (plain) return GS_OK; /* and so must the norm be, which is compared at last */
    gs_status status = norm_factors(a, a->s->module[first].norm, &factors, err);
    if (status == GS_OK) status = factored_group(a, first, factors, 0, &any, err);
    if (any && factors && norm->weight.at) norm->weight.at->compared = true;
    gs_free(factors);
    return status;
}

static gs_status check_group(against *a, int first, gs_error *err) {
    float *factors = NULL;
    bool any;
    if (a->s->module[first].norm >= 0) return check_normed_group(a, first, err);
    gs_status status = carried_factors(a, first, &factors, err);
    if (status == GS_OK) status = factored_group(a, first, factors, factors ? ESTIMATED : 0, &any, err);
    gs_free(factors);
    return status;
}

static gs_status find_carriers(against *a, gs_error *err) {
    for (int i = a->begin; i < a->end; i++) {
        const gs_module *m = &a->s->module[i];
        char reason[96];
        if (m->op != GS_OP_LINEAR || m->group != i || m->norm >= 0) continue;
        GS_TRY(gs_scale_site_find(a->net, gs_net_node(a->net, m->node)->input[0], &a->site[i], reason, err));
        for (int k = a->begin; a->site[i].node && k < i; k++)
            if (strcmp(a->s->module[k].name, a->site[i].node->name) == 0) a->carrier[k] = a->s->module[k].op == GS_OP_LINEAR;
    }
    return GS_OK;
}

/* ---- biases ---- */

/* A carrier's bias has the factors of its rows. */
static gs_status check_stored_bias(against *a, int at, gs_error *err) {
    gs_module *m = &a->s->module[at];
    gs_stored *stored = m->weight.bias;
    const gs_tensor *source;
    GS_TRY(source_of(a, m, "bias", &source, err));
    gs_compare_result r;
    bool ones = true;
    if (!source) return GS_OK;
    for (int64_t i = 0; a->row[at] && i < m->rows; i++) ones = ones && a->row[at][i] == 1;
    gs_compare c = {.codes = {stored->t, GS_LAYOUT_FLOAT, 1, m->rows}, .source = source, .groups = 1, .dtype = a->s->dtype,
                    .columns = ones ? NULL : a->row[at], .slack = ones ? 0 : ESTIMATED};
    GS_TRY(gs_compare_matrix(a->s->cx, &c, &r, err));
    done(a, stored, source);
    report_misfit(a, m, stored, &r, !ones);
    return GS_OK;
}

typedef struct folded {
    float *deq, *offset, *source, *stored; /* stored: beside quant_bias, or NULL */
    gs_code_row *row;
} folded;

static gs_status read_folded(against *a, const gs_module *m, const gs_tensor *source, folded *f, gs_error *err) {
    gs_codes codes = gs_weight_codes(m);
    f->row = gs_calloc((size_t)m->rows, sizeof *f->row);
    if (!f->row) return gs_error_nomem(err, (size_t)m->rows * sizeof *f->row);
    GS_TRY(gs_scan_codes(a->s, m->weight.at, &codes, f->row, err));
    GS_TRY(gs_read_deq(m->weight.deq->t, &f->deq, err));
    GS_TRY(gs_read_floats(m->weight.input_offset->t, &f->offset, err));
    if (m->weight.bias) GS_TRY(gs_read_floats(m->weight.bias->t, &f->stored, err));
    return gs_read_floats(source, &f->source, err);
}

/* No consumer adds it: it is the source's, or where the bundle came from a format that stores none, what quant_bias holds. */
static bool judge_stored(against *a, const gs_module *m, int64_t n, double stored, double wanted, double held, double unit) {
    bool fits = fabs(stored - wanted) <= fabs(wanted) * unit || fabs(stored - held) <= fabs(held) * unit;
    return gs_report_that(&a->s->report, GS_CHECK_AGAINST_FLOAT, fits, m->weight.bias->t->name,
                          "[%lld] is %.9g, the source's is %.9g, and quant_bias holds %.9g", (long long)n, stored, wanted, held);
}

static void judge_folded(against *a, int at, const folded *f) {
    const gs_module *m = &a->s->module[at];
    double unit = a->s->dtype == GS_BF16 ? 0x1p-7 : a->s->dtype == GS_F16 ? 0x1p-10 : 0x1p-19;
    if (a->row[at]) unit += (double)ESTIMATED;
    for (int64_t n = 0; n < m->rows; n++) {
        int32_t got;
        memcpy(&got, m->weight.quant_bias->t->data + 4 * n, 4);
        double wanted = (double)f->source[n] * (a->row[at] ? (double)a->row[at][n] : 1), bias = wanted / (double)f->deq[n];
        double shift = (double)f->offset[0] * (double)f->row[n].sum, want = rint(bias) - shift;
        if (!gs_report_that(&a->s->report, GS_CHECK_AGAINST_FLOAT, fabs(got - want) <= 1 + fabs(bias) * unit + fabs(shift) * 0x1p-23,
                            m->weight.quant_bias->t->name, "[%lld] is %d, with the source's bias it is %.9g", (long long)n, (int)got, want))
            return;
        if (f->stored && !judge_stored(a, m, n, (double)f->stored[n], wanted, (got + shift) * (double)f->deq[n], unit)) return;
    }
}

/* Of a static linear, whose bias is in quant_bias. */
static gs_status check_folded_bias(against *a, int at, gs_error *err) {
    const gs_module *m = &a->s->module[at];
    const gs_weight *w = &m->weight;
    folded f = {0};
    const gs_tensor *source;
    GS_TRY(source_of(a, m, "bias", &source, err));
    if (!source) return GS_OK;
    bool can = comparable(m) && w->deq && w->quant_bias && w->input_offset;
    if (!gs_report_that(&a->s->report, GS_CHECK_AGAINST_COVERAGE, can, source->name, "the bundle's bias cannot be told")) return GS_OK;
    gs_status status = read_folded(a, m, source, &f, err);
    if (status == GS_OK) judge_folded(a, at, &f);
    if (w->bias) done(a, w->bias, source);
    gs_free(f.stored);
    gs_free(f.row);
    gs_free(f.deq);
    gs_free(f.offset);
    gs_free(f.source);
    return status;
}

/* ---- all of it ---- */

/* What no group has met: embeddings, norms that smoothing leaves alone, stored tied heads, biases. */
static gs_status check_rest(against *a, gs_error *err) {
    for (int i = a->begin; i < a->end; i++) {
        gs_module *m = &a->s->module[i];
        GS_TRY(gs_cancel_check(err));
        if (m->weight.at && !m->weight.at->compared) GS_TRY(compare_as_it_is(a, i, err));
        if (!m->bias) continue;
        if (m->weight.bias && !(m->weight.deq && m->weight.quant_bias)) GS_TRY(check_stored_bias(a, i, err));
        else GS_TRY(check_folded_bias(a, i, err));
    }
    return GS_OK;
}

static gs_status check_segment(against *a, gs_error *err) {
    GS_TRY(gs_subject_net(a->s, a->s->module[a->begin].segment, &a->net, err));
    GS_TRY(find_carriers(a, err));
    for (int i = a->begin; i < a->end; i++) {
        const gs_module *m = &a->s->module[i];
        GS_TRY(gs_cancel_check(err));
        if (m->op == GS_OP_LINEAR && !m->tied && m->group == i) GS_TRY(check_group(a, i, err));
        gs_progress(a->s->cx, "comparing", i + 1, a->s->modules);
    }
    return check_rest(a, err);
}

static void forget_segment(against *a) {
    for (int i = a->begin; i < a->end; i++) {
        gs_free(a->row[i]);
        gs_scale_site_clear(&a->site[i]);
        a->row[i] = NULL;
    }
    gs_net_destroy(a->net);
    a->net = NULL;
}

static gs_status check_all(against *a, gs_error *err) {
    GS_TRY(gs_verify_settings_against(a->s, gs_checkpoint_config(a->from.checkpoint)->json, err));
    for (a->begin = 0; a->begin < a->s->modules; a->begin = a->end) {
        a->end = a->begin + 1;
        while (a->end < a->s->modules && a->s->module[a->end].segment == a->s->module[a->begin].segment) a->end++;
        gs_status status = check_segment(a, err);
        forget_segment(a);
        GS_TRY(status);
    }
    gs_verify_coverage(a->s);
    return GS_OK;
}

gs_status gs_verify_against(gs_subject *s, gs_error *err) {
    against a = {.s = s};
    size_t n = (size_t)s->modules + 1;
    if (!s->options->against || !s->modules) return GS_OK;
    a.row = gs_calloc(n, sizeof *a.row);
    a.carrier = gs_calloc(n, sizeof *a.carrier);
    a.site = gs_calloc(n, sizeof *a.site);
    gs_status status = a.row && a.carrier && a.site ? gs_source_open(s->options->against, s->cx->helper, &a.from, err)
                                                    : gs_error_nomem(err, n * sizeof *a.site);
    if (status == GS_OK) status = check_all(&a, err);
    gs_free(a.row);
    gs_free(a.carrier);
    gs_free(a.site);
    gs_source_close(&a.from);
    return status;
}
