/* gs_conv2d_run against the plain loops, and those against values worked out by hand. */
#include <base/team.h>
#include <kernels/conv/conv.h>
#include <math.h>
#include <tests/support.h>

static float *values(int64_t count, uint64_t *seed) {
    float *x = malloc((size_t)count * sizeof *x);
    for (int64_t i = 0; i < count; i++) x[i] = gs_test_randf(seed);
    return x;
}

static void compare(gs_team *team, const gs_conv2d_shape *s, bool with_bias) {
    gs_error err = {0};
    int64_t h, w;
    uint64_t seed = (uint64_t)(s->height * 3 + s->out_channels);
    assert_ok(gs_conv2d_output(s, &h, &w, &err), &err);
    int64_t depth = s->in_channels / s->groups, terms = depth * s->kernel_h * s->kernel_w;
    int64_t out = s->batch * s->out_channels * h * w;
    float *x = values(s->batch * s->in_channels * s->height * s->width, &seed);
    float *k = values(s->out_channels * terms, &seed), *bias = values(s->out_channels, &seed);
    float *got = values(out, &seed), *want = values(out, &seed);
    assert_ok(gs_conv2d_run(team, s, x, k, with_bias ? bias : NULL, got, &err), &err);
    gs_conv2d_reference(s, x, k, with_bias ? bias : NULL, want);
    /* sums of `terms` products below 1 and a bias */
    double bound = (double)((terms + 2) * (terms + 1)) * 0x1p-24;
    for (int64_t i = 0; i < out; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= bound))
            fail_msg("%lldx%lld kernel, stride %lld, padding %lld, dilation %lld, %lld "
                     "groups: y[%lld] = %g, not %g",
                     (long long)s->kernel_h, (long long)s->kernel_w, (long long)s->stride,
                     (long long)s->padding, (long long)s->dilation, (long long)s->groups,
                     (long long)i, (double)got[i], (double)want[i]);
    free(x);
    free(k);
    free(bias);
    free(got);
    free(want);
}

static void every_kind_of_window_agrees(void **state) {
    (void)state;
    /* batch, channels, height, width, out, kernel h, w, stride, padding, dilation, groups */
    static const gs_conv2d_shape shapes[] = {
        {1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1},
        {2, 3, 17, 19, 16, 3, 3, 1, 1, 1, 1},
        {3, 3, 32, 32, 8, 7, 7, 2, 3, 1, 1},
        {1, 16, 9, 9, 32, 1, 1, 1, 0, 1, 1},
        {2, 16, 14, 14, 32, 1, 1, 2, 0, 1, 1},
        {2, 12, 15, 13, 12, 3, 3, 1, 1, 1, 12}, /* depthwise */
        {1, 32, 10, 10, 32, 3, 3, 2, 1, 1, 4},
        {2, 8, 20, 20, 6, 3, 3, 1, 2, 2, 2},
        {1, 5, 11, 7, 3, 5, 1, 1, 0, 1, 1},
        {1, 4, 8, 9, 2, 1, 5, 3, 2, 1, 1},
        {1, 2, 30, 30, 2, 3, 3, 3, 4, 5, 1},
        {4, 16, 8, 8, 16, 3, 3, 1, 1, 1, 1},
        {1, 3, 8, 8, 1, 2, 2, 5, 0, 1, 1}};
    gs_team *team;
    gs_error err = {0};
    assert_ok(gs_team_create(NULL, 2, &team, &err), &err);
    for (size_t i = 0; i < GS_COUNTOF(shapes); i++) {
        compare(team, &shapes[i], true);
        compare(NULL, &shapes[i], false);
    }
    gs_team_destroy(team);
}

static void the_reference_slides_a_window(void **state) {
    (void)state;
    const gs_conv2d_shape s = {1, 1, 2, 3, 1, 2, 2, 1, 0, 1, 1};
    const float x[6] = {1, 2, 3, 4, 5, 6}, w[4] = {1, 10, 100, 1000}, bias = 0.5f;
    float y[2];
    gs_conv2d_reference(&s, x, w, &bias, y);
    assert_true(y[0] == 1 + 20 + 400 + 5000 + 0.5f && y[1] == 2 + 30 + 500 + 6000 + 0.5f);
    gs_conv2d_shape padded = s;
    padded.padding = 1;
    padded.stride = 3;
    padded.dilation = 2;
    int64_t h, width;
    gs_error err = {0};
    assert_ok(gs_conv2d_output(&padded, &h, &width, &err), &err);
    assert_true(h == 1 && width == 1);
    gs_conv2d_reference(&padded, x, w, NULL, y); /* rows -1, 1 and columns -1, 1 */
    assert_true(y[0] == 1000 * 5);
}

static void impossible_windows_are_refused(void **state) {
    (void)state;
    const gs_conv2d_shape good = {1, 4, 8, 8, 4, 3, 3, 1, 0, 1, 1};
    gs_conv2d_shape bad[10];
    for (int i = 0; i < 10; i++) bad[i] = good;
    bad[0].groups = 3;
    bad[1].stride = 0;
    bad[2].kernel_h = 9;
    bad[3].padding = -1;
    bad[4].batch = 0;
    bad[5].height = INT64_MAX;
    bad[6].dilation = INT64_MAX / 2;
    bad[7].groups = 0;
    bad[8].height = bad[8].width = bad[8].batch = (int64_t)1 << 30;
    bad[9].padding = INT64_MAX / 2;
    gs_error err = {0};
    int64_t h, w;
    float x[256] = {0};
    for (int i = 0; i < 10; i++) {
        assert_fails(gs_conv2d_output(&bad[i], &h, &w, &err), GS_E_INVALID, &err);
        assert_fails(gs_conv2d_run(NULL, &bad[i], x, x, NULL, x, &err), GS_E_INVALID, &err);
    }
    assert_ok(gs_conv2d_output(&good, &h, &w, &err), &err);
    assert_true(h == 6 && w == 6);
}

static void batch_normalisation_is_affine_per_channel(void **state) {
    (void)state;
    enum { BATCH = 2, CHANNELS = 3, SPATIAL = 5 };
    uint64_t seed = 1;
    float *x = values(BATCH * CHANNELS * SPATIAL, &seed);
    float y[BATCH * CHANNELS * SPATIAL];
    const float gamma[3] = {1, 2, -1}, beta[3] = {0, 1, 0.5f}, mean[3] = {0, 0.5f, -3},
                var[3] = {1, 4, 0};
    gs_batchnorm2d_run(BATCH, CHANNELS, SPATIAL, x, gamma, beta, mean, var, 1e-5f, y);
    for (int i = 0; i < BATCH * CHANNELS * SPATIAL; i++) {
        int c = i / SPATIAL % CHANNELS;
        double scale = (double)gamma[c] / sqrt((double)var[c] + 1e-5);
        double want = ((double)x[i] - (double)mean[c]) * scale + (double)beta[c];
        /* x*a and b are of the size of |scale|*(1 + |mean|) and rounded */
        assert_true(fabs((double)y[i] - want) <= 4 * 0x1p-24 * (fabs(scale) * 4 + 1));
    }
    free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_slides_a_window),
        cmocka_unit_test(every_kind_of_window_agrees),
        cmocka_unit_test(impossible_windows_are_refused),
        cmocka_unit_test(batch_normalisation_is_affine_per_channel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
