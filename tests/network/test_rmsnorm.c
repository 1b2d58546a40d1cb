/* A norm's bias: added last, scaled with the weight, checked. */
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

static void every_failing_allocation_is_survived(void **state) {
    (void)state;
    float *weight, *bias, x[ROWS * WIDTH] = {0}, y[ROWS * WIDTH], *out = y;
    const float *in = x;
    gs_batch batch = {.rows = ROWS};
    gs_net *net = make_net(&weight, &bias);
    int64_t n = 0;
    for (;; n++) {
        gs_error err = {0};
        gs_mem_fail_after(n);
        gs_status status = gs_try_net(net, GS_GEMM_F32, 1, &batch, &in, &out, &err);
        gs_mem_fail_after(-1);
        if (status == GS_OK) break;
        assert_int_equal(status, GS_E_NOMEM);
    }
    assert_true(n > 3);
    gs_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bias_is_added_last),
        cmocka_unit_test(factors_scale_weight_and_bias),
        cmocka_unit_test(a_bias_of_another_width_is_refused),
        cmocka_unit_test(every_failing_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
