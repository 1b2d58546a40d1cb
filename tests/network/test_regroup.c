/* One linear taken apart and put together again: values, params and the net's order. */
#include "nets.h"

#include <network/rewrite.h>

enum { IN = 8, OUT = 24, ROWS = 5, PARTS = 3 };

static const char *const part_name[] = {"q", "k", "v"};
static const char *const slice_name[] = {"s0", "s1", "s2"};

/* rows of three parts: one piece each, or a piece of each of two groups */
static const gs_attr plain[] = {{.slice = {0, 12, 0, 1}}, {.slice = {12, 8, 0, 1}}, {.slice = {20, 4, 0, 1}}};
static const gs_attr grouped[] = {{.slice = {0, 6, 12, 2}}, {.slice = {6, 4, 12, 2}}, {.slice = {10, 2, 12, 2}}};

typedef struct fused {
    gs_net *net;
    gs_node *linear, *slice[PARTS];
} fused;

static fused make_fused(const gs_attr *cut) {
    uint64_t seed = 11;
    fused f = {.net = gs_new_net("fused")};
    gs_edge *x = gs_new_input(f.net, "x", IN, 0, 0);
    f.linear = gs_new_linear(f.net, "all", x, OUT, IN, &seed);
    gs_new_param(f.net, f.linear, GS_ROLE_BIAS, 1, OUT, 0, 0, 0, 0, 1, &seed);
    for (int i = 0; i < PARTS; i++)
        f.slice[i] = gs_new_node(f.net, GS_OP_SLICE, slice_name[i], &cut[i], f.linear->output, NULL, NULL);
    for (int i = 0; i < PARTS; i++) {
        gs_error err = {0};
        assert_ok(gs_net_output(f.net, f.slice[i]->output, &err), &err);
    }
    gs_error err = {0};
    assert_ok(gs_net_infer(f.net, &err), &err);
    return f;
}

/* The three outputs, one behind the other. */
static void run(gs_net *net, float *y) {
    gs_error err = {0};
    uint64_t seed = 5;
    float *x = gs_random_values(ROWS * IN, &seed), *out[PARTS];
    const float *in = x;
    gs_batch batch = {.rows = ROWS};
    for (int i = 0; i < PARTS; i++) {
        out[i] = y;
        y += ROWS * gs_net_output_at(net, i)->dims.dim[0];
    }
    assert_ok(gs_try_net(net, GS_GEMM_F32, 1, &batch, &in, out, &err), &err);
    free(x);
}

/* The net's text without the numbers of edges, which new ones get at the end. */
static char *text_of(const gs_net *net) {
    char *text = gs_net_text(net), *to = text;
    bool number = false;
    for (const char *from = text; *from; from++) {
        number = *from == '%' || (number && *from >= '0' && *from <= '9');
        if (!number) *to++ = *from;
    }
    *to = 0;
    return text;
}

static void apart_and_together(const gs_attr *cut) {
    gs_error err = {0};
    float before[ROWS * OUT], apart[ROWS * OUT], after[ROWS * OUT];
    fused f = make_fused(cut);
    char *text = text_of(f.net);
    run(f.net, before);
    assert_ok(gs_net_split_linear(f.net, f.linear, f.slice, part_name, PARTS, &err), &err);
    gs_assert_net_is_sound(f.net);
    assert_ok(gs_net_infer(f.net, &err), &err);
    assert_int_equal(gs_net_node_count(f.net), PARTS);
    assert_null(gs_net_find(f.net, "all"));
    gs_node *part[PARTS];
    for (int i = 0; i < PARTS; i++) {
        part[i] = gs_net_find(f.net, part_name[i]);
        assert_non_null(part[i]);
        assert_int_equal(part[i]->op, GS_OP_LINEAR);
        assert_ptr_equal(part[i]->input[0], gs_net_input_at(f.net, 0));
    }
    assert_string_equal(part[1]->param[GS_ROLE_BIAS]->name, "k.bias");
    run(f.net, apart);
    gs_assert_close(ROWS * OUT, apart, before, 1e-6);
    assert_ok(gs_net_join_linears(f.net, part, PARTS, "all", cut, slice_name, &err), &err);
    gs_assert_net_is_sound(f.net);
    assert_ok(gs_net_infer(f.net, &err), &err);
    run(f.net, after);
    assert_memory_equal(after, before, sizeof before);
    char *again = text_of(f.net);
    assert_string_equal(again, text);
    free(text);
    free(again);
    gs_net_destroy(f.net);
}

static void parts_are_rows_of_the_whole(void **state) {
    (void)state;
    apart_and_together(plain);
    apart_and_together(grouped);
}

static void new_codes(gs_net *net, gs_node *node, int64_t rows, float input_scale) {
    gs_error err = {0};
    int8_t codes[OUT * IN];
    const int64_t matrix[] = {rows, IN}, column[] = {rows, 1}, one[] = {1};
    float scale[OUT];
    for (int64_t i = 0; i < rows * IN; i++) codes[i] = (int8_t)(i * 37 + rows);
    for (int64_t i = 0; i < rows; i++) scale[i] = (float)(i + 1) / 64;
    assert_ok(gs_net_param_new(net, node, GS_ROLE_WEIGHT, "w", GS_I8, 2, matrix, codes, &err), &err);
    assert_ok(gs_net_param_new(net, node, GS_ROLE_WEIGHT_SCALE, "s", GS_F32, 2, column, scale, &err), &err);
    assert_ok(gs_net_param_new(net, node, GS_ROLE_INPUT_SCALE, "i", GS_F32, 1, one, &input_scale, &err), &err);
}

/* Three static linears of one input; the last one's input scale is `last`. */
static gs_net *quantized(float last, gs_node **part) {
    static const int64_t rows[] = {12, 8, 4};
    const gs_attr attr = {.quant = {.scheme = GS_SCHEME_W8A8, .compute = GS_F32}};
    gs_net *net = gs_new_net("quantized");
    gs_edge *x = gs_new_input(net, "x", IN, 0, 0);
    for (int i = 0; i < PARTS; i++) {
        part[i] = gs_new_node(net, GS_OP_QLINEAR, part_name[i], &attr, x, NULL, NULL);
        new_codes(net, part[i], rows[i], i == 2 ? last : 0.25f);
    }
    return net;
}

static void codes_and_scales_go_with_their_rows(void **state) {
    (void)state;
    gs_error err = {0};
    gs_node *part[PARTS], *slice[PARTS];
    gs_net *net = quantized(0.25f, part);
    int8_t codes[4 * IN], third[4 * IN];
    assert_ok(gs_param_read_s8(part[2]->param[GS_ROLE_WEIGHT], 0, 4, codes, &err), &err);
    assert_ok(gs_net_join_linears(net, part, PARTS, "all", plain, slice_name, &err), &err);
    gs_assert_net_is_sound(net);
    const gs_node *all = gs_net_find(net, "all");
    const gs_param *weight = all->param[GS_ROLE_WEIGHT], *scale = all->param[GS_ROLE_WEIGHT_SCALE];
    assert_true(weight->dtype == GS_I8 && weight->shape[0] == OUT && scale->shape[0] == OUT && scale->shape[1] == 1);
    assert_string_equal(weight->name, "all.weight");
    assert_ok(gs_param_read_s8(weight, 20, 4, third, &err), &err);
    assert_memory_equal(third, codes, sizeof codes);
    float s[OUT];
    assert_ok(gs_param_read_f32(scale, 0, OUT, s, &err), &err);
    assert_true(s[11] == 12.0f / 64 && s[12] == 1.0f / 64 && s[23] == 4.0f / 64);
    assert_int_equal(gs_param_count(all->param[GS_ROLE_INPUT_SCALE]), 1);
    for (int i = 0; i < PARTS; i++) slice[i] = gs_net_find(net, slice_name[i]);
    assert_ok(gs_net_split_linear(net, gs_net_find(net, "all"), slice, part_name, PARTS, &err), &err);
    const gs_node *v = gs_net_find(net, "v");
    assert_ok(gs_param_read_s8(v->param[GS_ROLE_WEIGHT], 0, 4, third, &err), &err);
    assert_memory_equal(third, codes, sizeof codes);
    assert_ok(gs_param_read_f32(v->param[GS_ROLE_INPUT_SCALE], 0, 1, s, &err), &err);
    assert_true(s[0] == 0.25f);
    gs_net_destroy(net);
}

static void planned_params_stay_planned(void **state) {
    (void)state;
    gs_error err = {0};
    fused f = make_fused(plain);
    const int64_t shape[] = {OUT, IN};
    assert_ok(gs_net_param_new(f.net, f.linear, GS_ROLE_WEIGHT, "w", GS_I8, 2, shape, NULL, &err), &err);
    assert_ok(gs_net_split_linear(f.net, f.linear, f.slice, part_name, PARTS, &err), &err);
    gs_node *part[PARTS];
    for (int i = 0; i < PARTS; i++) {
        part[i] = gs_net_find(f.net, part_name[i]);
        const gs_param *w = part[i]->param[GS_ROLE_WEIGHT];
        assert_true(!w->data && !w->source && w->dtype == GS_I8 && w->shape[0] == plain[i].slice.width);
        assert_non_null(part[i]->param[GS_ROLE_BIAS]->data);
    }
    assert_ok(gs_net_join_linears(f.net, part, PARTS, "all", plain, slice_name, &err), &err);
    const gs_param *w = gs_net_find(f.net, "all")->param[GS_ROLE_WEIGHT];
    assert_true(!w->data && !w->source && w->shape[0] == OUT && w->shape[1] == IN);
    gs_net_destroy(f.net);
}

static void views_with_factors_are_read(void **state) {
    (void)state;
    gs_error err = {0};
    fused f = make_fused(plain);
    float factor[OUT], column[IN], want[OUT * IN], got[4 * IN];
    for (int i = 0; i < OUT; i++) factor[i] = (float)(i + 2);
    for (int i = 0; i < IN; i++) column[i] = 1.0f / (float)(i + 1);
    gs_param *w = f.linear->param[GS_ROLE_WEIGHT], *b = f.linear->param[GS_ROLE_BIAS];
    assert_ok(gs_param_scale_rows(w, factor, &err), &err);
    assert_ok(gs_param_scale_cols(w, column, &err), &err);
    assert_ok(gs_param_scale_cols(b, factor, &err), &err);
    float bias[OUT], last[4];
    assert_ok(gs_param_read_f32(w, 0, OUT, want, &err), &err);
    assert_ok(gs_param_read_f32(b, 0, 1, bias, &err), &err);
    assert_ok(gs_net_split_linear(f.net, f.linear, f.slice, part_name, PARTS, &err), &err);
    const gs_node *v = gs_net_find(f.net, "v");
    assert_ok(gs_param_read_f32(v->param[GS_ROLE_WEIGHT], 0, 4, got, &err), &err);
    assert_memory_equal(got, want + 20 * IN, sizeof got);
    assert_ok(gs_param_read_f32(v->param[GS_ROLE_BIAS], 0, 1, last, &err), &err);
    assert_memory_equal(last, bias + 20, sizeof last);
    gs_net_destroy(f.net);
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    gs_error err = {0};
    fused f = make_fused(plain);
    assert_fails(gs_net_split_linear(f.net, f.linear, f.slice, part_name, 2, &err), GS_E_INVALID, &err);
    gs_new_node(f.net, GS_OP_RELU, "other", NULL, f.linear->output, NULL, NULL);
    assert_fails(gs_net_split_linear(f.net, f.linear, f.slice, part_name, PARTS, &err), GS_E_INVALID, &err);
    gs_net_destroy(f.net);
    gs_node *part[PARTS];
    gs_net *net = quantized(0.5f, part);
    assert_fails(gs_net_join_linears(net, part, PARTS, "all", plain, slice_name, &err), GS_E_UNSUPPORTED, &err);
    assert_non_null(strstr(err.text, "0.25"));
    gs_net_destroy(net);
    net = quantized(0.25f, part);
    /* other element types, whether the bytes are there or not */
    const int64_t shape[] = {8, IN};
    for (int i = 0; i < PARTS; i++) {
        const gs_param *w = part[i]->param[GS_ROLE_WEIGHT];
        assert_ok(gs_net_param_new(net, part[i], GS_ROLE_WEIGHT, w->name, GS_I8, 2, w->shape, NULL, &err), &err);
    }
    assert_ok(gs_net_param_new(net, part[1], GS_ROLE_WEIGHT, "w", GS_F16, 2, shape, NULL, &err), &err);
    assert_fails(gs_net_join_linears(net, part, PARTS, "all", plain, slice_name, &err), GS_E_UNSUPPORTED, &err);
    assert_non_null(strstr(err.text, "F16"));
    gs_net_destroy(net);
    net = quantized(0.25f, part);
    part[1]->attr.quant.scheme = GS_SCHEME_W8A16;
    assert_fails(gs_net_join_linears(net, part, PARTS, "all", plain, slice_name, &err), GS_E_INVALID, &err);
    gs_net_destroy(net);
}

static void failing_allocations_are_survived(void **state) {
    (void)state;
    for (int64_t n = 0;; n++) {
        gs_error err = {0};
        fused f = make_fused(plain);
        gs_node *part[PARTS];
        gs_mem_fail_after(n);
        gs_status status = gs_net_split_linear(f.net, f.linear, f.slice, part_name, PARTS, &err);
        for (int i = 0; i < PARTS && status == GS_OK; i++) part[i] = gs_net_find(f.net, part_name[i]);
        if (status == GS_OK) status = gs_net_join_linears(f.net, part, PARTS, "all", plain, slice_name, &err);
        gs_mem_fail_after(-1);
        gs_net_destroy(f.net);
        if (status == GS_OK) {
            assert_true(n > 20);
            return;
        }
        assert_int_equal(status, GS_E_NOMEM);
    }
}

static void names_and_inputs_change(void **state) {
    (void)state;
    gs_error err = {0};
    fused f = make_fused(plain);
    assert_ok(gs_net_rename(f.net, f.linear, "other", &err), &err);
    assert_ptr_equal(gs_net_find(f.net, "other"), f.linear);
    assert_string_equal(f.linear->output->name, "other");
    assert_fails(gs_net_rename(f.net, f.linear, "s1", &err), GS_E_INVALID, &err);
    assert_fails(gs_net_reroute(f.net, f.linear, 0, f.slice[0]->output, &err), GS_E_INVALID, &err);
    assert_fails(gs_net_reroute(f.net, f.linear, 1, gs_net_input_at(f.net, 0), &err), GS_E_INVALID, &err);
    assert_ok(gs_net_reroute(f.net, f.slice[2], 0, f.slice[0]->output, &err), &err);
    gs_assert_net_is_sound(f.net);
    gs_net_destroy(f.net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_rows_of_the_whole),    cmocka_unit_test(codes_and_scales_go_with_their_rows),
        cmocka_unit_test(planned_params_stay_planned),    cmocka_unit_test(views_with_factors_are_read),
        cmocka_unit_test(what_does_not_fit_is_refused),   cmocka_unit_test(names_and_inputs_change),
        cmocka_unit_test(failing_allocations_are_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
