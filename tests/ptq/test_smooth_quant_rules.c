/* SmoothQuant: what stays float or takes another scheme, and what is refused. */
#include "smooth_net.h"

#include <ptq/smooth_scale.h>

static void refuse_create(smooth_run *r, const char *words) {
    gs_error err = {0};
    assert_fails(smooth_create(r, &err), GS_E_INVALID, &err);
    if (!strstr(err.text, words)) fail_msg("'%s' lacks '%s'", err.text, words);
}

static void settings_that_contradict_or_cannot_be_are_refused(void **state) {
    (void)state;
    static const float alphas[] = {-0.1f, 1.5f, NAN};
    for (size_t i = 0; i < GS_COUNTOF(alphas); i++) {
        smooth_run r = smooth_settings(GS_SCHEME_W8A8, GS_SMOOTHING_FIXED, alphas[i]);
        refuse_create(&r, "alpha");
    }
    static const double percentiles[] = {50, 0, 100.5, NAN};
    for (size_t i = 0; i < GS_COUNTOF(percentiles); i++) {
        smooth_run r = smooth_settings(GS_SCHEME_W8A8, GS_SMOOTHING_NONE, 0);
        r.options.range = GS_RANGE_PERCENTILE;
        r.options.percentile = percentiles[i];
        refuse_create(&r, "percentile");
    }
    static const double thresholds[] = {0, -1, (double)NAN};
    for (size_t i = 0; i < GS_COUNTOF(thresholds); i++) {
        smooth_run r = smooth_settings(GS_SCHEME_W8A8, GS_SMOOTHING_NONE, 0);
        r.options.fallback = GS_FALLBACK_AUTO;
        r.options.fallback_threshold = thresholds[i];
        refuse_create(&r, "threshold");
    }
    smooth_run r = smooth_settings(GS_SCHEME_W8A8, GS_SMOOTHING_NONE, 0);
    r.config.outliers_suppression = GS_OUTLIERS_SMOOTH;
    refuse_create(&r, "contradict");
    r = smooth_settings(GS_SCHEME_W8A8, GS_SMOOTHING_AUTO, 0);
    r.config.outliers_suppression = GS_OUTLIERS_NONE;
    refuse_create(&r, "contradict");
}

/* What one policy on "mlp.down" asks for is refused as it would be for the whole net. */
static void a_policy_cannot_ask_for_what_is_not_done(void **state) {
    (void)state;
    for (int i = 0; i < 5; i++) {
        static const char *const words[] = {"int4", "KV cache", "GPTQ", "groups", "contradict"};
        smooth_run r = smooth_settings(GS_SCHEME_W8A8, GS_SMOOTHING_AUTO, 0);
        gs_ptq_config other = gs_ptq_config_w8a16();
        gs_layer_policy policy = {"mlp.down", &other};
        if (i == 0) other.weight_quant_dtype = GS_QUANT_INT4;
        if (i == 1) other.kvcache_quant_dtype = GS_QUANT_INT8;
        if (i == 2) other.precision_recovery = GS_RECOVERY_GPTQ;
        if (i == 3) other.weight_quant_granularity = GS_PER_GROUP, other.group_size = 64;
        if (i == 4) other = gs_ptq_config_w8a8(true); /* without smoothing, where the net has some */
        r.config.layer_policies = &policy;
        r.config.layer_policy_count = 1;
        refuse_create(&r, words[i]);
    }
}

static void a_blacklisted_linear_takes_part_in_the_folding_but_has_no_say(void **state) {
    (void)state;
    static const char *const words[] = {"up"};
    gs_error err = {0};
    smooth_run r = smooth_settings(GS_SCHEME_W8A8, GS_SMOOTHING_FIXED, 0.5f);
    r.config.opname_blacklist = words;
    r.config.opname_blacklist_count = 1;
    gs_net *net = smooth_quantize(&r, 1), *plain = smooth_net();
    assert_int_equal(gs_net_find(net, "mlp.gate")->op, GS_OP_QLINEAR);
    const gs_node *up = gs_net_find(net, "mlp.up");
    assert_int_equal(up->op, GS_OP_LINEAR);
    assert_string_equal(smooth_row(&r, "mlp.up")->scheme, "FLOAT");
    assert_string_equal(smooth_row(&r, "mlp.up")->reason, "blacklist 'up'");
    /* the norm was divided by the factors of gate alone, and up multiplied */
    float act[NET_IN], weight[NET_IN] = {0}, s[NET_IN], row[NET_IN], norm[NET_IN];
    gs_observer o;
    assert_ok(smooth_observe(&r.source, "norm", &o, &err), &err);
    for (int j = 0; j < NET_IN; j++) act[j] = gs_observer_absmax(&o, j);
    for (int i = 0; i < NET_MIDDLE * NET_IN; i++)
        weight[i % NET_IN] = fmaxf(weight[i % NET_IN], fabsf(gs_values(plain, "mlp.gate")[i]));
    gs_smooth_scales(NET_IN, act, weight, 0.5, s);
    assert_ok(gs_param_read_f32(gs_net_find(net, "norm")->param[GS_ROLE_WEIGHT], 0, 1, norm, &err), &err);
    assert_ok(gs_param_read_f32(up->param[GS_ROLE_WEIGHT], 0, 1, row, &err), &err);
    float by_row = row[0] / (gs_values(plain, "mlp.up")[0] * s[0]); /* the factor of the other group */
    for (int j = 0; j < NET_IN; j++) {
        assert_true(norm[j] == gs_values(plain, "norm")[j] * (1.0f / s[j]));
        assert_true(fabsf(row[j] / (gs_values(plain, "mlp.up")[j] * s[j]) / by_row - 1) < 1e-6f);
    }
    gs_observer_clear(&o);
    gs_net_destroy(plain);
    smooth_end(&r, net);
}

static void a_group_that_is_blacklisted_whole_needs_no_statistics(void **state) {
    (void)state;
    static const char *const words[] = {"mlp"};
    smooth_run r = smooth_settings(GS_SCHEME_W8A8, GS_SMOOTHING_AUTO, 0);
    r.config.opname_blacklist = words;
    r.config.opname_blacklist_count = 1;
    r.source.missing = true;
    gs_net *net = smooth_quantize(&r, 1), *plain = smooth_net();
    assert_int_equal(r.source.asked, 0);
    for (int i = 0; i < gs_net_node_count(net); i++) assert_int_equal(gs_net_node(net, i)->op, gs_net_node(plain, i)->op);
    gs_net_destroy(plain);
    smooth_end(&r, net);
}

static void policies_may_part_groups_but_not_split_one(void **state) {
    (void)state;
    gs_error err = {0};
    gs_ptq_config other = gs_ptq_config_w8a16();
    gs_layer_policy policy = {"mlp\\.down", &other};
    smooth_run r = smooth_settings(GS_SCHEME_W8A8, GS_SMOOTHING_AUTO, 0);
    r.config.layer_policies = &policy;
    r.config.layer_policy_count = 1;
    gs_net *net = smooth_quantize(&r, 1);
    assert_string_equal(smooth_row(&r, "mlp.up")->scheme, "W8A8");
    assert_string_equal(smooth_row(&r, "mlp.down")->scheme, "W8A16");
    assert_true(isnan(smooth_row(&r, "mlp.down")->alpha)); /* weights alone are not smoothed */
    smooth_end(&r, net);

    policy.pattern = "mlp\\.up";
    net = smooth_net();
    assert_fails(smooth_decide(&r, net, &err), GS_E_INVALID, &err);
    assert_non_null(strstr(err.text, "mlp.gate"));
    assert_non_null(strstr(err.text, "mlp.up"));
    assert_non_null(strstr(err.text, "W8A16"));
    smooth_end(&r, net);
    policy.config = NULL; /* float beside quantized is fine */
    net = smooth_quantize(&r, 1);
    assert_string_equal(smooth_row(&r, "mlp.up")->scheme, "FLOAT");
    assert_string_equal(smooth_row(&r, "mlp.gate")->scheme, "W8A8");
    smooth_end(&r, net);
}

/* ---- fallback ---- */

static double error_of(gs_scheme scheme, const char *linear) {
    smooth_run r = smooth_settings(scheme, GS_SMOOTHING_NONE, 0);
    gs_net *net = smooth_quantize(&r, 1);
    double e = smooth_row(&r, linear)->output_error;
    smooth_end(&r, net);
    return e;
}

static void expect_fallback(gs_scheme wanted, unsigned permitted, double threshold, gs_scheme got) {
    smooth_run r = smooth_settings(wanted, GS_SMOOTHING_NONE, 0);
    r.options.fallback = GS_FALLBACK_AUTO;
    r.options.fallback_schemes = permitted;
    r.options.fallback_threshold = threshold;
    gs_net *net = smooth_quantize(&r, 1);
    const gs_layer_summary *row = smooth_row(&r, "mlp.gate");
    if (strcmp(row->scheme, gs_scheme_name(got)) != 0)
        fail_msg("permitted %u, threshold %g: %s, wanted %s", permitted, threshold, row->scheme, gs_scheme_name(got));
    assert_string_equal(smooth_row(&r, "mlp.up")->scheme, row->scheme); /* groups stay together */
    if (got == wanted) {
        assert_string_equal(row->reason, "");
    } else {
        assert_non_null(strstr(row->reason, "output error"));
        assert_non_null(strstr(row->reason, gs_scheme_name(wanted)));
    }
    if (got == GS_SCHEME_FLOAT) assert_true(isnan(row->output_error));
    else assert_true(row->output_error <= threshold * 1.000001);
    assert_int_equal(gs_net_find(net, "mlp.gate")->op, got == GS_SCHEME_FLOAT ? GS_OP_LINEAR : GS_OP_QLINEAR);
    smooth_end(&r, net);
}

static void a_group_falls_back_to_the_first_permitted_scheme_that_is_good_enough(void **state) {
    (void)state;
    double st = error_of(GS_SCHEME_W8A8, "mlp.gate"), dy = error_of(GS_SCHEME_W8A8_DYNAMIC, "mlp.gate");
    double we = error_of(GS_SCHEME_W8A16, "mlp.gate"), high = (st + dy) / 2, middle = (dy + we) / 2, low = we / 2;
    print_message("W8A8 %.4f, W8A8_DYNAMIC %.4f, W8A16 %.4f\n", st, dy, we);
    assert_true(st > dy && dy > we);
    enum { NONE = 0, DYNAMIC = 1 << GS_SCHEME_W8A8_DYNAMIC, WEIGHTS = 1 << GS_SCHEME_W8A16, BOTH = DYNAMIC | WEIGHTS };
    const struct {
        gs_scheme wanted;
        unsigned permitted;
        double threshold;
        gs_scheme got;
    } table[] = {
        {GS_SCHEME_W8A8, BOTH, st * 1.001, GS_SCHEME_W8A8},        {GS_SCHEME_W8A8, NONE, high, GS_SCHEME_FLOAT},
        {GS_SCHEME_W8A8, BOTH, high, GS_SCHEME_W8A8_DYNAMIC},      {GS_SCHEME_W8A8, DYNAMIC, high, GS_SCHEME_W8A8_DYNAMIC},
        {GS_SCHEME_W8A8, WEIGHTS, high, GS_SCHEME_W8A16},          {GS_SCHEME_W8A8, BOTH, middle, GS_SCHEME_W8A16},
        {GS_SCHEME_W8A8, DYNAMIC, middle, GS_SCHEME_FLOAT},        {GS_SCHEME_W8A8, BOTH, low, GS_SCHEME_FLOAT},
        {GS_SCHEME_W8A8_DYNAMIC, BOTH, middle, GS_SCHEME_W8A16},   {GS_SCHEME_W8A8_DYNAMIC, DYNAMIC, middle, GS_SCHEME_FLOAT},
        {GS_SCHEME_W8A8_DYNAMIC, BOTH, high, GS_SCHEME_W8A8_DYNAMIC}, {GS_SCHEME_W8A8_DYNAMIC, NONE, low, GS_SCHEME_FLOAT},
    };
    for (size_t i = 0; i < GS_COUNTOF(table); i++)
        expect_fallback(table[i].wanted, table[i].permitted, table[i].threshold, table[i].got);
}

/* gate and up hold 3/4 of the weights, down 1/4; both exceed the threshold. */
static void the_worst_groups_fall_first_and_within_their_share(void **state) {
    (void)state;
    bool gate_is_worse = error_of(GS_SCHEME_W8A8, "mlp.gate") > error_of(GS_SCHEME_W8A8, "mlp.down");
    const struct {
        double share;
        bool gate, down; /* falls */
    } table[] = {
        {1, true, true},   {0.9, gate_is_worse, !gate_is_worse}, {0.75, gate_is_worse, !gate_is_worse},
        {0.74, false, true}, {0.25, false, true},               {0.24, false, false},
    };
    for (size_t i = 0; i < GS_COUNTOF(table); i++) {
        smooth_run r = smooth_settings(GS_SCHEME_W8A8, GS_SMOOTHING_NONE, 0);
        r.options.fallback = GS_FALLBACK_AUTO;
        r.options.fallback_threshold = 1e-9;
        r.options.fallback_share = table[i].share;
        gs_net *net = smooth_quantize(&r, 1);
        const gs_layer_summary *gate = smooth_row(&r, "mlp.gate"), *down = smooth_row(&r, "mlp.down");
        assert_int_equal(gate->fallback, table[i].gate);
        assert_int_equal(smooth_row(&r, "mlp.up")->fallback, table[i].gate);
        assert_int_equal(down->fallback, table[i].down);
        assert_string_equal(gate->scheme, table[i].gate ? "FLOAT" : "W8A8");
        assert_string_equal(down->scheme, table[i].down ? "FLOAT" : "W8A8");
        if (!table[i].down) assert_false(isnan(down->output_error)); /* what stays keeps its own figures */
        smooth_end(&r, net);
    }
}

static void without_fallback_every_group_keeps_its_scheme(void **state) {
    (void)state;
    smooth_run r = smooth_settings(GS_SCHEME_W8A8, GS_SMOOTHING_NONE, 0);
    r.options.fallback_threshold = 1e-9;
    r.options.fallback_schemes = ~0u;
    gs_net *net = smooth_quantize(&r, 1);
    assert_string_equal(smooth_row(&r, "mlp.gate")->scheme, "W8A8");
    assert_string_equal(smooth_row(&r, "mlp.down")->scheme, "W8A8");
    smooth_end(&r, net);
}

static void a_listed_linear_takes_its_whole_group_along(void **state) {
    (void)state;
    static const char *const words[] = {"nothing", "gate"};
    static const struct {
        unsigned permitted;
        const char *got;
    } table[] = {{1 << GS_SCHEME_W8A8_DYNAMIC | 1 << GS_SCHEME_W8A16, "W8A8_DYNAMIC"}, {1 << GS_SCHEME_W8A16, "W8A16"}, {0, "FLOAT"}};
    for (size_t i = 0; i < GS_COUNTOF(table); i++) {
        smooth_run r = smooth_settings(GS_SCHEME_W8A8, GS_SMOOTHING_FIXED, 0.5f);
        r.options.fallback = GS_FALLBACK_LIST;
        r.options.fallback_list = words;
        r.options.fallback_count = 2;
        r.options.fallback_threshold = 0.5;
        r.options.fallback_schemes = table[i].permitted;
        gs_net *net = smooth_quantize(&r, 1);
        assert_string_equal(smooth_row(&r, "mlp.gate")->scheme, table[i].got);
        assert_string_equal(smooth_row(&r, "mlp.up")->scheme, table[i].got);
        assert_true(smooth_row(&r, "mlp.gate")->reason[0] != 0);
        assert_string_equal(smooth_row(&r, "mlp.down")->scheme, "W8A8");
        assert_string_equal(smooth_row(&r, "mlp.down")->reason, "");
        smooth_end(&r, net);
    }
}

/* ---- statistics ---- */

static void statistics_that_do_not_fit_are_refused(void **state) {
    (void)state;
    gs_error err = {0};
    smooth_run r = smooth_settings(GS_SCHEME_W8A8, GS_SMOOTHING_AUTO, 0);
    gs_net *net = smooth_net();
    r.source.narrow = true;
    assert_fails(smooth_decide(&r, net, &err), GS_E_FORMAT, &err);
    assert_non_null(strstr(err.text, "'norm'"));
    assert_non_null(strstr(err.text, "23"));
    smooth_end(&r, net);
    net = smooth_net();
    r.source = (smooth_source){.missing = true};
    assert_fails(smooth_decide(&r, net, &err), GS_E_FORMAT, &err);
    assert_string_equal(err.text, "nothing is known of 'norm'");
    smooth_end(&r, net);
}

/* Whatever is asked of the others: fallbacks, searches, refinement. */
static void a_value_that_no_token_reached_gets_what_needs_no_data(void **state) {
    (void)state;
    enum { DYNAMIC = 1 << GS_SCHEME_W8A8_DYNAMIC, WEIGHTS = 1 << GS_SCHEME_W8A16 };
    static const struct {
        gs_scheme wanted;
        unsigned permitted;
        const char *got;
    } table[] = {
        {GS_SCHEME_W8A8, 0, "FLOAT"},        {GS_SCHEME_W8A8, DYNAMIC | WEIGHTS, "W8A8_DYNAMIC"},
        {GS_SCHEME_W8A8, WEIGHTS, "W8A16"},  {GS_SCHEME_W8A8_DYNAMIC, 0, "W8A8_DYNAMIC"},
        {GS_SCHEME_W8A16, DYNAMIC, "W8A16"},
    };
    for (size_t i = 0; i < GS_COUNTOF(table); i++) {
        bool smooth = table[i].wanted != GS_SCHEME_W8A16;
        smooth_run r = smooth_settings(table[i].wanted, smooth ? GS_SMOOTHING_AUTO : GS_SMOOTHING_NONE, 0);
        r.source.unseen = "act";
        r.options.refine = true;
        r.options.fallback = GS_FALLBACK_AUTO;
        r.options.fallback_share = 0; /* it is outside the share */
        r.options.fallback_schemes = table[i].permitted;
        gs_net *net = smooth_quantize(&r, 2);
        const gs_layer_summary *down = smooth_row(&r, "mlp.down");
        assert_string_equal(down->scheme, table[i].got);
        assert_string_equal(down->reason, "no calibration token reached it");
        assert_int_equal(down->fallback, table[i].wanted == GS_SCHEME_W8A8);
        assert_true(isnan(down->alpha) && isnan(down->output_error));
        assert_string_equal(smooth_row(&r, "mlp.gate")->scheme, gs_scheme_name(table[i].wanted));
        assert_false(smooth_row(&r, "mlp.gate")->fallback);
        smooth_end(&r, net);
    }
}

static void what_needs_sample_rows_says_so_without(void **state) {
    (void)state;
    gs_error err = {0};
    smooth_run r = smooth_settings(GS_SCHEME_W8A8, GS_SMOOTHING_AUTO, 0);
    gs_net *net = smooth_net();
    r.source.sample_rows = 0;
    assert_fails(smooth_decide(&r, net, &err), GS_E_INVALID, &err);
    assert_non_null(strstr(err.text, "sample rows"));
    assert_true(err.hint[0] != 0);
    smooth_end(&r, net);
    r = smooth_settings(GS_SCHEME_W8A8, GS_SMOOTHING_FIXED, 0.5f);
    r.source.sample_rows = 0;
    r.options.fallback = GS_FALLBACK_AUTO;
    net = smooth_net();
    assert_fails(smooth_decide(&r, net, &err), GS_E_INVALID, &err);
    assert_non_null(strstr(err.text, "sample rows"));
    smooth_end(&r, net);
    r.options.fallback = GS_FALLBACK_NONE; /* extremes are enough for these */
    net = smooth_quantize(&r, 1);
    assert_true(isnan(smooth_row(&r, "mlp.gate")->output_error));
    smooth_end(&r, net);
}

static void a_segment_is_decided_once_and_before_it_is_converted(void **state) {
    (void)state;
    gs_error err = {0};
    gs_context cx = {0};
    smooth_run r = smooth_settings(GS_SCHEME_W8A8, GS_SMOOTHING_NONE, 0);
    gs_net *net = smooth_net();
    assert_ok(smooth_decide(&r, net, &err), &err);
    assert_fails(gs_comp_algo_decide(r.algo, &cx, net, &err), GS_E_INVALID, &err);
    assert_non_null(strstr(err.text, "'norm'"));
    smooth_end(&r, net);
    net = smooth_net(); /* its structure may be asked for, not its bytes */
    assert_ok(smooth_create(&r, &err), &err);
    assert_ok(gs_comp_algo_apply(r.algo, net, &err), &err);
    assert_int_equal(gs_net_find(net, "mlp.up")->op, GS_OP_QLINEAR);
    assert_fails(gs_comp_algo_convert(r.algo, &cx, net, &err), GS_E_NUMERIC, &err);
    smooth_end(&r, net);
}

static void a_weight_that_is_not_finite_is_named(void **state) {
    (void)state;
    gs_error err = {0};
    gs_context cx = {0};
    for (int smoothing = 0; smoothing < 3; smoothing++) {
        smooth_run r = smooth_settings(GS_SCHEME_W8A8, (gs_smoothing)smoothing, 0.5f);
        r.source.sample_rows = smoothing ? NET_ROWS / 2 : 0;
        gs_net *net = smooth_net();
        gs_values(net, "mlp.up")[7 * NET_IN + 2] = NAN;
        gs_status status = smooth_decide(&r, net, &err);
        if (status == GS_OK) status = gs_comp_algo_apply(r.algo, net, &err);
        if (status == GS_OK) status = gs_comp_algo_convert(r.algo, &cx, net, &err);
        assert_int_equal(status, GS_E_NUMERIC);
        if (!strstr(err.text, "mlp.up")) fail_msg("%s", err.text);
        smooth_end(&r, net);
    }
}

/* A source whose copies may fail: what was observed, merged into a fresh observer. */
static gs_status copy_observer(void *ctx, const char *edge, gs_observer *out, gs_error *err) {
    const gs_observer *kept = ctx;
    if (strcmp(edge, kept->name) != 0) kept++;
    GS_TRY(gs_observer_init(out, edge, kept->width, 0, err));
    return gs_observer_merge(out, kept, err);
}

static void running_out_of_memory_anywhere_is_only_an_error(void **state) {
    (void)state;
    gs_status status = GS_E_NOMEM;
    gs_context cx = {0};
    gs_error first = {0};
    gs_observer kept[2];
    smooth_source source = {.sample_rows = 8};
    int64_t k = 0;
    assert_ok(smooth_observe(&source, "norm", &kept[0], &first), &first);
    assert_ok(smooth_observe(&source, "act", &kept[1], &first), &first);
    for (; status != GS_OK && k < 20000; k += k < 400 ? 1 : 7) {
        gs_error err = {0};
        smooth_run r = smooth_settings(GS_SCHEME_W8A8, GS_SMOOTHING_AUTO, 0);
        gs_net *net = smooth_net(), *other = smooth_net();
        r.options.refine = true;
        r.options.fallback = GS_FALLBACK_AUTO;
        gs_mem_fail_after(k);
        status = gs_smooth_quant_create(&r.config, &r.options, copy_observer, kept, &r.algo, &err);
        if (status == GS_OK) status = gs_comp_algo_decide(r.algo, &cx, net, &err);
        if (status == GS_OK) status = gs_comp_algo_settle(r.algo, &cx, &err);
        if (status == GS_OK) status = gs_smooth_quant_fold(r.algo, net, &err);
        if (status == GS_OK) status = gs_comp_algo_apply(r.algo, other, &err);
        if (status == GS_OK) status = gs_comp_algo_convert(r.algo, &cx, other, &err);
        gs_mem_fail_after(-1);
        if (status != GS_OK) assert_int_equal(status, GS_E_NOMEM);
        gs_net_destroy(other);
        smooth_end(&r, net);
    }
    for (int i = 0; i < 2; i++) gs_observer_clear(&kept[i]);
    assert_int_equal(status, GS_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_that_contradict_or_cannot_be_are_refused),
        cmocka_unit_test(a_policy_cannot_ask_for_what_is_not_done),
        cmocka_unit_test(a_blacklisted_linear_takes_part_in_the_folding_but_has_no_say),
        cmocka_unit_test(a_group_that_is_blacklisted_whole_needs_no_statistics),
        cmocka_unit_test(policies_may_part_groups_but_not_split_one),
        cmocka_unit_test(a_group_falls_back_to_the_first_permitted_scheme_that_is_good_enough),
        cmocka_unit_test(the_worst_groups_fall_first_and_within_their_share),
        cmocka_unit_test(without_fallback_every_group_keeps_its_scheme),
        cmocka_unit_test(a_listed_linear_takes_its_whole_group_along),
        cmocka_unit_test(statistics_that_do_not_fit_are_refused),
        cmocka_unit_test(a_value_that_no_token_reached_gets_what_needs_no_data),
        cmocka_unit_test(what_needs_sample_rows_says_so_without),
        cmocka_unit_test(a_segment_is_decided_once_and_before_it_is_converted),
        cmocka_unit_test(a_weight_that_is_not_finite_is_named),
        cmocka_unit_test(running_out_of_memory_anywhere_is_only_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
