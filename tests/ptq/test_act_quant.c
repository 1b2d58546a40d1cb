/* Static int8 activations: the formulas of act_quant.h on tables, against exact integer arithmetic, and the
 * micro-oracles 11 to 13 of golden-stick.md 7.1. */
#include "../support.h"

#include <base/half.h>
#include <kernels/gemm/gemm_s8.h>
#include <kernels/kernels.h>
#include <math.h>
#include <ptq/act_quant.h>

static const float LEAST = 0x1p-23f;

static void an_asymmetric_range_includes_zero_and_takes_two_divisions(void **state) {
    (void)state;
    static const struct {
        float min, max, low, high; /* as given, and with zero */
    } table[] = {
        {-1, 1, -1, 1},           {-4.7154512f, 5.3921919f, -4.7154512f, 5.3921919f}, {0.25f, 3, 0, 3}, {-3, -0.25f, -3, 0},
        {0, 255, 0, 255},         {-255, 0, -255, 0}, {-1e30f, 1e30f, -1e30f, 1e30f}, {-1e-3f, 700, -1e-3f, 700},
        {-700, 1e-3f, -700, 1e-3f},
    };
    for (size_t i = 0; i < GS_COUNTOF(table); i++) {
        gs_act_params p = gs_act_params_from_range(table[i].min, table[i].max, false, GS_F32);
        float s = table[i].high / 255.0f - table[i].low / 255.0f;
        assert_true(p.scale == s);
        assert_true(p.offset == rintf(-table[i].low / s) - 128.0f);
        assert_true(p.offset >= -128 && p.offset <= 127 && p.offset == rintf(p.offset));
        /* zero is exact, both ends are within a step */
        float ends[2] = {table[i].low, table[i].high};
        for (int e = 0; e < 2; e++) {
            float code = fminf(fmaxf(rintf(ends[e] / p.scale + p.offset), -128), 127);
            assert_true(fabsf((code - p.offset) * p.scale - ends[e]) <= 1.01f * p.scale);
        }
    }
    uint64_t seed = 2;
    int differ = 0; /* from one division of the whole width */
    for (int i = 0; i < 1000; i++) {
        float low = -fabsf(gs_test_randf(&seed)), high = 3 * fabsf(gs_test_randf(&seed)), s = high / 255.0f - low / 255.0f;
        assert_true(gs_act_params_from_range(low, high, false, GS_F32).scale == s);
        differ += s != (high - low) / 255.0f;
    }
    assert_true(differ > 100);
    assert_true(gs_act_params_from_range(0.25f, 3, false, GS_F32).offset == -128);
    assert_true(gs_act_params_from_range(-3, -0.25f, false, GS_F32).offset == 127);
}

static void a_symmetric_range_has_no_offset(void **state) {
    (void)state;
    static const struct {
        float min, max, most;
    } table[] = {{-1, 2, 2}, {-3, 2, 3}, {0.5f, 0.75f, 0.75f}, {-0.75f, -0.5f, 0.75f}};
    for (size_t i = 0; i < GS_COUNTOF(table); i++) {
        gs_act_params p = gs_act_params_from_range(table[i].min, table[i].max, true, GS_F32);
        assert_true(p.scale == table[i].most / 127.0f);
        assert_true(p.offset == 0);
    }
}

static void a_value_that_is_always_zero_gets_a_scale_that_every_consumer_can_invert(void **state) {
    (void)state;
    static const gs_dtype dtypes[] = {GS_F32, GS_BF16, GS_F16};
    for (size_t i = 0; i < GS_COUNTOF(dtypes); i++)
        for (int symmetric = 0; symmetric < 2; symmetric++)
            for (float m = 0; m < 1; m = m > 0 ? 3 * m : 1e-20f) {
                gs_act_params p = gs_act_params_from_range(-m, m, symmetric, dtypes[i]);
                float r = gs_round_to(dtypes[i], 1.0f / p.scale);
                assert_true(p.scale >= LEAST && gs_round_to(dtypes[i], p.scale) == p.scale);
                if (!isfinite(r) || r <= 0) fail_msg("range %g, dtype %d: 1 / %g is %g", (double)m, (int)dtypes[i], (double)p.scale, (double)r);
                if (m == 0) assert_true(p.offset == (symmetric ? 0 : -128));
            }
    assert_true(gs_act_params_from_range(0, 0, false, GS_F32).scale == LEAST);
    assert_true(gs_act_params_from_range(0, 0, true, GS_BF16).scale == LEAST);
}

static void the_scale_is_one_that_the_consumers_dtype_can_hold(void **state) {
    (void)state;
    uint64_t seed = 5;
    for (int i = 0; i < 20000; i++) {
        float size = ldexpf(1.0f, (int)(gs_test_rand(&seed) % 30) - 15);
        float a = size * gs_test_randf(&seed), b = size * gs_test_randf(&seed), lo = fminf(a, b), hi = fmaxf(a, b);
        gs_act_params wide = gs_act_params_from_range(lo, hi, i % 2, GS_F32);
        gs_act_params bf16 = gs_act_params_from_range(lo, hi, i % 2, GS_BF16);
        gs_act_params f16 = gs_act_params_from_range(lo, hi, i % 2, GS_F16);
        assert_true(bf16.scale == fmaxf(gs_bf16_to_f32(gs_f32_to_bf16(wide.scale)), LEAST));
        assert_true(f16.scale == gs_f16_to_f32(gs_f32_to_f16(f16.scale)));
        if (wide.scale >= 0x1p-14f) assert_true(f16.scale == gs_f16_to_f32(gs_f32_to_f16(wide.scale)));
        else assert_true(f16.scale >= wide.scale); /* up: the largest value is not clipped by many steps */
        assert_true(bf16.offset >= -128 && bf16.offset <= 127 && f16.offset >= -128 && f16.offset <= 127);
    }
}

static void scales_below_the_normals_of_f16_are_rounded_up(void **state) {
    (void)state;
    assert_true(gs_round_scale(GS_F16, 0x1p-24f) == 0x1p-24f);
    assert_true(gs_round_scale(GS_F16, 0x1.000002p-24f) == 0x1p-23f);
    assert_true(gs_round_scale(GS_F16, 0x1.fffffep-15f) == 0x1p-14f);
    assert_true(gs_round_scale(GS_F16, 0x1.001p-14f) == 0x1p-14f); /* a normal one: to nearest even */
    assert_true(gs_round_scale(GS_BF16, 0x1.01p-20f) == 0x1p-20f);
    assert_true(gs_round_scale(GS_F32, 1e-30f) == 1e-30f);
    assert_true(gs_round_to(GS_F16, 0x1p-25f) == 0);
    assert_true(gs_round_to(GS_BF16, 1.0f / 3) == gs_bf16_to_f32(gs_f32_to_bf16(1.0f / 3)));
    assert_true(gs_round_to(GS_F32, 1.0f / 3) == 1.0f / 3);
}

enum { K = 777 };

static void constants_are_exact_in_64_bits(void **state) {
    (void)state;
    uint64_t seed = 9;
    gs_error err = {0};
    for (int round = 0; round < 500; round++) {
        int8_t q[K];
        int64_t sum = 0;
        for (int i = 0; i < K; i++) sum += q[i] = (int8_t)(gs_test_rand(&seed) % 256 - 128);
        gs_act_params act = {fabsf(gs_test_randf(&seed)) + 1e-3f, (float)((int)(gs_test_rand(&seed) % 256) - 128)};
        float weight = fabsf(gs_test_randf(&seed)) * 0.01f + 1e-6f, bias = round % 3 ? 10 * gs_test_randf(&seed) : 0, deq;
        int32_t quant_bias;
        assert_ok(gs_static_constants(act, weight, bias, K, q, "w", round, &deq, &quant_bias, &err), &err);
        assert_true(deq == act.scale * weight);
        assert_int_equal(quant_bias, (int64_t)llrintf(bias / deq) - (int64_t)act.offset * sum);
    }
}

static gs_status constants(float scale, float offset, float weight, float bias, int64_t k, int8_t code, int32_t *out,
                           gs_error *err) {
    int8_t *q = malloc((size_t)k);
    float deq;
    assert_non_null(q);
    memset(q, code, (size_t)k);
    gs_status status = gs_static_constants((gs_act_params){scale, offset}, weight, bias, k, q, "proj", 41, &deq, out, err);
    free(q);
    return status;
}

static void what_could_overflow_its_accumulator_is_refused(void **state) {
    (void)state;
    gs_error err = {0};
    int32_t b = 7;
    /* |offset| sum |q| + 128 sum |q|: 2^31 is met at k = 65536 by q = -128 with offset -128 */
    assert_ok(constants(1, -128, 1, 0, 65535, -128, &b, &err), &err);
    assert_int_equal(b, -128 * 128 * 65535);
    b = 7;
    assert_fails(constants(1, -128, 1, 0, 65536, -128, &b, &err), GS_E_NUMERIC, &err);
    assert_int_equal(b, 7);
    assert_non_null(strstr(err.text, "'proj' row 41"));
    assert_ok(constants(1, 0, 1, 0, 131071, -128, &b, &err), &err);
    assert_fails(constants(1, 0, 1, 0, 131072, -128, &b, &err), GS_E_NUMERIC, &err);
    /* the bias takes its share: room for 2^31 - 1 - 128 */
    assert_ok(constants(1, 0, 1, 2147483392, 1, 1, &b, &err), &err);
    assert_int_equal(b, 2147483392);
    assert_fails(constants(1, 0, 1, 2147483392, 3, 1, &b, &err), GS_E_NUMERIC, &err);
    const float bad[] = {0x1p31f, -0x1p31f, 1e30f, INFINITY, -INFINITY, NAN};
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) assert_fails(constants(1, 0, 1, bad[i], 1, 1, &b, &err), GS_E_NUMERIC, &err);
    assert_fails(constants(1e-30f, 0, 1e-30f, 0, 1, 1, &b, &err), GS_E_NUMERIC, &err);
    assert_fails(constants(1e30f, 0, 1e30f, 0, 1, 1, &b, &err), GS_E_NUMERIC, &err);
    assert_fails(constants(NAN, 0, 1, 0, 1, 1, &b, &err), GS_E_NUMERIC, &err);
    assert_fails(constants(1, 0, -1, 0, 1, 1, &b, &err), GS_E_NUMERIC, &err);
}

/* y [2, 2] of codes x [2, 2] and w [2, 2] (as stored, [out, in]). */
static void product(const int8_t *x, const int8_t *w, const float *deq, const int32_t *bias, float *y) {
    gs_error err = {0};
    gs_gemm_s8_weight *weight;
    gs_gemm_s8_epilogue e = {.bias = bias, .scale = deq, .round = GS_F32};
    assert_ok(gs_gemm_s8_weight_create(2, 2, w, NULL, NULL, &weight, &err), &err);
    assert_ok(gs_gemm_s8_run(NULL, weight, 2, x, 2, &e, y, 2, &err), &err);
    gs_gemm_s8_weight_destroy(weight);
}

static void the_micro_oracles_of_golden_stick_come_out(void **state) {
    (void)state;
    gs_error err = {0};
    const gs_kernels *k = gs_kernels_get();
    /* 11: x / smooth, then the static quantizer */
    const float x11[4] = {0.1f / 0.6f, 1 / 0.3f, 0.5f / 0.6f, 2.4f / 0.3f};
    const int8_t want11[4] = {-10, -3, -8, 6};
    int8_t q[4];
    k->quantize_affine_s8(4, x11, 1 / 0.5f, -10, q);
    assert_memory_equal(q, want11, sizeof want11);
    /* 12: codes times codes, rescaled */
    const int8_t x12[4] = {3, 1, 2, 5}, w12[4] = {100, 10, 120, 25};
    const float deq12[2] = {0.15f, 0.081f}, want12[4] = {46.5f, 31.185f, 37.5f, 29.565f};
    float y[4];
    product(x12, w12, deq12, NULL, y);
    for (int i = 0; i < 4; i++) assert_true(fabsf(y[i] - want12[i]) <= 1e-5f);
    /* 13: everything, with bias 1. The original truncates bias / deq; rounding it is nearer to the float result */
    const float x13[4] = {1, 10, 12, 14}, w13[2][2] = {{2, 1}, {4, 3}}, sw[2] = {0.5f, 0.7f};
    const float plain[4] = {13, 35, 39, 91}, theirs[4] = {13, 32.9f, 39, 90.3f};
    gs_act_params act = {0.5f, 10};
    int8_t codes[2][2];
    float deq[2];
    int32_t bias[2];
    k->quantize_affine_s8(4, x13, 1 / act.scale, act.offset, q);
    for (int n = 0; n < 2; n++) {
        k->quantize_s8(2, w13[n], sw[n], codes[n]);
        assert_ok(gs_static_constants(act, sw[n], 1, 2, codes[n], "w", n, &deq[n], &bias[n], &err), &err);
    }
    product(q, codes[0], deq, bias, y);
    for (int i = 0; i < 4; i++) {
        assert_true(fabsf(y[i] - theirs[i]) <= deq[i % 2] * 1.0001f); /* a truncated step */
        assert_true(fabsf(y[i] - plain[i]) <= 0.07f * plain[i]);
        assert_true(fabsf(y[i] - plain[i]) <= fabsf(theirs[i] - plain[i]) + 1e-4f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_asymmetric_range_includes_zero_and_takes_two_divisions),
        cmocka_unit_test(a_symmetric_range_has_no_offset),
        cmocka_unit_test(a_value_that_is_always_zero_gets_a_scale_that_every_consumer_can_invert),
        cmocka_unit_test(the_scale_is_one_that_the_consumers_dtype_can_hold),
        cmocka_unit_test(scales_below_the_normals_of_f16_are_rounded_up),
        cmocka_unit_test(constants_are_exact_in_64_bits),
        cmocka_unit_test(what_could_overflow_its_accumulator_is_refused),
        cmocka_unit_test(the_micro_oracles_of_golden_stick_come_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
