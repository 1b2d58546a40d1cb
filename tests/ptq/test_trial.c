/* What a trial says a quantization costs, against a scalar model in double that knows the consumer's formulas only. */
#include "groups.h"

#include <base/half.h>
#include <kernels/isa.h>
#include <ptq/trial.h>

enum { WIDTH = 70, OUT = 45, ROWS = 19, TRIALS = 7 };

typedef struct setting {
    gs_net *net;
    gs_node *linear[2];
    float *x;
    float smooth[WIDTH], importance[WIDTH];
    gs_trial trial[TRIALS];
} setting;

/* Inputs with a few large channels, two linears, and every kind of trial. */
static void begin(setting *s) {
    uint64_t seed = 21;
    s->net = gs_norm_net(WIDTH, OUT, 20);
    s->linear[0] = gs_net_find(s->net, "a");
    s->linear[1] = gs_net_find(s->net, "b");
    s->x = gs_random_values(ROWS * WIDTH, &seed);
    for (int i = 0; i < ROWS * WIDTH; i++) s->x[i] = gs_bf16_to_f32(gs_f32_to_bf16(s->x[i] * (i % WIDTH % 16 == 3 ? 30.0f : 1.0f)));
    for (int j = 0; j < WIDTH; j++) {
        s->smooth[j] = j % 16 == 3 ? 5.3f : 0.7f + 0.01f * (float)j;
        s->importance[j] = fabsf(gs_test_randf(&seed));
    }
    for (int i = 0; i < WIDTH; i++) s->x[2 * WIDTH + i] = 0; /* a token of zeros */
    gs_row_rule f32 = {.convention = GS_SCALE_ASCEND, .compute = GS_F32}, bf16 = {.convention = GS_SCALE_GOLDENSTICK, .compute = GS_BF16};
    gs_row_rule f16 = {.convention = GS_SCALE_ASCEND, .compute = GS_F16, .importance = s->importance};
    gs_act_params wide = gs_act_params_from_range(-30, 25, false, GS_F32);
    gs_act_params half = gs_act_params_from_range(-6, 8, false, GS_F16), even = gs_act_params_from_range(-10, 10, true, GS_BF16);
    assert_true(gs_round_to(GS_BF16, 1 / even.scale) != 1 / even.scale); /* consumers multiply by the rounded one */
    s->trial[0] = (gs_trial){.scheme = GS_SCHEME_W8A16, .rule = f32};
    s->trial[1] = (gs_trial){.scheme = GS_SCHEME_W8A8, .rule = f32, .act = wide};
    s->trial[2] = (gs_trial){.scheme = GS_SCHEME_W8A8_DYNAMIC, .rule = f32};
    s->trial[3] = (gs_trial){.scheme = GS_SCHEME_W8A8, .rule = f16, .act = half, .smooth = s->smooth};
    s->trial[4] = (gs_trial){.scheme = GS_SCHEME_W8A8_DYNAMIC, .rule = bf16, .smooth = s->smooth};
    s->trial[5] = (gs_trial){.scheme = GS_SCHEME_W8A16, .rule = f16};
    s->trial[6] = (gs_trial){.scheme = GS_SCHEME_W8A8, .rule = bf16, .act = even, .smooth = s->smooth}; /* clips */
}

static void end(setting *s) {
    free(s->x);
    gs_net_destroy(s->net);
}

static int8_t code(float x) { return (int8_t)fminf(fmaxf(nearbyintf(x), -128), 127); }

/* One row of x as the consumer codes it; its scale, 1 when that is static. */
static double code_input(const gs_trial *t, int64_t k, const float *x, int8_t *q) {
    float r = gs_round_to(t->rule.compute, 1 / t->act.scale), most = 0;
    for (int64_t i = 0; i < k; i++) most = fmaxf(most, fabsf(t->smooth ? x[i] / t->smooth[i] : x[i]));
    float scale = most > 0 ? most / 127 : 1;
    for (int64_t i = 0; i < k; i++) {
        float v = t->smooth ? x[i] / t->smooth[i] : x[i];
        float product = v * r;
        q[i] = code(t->scheme == GS_SCHEME_W8A8 ? product + t->act.offset : v / scale);
    }
    return t->scheme == GS_SCHEME_W8A8 ? 1 : (double)scale;
}

/* Output of one weight row under a trial. */
static double quantized_output(const gs_trial *t, int64_t k, const float *w, const float *x, int8_t *qw, int8_t *qx,
                               float *row, float *scratch) {
    float sw;
    gs_row_stats stats = {0};
    for (int64_t i = 0; i < k; i++) row[i] = t->smooth ? w[i] * t->smooth[i] : w[i];
    assert_true(gs_row_quantize(&t->rule, k, row, qw, &sw, scratch, &stats));
    double y = 0;
    if (t->scheme == GS_SCHEME_W8A16) {
        for (int64_t i = 0; i < k; i++) y += (double)x[i] * (double)((float)qw[i] * sw);
        return y;
    }
    double sx = code_input(t, k, x, qx);
    int64_t acc = 0;
    for (int64_t i = 0; i < k; i++)
        acc += qw[i] * (t->scheme == GS_SCHEME_W8A8 ? qx[i] - (int64_t)t->act.offset : qx[i]);
    return (double)acc * sx * (double)(t->scheme == GS_SCHEME_W8A8 ? t->act.scale * sw : sw);
}

static void model(const gs_trial_set *set, double *error, double *energy) {
    int64_t k = set->k;
    int8_t *qw = malloc((size_t)k), *qx = malloc((size_t)k);
    float *row = malloc((size_t)k * sizeof *row), *scratch = malloc((size_t)k * sizeof *scratch);
    memset(error, 0, (size_t)(set->trials * set->rows) * sizeof *error);
    memset(energy, 0, (size_t)set->rows * sizeof *energy);
    for (int l = 0; l < set->count; l++) {
        const float *weight = set->linear[l]->param[GS_ROLE_WEIGHT]->data;
        for (int64_t n = 0; n < set->linear[l]->param[GS_ROLE_WEIGHT]->shape[0]; n++)
            for (int64_t r = 0; r < set->rows; r++) {
                const float *w = weight + n * k, *x = set->x + r * k;
                double y = 0;
                for (int64_t i = 0; i < k; i++) y += (double)w[i] * (double)x[i];
                energy[r] += y * y;
                for (int t = 0; t < set->trials; t++) {
                    double e = y - quantized_output(&set->trial[t], k, w, x, qw, qx, row, scratch);
                    error[t * set->rows + r] += e * e;
                }
            }
    }
    free(qw);
    free(qx);
    free(row);
    free(scratch);
}

/* Relative to what was lost, or to what f32 products of `energy` can tell. */
static void assert_agree(const gs_trial_set *set, const double *error, const double *energy, const double *want_error,
                         const double *want_energy) {
    double worst = 0;
    for (int64_t r = 0; r < set->rows; r++) {
        assert_true(fabs(energy[r] - want_energy[r]) <= 1e-6 * want_energy[r]);
        for (int t = 0; t < set->trials; t++) {
            double got = error[t * set->rows + r], want = want_error[t * set->rows + r];
            double off = want > 0 ? fabs(got - want) / want : got;
            if (off > worst) worst = off;
            if (!(off <= 1e-4)) fail_msg("trial %d, row %d: %.9g, wanted %.9g", t, (int)r, got, want);
        }
    }
    double sum[2] = {0};
    for (int64_t i = 0; i < set->trials * set->rows; i++) {
        sum[0] += error[i];
        sum[1] += want_error[i];
    }
    print_message("a row's error agrees to %.2g, their sum to %.2g\n", worst, fabs(sum[0] - sum[1]) / sum[1]);
    assert_true(fabs(sum[0] - sum[1]) <= 1e-6 * sum[1]);
}

static void errors_are_those_of_the_scalar_model(void **state) {
    (void)state;
    gs_error err = {0};
    setting s;
    begin(&s);
    double error[TRIALS * ROWS], energy[ROWS], want_error[TRIALS * ROWS], want_energy[ROWS];
    gs_trial_set set = {.linear = s.linear, .count = 2, .x = s.x, .rows = ROWS, .k = WIDTH, .trial = s.trial, .trials = TRIALS};
    gs_context cx = {0};
    assert_ok(gs_trial_run(&cx, &set, error, energy, &err), &err);
    model(&set, want_error, want_energy);
    assert_agree(&set, error, energy, want_error, want_energy);
    for (int t = 0; t < TRIALS; t++) assert_true(error[t * ROWS + 2] == 0); /* the token of zeros */
    end(&s);
}

static void neither_threads_nor_company_change_a_bit(void **state) {
    (void)state;
    gs_error err = {0};
    setting s;
    begin(&s);
    double first[TRIALS * ROWS], energy[ROWS], error[TRIALS * ROWS], again[ROWS];
    gs_trial_set set = {.linear = s.linear, .count = 2, .x = s.x, .rows = ROWS, .k = WIDTH, .trial = s.trial, .trials = TRIALS};
    for (int threads = 1; threads <= 4; threads++) {
        gs_context cx = {0};
        assert_ok(gs_team_create(NULL, threads, &cx.team, &err), &err);
        assert_ok(gs_trial_run(&cx, &set, threads == 1 ? first : error, threads == 1 ? energy : again, &err), &err);
        if (threads > 1) {
            assert_memory_equal(error, first, sizeof error);
            assert_memory_equal(again, energy, sizeof again);
        }
        gs_team_destroy(cx.team);
    }
    gs_context cx = {0};
    for (int t = 0; t < TRIALS; t++) { /* alone */
        gs_trial_set one = set;
        one.trial = &s.trial[t];
        one.trials = 1;
        assert_ok(gs_trial_run(&cx, &one, error, again, &err), &err);
        assert_memory_equal(error, first + t * ROWS, ROWS * sizeof *error);
    }
    end(&s);
}

/* A weight too large for one panel: what lies in the second counts too. */
static void panels_add_up(void **state) {
    (void)state;
    enum { K = 65536, N = 140, FEW = 2 }; /* 128 rows a panel */
    gs_error err = {0};
    uint64_t seed = 6;
    gs_net *net = gs_new_net("wide");
    gs_edge *x = gs_new_input(net, "x", K, 0, 0);
    gs_node *node = gs_new_linear(net, "w", x, N, K, &seed);
    gs_finish_net(net, node->output);
    float *in = gs_random_values(FEW * K, &seed);
    gs_trial trial = {.scheme = GS_SCHEME_W8A8, .rule = {GS_SCALE_ASCEND, GS_F32, NULL},
                      .act = gs_act_params_from_range(-1, 1, false, GS_F32)};
    gs_trial_set set = {.linear = &node, .count = 1, .x = in, .rows = FEW, .k = K, .trial = &trial, .trials = 1};
    double error[FEW], energy[FEW], want_error[FEW], want_energy[FEW];
    gs_context cx = {0};
    assert_ok(gs_team_create(NULL, 2, &cx.team, &err), &err);
    assert_ok(gs_trial_run(&cx, &set, error, energy, &err), &err);
    model(&set, want_error, want_energy);
    for (int r = 0; r < FEW; r++) {
        assert_true(fabs(energy[r] - want_energy[r]) <= 1e-4 * want_energy[r]);
        assert_true(fabs(error[r] - want_error[r]) <= 1e-3 * want_error[r]);
    }
    gs_team_destroy(cx.team);
    free(in);
    gs_net_destroy(net);
}

static void dropped(void *ctx, const gs_tensor *t) { *(int *)ctx += t != NULL; }

static void weights_that_are_not_finite_are_named(void **state) {
    (void)state;
    setting s;
    begin(&s);
    double error[TRIALS * ROWS], energy[ROWS];
    int drops = 0;
    gs_trial_set set = {.linear = s.linear, .count = 2, .x = s.x, .rows = ROWS, .k = WIDTH, .trial = s.trial, .trials = TRIALS,
                        .drop = dropped, .drop_ctx = &drops};
    gs_context cx = {0};
    gs_error err = {0};
    assert_ok(gs_trial_run(&cx, &set, error, energy, &err), &err);
    assert_int_equal(drops, 0); /* owned bytes are nobody's pages */
    ((float *)s.linear[1]->param[GS_ROLE_WEIGHT]->data)[17] = NAN;
    assert_fails(gs_trial_run(&cx, &set, error, energy, &err), GS_E_NUMERIC, &err);
    assert_int_equal(strncmp(err.text, "b: ", 3), 0);
    end(&s);
}

static void running_out_of_memory_anywhere_is_only_an_error(void **state) {
    (void)state;
    setting s;
    begin(&s);
    double error[TRIALS * ROWS], energy[ROWS];
    gs_trial_set set = {.linear = s.linear, .count = 2, .x = s.x, .rows = ROWS, .k = WIDTH, .trial = s.trial, .trials = TRIALS};
    gs_context cx = {0};
    gs_status status = GS_E_NOMEM;
    for (int64_t k = 0; status != GS_OK && k < 500; k++) {
        gs_error err = {0};
        gs_mem_fail_after(k);
        status = gs_trial_run(&cx, &set, error, energy, &err);
        gs_mem_fail_after(-1);
        if (status != GS_OK) assert_int_equal(status, GS_E_NOMEM);
    }
    assert_int_equal(status, GS_OK);
    end(&s);
}

int main(void) {
    const char *forced = getenv("GSTICK_ISA");
    if (forced && strcmp(gs_isa_name(gs_isa_selected()), forced) != 0) return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_those_of_the_scalar_model),
        cmocka_unit_test(neither_threads_nor_company_change_a_bit),
        cmocka_unit_test(panels_add_up),
        cmocka_unit_test(weights_that_are_not_finite_are_named),
        cmocka_unit_test(running_out_of_memory_anywhere_is_only_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
