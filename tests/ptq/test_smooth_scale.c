/* Smoothing factors: the formula against what Golden Stick wrote, its edges, and the folding into norms. */
#include "groups.h"

#include <base/half.h>
#include <float.h>
#include <loaders/safetensors.h>
#include <ptq/act_quant.h>
#include <ptq/smooth_scale.h>

static const char reference[] = "reference/goldenstick/smooth/smooth_scale.safetensors";

/* A tensor of the reference as f32; free() it. */
static float *take(const gs_safetensors *st, const char *name, int64_t *count) {
    gs_error err = {0};
    const gs_tensor *t = gs_safetensors_find(st, name);
    if (!t) fail_msg("%s is not in the reference", name);
    int64_t rows, cols;
    gs_tensor_matrix(t, &rows, &cols);
    float *x = malloc((size_t)(rows * cols) * sizeof *x);
    assert_non_null(x);
    assert_ok(gs_tensor_read_f32(t, 0, rows, x, &err), &err);
    *count = rows * cols;
    return x;
}

static void golden_sticks_own_factors_come_out_bit_for_bit(void **state) {
    (void)state;
    static const char *const alphas[] = {"0.0", "0.25", "0.3", "0.5", "0.75", "0.95", "1.0"};
    gs_need_data(path, reference);
    gs_error err = {0};
    gs_safetensors *st;
    int64_t n;
    int clamped = 0, equal = 0;
    assert_ok(gs_safetensors_open(path, &st, &err), &err);
    float *act = take(st, "sq.act_max", &n), *weight = take(st, "sq.w_max", &n), *s = malloc((size_t)n * sizeof *s);
    for (size_t a = 0; a < GS_COUNTOF(alphas); a++) {
        char name[64];
        snprintf(name, sizeof name, "sq.alpha%s.f32", alphas[a]);
        float *want = take(st, name, &n);
        gs_smooth_scales(n, act, weight, strtod(alphas[a], NULL), s);
        for (int64_t j = 0; j < n; j++) {
            bool ours = weight[j] > 0 && weight[j] < 1e-5f; /* msModelSlim's clamp of W, which Golden Stick has not */
            if (act[j] == 0 || weight[j] == 0) { /* it looks at the powers, and x^0 is 1 */
                assert_true(s[j] == 1 && (want[j] == 1 || a == 0 || a + 1 == GS_COUNTOF(alphas)));
            } else if (ours && a + 1 < GS_COUNTOF(alphas)) {
                clamped++;
                assert_true(s[j] <= want[j]);
            } else {
                if (s[j] != want[j]) fail_msg("%s[%d]: %.9g, wanted %.9g", name, (int)j, (double)s[j], (double)want[j]);
                equal++;
            }
        }
        free(want);
    }
    print_message("%d factors equal, %d where the clamp acts\n", equal, clamped);
    assert_true(equal >= 190);
    free(act);
    free(weight);
    free(s);
    gs_safetensors_close(st);
}

/* 8 query heads of 4 channels share 4 key-value heads. */
static void grouped_heads_share_the_largest_and_get_their_factor_back(void **state) {
    (void)state;
    gs_need_data(path, reference);
    enum { WIDE = 32, FOLDED = 16, DIM = 4, SHARE = 2 };
    gs_error err = {0};
    gs_safetensors *st;
    int64_t n, cells;
    int32_t map[WIDE];
    float wide_act[WIDE] = {0}, wide_weight[WIDE] = {0}, act[FOLDED], weight[FOLDED], s[FOLDED], spread[WIDE];
    assert_ok(gs_safetensors_open(path, &st, &err), &err);
    float *want_act = take(st, "gqa.act_max", &n), *want_weight = take(st, "gqa.w_max", &n);
    float *factor = take(st, "gqa.v_proj_row_factor", &n), *want = take(st, "gqa.s_expanded", &n);
    float *x = take(st, "gqa.x", &cells);
    for (int64_t i = 0; i < cells; i++) wide_act[i % WIDE] = fmaxf(wide_act[i % WIDE], fabsf(x[i]));
    float *w = take(st, "gqa.w", &n);
    for (int64_t i = 0; i < n; i++) wide_weight[i % WIDE] = fmaxf(wide_weight[i % WIDE], fabsf(w[i]));
    for (int j = 0; j < WIDE; j++) map[j] = j / DIM / SHARE * DIM + j % DIM;
    gs_edge_group g = {.width = WIDE, .site = {.width = WIDE, .channels = FOLDED, .map = map}};
    gs_edge_group_fold_max(&g, wide_act, act);
    gs_edge_group_fold_max(&g, wide_weight, weight);
    assert_memory_equal(act, want_act, sizeof act);
    assert_memory_equal(weight, want_weight, sizeof weight);
    gs_smooth_scales(FOLDED, act, weight, 0.5f, s);
    gs_edge_group_spread(&g, s, spread);
    assert_memory_equal(spread, want, sizeof spread);
    for (int c = 0; c < FOLDED; c++) assert_true(1.0f / s[c] == factor[c]);
    free(want_act);
    free(want_weight);
    free(factor);
    free(want);
    free(x);
    free(w);
    gs_safetensors_close(st);
}

static void dead_channels_are_left_alone(void **state) {
    (void)state;
    const float act[] = {0, 2, 0, FLT_TRUE_MIN, 3}, weight[] = {1, 0, 0, 2, 0.5f}, alphas[] = {0, 0.3f, 0.5f, 1};
    float s[5];
    for (size_t a = 0; a < GS_COUNTOF(alphas); a++) {
        gs_smooth_scales(5, act, weight, alphas[a], s);
        assert_true(s[0] == 1 && s[1] == 1 && s[2] == 1);
        assert_true(s[3] >= 1e-5f && s[4] > 1e-5f);
    }
}

static void alpha_0_and_1_are_the_ends(void **state) {
    (void)state;
    const float act[] = {4, 1e-9f, 0.5f, 1e30f}, weight[] = {0.5f, 2, 1e-9f, 1};
    float s[4];
    gs_smooth_scales(4, act, weight, 0, s); /* all of the weights' range moves away: w * s is 1 */
    assert_true(s[0] == 2 && s[1] == 0.5f && s[2] == 1 / 1e-5f && s[3] == 1);
    gs_smooth_scales(4, act, weight, 1, s); /* all of the activations': x / s is 1 */
    assert_true(s[0] == 4 && s[1] == 1e-5f && s[2] == 0.5f && s[3] == 1e30f);
}

static void factors_are_positive_and_finite_for_whatever_is_finite(void **state) {
    (void)state;
    uint64_t seed = 8;
    const float ends[] = {0, FLT_TRUE_MIN, FLT_MIN, FLT_MAX, 1, 1e-5f};
    for (int round = 0; round < 2000; round++) {
        float act[64], weight[64], s[64], alpha = (float)(gs_test_rand(&seed) % 101) / 100;
        for (int j = 0; j < 64; j++) {
            act[j] = j < 6 ? ends[j] : fabsf(ldexpf(gs_test_randf(&seed), (int)(gs_test_rand(&seed) % 270) - 145));
            weight[j] = j < 6 ? ends[round % 6] : fabsf(ldexpf(gs_test_randf(&seed), (int)(gs_test_rand(&seed) % 270) - 145));
        }
        gs_smooth_scales(64, act, weight, alpha, s);
        for (int j = 0; j < 64; j++)
            if (!(s[j] >= 1e-5f && s[j] <= FLT_MAX && isfinite(1 / s[j])))
                fail_msg("A %g, W %g, alpha %g: s = %g", (double)act[j], (double)weight[j], (double)alpha, (double)s[j]);
    }
}

static void columns_are_measured_over_all_linears_by_any_number_of_threads(void **state) {
    (void)state;
    enum { WIDTH = 53, ROWS = 130 };
    gs_error err = {0};
    gs_net *net = gs_norm_net(WIDTH, ROWS, 11);
    gs_node *linear[2] = {gs_net_find(net, "a"), gs_net_find(net, "b")};
    float want[2][WIDTH] = {{0}}, got[WIDTH];
    for (int l = 0; l < 2; l++)
        for (int64_t i = 0; i < WIDTH * ROWS; i++) {
            float v = fabsf(((float *)linear[l]->param[GS_ROLE_WEIGHT]->data)[i]);
            for (int k = 1; k >= l; k--) want[k][i % WIDTH] = fmaxf(want[k][i % WIDTH], v); /* [0]: of a alone */
        }
    for (int threads = 1; threads <= 3; threads++) {
        gs_context cx = {0};
        assert_ok(gs_team_create(NULL, threads, &cx.team, &err), &err);
        for (int count = 1; count <= 2; count++) {
            assert_ok(gs_column_absmax(&cx, linear, count, WIDTH, got, &err), &err);
            assert_memory_equal(got, want[count - 1], sizeof got);
        }
        gs_team_destroy(cx.team);
    }
    gs_net_destroy(net);
}

static void a_weight_that_is_not_finite_is_named_with_its_first_row(void **state) {
    (void)state;
    enum { WIDTH = 40, ROWS = 300 };
    gs_error err = {0};
    gs_net *net = gs_norm_net(WIDTH, ROWS, 12);
    gs_node *linear[2] = {gs_net_find(net, "a"), gs_net_find(net, "b")};
    float out[WIDTH], *w = linear[1]->param[GS_ROLE_WEIGHT]->data;
    w[290 * WIDTH + 3] = NAN;
    w[77 * WIDTH + 39] = -INFINITY;
    for (int threads = 1; threads <= 3; threads++) {
        gs_context cx = {0};
        assert_ok(gs_team_create(NULL, threads, &cx.team, &err), &err);
        for (int i = 0; i < 20; i++) {
            assert_fails(gs_column_absmax(&cx, linear, 2, WIDTH, out, &err), GS_E_NUMERIC, &err);
            assert_string_equal(err.text, "tensor 'b.weight' holds NaN or an infinity in row 77");
        }
        gs_team_destroy(cx.team);
    }
    gs_net_destroy(net);
}

/* The norm as its consumer will hold it, times the factors, is the norm that was. */
static void fitted_factors_leave_the_norm_what_it_was(void **state) {
    (void)state;
    enum { WIDTH = 256 };
    gs_error err = {0};
    static const gs_dtype dtypes[] = {GS_F16, GS_BF16};
    for (size_t d = 0; d < GS_COUNTOF(dtypes); d++) {
        uint64_t seed = 31 + d;
        gs_net *net = gs_norm_net(WIDTH, 8, 13 + d);
        float old[WIDTH], s[WIDTH], raw[WIDTH], now[WIDTH], *w = gs_values(net, "norm");
        for (int c = 0; c < WIDTH; c++) {
            w[c] *= c % 3 ? 1 : -1; /* norms with a sign exist */
            if (c % 2) w[c] = gs_round_to(dtypes[d], w[c]);
            raw[c] = s[c] = ldexpf(1 + fabsf(gs_test_randf(&seed)), (int)(gs_test_rand(&seed) % 16) - 8);
        }
        w[0] = 0;                       /* no factor can be seen */
        w[1] = 1e-4f, raw[1] = s[1] = 1e30f; /* the quotient vanishes in either dtype */
        w[2] = 1e4f, raw[2] = s[2] = 1e-5f;  /* and here it is infinite in f16 */
        memcpy(old, w, sizeof old);
        gs_edge_groups groups;
        assert_ok(gs_edge_groups_find(net, &groups, &err), &err);
        const gs_edge_group *g = gs_group_of(&groups, "norm");
        assert_ok(gs_smooth_scales_fit(g, dtypes[d], s, &err), &err);
        assert_ok(gs_edge_group_smooth(g, s, &err), &err);
        assert_ok(gs_param_read_f32(gs_net_find(net, "norm")->param[GS_ROLE_WEIGHT], 0, 1, now, &err), &err);
        assert_true(s[0] == 1);
        assert_true(dtypes[d] == GS_BF16 || (s[1] == 1 && s[2] == 1));
        for (int c = 0; c < WIDTH; c++) {
            float stored = gs_round_to(dtypes[d], now[c]);
            assert_true(s[c] > 0 && isfinite(s[c]));
            if (s[c] == 1) continue;
            if (!(fabsf(stored * s[c] - old[c]) <= 0x1p-22f * fabsf(old[c])))
                fail_msg("%g became %g times %g", (double)old[c], (double)stored, (double)s[c]);
            assert_true(fabsf(stored - now[c]) <= 0x1p-21f * fabsf(stored)); /* what is folded is what will be stored */
            assert_true(fabsf(s[c] / raw[c] - 1) <= 0x1p-7f || fabsf(stored) < 0x1p-14f);
        }
        gs_edge_groups_clear(&groups);
        gs_net_destroy(net);
    }
}

static void an_f32_norm_and_the_rows_of_a_linear_need_no_fitting(void **state) {
    (void)state;
    gs_error err = {0};
    uint64_t seed = 3;
    gs_net *net = gs_new_net("rows");
    gs_edge *x = gs_new_input(net, "x", 6, 0, 0);
    gs_node *up = gs_new_linear(net, "up", x, 5, 6, &seed), *down = gs_new_linear(net, "down", up->output, 4, 5, &seed);
    gs_finish_net(net, down->output);
    gs_edge_groups groups;
    float s[5] = {3, 0.3f, 1e-5f, 7, 11}, same[5];
    memcpy(same, s, sizeof s);
    assert_ok(gs_edge_groups_find(net, &groups, &err), &err);
    assert_ok(gs_smooth_scales_fit(gs_group_of(&groups, "up"), GS_BF16, s, &err), &err);
    assert_memory_equal(s, same, sizeof s);
    gs_edge_groups_clear(&groups);
    gs_net_destroy(net);
    net = gs_norm_net(5, 4, 1);
    assert_ok(gs_edge_groups_find(net, &groups, &err), &err);
    assert_ok(gs_smooth_scales_fit(gs_group_of(&groups, "norm"), GS_F32, s, &err), &err);
    assert_memory_equal(s, same, sizeof s);
    gs_edge_groups_clear(&groups);
    gs_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_sticks_own_factors_come_out_bit_for_bit),
        cmocka_unit_test(grouped_heads_share_the_largest_and_get_their_factor_back),
        cmocka_unit_test(dead_channels_are_left_alone),
        cmocka_unit_test(alpha_0_and_1_are_the_ends),
        cmocka_unit_test(factors_are_positive_and_finite_for_whatever_is_finite),
        cmocka_unit_test(columns_are_measured_over_all_linears_by_any_number_of_threads),
        cmocka_unit_test(a_weight_that_is_not_finite_is_named_with_its_first_row),
        cmocka_unit_test(fitted_factors_leave_the_norm_what_it_was),
        cmocka_unit_test(an_f32_norm_and_the_rows_of_a_linear_need_no_fitting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
