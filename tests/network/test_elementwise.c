/* SCALE, SOFTCAP and GEGLU against formulas in double. */
#include "nets.h"

#include <math.h>

enum { WIDTH = 53, ROWS = 41 };

static gs_net *make_net(gs_op op, float value) {
    gs_net *net = gs_new_net("n");
    gs_attr attr = {0};
    attr.scale.factor = attr.softcap.cap = value;
    gs_edge *x = gs_new_input(net, "x", WIDTH, 0, 0), *up = op == GS_OP_GEGLU ? gs_new_input(net, "up", WIDTH, 0, 0) : NULL;
    gs_finish_net(net, gs_new_node(net, op, "n", &attr, x, up, NULL)->output);
    return net;
}

static double model(gs_op op, double value, double x, double up) {
    if (op == GS_OP_SCALE) return value * x;
    if (op == GS_OP_SOFTCAP) return value * tanh(x / value);
    return x / 2 * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x))) * up;
}

static void assert_is_model(gs_op op, float value) {
    gs_error err = {0};
    uint64_t seed = 8;
    gs_net *net = make_net(op, value);
    static float x[ROWS * WIDTH], up[ROWS * WIDTH], y[ROWS * WIDTH], first[ROWS * WIDTH];
    const float *in[2] = {x, up};
    float *out = y;
    gs_batch batch = {.rows = ROWS};
    for (int i = 0; i < ROWS * WIDTH; i++) {
        x[i] = 6 * gs_test_randf(&seed);
        up[i] = 2 * gs_test_randf(&seed);
    }
    x[0] = 0;
    for (int threads = 1; threads <= 3; threads++) {
        assert_ok(gs_try_net(net, GS_GEMM_F32, threads, &batch, in, &out, &err), &err);
        for (int i = 0; i < ROWS * WIDTH; i++) {
            double want = model(op, (double)value, (double)x[i], (double)up[i]);
            assert_true(fabs((double)y[i] - want) <= 1e-6 * (fabs(want) + 0.1));
        }
        if (threads == 1) memcpy(first, y, sizeof first);
        assert_memory_equal(first, y, sizeof first);
    }
    gs_net_destroy(net);
}

static void they_are_the_models(void **state) {
    (void)state;
    const float values[] = {0.5f, 3, 50, 1.0f / 3};
    for (size_t i = 0; i < GS_COUNTOF(values); i++) {
        assert_is_model(GS_OP_SCALE, values[i]);
        assert_is_model(GS_OP_SCALE, -values[i]);
        assert_is_model(GS_OP_SOFTCAP, values[i]);
    }
    assert_is_model(GS_OP_GEGLU, 0);
}

static void impossible_attributes_are_refused(void **state) {
    (void)state;
    gs_error err = {0};
    const float scales[] = {0, NAN, INFINITY}, caps[] = {0, -1, NAN, INFINITY};
    gs_net *net = make_net(GS_OP_SCALE, 2);
    for (size_t i = 0; i < GS_COUNTOF(scales); i++) {
        gs_net_node(net, 0)->attr.scale.factor = scales[i];
        assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    }
    gs_net_destroy(net);
    net = make_net(GS_OP_SOFTCAP, 2);
    for (size_t i = 0; i < GS_COUNTOF(caps); i++) {
        gs_net_node(net, 0)->attr.softcap.cap = caps[i];
        assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    }
    gs_net_destroy(net);
    net = gs_new_net("n");
    gs_node *node = gs_new_node(net, GS_OP_GEGLU, "n", NULL, gs_new_input(net, "x", 8, 0, 0), gs_new_input(net, "y", 7, 0, 0), NULL);
    assert_ok(gs_net_output(net, node->output, &err), &err);
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    gs_net_destroy(net);
}

static void they_tell_their_attributes(void **state) {
    (void)state;
    const gs_op ops[] = {GS_OP_SCALE, GS_OP_SOFTCAP, GS_OP_GEGLU};
    const char *want[] = {"= scale(%0) \"n\" by 2.5 ->", "= softcap(%0) \"n\" cap 2.5 ->", "= geglu(%0, %1) \"n\" ->"};
    for (int i = 0; i < 3; i++) {
        gs_net *net = make_net(ops[i], 2.5f);
        char *text = gs_net_text(net);
        assert_non_null(strstr(text, want[i]));
        free(text);
        gs_net_destroy(net);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_are_the_models),
        cmocka_unit_test(impossible_attributes_are_refused),
        cmocka_unit_test(they_tell_their_attributes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
