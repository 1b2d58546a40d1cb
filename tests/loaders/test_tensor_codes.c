/* Codes come out of every layout as a plain loop over its definition gives them, whatever rows are asked for. */
#include "../codes.h"
#include "../support.h"

#include <base/half.h>
#include <loaders/tensor.h>

/* A tensor whose bytes lie at the very end of exactly sized memory, at an odd address. */
typedef struct packed {
    gs_tensor t;
    uint8_t *memory;
    int8_t *codes; /* [n, k] logical, what it should read as */
} packed;

static const gs_code_layout layouts[] = {GS_CODES_PLAIN,        GS_CODES_BIASED,    GS_CODES_GPTQ8,
                                         GS_CODES_INT4_COLUMNS, GS_CODES_INT4_ROWS, GS_CODES_Q8_0};

static int64_t stored_row(int64_t r, int64_t n, int64_t heads) {
    int64_t hd = heads ? n / heads : 0;
    if (!heads) return r;
    int64_t head = r / hd, half = r % hd / (hd / 2), j = r % (hd / 2);
    return head * hd + 2 * j + half;
}

static packed pack(gs_code_layout layout, int64_t n, int64_t k, int64_t heads, uint64_t seed) {
    packed p = {.t = {.name = "w", .dtype = GS_I8, .ndim = 2, .shape = {n, k}, .codes = layout}};
    if (heads) {
        p.t.order = GS_ROWS_LLAMA_INTERLEAVED;
        p.t.order_heads = heads;
    }
    assert_true(gs_tensor_codes_bytes(layout, n, k, &p.t.bytes));
    p.memory = malloc(p.t.bytes + 1);
    p.codes = malloc((size_t)(n * k) + 1);
    assert_non_null(p.memory);
    assert_non_null(p.codes);
    memset(p.memory, 0, p.t.bytes + 1);
    for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c < k; c++) {
            int code = (int)(gs_test_rand(&seed) & 0xff) - 128;
            if (gs_test_is_int4(layout)) code = (code & 15) - 8;
            p.codes[r * k + c] = (int8_t)code;
            gs_test_put_code(layout, n, k, p.memory + 1, stored_row(r, n, heads), c, (int8_t)code);
        }
    p.t.data = p.memory + 1;
    return p;
}

static void give_back(packed *p) {
    free(p->memory);
    free(p->codes);
}

static void assert_rows(const packed *p, int64_t row0, int64_t nrows) {
    gs_error err = {0};
    int64_t k = p->t.shape[1], count = nrows * k;
    int8_t *codes = malloc((size_t)count + 1);
    float *wide = malloc((size_t)count * sizeof *wide + 1);
    uint16_t *half = malloc((size_t)count * sizeof *half + 1);
    assert_true(codes && wide && half);
    assert_ok(gs_tensor_read_s8(&p->t, row0, nrows, codes, &err), &err);
    assert_memory_equal(codes, p->codes + row0 * k, (size_t)count);
    assert_ok(gs_tensor_read_f32(&p->t, row0, nrows, wide, &err), &err);
    for (int64_t i = 0; i < count; i++) assert_true(wide[i] == (float)codes[i]);
    assert_ok(gs_tensor_read_16(&p->t, GS_BF16, row0, nrows, half, &err), &err);
    for (int64_t i = 0; i < count; i++) assert_true(gs_bf16_to_f32(half[i]) == (float)codes[i]);
    assert_ok(gs_tensor_read_16(&p->t, GS_F16, row0, nrows, half, &err), &err);
    for (int64_t i = 0; i < count; i++) assert_true(gs_f16_to_f32(half[i]) == (float)codes[i]);
    free(codes);
    free(wide);
    free(half);
}

static void every_layout_reads_as_its_definition(void **state) {
    (void)state;
    static const int64_t shapes[][2] = {{2, 32}, {1, 64}, {6, 96}, {48, 160}, {34, 1056}, {0, 32}, {4, 0}, {1026, 32}};
    for (size_t l = 0; l < GS_COUNTOF(layouts); l++)
        for (size_t s = 0; s < GS_COUNTOF(shapes); s++) {
            int64_t n = shapes[s][0], k = shapes[s][1];
            uint64_t bytes;
            if (!gs_tensor_codes_bytes(layouts[l], n, k, &bytes)) {
                assert_true(layouts[l] == GS_CODES_INT4_ROWS && n % 2);
                continue;
            }
            packed p = pack(layouts[l], n, k, 0, 10 * l + s);
            gs_error err = {0};
            assert_ok(gs_tensor_check(&p.t, &err), &err);
            assert_rows(&p, 0, n);
            assert_rows(&p, n, 0);
            for (int64_t row = 0; row < n; row += n / 3 + 1) assert_rows(&p, row, 1);
            if (n > 2) assert_rows(&p, 1, n - 2);
            give_back(&p);
        }
}

static void columns_that_fill_no_tile_read_as_well(void **state) {
    (void)state;
    for (int64_t k = 4; k <= 140; k += 4) {
        packed p = pack(GS_CODES_GPTQ8, 5, k, 0, (uint64_t)k);
        assert_rows(&p, 0, 5);
        assert_rows(&p, 2, 3);
        give_back(&p);
    }
    for (int64_t k = 1; k < 9; k++) {
        packed p = pack(GS_CODES_INT4_ROWS, 6, k, 0, (uint64_t)k), q = pack(GS_CODES_BIASED, 3, k, 0, (uint64_t)k);
        assert_rows(&p, 0, 6);
        assert_rows(&q, 0, 3);
        give_back(&p);
        give_back(&q);
    }
}

static void reordered_rows_come_out_in_order(void **state) {
    (void)state;
    for (size_t l = 0; l < GS_COUNTOF(layouts); l++) {
        packed p = pack(layouts[l], 24, 64, 3, l);
        assert_rows(&p, 0, 24);
        assert_rows(&p, 7, 11);
        give_back(&p);
    }
}

static void sizes_that_lie_are_refused(void **state) {
    (void)state;
    uint64_t bytes;
    const int64_t huge = INT64_MAX / 4 * 4;
    assert_false(gs_tensor_codes_bytes(GS_CODES_GPTQ8, 3, 6, &bytes));
    assert_false(gs_tensor_codes_bytes(GS_CODES_INT4_COLUMNS, 3, 7, &bytes));
    assert_false(gs_tensor_codes_bytes(GS_CODES_INT4_ROWS, 3, 8, &bytes));
    assert_false(gs_tensor_codes_bytes(GS_CODES_Q8_0, 3, 48, &bytes));
    assert_false(gs_tensor_codes_bytes(GS_CODES_PLAIN, -1, 8, &bytes));
    assert_false(gs_tensor_codes_bytes(GS_CODES_PLAIN, 8, -1, &bytes));
    assert_false(gs_tensor_codes_bytes((gs_code_layout)6, 8, 8, &bytes));
    assert_false(gs_tensor_codes_bytes((gs_code_layout)-1, 8, 8, &bytes));
    for (size_t l = 0; l < GS_COUNTOF(layouts); l++) {
        assert_false(gs_tensor_codes_bytes(layouts[l], huge, huge, &bytes));
        assert_false(gs_tensor_codes_bytes(layouts[l], 1 << 20, INT64_MAX / 32 * 32 / 2, &bytes));
    }
    assert_true(gs_tensor_codes_bytes(GS_CODES_Q8_0, 3, 64, &bytes));
    assert_int_equal(bytes, 3 * 68);
    assert_true(gs_tensor_codes_bytes(GS_CODES_INT4_ROWS, 4, 7, &bytes));
    assert_int_equal(bytes, 14);
}

static void bytes_that_do_not_fit_are_refused(void **state) {
    (void)state;
    int8_t codes[24 * 64];
    for (size_t l = 0; l < GS_COUNTOF(layouts); l++)
        for (int off = -1; off <= 1; off += 2) {
            gs_error err = {0};
            packed p = pack(layouts[l], 24, 64, 0, l);
            p.t.bytes += (uint64_t)off;
            assert_fails(gs_tensor_read_s8(&p.t, 0, 24, codes, &err), GS_E_FORMAT, &err);
            assert_fails(gs_tensor_check(&p.t, &err), GS_E_FORMAT, &err);
            give_back(&p);
        }
}

static void rows_types_and_shapes_are_checked(void **state) {
    (void)state;
    float wide[24 * 64];
    int8_t codes[24 * 64];
    const int64_t rows[][2] = {{-1, 1}, {0, 25}, {25, 0}, {3, -1}, {24, 1}, {1, INT64_MAX}, {INT64_MAX, INT64_MAX}};
    packed p = pack(GS_CODES_GPTQ8, 24, 64, 0, 1);
    gs_error err = {0};
    for (size_t i = 0; i < GS_COUNTOF(rows); i++) {
        assert_fails(gs_tensor_read_s8(&p.t, rows[i][0], rows[i][1], codes, &err), GS_E_INVALID, &err);
        assert_fails(gs_tensor_read_f32(&p.t, rows[i][0], rows[i][1], wide, &err), GS_E_INVALID, &err);
    }
    gs_tensor t = p.t;
    t.dtype = GS_U8;
    assert_fails(gs_tensor_read_s8(&t, 0, 1, codes, &err), GS_E_INVALID, &err);
    assert_fails(gs_tensor_check(&t, &err), GS_E_FORMAT, &err);
    t = p.t;
    t.order = GS_ROWS_LLAMA_INTERLEAVED;
    t.order_heads = 24;
    assert_fails(gs_tensor_read_s8(&t, 0, 1, codes, &err), GS_E_FORMAT, &err);
    assert_fails(gs_tensor_check(&t, &err), GS_E_FORMAT, &err);
    t = p.t;
    t.data = NULL;
    assert_fails(gs_tensor_check(&t, &err), GS_E_FORMAT, &err);
    t = p.t;
    t.ndim = GS_MAX_DIMS + 1;
    assert_fails(gs_tensor_check(&t, &err), GS_E_FORMAT, &err);
    t = p.t;
    t.shape[0] = -24;
    assert_fails(gs_tensor_check(&t, &err), GS_E_FORMAT, &err);
    t.shape[0] = t.shape[1] = INT64_MAX / 2;
    assert_fails(gs_tensor_check(&t, &err), GS_E_FORMAT, &err);
    t = (gs_tensor){.name = "s", .dtype = GS_F32, .data = (const uint8_t *)wide, .bytes = 4};
    assert_ok(gs_tensor_check(&t, &err), &err);
    t.bytes = 8;
    assert_fails(gs_tensor_check(&t, &err), GS_E_FORMAT, &err);
    give_back(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layout_reads_as_its_definition),
        cmocka_unit_test(columns_that_fill_no_tile_read_as_well),
        cmocka_unit_test(reordered_rows_come_out_in_order),
        cmocka_unit_test(sizes_that_lie_are_refused),
        cmocka_unit_test(bytes_that_do_not_fit_are_refused),
        cmocka_unit_test(rows_types_and_shapes_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
