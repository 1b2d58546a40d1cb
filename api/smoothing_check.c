#include <api/smoothing_check.h>

#include <api/opened.h>
#include <base/mem.h>
#include <eval/head.h>
#include <llm/walk.h>
#include <ptq/smooth_quant.h>

static gs_status fold(void *algo, gs_net *segment, gs_error *err) { return gs_smooth_quant_fold(algo, segment, err); }

typedef struct check {
    gs_opened plain, folded;
    float *plain_hidden, *folded_hidden; /* [count, hidden] */
    float change, largest;               /* of the logits */
} check;

static gs_status run(check *c, gs_context *cx, const char *path, gs_comp_algo *algo, const int32_t *tokens,
                     int64_t count, gs_error *err) {
    int64_t starts[2] = {0, count};
    gs_batch batch = {.rows = count, .sequences = 1, .starts = starts};
    GS_TRY(gs_opened_open(cx->helper, path, NULL, &c->plain, err));
    GS_TRY(gs_opened_open_as(cx->helper, path, fold, algo, &c->folded, err));
    const gs_model *plain = c->plain.model, *folded = c->folded.model;
    size_t cells = (size_t)count * (size_t)gs_model_settings(plain)->hidden;
    c->plain_hidden = gs_calloc(cells, sizeof(float));
    c->folded_hidden = gs_calloc(cells, sizeof(float));
    if (!c->plain_hidden || !c->folded_hidden) return gs_error_nomem(err, cells * sizeof(float));
    GS_TRY(gs_walk_hidden(cx, plain, GS_GEMM_F32, tokens, &batch, c->plain_hidden, NULL, NULL, err));
    GS_TRY(gs_walk_hidden(cx, folded, GS_GEMM_F32, tokens, &batch, c->folded_hidden, NULL, NULL, err));
    return gs_head_change(cx, folded, plain, GS_GEMM_F32, count, c->folded_hidden, c->plain_hidden, &c->change,
                          &c->largest, err);
}

gs_status gs_smoothing_check(gs_context *cx, const char *path, gs_comp_algo *algo, const int32_t *tokens,
                             int64_t count, double *change, gs_error *err) {
    check c = {0};
    gs_status status = run(&c, cx, path, algo, tokens, count, err);
    *change = c.largest > 0 ? (double)c.change / (double)c.largest : (double)c.change;
    gs_opened_close(&c.plain);
    gs_opened_close(&c.folded);
    gs_free(c.plain_hidden);
    gs_free(c.folded_hidden);
    return status;
}
