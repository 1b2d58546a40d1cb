#include <eval/head.h>

#include <base/mem.h>
#include <kernels/kernels.h>
#include <network/exec.h>
#include <network/rewrite.h>

#include <math.h>
#include <stdatomic.h>
#include <string.h>

enum {
    VOCAB_BLOCK = 2048, /* columns of logits, rows of the projection */
    ROW_BLOCK = 256,    /* rows of logits: a block of them stays in the outer caches */
    SCORE_GRAIN = 16,   /* rows a worker folds at a time */
    MAX_STEPS = 4
};

/* An elementwise node behind the projection. */
typedef struct finish_step {
    gs_op op;
    gs_attr attr;
} finish_step;

/* One model's side: its projection and the operand rows. */
typedef struct side {
    gs_net *net;         /* the norm alone, once the projection is taken out */
    gs_param *projection;
    bool unit;           /* its rows are normalised */
    finish_step step[MAX_STEPS]; /* what is done to each logit, in order */
    int steps;
    int64_t vocab, width;
    float *hidden;       /* [rows, width] after the norm */
    uint16_t *half;      /* the same in bf16, or NULL */
    gs_gemm_weight *weight;
    float *logits;       /* [ROW_BLOCK, columns of the block], dense */
    void *block;         /* [VOCAB_BLOCK, width] f32 or bf16 */
} side;

/* Running state of one row. */
typedef struct row_state {
    float max, ref_max;         /* running maxima */
    int32_t top, ref_top;
    double sum, ref_sum, cross; /* sum exp, sum exp of the reference, A */
    float target, ref_target;
    float change, largest;      /* max |q - p|, max |p| */
} row_state;

typedef struct job {
    gs_context *cx;
    gs_gemm_type type;
    int64_t rows;
    side model, reference;
    bool compared;
    bool change_only; /* nothing is scored: only change and largest are kept */
    const int32_t *target;
    row_state *state;
    const gs_kernels *kernels;
    /* the block being folded */
    int64_t row0, column0, columns;
} job;

static void side_clear(side *s) {
    gs_net_destroy(s->net);
    gs_param_destroy(s->projection);
    gs_gemm_weight_destroy(s->weight);
    gs_free(s->half);
    gs_free(s->logits);
    gs_free(s->block);
}

static bool is_step(const gs_node *node) { return node && (node->op == GS_OP_SCALE || node->op == GS_OP_SOFTCAP); }

/* Takes the elementwise nodes off the end of the net, noting what they do. */
static gs_status take_steps(side *s, gs_error *err) {
    gs_node *last;
    while (is_step(last = gs_net_output_at(s->net, 0)->producer)) {
        if (s->steps == MAX_STEPS)
            return GS_FAIL(err, GS_E_UNSUPPORTED, "more than %d operations follow the head", MAX_STEPS);
        memmove(s->step + 1, s->step, (size_t)s->steps * sizeof *s->step);
        s->step[0] = (finish_step){last->op, last->attr};
        s->steps++;
        GS_TRY(gs_net_erase(s->net, last, err));
    }
    return GS_OK;
}

/* Splits the head into its norm, which is run on all rows, the projection's weight, and what follows it. */
static gs_status side_open(side *s, const gs_model *m, gs_gemm_type type, gs_error *err) {
    GS_TRY(gs_model_segment(m, gs_model_segments(m) - 1, &s->net, err));
    GS_TRY(take_steps(s, err));
    gs_node *projection = gs_net_output_at(s->net, 0)->producer;
    if (!projection || projection->op != GS_OP_LINEAR || projection->param[GS_ROLE_BIAS])
        return GS_FAIL(err, GS_E_UNSUPPORTED, "the head of '%s' is not a plain linear",
                       gs_checkpoint_path(gs_model_checkpoint(m)));
    s->unit = projection->attr.linear.normalize_rows;
    s->projection = gs_node_param_detach(projection, GS_ROLE_WEIGHT);
    GS_TRY(gs_net_erase(s->net, projection, err));
    gs_param_matrix(s->projection, &s->vocab, &s->width);
    size_t element = type == GS_GEMM_BF16 ? sizeof(uint16_t) : sizeof(float);
    s->logits = gs_alloc((size_t)ROW_BLOCK * VOCAB_BLOCK * sizeof(float));
    s->block = gs_alloc((size_t)VOCAB_BLOCK * (size_t)s->width * element);
    if (!s->logits || !s->block)
        return gs_error_nomem(err, (size_t)VOCAB_BLOCK * (size_t)s->width * element);
    return GS_OK;
}

typedef struct narrow_job {
    const float *from;
    uint16_t *to;
    const gs_kernels *kernels;
} narrow_job;

static void narrow(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const narrow_job *j = ctx;
    j->kernels->convert_f32_bf16(end - begin, j->from + begin, j->to + begin);
}

static gs_status side_norm(side *s, job *j, float *hidden, gs_error *err) {
    gs_exec *ex = NULL;
    int64_t starts[2] = {0, j->rows};
    gs_batch batch = {.rows = j->rows, .sequences = 1, .starts = starts};
    size_t count = (size_t)j->rows * (size_t)s->width;
    s->hidden = gs_alloc(count * sizeof(float));
    if (!s->hidden) return gs_error_nomem(err, count * sizeof(float));
    gs_status status = gs_exec_create(j->cx, GS_GEMM_F32, &ex, err);
    if (status == GS_OK) status = gs_exec_prepare(ex, s->net, err);
    if (status == GS_OK) {
        const float *in = hidden;
        status = gs_exec_run(ex, s->net, &batch, &in, &s->hidden, err);
        gs_exec_release(ex, s->net);
    }
    gs_exec_destroy(ex);
    if (status == GS_OK) memcpy(hidden, s->hidden, count * sizeof(float));
    gs_free(s->hidden);
    s->hidden = hidden;
    if (status != GS_OK || j->type != GS_GEMM_BF16) return status;
    s->half = gs_alloc(count * sizeof(uint16_t));
    if (!s->half) return gs_error_nomem(err, count * sizeof(uint16_t));
    narrow_job narrowing = {hidden, s->half, j->kernels};
    gs_team_for(j->cx->team, (int64_t)count, 1 << 16, narrow, &narrowing);
    return GS_OK;
}

typedef struct read_job {
    const gs_param *param;
    int64_t row0;
    gs_gemm_type type;
    bool unit;
    void *block;
    int64_t width;
    atomic_bool failed;
} read_job;

static void read_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    read_job *j = ctx;
    int64_t row = j->row0 + begin, n = end - begin;
    gs_status status;
    if (j->type == GS_GEMM_BF16)
        status = (j->unit ? gs_param_read_unit_16 : gs_param_read_16)(j->param, GS_BF16, row, n,
                                                                      (uint16_t *)j->block + begin * j->width, NULL);
    else
        status = (j->unit ? gs_param_read_unit_f32 : gs_param_read_f32)(j->param, row, n,
                                                                        (float *)j->block + begin * j->width, NULL);
    if (status != GS_OK) atomic_store(&j->failed, true);
}

/* Materialises rows [row0, row0+n) of the projection. */
static gs_status side_weight(side *s, const job *j, int64_t row0, int64_t n, gs_error *err) {
    read_job reading = {.param = s->projection, .row0 = row0, .type = j->type, .unit = s->unit,
                        .block = s->block, .width = s->width};
    gs_team_for(j->cx->team, n, 64, read_rows, &reading);
    if (atomic_load(&reading.failed)) { /* once more, for its words */
        GS_TRY(gs_param_read_f32(s->projection, row0, 1, s->block, err));
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' cannot be read", s->projection->name);
    }
    gs_gemm_weight_destroy(s->weight);
    s->weight = NULL;
    bool borrowed;
    return gs_gemm_weight_create(j->type, n, s->width, s->block, j->cx->team, &borrowed, &s->weight, err);
}

static gs_status side_logits(side *s, const job *j, int64_t row0, int64_t rows, gs_error *err) {
    const void *a = s->half ? (const void *)(s->half + row0 * s->width)
                            : (const void *)(s->hidden + row0 * s->width);
    return gs_gemm_run(j->cx->team, s->weight, rows, a, s->width, s->logits, j->columns, err);
}

/* Position of the first maximum. */
static int32_t position_of(const float *x, int64_t n, float max) {
    for (int64_t i = 0; i < n; i++)
        if (x[i] == max) return (int32_t)i;
    return 0;
}

static void note_change(row_state *s, int64_t n, const float *q, const float *p) {
    float change = s->change, largest = s->largest;
    for (int64_t i = 0; i < n; i++) {
        float d = fabsf(q[i] - p[i]), a = fabsf(p[i]);
        change = d > change ? d : change;
        largest = a > largest ? a : largest;
    }
    s->change = change;
    s->largest = largest;
}

/* Folds one block of a row's logits into its state. */
static void fold(const job *j, row_state *s, const float *q, const float *p, int32_t target) {
    const gs_kernels *k = j->kernels;
    float max = k->max_f32(j->columns, q);
    if (max > s->max) {
        s->sum *= exp((double)s->max - (double)max);
        s->max = max;
        s->top = (int32_t)j->column0 + position_of(q, j->columns, max);
    }
    if (p) {
        float ref = k->max_f32(j->columns, p);
        if (ref > s->ref_max) {
            double scale = exp((double)s->ref_max - (double)ref);
            s->ref_sum *= scale;
            s->cross *= scale;
            s->ref_max = ref;
            s->ref_top = (int32_t)j->column0 + position_of(p, j->columns, ref);
        }
    }
    int64_t at = target - j->column0;
    if (at >= 0 && at < j->columns) {
        s->target = q[at];
        if (p) s->ref_target = p[at];
    }
    if (p) {
        double out[3] = {0, 0, 0};
        k->kl_block_f32(j->columns, p, s->ref_max, q, s->max, out);
        s->ref_sum += out[0];
        s->sum += out[1];
        s->cross += out[2];
    } else {
        float scratch[512];
        for (int64_t i = 0; i < j->columns; i += 512) {
            int64_t n = j->columns - i < 512 ? j->columns - i : 512;
            s->sum += (double)k->exp_sum_f32(n, q + i, s->max, scratch);
        }
    }
}

/* What follows the projection, on one row of the block. */
static void finish_row(const job *j, const side *s, int64_t r) {
    float *logit = s->logits + r * j->columns;
    for (int i = 0; i < s->steps; i++) {
        const gs_attr *a = &s->step[i].attr;
        if (s->step[i].op == GS_OP_SCALE) j->kernels->scale_f32(j->columns, logit, a->scale.factor, logit);
        else j->kernels->softcap_f32(j->columns, logit, a->softcap.cap, logit);
    }
}

static void fold_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const job *j = ctx;
    for (int64_t r = begin; r < end; r++) {
        finish_row(j, &j->model, r);
        if (j->compared) finish_row(j, &j->reference, r);
        int64_t row = j->row0 + r;
        const float *q = j->model.logits + r * j->columns;
        const float *p = j->compared ? j->reference.logits + r * j->columns : NULL;
        if (j->change_only)
            note_change(&j->state[row], j->columns, q, p);
        else if (j->target[row] >= 0)
            fold(j, &j->state[row], q, p, j->target[row]);
    }
}

static gs_status dump_block(const job *j, const gs_logit_dump *dump, int64_t rows, gs_error *err) {
    for (int64_t r = 0; r < rows; r++) {
        int64_t at = (dump->row0 + j->row0 + r) * j->model.vocab + j->column0;
        GS_TRY(gs_outfile_pwrite(dump->file, j->model.logits + r * j->columns,
                                 (size_t)j->columns * sizeof(float), at * (int64_t)sizeof(float), err));
    }
    return GS_OK;
}

static gs_status stream(job *j, const gs_logit_dump *dump, gs_error *err) {
    for (j->column0 = 0; j->column0 < j->model.vocab; j->column0 += VOCAB_BLOCK) {
        GS_TRY(gs_cancel_check(err));
        int64_t left = j->model.vocab - j->column0;
        j->columns = left < VOCAB_BLOCK ? left : VOCAB_BLOCK;
        GS_TRY(side_weight(&j->model, j, j->column0, j->columns, err));
        if (j->compared) GS_TRY(side_weight(&j->reference, j, j->column0, j->columns, err));
        for (j->row0 = 0; j->row0 < j->rows; j->row0 += ROW_BLOCK) {
            int64_t rows = j->rows - j->row0 < ROW_BLOCK ? j->rows - j->row0 : ROW_BLOCK;
            GS_TRY(side_logits(&j->model, j, j->row0, rows, err));
            if (j->compared) GS_TRY(side_logits(&j->reference, j, j->row0, rows, err));
            gs_team_for(j->cx->team, rows, SCORE_GRAIN, fold_rows, j);
            if (dump) GS_TRY(dump_block(j, dump, rows, err));
        }
    }
    return GS_OK;
}

static void finish(const job *j, gs_row_score *scores) {
    for (int64_t r = 0; r < j->rows; r++) {
        const row_state *s = &j->state[r];
        double log_z = (double)s->max + log(s->sum);
        scores[r].nll = log_z - (double)s->target;
        if (!j->compared) continue;
        double ref_log_z = (double)s->ref_max + log(s->ref_sum);
        double kld = s->cross / s->ref_sum - ref_log_z + log_z;
        scores[r].ref_nll = ref_log_z - (double)s->ref_target;
        scores[r].kld = kld > 0 ? kld : (kld <= 0 ? 0 : kld); /* rounding below zero; NaN stays */
        scores[r].agree = s->top == s->ref_top;
    }
}

static void clear(job *j) {
    side_clear(&j->model);
    side_clear(&j->reference);
    gs_free(j->state);
}

/* All of the vocabulary into j->state; the caller clears j. */
static gs_status run(job *j, const gs_model *model, const gs_model *reference, float *hidden, float *ref_hidden,
                     const gs_logit_dump *dump, gs_error *err) {
    j->kernels = gs_kernels_get();
    j->compared = reference != NULL;
    j->state = gs_calloc((size_t)j->rows, sizeof *j->state);
    if (!j->state) return gs_error_nomem(err, (size_t)j->rows * sizeof *j->state);
    for (int64_t r = 0; r < j->rows; r++) j->state[r].max = j->state[r].ref_max = -INFINITY;
    GS_TRY(side_open(&j->model, model, j->type, err));
    GS_TRY(side_norm(&j->model, j, hidden, err));
    if (reference) {
        GS_TRY(side_open(&j->reference, reference, j->type, err));
        GS_TRY(side_norm(&j->reference, j, ref_hidden, err));
    }
    return stream(j, dump, err);
}

gs_status gs_head_score(gs_context *cx, const gs_model *model, const gs_model *reference,
                        gs_gemm_type type, int64_t rows, float *hidden, float *ref_hidden,
                        const int32_t *target, const gs_logit_dump *dump, gs_row_score *scores,
                        gs_error *err) {
    job j = {.cx = cx, .type = type, .rows = rows, .target = target};
    gs_status status = run(&j, model, reference, hidden, ref_hidden, dump, err);
    if (status == GS_OK) finish(&j, scores);
    clear(&j);
    return status;
}

gs_status gs_head_change(gs_context *cx, const gs_model *model, const gs_model *reference, gs_gemm_type type,
                         int64_t rows, float *hidden, float *ref_hidden, float *change, float *largest,
                         gs_error *err) {
    job j = {.cx = cx, .type = type, .rows = rows, .change_only = true};
    gs_status status = run(&j, model, reference, hidden, ref_hidden, NULL, err);
    *change = *largest = 0;
    for (int64_t r = 0; r < rows && status == GS_OK; r++) {
        *change = fmaxf(*change, j.state[r].change);
        *largest = fmaxf(*largest, j.state[r].largest);
    }
    clear(&j);
    return status;
}
