#include "nets.h"

#include <math.h>

#include <network/rewrite.h>

enum { CHANNELS = 6, HEIGHT = 11, WIDTH = 9, CLASSES = 5, IMAGES = 3 };

/* conv -> norm -> relu -> pool -> flatten -> dense */
typedef struct convnet {
    gs_net *net;
    gs_node *conv, *norm, *relu, *dense;
} convnet;

static convnet make_convnet(bool bias, uint64_t seed) {
    gs_error err = {0};
    convnet m = {.net = gs_new_net("convnet")};
    gs_edge *x = gs_new_input(m.net, "image", 4, HEIGHT, WIDTH);
    gs_attr conv = {.conv = {.stride = 2, .padding = 1, .dilation = 1, .groups = 2}};
    gs_attr norm = {.eps = 1e-3f};
    m.conv = gs_new_node(m.net, GS_OP_CONV2D, "conv", &conv, x, NULL, NULL);
    gs_new_param(m.net, m.conv, GS_ROLE_WEIGHT, 4, CHANNELS, 2, 3, 3, 0, 1, &seed);
    if (bias) gs_new_param(m.net, m.conv, GS_ROLE_BIAS, 1, CHANNELS, 0, 0, 0, 0, 1, &seed);
    m.norm = gs_new_node(m.net, GS_OP_BATCHNORM2D, "norm", &norm, m.conv->output, NULL, NULL);
    gs_new_param(m.net, m.norm, GS_ROLE_WEIGHT, 1, CHANNELS, 0, 0, 0, 1, 0.5f, &seed);
    gs_new_param(m.net, m.norm, GS_ROLE_BIAS, 1, CHANNELS, 0, 0, 0, 0, 0.5f, &seed);
    gs_new_param(m.net, m.norm, GS_ROLE_MEAN, 1, CHANNELS, 0, 0, 0, 0, 0.5f, &seed);
    gs_new_param(m.net, m.norm, GS_ROLE_VARIANCE, 1, CHANNELS, 0, 0, 0, 1, 0.9f, &seed);
    m.relu = gs_new_node(m.net, GS_OP_RELU, "relu", NULL, m.norm->output, NULL, NULL);
    gs_node *pool = gs_new_node(m.net, GS_OP_GLOBAL_AVGPOOL, "pool", NULL, m.relu->output, NULL, NULL);
    gs_node *flat = gs_new_node(m.net, GS_OP_FLATTEN, "flatten", NULL, pool->output, NULL, NULL);
    m.dense = gs_new_linear(m.net, "dense", flat->output, CLASSES, CHANNELS, &seed);
    gs_new_param(m.net, m.dense, GS_ROLE_BIAS, 1, CLASSES, 0, 0, 0, 0, 1, &seed);
    assert_ok(gs_net_output(m.net, m.dense->output, &err), &err);
    assert_ok(gs_net_infer(m.net, &err), &err);
    return m;
}

static double value_of(const gs_node *node, gs_role role, int64_t i) {
    const gs_param *p = node->param[role];
    return p ? (double)((const float *)p->data)[i] : 0;
}

/* One pixel of the convolution, straight from the definition. */
static double conv_at(const convnet *m, const float *image, int o, int h, int w) {
    double sum = value_of(m->conv, GS_ROLE_BIAS, o);
    int group = o / (CHANNELS / 2);
    for (int c = 0; c < 2; c++)
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++) {
                int y = 2 * h - 1 + i, x = 2 * w - 1 + j;
                if (y < 0 || x < 0 || y >= HEIGHT || x >= WIDTH) continue;
                sum += value_of(m->conv, GS_ROLE_WEIGHT, ((o * 2 + c) * 3 + i) * 3 + j) *
                       (double)image[((group * 2 + c) * HEIGHT + y) * WIDTH + x];
            }
    return sum;
}

static void reference(const convnet *m, const float *image, float *out) {
    const int64_t *dim = m->conv->output->dims.dim;
    double pooled[CHANNELS];
    for (int o = 0; o < CHANNELS; o++) {
        double a = value_of(m->norm, GS_ROLE_WEIGHT, o) /
                   sqrt(value_of(m->norm, GS_ROLE_VARIANCE, o) + (double)m->norm->attr.eps);
        pooled[o] = 0;
        for (int h = 0; h < dim[1]; h++)
            for (int w = 0; w < dim[2]; w++) {
                double y = (conv_at(m, image, o, h, w) - value_of(m->norm, GS_ROLE_MEAN, o)) * a +
                           value_of(m->norm, GS_ROLE_BIAS, o);
                pooled[o] += y > 0 ? y : 0;
            }
        pooled[o] /= (double)(dim[1] * dim[2]);
    }
    for (int k = 0; k < CLASSES; k++) {
        double y = value_of(m->dense, GS_ROLE_BIAS, k);
        for (int o = 0; o < CHANNELS; o++) y += pooled[o] * value_of(m->dense, GS_ROLE_WEIGHT, k * CHANNELS + o);
        out[k] = (float)y;
    }
}

static void an_image_network_runs(void **state) {
    (void)state;
    uint64_t seed = 7;
    for (int bias = 0; bias < 2; bias++) {
        convnet m = make_convnet(bias, 3);
        assert_int_equal(m.conv->output->dims.dim[1], 6);
        assert_int_equal(m.conv->output->dims.dim[2], 5);
        int64_t image = 4 * HEIGHT * WIDTH;
        float *x = gs_random_values(IMAGES * image, &seed), y[IMAGES * CLASSES], want[IMAGES * CLASSES];
        gs_run_rows(m.net, GS_GEMM_F32, IMAGES, x, y);
        for (int i = 0; i < IMAGES; i++) reference(&m, x + i * image, want + i * CLASSES);
        gs_assert_close(IMAGES * CLASSES, y, want, 1e-5);
        free(x);
        gs_net_destroy(m.net);
    }
}

static void a_norm_folds_into_its_convolution(void **state) {
    (void)state;
    const gs_pattern conv_norm_relu = {
        .count = 3,
        .node = {{GS_OP_CONV2D, {-1}}, {GS_OP_BATCHNORM2D, {0}}, {GS_OP_RELU, {1}}},
    };
    uint64_t seed = 11;
    gs_error err = {0};
    for (int bias = 0; bias < 2; bias++) {
        convnet m = make_convnet(bias, 5);
        float *x = gs_random_values(IMAGES * 4 * HEIGHT * WIDTH, &seed);
        float before[IMAGES * CLASSES], after[IMAGES * CLASSES];
        gs_run_rows(m.net, GS_GEMM_F32, IMAGES, x, before);
        int at = 0, count = -1;
        gs_match match;
        assert_true(gs_net_match(m.net, &conv_norm_relu, &at, &match));
        assert_ptr_equal(match.node[1], m.norm);

        assert_ok(gs_net_fold_batchnorm(m.net, &count, &err), &err);
        assert_int_equal(count, 1);
        assert_null(gs_net_find(m.net, "norm"));
        assert_ptr_equal(m.relu->input[0], m.conv->output);
        assert_string_equal(m.conv->param[GS_ROLE_WEIGHT]->name, "conv.weight");
        assert_string_equal(m.conv->param[GS_ROLE_BIAS]->name, "conv.bias");
        gs_assert_net_is_sound(m.net);
        gs_run_rows(m.net, GS_GEMM_F32, IMAGES, x, after);
        gs_assert_close(IMAGES * CLASSES, after, before, 1e-5);
        assert_memory_not_equal(after, before, sizeof after); /* it did something */

        assert_ok(gs_net_fold_batchnorm(m.net, &count, &err), &err);
        assert_int_equal(count, 0);
        free(x);
        gs_net_destroy(m.net);
    }
}

static void a_convolution_that_others_read_is_not_folded(void **state) {
    (void)state;
    gs_error err = {0};
    int count = -1;
    convnet m = make_convnet(true, 5);
    assert_ok(gs_net_output(m.net, m.conv->output, &err), &err);
    assert_ok(gs_net_fold_batchnorm(m.net, &count, &err), &err);
    assert_int_equal(count, 0);
    gs_net_destroy(m.net);

    m = make_convnet(true, 5);
    gs_new_node(m.net, GS_OP_RELU, "other", NULL, m.conv->output, NULL, NULL);
    assert_ok(gs_net_fold_batchnorm(m.net, &count, &err), &err);
    assert_int_equal(count, 0);
    assert_non_null(gs_net_find(m.net, "norm"));
    gs_net_destroy(m.net);
}

static void a_norm_that_cannot_be_folded_leaves_the_net_alone(void **state) {
    (void)state;
    gs_error err = {0};
    int count;
    convnet m = make_convnet(true, 5);
    float *variance = m.norm->param[GS_ROLE_VARIANCE]->data;
    variance[2] = -1;
    char *before = gs_net_text(m.net);
    assert_fails(gs_net_fold_batchnorm(m.net, &count, &err), GS_E_NUMERIC, &err);
    assert_non_null(strstr(err.text, "channel 2"));
    variance[2] = 1;
    for (int64_t k = 0;; k++) {
        const gs_param *weight = m.conv->param[GS_ROLE_WEIGHT];
        gs_mem_fail_after(k);
        gs_status status = gs_net_fold_batchnorm(m.net, &count, &err);
        gs_mem_fail_after(-1);
        if (status == GS_OK) {
            assert_true(k >= 8);
            break;
        }
        char *after = gs_net_text(m.net);
        assert_string_equal(before, after);
        assert_ptr_equal(m.conv->param[GS_ROLE_WEIGHT], weight);
        free(after);
    }
    free(before);
    gs_net_destroy(m.net);
}

static void the_team_does_not_change_an_image(void **state) {
    (void)state;
    uint64_t seed = 13;
    gs_error err = {0};
    convnet m = make_convnet(true, 9);
    float *x = gs_random_values(IMAGES * 4 * HEIGHT * WIDTH, &seed), y[3][IMAGES * CLASSES];
    for (int threads = 1; threads <= 3; threads++) {
        const float *in = x;
        float *out = y[threads - 1];
        gs_batch batch = {.rows = IMAGES};
        assert_ok(gs_try_net(m.net, GS_GEMM_F32, threads, &batch, &in, &out, &err), &err);
        assert_memory_equal(y[threads - 1], y[0], sizeof y[0]);
    }
    free(x);
    gs_net_destroy(m.net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_image_network_runs),
        cmocka_unit_test(a_norm_folds_into_its_convolution),
        cmocka_unit_test(a_convolution_that_others_read_is_not_folded),
        cmocka_unit_test(a_norm_that_cannot_be_folded_leaves_the_net_alone),
        cmocka_unit_test(the_team_does_not_change_an_image),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
