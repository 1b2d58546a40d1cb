/* The streamed head against the whole one, run as a net: normalised rows, and what follows the projection. */
#include "../support.h"
#include "../tiny_model.h"

#include <eval/head.h>
#include <math.h>
#include <network/exec.h>
#include <network/rewrite.h>

/* two blocks of the vocabulary, two of rows */
static const tiny_shape shape = {2500, 32, 48, 1, 4, 2, GS_F32, false};
enum { ROWS = 270, HIDDEN = 32, VOCAB = 2500 };

typedef struct ending {
    bool unit;
    float scale, cap; /* in this order; 0: none */
    int more;         /* scales by one behind them */
    bool other;       /* and a RELU last */
} ending;

static gs_status append(gs_net *net, gs_op op, const char *name, float value, gs_error *err) {
    gs_attr attr = {0};
    gs_node *node;
    attr.scale.factor = attr.softcap.cap = value;
    return gs_net_insert(net, gs_net_output_at(net, 0), NULL, op, name, &attr, &node, err);
}

static gs_status rewrite(void *ctx, gs_net *net, gs_error *err) {
    const ending *e = ctx;
    gs_node *head = gs_net_find(net, "lm_head");
    char name[16];
    if (!head) return GS_OK;
    head->attr.linear.normalize_rows = e->unit;
    if (e->scale != 0) GS_TRY(append(net, GS_OP_SCALE, "scale", e->scale, err));
    if (e->cap != 0) GS_TRY(append(net, GS_OP_SOFTCAP, "cap", e->cap, err));
    for (int i = 0; i < e->more; i++) {
        snprintf(name, sizeof name, "more%d", i);
        GS_TRY(append(net, GS_OP_SCALE, name, 1, err));
    }
    if (e->other) GS_TRY(append(net, GS_OP_RELU, "relu", 0, err));
    return gs_net_infer(net, err);
}

static gs_model *open_model(const char *path, ending *e) {
    gs_error err = {0};
    gs_checkpoint *c;
    gs_model *m;
    assert_ok(gs_checkpoint_open(path, NULL, &c, &err), &err);
    assert_ok(gs_model_take(c, rewrite, e, &m, &err), &err);
    return m;
}

static void whole_logits(const gs_model *m, gs_gemm_type type, float *hidden, float *logits) {
    gs_error err = {0};
    gs_net *net;
    gs_exec *ex;
    gs_batch batch = {.rows = ROWS};
    const float *in = hidden;
    assert_ok(gs_model_segment(m, gs_model_segments(m) - 1, &net, &err), &err);
    assert_ok(gs_exec_create(NULL, type, &ex, &err), &err);
    assert_ok(gs_exec_prepare(ex, net, &err), &err);
    assert_ok(gs_exec_run(ex, net, &batch, &in, &logits, &err), &err);
    gs_exec_release(ex, net);
    gs_exec_destroy(ex);
    gs_net_destroy(net);
}

static double nll_of(const float *logit, int32_t target) {
    double top = -INFINITY, sum = 0;
    for (int i = 0; i < VOCAB; i++) top = fmax(top, (double)logit[i]);
    for (int i = 0; i < VOCAB; i++) sum += exp((double)logit[i] - top);
    return top + log(sum) - (double)logit[target];
}

static void make_rows(float *hidden, int32_t *target) {
    uint64_t seed = 9;
    for (int i = 0; i < ROWS * HIDDEN; i++) hidden[i] = gs_test_randf(&seed);
    for (int i = 0; i < ROWS; i++) target[i] = (int32_t)(gs_test_rand(&seed) % VOCAB);
}

static void assert_same_head(const char *dir, ending e, gs_gemm_type type) {
    gs_error err = {0};
    float *hidden = malloc(ROWS * HIDDEN * sizeof *hidden), *logits = malloc((size_t)ROWS * VOCAB * sizeof *logits);
    int32_t target[ROWS];
    gs_row_score scores[ROWS];
    gs_context cx = {0};
    gs_model *m = open_model(dir, &e);
    make_rows(hidden, target);
    whole_logits(m, type, hidden, logits);
    assert_ok(gs_team_create(NULL, 2, &cx.team, &err), &err);
    assert_ok(gs_head_score(&cx, m, NULL, type, ROWS, hidden, NULL, target, NULL, scores, &err), &err);
    for (int r = 0; r < ROWS; r++) {
        double want = nll_of(logits + (size_t)r * VOCAB, target[r]);
        if (!(fabs(scores[r].nll - want) <= 2e-5 * want)) fail_msg("row %d: %.9g, not %.9g", r, scores[r].nll, want);
    }
    gs_team_destroy(cx.team);
    gs_model_close(m);
    free(hidden);
    free(logits);
}

static void the_streamed_head_is_the_whole_one(void **state) {
    (void)state;
    static const ending endings[] = {{.unit = false}, {.unit = true}, {.scale = 5}, {.cap = 0.5f}, {true, 40, 3, 2, false}};
    char *dir = gs_test_tmpdir();
    tiny_model(dir, &shape, 4);
    for (size_t i = 0; i < GS_COUNTOF(endings); i++)
        for (int type = 0; type < 2; type++) assert_same_head(dir, endings[i], (gs_gemm_type)type);
    gs_test_rmdir(dir);
}

/* The reference has its own ending: a model's distance from itself capped is not zero, from itself is. */
static void both_sides_have_their_own_ending(void **state) {
    (void)state;
    gs_error err = {0};
    char *dir = gs_test_tmpdir();
    tiny_model(dir, &shape, 4);
    ending plain = {.scale = 3}, capped = {.scale = 3, .cap = 1};
    gs_model *a = open_model(dir, &plain), *b = open_model(dir, &capped);
    float *x = malloc(ROWS * HIDDEN * sizeof *x), *y = malloc(ROWS * HIDDEN * sizeof *y), change, largest;
    int32_t target[ROWS];
    gs_context cx = {0};
    for (int other = 0; other < 2; other++) {
        make_rows(x, target);
        make_rows(y, target);
        assert_ok(gs_head_change(&cx, other ? b : a, a, GS_GEMM_F32, ROWS, x, y, &change, &largest, &err), &err);
        assert_true((change > 0.1f) == other && largest > 1);
    }
    gs_model_close(a);
    gs_model_close(b);
    free(x);
    free(y);
    gs_test_rmdir(dir);
}

static void other_endings_are_refused(void **state) {
    (void)state;
    static const ending endings[] = {{.more = 5}, {.other = true}};
    char *dir = gs_test_tmpdir();
    tiny_model(dir, &shape, 4);
    float *x = malloc(ROWS * HIDDEN * sizeof *x);
    for (size_t i = 0; i < GS_COUNTOF(endings); i++) {
        gs_error err = {0};
        ending e = endings[i];
        gs_model *m = open_model(dir, &e);
        int32_t target[ROWS];
        gs_row_score scores[ROWS];
        gs_context cx = {0};
        make_rows(x, target);
        assert_fails(gs_head_score(&cx, m, NULL, GS_GEMM_F32, ROWS, x, NULL, target, NULL, scores, &err), GS_E_UNSUPPORTED, &err);
        gs_model_close(m);
    }
    free(x);
    gs_test_rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_streamed_head_is_the_whole_one),
        cmocka_unit_test(both_sides_have_their_own_ending),
        cmocka_unit_test(other_endings_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
