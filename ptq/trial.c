#include <ptq/trial.h>

#include <base/half.h>
#include <base/mem.h>
#include <kernels/gemm/gemm.h>
#include <kernels/gemm/gemm_s8.h>
#include <kernels/kernels.h>

#include <math.h>
#include <stdatomic.h>
#include <string.h>

enum { PANEL_BYTES = 32 << 20, ROW_BLOCK = 16 };

/* What a trial makes of the samples, once. */
typedef struct inputs {
    int8_t *codes;    /* [rows, k], or NULL for W8A16 */
    float *row_scale; /* [rows], dynamic only */
} inputs;

/* One panel of weight rows and the buffers to try it in. */
typedef struct panel {
    const gs_trial_set *set;
    gs_context *cx;
    const gs_kernels *kernels;
    inputs *input; /* [trials] */
    int64_t most;  /* rows a panel */
    int64_t rows;  /* rows of the one in hand */
    float *weight; /* [most, k] */
    float *plain;  /* [most, k]: dequantized, for W8A16 */
    int8_t *codes; /* [most, k] */
    float *scale;  /* [most] */
    int32_t *bias; /* [most] */
    float *want, *got; /* [sample rows, most] */
    float *scratch;    /* [workers, 2, k] */
    _Atomic int failed;   /* a weight is no number */
    _Atomic int unusable; /* the trial in hand cannot be written: its accumulators could overflow */
} panel;

/* ---- samples ---- */

typedef struct input_job {
    panel *p;
    const gs_trial *trial;
    inputs *out;
} input_job;

static void quantize_input(void *ctx, int64_t begin, int64_t end, int worker) {
    input_job *j = ctx;
    const gs_kernels *kernels = j->p->kernels;
    int64_t k = j->p->set->k;
    float *row = j->p->scratch + (int64_t)worker * 2 * k;
    for (int64_t r = begin; r < end; r++) {
        const float *x = j->p->set->x + r * k;
        for (int64_t c = 0; c < k; c++) row[c] = j->trial->smooth ? x[c] / j->trial->smooth[c] : x[c];
        int8_t *codes = j->out->codes + r * k;
        if (gs_scheme_is_static(j->trial->scheme)) {
            float reciprocal = gs_round_to(j->trial->rule.compute, 1.0f / j->trial->act.scale);
            kernels->quantize_affine_s8(k, row, reciprocal, j->trial->act.offset, codes);
            continue;
        }
        float scale = kernels->absmax_f32(k, row) / 127.0f;
        j->out->row_scale[r] = scale > 0 ? scale : 1.0f;
        kernels->quantize_s8(k, row, j->out->row_scale[r], codes);
    }
}

static gs_status make_inputs(panel *p, gs_error *err) {
    const gs_trial_set *set = p->set;
    for (int t = 0; t < set->trials; t++) {
        if (set->trial[t].scheme == GS_SCHEME_W8A16) continue;
        inputs *in = &p->input[t];
        in->codes = gs_calloc((size_t)set->rows, (size_t)set->k);
        in->row_scale = gs_calloc((size_t)set->rows, sizeof *in->row_scale);
        if (!in->codes || !in->row_scale) return gs_error_nomem(err, (size_t)(set->rows * set->k));
        input_job j = {p, &set->trial[t], in};
        gs_team_for(p->cx->team, set->rows, ROW_BLOCK, quantize_input, &j);
    }
    return GS_OK;
}

/* ---- weights ---- */

typedef struct read_job {
    panel *p;
    const gs_param *weight;
    int64_t row0;
} read_job;

static void read_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    read_job *j = ctx;
    if (gs_param_read_f32(j->weight, j->row0 + begin, end - begin, j->p->weight + begin * j->p->set->k, NULL) != GS_OK)
        atomic_store(&j->p->failed, 1);
}

typedef struct quantize_job {
    panel *p;
    const gs_trial *trial;
} quantize_job;

static void quantize_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    quantize_job *j = ctx;
    panel *p = j->p;
    int64_t k = p->set->k;
    float *row = p->scratch + (int64_t)worker * 2 * k;
    gs_row_stats stats = {0};
    for (int64_t r = begin; r < end; r++) {
        const float *w = p->weight + r * k;
        if (j->trial->smooth) {
            p->kernels->scale_channels(k, w, j->trial->smooth, row);
            w = row;
        }
        if (!gs_row_quantize(&j->trial->rule, k, w, p->codes + r * k, &p->scale[r], row + k, &stats))
            atomic_store(&p->failed, 1);
        if (j->trial->scheme == GS_SCHEME_W8A16) {
            p->kernels->dequantize_s8(k, p->codes + r * k, p->scale[r], 0.0f, p->plain + r * k);
        } else if (gs_scheme_is_static(j->trial->scheme)) {
            float deq;
            if (gs_static_constants(j->trial->act, p->scale[r], 0.0f, k, p->codes + r * k, "", r, &deq, &p->bias[r],
                                    NULL) != GS_OK) {
                atomic_store(&p->unusable, 1);
                continue;
            }
            p->scale[r] = deq;
        }
    }
}

static gs_status product_f32(panel *p, const float *w, float *y, gs_error *err) {
    const gs_trial_set *set = p->set;
    gs_gemm_weight *packed;
    bool borrowed;
    GS_TRY(gs_gemm_weight_create(GS_GEMM_F32, p->rows, set->k, w, p->cx->team, &borrowed, &packed, err));
    gs_status status = gs_gemm_run(p->cx->team, packed, set->rows, set->x, set->k, y, p->rows, err);
    gs_gemm_weight_destroy(packed);
    return status;
}

static gs_status product_s8(panel *p, int t, gs_error *err) {
    const gs_trial_set *set = p->set;
    const gs_trial *trial = &set->trial[t];
    bool dynamic = trial->scheme == GS_SCHEME_W8A8_DYNAMIC, borrowed;
    gs_gemm_s8_weight *packed;
    gs_gemm_s8_epilogue e = {.bias = dynamic ? NULL : p->bias, .scale = p->scale,
                             .row_scale = dynamic ? p->input[t].row_scale : NULL, .round = GS_F32};
    GS_TRY(gs_gemm_s8_weight_create(p->rows, set->k, p->codes, p->cx->team, &borrowed, &packed, err));
    gs_status status = gs_gemm_s8_run(p->cx->team, packed, set->rows, p->input[t].codes, set->k, &e, p->got, p->rows, err);
    gs_gemm_s8_weight_destroy(packed);
    return status;
}

/* ---- sums ---- */

typedef struct sum_job {
    const panel *p;
    const float *minus; /* NULL: energy */
    double *sum;        /* [sample rows] */
} sum_job;

static void sum_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const sum_job *j = ctx;
    int64_t n = j->p->rows;
    for (int64_t r = begin; r < end; r++) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++) {
            double d = (double)j->p->want[r * n + i] - (j->minus ? (double)j->minus[r * n + i] : 0.0);
            sum += d * d;
        }
        j->sum[r] += sum;
    }
}

static void add_squares(const panel *p, const float *minus, double *sum) {
    sum_job j = {p, minus, sum};
    gs_team_for(p->cx->team, p->set->rows, ROW_BLOCK, sum_rows, &j);
}

static gs_status try_panel(panel *p, double *error, double *energy, gs_error *err) {
    const gs_trial_set *set = p->set;
    GS_TRY(product_f32(p, p->weight, p->want, err));
    add_squares(p, NULL, energy);
    for (int t = 0; t < set->trials; t++) {
        quantize_job j = {p, &set->trial[t]};
        GS_TRY(gs_cancel_check(err));
        gs_team_for(p->cx->team, p->rows, ROW_BLOCK, quantize_rows, &j);
        if (atomic_load(&p->failed))
            return GS_FAIL(err, GS_E_NUMERIC, "its weights hold NaN or an infinity");
        if (atomic_exchange(&p->unusable, 0)) {
            for (int64_t r = 0; r < set->rows; r++) error[t * set->rows + r] = INFINITY;
            continue;
        }
        GS_TRY(set->trial[t].scheme == GS_SCHEME_W8A16 ? product_f32(p, p->plain, p->got, err) : product_s8(p, t, err));
        add_squares(p, p->got, error + t * set->rows);
    }
    return GS_OK;
}

static gs_status try_linear(panel *p, const gs_node *linear, double *error, double *energy, gs_error *err) {
    const gs_param *w = linear->param[GS_ROLE_WEIGHT];
    int64_t rows, cols;
    gs_param_matrix(w, &rows, &cols);
    for (int64_t row0 = 0; row0 < rows; row0 += p->most) {
        read_job j = {p, w, row0};
        p->rows = rows - row0 < p->most ? rows - row0 : p->most;
        gs_team_for(p->cx->team, p->rows, ROW_BLOCK, read_rows, &j);
        if (atomic_load(&p->failed)) return gs_param_read_f32(w, row0, p->rows, p->weight, err);
        GS_TRY(try_panel(p, error, energy, err));
    }
    if (p->set->drop && w->source) p->set->drop(p->set->drop_ctx, w->source);
    return GS_OK;
}

static gs_status allocate(panel *p, gs_error *err) {
    const gs_trial_set *set = p->set;
    int64_t widest = 1, k = set->k;
    for (int i = 0; i < set->count; i++) {
        int64_t rows, cols;
        gs_param_matrix(set->linear[i]->param[GS_ROLE_WEIGHT], &rows, &cols);
        if (rows > widest) widest = rows;
    }
    p->most = PANEL_BYTES / (k * (int64_t)sizeof(float));
    if (p->most < 64) p->most = 64;
    if (p->most > widest) p->most = widest;
    size_t cells = (size_t)p->most * (size_t)k, outputs = (size_t)p->most * (size_t)set->rows;
    p->input = gs_calloc((size_t)set->trials + 1, sizeof *p->input);
    p->weight = gs_calloc(cells, sizeof(float));
    p->plain = gs_calloc(cells, sizeof(float));
    p->codes = gs_calloc(cells, 1);
    p->scale = gs_calloc((size_t)p->most, sizeof(float));
    p->bias = gs_calloc((size_t)p->most, sizeof(int32_t));
    p->want = gs_calloc(outputs, sizeof(float));
    p->got = gs_calloc(outputs, sizeof(float));
    p->scratch = gs_calloc((size_t)gs_team_size(p->cx->team) * 2 * (size_t)k, sizeof(float));
    bool ok = p->input && p->weight && p->plain && p->codes && p->scale && p->bias && p->want && p->got && p->scratch;
    return ok ? GS_OK : gs_error_nomem(err, cells * sizeof(float));
}

static void clear(panel *p) {
    for (int t = 0; p->input && t < p->set->trials; t++) {
        gs_free(p->input[t].codes);
        gs_free(p->input[t].row_scale);
    }
    gs_free(p->input);
    gs_free(p->weight);
    gs_free(p->plain);
    gs_free(p->codes);
    gs_free(p->scale);
    gs_free(p->bias);
    gs_free(p->want);
    gs_free(p->got);
    gs_free(p->scratch);
}

gs_status gs_trial_run(gs_context *cx, const gs_trial_set *set, double *error, double *energy, gs_error *err) {
    panel p = {.set = set, .cx = cx, .kernels = gs_kernels_get()};
    memset(error, 0, (size_t)set->trials * (size_t)set->rows * sizeof *error);
    memset(energy, 0, (size_t)set->rows * sizeof *energy);
    gs_status status = allocate(&p, err);
    if (status == GS_OK) status = make_inputs(&p, err);
    for (int i = 0; i < set->count && status == GS_OK; i++) {
        status = try_linear(&p, set->linear[i], error, energy, err);
        if (status != GS_OK) gs_error_at(err, "%s", set->linear[i]->name);
    }
    clear(&p);
    return status;
}
