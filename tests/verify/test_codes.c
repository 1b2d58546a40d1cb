/* Codes of every layout, packed here by the definition in verify/codes.h. */
#include "../support.h"

#include <verify/codes.h>

enum { ROWS = 200, COLS = 96, MOST = ROWS * COLS * 2 };

static int8_t codes[ROWS][COLS];
static uint8_t bytes[MOST];

static bool is_four(gs_layout l) {
    return l == GS_LAYOUT_BIASED4 || l == GS_LAYOUT_COLUMNS4 || l == GS_LAYOUT_ROWS4 || l == GS_LAYOUT_GPTQ4;
}

/* Where a code's byte is, and which nibble of it. */
static size_t place(gs_layout l, int64_t rows, int64_t cols, int64_t r, int64_t c, int *shift) {
    *shift = 0;
    switch (l) {
    case GS_LAYOUT_BIASED8: return (size_t)(r * ((cols + 3) / 4) * 4 + c);
    case GS_LAYOUT_BIASED4: *shift = 4 * (c % 2); return (size_t)(r * ((cols + 7) / 8) * 4 + c / 2);
    case GS_LAYOUT_COLUMNS4: *shift = 4 * (c % 2); return (size_t)(r * ((cols + 1) / 2) + c / 2);
    case GS_LAYOUT_ROWS4: *shift = 4 * (r % 2); return (size_t)(r / 2 * cols + c);
    case GS_LAYOUT_GPTQ8: return (size_t)((c / 4 * rows + r) * 4 + c % 4);
    case GS_LAYOUT_GPTQ4: *shift = 4 * (c % 2); return (size_t)((c / 8 * rows + r) * 4 + c % 8 / 2);
    case GS_LAYOUT_Q8_0: return (size_t)((r * (cols / 32) + c / 32) * 34 + 2 + c % 32);
    default: return (size_t)(r * cols + c);
    }
}

static void pack(gs_layout l, int64_t rows, int64_t cols, uint64_t seed) {
    int bias = l == GS_LAYOUT_BIASED8 || l == GS_LAYOUT_GPTQ8 ? 128 : l == GS_LAYOUT_BIASED4 || l == GS_LAYOUT_GPTQ4 ? 8 : 0;
    memset(bytes, 0, sizeof bytes);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) {
            int shift, code = (int)(gs_test_rand(&seed) % 256) - 128;
            if (is_four(l)) code /= 16;
            codes[r][c] = (int8_t)code;
            size_t at = place(l, rows, cols, r, c, &shift);
            bytes[at] |= (uint8_t)(is_four(l) ? ((code + bias) & 15) << shift : code + bias);
        }
}

static void check(gs_layout l, int64_t rows, int64_t cols) {
    const gs_tensor t = {.name = "w", .data = bytes, .bytes = sizeof bytes};
    const gs_codes c = {&t, l, rows, cols};
    static int8_t got[ROWS * COLS];
    pack(l, rows, cols, 7 + (uint64_t)l);
    for (int64_t r = 0; r < rows; r += gs_codes_best_rows(&c)) {
        int64_t n = rows - r < gs_codes_best_rows(&c) ? rows - r : gs_codes_best_rows(&c);
        gs_codes_read(&c, r, n, got + r * cols);
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < cols; k++)
            if (got[r * cols + k] != codes[r][k])
                fail_msg("layout %d: [%lld, %lld] is %d, not %d", (int)l, (long long)r, (long long)k, got[r * cols + k], codes[r][k]);
}

static void every_layout_is_read_as_it_is_defined(void **state) {
    (void)state;
    for (int l = GS_LAYOUT_S8; l <= GS_LAYOUT_Q8_0; l++) {
        check((gs_layout)l, ROWS, COLS);
        check((gs_layout)l, 1, 32);
    }
    check(GS_LAYOUT_S8, 3, 5);
    check(GS_LAYOUT_BIASED8, 3, 5);
    check(GS_LAYOUT_BIASED4, 3, 13);
    check(GS_LAYOUT_COLUMNS4, 3, 7);
    check(GS_LAYOUT_ROWS4, 5, 3);
}

/* Rows 0, 1, 2, 3 of the model are stored as 0, 2, 1, 3 for heads of four. */
static void rows_of_rotary_halves_are_put_in_order(void **state) {
    (void)state;
    const gs_tensor t = {.name = "w", .data = bytes, .bytes = sizeof bytes, .order = GS_ROWS_LLAMA_INTERLEAVED, .order_heads = 2};
    const gs_codes c = {&t, GS_LAYOUT_S8, 8, 2};
    static const int stored[8] = {0, 2, 1, 3, 4, 6, 5, 7};
    int8_t row[2];
    pack(GS_LAYOUT_S8, 8, 2, 1);
    for (int r = 0; r < 8; r++) {
        assert_int_equal(gs_codes_stored_row(&c, r), stored[r]);
        gs_codes_read(&c, r, 1, row);
        assert_memory_equal(row, codes[stored[r]], 2);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layout_is_read_as_it_is_defined),
        cmocka_unit_test(rows_of_rotary_halves_are_put_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
