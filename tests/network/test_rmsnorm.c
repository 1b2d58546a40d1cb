/* A norm's bias: added last, scaled with the weight, checked; norms of each head, and with one added to the weight. */
#include "nets.h"

#include <math.h>
#include <network/scaling.h>

enum { WIDTH = 37, ROWS = 21 };

static gs_net *make_net(float **weight, float **bias) {
    uint64_t seed = 1;
    gs_net *net = gs_new_net("n");
    gs_attr attr = {.eps = 1e-5f};
    gs_node *node = gs_new_node(net, GS_OP_RMSNORM, "norm", &attr, gs_new_input(net, "x", WIDTH, 0, 0), NULL, NULL);
    *weight = gs_new_param(net, node, GS_ROLE_WEIGHT, 1, WIDTH, 0, 0, 0, 1, 0.5f, &seed);
    *bias = gs_new_param(net, node, GS_ROLE_BIAS, 1, WIDTH, 0, 0, 0, 0, 2, &seed);
    gs_finish_net(net, node->output);
    return net;
}

static void assert_is_model(gs_net *net, const float *weight, const float *bias, float factor) {
    uint64_t seed = 5;
    float y[ROWS * WIDTH], want[ROWS * WIDTH];
    float *x = gs_random_values(ROWS * WIDTH, &seed);
    for (int r = 0; r < ROWS; r++) {
        double sum = 0;
        for (int i = 0; i < WIDTH; i++) sum += (double)x[r * WIDTH + i] * (double)x[r * WIDTH + i];
        for (int i = 0; i < WIDTH; i++)
            want[r * WIDTH + i] = (float)(((double)x[r * WIDTH + i] / sqrt(sum / WIDTH + 1e-5) * (double)weight[i] +
                                           (double)bias[i]) * (double)factor);
    }
    gs_run_rows(net, GS_GEMM_F32, ROWS, x, y);
    gs_assert_close(ROWS * WIDTH, y, want, 1e-6);
    free(x);
}

static void a_bias_is_added_last(void **state) {
    (void)state;
    float *weight, *bias;
    gs_net *net = make_net(&weight, &bias);
    assert_is_model(net, weight, bias, 1);
    gs_net_destroy(net);
}

static void factors_scale_weight_and_bias(void **state) {
    (void)state;
    float *weight, *bias, factor[WIDTH];
    gs_error err = {0};
    gs_scale_site site;
    char reason[96];
    gs_net *net = make_net(&weight, &bias);
    for (int i = 0; i < WIDTH; i++) factor[i] = 0.25f;
    assert_ok(gs_scale_site_find(net, gs_net_find(net, "norm")->output, &site, reason, &err), &err);
    assert_ok(gs_scale_site_apply(&site, factor, &err), &err);
    gs_scale_site_clear(&site);
    assert_is_model(net, weight, bias, 0.25f);
    gs_net_destroy(net);
}

static void a_bias_of_another_width_is_refused(void **state) {
    (void)state;
    float *weight, *bias;
    gs_error err = {0};
    gs_net *net = make_net(&weight, &bias);
    const int64_t wrong[2][2] = {{WIDTH + 1, 0}, {1, WIDTH}};
    for (int i = 0; i < 2; i++) {
        assert_ok(gs_net_param_new(net, gs_net_find(net, "norm"), GS_ROLE_BIAS, "b", GS_F32, i + 1, wrong[i], NULL, &err), &err);
        assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    }
    gs_net_destroy(net);
}

enum { HEADS = 5, HEAD = 19 };

/* in: of the input, 0 when that is not known. */
static gs_net *make_kind(bool plus_one, int64_t heads, int64_t in, bool bias, float **w, float **b) {
    uint64_t seed = 2;
    gs_net *net = gs_new_net("n");
    gs_attr attr = {.eps = 1e-5f};
    gs_error err = {0};
    gs_edge *x;
    attr.norm.plus_one = plus_one;
    attr.norm.heads = heads;
    assert_ok(gs_net_input(net, "x", (gs_dims){.ndim = 1, .dim = {in}}, &x, &err), &err);
    gs_node *node = gs_new_node(net, GS_OP_RMSNORM, "norm", &attr, x, NULL, NULL);
    int64_t n = heads ? HEAD : HEADS * HEAD;
    *w = gs_new_param(net, node, GS_ROLE_WEIGHT, 1, n, 0, 0, 0, plus_one ? 0 : 1, 0.5f, &seed);
    *b = bias ? gs_new_param(net, node, GS_ROLE_BIAS, 1, n, 0, 0, 0, 0, 1, &seed) : NULL;
    return net;
}

static void heads_and_weights_of_one_more_are_the_model(void **state) {
    (void)state;
    for (int kind = 0; kind < 8; kind++) {
        gs_error err = {0};
        uint64_t seed = 6;
        bool plus_one = kind & 1, bias = kind & 4;
        int heads = kind & 2 ? HEADS : 0, parts = heads ? HEADS : 1, n = HEADS * HEAD / parts;
        float *w, *b, y[ROWS * HEADS * HEAD], want[ROWS * HEADS * HEAD], *out = y;
        gs_net *net = make_kind(plus_one, heads, HEADS * HEAD, bias, &w, &b);
        gs_finish_net(net, gs_net_find(net, "norm")->output);
        float *x = gs_random_values(ROWS * HEADS * HEAD, &seed);
        const float *in = x;
        gs_batch batch = {.rows = ROWS};
        for (int p = 0; p < ROWS * parts; p++) {
            double sum = 0;
            for (int i = 0; i < n; i++) sum += (double)x[p * n + i] * (double)x[p * n + i];
            for (int i = 0; i < n; i++)
                want[p * n + i] = (float)((double)x[p * n + i] / sqrt(sum / n + 1e-5) * ((double)w[i] + plus_one) +
                                          (b ? (double)b[i] : 0));
        }
        for (int threads = 1; threads <= 2; threads++) {
            assert_ok(gs_try_net(net, GS_GEMM_F32, threads, &batch, &in, &out, &err), &err);
            gs_assert_close(ROWS * HEADS * HEAD, y, want, 1e-6);
        }
        free(x);
        gs_net_destroy(net);
    }
}

static void heads_that_do_not_fit_are_refused(void **state) {
    (void)state;
    float *w, *b;
    gs_error err = {0};
    gs_net *net = make_kind(false, HEADS, HEADS * HEAD, false, &w, &b);
    gs_node *node = gs_net_find(net, "norm");
    assert_ok(gs_net_output(net, node->output, &err), &err);
    gs_net *unknown = make_kind(false, HEADS, 0, false, &w, &b);
    gs_finish_net(unknown, gs_net_find(unknown, "norm")->output);
    assert_int_equal(gs_net_output_at(unknown, 0)->dims.dim[0], HEADS * HEAD);
    gs_net_destroy(unknown);
    const int64_t wrong[] = {0, 1, HEADS - 1, -HEADS, INT64_MAX};
    for (size_t i = 0; i < GS_COUNTOF(wrong); i++) {
        node->attr.norm.heads = wrong[i];
        assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    }
    gs_net_destroy(net);
}

/* One weight serves every head; 1 + w has no factor for w. */
static void such_norms_carry_no_factors_and_say_what_they_are(void **state) {
    (void)state;
    static const char *text[] = {" eps 1e-05 plus one weight", " eps 1e-05 heads 5 weight"};
    for (int i = 0; i < 2; i++) {
        float *w, *b;
        gs_error err = {0};
        gs_scale_site site;
        char reason[96];
        gs_net *net = make_kind(i == 0, i ? HEADS : 0, HEADS * HEAD, false, &w, &b);
        gs_finish_net(net, gs_net_find(net, "norm")->output);
        assert_ok(gs_scale_site_find(net, gs_net_output_at(net, 0), &site, reason, &err), &err);
        assert_null(site.node);
        assert_string_equal(reason, "the output of rmsnorm cannot be rescaled");
        gs_scale_site_clear(&site);
        char *dump = gs_net_text(net);
        assert_non_null(strstr(dump, text[i]));
        free(dump);
        gs_net_destroy(net);
    }
}

static void every_failing_allocation_is_survived(void **state) {
    (void)state;
    float *weight, *bias, x[ROWS * WIDTH] = {0}, y[ROWS * WIDTH], *out = y;
    const float *in = x;
    gs_batch batch = {.rows = ROWS};
    gs_net *net = make_net(&weight, &bias);
    assert_true(gs_starve_net(net, &batch, &in, &out) > 3);
    gs_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bias_is_added_last),
        cmocka_unit_test(factors_scale_weight_and_bias),
        cmocka_unit_test(a_bias_of_another_width_is_refused),
        cmocka_unit_test(heads_and_weights_of_one_more_are_the_model),
        cmocka_unit_test(heads_that_do_not_fit_are_refused),
        cmocka_unit_test(such_norms_carry_no_factors_and_say_what_they_are),
        cmocka_unit_test(every_failing_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
