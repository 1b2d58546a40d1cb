/* Codes chosen by coordinate descent (row_refine.h), against its objective computed in double. */
#include "../support.h"

#include <base/mem.h>
#include <math.h>
#include <ptq/row_refine.h>

enum { N = 21, K = 40 };

typedef struct problem {
    float x[N * K], mean_square[K], w[K], scale;
    int8_t q[K];
} problem;

static void make(problem *p, uint64_t *seed) {
    float most = 0;
    for (int j = 0; j < K; j++) {
        p->mean_square[j] = 0;
        float size = gs_test_rand(seed) % 9 == 0 ? 30.0f : 1.0f;
        for (int r = 0; r < N; r++) {
            /* channels that move together, so that errors can make up for each other */
            float common = (float)((r * 7) % 5) - 2.0f;
            p->x[r * K + j] = size * (gs_test_randf(seed) + common);
            p->mean_square[j] += p->x[r * K + j] * p->x[r * K + j] / N;
        }
        p->w[j] = gs_test_randf(seed);
        most = fmaxf(most, fabsf(p->w[j]));
    }
    p->scale = most / 127.0f;
    for (int j = 0; j < K; j++) p->q[j] = (int8_t)nearbyintf(p->w[j] / p->scale);
}

/* J of the header, with lambda read off the samples struct. */
static double objective(const problem *p, const gs_refine_samples *s, const int8_t *q) {
    double sum = 0;
    for (int r = 0; r < N; r++) {
        double y = 0;
        for (int j = 0; j < K; j++)
            y += (double)p->x[r * K + j] * ((double)p->w[j] - (double)p->scale * (double)q[j]);
        sum += y * y;
    }
    for (int j = 0; j < K; j++) {
        double e = (double)p->w[j] - (double)p->scale * (double)q[j];
        sum += (double)s->prior[j] * e * e;
    }
    return sum;
}

static int64_t refine(const problem *p, int8_t *q, gs_refine_samples *s) {
    gs_error err = {0};
    assert_ok(gs_refine_samples_init(s, N, K, p->x, p->mean_square, &err), &err);
    float *work = calloc((size_t)(s->k + s->rows), sizeof *work);
    memcpy(q, p->q, K);
    int64_t steps = gs_row_refine(s, p->w, p->scale, q, work);
    free(work);
    return steps;
}

static void the_objective_falls_and_codes_stay_near(void **state) {
    (void)state;
    uint64_t seed = 4;
    double before = 0, after = 0;
    for (int round = 0; round < 200; round++) {
        problem p;
        gs_refine_samples s;
        int8_t q[K];
        make(&p, &seed);
        int64_t steps = refine(&p, q, &s);
        double from = objective(&p, &s, p.q), to = objective(&p, &s, q);
        assert_true(to <= from * (1 + 1e-5));
        int64_t moved = 0;
        for (int j = 0; j < K; j++) {
            moved += q[j] != p.q[j];
            assert_true(fabsf(p.w[j] - p.scale * (float)q[j]) <= p.scale * 1.0001f);
        }
        assert_true(moved <= steps);
        before += from;
        after += to;
        gs_refine_samples_clear(&s);
    }
    print_message("objective %.4g -> %.4g\n", before, after);
    assert_true(after < 0.75 * before);
}

/* When it stops before its last pass, no single step lowers the objective any more. */
static void it_ends_where_no_single_step_helps(void **state) {
    (void)state;
    uint64_t seed = 5;
    int settled = 0;
    for (int round = 0; round < 100; round++) {
        problem p;
        gs_refine_samples s, again;
        int8_t q[K];
        make(&p, &seed);
        refine(&p, q, &s);
        memcpy(p.q, q, K);
        int64_t more = refine(&p, q, &again);
        gs_refine_samples_clear(&again);
        double at = objective(&p, &s, p.q);
        for (int j = 0; j < K && more == 0; j++) {
            for (int step = -1; step <= 1; step += 2) {
                int8_t other[K];
                memcpy(other, p.q, K);
                if (other[j] + step > 127 || other[j] + step < -127) continue;
                other[j] = (int8_t)(other[j] + step);
                if (fabsf(p.w[j] - p.scale * (float)other[j]) > p.scale) continue;
                assert_true(objective(&p, &s, other) >= at * (1 - 1e-4));
            }
        }
        settled += more == 0;
        gs_refine_samples_clear(&s);
    }
    assert_true(settled > 50);
}

static void columns_go_by_falling_power(void **state) {
    (void)state;
    uint64_t seed = 6;
    problem p;
    gs_refine_samples s;
    int8_t q[K];
    make(&p, &seed);
    refine(&p, q, &s);
    assert_int_equal(s.rows % 16, 0);
    for (int i = 1; i < K; i++) assert_true(s.prior[s.order[i - 1]] >= s.prior[s.order[i]]);
    gs_refine_samples_clear(&s);
}

static void samples_of_zero_move_nothing(void **state) {
    (void)state;
    uint64_t seed = 7;
    problem p;
    gs_refine_samples s;
    int8_t q[K];
    make(&p, &seed);
    memset(p.x, 0, sizeof p.x);
    memset(p.mean_square, 0, sizeof p.mean_square);
    assert_int_equal(refine(&p, q, &s), 0);
    assert_memory_equal(q, p.q, K);
    gs_refine_samples_clear(&s);
}

static void lack_of_memory_leaves_nothing(void **state) {
    (void)state;
    uint64_t seed = 8;
    problem p;
    make(&p, &seed);
    for (int after = 0;; after++) {
        gs_refine_samples s;
        gs_error err = {0};
        gs_mem_fail_after(after);
        gs_status status = gs_refine_samples_init(&s, N, K, p.x, p.mean_square, &err);
        gs_mem_fail_after(-1);
        if (status == GS_OK) {
            gs_refine_samples_clear(&s);
            assert_true(after >= 4);
            return;
        }
        assert_int_equal(status, GS_E_NOMEM);
        assert_null(s.xt);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_objective_falls_and_codes_stay_near),
        cmocka_unit_test(it_ends_where_no_single_step_helps),
        cmocka_unit_test(columns_go_by_falling_power),
        cmocka_unit_test(samples_of_zero_move_nothing),
        cmocka_unit_test(lack_of_memory_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
