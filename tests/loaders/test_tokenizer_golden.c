/* Random tokenizers, whose ids Hugging Face's tokenizers have given
 * (scripts/make_tokenizer_golden.py). */
#include "tokenizer_support.h"

#include <base/json.h>

static int check_record(const cJSON *record, int number) {
    gs_strbuf json = {0}, want = {0};
    gs_error err = {0};
    gs_tokenizer *t = NULL;
    int bad = 0;
    assert_ok(gs_json_print(gs_json_get(record, "tokenizer"), 0, &json, &err), &err);
    assert_ok(gs_tokenizer_from_json(json.data, json.len, &t, &err), &err);
    const cJSON *each, *id;
    cJSON_ArrayForEach(each, gs_json_get(record, "cases")) {
        const char *text = each->child->valuestring;
        gs_strbuf_reset(&want);
        cJSON_ArrayForEach(id, each->child->next)
            gs_strbuf_printf(&want, "%s%d", want.len ? " " : "", id->valueint);
        const char *got =
            tok_ids(t, text, strlen(text), cJSON_IsTrue(gs_json_get(record, "special")));
        if (strcmp(got, gs_strbuf_text(&want)) == 0) continue;
        print_error("record %d, '%s': '%s', wanted '%s'\n", number, text, got,
                    gs_strbuf_text(&want));
        bad++;
    }
    gs_strbuf_clear(&json);
    gs_strbuf_clear(&want);
    gs_tokenizer_destroy(t);
    return bad;
}

static void ids_equal_those_of_hugging_face(void **state) {
    (void)state;
    gs_error err = {0};
    cJSON *all = NULL;
    const cJSON *each;
    int records = 0, bad = 0;
    assert_ok(gs_json_load("tests/golden/tokenizers.json", (size_t)1 << 24, &all, &err), &err);
    cJSON_ArrayForEach(each, all) bad += check_record(each, records++);
    cJSON_Delete(all);
    assert_int_equal(records, 44);
    assert_int_equal(bad, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ids_equal_those_of_hugging_face)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
