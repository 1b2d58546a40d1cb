/* A linear whose rows are normalised: against double precision, in f32 and bf16, from every float type. */
#include "nets.h"

#include <base/half.h>
#include <math.h>
#include <network/scaling.h>

enum { OUT = 45, IN = 67, ROWS = 19 };

/* Weights of very different rows, one of them zero, one tiny; as the param reads them in `wide`. */
static gs_net *make_net(gs_dtype dtype, float *wide) {
    gs_error err = {0};
    uint64_t seed = 31;
    uint16_t half[OUT * IN];
    const int64_t shape[2] = {OUT, IN};
    gs_attr attr = {0};
    gs_net *net = gs_new_net("n");
    attr.linear.normalize_rows = true;
    gs_node *node = gs_new_node(net, GS_OP_LINEAR, "head", &attr, gs_new_input(net, "x", IN, 0, 0), NULL, NULL);
    for (int r = 0; r < OUT; r++)
        for (int c = 0; c < IN; c++) {
            float x = r == 3 ? 0 : gs_test_randf(&seed) * (r == 4 ? 1e-14f : (float)(r + 1));
            half[r * IN + c] = dtype == GS_F16 ? gs_f32_to_f16(x) : gs_f32_to_bf16(x);
            wide[r * IN + c] = dtype == GS_F32 ? x : dtype == GS_F16 ? gs_f16_to_f32(half[r * IN + c]) : gs_bf16_to_f32(half[r * IN + c]);
        }
    assert_ok(gs_net_param_new(net, node, GS_ROLE_WEIGHT, "head.weight", dtype, 2, shape, dtype == GS_F32 ? (void *)wide : half, &err), &err);
    gs_finish_net(net, node->output);
    return net;
}

static void model(const float *wide, const float *x, float *y) {
    for (int o = 0; o < OUT; o++) {
        double square = 0;
        for (int c = 0; c < IN; c++) square += (double)wide[o * IN + c] * (double)wide[o * IN + c];
        double norm = fmax(sqrt(square), 1e-12);
        for (int r = 0; r < ROWS; r++) {
            double sum = 0;
            for (int c = 0; c < IN; c++) sum += (double)x[r * IN + c] * (double)wide[o * IN + c] / norm;
            y[r * OUT + o] = (float)sum;
        }
    }
}

static void rows_have_unit_length(void **state) {
    (void)state;
    const gs_dtype types[] = {GS_F32, GS_F16, GS_BF16};
    for (size_t t = 0; t < GS_COUNTOF(types); t++) {
        gs_error err = {0};
        uint64_t seed = 32;
        static float wide[OUT * IN];
        float want[ROWS * OUT], y[ROWS * OUT], first[ROWS * OUT], *out = y;
        gs_net *net = make_net(types[t], wide);
        float *x = gs_random_values(ROWS * IN, &seed);
        const float *in = x;
        gs_batch batch = {.rows = ROWS};
        model(wide, x, want);
        for (int type = 0; type < 2; type++)
            for (int threads = 1; threads <= 3; threads++) {
                assert_ok(gs_try_net(net, (gs_gemm_type)type, threads, &batch, &in, &out, &err), &err);
                gs_assert_close(ROWS * OUT, y, want, type ? 1e-2 : 1e-6);
                if (threads == 1) memcpy(first, y, sizeof first);
                assert_memory_equal(first, y, sizeof first);
            }
        for (int r = 0; r < ROWS; r++) assert_true(y[r * OUT + 3] == 0);
        free(x);
        gs_net_destroy(net);
    }
}

/* The reads the head's own stream uses: any block of rows gives the same, and 16 bits are rounded from f32. */
static void blocks_of_rows_are_the_same_rows(void **state) {
    (void)state;
    gs_error err = {0};
    static float wide[OUT * IN], all[OUT * IN], some[7 * IN];
    static uint16_t half[OUT * IN], few[7 * IN];
    gs_net *net = make_net(GS_F32, wide);
    const gs_param *p = gs_net_node(net, 0)->param[GS_ROLE_WEIGHT];
    assert_ok(gs_param_read_unit_f32(p, 0, OUT, all, &err), &err);
    assert_ok(gs_param_read_unit_f32(p, 11, 7, some, &err), &err);
    assert_memory_equal(some, all + 11 * IN, sizeof some);
    for (int i = 0; i < 2; i++) {
        gs_dtype dtype = i ? GS_F16 : GS_BF16;
        assert_ok(gs_param_read_unit_16(p, dtype, 0, OUT, half, &err), &err);
        assert_ok(gs_param_read_unit_16(p, dtype, 11, 7, few, &err), &err);
        assert_memory_equal(few, half + 11 * IN, sizeof few);
        for (int j = 0; j < OUT * IN; j++) assert_int_equal(half[j], i ? gs_f32_to_f16(all[j]) : gs_f32_to_bf16(all[j]));
    }
    assert_fails(gs_param_read_unit_16(p, GS_F32, 0, 1, half, &err), GS_E_INVALID, &err);
    gs_mem_fail_after(0);
    assert_fails(gs_param_read_unit_16(p, GS_BF16, 0, 1, half, &err), GS_E_NOMEM, &err);
    gs_mem_fail_after(-1);
    gs_net_destroy(net);
}

static void it_carries_no_factors_and_says_so(void **state) {
    (void)state;
    gs_error err = {0};
    static float wide[OUT * IN];
    gs_scale_site site;
    char reason[96];
    gs_net *net = make_net(GS_F32, wide);
    assert_ok(gs_scale_site_find(net, gs_net_output_at(net, 0), &site, reason, &err), &err);
    assert_null(site.node);
    assert_string_equal(reason, "the output of linear cannot be rescaled");
    gs_scale_site_clear(&site);
    char *text = gs_net_text(net);
    assert_non_null(strstr(text, "\"head\" rows normalized weight F32[45, 67]"));
    free(text);
    gs_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_have_unit_length),
        cmocka_unit_test(blocks_of_rows_are_the_same_rows),
        cmocka_unit_test(it_carries_no_factors_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
