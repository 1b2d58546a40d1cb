#include "../support.h"

#include "../golden/dequant_golden.h"

#include <base/half.h>
#include <loaders/dequant.h>

#include <math.h>

typedef struct golden {
    gs_dtype dtype;
    const uint8_t *bytes;
    size_t nbytes;
    const uint32_t *bits;
    int64_t n;
} golden;

#define ROW(t)                                                                 \
    {GS_##t, golden_##t##_bytes, sizeof golden_##t##_bytes, golden_##t##_f32,  \
     (int64_t)GS_COUNTOF(golden_##t##_f32)}

static const golden goldens[] = {
    ROW(Q8_0), ROW(Q4_0), ROW(Q4_1), ROW(Q5_0), ROW(Q5_1),
    ROW(Q2_K), ROW(Q3_K), ROW(Q4_K), ROW(Q5_K), ROW(Q6_K),
};

enum { MAX_ELEMENTS = 1024, MAX_BYTES = 1024 };

static void expect_bits(const golden *g, const float *got, int64_t from, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (gs_f32_bits(got[i]) != g->bits[from + i])
            fail_msg("%s element %lld: %a, reference %a", gs_dtype_name(g->dtype),
                     (long long)(from + i), (double)got[i],
                     (double)gs_f32_from_bits(g->bits[from + i]));
}

static void every_format_equals_the_reference_bit_for_bit(void **state) {
    (void)state;
    for (size_t k = 0; k < GS_COUNTOF(goldens); k++) {
        float out[MAX_ELEMENTS];
        assert_true(goldens[k].n <= MAX_ELEMENTS);
        assert_true(gs_dequant_row(goldens[k].dtype, goldens[k].n, goldens[k].bytes, out));
        expect_bits(&goldens[k], out, 0, goldens[k].n);
    }
}

static void the_source_may_lie_at_any_address(void **state) {
    (void)state;
    for (size_t k = 0; k < GS_COUNTOF(goldens); k++) {
        for (size_t shift = 1; shift < 4; shift++) {
            uint8_t bytes[MAX_BYTES];
            float out[MAX_ELEMENTS];
            assert_true(shift + goldens[k].nbytes <= sizeof bytes);
            memcpy(bytes + shift, goldens[k].bytes, goldens[k].nbytes);
            assert_true(gs_dequant_row(goldens[k].dtype, goldens[k].n, bytes + shift, out));
            expect_bits(&goldens[k], out, 0, goldens[k].n);
        }
    }
}

/* Heap copies of exactly one block, so that a sanitizer sees a byte too far on either side. */
static void one_block_reads_and_writes_nothing_beyond_it(void **state) {
    (void)state;
    for (size_t k = 0; k < GS_COUNTOF(goldens); k++) {
        const golden *g = &goldens[k];
        int block = gs_dtype_block(g->dtype), bytes = gs_dtype_block_bytes(g->dtype);
        for (int64_t b = 0; b < g->n / block; b++) {
            uint8_t *src = malloc((size_t)bytes);
            float *dst = malloc((size_t)block * sizeof *dst);
            assert_non_null(src);
            assert_non_null(dst);
            memcpy(src, g->bytes + b * bytes, (size_t)bytes);
            assert_true(gs_dequant_row(g->dtype, block, src, dst));
            expect_bits(g, dst, b * block, block);
            free(src);
            free(dst);
        }
    }
}

static void no_elements_touch_nothing(void **state) {
    (void)state;
    for (size_t k = 0; k < GS_COUNTOF(goldens); k++) {
        uint8_t byte = 0;
        float x = 7;
        assert_true(gs_dequant_row(goldens[k].dtype, 0, &byte, &x));
        assert_true(x == 7);
    }
}

static void formats_without_blocks_are_refused(void **state) {
    (void)state;
    static const gs_dtype others[] = {GS_F32, GS_F16, GS_BF16, GS_I8, GS_F4, GS_DTYPE_NONE};
    uint8_t bytes[64] = {0};
    float out[64];
    for (size_t i = 0; i < GS_COUNTOF(others); i++)
        assert_false(gs_dequant_row(others[i], 32, bytes, out));
}

/* By hand, without the golden file: d = 0.5, elements j and j + 16 share byte j. */
static void a_q4_1_block_means_scale_times_quant_plus_minimum(void **state) {
    (void)state;
    uint8_t block[20] = {0x00, 0x38, 0x00, 0xc0}; /* d = 0.5, m = -2 */
    float out[32];
    for (int j = 0; j < 16; j++) block[4 + j] = (uint8_t)(j | (15 - j) << 4);
    assert_true(gs_dequant_row(GS_Q4_1, 32, block, out));
    for (int j = 0; j < 16; j++) {
        assert_true(out[j] == 0.5f * (float)j - 2);
        assert_true(out[16 + j] == 0.5f * (float)(15 - j) - 2);
    }
}

static void infinite_and_nan_scales_do_not_become_numbers(void **state) {
    (void)state;
    uint8_t block[34];
    float out[32];
    memset(block, 1, sizeof block);
    block[0] = 0x00, block[1] = 0xfc; /* -inf */
    assert_true(gs_dequant_row(GS_Q8_0, 32, block, out));
    assert_true(isinf(out[0]) && out[0] < 0);
    block[1] = 0x7e; /* NaN */
    assert_true(gs_dequant_row(GS_Q8_0, 32, block, out));
    assert_true(isnan(out[31]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_equals_the_reference_bit_for_bit),
        cmocka_unit_test(the_source_may_lie_at_any_address),
        cmocka_unit_test(one_block_reads_and_writes_nothing_beyond_it),
        cmocka_unit_test(no_elements_touch_nothing),
        cmocka_unit_test(formats_without_blocks_are_refused),
        cmocka_unit_test(a_q4_1_block_means_scale_times_quant_plus_minimum),
        cmocka_unit_test(infinite_and_nan_scales_do_not_become_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
