/* Any bytes as JSON. What is accepted prints, the print is accepted, and prints the same. */
#include <base/json.h>

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool promise) {
    if (!promise) abort();
}

static void print_again(const cJSON *tree, int indent) {
    gs_strbuf first = {0}, second = {0};
    gs_error err = {0};
    cJSON *copy = NULL;
    require(gs_json_print(tree, indent, &first, &err) == GS_OK);
    require(gs_json_parse(first.data, first.len, &copy, &err) == GS_OK);
    require(gs_json_print(copy, indent, &second, &err) == GS_OK);
    require(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    cJSON_Delete(copy);
    gs_strbuf_clear(&first);
    gs_strbuf_clear(&second);
}

static void ask_for_members(const cJSON *object) {
    const cJSON *item;
    cJSON_ArrayForEach(item, object) {
        int64_t i = 0;
        double d = 0;
        bool b = false;
        const char *s = NULL;
        if (!item->string) continue;
        require(gs_json_get(object, item->string) == item);
        (void)!gs_json_int(object, item->string, &i, NULL);
        (void)!gs_json_double(object, item->string, &d, NULL);
        (void)!gs_json_bool(object, item->string, &b, NULL);
        (void)!gs_json_string(object, item->string, &s, NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cJSON *tree = NULL;
    gs_error err = {0};
    if (gs_json_parse((const char *)data, size, &tree, &err) != GS_OK) {
        require(!tree && err.text[0] && !strchr(err.text, '\n'));
        return 0;
    }
    print_again(tree, 0);
    print_again(tree, 2);
    ask_for_members(tree);
    cJSON_Delete(tree);
    return 0;
}
