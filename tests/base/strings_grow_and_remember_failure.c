#include "../support.h"

#include <base/mem.h>
#include <base/strbuf.h>

static void appends_add_up(void **state) {
    (void)state;
    gs_strbuf sb = {0};
    assert_string_equal(gs_strbuf_text(&sb), "");
    gs_strbuf_append(&sb, NULL, 0);
    gs_strbuf_puts(&sb, "ab");
    gs_strbuf_putc(&sb, 'c');
    gs_strbuf_append(&sb, "d\0e", 3);
    assert_int_equal(sb.len, 6);
    assert_memory_equal(sb.data, "abcd\0e", 7);
    gs_strbuf_reset(&sb);
    gs_strbuf_printf(&sb, "%d-%s", 5, "x");
    assert_string_equal(gs_strbuf_text(&sb), "5-x");
    gs_strbuf_clear(&sb);
    assert_null(sb.data);
}

static void printf_may_be_longer_than_any_buffer(void **state) {
    (void)state;
    gs_strbuf sb = {0};
    for (int width = 250; width <= 260; width++) gs_strbuf_printf(&sb, "%*d", width, 7);
    gs_strbuf_printf(&sb, "%*d", 100000, 8);
    assert_int_equal(sb.len, 11 * 255 + 100000);
    assert_int_equal(strlen(sb.data), sb.len);
    assert_int_equal(sb.data[sb.len - 1], '8');
    gs_strbuf_clear(&sb);
}

static void many_small_appends_are_amortised(void **state) {
    (void)state;
    gs_strbuf sb = {0};
    for (int i = 0; i < 1000000; i++) gs_strbuf_putc(&sb, (char)('a' + i % 26));
    assert_int_equal(sb.len, 1000000);
    for (int i = 0; i < 1000000; i += 999) assert_int_equal(sb.data[i], 'a' + i % 26);
    gs_strbuf_clear(&sb);
}

static void taking_moves_the_bytes_out(void **state) {
    (void)state;
    gs_strbuf sb = {0};
    size_t len = 9;
    assert_null(gs_strbuf_take(&sb, &len));
    assert_int_equal(len, 0);
    gs_strbuf_puts(&sb, "hello");
    char *text = gs_strbuf_take(&sb, &len);
    assert_string_equal(text, "hello");
    assert_int_equal(len, 5);
    assert_null(sb.data);
    assert_int_equal(sb.len, 0);
    gs_free(text);
}

static void a_failure_sticks(void **state) {
    (void)state;
    gs_strbuf sb = {0};
    gs_strbuf_puts(&sb, "kept");
    gs_mem_fail_after(0);
    gs_strbuf_printf(&sb, "%*d", 1000, 1);
    gs_mem_fail_after(-1);
    assert_true(sb.failed);
    gs_strbuf_puts(&sb, "later");
    assert_string_equal(gs_strbuf_text(&sb), "kept");
    assert_null(gs_strbuf_take(&sb, NULL)); /* also releases: the leak checker watches */
    assert_false(sb.failed);
}

static void expect_json(const char *bytes, size_t n, const char *json) {
    gs_strbuf sb = {0};
    gs_strbuf_json(&sb, bytes, n);
    assert_string_equal(gs_strbuf_text(&sb), json);
    gs_strbuf_clear(&sb);
}

static void json_strings_are_escaped(void **state) {
    (void)state;
    expect_json("", 0, "\"\"");
    expect_json("plain", 5, "\"plain\"");
    expect_json("a\"b\\c", 5, "\"a\\\"b\\\\c\"");
    expect_json("\n\t\r\b\f", 5, "\"\\n\\t\\r\\b\\f\"");
    expect_json("\x01\0\x1f", 3, "\"\\u0001\\u0000\\u001f\"");
    expect_json("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9,
                "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"");
}

static void malformed_utf8_becomes_the_replacement_character(void **state) {
    (void)state;
    expect_json("a\xff" "b", 3, "\"a\\ufffdb\"");
    expect_json("\xc3", 1, "\"\\ufffd\"");
    expect_json("\xc0\x80", 2, "\"\\ufffd\\ufffd\"");         /* overlong */
    expect_json("\xed\xa0\x80", 3, "\"\\ufffd\\ufffd\\ufffd\""); /* a surrogate */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_add_up),
        cmocka_unit_test(printf_may_be_longer_than_any_buffer),
        cmocka_unit_test(many_small_appends_are_amortised),
        cmocka_unit_test(taking_moves_the_bytes_out),
        cmocka_unit_test(a_failure_sticks),
        cmocka_unit_test(json_strings_are_escaped),
        cmocka_unit_test(malformed_utf8_becomes_the_replacement_character),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
