/* `gstick export` as a user meets it. */
#include "program.h"

static void a_bundle_is_exported_and_reported(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    assert_int_equal(gstick("quantize '%s' -o '%s' -q", f.model, f.bundle)->code, 0);
    const outcome *o = gstick("export '%s' --to compressed-tensors -o '%s/model-ct'", f.bundle, f.root);
    assert_int_equal(o->code, 0);
    assert_non_null(strstr(o->out, "linears     22, 21 of them quantized"));
    assert_non_null(strstr(o->out, "(compressed-tensors)"));
    cJSON *json = json_of(gstick("export '%s' --to gptq -o '%s/model-gptq' --json -q", f.bundle, f.root));
    assert_string_equal(gs_json_get(json, "format")->valuestring, "gptq");
    assert_true(number(json, "quantized") == 21);
    assert_true(number(json, "bytes_out") > 0);
    cJSON_Delete(json);
    end(&f);
}

static void a_wrong_call_is_one_line_and_an_exit_code(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    assert_refused(gstick("export '%s' -o '%s'", f.model, f.bundle), 2, "no format is given");
    assert_refused(gstick("export '%s' --to gguf", f.model), 2, "no output is given");
    assert_refused(gstick("export --to gguf -o '%s'", f.bundle), 2, "no input is given");
    assert_refused(gstick("export '%s' --to ggfu -o '%s'", f.model, f.bundle), 2, "gguf");
    assert_refused(gstick("export '%s' --to gptq -o '%s'", f.model, f.bundle), 3, "every linear but the head");
    assert_refused(gstick("export '%s' --to ascend -o '%s'", f.model, f.model), 2, "is the input");
    assert_no_output(&f);
    assert_int_equal(gstick("export --help")->code, 0);
    assert_non_null(strstr(last.out, "--max-shard-size"));
    end(&f);
}

static void a_full_disk_leaves_nothing(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    const outcome *o = gstick_with("ulimit -f 8; trap '' XFSZ; ", "export '%s' --to ascend -o '%s'", f.model, f.bundle);
    assert_true(o->code == 4 || o->code == 5);
    assert_no_output(&f);
    end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bundle_is_exported_and_reported),
        cmocka_unit_test(a_wrong_call_is_one_line_and_an_exit_code),
        cmocka_unit_test(a_full_disk_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
