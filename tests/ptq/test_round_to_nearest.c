/* RoundToNearest on nets of no particular family: structure, bytes, statistics. */
#include "../support.h"

#include <base/mem.h>
#include <kernels/isa.h>
#include <math.h>
#include <ptq/round_to_nearest.h>
#include <ptq/row_quant.h>

enum { IN = 37, OUT = 100 };

/* x -> first [OUT, IN] -> second [IN, OUT], both linears with owned weights. */
static gs_net *two_linears(float *w1, float *w2, gs_error *err) {
    gs_net *net;
    gs_edge *x;
    gs_node *a, *b;
    gs_dims dims = {.ndim = 1, .dim = {IN}};
    int64_t s1[2] = {OUT, IN}, s2[2] = {IN, OUT};
    assert_ok(gs_net_create("two", &net, err), err);
    assert_ok(gs_net_input(net, "x", dims, &x, err), err);
    assert_ok(gs_net_add(net, GS_OP_LINEAR, "block.first", 1, &x, NULL, &a, err), err);
    assert_ok(gs_net_param_new(net, a, GS_ROLE_WEIGHT, "block.first.weight", GS_F32, 2, s1, w1, err), err);
    assert_ok(gs_net_add(net, GS_OP_LINEAR, "block.second", 1, &a->output, NULL, &b, err), err);
    assert_ok(gs_net_param_new(net, b, GS_ROLE_WEIGHT, "block.second.weight", GS_F32, 2, s2, w2, err), err);
    assert_ok(gs_net_output(net, b->output, err), err);
    assert_ok(gs_net_infer(net, err), err);
    return net;
}

static void fill(float *w, size_t n, uint64_t seed) {
    for (size_t i = 0; i < n; i++) w[i] = gs_test_randf(&seed);
}

/* apply and convert with a team of `threads`; the caller owns net and algo. */
static void quantize(gs_net *net, gs_comp_algo *algo, int threads) {
    gs_error err = {0};
    gs_context cx = {0};
    assert_ok(gs_team_create(NULL, threads, &cx.team, &err), &err);
    assert_ok(gs_comp_algo_apply(algo, net, &err), &err);
    assert_ok(gs_net_infer(net, &err), &err);
    assert_ok(gs_comp_algo_convert(algo, &cx, net, &err), &err);
    gs_team_destroy(cx.team);
}

static float w1[OUT * IN], w2[IN * OUT];

static void linears_become_qlinears_with_rows_quantized_as_specified(void **state) {
    (void)state;
    gs_error err = {0};
    fill(w1, GS_COUNTOF(w1), 1);
    fill(w2, GS_COUNTOF(w2), 2);
    memset(w1 + 5 * IN, 0, IN * sizeof *w1);
    gs_net *net = two_linears(w1, w2, &err);
    gs_ptq_config config = gs_ptq_config_w8a16();
    gs_comp_algo *algo;
    assert_ok(gs_round_to_nearest_create(&config, &algo, &err), &err);
    quantize(net, algo, 2);
    const gs_node *node = gs_net_find(net, "block.first");
    assert_int_equal(node->op, GS_OP_QLINEAR);
    assert_int_equal(node->attr.quant.scheme, GS_SCHEME_W8A16);
    assert_string_equal(node->param[GS_ROLE_WEIGHT]->name, "block.first.weight");
    assert_string_equal(node->param[GS_ROLE_WEIGHT_SCALE]->name, "block.first.weight_scale");
    const int8_t *q = node->param[GS_ROLE_WEIGHT]->data;
    const float *scale = node->param[GS_ROLE_WEIGHT_SCALE]->data, *offset = node->param[GS_ROLE_WEIGHT_OFFSET]->data;
    double square = 0, error = 0;
    for (int r = 0; r < OUT; r++) {
        float m = 0;
        for (int i = 0; i < IN; i++) m = fmaxf(m, fabsf(w1[r * IN + i]));
        assert_true(scale[r] == gs_row_scale(GS_SCALE_ASCEND, config.compute, m));
        assert_true(offset[r] == 0);
        for (int i = 0; i < IN; i++) {
            float want = fminf(fmaxf(nearbyintf(w1[r * IN + i] / scale[r]), -128), 127);
            double e = (double)w1[r * IN + i] - (double)((float)q[r * IN + i] * scale[r]);
            assert_int_equal(q[r * IN + i], (int)want);
            square += (double)w1[r * IN + i] * (double)w1[r * IN + i];
            error += e * e;
        }
    }
    const gs_summary *summary = gs_comp_algo_summary(algo);
    assert_int_equal(summary->count, 2);
    assert_string_equal(summary->layer[0].name, "block.first");
    assert_string_equal(summary->layer[0].scheme, "W8A16");
    assert_int_equal(summary->layer[0].zero_rows, 1);
    assert_true(fabs(summary->layer[0].sqnr_db - 10 * log10(square / error)) <= 1e-9);
    gs_comp_algo_destroy(algo);
    gs_net_destroy(net);
}

/* Groups of 20 columns fit the second linear alone; its scales are f16 in a f32 bundle. */
static void scales_by_groups_are_a_matrix_and_what_has_no_whole_groups_stays_float(void **state) {
    (void)state;
    gs_error err = {0};
    enum { G = 20 };
    fill(w1, GS_COUNTOF(w1), 11);
    fill(w2, GS_COUNTOF(w2), 12);
    gs_net *net = two_linears(w1, w2, &err);
    gs_ptq_config config = gs_ptq_config_w8a16();
    gs_comp_algo *algo;
    config.compute = GS_F32;
    config.scale_dtype = GS_F16;
    config.weight_quant_granularity = GS_PER_GROUP;
    config.group_size = G;
    assert_ok(gs_round_to_nearest_create(&config, &algo, &err), &err);
    quantize(net, algo, 3);
    assert_int_equal(gs_net_find(net, "block.first")->op, GS_OP_LINEAR);
    const gs_summary *summary = gs_comp_algo_summary(algo);
    assert_string_equal(summary->layer[0].scheme, "FLOAT");
    assert_string_equal(summary->layer[0].reason, "37 columns are no whole groups of 20");
    assert_string_equal(summary->layer[1].scheme, "W8A16");
    const gs_node *node = gs_net_find(net, "block.second");
    const gs_param *scale = node->param[GS_ROLE_WEIGHT_SCALE], *offset = node->param[GS_ROLE_WEIGHT_OFFSET];
    assert_true(scale->shape[0] == IN && scale->shape[1] == OUT / G && offset->shape[1] == OUT / G);
    const int8_t *q = node->param[GS_ROLE_WEIGHT]->data;
    for (int r = 0; r < IN; r++)
        for (int g = 0; g < OUT / G; g++) {
            const float *w = w2 + r * OUT + g * G;
            float m = 0, s = ((const float *)scale->data)[r * (OUT / G) + g];
            for (int i = 0; i < G; i++) m = fmaxf(m, fabsf(w[i]));
            assert_true(s == gs_row_scale(GS_SCALE_ASCEND, GS_F16, m));
            assert_true(((const float *)offset->data)[r * (OUT / G) + g] == 0);
            for (int i = 0; i < G; i++) assert_int_equal(q[r * OUT + g * G + i], (int)rintf(w[i] / s));
        }
    gs_comp_algo_destroy(algo);
    gs_net_destroy(net);
}

static void a_float_config_leaves_everything_and_says_so(void **state) {
    (void)state;
    gs_error err = {0};
    gs_net *net = two_linears(w1, w2, &err);
    gs_ptq_config config = gs_ptq_config_w8a16();
    gs_comp_algo *algo;
    config.weight_quant_dtype = GS_QUANT_NONE;
    assert_ok(gs_round_to_nearest_create(&config, &algo, &err), &err);
    quantize(net, algo, 1);
    assert_int_equal(gs_net_find(net, "block.first")->op, GS_OP_LINEAR);
    assert_string_equal(gs_comp_algo_summary(algo)->layer[1].reason, "weights stay float");
    gs_comp_algo_destroy(algo);
    gs_net_destroy(net);
}

static void bytes_do_not_depend_on_the_number_of_threads(void **state) {
    (void)state;
    gs_error err = {0};
    fill(w1, GS_COUNTOF(w1), 3);
    fill(w2, GS_COUNTOF(w2), 4);
    int8_t first[OUT * IN];
    float scales[OUT];
    double sqnr = 0;
    for (int threads = 1; threads <= 5; threads++) {
        gs_net *net = two_linears(w1, w2, &err);
        gs_ptq_config config = gs_ptq_config_w8a16();
        gs_comp_algo *algo;
        assert_ok(gs_round_to_nearest_create(&config, &algo, &err), &err);
        quantize(net, algo, threads);
        const gs_node *node = gs_net_find(net, "block.first");
        if (threads == 1) {
            memcpy(first, node->param[GS_ROLE_WEIGHT]->data, sizeof first);
            memcpy(scales, node->param[GS_ROLE_WEIGHT_SCALE]->data, sizeof scales);
            sqnr = gs_comp_algo_summary(algo)->layer[0].sqnr_db;
        }
        assert_memory_equal(first, node->param[GS_ROLE_WEIGHT]->data, sizeof first);
        assert_memory_equal(scales, node->param[GS_ROLE_WEIGHT_SCALE]->data, sizeof scales);
        assert_true(sqnr == gs_comp_algo_summary(algo)->layer[0].sqnr_db);
        gs_comp_algo_destroy(algo);
        gs_net_destroy(net);
    }
}

static void a_blacklisted_linear_stays_as_it_is_and_says_why(void **state) {
    (void)state;
    gs_error err = {0};
    const char *words[] = {"second"};
    gs_ptq_config config = gs_ptq_config_w8a16();
    config.opname_blacklist = words;
    config.opname_blacklist_count = 1;
    gs_net *net = two_linears(w1, w2, &err);
    gs_comp_algo *algo;
    assert_ok(gs_round_to_nearest_create(&config, &algo, &err), &err);
    quantize(net, algo, 1);
    const gs_node *second = gs_net_find(net, "block.second");
    assert_int_equal(second->op, GS_OP_LINEAR);
    assert_memory_equal(second->param[GS_ROLE_WEIGHT]->data, w2, sizeof w2);
    const gs_layer_summary *row = &gs_comp_algo_summary(algo)->layer[1];
    assert_string_equal(row->scheme, "FLOAT");
    assert_string_equal(row->reason, "blacklist 'second'");
    gs_comp_algo_destroy(algo);
    gs_net_destroy(net);
}

static void nan_names_the_tensor_and_the_place(void **state) {
    (void)state;
    gs_error err = {0};
    gs_context cx = {0};
    fill(w1, GS_COUNTOF(w1), 5);
    w1[41 * IN + 7] = NAN;
    w1[90 * IN + 1] = INFINITY;
    gs_net *net = two_linears(w1, w2, &err);
    gs_ptq_config config = gs_ptq_config_w8a16();
    gs_comp_algo *algo;
    assert_ok(gs_team_create(NULL, 3, &cx.team, &err), &err);
    assert_ok(gs_round_to_nearest_create(&config, &algo, &err), &err);
    assert_ok(gs_comp_algo_apply(algo, net, &err), &err);
    assert_fails(gs_comp_algo_convert(algo, &cx, net, &err), GS_E_NUMERIC, &err);
    assert_string_equal(err.text, "tensor 'block.first.weight' holds NaN at [41, 7]");
    gs_comp_algo_destroy(algo);
    gs_net_destroy(net);
    gs_team_destroy(cx.team);
}

static void what_it_cannot_do_it_refuses(void **state) {
    (void)state;
    gs_error err = {0};
    gs_comp_algo *algo;
    gs_ptq_config config = gs_ptq_config_w8a16();
    config.act_quant_dtype = GS_QUANT_INT8;
    assert_fails(gs_round_to_nearest_create(&config, &algo, &err), GS_E_INVALID, &err);
    config = gs_ptq_config_w8a16();
    config.weight_quant_dtype = GS_QUANT_INT4;
    assert_fails(gs_round_to_nearest_create(&config, &algo, &err), GS_E_INVALID, &err);
    assert_non_null(strstr(err.text, "A16W4"));
}

static void save_switches_start_on_and_check_their_path(void **state) {
    (void)state;
    gs_error err = {0};
    gs_comp_algo *algo;
    gs_ptq_config config = gs_ptq_config_w8a16();
    assert_ok(gs_round_to_nearest_create(&config, &algo, &err), &err);
    assert_true(algo->save);
    gs_comp_algo_set_save(algo, false);
    assert_false(algo->save);
    assert_fails(gs_comp_algo_set_save_path(algo, "", &err), GS_E_INVALID, &err);
    assert_ok(gs_comp_algo_set_save_path(algo, "somewhere", &err), &err);
    assert_string_equal(algo->save_path, "somewhere");
    assert_null(gs_comp_algo_callbacks(algo));
    gs_comp_algo_destroy(algo);
}

static void running_out_of_memory_anywhere_is_only_an_error(void **state) {
    (void)state;
    gs_error err = {0};
    gs_context cx = {0};
    fill(w1, GS_COUNTOF(w1), 6);
    bool done = false;
    for (int64_t k = 0; !done && k < 500; k++) {
        gs_net *net = two_linears(w1, w2, &err);
        gs_ptq_config config = gs_ptq_config_w8a16();
        gs_comp_algo *algo = NULL;
        gs_mem_fail_after(k);
        gs_status status = gs_round_to_nearest_create(&config, &algo, &err);
        if (status == GS_OK) status = gs_comp_algo_apply(algo, net, &err);
        if (status == GS_OK) status = gs_comp_algo_convert(algo, &cx, net, &err);
        gs_mem_fail_after(-1);
        if (status != GS_OK) assert_int_equal(status, GS_E_NOMEM);
        done = status == GS_OK;
        gs_comp_algo_destroy(algo);
        gs_net_destroy(net);
    }
    assert_true(done);
}

static void a_linear_of_normalised_rows_stays_float(void **state) {
    (void)state;
    gs_error err = {0};
    fill(w1, GS_COUNTOF(w1), 1);
    fill(w2, GS_COUNTOF(w2), 2);
    gs_net *net = two_linears(w1, w2, &err);
    gs_net_find(net, "block.second")->attr.linear.normalize_rows = true;
    gs_ptq_config config = gs_ptq_config_w8a16();
    gs_comp_algo *algo;
    assert_ok(gs_round_to_nearest_create(&config, &algo, &err), &err);
    quantize(net, algo, 1);
    assert_int_equal(gs_net_find(net, "block.first")->op, GS_OP_QLINEAR);
    assert_int_equal(gs_net_find(net, "block.second")->op, GS_OP_LINEAR);
    const gs_summary *s = gs_comp_algo_summary(algo);
    assert_int_equal(s->count, 2);
    assert_string_equal(s->layer[1].scheme, "FLOAT");
    assert_string_equal(s->layer[1].reason, "its rows are normalised");
    gs_comp_algo_destroy(algo);
    gs_net_destroy(net);
}

int main(void) {
    const char *forced = getenv("GSTICK_ISA");
    if (forced && strcmp(gs_isa_name(gs_isa_selected()), forced) != 0) return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linears_become_qlinears_with_rows_quantized_as_specified),
        cmocka_unit_test(scales_by_groups_are_a_matrix_and_what_has_no_whole_groups_stays_float),
        cmocka_unit_test(a_float_config_leaves_everything_and_says_so),
        cmocka_unit_test(bytes_do_not_depend_on_the_number_of_threads),
        cmocka_unit_test(a_blacklisted_linear_stays_as_it_is_and_says_why),
        cmocka_unit_test(nan_names_the_tensor_and_the_place),
        cmocka_unit_test(what_it_cannot_do_it_refuses),
        cmocka_unit_test(save_switches_start_on_and_check_their_path),
        cmocka_unit_test(a_linear_of_normalised_rows_stays_float),
        cmocka_unit_test(running_out_of_memory_anywhere_is_only_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
