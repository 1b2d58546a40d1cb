/* SmoothQuant as an algorithm: what it decides, what it makes of a net, and that folding costs nothing. */
#include "smooth_net.h"

#include <base/half.h>
#include <ptq/row_refine.h>
#include <kernels/isa.h>
#include <ptq/act_quant.h>
#include <ptq/row_quant.h>
#include <ptq/smooth_scale.h>

static const char *const linears[] = {"mlp.gate", "mlp.up", "mlp.down"};

/* The int8 params of a linear, from its float rows [rows, cols], factors on the columns and an activation scale. */
static void assert_quantized(const gs_node *node, const float *w, const float *s, gs_act_params act) {
    gs_error err = {0};
    assert_int_equal(node->op, GS_OP_QLINEAR);
    int64_t rows = node->param[GS_ROLE_WEIGHT]->shape[0], cols = node->param[GS_ROLE_WEIGHT]->shape[1];
    const int8_t *q = node->param[GS_ROLE_WEIGHT]->data;
    gs_row_rule rule = {.convention = GS_SCALE_ASCEND, .compute = GS_F32};
    assert_true(*(float *)node->param[GS_ROLE_INPUT_SCALE]->data == act.scale);
    assert_true(*(float *)node->param[GS_ROLE_INPUT_OFFSET]->data == act.offset);
    for (int64_t r = 0; r < rows; r++) {
        int8_t want[NET_MIDDLE];
        float row[NET_MIDDLE], scratch[NET_MIDDLE], scale, deq;
        int32_t bias;
        gs_row_stats stats = {0};
        for (int64_t c = 0; c < cols; c++) row[c] = s ? w[r * cols + c] * s[c] : w[r * cols + c];
        assert_true(gs_row_quantize(&rule, cols, row, want, &scale, scratch, &stats));
        assert_memory_equal(q + r * cols, want, (size_t)cols);
        assert_true(((float *)node->param[GS_ROLE_WEIGHT_SCALE]->data)[r] == scale);
        assert_true(((float *)node->param[GS_ROLE_WEIGHT_OFFSET]->data)[r] == 0);
        assert_ok(gs_static_constants(act, scale, 0, cols, want, "", r, &deq, &bias, &err), &err);
        int64_t bits = ((int64_t *)node->param[GS_ROLE_DEQ_SCALE]->data)[r];
        assert_int_equal(bits, gs_f32_bits(deq)); /* widened, zeros above */
        assert_int_equal(((int32_t *)node->param[GS_ROLE_QUANT_BIAS]->data)[r], bias);
    }
}

static gs_observer observed(const char *edge) {
    gs_error err = {0};
    smooth_source source = {0};
    gs_observer o;
    assert_ok(smooth_observe(&source, edge, &o, &err), &err);
    return o;
}

static void without_smoothing_a_group_shares_the_range_of_its_input(void **state) {
    (void)state;
    smooth_run r = smooth_settings(GS_SCHEME_W8A8, GS_SMOOTHING_NONE, 0);
    gs_net *net = smooth_quantize(&r, 2), *plain = smooth_net();
    assert_int_equal(r.source.asked, 2); /* once a group */
    for (int i = 0; i < 3; i++) {
        float lo, hi;
        gs_observer o = observed(i < 2 ? "norm" : "act");
        gs_observer_range(&o, &lo, &hi);
        gs_act_params act = gs_act_params_from_range(lo, hi, false, GS_F32);
        assert_quantized(gs_net_find(net, linears[i]), gs_values(plain, linears[i]), NULL, act);
        const gs_layer_summary *row = smooth_row(&r, linears[i]);
        assert_string_equal(row->scheme, "W8A8");
        assert_string_equal(row->reason, "");
        assert_true(isnan(row->alpha) && row->input_scale == (double)act.scale && row->input_offset == (double)act.offset);
        assert_true(row->output_error > 0 && row->output_error < 0.2);
        gs_observer_clear(&o);
    }
    assert_memory_equal(gs_values(net, "norm"), gs_values(plain, "norm"), NET_IN * sizeof(float));
    gs_net_destroy(plain);
    smooth_end(&r, net);
}

/* Factors of a group by the formula, from what was observed and the plain weights. */
static void factors(const char *edge, const char *const *names, int count, int64_t width, float alpha, float *s) {
    float weight[NET_MIDDLE] = {0}, act[NET_MIDDLE];
    gs_net *plain = smooth_net();
    gs_observer o = observed(edge);
    for (int64_t j = 0; j < width; j++) act[j] = gs_observer_absmax(&o, j);
    for (int i = 0; i < count; i++) {
        const gs_param *p = gs_net_find(plain, names[i])->param[GS_ROLE_WEIGHT];
        for (int64_t k = 0; k < gs_param_count(p); k++)
            weight[k % width] = fmaxf(weight[k % width], fabsf(((float *)p->data)[k]));
    }
    gs_smooth_scales(width, act, weight, (double)alpha, s);
    gs_observer_clear(&o);
    gs_net_destroy(plain);
}

static gs_act_params smoothed_range(const char *edge, int64_t width, const float *s) {
    gs_observer o = observed(edge);
    float lo = INFINITY, hi = -INFINITY;
    for (int64_t j = 0; j < width; j++) {
        lo = fminf(lo, o.min[j] / s[j]);
        hi = fmaxf(hi, o.max[j] / s[j]);
    }
    gs_observer_clear(&o);
    return gs_act_params_from_range(lo, hi, false, GS_F32);
}

static void a_fixed_alpha_moves_the_factors_of_the_formula(void **state) {
    (void)state;
    const float alpha = 0.6f;
    gs_error err = {0};
    smooth_run r = smooth_settings(GS_SCHEME_W8A8, GS_SMOOTHING_FIXED, alpha);
    gs_net *net = smooth_quantize(&r, 1), *plain = smooth_net();
    float first[NET_IN], second[NET_MIDDLE], norm[NET_IN], up[NET_MIDDLE * NET_IN];
    factors("norm", linears, 2, NET_IN, alpha, first);
    factors("act", linears + 2, 1, NET_MIDDLE, alpha, second);
    assert_quantized(gs_net_find(net, "mlp.gate"), gs_values(plain, "mlp.gate"), first, smoothed_range("norm", NET_IN, first));
    assert_quantized(gs_net_find(net, "mlp.down"), gs_values(plain, "mlp.down"), second, smoothed_range("act", NET_MIDDLE, second));
    /* up: columns of the first group, rows of the second */
    for (int n = 0; n < NET_MIDDLE; n++)
        for (int c = 0; c < NET_IN; c++)
            up[n * NET_IN + c] = gs_values(plain, "mlp.up")[n * NET_IN + c] * first[c] * (1.0f / second[n]);
    assert_quantized(gs_net_find(net, "mlp.up"), up, NULL, smoothed_range("norm", NET_IN, first));
    assert_ok(gs_param_read_f32(gs_net_find(net, "norm")->param[GS_ROLE_WEIGHT], 0, 1, norm, &err), &err);
    for (int c = 0; c < NET_IN; c++) assert_true(norm[c] == gs_values(plain, "norm")[c] * (1.0f / first[c]));
    for (int i = 0; i < 3; i++) assert_true(fabs(smooth_row(&r, linears[i])->alpha - (double)alpha) < 1e-6);
    gs_net_destroy(plain);
    smooth_end(&r, net);
}

static double output_error(gs_scheme scheme, gs_smoothing smoothing, float alpha, const char *linear, bool refine) {
    smooth_run r = smooth_settings(scheme, smoothing, alpha);
    r.options.refine = refine;
    gs_net *net = smooth_quantize(&r, 2);
    double e = smooth_row(&r, linear)->output_error;
    smooth_end(&r, net);
    return e;
}

/* The error that is reported weighs rows otherwise than the objective of the search, hence the few percent. */
static void a_searched_alpha_is_as_good_as_any(void **state) {
    (void)state;
    const double slack = 1.05;
    static const gs_scheme schemes[] = {GS_SCHEME_W8A8, GS_SCHEME_W8A8_DYNAMIC};
    for (size_t i = 0; i < GS_COUNTOF(schemes); i++) {
        double best[2], none[2];
        for (int k = 0; k < 2; k++) {
            best[k] = output_error(schemes[i], GS_SMOOTHING_AUTO, 0, linears[k + 1], false);
            none[k] = output_error(schemes[i], GS_SMOOTHING_NONE, 0, linears[k + 1], false);
            assert_true(best[k] > 0 && best[k] <= slack * none[k]);
            for (int step = 0; step <= 20; step++)
                assert_true(best[k] <= slack * output_error(schemes[i], GS_SMOOTHING_FIXED, (float)step / 20, linears[k + 1], false));
        }
        print_message("%s: %.4f from %.4f, %.4f from %.4f\n", gs_scheme_name(schemes[i]), best[0], none[0], best[1], none[1]);
        assert_true(best[0] < 0.9 * none[0]); /* the norm has channels that stand out */
    }
}

static void refined_weights_lose_no_more(void **state) {
    (void)state;
    static const gs_scheme schemes[] = {GS_SCHEME_W8A16, GS_SCHEME_W8A8_DYNAMIC};
    for (size_t i = 0; i < GS_COUNTOF(schemes); i++) {
        double plain = output_error(schemes[i], GS_SMOOTHING_NONE, 0, "mlp.gate", false);
        double refined = output_error(schemes[i], GS_SMOOTHING_NONE, 0, "mlp.gate", true);
        print_message("%s: %.5f, refined %.5f\n", gs_scheme_name(schemes[i]), plain, refined);
        assert_true(refined < plain);
    }
}

/* Row scales of gate as they would be chosen for what it reads, which is x / s. */
static void refined_rows_are_chosen_for_what_the_linear_reads(void **state) {
    (void)state;
    for (int smoothed = 0; smoothed < 2; smoothed++) {
        smooth_run r = smooth_settings(GS_SCHEME_W8A8, smoothed ? GS_SMOOTHING_FIXED : GS_SMOOTHING_NONE, 0.5f);
        r.options.refine = true;
        gs_net *net = smooth_quantize(&r, 1), *plain = smooth_net();
        float s[NET_IN], importance[NET_IN];
        gs_observer o;
        gs_error err = {0};
        assert_ok(smooth_observe(&r.source, "norm", &o, &err), &err);
        factors("norm", linears, 2, NET_IN, 0.5f, s);
        for (int j = 0; j < NET_IN; j++) {
            if (!smoothed) s[j] = 1;
            importance[j] = (float)(o.square_sum[j] / (double)o.rows / ((double)s[j] * (double)s[j]));
        }
        gs_row_rule rule = {.convention = GS_SCALE_ASCEND, .compute = GS_F32, .importance = importance};
        gs_refine_samples samples;
        float *x = calloc((size_t)(o.sample_rows * NET_IN), sizeof *x), *work = calloc((size_t)o.sample_rows + NET_IN + 16, sizeof *work);
        for (int64_t i = 0; i < o.sample_rows * NET_IN; i++) x[i] = gs_bf16_to_f32(o.sample[i]) / s[i % NET_IN];
        assert_ok(gs_refine_samples_init(&samples, o.sample_rows, NET_IN, x, importance, &err), &err);
        const gs_node *gate = gs_net_find(net, "mlp.gate");
        int changed = 0;
        for (int n = 0; n < NET_MIDDLE; n++) {
            float row[NET_IN], scratch[NET_IN], scale, most = 0;
            int8_t q[NET_IN];
            gs_row_stats stats = {0};
            for (int j = 0; j < NET_IN; j++) {
                row[j] = gs_values(plain, "mlp.gate")[n * NET_IN + j] * s[j];
                most = fmaxf(most, fabsf(row[j]));
            }
            assert_true(gs_row_quantize(&rule, NET_IN, row, q, &scale, scratch, &stats));
            assert_true(((float *)gate->param[GS_ROLE_WEIGHT_SCALE]->data)[n] == scale);
            gs_row_refine(&samples, row, scale, q, work);
            assert_memory_equal((int8_t *)gate->param[GS_ROLE_WEIGHT]->data + n * NET_IN, q, sizeof q);
            changed += scale != gs_row_scale(GS_SCALE_ASCEND, GS_F32, most);
        }
        assert_true(changed > 3);
        gs_refine_samples_clear(&samples);
        free(x);
        free(work);
        gs_observer_clear(&o);
        gs_net_destroy(plain);
        smooth_end(&r, net);
    }
}

static void w8a16_and_per_token_linears_have_no_static_params(void **state) {
    (void)state;
    static const gs_scheme schemes[] = {GS_SCHEME_W8A16, GS_SCHEME_W8A8_DYNAMIC};
    for (size_t i = 0; i < GS_COUNTOF(schemes); i++) {
        smooth_run r = smooth_settings(schemes[i], GS_SMOOTHING_NONE, 0);
        r.options.refine = true;
        gs_net *net = smooth_quantize(&r, 1);
        const gs_node *node = gs_net_find(net, "mlp.down");
        assert_int_equal(node->attr.quant.scheme, schemes[i]);
        assert_non_null(node->param[GS_ROLE_WEIGHT_SCALE]);
        assert_null(node->param[GS_ROLE_INPUT_SCALE]);
        assert_null(node->param[GS_ROLE_QUANT_BIAS]);
        assert_null(node->param[GS_ROLE_DEQ_SCALE]);
        assert_true(smooth_row(&r, "mlp.down")->input_scale == 0);
        smooth_end(&r, net);
    }
}

static void run_net(gs_net *net, float *y) {
    float *x = smooth_input();
    gs_run_rows(net, GS_GEMM_F32, NET_ROWS, x, y);
    free(x);
}

static void folding_leaves_the_float_function(void **state) {
    (void)state;
    static const gs_dtype dtypes[] = {GS_F32, GS_BF16, GS_F16};
    static const struct {
        gs_smoothing smoothing;
        float alpha;
    } ways[] = {{GS_SMOOTHING_AUTO, 0}, {GS_SMOOTHING_FIXED, 0}, {GS_SMOOTHING_FIXED, 0.5f}, {GS_SMOOTHING_FIXED, 1}};
    float before[NET_ROWS * NET_OUT], after[NET_ROWS * NET_OUT];
    gs_net *plain = smooth_net();
    run_net(plain, before);
    gs_net_destroy(plain);
    for (size_t i = 0; i < GS_COUNTOF(ways) * GS_COUNTOF(dtypes); i++) {
        gs_error err = {0};
        smooth_run r = smooth_settings(GS_SCHEME_W8A8, ways[i / 3].smoothing, ways[i / 3].alpha);
        r.config.compute = dtypes[i % 3];
        gs_net *net = smooth_net();
        assert_ok(smooth_decide(&r, net, &err), &err);
        run_net(net, after);
        assert_memory_equal(after, before, sizeof after); /* deciding changes nothing */
        assert_ok(gs_smooth_quant_fold(r.algo, net, &err), &err);
        for (int k = 0; k < 3; k++) assert_int_equal(gs_net_find(net, linears[k])->op, GS_OP_LINEAR);
        run_net(net, after);
        gs_assert_close(NET_ROWS * NET_OUT, after, before, 1e-5);
        smooth_end(&r, net);
    }
}

static void the_quantized_net_is_near_the_float_one(void **state) {
    (void)state;
    float want[NET_ROWS * NET_OUT], plain[NET_ROWS * NET_OUT], smoothed[NET_ROWS * NET_OUT];
    gs_net *net = smooth_net();
    run_net(net, want);
    gs_net_destroy(net);
    double lost[2] = {0}, all = 0;
    for (int k = 0; k < 2; k++) {
        smooth_run r = smooth_settings(GS_SCHEME_W8A8, k ? GS_SMOOTHING_AUTO : GS_SMOOTHING_NONE, 0);
        net = smooth_quantize(&r, 1);
        run_net(net, k ? smoothed : plain);
        smooth_end(&r, net);
    }
    for (int i = 0; i < NET_ROWS * NET_OUT; i++) {
        double d = (double)plain[i] - (double)want[i], e = (double)smoothed[i] - (double)want[i];
        lost[0] += d * d;
        lost[1] += e * e;
        all += (double)want[i] * (double)want[i];
    }
    print_message("output error %.4f, smoothed %.4f\n", sqrt(lost[0] / all), sqrt(lost[1] / all));
    assert_true(lost[1] < lost[0] && sqrt(lost[1] / all) < 0.05);
}

static void bytes_do_not_depend_on_the_number_of_threads(void **state) {
    (void)state;
    int8_t first[3][NET_MIDDLE * NET_IN];
    float scale[3] = {0};
    for (int threads = 1; threads <= 3; threads++) {
        smooth_run r = smooth_settings(GS_SCHEME_W8A8, GS_SMOOTHING_AUTO, 0);
        r.options.refine = true;
        gs_net *net = smooth_quantize(&r, threads);
        for (int i = 0; i < 3; i++) {
            const gs_node *node = gs_net_find(net, linears[i]);
            size_t bytes = (size_t)gs_param_bytes(node->param[GS_ROLE_WEIGHT]);
            float s = *(float *)node->param[GS_ROLE_INPUT_SCALE]->data;
            if (threads == 1) {
                memcpy(first[i], node->param[GS_ROLE_WEIGHT]->data, bytes);
                scale[i] = s;
            }
            assert_memory_equal(first[i], node->param[GS_ROLE_WEIGHT]->data, bytes);
            assert_true(scale[i] == s);
        }
        smooth_end(&r, net);
    }
}

static void every_range_rule_stays_within_the_extremes(void **state) {
    (void)state;
    for (int smoothing = 0; smoothing < 2; smoothing++)
        for (int symmetric = 0; symmetric < 2; symmetric++) {
            double scale[3];
            for (int range = GS_RANGE_MINMAX; range <= GS_RANGE_MSE; range++) {
                smooth_run r = smooth_settings(GS_SCHEME_W8A8, smoothing ? GS_SMOOTHING_FIXED : GS_SMOOTHING_NONE, 0.5f);
                r.options.range = (gs_range_rule)range;
                r.options.act_symmetric = symmetric;
                r.options.percentile = 99;
                gs_net *net = smooth_quantize(&r, 1);
                scale[range] = smooth_row(&r, "mlp.gate")->input_scale;
                if (symmetric) assert_true(smooth_row(&r, "mlp.gate")->input_offset == 0);
                smooth_end(&r, net);
            }
            assert_true(scale[GS_RANGE_PERCENTILE] < scale[GS_RANGE_MINMAX]);
            assert_true(scale[GS_RANGE_MSE] <= scale[GS_RANGE_MINMAX] * 1.0001);
        }
}

int main(void) {
    const char *forced = getenv("GSTICK_ISA");
    if (forced && strcmp(gs_isa_name(gs_isa_selected()), forced) != 0) return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_smoothing_a_group_shares_the_range_of_its_input),
        cmocka_unit_test(a_fixed_alpha_moves_the_factors_of_the_formula),
        cmocka_unit_test(a_searched_alpha_is_as_good_as_any),
        cmocka_unit_test(refined_weights_lose_no_more),
        cmocka_unit_test(refined_rows_are_chosen_for_what_the_linear_reads),
        cmocka_unit_test(w8a16_and_per_token_linears_have_no_static_params),
        cmocka_unit_test(folding_leaves_the_float_function),
        cmocka_unit_test(the_quantized_net_is_near_the_float_one),
        cmocka_unit_test(bytes_do_not_depend_on_the_number_of_threads),
        cmocka_unit_test(every_range_rule_stays_within_the_extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
