#include "../support.h"

#include <eval/score.h>
#include <math.h>

static void figures_of_three_tokens_by_hand(void **state) {
    (void)state;
    gs_error err = {0};
    gs_scores s;
    gs_eval_result r = {0};
    assert_ok(gs_scores_init(&s, 8, true, &err), &err);
    const double nll[] = {1, 2, 6}, ref[] = {1, 1, 4}, kld[] = {0.3, 0.1, 0.2};
    for (int i = 0; i < 3; i++) {
        s.nll[i] = nll[i];
        s.ref_nll[i] = ref[i];
        s.kld[i] = kld[i];
    }
    s.count = 3;
    s.agree = 2;
    assert_ok(gs_scores_summarise(&s, &r, &err), &err);
    assert_int_equal(r.tokens, 3);
    assert_true(r.nll == 3 && r.ref_nll == 2);
    assert_true(r.ppl == exp(3.0) && r.ref_ppl == exp(2.0));
    /* variances of the means: 14/6 and 6/6, covariance 9/6 */
    assert_true(fabs(r.ppl_stderr - exp(3.0) * sqrt(14.0 / 6)) <= 1e-12);
    double spread = exp(6.0) * 14 / 6 + exp(4.0) - 2 * exp(5.0) * 9 / 6;
    assert_true(fabs(r.delta_ppl_stderr - sqrt(spread)) <= 1e-9);
    assert_true(fabs(r.delta_ppl - (exp(3.0) - exp(2.0))) <= 1e-12);
    assert_true(fabs(r.kld_mean - 0.2) <= 1e-15);
    assert_true(fabs(r.kld_p99 - (0.2 + 0.98 * 0.1)) <= 1e-12);
    assert_true(r.kld_max == 0.3);
    assert_true(fabs(r.top1_agreement - 2.0 / 3) <= 1e-15);
    gs_scores_clear(&s);
}

static void a_single_token_has_no_spread(void **state) {
    (void)state;
    gs_error err = {0};
    gs_scores s;
    gs_eval_result r = {0};
    assert_ok(gs_scores_init(&s, 1, false, &err), &err);
    s.nll[0] = 2;
    s.count = 1;
    assert_ok(gs_scores_summarise(&s, &r, &err), &err);
    assert_true(r.ppl_stderr == 0 && !r.compared);
    gs_scores_clear(&s);
}

static void a_value_that_is_not_finite_is_an_error_not_a_result(void **state) {
    (void)state;
    gs_error err = {0};
    gs_scores s;
    gs_eval_result r = {0};
    assert_ok(gs_scores_init(&s, 2, false, &err), &err);
    s.nll[0] = 2;
    s.nll[1] = NAN;
    s.count = 2;
    assert_fails(gs_scores_summarise(&s, &r, &err), GS_E_NUMERIC, &err);
    gs_scores_clear(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_of_three_tokens_by_hand),
        cmocka_unit_test(a_single_token_has_no_spread),
        cmocka_unit_test(a_value_that_is_not_finite_is_an_error_not_a_result),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
