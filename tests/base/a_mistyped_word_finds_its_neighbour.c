#include "../support.h"

#include <base/nearest.h>

static const char *const schemes[] = {"w8a16", "w4a16", "w8a8", "smoothquant"};

static void the_closest_word_wins(void **state) {
    (void)state;
    /* as near as w8a8, and first */
    assert_string_equal(gs_nearest("w8a61", schemes, 4), "w8a16");
    assert_string_equal(gs_nearest("smothquant", schemes, 4), "smoothquant");
    assert_string_equal(gs_nearest("w4a16", schemes, 4), "w4a16");
    assert_string_equal(gs_nearest("anything", schemes, 0), "");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_closest_word_wins)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
