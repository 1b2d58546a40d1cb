/* Oniguruma's expressions in PCRE2: same matches, or a refusal that names the construct. */
#include "tokenizer_support.h"

#include <loaders/tokenizer/regex.h>

/* Matches as "begin-end begin-end". */
static const char *matches(const char *pattern, const char *text) {
    static char out[400];
    gs_error err = {0};
    gs_tokregex *re;
    gs_tokregex_run *run;
    size_t used = 0, from = 0, len = strlen(text);
    assert_ok(gs_tokregex_compile(pattern, strlen(pattern), &re, &err), &err);
    assert_ok(gs_tokregex_run_create(re, &run, &err), &err);
    out[0] = 0;
    while (from <= len) {
        size_t begin, end;
        bool found;
        assert_ok(gs_tokregex_next(run, text, len, from, &begin, &end, &found, &err), &err);
        if (!found) break;
        used += (size_t)snprintf(out + used, sizeof out - used, "%s%zu-%zu", used ? " " : "",
                                 begin, end);
        from = end > begin ? end : end + 1;
    }
    gs_tokregex_run_destroy(run);
    gs_tokregex_destroy(re);
    return out;
}

#define assert_matches(pattern, text, want) assert_string_equal(matches(pattern, text), want)

static void refused(const char *pattern, const char *word) {
    gs_error err = {0};
    gs_tokregex *re = NULL;
    assert_fails(gs_tokregex_compile(pattern, strlen(pattern), &re, &err), GS_E_UNSUPPORTED,
                 &err);
    assert_null(re);
    if (!strstr(err.text, word))
        fail_msg("%s: '%s' says nothing of '%s'", pattern, err.text, word);
}

static void white_space_is_unicode_white_space(void **state) {
    (void)state;
    assert_matches("\\s+", "a \t\r\n\xc2\xa0\xe2\x80\xa8" "b", "1-10");
    /* U+180E is white space for PCRE2's own \s */
    assert_matches("\\s", "\xe1\xa0\x8e", "");
    assert_matches("\\S", "\xe1\xa0\x8e", "0-3");
    assert_matches("[\\S]", "\xe1\xa0\x8e ", "0-3");
    assert_matches("[^\\s]", " \xe1\xa0\x8e", "1-4");
}

static void words_are_letters_marks_digits_and_connectors(void **state) {
    (void)state;
    assert_matches("\\w+", "a\xcc\x81_1\xe2\x80\xbf!", "0-8");
    /* one half is a word character alone, not in a class: so it is in Oniguruma */
    assert_matches("\\w", "\xc2\xbd", "0-2");
    assert_matches("[\\w]", "\xc2\xbd", "");
    assert_matches("\\W+", "a!?b", "1-3");
}

static void scripts_are_scripts_and_not_their_extensions(void **state) {
    (void)state;
    /* U+3001 is common to several scripts, Han among them, but of none */
    assert_matches("\\p{Han}+", "\xe6\x97\xa5\xe3\x80\x81", "0-3");
    assert_matches("\\p{^L}|\\P{L}", "a1", "1-2");
}

static void anchors_know_lines(void **state) {
    (void)state;
    assert_matches("^.", "ab\ncd", "0-1 3-4");
    assert_matches("\\s+$", "a \nb ", "1-2 4-5");
    assert_matches(".", "\r\n", "0-1");
}

static void escapes_name_the_same_characters(void **state) {
    (void)state;
    assert_matches("\\u0041\\x{e9}\\x42", "A\xc3\xa9" "B", "0-4");
    assert_matches("\\v", "\x0b\n", "0-1");
    assert_matches("[\\-\\]\\[]+", "a[]-", "1-4");
}

static void braces_without_numbers_are_letters(void **state) {
    (void)state;
    assert_matches("a{x}", "aa{x}", "1-5");
    assert_matches("a{2}b{1,}c{0,1}", "aabbc", "0-5");
}

static void quantifiers_may_be_possessive_or_lazy(void **state) {
    (void)state;
    assert_matches("a++a", "aaa", "");
    assert_matches("a+?", "aa", "0-1 1-2");
}

static void case_folds_one_to_one(void **state) {
    (void)state;
    /* the long s and the Kelvin sign fold to s and k */
    assert_matches("(?i:'s)", "'\xc5\xbf", "0-3");
    assert_matches("(?i)k", "\xe2\x84\xaa", "0-3");
    refused("(?i)ss", "(?i)");
    refused("a(?i:fi)", "(?i)");
    refused("(?i:\xc3\x9f)", "(?i)");
    assert_matches("(?i:a)ss", "Ass", "0-3");
}

static void what_differs_is_refused_by_name(void **state) {
    (void)state;
    static const char *const all[][2] = {
        {"\\bx", "'\\b'"},          {"\\B", "'\\B'"},
        {"\\h", "'\\h'"},           {"\\R", "'\\R'"},
        {"\\X", "'\\X'"},           {"\\K", "'\\K'"},
        {"\\G", "'\\G'"},           {"(a)\\1", "'\\1'"},
        {"\\C", "'\\C'"},           {"\\Q..\\E", "'\\Q'"},
        {"[a[b]]", "class inside"}, {"[[:alpha:]]", "class inside"},
        {"[a&&b]", "intersection"}, {"[]a]", "empty class"},
        {"[a", "without end"},      {"[\\s-z]", "range"},
        {"[a-\\d]", "range"},       {"(?<n>a)", "group"},
        {"(?m)a", "group"},         {"a(?i)b", "group"},
        {"(?#x)", "group"},         {"(*UTF)a", "control verb"},
        {"a{,3}", "{,n}"},          {"a{2}+", "quantifier"},
        {"a{2}?", "quantifier"},    {"\\xff", "byte"},
        {"\\x{zz}", "malformed"},   {"\\u12", "malformed"},
        {"\\pL", "braces"},         {"\\p{Nonesuch}", "PCRE2"},
        {"\\p{L", "property"},      {"(", "PCRE2"},
        {"a**b)", "PCRE2"},         {"\\", "lone"},
        {"(?<=a+)b", "PCRE2"},
    };
    for (size_t i = 0; i < GS_COUNTOF(all); i++) refused(all[i][0], all[i][1]);
}

static void a_pattern_of_many_groups_is_refused(void **state) {
    (void)state;
    char deep[2001];
    memset(deep, '(', 1000);
    memset(deep + 1000, ')', 1000);
    deep[2000] = 0;
    refused(deep, "groups");
}

static void a_runaway_expression_ends_with_an_error(void **state) {
    (void)state;
    gs_error err = {0};
    gs_tokregex *re;
    gs_tokregex_run *run;
    char text[65];
    size_t begin, end;
    bool found;
    memset(text, 'a', 64);
    assert_ok(gs_tokregex_compile("(a+)+b|(a|a)*c", 14, &re, &err), &err);
    assert_ok(gs_tokregex_run_create(re, &run, &err), &err);
    assert_fails(gs_tokregex_next(run, text, 64, 0, &begin, &end, &found, &err), GS_E_UNSUPPORTED,
                 &err);
    assert_non_null(strstr(err.text, "too many steps"));
    gs_tokregex_run_destroy(run);
    gs_tokregex_destroy(re);
}

static void without_memory_there_is_an_error_and_no_leak(void **state) {
    (void)state;
    for (int64_t k = 0; k < 30; k++) {
        gs_error err = {0};
        gs_tokregex *re = NULL;
        gs_tokregex_run *run = NULL;
        gs_mem_fail_after(k);
        gs_status status = gs_tokregex_compile("[a-c]+\\s", 8, &re, &err);
        if (status == GS_OK) status = gs_tokregex_run_create(re, &run, &err);
        gs_mem_fail_after(-1);
        gs_tokregex_run_destroy(run);
        gs_tokregex_destroy(re);
        if (status == GS_OK) return;
        assert_int_equal(status, GS_E_NOMEM);
    }
    fail_msg("never enough memory");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(white_space_is_unicode_white_space),
        cmocka_unit_test(words_are_letters_marks_digits_and_connectors),
        cmocka_unit_test(scripts_are_scripts_and_not_their_extensions),
        cmocka_unit_test(anchors_know_lines),
        cmocka_unit_test(escapes_name_the_same_characters),
        cmocka_unit_test(braces_without_numbers_are_letters),
        cmocka_unit_test(quantifiers_may_be_possessive_or_lazy),
        cmocka_unit_test(case_folds_one_to_one),
        cmocka_unit_test(what_differs_is_refused_by_name),
        cmocka_unit_test(a_pattern_of_many_groups_is_refused),
        cmocka_unit_test(a_runaway_expression_ends_with_an_error),
        cmocka_unit_test(without_memory_there_is_an_error_and_no_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
