#include "../support.h"

#include <base/numbers.h>

static void whole_numbers(void **state) {
    (void)state;
    int64_t n = 7;
    assert_true(gs_number_int("0", &n) && n == 0);
    assert_true(gs_number_int("9223372036854775807", &n) && n == INT64_MAX);
    static const char *const bad[] = {"", "-1", "1.5", "3x", "x", "9223372036854775808", "0x10", "1 "};
    for (size_t i = 0; i < GS_COUNTOF(bad); i++)
        if (gs_number_int(bad[i], &n)) fail_msg("'%s' was taken", bad[i]);
    assert_true(n == INT64_MAX); /* nothing is stored by a refusal */
}

static void sizes(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t bytes;
    } good[] = {{"7", 7}, {"512M", 512LL << 20}, {"4GiB", 4LL << 30}, {"2kb", 2048}, {"3B", 3}, {"1.5G", 3LL << 29}, {"1T", 1LL << 40}};
    static const char *const bad[] = {"", "G", "4Q", "-1G", "4GG", "4Gi B", "nan", "inf", "1e300G", "9000000000G"};
    int64_t n = 7;
    for (size_t i = 0; i < GS_COUNTOF(good); i++) {
        if (!gs_number_bytes(good[i].text, &n)) fail_msg("'%s' was refused", good[i].text);
        assert_int_equal(n, good[i].bytes);
    }
    n = 7;
    for (size_t i = 0; i < GS_COUNTOF(bad); i++)
        if (gs_number_bytes(bad[i], &n)) fail_msg("'%s' was taken", bad[i]);
    assert_true(n == 7);
}

static void doubles(void **state) {
    (void)state;
    double x = 7;
    assert_true(gs_number_double("-0.5e-3", &x) && x == -0.5e-3);
    static const char *const bad[] = {"", "half", "0.5x", "nan", "inf", "1e999"};
    for (size_t i = 0; i < GS_COUNTOF(bad); i++)
        if (gs_number_double(bad[i], &x)) fail_msg("'%s' was taken", bad[i]);
    assert_true(x == -0.5e-3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers),
        cmocka_unit_test(sizes),
        cmocka_unit_test(doubles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
