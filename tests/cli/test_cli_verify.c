/* `gstick verify` as a user meets it: one line a failure, a closing line, and an exit code that fails closed. */
#include "program.h"

static void a_good_bundle_exits_with_0_and_a_broken_one_with_1(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    assert_int_equal(gstick("quantize '%s' --scheme w8a16 --dtype bf16 -o '%s'", f.model, f.bundle)->code, 0);
    const outcome *o = gstick("verify '%s' --against '%s'", f.bundle, f.model);
    if (o->code != 0) fail_msg("%s%s", o->out, o->err);
    assert_non_null(strstr(o->out, ": 0 findings; "));
    assert_null(strstr(o->out, "FAIL"));
    cJSON *json = json_of(gstick("verify '%s' --json", f.bundle));
    assert_true(cJSON_IsTrue(gs_json_get(json, "holds")) && number(json, "checks_run") > 20 && number(json, "bytes") > 0);
    cJSON_Delete(json);

    tiny_text(f.bundle, "model.safetensors", "stray");
    o = gstick("verify '%s'", f.bundle);
    assert_int_equal(o->code, 1);
    assert_non_null(strstr(o->out, "FAIL stray-weights model.safetensors: "));
    assert_non_null(strstr(o->out, "FAIL container model.safetensors: "));
    assert_string_equal(o->err, "");
    o = gstick("verify '%s' --json", f.bundle);
    assert_int_equal(o->code, 1);
    gs_error err = {0};
    assert_ok(gs_json_parse(o->out, strlen(o->out), &json, &err), &err);
    assert_true(cJSON_IsFalse(gs_json_get(json, "holds")) && number(json, "total_findings") == 2);
    assert_int_equal(cJSON_GetArraySize(gs_json_get(json, "findings")), 2);
    cJSON_Delete(json);
    end(&f);
}

static void a_model_is_no_bundle(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    const outcome *o = gstick("verify '%s'", f.model);
    assert_int_equal(o->code, 1);
    assert_non_null(strstr(o->out, "FAIL "));
    end(&f);
}

static void the_checks_are_listed(void **state) {
    (void)state;
    const outcome *o = gstick("verify --checks");
    assert_int_equal(o->code, 0);
    assert_non_null(strstr(o->out, "deq-scale-dtype"));
    assert_non_null(strstr(o->out, "otherwise: "));
    cJSON *json = json_of(gstick("verify --checks --json"));
    assert_true(cJSON_GetArraySize(json) >= 50);
    cJSON_Delete(json);
    o = gstick("verify --help");
    assert_int_equal(o->code, 0);
    assert_non_null(strstr(o->out, "--against"));
    assert_non_null(strstr(o->out, "exit codes"));
}

static void wrong_usage_and_bad_input_have_their_own_codes(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    assert_refused(gstick("verify"), 2, "no bundle");
    assert_refused(gstick("verify '%s' --target vlm", f.model), 2, "unknown target 'vlm'");
    assert_refused(gstick("verify '%s/none'", f.root), 3, "does not exist");
    end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_bundle_exits_with_0_and_a_broken_one_with_1),
        cmocka_unit_test(a_model_is_no_bundle),
        cmocka_unit_test(the_checks_are_listed),
        cmocka_unit_test(wrong_usage_and_bad_input_have_their_own_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
