/* A bundle against the float model it was made from.
 *
 * A quantized row is within half a step of the source's (a whole one where the manifest says that codes were refined), or clipped at the end of its range by a search. Smoothing
 * multiplies the columns of the linears that read a norm by what it divides the norm's weight by, so that the norms tell the
 * factors; factors between two linears (values and output, up and down) are found as one number a row of the former, which
 * the columns of the latter must undo. A bundle that needs no factors gets none.
 */
#include <verify/compare.h>
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
    gs_checkpoint *source;
    float **row;       /* a module: factors found for its rows, or NULL */
    bool *carrier;     /* a module: its rows may have factors */
    gs_scale_site *site; /* the first linear of a group without norm: who carries its factors */
    int64_t unchecked;
} against;

/* The source's tensor of a module's weight or bias, of the shape that the bundle needs. */
static const gs_tensor *source_of(against *a, const gs_module *m, const char *suffix) {
    char name[400], got[128];
    snprintf(name, sizeof name, "%s.%s", m->name, suffix);
    const gs_tensor *t = gs_checkpoint_find(a->source, name);
    if (!gs_report_that(&a->s->report, GS_CHECK_AGAINST_WEIGHTS, t != NULL, name, "the source has no such tensor")) return NULL;
    int64_t rows, cols, want_rows = strcmp(suffix, "weight") ? 1 : m->rows, want_cols = strcmp(suffix, "weight") ? m->rows : m->cols;
    gs_tensor_matrix(t, &rows, &cols);
    if (!gs_report_that(&a->s->report, GS_CHECK_AGAINST_WEIGHTS, rows == want_rows && cols == want_cols, name, "the source's is %s",
                        gs_tensor_shape_text(t, got, sizeof got)))
        return NULL;
    return t;
}

static bool comparable(const gs_module *m) {
    if (!m->sound || m->type == GS_TYPE_UNKNOWN) return false;
    return m->type == GS_TYPE_FLOAT || m->scale;
}

/* One linear with given column factors. *fits false: not a finding yet. */
static gs_status compare(against *a, int at, const float *columns, float slack, bool rows, gs_compare_result *r, gs_error *err) {
    gs_module *m = &a->s->module[at];
    const gs_stored *stored = gs_subject_part(a->s, m, "weight");
    const gs_tensor *source = source_of(a, m, "weight");
    if (!source || !stored) return GS_OK;
    gs_compare c = {.stored = stored->t, .source = source, .scale = m->scale, .offset = m->offset, .columns = columns, .slack = slack,
                    .steps = a->s->refined ? 1 : 0.5f, .dtype = a->s->dtype};
    if (m->derived && a->s->dtype != GS_F32) c.slack += PRODUCT_ROUNDING;
    if (rows) {
        gs_free(a->row[at]);
        a->row[at] = c.rows = gs_alloc((size_t)m->rows * sizeof *c.rows);
        if (!c.rows) return gs_error_nomem(err, (size_t)m->rows * sizeof *c.rows);
    }
    GS_TRY(gs_compare_matrix(a->s->cx, &c, r, err));
    gs_subject_drop(a->s, stored, 0, stored->t->bytes);
    gs_checkpoint_drop(a->source, source);
    return GS_OK;
}

static void report_misfit(against *a, const gs_module *m, const gs_compare_result *r, bool smoothed) {
    char name[400];
    snprintf(name, sizeof name, "%s.weight", m->name);
    gs_report_that(&a->s->report, m->type == GS_TYPE_FLOAT ? GS_CHECK_AGAINST_FLOAT : GS_CHECK_AGAINST_WEIGHTS, r->bad == 0, name,
                   "%lld rows differ from the source's%s; the first at [%lld, %lld]: %.9g, the source's is %.9g", (long long)r->bad,
                   smoothed ? " with the factors of smoothing" : "", (long long)r->row, (long long)r->col, (double)r->stored,
                   (double)r->wanted);
}

/* A vector or embedding: exactly the source's, cast. */
static gs_status compare_exact(against *a, gs_module *m, bool *same, gs_compare_result *r, gs_error *err) {
    const gs_stored *stored = gs_subject_part(a->s, m, "weight");
    const gs_tensor *source = source_of(a, m, "weight");
    *same = true;
    if (!stored || !source || !m->sound) return GS_OK;
    gs_compare c = {.stored = stored->t, .source = source, .dtype = a->s->dtype};
    GS_TRY(gs_compare_matrix(a->s->cx, &c, r, err));
    gs_subject_drop(a->s, stored, 0, stored->t->bytes);
    gs_checkpoint_drop(a->source, source);
    *same = r->bad == 0;
    return GS_OK;
}

static gs_status read_vector(const gs_tensor *t, int64_t n, float **out, gs_error *err) {
    *out = gs_calloc((size_t)n + 1, sizeof **out);
    return *out ? gs_tensor_read_f32(t, 0, 1, *out, err) : gs_error_nomem(err, (size_t)n * sizeof **out);
}

/* Factors of the columns that read the norm: source weight over stored weight; NULL when they are all one. */
static gs_status norm_factors(against *a, int norm, float **out, gs_error *err) {
    gs_module *m = &a->s->module[norm];
    const gs_stored *stored = gs_subject_part(a->s, m, "weight");
    const gs_tensor *source = source_of(a, m, "weight");
    float *theirs = NULL;
    if (!stored || !source || !m->sound) return GS_OK;
    gs_status status = read_vector(source, m->cols, &theirs, err);
    if (status == GS_OK) status = read_vector(stored->t, m->cols, out, err);
    bool ones = true;
    for (int64_t j = 0; status == GS_OK && j < m->cols; j++) {
        float f = theirs[j] / (*out)[j];
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
    for (int i = 0; site->node && i < a->s->modules; i++)
        if (strcmp(a->s->module[i].name, site->node->name) == 0) carrier = i;
    if (carrier < 0 || !a->row[carrier]) return GS_OK;
    *out = gs_alloc((size_t)site->width * sizeof **out);
    if (!*out) return gs_error_nomem(err, (size_t)site->width * sizeof **out);
    for (int64_t j = 0; j < site->width; j++) (*out)[j] = 1 / a->row[carrier][site->map[j]];
    return GS_OK;
}

/* Whether every linear of the group is the source's as it stands. */
static gs_status plain_group(against *a, int first, bool *all, gs_error *err) {
    *all = true;
    for (int i = first; i < a->s->modules && *all; i++) {
        gs_module *m = &a->s->module[i];
        if (m->op != GS_OP_LINEAR || m->group != first || !comparable(m)) continue;
        gs_compare_result r = {0};
        GS_TRY(compare(a, i, NULL, 0, false, &r, err));
        *all = r.bad == 0;
    }
    return GS_OK;
}

static gs_status factored_group(against *a, int first, const float *factors, float slack, gs_error *err) {
    for (int i = first; i < a->s->modules; i++) {
        gs_module *m = &a->s->module[i];
        if (m->op != GS_OP_LINEAR || m->group != first || !comparable(m)) continue;
        gs_compare_result r = {0};
        GS_TRY(compare(a, i, factors, slack, a->carrier[i], &r, err));
        report_misfit(a, m, &r, factors || a->carrier[i]);
    }
    return GS_OK;
}

static gs_status check_group(against *a, int first, gs_error *err) {
    const gs_module *m = &a->s->module[first];
    float *factors = NULL;
    bool plain, same = true;
    gs_compare_result r = {0};
    gs_status status;
    if (m->norm < 0) {
        status = carried_factors(a, first, &factors, err);
        if (status == GS_OK) status = factored_group(a, first, factors, factors ? ESTIMATED : 0, err);
        gs_free(factors);
        return status;
    }
    GS_TRY(plain_group(a, first, &plain, err));
    if (plain) {
        GS_TRY(compare_exact(a, &a->s->module[m->norm], &same, &r, err));
        if (!same) report_misfit(a, &a->s->module[m->norm], &r, false);
        return GS_OK;
    }
    status = norm_factors(a, m->norm, &factors, err);
    if (status == GS_OK) status = factored_group(a, first, factors, 0, err);
    gs_free(factors);
    return status;
}

static gs_status find_carriers(against *a, gs_error *err) {
    for (int i = 0; i < a->s->modules; i++) {
        const gs_module *m = &a->s->module[i];
        char reason[96];
        if (m->op != GS_OP_LINEAR || m->group != i || m->norm >= 0) continue;
        const gs_net *net = a->s->segment[m->segment];
        GS_TRY(gs_scale_site_find(net, gs_net_node(net, m->node)->input[0], &a->site[i], reason, err));
        for (int k = 0; a->site[i].node && k < i; k++)
            if (strcmp(a->s->module[k].name, a->site[i].node->name) == 0) a->carrier[k] = a->s->module[k].op == GS_OP_LINEAR;
    }
    return GS_OK;
}

static gs_status check_all(against *a, gs_error *err) {
    GS_TRY(find_carriers(a, err));
    for (int i = 0; i < a->s->modules; i++) {
        gs_module *m = &a->s->module[i];
        gs_compare_result r = {0};
        bool same;
        GS_TRY(gs_cancel_check(err));
        if (m->op == GS_OP_EMBEDDING) {
            GS_TRY(compare_exact(a, m, &same, &r, err));
            if (!same) report_misfit(a, m, &r, false);
        }
        if (m->op == GS_OP_LINEAR && !m->tied && !comparable(m)) a->unchecked++;
        if (m->op == GS_OP_LINEAR && !m->tied && m->group == i) GS_TRY(check_group(a, i, err));
        if (m->op == GS_OP_LINEAR && m->tied && m->norm >= 0) {
            GS_TRY(compare_exact(a, &a->s->module[m->norm], &same, &r, err));
            if (!same) report_misfit(a, &a->s->module[m->norm], &r, false);
        }
        gs_progress(a->s->cx, "comparing", i + 1, a->s->modules);
    }
    if (a->unchecked)
        gs_log(a->s->cx, GS_LOG_WARN, "%lld linears were not compared with the source: 4-bit codes, scales of groups of columns, or a finding of their own", (long long)a->unchecked);
    return GS_OK;
}

gs_status gs_verify_against(gs_subject *s, gs_error *err) {
    against a = {.s = s};
    size_t n = (size_t)s->modules + 1;
    if (!s->options->against || !s->modules) return GS_OK;
    GS_TRY(gs_checkpoint_open(s->options->against, NULL, &a.source, err));
    a.row = gs_calloc(n, sizeof *a.row);
    a.carrier = gs_calloc(n, sizeof *a.carrier);
    a.site = gs_calloc(n, sizeof *a.site);
    gs_status status = a.row && a.carrier && a.site ? check_all(&a, err) : gs_error_nomem(err, n * sizeof *a.site);
    for (size_t i = 0; a.row && i < n; i++) gs_free(a.row[i]);
    for (size_t i = 0; a.site && i < n; i++) gs_scale_site_clear(&a.site[i]);
    gs_free(a.row);
    gs_free(a.carrier);
    gs_free(a.site);
    gs_checkpoint_close(a.source);
    return status;
}
