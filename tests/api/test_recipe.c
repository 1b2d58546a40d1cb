/* The table of options: as recipe files, and as the recipe in a manifest. */
#include "../support.h"

#include <api/recipe.h>
#include <base/mem.h>

static gs_status parse(const char *text, gs_quantize_options *o, gs_recipe **r, gs_error *err) {
    *err = (gs_error){0};
    return gs_recipe_from_json(text, strlen(text), o, r, err);
}

static void a_recipe_sets_what_it_names_and_nothing_else(void **state) {
    (void)state;
    gs_error err;
    gs_recipe *r;
    gs_quantize_options o = {.dtype = "f16", .max_shard_size = 3};
    assert_ok(parse("{\"scheme\": \"w8a16\", \"scale_convention\": \"goldenstick\", \"max_shard_size\": \"1.5G\","
                   " \"blacklist\": [\"a\", \"b\\u00e9\"], \"dry_run\": true, \"format\": null}", &o, &r, &err), &err);
    assert_string_equal(o.scheme, "w8a16");
    assert_string_equal(o.scale_convention, "goldenstick");
    assert_string_equal(o.dtype, "f16");
    assert_null(o.format);
    assert_int_equal(o.max_shard_size, 3LL << 29);
    assert_true(o.dry_run);
    assert_int_equal(o.blacklist_count, 2);
    assert_string_equal(o.blacklist[1], "b\xc3\xa9");
    gs_recipe_destroy(r);
    assert_ok(parse("{\"blacklist\": [], \"max_shard_size\": 8000, \"dry_run\": false}", &o, &r, &err), &err);
    assert_non_null(o.blacklist); /* nothing stays float, which is not the default */
    assert_int_equal(o.blacklist_count, 0);
    assert_int_equal(o.max_shard_size, 8000);
    assert_false(o.dry_run);
    gs_recipe_destroy(r);
    assert_ok(parse("{\"alpha\": 0.5, \"samples\": 32, \"percentile\": 99.9}", &o, &r, &err), &err);
    assert_string_equal(o.alpha, "0.5"); /* a word that may be written as a number */
    assert_int_equal(o.calibrate.samples, 32);
    assert_true(o.percentile == 99.9);
    gs_recipe_destroy(r);
    assert_ok(parse("{\"alpha\": \"auto\"}", &o, &r, &err), &err);
    assert_string_equal(o.alpha, "auto");
    gs_recipe_destroy(r);
    gs_recipe_destroy(NULL);
}

static void what_a_recipe_gets_wrong_is_said(void **state) {
    (void)state;
    static const struct {
        const char *text, *word;
        gs_status status;
    } cases[] = {
        {"{\"scheme\": 8}", "\"scheme\" wants a string", GS_E_INVALID},
        {"{\"blacklist\": \"lm_head\"}", "\"blacklist\" wants a list of strings", GS_E_INVALID},
        {"{\"blacklist\": [\"a\", 1]}", "\"blacklist\" wants a list of strings", GS_E_INVALID},
        {"{\"max_shard_size\": \"4Q\"}", "\"max_shard_size\" wants a size", GS_E_INVALID},
        {"{\"max_shard_size\": -1}", "\"max_shard_size\" wants a size", GS_E_INVALID},
        {"{\"max_shard_size\": 1.5}", "\"max_shard_size\" wants a size", GS_E_INVALID},
        {"{\"max_shard_size\": [1]}", "\"max_shard_size\" wants a size", GS_E_INVALID},
        {"{\"samples\": -1}", "\"samples\" wants a whole number", GS_E_INVALID},
        {"{\"samples\": \"32\"}", "\"samples\" wants a whole number", GS_E_INVALID},
        {"{\"percentile\": \"99\"}", "\"percentile\" wants a number", GS_E_INVALID},
        {"{\"alpha\": true}", "\"alpha\" wants", GS_E_INVALID},
        {"{\"dry_run\": 1}", "\"dry_run\" wants true or false", GS_E_INVALID},
        {"{\"max-shard-size\": 1}", "unknown key \"max-shard-size\"", GS_E_INVALID},
        {"{\"Scheme\": \"w8a16\"}", "unknown key \"Scheme\"", GS_E_INVALID},
        {"{\"li\\nne\": 1}", "unknown key \"li ne\"", GS_E_INVALID},
        {"[\"w8a16\"]", "a recipe is a JSON object", GS_E_INVALID},
        {"", "", GS_E_FORMAT},
        {"{\"scheme\": \"a\", \"scheme\": \"b\"}", "twice", GS_E_FORMAT},
    };
    gs_error err;
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        gs_recipe *r = (gs_recipe *)&err;
        gs_quantize_options o = {.dtype = "kept"};
        assert_fails(parse(cases[i].text, &o, &r, &err), cases[i].status, &err);
        if (!strstr(err.text, cases[i].word)) fail_msg("'%s', wanted '%s'", err.text, cases[i].word);
        assert_null(r);
        const gs_quantize_options untouched = {.dtype = o.dtype};
        assert_string_equal(o.dtype, "kept");
        assert_memory_equal(&o, &untouched, sizeof o);
    }
    gs_quantize_options o = {0};
    gs_recipe *r;
    assert_fails(parse("{\"shceme\": \"w8a16\"}", &o, &r, &err), GS_E_INVALID, &err);
    assert_string_equal(err.hint, "did you mean \"scheme\"?");
}

static void errors_name_the_file(void **state) {
    (void)state;
    gs_error err = {0};
    gs_recipe *r;
    gs_quantize_options o = {0};
    char *dir = gs_test_tmpdir(), path[1200];
    snprintf(path, sizeof path, "%s/recipe.json", dir);
    assert_fails(gs_recipe_read(path, &o, &r, &err), GS_E_FORMAT, &err);
    assert_non_null(strstr(err.text, "recipe.json"));
    static const char *const texts[] = {"{\"dtyp\": \"f16\"}", "{\"dtype\": 16}", "{\"dtype\": "};
    for (size_t i = 0; i < GS_COUNTOF(texts); i++) {
        FILE *f = fopen(path, "w");
        fputs(texts[i], f);
        fclose(f);
        assert_true(gs_recipe_read(path, &o, &r, &err) != GS_OK);
        if (!strstr(err.text, "recipe.json: ")) fail_msg("no file in '%s'", err.text);
    }
    gs_test_rmdir(dir);
}

/* Whatever the rows are: every one is set to something, printed, and read back. */
static void printed_options_read_back_equal(void **state) {
    (void)state;
    static const char *const words[] = {"one", "t\"w\xc3\xb6"};
    size_t count;
    const gs_option_row *rows = gs_quantize_option_rows(&count);
    gs_quantize_options o = {0}, back = {0};
    for (size_t i = 0; i < count; i++) {
        void *m = gs_option_member(&rows[i], &o);
        switch (rows[i].kind) {
        case GS_OPTION_STRING:
        case GS_OPTION_WORD: *(const char **)m = rows[i].name; break;
        case GS_OPTION_PATH: break;
        case GS_OPTION_INT:
        case GS_OPTION_BYTES: *(int64_t *)m = (int64_t)i + 1000000007; break;
        case GS_OPTION_DOUBLE: *(double *)m = 0.1 + (double)i; break;
        case GS_OPTION_BOOL: *(bool *)m = true; break;
        case GS_OPTION_LIST:
            *(const char *const **)m = words;
            *(size_t *)(void *)((char *)&o + rows[i].count_offset) = 2;
            break;
        }
    }
    gs_strbuf a = {0}, b = {0};
    gs_error err = {0};
    gs_recipe *r;
    gs_recipe_print(&o, 0, &a);
    assert_ok(gs_recipe_from_json(gs_strbuf_text(&a), a.len, &back, &r, &err), &err);
    assert_string_equal(back.blacklist[1], words[1]);
    gs_recipe_print(&back, 0, &b);
    assert_string_equal(gs_strbuf_text(&a), gs_strbuf_text(&b));
    for (size_t i = 0; i < count; i++) {
        char key[64];
        snprintf(key, sizeof key, "\"%s\": ", rows[i].name);
        assert_true((strstr(gs_strbuf_text(&a), key) != NULL) == (rows[i].kind != GS_OPTION_PATH));
    }
    gs_recipe_destroy(r);
    gs_strbuf_clear(&a);
    gs_strbuf_clear(&b);
    gs_recipe_print(&(gs_quantize_options){0}, 0, &a);
    assert_string_equal(gs_strbuf_text(&a), "{}");
    gs_strbuf_clear(&a);
}

static void without_memory_there_is_an_error_and_no_leak(void **state) {
    (void)state;
    gs_error err;
    for (int64_t k = 0;; k++) {
        gs_quantize_options o = {0};
        gs_recipe *r;
        gs_mem_fail_after(k);
        gs_status status = parse("{\"blacklist\": [\"a\"], \"scheme\": \"w8a16\"}", &o, &r, &err);
        gs_mem_fail_after(-1);
        if (status == GS_OK) {
            assert_true(k > 0);
            gs_recipe_destroy(r);
            return;
        }
        assert_int_equal(status, GS_E_NOMEM);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recipe_sets_what_it_names_and_nothing_else),
        cmocka_unit_test(what_a_recipe_gets_wrong_is_said),
        cmocka_unit_test(errors_name_the_file),
        cmocka_unit_test(printed_options_read_back_equal),
        cmocka_unit_test(without_memory_there_is_an_error_and_no_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
