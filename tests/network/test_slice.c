/* Parts of a fused projection against plain indexing. */
#include "nets.h"

enum { ROWS = 37 };

typedef struct part {
    int64_t start, width, stride, count;
} part;

static gs_net *make_net(int64_t in, part p) {
    gs_net *net = gs_new_net("n");
    gs_attr attr = {0};
    attr.slice.start = p.start;
    attr.slice.width = p.width;
    attr.slice.stride = p.stride;
    attr.slice.count = p.count;
    gs_finish_net(net, gs_new_node(net, GS_OP_SLICE, "s", &attr, gs_new_input(net, "x", in, 0, 0), NULL, NULL)->output);
    return net;
}

static void assert_is_model(int64_t in, part p) {
    gs_error err = {0};
    uint64_t seed = 3;
    int64_t out = p.width * p.count;
    gs_net *net = make_net(in, p);
    float *x = gs_random_values(ROWS * in, &seed), *y = malloc((size_t)(ROWS * out) * sizeof *y);
    const float *input = x;
    gs_batch batch = {.rows = ROWS};
    assert_int_equal(gs_net_output_at(net, 0)->dims.dim[0], out);
    for (int threads = 1; threads <= 3; threads++) {
        memset(y, 0xff, (size_t)(ROWS * out) * sizeof *y);
        assert_ok(gs_try_net(net, GS_GEMM_F32, threads, &batch, &input, &y, &err), &err);
        for (int64_t r = 0; r < ROWS; r++)
            for (int64_t i = 0; i < p.count; i++)
                for (int64_t j = 0; j < p.width; j++)
                    assert_true(y[r * out + i * p.width + j] == x[r * in + p.start + i * p.stride + j]);
    }
    free(x);
    free(y);
    gs_net_destroy(net);
}

static void slices_are_the_model(void **state) {
    (void)state;
    const part all = {0, 48, 0, 1}, first = {0, 16, 0, 1}, last = {32, 16, 0, 1}, one = {47, 1, 5, 1};
    const part groups = {0, 4, 12, 4}, inner = {8, 2, 12, 4}, adjacent = {4, 11, 11, 4}, singles = {1, 1, 2, 23};
    const part each[] = {all, first, last, one, groups, inner, adjacent, singles};
    for (size_t i = 0; i < GS_COUNTOF(each); i++) assert_is_model(48, each[i]);
}

static void impossible_slices_are_refused(void **state) {
    (void)state;
    gs_error err = {0};
    const int64_t huge = INT64_MAX;
    const part each[] = {{-1, 4, 0, 1}, {0, 0, 0, 1},  {0, -4, 0, 1},    {0, 4, 8, 0},       {0, 4, 3, 2},   {0, 4, -8, 2},
                         {40, 9, 0, 1}, {0, 4, 12, 5}, {huge, 4, 0, 1},  {0, huge, 0, 1},    {0, 1, huge, 2}, {0, 1, 1, huge},
                         {0, 4, -1, 1}, {8, 4, 12, 4 + 1}, {48, 1, 0, 1}};
    gs_net *net = make_net(48, (part){0, 4, 12, 4});
    for (size_t i = 0; i < GS_COUNTOF(each); i++) {
        gs_attr *a = &gs_net_node(net, 0)->attr;
        a->slice.start = each[i].start;
        a->slice.width = each[i].width;
        a->slice.stride = each[i].stride;
        a->slice.count = each[i].count;
        assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    }
    gs_net_destroy(net);
    net = gs_new_net("n"); /* a picture has no channels in a row */
    gs_attr attr = {0};
    attr.slice.width = attr.slice.count = 1;
    gs_node *node = gs_new_node(net, GS_OP_SLICE, "s", &attr, gs_new_input(net, "x", 3, 4, 4), NULL, NULL);
    assert_ok(gs_net_output(net, node->output, &err), &err);
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    gs_net_destroy(net);
}

static void a_slice_tells_what_it_takes(void **state) {
    (void)state;
    gs_net *net = make_net(48, (part){8, 2, 12, 4});
    char *text = gs_net_text(net);
    assert_non_null(strstr(text, "%1 = slice(%0) \"s\" start 8 width 2 stride 12 count 4 -> [8]\n"));
    free(text);
    gs_net_destroy(net);
    net = make_net(48, (part){8, 2, 0, 1});
    text = gs_net_text(net);
    assert_non_null(strstr(text, "\"s\" start 8 width 2 -> [2]\n"));
    free(text);
    gs_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_are_the_model),
        cmocka_unit_test(impossible_slices_are_refused),
        cmocka_unit_test(a_slice_tells_what_it_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
