/* The arithmetic that row_quant.h promises, against its own words and against what Golden
 * Stick really wrote. */
#include "../support.h"

#include <base/half.h>
#include <kernels/isa.h>
#include <loaders/safetensors.h>
#include <math.h>
#include <ptq/row_quant.h>

static void the_ascend_scale_is_the_maximum_over_127(void **state) {
    (void)state;
    assert_true(gs_row_scale(GS_SCALE_ASCEND, GS_F32, 1.0f) == 1.0f / 127.0f);
    assert_true(gs_row_scale(GS_SCALE_ASCEND, GS_F32, 0.0f) == 0x1p-23f);
    assert_true(gs_row_scale(GS_SCALE_ASCEND, GS_F32, 1e-30f) == 0x1p-23f);
}

static void a_scale_is_rounded_to_what_it_is_stored_in(void **state) {
    (void)state;
    float s = gs_row_scale(GS_SCALE_ASCEND, GS_BF16, 1.0f);
    assert_true(s == gs_bf16_to_f32(gs_f32_to_bf16(1.0f / 127.0f)));
    assert_true(s != 1.0f / 127.0f);
    s = gs_row_scale(GS_SCALE_ASCEND, GS_F16, 1.0f);
    assert_true(s == gs_f16_to_f32(gs_f32_to_f16(1.0f / 127.0f)));
    assert_true(s != 1.0f / 127.0f);
    float small = gs_row_scale(GS_SCALE_ASCEND, GS_F16, 0.004f); /* 3.1e-5: a subnormal of f16 */
    /* upwards, so that the largest weight is not clipped */
    assert_true(small > 0.004f / 127.0f && small < 0.004f / 127.0f + 0x1p-24f);
    assert_true(small == gs_f16_to_f32(gs_f32_to_f16(small)));
}

static void the_goldenstick_scale_is_twice_the_maximum_over_255(void **state) {
    (void)state;
    for (int i = 1; i < 1000; i++) {
        float m = (float)i * 0.0137f;
        assert_true(gs_row_scale(GS_SCALE_GOLDENSTICK, GS_F32, m) == (float)(2.0 * (double)m / 255.0));
    }
    assert_true(gs_row_scale(GS_SCALE_GOLDENSTICK, GS_F32, 0.0f) == 1.0f);
}

static void codes_round_half_to_even_and_saturate(void **state) {
    (void)state;
    /* scale exactly 1: the row's maximum is 127 */
    const float w[] = {127.0f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, -127.0f, -0.0f, 0.49999997f, 126.5f};
    const int8_t want[] = {127, 0, 2, 2, 0, -2, -2, -127, 0, 0, 126};
    enum { N = GS_COUNTOF(w) };
    int8_t q[N];
    float scale, scratch[N];
    gs_row_stats stats = {0};
    assert_true(gs_row_quantize(&(gs_row_rule){.convention = GS_SCALE_ASCEND, .compute = GS_F32}, N, w, q, &scale, scratch, &stats));
    assert_true(scale == 1.0f);
    assert_memory_equal(q, want, sizeof want);
    assert_int_equal(stats.rows, 1);
    assert_true(stats.max_error == 0.5);
    /* goldenstick: +m is 127.5 and saturates, -m is -127.5 and becomes -128 */
    const float pair[] = {3.0f, -3.0f};
    int8_t two[2];
    stats = (gs_row_stats){0};
    assert_true(gs_row_quantize(&(gs_row_rule){.convention = GS_SCALE_GOLDENSTICK, .compute = GS_F32}, 2, pair, two, &scale, scratch, &stats));
    assert_int_equal(two[0], 127);
    assert_int_equal(two[1], -128);
    assert_int_equal(stats.saturated, 1);
}

static void a_zero_row_has_zero_codes_and_a_usable_scale(void **state) {
    (void)state;
    const float w[5] = {0, -0.0f, 0, 0, 0};
    int8_t q[5] = {1, 1, 1, 1, 1};
    float scale = 0, scratch[5];
    gs_row_stats stats = {0};
    assert_true(gs_row_quantize(&(gs_row_rule){.convention = GS_SCALE_ASCEND, .compute = GS_F16}, 5, w, q, &scale, scratch, &stats));
    for (int i = 0; i < 5; i++) assert_int_equal(q[i], 0);
    assert_true(scale == 0x1p-23f);
    assert_int_equal(stats.zero_rows, 1);
}

/* A format with f16 scales, in a bundle of any dtype. */
static void the_formats_dtype_of_scales_comes_first(void **state) {
    (void)state;
    static const gs_dtype compute[] = {GS_F32, GS_F16, GS_BF16};
    const float w[3] = {0.3f, -1.0f, 0.7f}, large[3] = {1e8f, -1, 0};
    for (size_t i = 0; i < GS_COUNTOF(compute); i++) {
        gs_row_rule rule = {.convention = GS_SCALE_ASCEND, .compute = compute[i], .scale_dtype = GS_F16};
        gs_row_stats stats = {0};
        int8_t q[3];
        float s, scratch[3];
        assert_true(gs_row_quantize(&rule, 3, w, q, &s, scratch, &stats));
        assert_true(s == gs_f16_to_f32(gs_f32_to_f16(1.0f / 127.0f)));
        for (int k = 0; k < 3; k++) assert_int_equal(q[k], (int)rintf(w[k] / s));
        assert_false(gs_row_quantize(&rule, 3, large, q, &s, scratch, &stats)); /* its scale is no f16 */
    }
}

static void a_group_is_quantized_as_a_row_of_its_own(void **state) {
    (void)state;
    enum { N = 96, G = 32 };
    uint64_t seed = 77;
    gs_row_rule rule = {.convention = GS_SCALE_ASCEND, .compute = GS_F32};
    for (int round = 0; round < 50; round++) {
        float w[N], scale[N / G], s, scratch[N];
        int8_t q[N], want[G];
        gs_row_stats stats = {0}, one = {0};
        bool dead = round % 10 == 0; /* the whole row; else its last group */
        for (int i = 0; i < N; i++) w[i] = dead || i >= 2 * G ? 0 : gs_test_randf(&seed);
        assert_true(gs_row_quantize_groups(&rule, N, G, w, q, scale, scratch, &stats));
        for (int g = 0; g < N / G; g++) {
            assert_true(gs_row_quantize(&rule, G, w + g * G, want, &s, scratch, &one));
            assert_true(s == scale[g]);
            assert_memory_equal(want, q + g * G, G);
        }
        assert_int_equal(stats.rows, 1);
        assert_int_equal(stats.zero_rows, dead);
        assert_true(stats.error_square == one.error_square && stats.scale_min == one.scale_min);
    }
    float w[4] = {1, 2, 3, NAN}, scale[2], scratch[4];
    int8_t q[4];
    assert_false(gs_row_quantize_groups(&rule, 4, 2, w, q, scale, scratch, &(gs_row_stats){0}));
}

static void nan_and_infinity_are_refused(void **state) {
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        float w[4] = {1, 2, bad[i], 3}, scale = 7, scratch[4];
        int8_t q[4] = {9, 9, 9, 9};
        gs_row_stats stats = {0};
        assert_false(gs_row_quantize(&(gs_row_rule){.convention = GS_SCALE_ASCEND, .compute = GS_F32}, 4, w, q, &scale, scratch, &stats));
        assert_int_equal(q[0], 9);
        assert_true(scale == 7);
    }
}

/* Every dequantized weight lies within half a step of its source (ascend: nothing is clipped). */
static void the_error_is_at_most_half_a_step(void **state) {
    (void)state;
    uint64_t seed = 20;
    enum { N = 333 };
    float w[N], scratch[N], scale;
    int8_t q[N];
    static const gs_dtype compute[] = {GS_F32, GS_F16, GS_BF16};
    for (int round = 0; round < 300; round++) {
        float size = ldexpf(1.0f, (int)(gs_test_rand(&seed) % 30) - 15);
        for (int i = 0; i < N; i++) w[i] = size * gs_test_randf(&seed);
        gs_row_stats stats = {0};
        assert_true(gs_row_quantize(&(gs_row_rule){.convention = GS_SCALE_ASCEND, .compute = compute[round % 3]}, N, w, q, &scale, scratch, &stats));
        for (int i = 0; i < N; i++) {
            double error = fabs((double)w[i] - (double)q[i] * (double)scale);
            /* the f32 quotient is off by 2^-24 of itself, at most 127 */
            assert_true(error <= 0.50001 * (double)scale);
        }
    }
}

static const gs_tensor *need(const gs_safetensors *st, const char *stem, const char *suffix) {
    char name[256];
    snprintf(name, sizeof name, "%s.%s", stem, suffix);
    const gs_tensor *t = gs_safetensors_find(st, name);
    if (!t) fail_msg("%s is not in the reference", name);
    return t;
}

/* The f32 rows of Golden Stick's own outputs: scales and codes bit for bit, but for the rows that
 * are all zero, where its codes are undefined (0/0). */
static void compare_with_golden_stick(const gs_safetensors *st, const char *stem, const gs_tensor *w,
                                      int *rows_seen) {
    gs_error err = {0};
    char key[160];
    snprintf(key, sizeof key, "%s.w8_pc_sym", stem);
    const gs_tensor *q = need(st, key, "q"), *s = need(st, key, "scale");
    int64_t rows, cols;
    gs_tensor_matrix(w, &rows, &cols);
    float *x = malloc((size_t)cols * sizeof *x), *scratch = malloc((size_t)cols * sizeof *x), want, scale;
    int8_t *codes = malloc((size_t)cols);
    bool all_constant = true; /* rule 4 of the reference: scale 1 for the whole tensor */
    for (int64_t r = 0; r < rows; r++) {
        assert_ok(gs_tensor_read_f32(w, r, 1, x, &err), &err);
        for (int64_t i = 1; i < cols; i++) all_constant &= x[i] == x[0];
    }
    for (int64_t r = 0; r < rows && !all_constant; r++) {
        gs_row_stats stats = {0};
        assert_ok(gs_tensor_read_f32(w, r, 1, x, &err), &err);
        assert_true(gs_row_quantize(&(gs_row_rule){.convention = GS_SCALE_GOLDENSTICK, .compute = GS_F32}, cols, x, codes, &scale, scratch, &stats));
        if (stats.zero_rows) continue;
        memcpy(&want, s->data + 4 * r, 4);
        if (memcmp(&want, &scale, 4) != 0) fail_msg("%s row %d: scale %.9g, wanted %.9g", stem, (int)r, (double)scale, (double)want);
        assert_memory_equal(codes, q->data + r * cols, (size_t)cols);
        ++*rows_seen;
    }
    free(x);
    free(scratch);
    free(codes);
}

/* "stories260K_l0_mlp_down_proj": the weights are the model's own, not repeated there. */
static const gs_tensor *weights_of(const gs_safetensors *model, const char *stem) {
    char name[256], *underscore;
    const char *linear = stem + strlen("stories260K_l0_");
    snprintf(name, sizeof name, "model.layers.0.%.*s.weight", (int)strcspn(linear, "."), linear);
    underscore = strstr(name, "mlp_") ? strstr(name, "mlp_") + 3 : strstr(name, "attn_") + 4;
    *underscore = '.';
    const gs_tensor *t = gs_safetensors_find(model, name);
    if (!t) fail_msg("%s is not in the model", name);
    return t;
}

static void golden_sticks_own_rows_come_out_bit_for_bit(void **state) {
    (void)state;
    static const char *const files[] = {"reference/goldenstick/rtn/rtn_synthetic.safetensors",
                                        "reference/goldenstick/rtn/rtn_stories260K_layer0.safetensors"};
    gs_need_data(model_path, "data/lm/stories260K-hf-llama/model.safetensors");
    gs_error model_err = {0};
    gs_safetensors *model;
    assert_ok(gs_safetensors_open(model_path, &model, &model_err), &model_err);
    int rows = 0;
    for (size_t f = 0; f < GS_COUNTOF(files); f++) {
        gs_need_data(path, files[f]);
        gs_error err = {0};
        gs_safetensors *st;
        assert_ok(gs_safetensors_open(path, &st, &err), &err);
        for (size_t i = 0; i < gs_safetensors_count(st); i++) {
            const char *name = gs_safetensors_at(st, i)->name, *end = strstr(name, ".f32.w8_pc_sym.q");
            char stem[128];
            if (!end || strcmp(end, ".f32.w8_pc_sym.q") != 0) continue;
            snprintf(stem, sizeof stem, "%.*s.f32", (int)(end - name), name);
            compare_with_golden_stick(st, stem, f ? weights_of(model, stem) : need(st, stem, "w"), &rows);
        }
        gs_safetensors_close(st);
    }
    gs_safetensors_close(model);
    print_message("%d rows\n", rows);
    assert_true(rows > 500);
}

int main(void) {
    const char *forced = getenv("GSTICK_ISA");
    if (forced && strcmp(gs_isa_name(gs_isa_selected()), forced) != 0) return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_ascend_scale_is_the_maximum_over_127),
        cmocka_unit_test(a_scale_is_rounded_to_what_it_is_stored_in),
        cmocka_unit_test(the_goldenstick_scale_is_twice_the_maximum_over_255),
        cmocka_unit_test(codes_round_half_to_even_and_saturate),
        cmocka_unit_test(a_zero_row_has_zero_codes_and_a_usable_scale),
        cmocka_unit_test(the_formats_dtype_of_scales_comes_first),
        cmocka_unit_test(a_group_is_quantized_as_a_row_of_its_own),
        cmocka_unit_test(nan_and_infinity_are_refused),
        cmocka_unit_test(the_error_is_at_most_half_a_step),
        cmocka_unit_test(golden_sticks_own_rows_come_out_bit_for_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
