/* Shards of an index are one set of tensors, and every way in which index and shards can
 * disagree has its message. */
#include "safetensors_builder.h"

#include <loaders/shards.h>

#define ONE(name) "{\"" name "\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}"
#define TWO(a, b)                                                              \
    "{\"" a "\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"      \
    "\"" b "\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[4,6]}}"

static const char good_index[] =
    "{\"metadata\":{\"total_size\":10},\"weight_map\":{\"c\":\"m-2.safetensors\","
    "\"a\":\"m-1.safetensors\",\"b\":\"m-1.safetensors\"}}";

/* A directory with two shards (a, b | c) and the given index. */
static char *sharded(const char *index) {
    char *dir = gs_test_tmpdir();
    st_write(st_path(dir, "m-1.safetensors"), TWO("a", "b"), 6);
    st_write(st_path(dir, "m-2.safetensors"), ONE("c"), 4);
    st_write_text(st_path(dir, "m.safetensors.index.json"), index);
    return dir;
}

static void fails_in(char *dir, gs_status status, const char *words) {
    gs_shards *s = NULL;
    gs_error err = {0};
    assert_fails(gs_shards_open_dir(dir, "m", &s, &err), status, &err);
    assert_null(s);
    assert_text_has(&err, words);
    gs_test_rmdir(dir);
}

static void refused(const char *index, const char *words) {
    fails_in(sharded(index), GS_E_FORMAT, words);
}

static void shards_are_seen_as_one(void **state) {
    (void)state;
    char *dir = sharded(good_index);
    static const char *const order[] = {"a", "b", "c"};
    gs_shards *s;
    gs_error err = {0};
    assert_ok(gs_shards_open_dir(dir, "m", &s, &err), &err);
    assert_int_equal(gs_shards_count(s), 3);
    assert_int_equal(gs_shards_files(s), 2);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(gs_shards_at(s, i)->name, order[i]);
        assert_ptr_equal(gs_shards_find(s, order[i]), gs_shards_at(s, i));
    }
    assert_null(gs_shards_at(s, 3));
    assert_null(gs_shards_find(s, "d"));
    assert_int_equal(gs_safetensors_count(gs_shards_file(s, 0)), 2);
    assert_null(gs_shards_file(s, 2));
    /* dropped pages come back from the file */
    gs_shards_drop(s, gs_shards_find(s, "c"));
    assert_int_equal(gs_shards_find(s, "c")->data[3], 3);
    gs_shards_close(s);
    gs_shards_close(NULL);
    gs_test_rmdir(dir);
}

static void a_single_file_is_a_set_of_one(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir();
    gs_shards *s;
    gs_error err = {0};
    st_write(st_path(dir, "m.safetensors"), TWO("a", "b"), 6);
    assert_ok(gs_shards_open_dir(dir, "m", &s, &err), &err);
    assert_int_equal(gs_shards_count(s), 2);
    gs_shards_close(s);
    assert_ok(gs_shards_open_file(st_path(dir, "m.safetensors"), &s, &err), &err);
    assert_int_equal(gs_shards_files(s), 1);
    gs_shards_close(s);
    /* an index, where there is one, decides */
    st_write_text(st_path(dir, "m.safetensors.index.json"), "{\"weight_map\":{\"a\":\"m.safetensors\"}}");
    fails_in(dir, GS_E_FORMAT, "tensor 'b' of 'm.safetensors' is not in weight_map");
}

static void missing_files_are_named(void **state) {
    (void)state;
    fails_in(gs_test_tmpdir(), GS_E_FORMAT, "has neither m.safetensors.index.json nor m.safetensors");
    char *dir = sharded(good_index);
    assert_int_equal(remove(st_path(dir, "m-2.safetensors")), 0);
    fails_in(dir, GS_E_FORMAT, "m-2.safetensors' is missing");
    gs_shards *s;
    gs_error err = {0};
    assert_fails(gs_shards_open_index("/nonexistent/x.json", &s, &err), GS_E_FORMAT, &err);
    assert_fails(gs_shards_open_file("/nonexistent/x", &s, &err), GS_E_FORMAT, &err);
}

static void a_truncated_shard_is_named(void **state) {
    (void)state;
    char *dir = sharded(good_index);
    st_write(st_path(dir, "m-2.safetensors"), ONE("c"), 3);
    fails_in(dir, GS_E_FORMAT, "m-2.safetensors: cut off: tensors need 4 bytes of data, 3 are there");
    dir = sharded(good_index);
    st_write_text(st_path(dir, "m-1.safetensors"), "");
    fails_in(dir, GS_E_FORMAT, "m-1.safetensors: 0 bytes, too short");
}

static void a_tensor_must_be_in_exactly_one_shard(void **state) {
    (void)state;
    char *dir = sharded(good_index);
    st_write(st_path(dir, "m-2.safetensors"), TWO("c", "a"), 6);
    fails_in(dir, GS_E_FORMAT, "tensor 'a' is in 'm-1.safetensors' and in 'm-2.safetensors'");
}

static void the_map_and_the_shards_must_agree(void **state) {
    (void)state;
    refused("{\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":\"m-1.safetensors\","
            "\"c\":\"m-2.safetensors\",\"d\":\"m-2.safetensors\"}}",
            "tensor 'd' is not in 'm-2.safetensors', where weight_map puts it");
    refused("{\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\","
            "\"c\":\"m-2.safetensors\"}}",
            "tensor 'b' is not in 'm-2.safetensors', where weight_map puts it");
    refused("{\"weight_map\":{\"a\":\"m-1.safetensors\",\"c\":\"m-2.safetensors\"}}",
            "tensor 'b' of 'm-1.safetensors' is not in weight_map");
}

static void the_total_size_must_be_right(void **state) {
    (void)state;
#define MAP "\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":\"m-1.safetensors\",\"c\":\"m-2.safetensors\"}}"
    refused("{\"metadata\":{\"total_size\":11}," MAP, "metadata.total_size is 11, the tensors have 10 bytes");
    refused("{\"metadata\":{\"total_size\":-1}," MAP, "metadata.total_size is -1");
    refused("{\"metadata\":{\"total_size\":\"10\"}," MAP, "\"total_size\" is not an integer");
    static const char *const fine[] = {"{" MAP, "{\"metadata\":{}," MAP,
                                       "{\"metadata\":{\"total_size\":10.0}," MAP,
                                       "{\"metadata\":{\"total_size\":null}," MAP};
    for (size_t i = 0; i < GS_COUNTOF(fine); i++) {
        char *dir = sharded(fine[i]);
        gs_shards *s;
        gs_error err = {0};
        assert_ok(gs_shards_open_dir(dir, "m", &s, &err), &err);
        gs_shards_close(s);
        gs_test_rmdir(dir);
    }
}

static void shards_must_be_plain_file_names(void **state) {
    (void)state;
    static const char *const names[] = {"../m-1.safetensors", "/etc/passwd", "x/y.safetensors",
                                        "..", ".", "", "a\\\\b", "a\\u0001b"};
    char index[256];
    for (size_t i = 0; i < GS_COUNTOF(names); i++) {
        snprintf(index, sizeof index, "{\"weight_map\":{\"a\":\"%s\"}}", names[i]);
        refused(index, "not a plain file name");
    }
    refused("{\"weight_map\":{\"a\":1}}", "the shard of 'a' is not a string");
    refused("{\"weight_map\":{\"a\":null}}", "the shard of 'a' is not a string");
}

static void a_broken_index_is_named(void **state) {
    (void)state;
    refused("", "m.safetensors.index.json");
    refused("{}", "m.safetensors.index.json: there is no weight_map object");
    refused("[]", "there is no weight_map object");
    refused("{\"weight_map\":[]}", "there is no weight_map object");
    refused("{\"weight_map\":{}}", "weight_map is empty");
    refused("{\"weight_map\":{\"a\":\"m-1.safetensors\",\"a\":\"m-2.safetensors\"}}", "twice");
}

static void a_real_sharded_checkpoint_opens(void **state) {
    (void)state;
    gs_need_data(index, "reference/families/llama2-bf16-sharded/model.safetensors.index.json");
    gs_shards *s;
    gs_error err = {0};
    assert_ok(gs_shards_open_index(index, &s, &err), &err);
    assert_int_equal(gs_shards_files(s), 4);
    assert_non_null(gs_shards_find(s, "model.embed_tokens.weight"));
    assert_int_equal(gs_shards_find(s, "lm_head.weight")->dtype, GS_BF16);
    gs_shards_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_are_seen_as_one),
        cmocka_unit_test(a_single_file_is_a_set_of_one),
        cmocka_unit_test(missing_files_are_named),
        cmocka_unit_test(a_truncated_shard_is_named),
        cmocka_unit_test(a_tensor_must_be_in_exactly_one_shard),
        cmocka_unit_test(the_map_and_the_shards_must_agree),
        cmocka_unit_test(the_total_size_must_be_right),
        cmocka_unit_test(shards_must_be_plain_file_names),
        cmocka_unit_test(a_broken_index_is_named),
        cmocka_unit_test(a_real_sharded_checkpoint_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
