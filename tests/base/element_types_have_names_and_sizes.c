#include "../support.h"

#include <base/dtype.h>

static void names_go_both_ways(void **state) {
    (void)state;
    for (int t = 0; t < GS_DTYPE_COUNT; t++) {
        gs_dtype back = gs_dtype_from_name(gs_dtype_name((gs_dtype)t));
        if (gs_dtype_is_safetensors((gs_dtype)t)) assert_int_equal(back, t);
        else assert_int_equal(back, GS_DTYPE_NONE);
    }
    assert_int_equal(gs_dtype_from_name("bf16"), GS_DTYPE_NONE); /* exact spelling only */
    assert_int_equal(gs_dtype_from_name(""), GS_DTYPE_NONE);
    assert_int_equal(gs_dtype_from_name(NULL), GS_DTYPE_NONE);
}

static void what_is_out_of_range_is_harmless(void **state) {
    (void)state;
    gs_dtype wrong[] = {GS_DTYPE_NONE, GS_DTYPE_COUNT, (gs_dtype)999, (gs_dtype)-7};
    for (size_t i = 0; i < GS_COUNTOF(wrong); i++) {
        uint64_t bytes;
        assert_string_equal(gs_dtype_name(wrong[i]), "?");
        assert_int_equal(gs_dtype_block(wrong[i]), 0);
        assert_int_equal(gs_dtype_block_bytes(wrong[i]), 0);
        assert_false(gs_dtype_is_safetensors(wrong[i]));
        assert_false(gs_dtype_is_float(wrong[i]));
        assert_false(gs_dtype_bytes(wrong[i], 1, &bytes));
    }
}

static void torch_names_are_understood(void **state) {
    (void)state;
    assert_int_equal(gs_dtype_from_torch("float32"), GS_F32);
    assert_int_equal(gs_dtype_from_torch("float16"), GS_F16);
    assert_int_equal(gs_dtype_from_torch("bfloat16"), GS_BF16);
    assert_int_equal(gs_dtype_from_torch("torch.bfloat16"), GS_BF16);
    assert_int_equal(gs_dtype_from_torch("f32"), GS_F32);
    assert_int_equal(gs_dtype_from_torch("f16"), GS_F16);
    assert_int_equal(gs_dtype_from_torch("bf16"), GS_BF16);
    assert_int_equal(gs_dtype_from_torch("int8"), GS_DTYPE_NONE);
    assert_int_equal(gs_dtype_from_torch("torch."), GS_DTYPE_NONE);
    assert_int_equal(gs_dtype_from_torch(NULL), GS_DTYPE_NONE);
    assert_string_equal(gs_dtype_torch_name(GS_BF16), "bfloat16");
    for (int t = 0; t < GS_DTYPE_COUNT; t++) {
        if (gs_dtype_is_float((gs_dtype)t))
            assert_int_equal(gs_dtype_from_torch(gs_dtype_torch_name((gs_dtype)t)), t);
    }
}

static void sizes_count_whole_blocks(void **state) {
    (void)state;
    uint64_t bytes = 0;
    assert_true(gs_dtype_bytes(GS_BF16, 7, &bytes));
    assert_int_equal(bytes, 14);
    assert_true(gs_dtype_bytes(GS_Q4_1, 64, &bytes));
    assert_int_equal(bytes, 40);
    assert_true(gs_dtype_bytes(GS_Q6_K, 512, &bytes));
    assert_int_equal(bytes, 420);
    assert_true(gs_dtype_bytes(GS_F4, 6, &bytes));
    assert_int_equal(bytes, 3);
    assert_true(gs_dtype_bytes(GS_Q8_0, 0, &bytes));
    assert_int_equal(bytes, 0);
    assert_false(gs_dtype_bytes(GS_Q4_1, 63, &bytes));
    assert_false(gs_dtype_bytes(GS_F4, 5, &bytes));
}

static void sizes_do_not_overflow(void **state) {
    (void)state;
    uint64_t bytes;
    assert_true(gs_dtype_bytes(GS_F64, UINT64_MAX / 8, &bytes));
    assert_false(gs_dtype_bytes(GS_F64, UINT64_MAX / 8 + 1, &bytes));
    assert_true(gs_dtype_bytes(GS_U8, UINT64_MAX, &bytes));
    assert_true(bytes == UINT64_MAX);
    assert_false(gs_dtype_bytes(GS_Q8_0, UINT64_MAX - 31, &bytes)); /* 34/32 of it */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_go_both_ways),
        cmocka_unit_test(what_is_out_of_range_is_harmless),
        cmocka_unit_test(torch_names_are_understood),
        cmocka_unit_test(sizes_count_whole_blocks),
        cmocka_unit_test(sizes_do_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
