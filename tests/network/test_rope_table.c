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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(angles_are_products_in_single_precision),
        cmocka_unit_test(a_table_grows_and_never_shrinks),
        cmocka_unit_test(linear_scaling_divides_every_frequency),
        cmocka_unit_test(llama3_scaling_slows_long_waves_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
