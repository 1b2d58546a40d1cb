/* Every number of an observer against a plain loop over the same data, at any team size and any
 * grouping of the rows. */
#include "../support.h"

#include <base/half.h>
#include <base/mem.h>
#include <calibrate/histogram.h>
#include <math.h>

/* Values over many magnitudes, zeros of both signs among them. */
static float *random_rows(int64_t n, int64_t width, uint64_t seed) {
    float *x = malloc((size_t)(n * width) * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n * width; i++) {
        float size = ldexpf(1.0f, (int)(gs_test_rand(&seed) % 60) - 32);
        uint64_t kind = gs_test_rand(&seed) % 16;
        x[i] = kind == 0 ? 0.0f : kind == 1 ? -0.0f : size * gs_test_randf(&seed);
    }
    return x;
}

static void plain(gs_observer *o, int64_t n, const float *x) {
    for (int64_t r = 0; r < n; r++, x += o->width) {
        float m = 0;
        for (int64_t i = 0; i < o->width; i++) {
            float v = x[i] == 0 ? 0 : x[i];
            o->min[i] = fminf(o->min[i], v);
            o->max[i] = fmaxf(o->max[i], v);
            o->abs_sum[i] += (double)fabsf(v);
            o->square_sum[i] += (double)v * (double)v;
            o->histogram[gs_histogram_bin(v)]++;
            m = fmaxf(m, fabsf(v));
        }
        o->token_absmax_sum += (double)m;
        o->token_absmax_max = fmaxf(o->token_absmax_max, m);
        o->rows++;
    }
}

static void assert_same(const gs_observer *a, const gs_observer *b) {
    size_t n = (size_t)a->width;
    assert_int_equal(a->rows, b->rows);
    assert_memory_equal(a->min, b->min, n * sizeof *a->min);
    assert_memory_equal(a->max, b->max, n * sizeof *a->max);
    assert_memory_equal(a->abs_sum, b->abs_sum, n * sizeof *a->abs_sum);
    assert_memory_equal(a->square_sum, b->square_sum, n * sizeof *a->square_sum);
    assert_memory_equal(a->histogram, b->histogram, GS_HISTOGRAM_BINS * sizeof *a->histogram);
    assert_memory_equal(&a->token_absmax_sum, &b->token_absmax_sum, sizeof a->token_absmax_sum);
    assert_true(a->token_absmax_max == b->token_absmax_max);
    assert_int_equal(a->sample_rows, b->sample_rows);
    if (a->sample_rows) assert_memory_equal(a->sample, b->sample, (size_t)a->sample_rows * n * sizeof *a->sample);
}

static void compare(int64_t n, int64_t width, int threads, const int64_t *groups) {
    gs_error err = {0};
    gs_observer a, b;
    gs_team *team;
    float *x = random_rows(n, width, (uint64_t)(n * width));
    assert_ok(gs_team_create(NULL, threads, &team, &err), &err);
    assert_ok(gs_observer_init(&a, "edge", width, 0, &err), &err);
    assert_ok(gs_observer_init(&b, "edge", width, 0, &err), &err);
    plain(&a, n, x);
    for (int64_t row = 0; row < n;) {
        int64_t some = *groups && *groups < n - row ? *groups++ : n - row;
        assert_ok(gs_observer_see(&b, team, row, some, x + row * width, &err), &err);
        row += some;
    }
    assert_same(&a, &b);
    gs_observer_clear(&a);
    gs_observer_clear(&b);
    gs_team_destroy(team);
    free(x);
}

static void every_number_is_that_of_a_plain_loop(void **state) {
    (void)state;
    static const int64_t all[] = {0}, odd[] = {1, 7, 2, 64, 5, 0};
    static const int64_t widths[] = {1, 63, 64, 65, 257, 576, 2047, 2048, 2500};
    for (size_t i = 0; i < GS_COUNTOF(widths); i++) {
        for (int threads = 1; threads <= 3; threads++) {
            compare(1, widths[i], threads, all);
            compare(101, widths[i], threads, all);
            compare(101, widths[i], threads, odd);
        }
    }
    compare(9001, 70, 2, all); /* more than two groups of rows */
}

static void extremes_do_not_depend_on_the_order_of_zeros(void **state) {
    (void)state;
    gs_error err = {0};
    gs_observer o;
    const float x[] = {-0.0f, 0.0f, -0.0f, 0.0f, 0.0f, -0.0f};
    assert_ok(gs_observer_init(&o, "edge", 3, 0, &err), &err);
    assert_ok(gs_observer_see(&o, NULL, 0, 2, x, &err), &err);
    for (int i = 0; i < 3; i++) assert_false(signbit(o.min[i]) || signbit(o.max[i]));
    assert_int_equal(o.histogram[GS_HISTOGRAM_SIDE], 6);
    gs_observer_clear(&o);
}

static void a_fresh_observer_has_seen_nothing(void **state) {
    (void)state;
    gs_error err = {0};
    gs_observer o;
    float min, max;
    assert_ok(gs_observer_init(&o, "edge", 3, 0, &err), &err);
    assert_ok(gs_observer_see(&o, NULL, 0, 0, NULL, &err), &err);
    assert_int_equal(o.rows, 0);
    gs_observer_range(&o, &min, &max);
    assert_true(min == INFINITY && max == -INFINITY);
    assert_true(gs_observer_absmax(&o, 0) == 0);
    assert_fails(gs_observer_see(&o, NULL, 0, -1, NULL, &err), GS_E_INVALID, &err);
    gs_observer_clear(&o);
    assert_fails(gs_observer_init(&o, "edge", 0, 0, &err), GS_E_INVALID, &err);
    assert_fails(gs_observer_init(&o, "edge", 8, -1, &err), GS_E_INVALID, &err);
    assert_fails(gs_observer_init(&o, "edge", INT32_MAX, INT64_MAX, &err), GS_E_NOMEM, &err);
    gs_observer_clear(&o);
}

static void the_first_bad_value_is_named(void **state) {
    (void)state;
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        gs_error err = {0};
        gs_observer o;
        gs_team *team;
        float *x = random_rows(5000, 130, 4);
        x[4500 * 130 + 129] = bad[i];
        x[4500 * 130 + 77] = bad[i];
        x[4501 * 130] = NAN;
        assert_ok(gs_team_create(NULL, 2, &team, &err), &err);
        assert_ok(gs_observer_init(&o, "layer.3.in", 130, 0, &err), &err);
        assert_fails(gs_observer_see(&o, team, 1000, 5000, x, &err), GS_E_NUMERIC, &err);
        assert_non_null(strstr(err.text, "'layer.3.in'"));
        assert_non_null(strstr(err.text, "row 5500"));
        assert_non_null(strstr(err.text, "channel 77 "));
        assert_non_null(strstr(err.text, i < 2 ? "NaN" : "infinite"));
        gs_observer_clear(&o);
        gs_team_destroy(team);
        free(x);
    }
}

static void the_sample_keeps_rows_as_bf16(void **state) {
    (void)state;
    gs_error err = {0};
    gs_observer o;
    float *x = random_rows(3, 33, 6);
    assert_ok(gs_observer_init(&o, "edge", 33, 2, &err), &err);
    assert_ok(gs_observer_keep(&o, x, &err), &err);
    float kept = x[40];
    x[40] = 3.4e38f; /* rounds to infinity */
    assert_fails(gs_observer_keep(&o, x + 33, &err), GS_E_NUMERIC, &err);
    x[40] = kept;
    assert_ok(gs_observer_keep(&o, x + 33, &err), &err);
    assert_fails(gs_observer_keep(&o, x + 66, &err), GS_E_INVALID, &err);
    assert_int_equal(o.sample_rows, 2);
    for (int i = 0; i < 66; i++) assert_int_equal(o.sample[i], gs_f32_to_bf16(x[i]));
    gs_observer_clear(&o);
    free(x);
}

/* Sums of integers are exact, so that even they must agree with one observer of everything. */
static void two_observers_merge_into_one_of_everything(void **state) {
    (void)state;
    gs_error err = {0};
    gs_observer whole, a, b;
    uint64_t seed = 12;
    enum { WIDTH = 40 };
    float x[9 * WIDTH];
    for (int i = 0; i < 9 * WIDTH; i++) x[i] = (float)((int)(gs_test_rand(&seed) % 201) - 100);
    assert_ok(gs_observer_init(&whole, "edge", WIDTH, 3, &err), &err);
    assert_ok(gs_observer_init(&a, "edge", WIDTH, 1, &err), &err);
    assert_ok(gs_observer_init(&b, "edge", WIDTH, 2, &err), &err);
    assert_ok(gs_observer_see(&whole, NULL, 0, 9, x, &err), &err);
    assert_ok(gs_observer_see(&a, NULL, 0, 4, x, &err), &err);
    assert_ok(gs_observer_see(&b, NULL, 4, 5, x + 4 * WIDTH, &err), &err);
    for (int row = 2; row <= 6; row += 2)
        assert_ok(gs_observer_keep(&whole, x + row * WIDTH, &err), &err);
    assert_ok(gs_observer_keep(&a, x + 2 * WIDTH, &err), &err);
    assert_ok(gs_observer_keep(&b, x + 4 * WIDTH, &err), &err);
    assert_ok(gs_observer_keep(&b, x + 6 * WIDTH, &err), &err);

    gs_mem_fail_after(0);
    assert_fails(gs_observer_merge(&a, &b, &err), GS_E_NOMEM, &err);
    gs_mem_fail_after(-1);
    assert_int_equal(a.rows, 4);
    assert_ok(gs_observer_merge(&a, &b, &err), &err);
    assert_same(&a, &whole);
    assert_true(a.sample_capacity >= a.sample_rows);
    gs_observer_clear(&b);

    assert_ok(gs_observer_init(&b, "edge", WIDTH, 0, &err), &err); /* nothing seen: nothing changes */
    assert_ok(gs_observer_merge(&a, &b, &err), &err);
    assert_same(&a, &whole);
    assert_ok(gs_observer_merge(&b, &a, &err), &err);
    assert_same(&b, &whole);
    gs_observer_clear(&a);
    gs_observer_clear(&b);
    gs_observer_clear(&whole);
}

static void observers_of_different_edges_do_not_merge(void **state) {
    (void)state;
    gs_error err = {0};
    gs_observer a, b, c;
    assert_ok(gs_observer_init(&a, "edge", 4, 0, &err), &err);
    assert_ok(gs_observer_init(&b, "other", 4, 0, &err), &err);
    assert_ok(gs_observer_init(&c, "edge", 5, 0, &err), &err);
    assert_fails(gs_observer_merge(&a, &b, &err), GS_E_INVALID, &err);
    assert_fails(gs_observer_merge(&a, &c, &err), GS_E_INVALID, &err);
    a.rows = INT64_MAX - 1;
    gs_observer_clear(&c);
    assert_ok(gs_observer_init(&c, "edge", 4, 0, &err), &err);
    c.rows = 2;
    assert_fails(gs_observer_merge(&a, &c, &err), GS_E_INVALID, &err);
    gs_observer_clear(&a);
    gs_observer_clear(&b);
    gs_observer_clear(&c);
}

static void lack_of_memory_leaves_nothing(void **state) {
    (void)state;
    float x[64] = {0};
    for (int64_t k = 0;; k++) {
        gs_error err = {0};
        gs_observer o;
        gs_mem_fail_after(k);
        gs_status status = gs_observer_init(&o, "edge", 32, 2, &err);
        if (status == GS_OK) status = gs_observer_see(&o, NULL, 0, 2, x, &err);
        gs_mem_fail_after(-1);
        gs_observer_clear(&o);
        if (status == GS_OK) {
            assert_true(k >= 9);
            break;
        }
        assert_int_equal(status, GS_E_NOMEM);
    }
}

static void bins_ascend_and_are_a_32nd_wide(void **state) {
    (void)state;
    double before = -HUGE_VAL;
    for (int bin = 0; bin < GS_HISTOGRAM_BINS; bin++) {
        double low, high, middle = (double)gs_histogram_value(bin);
        gs_histogram_edges(bin, &low, &high);
        assert_true(low == before && low < high);
        before = high;
        assert_true(middle > low && middle < high);
        assert_int_equal(gs_histogram_bin((float)middle), bin);
        if (bin == GS_HISTOGRAM_SIDE) continue;
        /* an edge belongs to the bin further out */
        double inner = bin < GS_HISTOGRAM_SIDE ? high : low, outer = bin < GS_HISTOGRAM_SIDE ? low : high;
        assert_int_equal(gs_histogram_bin((float)inner), bin);
        assert_int_equal(gs_histogram_bin(nextafterf((float)outer, 0)), bin);
        if (isfinite(outer)) assert_true(fabs(outer - inner) <= fabs(inner) / 32);
    }
    assert_true(before == HUGE_VAL);
}

static void magnitudes_out_of_range_count_at_the_ends(void **state) {
    (void)state;
    assert_int_equal(gs_histogram_bin(0x1p-25f), GS_HISTOGRAM_SIDE);
    assert_int_equal(gs_histogram_bin(-1e-40f), GS_HISTOGRAM_SIDE);
    assert_int_equal(gs_histogram_bin(0x1p-24f), GS_HISTOGRAM_SIDE + 1);
    assert_int_equal(gs_histogram_bin(-0x1p-24f), GS_HISTOGRAM_SIDE - 1);
    assert_int_equal(gs_histogram_bin(0x1p24f), GS_HISTOGRAM_BINS - 1);
    assert_int_equal(gs_histogram_bin(3e38f), GS_HISTOGRAM_BINS - 1);
    assert_int_equal(gs_histogram_bin(-3e38f), 0);
    assert_int_equal(gs_histogram_bin(INFINITY), GS_HISTOGRAM_BINS - 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_is_that_of_a_plain_loop),
        cmocka_unit_test(extremes_do_not_depend_on_the_order_of_zeros),
        cmocka_unit_test(a_fresh_observer_has_seen_nothing),
        cmocka_unit_test(the_first_bad_value_is_named),
        cmocka_unit_test(the_sample_keeps_rows_as_bf16),
        cmocka_unit_test(two_observers_merge_into_one_of_everything),
        cmocka_unit_test(observers_of_different_edges_do_not_merge),
        cmocka_unit_test(lack_of_memory_leaves_nothing),
        cmocka_unit_test(bins_ascend_and_are_a_32nd_wide),
        cmocka_unit_test(magnitudes_out_of_range_count_at_the_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
