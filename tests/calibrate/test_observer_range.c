/* Percentile and least-error ranges against sorting the values and against quantizing every one. */
#include "../support.h"

#include <calibrate/observer.h>
#include <math.h>

enum { WIDTH = 64, ROWS = 500, N = WIDTH * ROWS };

/* Long-tailed, as activations are; `shift` moves them off the middle. */
static void fill(float *x, uint64_t seed, float outlier, float shift) {
    for (int i = 0; i < N; i++) {
        float a = gs_test_randf(&seed), b = gs_test_randf(&seed), c = gs_test_randf(&seed);
        x[i] = (a + b) * (1 + 2 * c * c) + shift;
        if (gs_test_rand(&seed) % 4000 == 0) x[i] *= outlier;
    }
}

static void observe(gs_observer *o, const float *x) {
    gs_error err = {0};
    assert_ok(gs_observer_init(o, "edge", WIDTH, 0, &err), &err);
    assert_ok(gs_observer_see(o, NULL, 0, ROWS, x, &err), &err);
}

static int ascending(const void *left, const void *right) {
    float a = *(const float *)left, b = *(const float *)right;
    return (a > b) - (a < b);
}

static void percentiles_are_those_of_the_sorted_values(void **state) {
    (void)state;
    static const double percentiles[] = {99.999, 99.99, 99.9, 99, 95, 75, 50.5};
    static float x[N];
    for (uint64_t seed = 1; seed <= 6; seed++) {
        gs_observer o;
        float before_min = -INFINITY, before_max = INFINITY;
        fill(x, seed, 30, seed % 2 ? 0.0f : 0.7f);
        observe(&o, x);
        qsort(x, N, sizeof *x, ascending);
        for (size_t i = 0; i < GS_COUNTOF(percentiles); i++) {
            float min, max;
            gs_observer_percentile(&o, percentiles[i], &min, &max);
            int dropped = (int)((1 - percentiles[i] / 100) / 2 * N);
            /* as near as a bin is wide */
            assert_true(fabsf(min - x[dropped]) <= fabsf(x[dropped]) / 32 + 0x1p-24f);
            assert_true(fabsf(max - x[N - 1 - dropped]) <= fabsf(x[N - 1 - dropped]) / 32 + 0x1p-24f);
            assert_true(min >= before_min && max <= before_max && min >= x[0] && max <= x[N - 1]);
            before_min = min;
            before_max = max;
        }
        gs_observer_clear(&o);
    }
}

static void the_hundredth_percentile_is_the_extremes(void **state) {
    (void)state;
    static float x[N];
    gs_observer o;
    float min, max, low, high;
    fill(x, 9, 30, 0.1f);
    observe(&o, x);
    gs_observer_range(&o, &low, &high);
    gs_observer_percentile(&o, 100, &min, &max);
    assert_true(min == low && max == high);
    gs_observer_percentile(&o, (double)NAN, &min, &max);
    assert_true(min == low && max == high);
    qsort(x, N, sizeof *x, ascending);
    assert_true(low == x[0] && high == x[N - 1]);
    gs_observer_clear(&o);
}

static void equal_values_have_one_percentile(void **state) {
    (void)state;
    static float x[N];
    gs_observer o;
    float min, max;
    for (int i = 0; i < N; i++) x[i] = 3.14f;
    observe(&o, x);
    gs_observer_percentile(&o, 99, &min, &max);
    assert_true(min == 3.14f && max == 3.14f);
    gs_observer_clear(&o);
}

/* Mean square error of the quantizer of observer.h, value by value. */
static double brute_error(const float *x, double min, double max, bool symmetric) {
    double scale, zero = 0, sum = 0;
    if (symmetric) {
        scale = fmax(fabs(min), fabs(max)) / 127;
    } else {
        double low = fmin(min, 0);
        scale = (fmax(max, 0) - low) / 255;
        zero = rint(-128 - low / scale);
    }
    for (int i = 0; i < N; i++) {
        double q = fmax(-128, fmin(127, rint((double)x[i] / scale + zero)));
        double e = (double)x[i] - (q - zero) * scale;
        sum += e * e;
    }
    return sum / N;
}

static double brute_best(const float *x, double low, double high, bool symmetric, double *factor) {
    double best = INFINITY;
    for (int percent = 100; percent >= 30; percent--) {
        double error = brute_error(x, percent * low / 100, percent * high / 100, symmetric);
        if (error >= best) continue;
        best = error;
        *factor = percent / 100.0;
    }
    return best;
}

/* The histogram may choose a neighbour of the best factor, never one that is worse by more than two
 * hundredths of the error. */
static void the_least_error_is_that_of_trying_every_value(void **state) {
    (void)state;
    static const float outliers[] = {1, 3, 8, 30};
    static float x[N];
    bool shrunk = false;
    for (int round = 0; round < 16; round++) {
        gs_observer o;
        float low, high, min, max;
        double factor = 0;
        bool symmetric = round & 1;
        fill(x, 100 + (uint64_t)round, outliers[round / 4], round & 2 ? 1.5f : 0.0f);
        observe(&o, x);
        gs_observer_range(&o, &low, &high);
        gs_observer_mse(&o, symmetric, &min, &max);
        double best = brute_best(x, (double)low, (double)high, symmetric, &factor);
        double chosen = brute_error(x, (double)min, (double)max, symmetric);
        assert_true(chosen <= best * 1.02);
        double took = (double)(max / high);
        assert_true(fabs(took - factor) <= 0.03);
        assert_true(fabs((double)(min / low) - took) < 1e-6);
        shrunk |= took < 0.9;
        gs_observer_clear(&o);
    }
    assert_true(shrunk);
}

static void even_values_are_not_shrunk(void **state) {
    (void)state;
    static float x[N];
    gs_observer o;
    float low, high, min, max;
    uint64_t seed = 77;
    for (int i = 0; i < N; i++) x[i] = gs_test_randf(&seed);
    observe(&o, x);
    gs_observer_range(&o, &low, &high);
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        gs_observer_mse(&o, symmetric, &min, &max);
        assert_true(max / high >= 0.98f && max <= high && min >= low);
    }
    gs_observer_clear(&o);
}

static void zeros_have_a_range_of_zero(void **state) {
    (void)state;
    static float x[N];
    gs_observer o;
    float min = 1, max = 1;
    memset(x, 0, sizeof x);
    observe(&o, x);
    gs_observer_mse(&o, false, &min, &max);
    assert_true(min == 0 && max == 0);
    gs_observer_mse(&o, true, &min, &max);
    assert_true(min == 0 && max == 0);
    gs_observer_percentile(&o, 99, &min, &max);
    assert_true(min == 0 && max == 0);
    gs_observer_clear(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_are_those_of_the_sorted_values),
        cmocka_unit_test(the_hundredth_percentile_is_the_extremes),
        cmocka_unit_test(equal_values_have_one_percentile),
        cmocka_unit_test(the_least_error_is_that_of_trying_every_value),
        cmocka_unit_test(even_values_are_not_shrunk),
        cmocka_unit_test(zeros_have_a_range_of_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
