#include "../support.h"

#include <errno.h>

static void a_status_has_a_text(void **state) {
    (void)state;
    assert_string_equal(gs_status_text(GS_OK), "ok");
    assert_string_equal(gs_status_text(GS_E_CHECK), "a check said no");
    assert_non_null(gs_status_text((gs_status)1234));
    assert_string_equal(gs_version(), GSTICK_VERSION);
}

static void setting_an_error_clears_the_old_hint(void **state) {
    (void)state;
    gs_error err = {0};
    assert_int_equal(gs_error_set(&err, GS_E_NUMERIC, "row %d", 7), GS_E_NUMERIC);
    assert_int_equal(gs_error_hint(&err, "try %s", "again"), GS_E_NUMERIC);
    assert_string_equal(err.text, "row 7");
    assert_string_equal(err.hint, "try again");
    gs_error_set(&err, GS_E_IO, "other");
    assert_string_equal(err.hint, "");
    assert_int_equal(err.status, GS_E_IO);
}

static void each_layer_prepends_its_place(void **state) {
    (void)state;
    gs_error err = {0};
    gs_error_set(&err, GS_E_FORMAT, "3 of 4 bytes");
    assert_int_equal(gs_error_at(&err, "tensor '%s'", "a.weight"), GS_E_FORMAT);
    gs_error_at(&err, "%s", "model.safetensors");
    assert_string_equal(err.text, "model.safetensors: tensor 'a.weight': 3 of 4 bytes");
    assert_int_equal(err.status, GS_E_FORMAT);
}

static void the_status_travels_without_an_error(void **state) {
    (void)state;
    assert_int_equal(gs_error_set(NULL, GS_E_IO, "x"), GS_E_IO);
    assert_int_equal(gs_error_at(NULL, "x"), GS_E_FORMAT);
    (void)gs_error_hint(NULL, "x");
    assert_int_equal(gs_error_errno(NULL, ENOSPC, "x"), GS_E_NOSPACE);
}

static void errno_decides_the_status(void **state) {
    (void)state;
    static const struct {
        int errnum;
        gs_status status;
    } table[] = {{ENOSPC, GS_E_NOSPACE}, {EDQUOT, GS_E_NOSPACE}, {ENOMEM, GS_E_NOMEM},
                 {ENOENT, GS_E_FORMAT},  {ENOTDIR, GS_E_FORMAT}, {EACCES, GS_E_IO},
                 {EIO, GS_E_IO}};
    gs_error err = {0};
    for (size_t i = 0; i < GS_COUNTOF(table); i++)
        assert_int_equal(gs_error_errno(&err, table[i].errnum, "open"), table[i].status);
    gs_error_errno(&err, ENOENT, "cannot open '%s'", "x");
    assert_string_equal(err.text, "cannot open 'x': No such file or directory");
}

static void a_long_text_is_cut_at_a_character(void **state) {
    (void)state;
    gs_error err = {0};
    char text[3000];
    /* "\u00e4" is two bytes; from an odd offset one of them straddles the end */
    text[0] = 'x';
    for (size_t i = 1; i + 2 < sizeof text; i += 2) memcpy(text + i, "\xc3\xa4", 3);
    gs_error_set(&err, GS_E_IO, "%s", text);
    assert_int_equal(strlen(err.text), 1023);
    gs_error_set(&err, GS_E_IO, "%s", text + 1);
    assert_int_equal(strlen(err.text), 1022); /* the half character is gone */
    assert_int_equal((unsigned char)err.text[1021], 0xa4);
    gs_error_hint(&err, "%s", text + 1);
    assert_int_equal(strlen(err.hint), 510);
    /* prepending keeps the place and cuts the end */
    gs_error_at(&err, "here");
    assert_true(strlen(err.text) >= 1022 && strlen(err.text) <= 1023);
    assert_memory_equal(err.text, "here: \xc3\xa4", 8);
    gs_error_at(&err, "%s", text);
    assert_memory_equal(err.text, text, 1000);
}

static void untrusted_bytes_cannot_break_the_line(void **state) {
    (void)state;
    gs_error err = {0};
    gs_error_set(&err, GS_E_FORMAT, "'%s'", "a\nb\033[2Jc\x7f\r");
    assert_string_equal(err.text, "'a b?[2Jc? '");
    gs_error_at(&err, "f\ng");
    assert_null(strchr(err.text, '\n'));
    /* U+009B begins a command like ESC [; U+00A0 is a space */
    gs_error_set(&err, GS_E_FORMAT, "%s", "a\xc2\x9b" "2J\xc2\xa0\xc3\x9b");
    assert_string_equal(err.text, "a??2J\xc2\xa0\xc3\x9b");
    gs_error_at(&err, "f\ng");
    assert_null(strchr(err.text, '\n'));
}

static void an_error_may_quote_itself(void **state) {
    (void)state;
    gs_error err = {0};
    gs_error_set(&err, GS_E_IO, "inner");
    gs_error_set(&err, GS_E_NUMERIC, "outer (%s)", err.text);
    assert_string_equal(err.text, "outer (inner)");
    gs_error_at(&err, "%s", err.text);
    assert_string_equal(err.text, "outer (inner): outer (inner)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_status_has_a_text),
        cmocka_unit_test(setting_an_error_clears_the_old_hint),
        cmocka_unit_test(each_layer_prepends_its_place),
        cmocka_unit_test(the_status_travels_without_an_error),
        cmocka_unit_test(errno_decides_the_status),
        cmocka_unit_test(a_long_text_is_cut_at_a_character),
        cmocka_unit_test(untrusted_bytes_cannot_break_the_line),
        cmocka_unit_test(an_error_may_quote_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
