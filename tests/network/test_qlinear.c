/* A W8A16 linear is exactly a linear whose weight was dequantized as its consumer does. */
#include "nets.h"

#include <base/half.h>
#include <math.h>

enum { OUT = 37, IN = 50, ROWS = 9 };

static float rounded(gs_dtype t, float x) {
    if (t == GS_BF16) return gs_bf16_to_f32(gs_f32_to_bf16(x));
    return t == GS_F16 ? gs_f16_to_f32(gs_f32_to_f16(x)) : x;
}

/* What a test varies. */
typedef struct kind {
    gs_dtype compute, stored; /* of the scales */
    bool offset, flat;        /* flat: scales are [n], not [n, 1] */
} kind;

static void add_channel(gs_net *net, gs_node *node, gs_role role, const kind *k, const float *values) {
    gs_error err = {0};
    uint16_t half[OUT];
    const int64_t shape[2] = {OUT, 1};
    for (int i = 0; i < OUT; i++)
        half[i] = k->stored == GS_F16 ? gs_f32_to_f16(values[i]) : gs_f32_to_bf16(values[i]);
    const void *data = k->stored == GS_F32 ? (const void *)values : half;
    assert_ok(gs_net_param_new(net, node, role, gs_role_name(role), k->stored, k->flat ? 1 : 2, shape, data,
                               &err), &err);
}

static gs_net *make_qlinear(const kind *k, const int8_t *q, const float *scale, const float *offset,
                            const float *bias) {
    gs_error err = {0};
    const int64_t shape[2] = {OUT, IN};
    gs_net *net = gs_new_net("q");
    gs_edge *x = gs_new_input(net, "x", IN, 0, 0);
    gs_attr attr = {.quant = {.scheme = GS_SCHEME_W8A16, .compute = k->compute}};
    gs_node *node = gs_new_node(net, GS_OP_QLINEAR, "l", &attr, x, NULL, NULL);
    assert_ok(gs_net_param_new(net, node, GS_ROLE_WEIGHT, "l.weight", GS_I8, 2, shape, q, &err), &err);
    add_channel(net, node, GS_ROLE_WEIGHT_SCALE, k, scale);
    if (k->offset) add_channel(net, node, GS_ROLE_WEIGHT_OFFSET, k, offset);
    assert_ok(gs_net_param_new(net, node, GS_ROLE_BIAS, "l.bias", GS_F32, 1, shape, bias, &err), &err);
    gs_finish_net(net, node->output);
    return net;
}

static gs_net *make_linear(const float *w, const float *bias) {
    gs_error err = {0};
    const int64_t shape[2] = {OUT, IN};
    gs_net *net = gs_new_net("f");
    gs_edge *x = gs_new_input(net, "x", IN, 0, 0);
    gs_node *node = gs_new_node(net, GS_OP_LINEAR, "l", NULL, x, NULL, NULL);
    assert_ok(gs_net_param_new(net, node, GS_ROLE_WEIGHT, "l.weight", GS_F32, 2, shape, w, &err), &err);
    assert_ok(gs_net_param_new(net, node, GS_ROLE_BIAS, "l.bias", GS_F32, 1, shape, bias, &err), &err);
    gs_finish_net(net, node->output);
    return net;
}

static void fill(uint64_t seed, int8_t *q, float *scale, float *offset, float *bias) {
    for (int i = 0; i < OUT * IN; i++) q[i] = (int8_t)(gs_test_rand(&seed) & 0xff);
    for (int i = 0; i < OUT; i++) {
        scale[i] = 0.01f + 0.009f * gs_test_randf(&seed);
        offset[i] = 20 * gs_test_randf(&seed);
        bias[i] = gs_test_randf(&seed);
    }
}

static void a_quantized_linear_is_its_dequantized_twin(void **state) {
    (void)state;
    const gs_dtype types[] = {GS_F32, GS_F16, GS_BF16};
    int8_t q[OUT * IN];
    float scale[OUT], offset[OUT], bias[OUT], held[OUT], w[OUT * IN], y[ROWS * OUT], want[ROWS * OUT];
    uint64_t seed = 4;
    fill(3, q, scale, offset, bias);
    float *x = gs_random_values(ROWS * IN, &seed);
    for (int c = 0; c < 36; c++) {
        kind k = {types[c % 3], types[c / 3 % 3], c / 9 % 2, c / 18 % 2};
        for (int o = 0; o < OUT; o++) {
            float s = rounded(k.compute, rounded(k.stored, scale[o]));
            float z = k.offset ? rounded(k.compute, rounded(k.stored, offset[o])) : 0;
            for (int i = 0; i < IN; i++) w[o * IN + i] = ((float)q[o * IN + i] - z) * s;
            held[o] = rounded(k.compute, bias[o]);
        }
        gs_net *net = make_qlinear(&k, q, scale, offset, bias), *twin = make_linear(w, held);
        for (int type = 0; type < 2; type++) {
            gs_run_rows(net, (gs_gemm_type)type, ROWS, x, y);
            gs_run_rows(twin, (gs_gemm_type)type, ROWS, x, want);
            assert_memory_equal(y, want, sizeof y);
        }
        gs_net_destroy(net);
        gs_net_destroy(twin);
    }
    free(x);
}

static void scales_that_mean_nothing_are_refused(void **state) {
    (void)state;
    int8_t q[OUT * IN];
    float scale[OUT], offset[OUT], bias[OUT], y[ROWS * OUT], *out = y, x[ROWS * IN] = {0};
    const float *in = x;
    gs_error err = {0};
    gs_batch batch = {.rows = ROWS};
    fill(3, q, scale, offset, bias);
    const struct {
        gs_dtype compute;
        float scale, offset;
    } bad[] = {
        {GS_F32, 0, 0},      {GS_F32, -0.5f, 0},    {GS_F32, NAN, 0},    {GS_F32, INFINITY, 0},
        {GS_F16, 1e-9f, 0} /* 0 in f16 */,          {GS_F16, 1e5f, 0} /* infinite in f16 */,
        {GS_F32, 0.5f, NAN}, {GS_BF16, 0.5f, -INFINITY},
    };
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        kind k = {bad[i].compute, GS_F32, true, false};
        float s = scale[11], z = offset[11];
        scale[11] = bad[i].scale;
        offset[11] = bad[i].offset;
        gs_net *net = make_qlinear(&k, q, scale, offset, bias);
        assert_fails(gs_try_net(net, GS_GEMM_F32, 1, &batch, &in, &out, &err), GS_E_NUMERIC, &err);
        assert_non_null(strstr(err.text, "of row 11 is"));
        gs_net_destroy(net);
        scale[11] = s;
        offset[11] = z;
    }
}

static void shapes_and_types_are_checked(void **state) {
    (void)state;
    int8_t q[OUT * IN];
    float scale[OUT], offset[OUT], bias[OUT];
    gs_error err = {0};
    fill(3, q, scale, offset, bias);
    kind k = {GS_BF16, GS_F32, true, false};
    gs_net *net = make_qlinear(&k, q, scale, offset, bias);
    gs_node *node = gs_net_find(net, "l");
    const int64_t n[2] = {OUT, 1}, swapped[2] = {1, OUT}, fewer[2] = {OUT - 1, 1}, matrix[2] = {OUT, IN};
    const gs_role role = GS_ROLE_WEIGHT_SCALE;

    assert_ok(gs_net_param_new(net, node, role, "s", GS_F32, 2, swapped, NULL, &err), &err);
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    assert_ok(gs_net_param_new(net, node, role, "s", GS_F32, 2, fewer, NULL, &err), &err);
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    assert_ok(gs_net_param_new(net, node, role, "s", GS_I8, 2, n, NULL, &err), &err);
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    assert_ok(gs_net_param_new(net, node, role, "s", GS_F32, 2, n, NULL, &err), &err);
    assert_ok(gs_net_infer(net, &err), &err); /* planned */
    assert_ok(gs_net_param_new(net, node, GS_ROLE_WEIGHT, "w", GS_F32, 2, matrix, NULL, &err), &err);
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    assert_ok(gs_net_param_new(net, node, GS_ROLE_WEIGHT, "w", GS_I8, 2, matrix, NULL, &err), &err);
    node->attr.quant.compute = GS_I32;
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    node->attr.quant.compute = GS_BF16;
    node->attr.quant.scheme = GS_SCHEME_FLOAT;
    assert_fails(gs_net_infer(net, &err), GS_E_UNSUPPORTED, &err);
    gs_net_destroy(net);
}

static void every_failing_allocation_is_survived(void **state) {
    (void)state;
    int8_t q[OUT * IN];
    float scale[OUT], offset[OUT], bias[OUT], y[ROWS * OUT], *out = y, x[ROWS * IN] = {0};
    const float *in = x;
    gs_batch batch = {.rows = ROWS};
    fill(3, q, scale, offset, bias);
    kind k = {GS_BF16, GS_F32, true, false};
    gs_net *net = make_qlinear(&k, q, scale, offset, bias);
    for (int type = 0; type < 2; type++) {
        int64_t n = 0;
        for (;; n++) {
            gs_error err = {0};
            gs_mem_fail_after(n);
            gs_status status = gs_try_net(net, (gs_gemm_type)type, 1, &batch, &in, &out, &err);
            gs_mem_fail_after(-1);
            if (status == GS_OK) break;
            assert_int_equal(status, GS_E_NOMEM);
        }
        assert_true(n > 6);
    }
    gs_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quantized_linear_is_its_dequantized_twin),
        cmocka_unit_test(scales_that_mean_nothing_are_refused),
        cmocka_unit_test(shapes_and_types_are_checked),
        cmocka_unit_test(every_failing_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
