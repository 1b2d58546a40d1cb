/* Row scales chosen by the output error they leave (row_quant.h, refinement), against a plain search in double. */
#include "../support.h"

#include <math.h>
#include <ptq/row_quant.h>

enum { N = 96 };
static const gs_dtype computes[] = {GS_F32, GS_F16, GS_BF16};
static const gs_scale_convention conventions[] = {GS_SCALE_ASCEND, GS_SCALE_GOLDENSTICK};

/* What row scale s costs, from the words of the header alone. */
static double cost(const float *w, const float *h, float s) {
    double sum = 0;
    for (int i = 0; i < N; i++) {
        float q = fminf(fmaxf(nearbyintf(w[i] / s), -128), 127);
        double e = (double)w[i] - (double)(q * s);
        sum += (double)h[i] * e * e;
    }
    return sum;
}

static float largest(const float *w) {
    float m = 0;
    for (int i = 0; i < N; i++) m = fmaxf(m, fabsf(w[i]));
    return m;
}

static float quantize(const gs_row_rule *rule, const float *w, int8_t *q) {
    float scale, scratch[N];
    gs_row_stats stats = {0};
    assert_true(gs_row_quantize(rule, N, w, q, &scale, scratch, &stats));
    return scale;
}

/* A row with a few large weights, and inputs of which a few matter. */
static void make(float *w, float *h, uint64_t *seed) {
    float size = ldexpf(1, (int)(gs_test_rand(seed) % 20) - 12);
    for (int i = 0; i < N; i++) {
        w[i] = size * gs_test_randf(seed) * (i % 31 == 0 ? 4.0f : 1.0f);
        h[i] = fabsf(gs_test_randf(seed)) * (gs_test_rand(seed) % 8 ? 1.0f : 100.0f);
    }
}

static void a_refined_row_is_the_best_of_all_the_candidates(void **state) {
    (void)state;
    uint64_t seed = 3;
    int better = 0;
    for (int round = 0; round < 400; round++) {
        float w[N], h[N];
        int8_t q[N], plain[N];
        make(w, h, &seed);
        gs_row_rule rule = {.convention = conventions[round % 2], .compute = computes[round % 3], .importance = h}, without = rule;
        without.importance = NULL;
        float s = quantize(&rule, w, q), s0 = quantize(&without, w, plain), m = largest(w);
        assert_true(s0 == gs_row_scale(rule.convention, rule.compute, m));
        double got = cost(w, h, s), least = INFINITY;
        float best = 0;
        for (int step = 200; step >= 160; step--) {
            float candidate = gs_row_scale(rule.convention, rule.compute, m * ((float)step / 200.0f));
            double c = cost(w, h, candidate);
            if (c < least) {
                least = c;
                best = candidate;
            }
        }
        assert_true(s == best && got == least);
        assert_true(got <= cost(w, h, s0));
        better += got < cost(w, h, s0);
        for (int i = 0; i < N; i++) assert_int_equal(q[i], (int)fminf(fmaxf(nearbyintf(w[i] / s), -128), 127));
    }
    assert_true(better > 300);
}

/* Only 0.80 of the largest puts 0.8 on the grid: 20320 / 160 = 127. */
static void the_last_candidate_is_tried_too(void **state) {
    (void)state;
    float w[N], h[N];
    int8_t q[N];
    for (int i = 0; i < N; i++) {
        w[i] = i ? 0.8f : 1.0f;
        h[i] = i != 0;
    }
    gs_row_rule rule = {.convention = GS_SCALE_ASCEND, .compute = GS_F32, .importance = h};
    assert_true(quantize(&rule, w, q) == gs_row_scale(GS_SCALE_ASCEND, GS_F32, 0.8f));
    for (int i = 0; i < N; i++) assert_int_equal(q[i], 127);
}

static void inputs_that_never_fire_do_not_change_the_row(void **state) {
    (void)state;
    uint64_t seed = 4;
    float w[N], h[N];
    int8_t q[N], plain[N];
    make(w, h, &seed);
    memset(h, 0, sizeof h);
    gs_row_rule rule = {.convention = GS_SCALE_ASCEND, .compute = GS_F32, .importance = h}, without = {.convention = GS_SCALE_ASCEND, .compute = GS_F32};
    assert_true(quantize(&rule, w, q) == quantize(&without, w, plain)); /* the first of equals */
    assert_memory_equal(q, plain, sizeof q);
}

static void only_the_inputs_that_fire_decide(void **state) {
    (void)state;
    uint64_t seed = 6;
    float w[N], h[N] = {0};
    int8_t q[N];
    make(w, h, &seed);
    for (int i = 0; i < N; i++) h[i] = i == 5;
    w[0] = 1; /* the largest, with no say */
    w[5] = 0.9f;
    gs_row_rule rule = {.convention = GS_SCALE_ASCEND, .compute = GS_F32, .importance = h};
    float s = quantize(&rule, w, q);
    assert_true(fabsf((float)q[5] * s - w[5]) < fabsf(rintf(w[5] * 127) / 127 - w[5]));
}

static void a_zero_row_stays_what_it_was(void **state) {
    (void)state;
    float w[N] = {0}, h[N];
    int8_t q[N];
    for (int i = 0; i < N; i++) h[i] = 1;
    for (int c = 0; c < 2; c++) {
        gs_row_rule rule = {.convention = conventions[c], .compute = GS_F16, .importance = h};
        memset(q, 1, sizeof q);
        assert_true(quantize(&rule, w, q) == gs_row_scale(conventions[c], GS_F16, 0));
        for (int i = 0; i < N; i++) assert_int_equal(q[i], 0);
    }
}

static void what_is_not_finite_is_refused_and_nothing_written(void **state) {
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    float h[N];
    for (int i = 0; i < N; i++) h[i] = 0; /* an unimportant NaN is still one */
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        float w[N] = {1}, scale = 7, scratch[N];
        int8_t q[N];
        gs_row_stats stats = {0};
        memset(q, 9, sizeof q);
        w[N - 1] = bad[i];
        assert_false(gs_row_quantize(&(gs_row_rule){.convention = GS_SCALE_ASCEND, .compute = GS_F32, .importance = h}, N, w, q, &scale, scratch, &stats));
        assert_true(scale == 7 && q[0] == 9 && stats.rows == 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refined_row_is_the_best_of_all_the_candidates),
        cmocka_unit_test(the_last_candidate_is_tried_too),
        cmocka_unit_test(inputs_that_never_fire_do_not_change_the_row),
        cmocka_unit_test(only_the_inputs_that_fire_decide),
        cmocka_unit_test(a_zero_row_stays_what_it_was),
        cmocka_unit_test(what_is_not_finite_is_refused_and_nothing_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
