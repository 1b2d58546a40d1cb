#include "../support.h"

#include <cli/args.h>

static bool flag, help;
static const char *word, *positional[2];
static int64_t number, size;
static double ratio;
static gs_arg_list list;
static const gs_arg args[] = {
    {"--flag", NULL, GS_ARG_FLAG, &flag, ""},       {"-o,--output", "F", GS_ARG_STRING, &word, ""},
    {"--number", "N", GS_ARG_INT, &number, ""},     {"--size", "S", GS_ARG_BYTES, &size, ""},
    {"--list", "L", GS_ARG_LIST, &list, ""},        {"--ratio", "R", GS_ARG_DOUBLE, &ratio, ""},
};
static const gs_command command = {"", "", NULL, args, GS_COUNTOF(args)};

static gs_status parse(gs_error *err, size_t *n, int argc, ...) {
    char *argv[16];
    va_list rest;
    va_start(rest, argc);
    for (int i = 0; i < argc; i++) argv[i] = va_arg(rest, char *);
    va_end(rest);
    flag = false;
    word = NULL;
    number = size = 0;
    list.count = list.used = 0;
    return gs_args_parse(&command, argc, argv, positional, 2, n, &help, err);
}

static void every_kind_of_value_is_read(void **state) {
    (void)state;
    gs_error err = {0};
    size_t n;
    assert_ok(parse(&err, &n, 9, "one", "-o", "out", "--number=12", "--flag", "--size", "1.5G", "two", "--list=a,b"), &err);
    assert_int_equal(n, 2);
    assert_string_equal(positional[1], "two");
    assert_string_equal(word, "out");
    assert_int_equal(number, 12);
    assert_int_equal(size, 3LL << 29);
    assert_true(flag);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.item[1], "b");
    assert_ok(parse(&err, &n, 1, "--ratio=-0.5"), &err);
    assert_true(ratio == -0.5);
}

static void what_is_wrong_is_said(void **state) {
    (void)state;
    gs_error err = {0};
    size_t n;
    assert_fails(parse(&err, &n, 1, "--nmber=3"), GS_E_INVALID, &err);
    assert_non_null(strstr(err.hint, "--number"));
    assert_fails(parse(&err, &n, 1, "--number"), GS_E_INVALID, &err);
    assert_fails(parse(&err, &n, 1, "--number=3x"), GS_E_INVALID, &err);
    assert_fails(parse(&err, &n, 1, "--number=-3"), GS_E_INVALID, &err);
    assert_fails(parse(&err, &n, 1, "--number=99999999999999999999"), GS_E_INVALID, &err);
    assert_fails(parse(&err, &n, 1, "--size=4Q"), GS_E_INVALID, &err);
    assert_fails(parse(&err, &n, 1, "--ratio=half"), GS_E_INVALID, &err);
    assert_fails(parse(&err, &n, 1, "--flag=yes"), GS_E_INVALID, &err);
    assert_fails(parse(&err, &n, 3, "a", "b", "c"), GS_E_INVALID, &err);
}

static void words_after_a_double_dash_are_never_options(void **state) {
    (void)state;
    gs_error err = {0};
    size_t n;
    assert_ok(parse(&err, &n, 3, "--", "--flag", "-"), &err);
    assert_int_equal(n, 2);
    assert_false(flag);
    assert_ok(parse(&err, &n, 2, "--", "--help"), &err);
    assert_false(help);
    assert_string_equal(positional[0], "--help");
    assert_ok(parse(&err, &n, 1, "-h"), &err);
    assert_true(help);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_value_is_read),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(words_after_a_double_dash_are_never_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
