#include "../support.h"

#include <base/json.h>
#include <base/mem.h>
#include <math.h>

static void expect(cJSON *tree, int indent, const char *want) {
    gs_error err = {0};
    gs_strbuf sb = {0};
    assert_ok(gs_json_print(tree, indent, &sb, &err), &err);
    assert_string_equal(gs_strbuf_text(&sb), want);
    gs_strbuf_clear(&sb);
    cJSON_Delete(tree);
}

static cJSON *parsed(const char *text) {
    gs_error err = {0};
    cJSON *tree;
    assert_ok(gs_json_parse(text, strlen(text), &tree, &err), &err);
    return tree;
}

static void layout_follows_the_indent(void **state) {
    (void)state;
    const char *text = "{\"a\":[1,true],\"b\":{},\"c\":[],\"d\":null,\"e\":false}";
    expect(parsed(text), 0,
           "{\"a\": [1, true], \"b\": {}, \"c\": [], \"d\": null, \"e\": false}");
    expect(parsed(text), 2,
           "{\n  \"a\": [\n    1,\n    true\n  ],\n  \"b\": {},\n  \"c\": [],\n  \"d\": null,\n"
           "  \"e\": false\n}");
}

static void strings_stay_utf8(void **state) {
    (void)state;
    expect(parsed("\"\\u00e4\\ud83d\\ude00\\n\\u0001\\\"\""), 0,
           "\"\xc3\xa4\xf0\x9f\x98\x80\\n\\u0001\\\"\"");
}

static void integers_have_no_exponent(void **state) {
    (void)state;
    expect(cJSON_CreateNumber(0), 0, "0");
    expect(cJSON_CreateNumber(-0.0), 0, "-0");
    expect(cJSON_CreateNumber(9007199254740992), 0, "9007199254740992");
    expect(cJSON_CreateNumber(-9007199254740991), 0, "-9007199254740991");
    expect(cJSON_CreateNumber(1e20), 0, "100000000000000000000");
    expect(parsed("1000000000000000019884624838656"), 0, "1000000000000000019884624838656");
    for (int64_t v = 1; v <= INT64_C(1) << 53; v = v * 3 + 1) {
        char want[32];
        snprintf(want, sizeof want, "%lld", (long long)v);
        expect(cJSON_CreateNumber((double)v), 0, want);
    }
}

static void doubles_read_back_bit_for_bit(void **state) {
    (void)state;
    expect(cJSON_CreateNumber(0.1), 0, "0.1");
    expect(cJSON_CreateNumber(1e-5), 0, "1e-05");
    uint64_t seed = 21;
    for (int i = 0; i < 200000; i++) {
        uint64_t bits = gs_test_rand(&seed);
        double v, back = 0;
        memcpy(&v, &bits, sizeof v);
        if (!isfinite(v)) continue;
        gs_error err = {0};
        gs_strbuf sb = {0};
        cJSON *item = cJSON_CreateNumber(v), *again;
        assert_ok(gs_json_print(item, 0, &sb, &err), &err);
        assert_ok(gs_json_parse(sb.data, sb.len, &again, &err), &err);
        back = again->valuedouble;
        if (memcmp(&v, &back, sizeof v) != 0) fail_msg("%a became %s", v, sb.data);
        cJSON_Delete(item);
        cJSON_Delete(again);
        gs_strbuf_clear(&sb);
    }
}

static void what_json_cannot_say_is_refused(void **state) {
    (void)state;
    gs_error err = {0};
    gs_strbuf sb = {0};
    double bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        cJSON *item = cJSON_CreateNumber(bad[i]);
        assert_fails(gs_json_print(item, 0, &sb, &err), GS_E_NUMERIC, &err);
        cJSON_Delete(item);
    }
    cJSON *root = cJSON_CreateArray(), *inner = root;
    for (int i = 1; i < GS_JSON_MAX_DEPTH + 1; i++) {
        cJSON *next = cJSON_CreateArray();
        cJSON_AddItemToArray(inner, next);
        inner = next;
    }
    assert_fails(gs_json_print(root, 0, &sb, &err), GS_E_INVALID, &err);
    assert_fails(gs_json_print(root, -1, &sb, &err), GS_E_INVALID, &err);
    assert_fails(gs_json_print(NULL, 0, &sb, &err), GS_E_INVALID, &err);
    cJSON_Delete(root);
    gs_strbuf_clear(&sb);
}

static void writing_survives_a_failing_allocator(void **state) {
    (void)state;
    gs_strbuf text = {0};
    gs_strbuf_puts(&text, "[0");
    for (int i = 1; i < 500; i++) gs_strbuf_printf(&text, ", %d", i);
    gs_strbuf_putc(&text, ']');
    cJSON *tree = parsed(gs_strbuf_text(&text));
    gs_status status = GS_E_NOMEM;
    for (int k = 0; status != GS_OK && k < 100; k++) {
        gs_error err = {0};
        gs_strbuf sb = {0};
        gs_mem_fail_after(k);
        status = gs_json_print(tree, 0, &sb, &err);
        gs_mem_fail_after(-1);
        if (status == GS_OK) assert_string_equal(sb.data, text.data);
        else assert_int_equal(status, GS_E_NOMEM);
        gs_strbuf_clear(&sb);
    }
    assert_int_equal(status, GS_OK);
    cJSON_Delete(tree);
    gs_strbuf_clear(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout_follows_the_indent),
        cmocka_unit_test(strings_stay_utf8),
        cmocka_unit_test(integers_have_no_exponent),
        cmocka_unit_test(doubles_read_back_bit_for_bit),
        cmocka_unit_test(what_json_cannot_say_is_refused),
        cmocka_unit_test(writing_survives_a_failing_allocator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
