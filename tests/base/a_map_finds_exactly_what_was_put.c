#include "../support.h"

#include <base/map.h>
#include <base/mem.h>

enum { KEYS = 100000, WIDTH = 80 };

/* Keys that agree in their first 72 bytes. */
static char *long_keys(void) {
    char *keys = gs_alloc((size_t)KEYS * WIDTH);
    assert_non_null(keys);
    for (int i = 0; i < KEYS; i++) {
        memset(keys + (size_t)i * WIDTH, 'p', WIDTH);
        snprintf(keys + (size_t)i * WIDTH + 72, 8, "%07d", i);
    }
    return keys;
}

static void a_hundred_thousand_keys_are_found(void **state) {
    (void)state;
    char *keys = long_keys();
    gs_map m = {0};
    gs_error err = {0};
    bool existed = true;
    for (int i = 0; i < KEYS; i++) {
        assert_ok(gs_map_put(&m, keys + (size_t)i * WIDTH, 79, i * 3, &existed, &err), &err);
        assert_false(existed);
    }
    assert_int_equal(m.count, KEYS);
    for (int i = 0; i < KEYS; i++) {
        int64_t value = -1;
        assert_true(gs_map_get(&m, keys + (size_t)i * WIDTH, 79, &value));
        assert_int_equal(value, i * 3);
        /* a prefix of a key is another key */
        assert_false(gs_map_get(&m, keys + (size_t)i * WIDTH, 78, &value));
    }
    gs_map_clear(&m);
    assert_int_equal(m.count, 0);
    gs_free(keys);
}

static void the_first_value_stays(void **state) {
    (void)state;
    gs_map m = {0};
    gs_error err = {0};
    bool existed;
    int64_t value = 0;
    assert_ok(gs_map_put(&m, "k", 1, 1, NULL, &err), &err);
    assert_ok(gs_map_put(&m, "k", 1, 2, &existed, &err), &err);
    assert_true(existed);
    assert_true(gs_map_get(&m, "k", 1, &value));
    assert_int_equal(value, 1);
    assert_true(gs_map_get(&m, "k", 1, NULL));
    gs_map_clear(&m);
}

static void keys_are_bytes_and_may_be_empty(void **state) {
    (void)state;
    gs_map m = {0};
    gs_error err = {0};
    int64_t value;
    assert_false(gs_map_get(&m, "", 0, &value));
    assert_ok(gs_map_put(&m, NULL, 0, 10, NULL, &err), &err);
    assert_ok(gs_map_put(&m, "a\0b", 3, 11, NULL, &err), &err);
    assert_true(gs_map_get(&m, "", 0, &value));
    assert_int_equal(value, 10);
    assert_true(gs_map_get(&m, "a\0b", 3, &value));
    assert_int_equal(value, 11);
    assert_false(gs_map_get(&m, "a\0c", 3, &value));
    assert_false(gs_map_get(&m, "a", 1, &value));
    gs_map_clear(&m);
}

static void reserving_avoids_growth(void **state) {
    (void)state;
    gs_map m = {0};
    gs_error err = {0};
    char keys[1000][8];
    assert_ok(gs_map_reserve(&m, 1000, &err), &err);
    size_t cap = m.cap;
    gs_mem_fail_after(0);
    for (int i = 0; i < 1000; i++) {
        snprintf(keys[i], sizeof keys[i], "%d", i);
        if (gs_map_put(&m, keys[i], strlen(keys[i]), i, NULL, &err) != GS_OK) break;
    }
    gs_mem_fail_after(-1);
    assert_int_equal(m.count, 1000);
    assert_int_equal(m.cap, cap);
    assert_fails(gs_map_reserve(&m, SIZE_MAX, &err), GS_E_NOMEM, &err);
    assert_int_equal(m.count, 1000);
    gs_map_clear(&m);
}

static void a_failed_growth_keeps_the_map(void **state) {
    (void)state;
    gs_error err = {0};
    char keys[200][8];
    for (int i = 0; i < 200; i++) snprintf(keys[i], sizeof keys[i], "%d", i);
    for (int k = 0; k < 4; k++) {
        gs_map m = {0};
        int put = 0;
        gs_mem_fail_after(k);
        while (put < 200
               && gs_map_put(&m, keys[put], strlen(keys[put]), put, NULL, &err) == GS_OK)
            put++;
        gs_mem_fail_after(-1);
        assert_in_range(put, 0, 199);
        assert_int_equal(err.status, GS_E_NOMEM);
        for (int i = 0; i < 200; i++) {
            int64_t value;
            assert_int_equal(gs_map_get(&m, keys[i], strlen(keys[i]), &value), i < put);
        }
        gs_map_clear(&m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hundred_thousand_keys_are_found),
        cmocka_unit_test(the_first_value_stays),
        cmocka_unit_test(keys_are_bytes_and_may_be_empty),
        cmocka_unit_test(reserving_avoids_growth),
        cmocka_unit_test(a_failed_growth_keeps_the_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
