/* `gstick tokenize` as a user meets it: one text a file, or one a line. */
#include "program.h"

/* ab=2, everything else as it stands; <s>=3 */
static void vocabulary(const fixture *f) {
    tiny_text(f->model, "tokenizer.json",
              "{\"added_tokens\":[{\"id\":3,\"content\":\"<s>\",\"special\":true}],"
              "\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}}");
    tiny_text(f->model, "tokenizer_config.json", "{\"bos_token\":\"<s>\",\"add_bos_token\":true}");
}

/* The ids of the file as text. */
static const char *ids_of(const char *path) {
    static char text[200];
    int32_t id;
    size_t used = 0;
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    text[0] = 0;
    while (fread(&id, sizeof id, 1, file) == 1)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%d", used ? " " : "", (int)id);
    fclose(file);
    return text;
}

static void each_line_of_a_jsonl_is_a_text_by_itself(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    vocabulary(&f);
    tiny_text(f.root, "model.jsonl", "{\"text\": \"abba\"}\n\n{\"content\": \"\"}\n{\"text\": \"\\nb<s>a\"}\n");
    cJSON *json = json_of(gstick("tokenize '%s' --text '%s/model.jsonl' --jsonl -o '%s' --json", f.model, f.root, f.ids));
    assert_int_equal(number(json, "tokens"), 8);
    cJSON_Delete(json);
    assert_string_equal(ids_of(f.ids), "3 2 1 0 -1 3 -1 3 1 0 -1");
    json = json_of(gstick("tokenize '%s' --text '%s/model.jsonl' --jsonl --no-bos --special -o '%s' --json", f.model, f.root, f.ids));
    assert_int_equal(number(json, "tokens"), 6);
    cJSON_Delete(json);
    assert_string_equal(ids_of(f.ids), "2 1 0 -1 -1 1 3 0 -1");
    tiny_text(f.root, "model.jsonl", "{\"text\": \"abba\"}\n{\"no\": \"text\"}\n");
    assert_refused(gstick("tokenize '%s' --text '%s/model.jsonl' --jsonl -o '%s/new'", f.model, f.root, f.root), 3, "line 2");
    assert_no_output(&f);
    end(&f);
}

static void a_file_is_one_text(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    vocabulary(&f);
    tiny_text(f.root, "model.txt", "ab\nba");
    assert_int_equal(gstick("tokenize '%s' --text '%s/model.txt' -o '%s'", f.model, f.root, f.ids)->code, 0);
    assert_non_null(strstr(last.out, "4 tokens"));
    assert_string_equal(ids_of(f.ids), "3 2 1 0");
    assert_refused(gstick("tokenize '%s' --text '%s' -o '%s'", f.model, f.ids, f.ids), 2, "is the input");
    assert_refused(gstick("tokenize '%s/tokenizer.json' --text '%s/model.txt' -o '%s/tokenizer.json'", f.model, f.root, f.model), 2,
                   "is the input");
    assert_string_equal(ids_of(f.ids), "3 2 1 0");
    end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_line_of_a_jsonl_is_a_text_by_itself), cmocka_unit_test(a_file_is_one_text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
