#include <base/mem.h>
#include <math.h>
#include <network/ops/rope_table.h>
#include <tests/support.h>

static const double pi = 3.14159265358979323846;

static gs_attr make_attr(gs_rope_kind kind, double factor) {
    gs_attr attr = {.rope = {.heads = 1, .head_dim = 64, .theta = 500000, .kind = kind, .factor = factor,
                             .low_freq_factor = 1, .high_freq_factor = 4, .original_positions = 8192}};
    return attr;
}

static void angles_are_products_in_single_precision(void **state) {
    (void)state;
    gs_error err = {0};
    gs_attr attr = make_attr(GS_ROPE_PLAIN, 0);
    gs_rope_table t = {0};
    assert_ok(gs_rope_table_init(&t, &attr, &err), &err);
    assert_int_equal(t.half, 32);
    assert_ok(gs_rope_table_grow(&t, NULL, 5000, &err), &err);
    for (int64_t p = 0; p < 5000; p += 37)
        for (int64_t j = 0; j < 32; j++) {
            float inverse = (float)pow(500000, -2.0 * (double)j / 64), angle = (float)p * inverse;
            assert_true(t.inverse[j] == inverse);
            assert_true(t.cosine[p * 32 + j] == (float)cos((double)angle));
            assert_true(t.sine[p * 32 + j] == (float)sin((double)angle));
        }
    gs_rope_table_clear(&t);
}

static void a_table_grows_and_never_shrinks(void **state) {
    (void)state;
    gs_error err = {0};
    gs_attr attr = make_attr(GS_ROPE_PLAIN, 0);
    gs_rope_table t = {0};
    assert_ok(gs_rope_table_init(&t, &attr, &err), &err);
    assert_ok(gs_rope_table_grow(&t, NULL, 10, &err), &err);
    float cosine = t.cosine[9 * 32], sine = t.sine[9 * 32 + 31];
    gs_mem_fail_after(0);
    assert_ok(gs_rope_table_grow(&t, NULL, 7, &err), &err);
    assert_fails(gs_rope_table_grow(&t, NULL, 11, &err), GS_E_NOMEM, &err);
    gs_mem_fail_after(1);
    assert_fails(gs_rope_table_grow(&t, NULL, 11, &err), GS_E_NOMEM, &err);
    gs_mem_fail_after(-1);
    assert_fails(gs_rope_table_grow(&t, NULL, INT64_MAX, &err), GS_E_NOMEM, &err);
    assert_int_equal(t.positions, 10);
    assert_ok(gs_rope_table_grow(&t, NULL, 300, &err), &err);
    assert_int_equal(t.positions, 300);
    assert_true(t.cosine[9 * 32] == cosine && t.sine[9 * 32 + 31] == sine);
    gs_rope_table_clear(&t);
}

static void linear_scaling_divides_every_frequency(void **state) {
    (void)state;
    gs_error err = {0};
    gs_attr attr = make_attr(GS_ROPE_LINEAR, 4);
    gs_rope_table t = {0};
    assert_ok(gs_rope_table_init(&t, &attr, &err), &err);
    for (int64_t j = 0; j < 32; j++)
        assert_true(t.inverse[j] == (float)pow(500000, -2.0 * (double)j / 64) / 4);
    gs_rope_table_clear(&t);
}

/* The three ranges of wavelengths: kept below 8192/4, divided by 32 above 8192/1, between the
 * two in between. */
static void llama3_scaling_slows_long_waves_only(void **state) {
    (void)state;
    gs_error err = {0};
    gs_attr attr = make_attr(GS_ROPE_LLAMA3, 32);
    gs_rope_table t = {0};
    int kept = 0, divided = 0, blended = 0;
    assert_ok(gs_rope_table_init(&t, &attr, &err), &err);
    for (int64_t j = 0; j < 32; j++) {
        float plain = (float)pow(500000, -2.0 * (double)j / 64);
        double wave = 2 * pi / (double)plain;
        if (wave < 2048) {
            assert_true(t.inverse[j] == plain);
            kept++;
        } else if (wave > 8192) {
            assert_true(t.inverse[j] == plain / 32);
            divided++;
        } else {
            double smooth = (8192 / wave - 1) / 3;
            double want = (double)plain / 32 + smooth * ((double)plain - (double)plain / 32);
            assert_true(fabs((double)t.inverse[j] - want) <= 1e-7 * want);
            assert_true(t.inverse[j] < plain && t.inverse[j] > plain / 32);
            blended++;
        }
    }
    assert_true(kept > 8 && divided > 8 && blended >= 2);
    gs_rope_table_clear(&t);
}

/* Figures of the published formula in double, by a program of its own. */
static void yarn_blends_by_dimension(void **state) {
    (void)state;
    gs_error err = {0};
    static const struct { int64_t j; double want; } long_base[] = {
        {0, 1}, {5, 0.1154781984689458}, {10, 0.01333521432163324}, {11, 0.008659643233600653}, {12, 0.005154795480911533},
        {15, 0.0010266176840396614}, {18, 0.00017570687642857595}, {20, 4.445698525097307e-05}, {31, 3.84981631514873e-07}};
    static const struct { int64_t j; double want; } short_base[] = {
        {0, 1}, {20, 0.056234132519034905}, {21, 0.046940859997959404}, {30, 0.00852684377296741},
        {45, 0.00015177160473182487}, {46, 8.334508951020775e-05}, {63, 7.217387404309114e-06}};
    gs_attr attr = {.rope = {.heads = 1, .head_dim = 64, .theta = 1e6, .kind = GS_ROPE_YARN, .factor = 4,
                             .original_positions = 32768}};
    gs_rope_table t = {0};
    assert_ok(gs_rope_table_init(&t, &attr, &err), &err);
    for (size_t i = 0; i < GS_COUNTOF(long_base); i++)
        assert_true(fabs((double)t.inverse[long_base[i].j] / long_base[i].want - 1) <= 2e-7);
    gs_rope_table_clear(&t);
    attr = (gs_attr){.rope = {.heads = 1, .head_dim = 160, .rotary_dim = 128, .theta = 1e4, .kind = GS_ROPE_YARN, .factor = 16,
                              .beta_fast = 32, .beta_slow = 1, .attention_factor = 0.75, .original_positions = 4096}};
    assert_ok(gs_rope_table_init(&t, &attr, &err), &err);
    assert_true(t.half == 64 && t.amplitude == 0.75f);
    for (size_t i = 0; i < GS_COUNTOF(short_base); i++)
        assert_true(fabs((double)t.inverse[short_base[i].j] / short_base[i].want - 1) <= 2e-7);
    gs_rope_table_clear(&t);
}

static void dynamic_scaling_grows_the_base(void **state) {
    (void)state;
    gs_attr attr = {.rope = {.heads = 1, .head_dim = 16, .theta = 1e4, .kind = GS_ROPE_DYNAMIC, .factor = 2,
                             .original_positions = 8}};
    gs_attr plain = gs_rope_stretched(&attr, 20);
    assert_int_equal(plain.rope.kind, GS_ROPE_PLAIN);
    assert_true(fabs(plain.rope.theta / 48760.54616817902 - 1) <= 1e-12);
    attr.rope.head_dim = 80;
    attr.rope.rotary_dim = 64;
    attr.rope.factor = 4;
    attr.rope.original_positions = 2048;
    assert_true(fabs(gs_rope_stretched(&attr, 8192).rope.theta / 141213.75739786727 - 1) <= 1e-12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(angles_are_products_in_single_precision),
        cmocka_unit_test(a_table_grows_and_never_shrinks),
        cmocka_unit_test(linear_scaling_divides_every_frequency),
        cmocka_unit_test(llama3_scaling_slows_long_waves_only),
        cmocka_unit_test(yarn_blends_by_dimension),
        cmocka_unit_test(dynamic_scaling_grows_the_base),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
