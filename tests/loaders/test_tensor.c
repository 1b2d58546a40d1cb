/* Rows of any dtype come out as f32, bf16 or f16, in logical order, from any address. */
#include "../support.h"

#include <base/half.h>
#include <loaders/dequant.h>
#include <loaders/tensor.h>
#include <math.h>

static gs_tensor matrix(gs_dtype dtype, int64_t rows, int64_t cols, const void *data) {
    gs_tensor t = {.name = "t", .dtype = dtype, .ndim = 2, .shape = {rows, cols}, .data = data};
    assert_true(gs_dtype_bytes(dtype, (uint64_t)(rows * cols), &t.bytes));
    return t;
}

static void same_bits(float got, float wanted) {
    if (gs_f32_bits(got) != gs_f32_bits(wanted))
        fail_msg("got %a (%08x), wanted %a (%08x)", (double)got, gs_f32_bits(got), (double)wanted,
                 gs_f32_bits(wanted));
}

static void shapes_make_matrices_and_words(void **state) {
    (void)state;
    static const struct {
        int ndim;
        int64_t shape[GS_MAX_DIMS], count, rows, cols;
        const char *text;
    } cases[] = {
        {0, {0}, 1, 1, 1, "[]"},
        {1, {7}, 7, 1, 7, "[7]"},
        {2, {32000, 4096}, 131072000, 32000, 4096, "[32000, 4096]"},
        {3, {2, 3, 5}, 30, 6, 5, "[2, 3, 5]"},
        {2, {4, 0}, 0, 4, 0, "[4, 0]"},
        {2, {0, 4}, 0, 0, 4, "[0, 4]"},
    };
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        gs_tensor t = {.ndim = cases[i].ndim};
        int64_t rows, cols;
        char text[64], tiny[6];
        memcpy(t.shape, cases[i].shape, sizeof t.shape);
        gs_tensor_matrix(&t, &rows, &cols);
        assert_int_equal(gs_tensor_count(&t), cases[i].count);
        assert_int_equal(rows, cases[i].rows);
        assert_int_equal(cols, cases[i].cols);
        assert_string_equal(gs_tensor_shape_text(&t, text, sizeof text), cases[i].text);
        gs_tensor_shape_text(&t, tiny, sizeof tiny);
        assert_int_equal(strncmp(tiny, cases[i].text, strlen(tiny)), 0);
        assert_true(strlen(tiny) <= 5);
    }
}

static void all_halves_read_exactly(void **state) {
    (void)state;
    static uint16_t bits[65536];
    static float values[65536];
    gs_error err = {0};
    for (int i = 0; i < 65536; i++) bits[i] = (uint16_t)i;
    gs_tensor t = matrix(GS_F16, 256, 256, bits);
    assert_ok(gs_tensor_read_f32(&t, 0, 256, values, &err), &err);
    for (int i = 0; i < 65536; i++) same_bits(values[i], gs_f16_to_f32((uint16_t)i));
    t.dtype = GS_BF16;
    assert_ok(gs_tensor_read_f32(&t, 0, 256, values, &err), &err);
    for (int i = 0; i < 65536; i++) same_bits(values[i], gs_bf16_to_f32((uint16_t)i));
}

/* The specification is half.h; ties, limits and NaNs are around these bit patterns. */
static void rounding_to_16_bits_is_that_of_the_scalar_functions(void **state) {
    (void)state;
    enum { COUNT = 1 << 18 };
    static float values[COUNT];
    static uint16_t got[COUNT];
    static const uint32_t around[] = {0x33000000, 0x33800000, 0x38000000, 0x38800000, 0x477fe000,
                                      0x477ff000, 0x47800000, 0x7f7f8000, 0x7f800000, 0x7fc00000,
                                      0x3f800000, 0x3f801000, 0x3f808000, 0};
    uint64_t seed = 7;
    gs_error err = {0};
    for (int i = 0; i < COUNT; i++) {
        uint32_t bits = (uint32_t)gs_test_rand(&seed);
        if (i < COUNT / 2) bits = around[bits % GS_COUNTOF(around)] + (uint32_t)(i % 64) - 32;
        if (i % 3 == 0) bits ^= 0x80000000u;
        values[i] = gs_f32_from_bits(bits);
    }
    gs_tensor t = matrix(GS_F32, COUNT / 64, 64, values);
    assert_ok(gs_tensor_read_16(&t, GS_F16, 0, COUNT / 64, got, &err), &err);
    for (int i = 0; i < COUNT; i++) assert_int_equal(got[i], gs_f32_to_f16(values[i]));
    assert_ok(gs_tensor_read_16(&t, GS_BF16, 0, COUNT / 64, got, &err), &err);
    for (int i = 0; i < COUNT; i++) assert_int_equal(got[i], gs_f32_to_bf16(values[i]));
}

static void the_same_16_bit_type_is_copied(void **state) {
    (void)state;
    /* signalling NaNs would be changed by a way through f32 */
    uint16_t in[4] = {0x7d01, 0xfc01, 0x0001, 0x7f81}, out[4];
    gs_error err = {0};
    gs_tensor t = matrix(GS_F16, 2, 2, in);
    assert_ok(gs_tensor_read_16(&t, GS_F16, 0, 2, out, &err), &err);
    assert_memory_equal(in, out, sizeof in);
    t.dtype = GS_BF16;
    assert_ok(gs_tensor_read_16(&t, GS_BF16, 1, 1, out, &err), &err);
    assert_memory_equal(in + 2, out, 4);
    assert_ok(gs_tensor_read_16(&t, GS_F16, 0, 2, out, &err), &err);
    assert_int_equal(out[2], gs_f32_to_f16(gs_bf16_to_f32(0x0001)));
}

#define CHECK_VALUES(dtype_, type, ...)                                        \
    do {                                                                       \
        const type in[] = {__VA_ARGS__};                                       \
        enum { N = sizeof in / sizeof in[0] };                                 \
        uint8_t shifted[sizeof in + 1];                                        \
        float out[N];                                                          \
        memcpy(shifted + 1, in, sizeof in);                                    \
        gs_tensor t_ = matrix(dtype_, 1, N, shifted + 1);                      \
        assert_ok(gs_tensor_read_f32(&t_, 0, 1, out, &err), &err);             \
        for (int i = 0; i < N; i++) same_bits(out[i], (float)in[i]);           \
    } while (0)

static void every_readable_dtype_converts_by_value(void **state) {
    (void)state;
    gs_error err = {0};
    CHECK_VALUES(GS_F32, float, 0.f, -0.f, 1.5f, INFINITY, 1e-45f);
    /* F64: ties to even, overflow to infinity, a subnormal result */
    CHECK_VALUES(GS_F64, double, 1.0, 1.0 + 0x1p-24, 1.0 + 0x1.8p-23, 1e300, -1e300, 1e-45, -0.0);
    CHECK_VALUES(GS_I32, int32_t, 0, -1, 16777217, 16777219, INT32_MIN, INT32_MAX);
    CHECK_VALUES(GS_I16, int16_t, 0, -1, 32767, -32768, 5);
    CHECK_VALUES(GS_I8, int8_t, 0, -1, 127, -128, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17);
    CHECK_VALUES(GS_U16, uint16_t, 0, 1, 65535, 32768);
    CHECK_VALUES(GS_U8, uint8_t, 0, 1, 255, 128);
}

static void other_dtypes_are_refused(void **state) {
    (void)state;
    static const gs_dtype none[] = {GS_I64, GS_U64, GS_U32, GS_BOOL, GS_F8_E4M3, GS_F8_E5M2, GS_F8_E8M0, GS_F4};
    uint8_t data[64] = {0};
    float f[4];
    uint16_t h[4];
    gs_error err = {0};
    for (size_t i = 0; i < GS_COUNTOF(none); i++) {
        gs_tensor t = matrix(none[i], 2, 2, data);
        assert_fails(gs_tensor_read_f32(&t, 0, 2, f, &err), GS_E_UNSUPPORTED, &err);
        assert_non_null(strstr(err.text, gs_dtype_name(none[i])));
        assert_fails(gs_tensor_read_16(&t, GS_BF16, 0, 2, h, &err), GS_E_UNSUPPORTED, &err);
    }
    /* two rows share a byte */
    gs_tensor odd = matrix(GS_F4, 2, 3, data);
    assert_fails(gs_tensor_read_f32(&odd, 0, 2, f, &err), GS_E_UNSUPPORTED, &err);
    gs_tensor t = matrix(GS_F32, 2, 2, data);
    assert_fails(gs_tensor_read_16(&t, GS_F32, 0, 2, h, &err), GS_E_INVALID, &err);
}

static void rows_outside_the_tensor_are_refused(void **state) {
    (void)state;
    float data[6] = {0, 1, 2, 3, 4, 5}, out[6];
    uint16_t half[6];
    gs_error err = {0};
    gs_tensor t = matrix(GS_F32, 3, 2, data);
    static const int64_t bad[][2] = {{-1, 1}, {0, 4}, {3, 1}, {4, 0}, {1, -1},
                                     {1, INT64_MAX}, {INT64_MAX, INT64_MAX}, {INT64_MIN, 1}};
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        assert_fails(gs_tensor_read_f32(&t, bad[i][0], bad[i][1], out, &err), GS_E_INVALID, &err);
        assert_fails(gs_tensor_read_16(&t, GS_F16, bad[i][0], bad[i][1], half, &err), GS_E_INVALID, &err);
    }
    assert_ok(gs_tensor_read_f32(&t, 3, 0, out, &err), &err);
    assert_ok(gs_tensor_read_f32(&t, 1, 2, out, &err), &err);
    assert_memory_equal(out, data + 2, 16);
    gs_tensor empty = matrix(GS_F32, 3, 0, NULL);
    assert_ok(gs_tensor_read_f32(&empty, 0, 3, out, &err), &err);
    assert_ok(gs_tensor_read_16(&empty, GS_BF16, 0, 3, half, &err), &err);
    gs_tensor scalar = {.name = "s", .dtype = GS_F32, .data = (const uint8_t *)(data + 5), .bytes = 4};
    assert_ok(gs_tensor_read_f32(&scalar, 0, 1, out, &err), &err);
    assert_true(out[0] == 5);
}

/* Logical row (head, half*hd/2 + j) lies at (head, 2*j + half): write each stored row's
 * logical number there, read back 0, 1, 2... */
static void interleaved_rows_come_out_in_order(void **state) {
    (void)state;
    enum { HEADS = 3, HD = 8, ROWS = HEADS * HD, COLS = 5 };
    float stored[ROWS * COLS], out[ROWS * COLS];
    uint16_t half[COLS];
    gs_error err = {0};
    for (int head = 0; head < HEADS; head++)
        for (int j = 0; j < HD / 2; j++)
            for (int side = 0; side < 2; side++)
                for (int c = 0; c < COLS; c++)
                    stored[(head * HD + 2 * j + side) * COLS + c] =
                        (float)((head * HD + side * HD / 2 + j) * 10 + c);
    gs_tensor t = matrix(GS_F32, ROWS, COLS, stored);
    t.order = GS_ROWS_LLAMA_INTERLEAVED;
    t.order_heads = HEADS;
    assert_ok(gs_tensor_read_f32(&t, 0, ROWS, out, &err), &err);
    for (int i = 0; i < ROWS * COLS; i++) assert_true(out[i] == (float)(i / COLS * 10 + i % COLS));
    for (int row = 0; row < ROWS; row++) {
        assert_ok(gs_tensor_read_f32(&t, row, 1, out, &err), &err);
        assert_true(out[COLS - 1] == (float)(row * 10 + COLS - 1));
        assert_ok(gs_tensor_read_16(&t, GS_BF16, row, 1, half, &err), &err);
        assert_int_equal(half[0], gs_f32_to_bf16((float)(row * 10)));
    }
    assert_ok(gs_tensor_read_f32(&t, 7, 0, out, &err), &err);
    static const int64_t bad_heads[] = {0, -1, 5, 24, 25};
    for (size_t i = 0; i < GS_COUNTOF(bad_heads); i++) {
        t.order_heads = bad_heads[i];
        assert_fails(gs_tensor_read_f32(&t, 0, 1, out, &err), GS_E_FORMAT, &err);
    }
}

/* More columns than one conversion step holds, and blocks that straddle nothing. */
static void long_rows_of_blocks_round_like_short_ones(void **state) {
    (void)state;
    enum { COLS = 2560, ROWS = 3, BYTES = ROWS * COLS / 32 * 34 };
    static uint8_t data[BYTES];
    static float f[ROWS * COLS], row[COLS];
    static uint16_t h[ROWS * COLS];
    uint64_t seed = 3;
    gs_error err = {0};
    for (int i = 0; i < BYTES; i++) data[i] = (uint8_t)gs_test_rand(&seed);
    for (int b = 0; b < BYTES / 34; b++) data[b * 34 + 1] &= 0x3f; /* finite scales */
    gs_tensor t = matrix(GS_Q8_0, ROWS, COLS, data);
    assert_ok(gs_tensor_read_f32(&t, 0, ROWS, f, &err), &err);
    assert_ok(gs_tensor_read_16(&t, GS_BF16, 0, ROWS, h, &err), &err);
    assert_true(gs_dequant_row(GS_Q8_0, COLS, data + 2 * (BYTES / ROWS), row));
    for (int i = 0; i < COLS; i++) same_bits(f[2 * COLS + i], row[i]);
    for (int i = 0; i < ROWS * COLS; i++) assert_int_equal(h[i], gs_f32_to_bf16(f[i]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_make_matrices_and_words),
        cmocka_unit_test(all_halves_read_exactly),
        cmocka_unit_test(rounding_to_16_bits_is_that_of_the_scalar_functions),
        cmocka_unit_test(the_same_16_bit_type_is_copied),
        cmocka_unit_test(every_readable_dtype_converts_by_value),
        cmocka_unit_test(other_dtypes_are_refused),
        cmocka_unit_test(rows_outside_the_tensor_are_refused),
        cmocka_unit_test(interleaved_rows_come_out_in_order),
        cmocka_unit_test(long_rows_of_blocks_round_like_short_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
