#include "../support.h"

#include <base/mem.h>

static void blocks_are_aligned_to_64_bytes(void **state) {
    (void)state;
    for (size_t n = 0; n < 300; n += 7) {
        uint8_t *a = gs_alloc(n), *b = gs_calloc(n, 3);
        assert_non_null(a);
        assert_non_null(b);
        assert_int_equal((uintptr_t)a % 64, 0);
        assert_int_equal((uintptr_t)b % 64, 0);
        for (size_t i = 0; i < 3 * n; i++) assert_int_equal(b[i], 0);
        gs_free(a);
        gs_free(b);
    }
    gs_free(NULL);
}

static void overflowing_sizes_are_refused(void **state) {
    (void)state;
    size_t product;
    assert_true(gs_mul_size(SIZE_MAX / 2, 2, &product));
    assert_true(product == SIZE_MAX - 1);
    assert_false(gs_mul_size(SIZE_MAX / 2 + 1, 2, &product));
    assert_true(gs_mul_size(0, SIZE_MAX, &product));
    assert_null(gs_calloc(SIZE_MAX / 8 + 2, 8));
    assert_null(gs_alloc(SIZE_MAX));
    assert_null(gs_realloc(NULL, SIZE_MAX / 4, 8));
}

static void a_failed_realloc_keeps_the_block(void **state) {
    (void)state;
    int *p = gs_realloc(NULL, 4, sizeof *p);
    assert_non_null(p);
    p[3] = 42;
    assert_null(gs_realloc(p, SIZE_MAX / 2, sizeof *p));
    assert_int_equal(p[3], 42);
    p = gs_realloc(p, 1000, sizeof *p);
    assert_int_equal(p[3], 42);
    p = gs_realloc(p, 0, sizeof *p); /* not a free */
    assert_non_null(p);
    gs_free(p);
}

static void strings_are_copied(void **state) {
    (void)state;
    char *a = gs_strdup("tensor"), *b = gs_strndup("tensor", 3), *c = gs_strndup("ab", 100);
    assert_string_equal(a, "tensor");
    assert_string_equal(b, "ten");
    assert_string_equal(c, "ab");
    gs_free(a);
    gs_free(b);
    gs_free(c);
}

static void the_kth_allocation_and_all_later_ones_fail(void **state) {
    (void)state;
    gs_mem_fail_after(2);
    void *a = gs_alloc(1), *b = gs_strdup("x"), *c = gs_alloc(1), *d = gs_calloc(1, 1),
         *e = gs_realloc(NULL, 1, 1);
    gs_mem_fail_after(-1);
    void *f = gs_alloc(1);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(c);
    assert_null(d);
    assert_null(e);
    assert_non_null(f);
    gs_free(a);
    gs_free(b);
    gs_free(f);
}

static void the_peak_stays_after_a_free(void **state) {
    (void)state;
    size_t fat = (size_t)96 << 20;
    int64_t before = gs_mem_peak_rss();
    assert_true(before > 100 * 1024);
    char *p = gs_alloc(fat);
    memset(p, 1, fat);
    assert_true(gs_mem_peak_rss() >= (int64_t)fat);
    gs_free(p);
    assert_true(gs_mem_peak_rss() >= (int64_t)fat); /* a peak stays */
}

static void running_out_is_said_with_the_size(void **state) {
    (void)state;
    gs_error err = {0};
    assert_fails(gs_error_nomem(&err, 12345), GS_E_NOMEM, &err);
    assert_non_null(strstr(err.text, "12345"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_to_64_bytes),
        cmocka_unit_test(overflowing_sizes_are_refused),
        cmocka_unit_test(a_failed_realloc_keeps_the_block),
        cmocka_unit_test(strings_are_copied),
        cmocka_unit_test(the_kth_allocation_and_all_later_ones_fail),
        cmocka_unit_test(the_peak_stays_after_a_free),
        cmocka_unit_test(running_out_is_said_with_the_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
