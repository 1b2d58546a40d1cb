#include <eval/perplexity.h>

#include <base/mem.h>
#include <eval/head.h>
#include <eval/score.h>
#include <llm/walk.h>

#include <string.h>

enum { DEFAULT_WINDOW = 2048, LLAMA_CPP_WINDOW = 512 };
static const int64_t DEFAULT_BUDGET = (int64_t)512 << 20;

/* One evaluation in flight. */
typedef struct run {
    gs_context *cx;
    const gs_model *model, *reference;
    const gs_eval_options *options;
    const int32_t *tokens;
    int64_t window, windows, group; /* windows a group */
    int64_t steps, total_steps;     /* progress, one a window and segment */
    int32_t *ids, *target;          /* [group * window] */
    int64_t *starts;                /* [group + 1] */
    float *hidden, *ref_hidden;     /* [group * window, hidden] */
    gs_row_score *rows;             /* [group * window] */
    gs_outfile *dump;
    gs_scores scores;
} run;

static gs_status check_tokens(const run *r, int64_t count, gs_error *err) {
    int64_t vocab = gs_model_settings(r->model)->vocab;
    if (count < 2)
        return GS_FAIL(err, GS_E_INVALID, "%lld tokens are too few: at least two are needed", (long long)count);
    for (int64_t i = 0; i < count; i++)
        if (r->tokens[i] < 0 || r->tokens[i] >= vocab)
            return GS_FAIL(err, GS_E_INVALID, "token %lld is %d, the vocabulary has %lld", (long long)i,
                           r->tokens[i], (long long)vocab);
    if (r->reference && gs_model_settings(r->reference)->vocab != vocab)
        return GS_FAIL(err, GS_E_INVALID, "the reference has %lld tokens in its vocabulary, the model %lld",
                       (long long)gs_model_settings(r->reference)->vocab, (long long)vocab);
    return GS_OK;
}

/* Windows and how many of them fit the memory budget at once. */
static void plan(run *r, int64_t count) {
    const gs_eval_options *o = r->options;
    int64_t positions = gs_model_settings(r->model)->max_positions;
    r->window = o->window;
    if (r->window <= 0) {
        r->window = o->protocol == GS_PROTOCOL_LLAMA_CPP ? LLAMA_CPP_WINDOW : DEFAULT_WINDOW;
        if (positions >= 2 && positions < r->window) r->window = positions;
    }
    if (positions > 0 && r->window > positions)
        gs_log(r->cx, GS_LOG_WARN, "windows of %lld tokens are longer than the model's %lld positions",
               (long long)r->window, (long long)positions);
    if (r->window > count) r->window = count;
    r->windows = count / r->window;
    if (o->max_windows > 0 && r->windows > o->max_windows) r->windows = o->max_windows;
    int64_t budget = r->cx->memory_budget > 0 ? r->cx->memory_budget : DEFAULT_BUDGET;
    int64_t row = gs_walk_bytes_per_row(r->model) + 4 * gs_model_settings(r->model)->hidden * 2;
    r->group = budget / (row * r->window);
    if (r->group < 1) r->group = 1;
    if (r->group > r->windows) r->group = r->windows;
    int64_t walks = gs_model_segments(r->model) + (r->reference ? gs_model_segments(r->reference) : 0);
    r->total_steps = walks * r->windows;
}

static gs_status allocate(run *r, gs_error *err) {
    size_t rows = (size_t)(r->group * r->window), width = (size_t)gs_model_settings(r->model)->hidden;
    r->ids = gs_calloc(rows, sizeof *r->ids);
    r->target = gs_calloc(rows, sizeof *r->target);
    r->starts = gs_calloc((size_t)r->group + 1, sizeof *r->starts);
    r->hidden = gs_calloc(rows * width, sizeof(float));
    r->rows = gs_calloc(rows, sizeof *r->rows);
    bool ok = r->ids && r->target && r->starts && r->hidden && r->rows;
    if (ok && r->reference) {
        width = (size_t)gs_model_settings(r->reference)->hidden;
        r->ref_hidden = gs_calloc(rows * width, sizeof(float));
        ok = r->ref_hidden != NULL;
    }
    if (!ok) return gs_error_nomem(err, rows * width * sizeof(float));
    return gs_scores_init(&r->scores, r->windows * r->window, r->reference != NULL, err);
}

static void clear(run *r) {
    gs_outfile_abort(r->dump);
    gs_scores_clear(&r->scores);
    gs_free(r->ids);
    gs_free(r->target);
    gs_free(r->starts);
    gs_free(r->hidden);
    gs_free(r->ref_hidden);
    gs_free(r->rows);
}

/* Ids, sequence starts and targets of windows [first, first + n). */
static void fill(run *r, int64_t first, int64_t n) {
    int64_t w = r->window;
    bool llama_cpp = r->options->protocol == GS_PROTOCOL_LLAMA_CPP;
    int64_t from = llama_cpp ? w / 2 : 0; /* positions before it are context only */
    memcpy(r->ids, r->tokens + first * w, (size_t)(n * w) * sizeof *r->ids);
    for (int64_t s = 0; s < n; s++) {
        int32_t *ids = r->ids + s * w, *target = r->target + s * w;
        r->starts[s] = s * w;
        for (int64_t i = 0; i < w; i++) target[i] = i >= from && i + 1 < w ? ids[i + 1] : -1;
        if (llama_cpp && r->options->bos >= 0) ids[0] = r->options->bos;
    }
    r->starts[n] = n * w;
}

static void tick(run *r, int64_t n) {
    r->steps += n;
    gs_progress(r->cx, "evaluating", r->steps, r->total_steps);
}

typedef struct ticker {
    run *run;
    int64_t windows;
} ticker;

static void segment_done(void *ctx) {
    ticker *t = ctx;
    tick(t->run, t->windows);
}

static void collect(run *r, int64_t rows) {
    gs_scores *s = &r->scores;
    for (int64_t i = 0; i < rows; i++) {
        if (r->target[i] < 0) continue;
        s->nll[s->count] = r->rows[i].nll;
        if (s->kld) {
            s->ref_nll[s->count] = r->rows[i].ref_nll;
            s->kld[s->count] = r->rows[i].kld;
            s->agree += r->rows[i].agree;
        }
        s->count++;
    }
}

static gs_status run_group(run *r, int64_t first, int64_t n, gs_error *err) {
    fill(r, first, n);
    gs_gemm_type type = r->options->type;
    gs_batch batch = {.rows = n * r->window, .sequences = n, .starts = r->starts};
    ticker t = {r, n};
    GS_TRY(gs_walk_hidden(r->cx, r->model, type, r->ids, &batch, r->hidden, segment_done, &t, err));
    if (r->reference)
        GS_TRY(gs_walk_hidden(r->cx, r->reference, type, r->ids, &batch, r->ref_hidden, segment_done, &t, err));
    gs_logit_dump dump = {r->dump, first * r->window};
    GS_TRY(gs_head_score(r->cx, r->model, r->reference, type, batch.rows, r->hidden, r->ref_hidden,
                         r->target, r->dump ? &dump : NULL, r->rows, err));
    collect(r, batch.rows);
    tick(r, r->reference ? 2 * n : n);
    return GS_OK;
}

gs_status gs_eval_perplexity(gs_context *cx, const gs_model *model, const gs_model *reference,
                             const gs_eval_options *options, const int32_t *tokens, int64_t count,
                             gs_eval_result *result, gs_error *err) {
    run r = {.cx = cx, .model = model, .reference = reference, .options = options, .tokens = tokens};
    double began = gs_clock();
    gs_status status;
    *result = (gs_eval_result){0};
    GS_TRY(check_tokens(&r, count, err));
    plan(&r, count);
    if (r.window < 2)
        return GS_FAIL(err, GS_E_INVALID, "a window of %lld tokens scores nothing", (long long)r.window);
    GS_TRY_GOTO(status, done, allocate(&r, err));
    if (options->dump_logits)
        GS_TRY_GOTO(status, done, gs_outfile_create(options->dump_logits, &r.dump, err));
    for (int64_t first = 0; first < r.windows; first += r.group) {
        int64_t n = r.windows - first < r.group ? r.windows - first : r.group;
        GS_TRY_GOTO(status, done, run_group(&r, first, n, err));
    }
    GS_TRY_GOTO(status, done, gs_scores_summarise(&r.scores, result, err));
    if (r.dump) {
        gs_outfile *dump = r.dump;
        r.dump = NULL;
        GS_TRY_GOTO(status, done, gs_outfile_commit(dump, err));
    }
    result->window = r.window;
    result->windows = r.windows;
    result->seconds = gs_clock() - began;
    result->tokens_per_second = (double)(r.windows * r.window) / result->seconds;
done:
    clear(&r);
    return status;
}
