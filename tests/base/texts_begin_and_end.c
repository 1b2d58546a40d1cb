#include "../support.h"

#include <base/affix.h>

static void a_text_ends_with_what_it_ends_with(void **state) {
    (void)state;
    assert_true(gs_ends_with("model.safetensors", ".safetensors") && gs_ends_with(".json", ".json"));
    assert_true(gs_ends_with("a", "") && gs_ends_with("", ""));
    assert_false(gs_ends_with("json", ".json") || gs_ends_with("", "a") || gs_ends_with("a.json.bak", ".json"));
    assert_false(gs_ends_with("A.JSON", ".json"));
}

static void a_text_begins_with_what_it_begins_with(void **state) {
    (void)state;
    assert_true(gs_starts_with("quant_model_weights", "quant_model_") && gs_starts_with("re:", "re:"));
    assert_true(gs_starts_with("a", "") && gs_starts_with("", ""));
    assert_false(gs_starts_with("re", "re:") || gs_starts_with("", "a") || gs_starts_with("a quant", "quant"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_ends_with_what_it_ends_with),
        cmocka_unit_test(a_text_begins_with_what_it_begins_with),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
