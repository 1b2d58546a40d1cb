/* The reader accepts what the format allows and names the rule that a file breaks. */
#include "safetensors_builder.h"

#include <base/mem.h>
#include <time.h>

/* Opens, checks the words of the error, and that nothing was handed out. */
static void expect(const char *header, size_t header_len, int64_t claimed, size_t data,
                   gs_status status, const char *words) {
    gs_safetensors *st = NULL;
    gs_error err = {0};
    size_t size;
    uint8_t *bytes = st_bytes(header, header_len, claimed, data, &size);
    gs_status got = gs_safetensors_open_memory(bytes, size, &st, &err);
    if (got != status)
        fail_msg("%.300s: '%s' (%s), wanted '%s'", header, gs_status_text(got), err.text,
                 gs_status_text(status));
    if (status == GS_OK) {
        assert_non_null(st);
        gs_safetensors_close(st);
    } else {
        assert_null(st);
        assert_text_has(&err, words);
        assert_null(strchr(err.text, '\n'));
    }
    free(bytes);
}

static void refused(const char *header, size_t data, const char *words) {
    expect(header, strlen(header), -1, data, GS_E_FORMAT, words);
}

static void accepted(const char *header, size_t data) {
    expect(header, strlen(header), -1, data, GS_OK, NULL);
}

static void the_length_of_the_header_must_be_possible(void **state) {
    (void)state;
    gs_safetensors *st;
    gs_error err = {0};
    uint8_t bytes[8] = {2, 0, 0, 0, 0, 0, 0, 0};
    assert_fails(gs_safetensors_open_memory(NULL, 0, &st, &err), GS_E_FORMAT, &err);
    assert_text_has(&err, "too short for the 8 of the header length");
    assert_fails(gs_safetensors_open_memory(bytes, 7, &st, &err), GS_E_FORMAT, &err);
    assert_text_has(&err, "7 bytes, too short");
    assert_fails(gs_safetensors_open_memory(bytes, 8, &st, &err), GS_E_FORMAT, &err);
    assert_text_has(&err, "header length 2 exceeds the 0 bytes that follow");
    expect("{}", 2, 0, 0, GS_E_FORMAT, "header length is 0");
    expect("{}", 2, 3, 0, GS_E_FORMAT, "header length 3 exceeds the 2 bytes");
    expect("{}", 2, 100000000, 0, GS_E_FORMAT, "header length 100000000 exceeds the 2 bytes");
    expect("{}", 2, 100000001, 0, GS_E_FORMAT, "exceeds the limit of 100000000");
    memset(bytes, 0xff, sizeof bytes);
    assert_fails(gs_safetensors_open_memory(bytes, 8, &st, &err), GS_E_FORMAT, &err);
    assert_text_has(&err, "18446744073709551615 exceeds the limit");
}

static void the_header_must_be_a_json_object(void **state) {
    (void)state;
    refused("{\"\xff\":1}", 0, "UTF-8");
    refused("{", 0, "header: JSON");
    refused("[]", 0, "not a JSON object");
    refused("null", 0, "not a JSON object");
    refused("{} x", 0, "header: JSON");
    refused("{}{}", 0, "header: JSON");
    refused("\xef\xbb\xbf{}", 0, "does not start with '{'");
    refused("   ", 0, "header: JSON");
    accepted("{}", 0);
    accepted(" \t\r\n{}", 0);
    accepted("{} \t\r\n", 0);
    char deep[300];
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"a\":", 5);
    deep[sizeof deep - 1] = 0;
    refused(deep, 0, "header: JSON");
}

static void names_must_be_unique_and_printable(void **state) {
    (void)state;
    const char *entry = "{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}";
    char header[512];
    snprintf(header, sizeof header, "{\"a\":%s,\"a\":%s}", entry, entry);
    refused(header, 1, "twice");
    snprintf(header, sizeof header, "{\"a\":%s,\"\\u0061\":%s}", entry, entry);
    refused(header, 1, "twice");
    snprintf(header, sizeof header, "{\"a\\u0000b\":%s}", entry);
    refused(header, 1, "NUL");
    snprintf(header, sizeof header, "{\"a\\nb\":%s}", entry);
    refused(header, 1, "control character 0x0a in the name");
    snprintf(header, sizeof header, "{\"a\\u001b[2J\":%s}", entry);
    refused(header, 1, "control character 0x1b in the name");
    snprintf(header, sizeof header, "{\"a\\u007f\":%s}", entry);
    refused(header, 1, "control character 0x7f in the name");
    snprintf(header, sizeof header, "{\"a\\u009b2J\":%s}", entry);
    refused(header, 1, "control character 0x9b in the name");
    snprintf(header, sizeof header, "{\"a\\u00a0b\":%s}", entry);
    accepted(header, 1);
    snprintf(header, sizeof header, "{\"m\303\244nner \\\"x\\\"/\\u00e9\":%s}", entry);
    accepted(header, 1);
    refused("{\"__metadata__\":{\"a\":\"b\",\"a\":\"c\"}}", 0, "twice");
    refused("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
            "twice");
}

static void metadata_must_be_a_flat_map_of_strings(void **state) {
    (void)state;
    refused("{\"__metadata__\":[]}", 0, "__metadata__ is not an object");
    refused("{\"__metadata__\":null}", 0, "__metadata__ is not an object");
    refused("{\"__metadata__\":{\"a\":1}}", 0, "the value of 'a' is not a string");
    refused("{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}", 0, "the value of 'a' is not a string");
    accepted("{\"__metadata__\":{}}", 0);
    accepted("{\"__metadata__\":{\"a\":\"b\"}}", 0);
}

static void an_entry_must_have_its_three_members(void **state) {
    (void)state;
    refused("{\"t\":1}", 0, "tensor 't': its entry is not an object");
    refused("{\"t\":{}}", 0, "data_offsets is not a pair");
    refused("{\"t\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "dtype is not a string");
    refused("{\"t\":{\"dtype\":3,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "dtype is not a string");
    refused("{\"t\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "shape is not an array");
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":1,\"data_offsets\":[0,1]}}", 1, "shape is not an array");
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "data_offsets is not a pair");
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":0}}", 1,
            "unknown member 'x'");
}

static void dtypes_must_be_known(void **state) {
    (void)state;
    refused("{\"t\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "unknown dtype 'F31'");
    refused("{\"t\":{\"dtype\":\"u8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "unknown dtype 'u8'");
    refused("{\"t\":{\"dtype\":\"Q8_0\",\"shape\":[32],\"data_offsets\":[0,34]}}", 34,
            "unknown dtype 'Q8_0'");
    refused("{\"t\":{\"dtype\":\"\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "unknown dtype ''");
}

static void shapes_must_be_whole_and_not_overflow(void **state) {
    (void)state;
    const char *words = "dimension 1 is not a non-negative integer";
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[1,-1],\"data_offsets\":[0,1]}}", 1, words);
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[1,1.5],\"data_offsets\":[0,1]}}", 1, words);
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[1,\"1\"],\"data_offsets\":[0,1]}}", 1, words);
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[1,null],\"data_offsets\":[0,1]}}", 1, words);
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[1,-1e300],\"data_offsets\":[0,1]}}", 1, words);
    words = "the product of its shape overflows";
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[2,18446744073709551614],\"data_offsets\":[0,1]}}", 1, words);
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[9007199254740992,1024],\"data_offsets\":[0,1]}}", 1, words);
    /* the product wraps to 0 in 64 bits */
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, words);
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296,0],\"data_offsets\":[0,0]}}", 0, words);
    refused("{\"t\":{\"dtype\":\"F64\",\"shape\":[4294967296,1073741824],\"data_offsets\":[0,0]}}", 0,
            "the size of its shape overflows");
    refused("{\"t\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1, "not whole bytes");
    const char *nine = "{\"t\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}";
    expect(nine, strlen(nine), -1, 1, GS_E_UNSUPPORTED, "more than 8 dimensions");
    accepted("{\"t\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1);
    accepted("{\"t\":{\"dtype\":\"F4\",\"shape\":[2,3],\"data_offsets\":[0,3]}}", 3);
    accepted("{\"t\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4);
    accepted("{\"t\":{\"dtype\":\"F32\",\"shape\":[5,0,7],\"data_offsets\":[0,0]}}", 0);
}

static void offsets_must_be_two_integers_in_order(void **state) {
    (void)state;
    const char *bad[] = {"[]",       "[0]",         "[0,1,1]",  "[-1,0]",     "[0,1.5]",
                         "[0,null]", "[0,\"1\"]",   "{}",       "\"0,1\"",    "[0,1e300]",
                         "[0,-1]",   "[0,9007199254740994]"};
    char header[256];
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        snprintf(header, sizeof header, "{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":%s}}", bad[i]);
        refused(header, 1, "tensor 't': data_offsets is not a pair of non-negative integers");
    }
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,0]}}", 1, "[1, 0] run backwards");
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,1]}}", 1,
            "U8 [2] is 2 bytes, data_offsets give it 1");
    refused("{\"t\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,25]}}", 25,
            "F32 [2, 3] is 24 bytes, data_offsets give it 25");
}

#define ENTRY(name, begin, end, n)                                             \
    "\"" name "\":{\"dtype\":\"U8\",\"shape\":[" #n "],\"data_offsets\":[" #begin "," #end "]}"

static void tensors_must_tile_the_data(void **state) {
    (void)state;
    refused("{" ENTRY("a", 0, 4, 4) "," ENTRY("b", 3, 6, 3) "}", 6,
            "tensor 'b' starts at byte 3, which overlaps 'a' (to 4)");
    refused("{" ENTRY("a", 0, 4, 4) "," ENTRY("b", 0, 4, 4) "}", 4,
            "tensor 'b' starts at byte 0, which overlaps 'a' (to 4)");
    refused("{" ENTRY("a", 0, 4, 4) "," ENTRY("b", 6, 8, 2) "}", 8,
            "tensor 'b' starts at byte 6, which leaves a hole of 2 bytes");
    refused("{" ENTRY("a", 1, 4, 3) "}", 4, "tensor 'a' starts at byte 1, which leaves a hole of 1 bytes");
    refused("{" ENTRY("a", 0, 4, 4) "}", 5, "1 bytes follow the last tensor");
    refused("{}", 3, "3 bytes follow the last tensor");
    refused("{" ENTRY("a", 0, 4, 4) "}", 3, "cut off: tensors need 4 bytes of data, 3 are there");
    refused("{" ENTRY("a", 0, 4503599627370496, 4503599627370496) "}", 3, "cut off: tensors need 4503599627370496");
    accepted("{" ENTRY("b", 4, 6, 2) "," ENTRY("a", 0, 4, 4) "}", 6);
    accepted("{" ENTRY("z", 4, 4, 0) "," ENTRY("b", 4, 6, 2) "," ENTRY("a", 0, 4, 4) "}", 6);
}

static void tensors_are_found_where_they_lie(void **state) {
    (void)state;
    const char *header = "{" ENTRY("late", 6, 9, 3) ",\"__metadata__\":{\"format\":\"pt\",\"k\":\"v\"},"
                         "\"mid\":{\"dtype\":\"F16\",\"shape\":[1,1],\"data_offsets\":[4,6]},"
                         ENTRY("none", 4, 4, 0) "," ENTRY("first", 0, 4, 4) "}";
    static const char *const order[] = {"first", "none", "mid", "late"};
    gs_safetensors *st;
    gs_error err = {0};
    size_t size;
    uint8_t *bytes = st_bytes(header, strlen(header), -1, 9, &size);
    const uint8_t *data = bytes + size - 9;
    assert_ok(gs_safetensors_open_memory(bytes, size, &st, &err), &err);
    assert_int_equal(gs_safetensors_count(st), 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(gs_safetensors_at(st, i)->name, order[i]);
        assert_ptr_equal(gs_safetensors_at(st, i), gs_safetensors_find(st, order[i]));
    }
    assert_null(gs_safetensors_at(st, 4));
    assert_null(gs_safetensors_find(st, "lat"));
    assert_null(gs_safetensors_find(st, "__metadata__"));
    const gs_tensor *mid = gs_safetensors_find(st, "mid");
    assert_int_equal(mid->dtype, GS_F16);
    assert_int_equal(mid->ndim, 2);
    assert_int_equal(mid->bytes, 2);
    assert_int_equal(mid->order, GS_ROWS_AS_STORED);
    assert_ptr_equal(mid->data, data + 4);
    assert_ptr_equal(gs_safetensors_find(st, "late")->data, data + 6);
    assert_string_equal(gs_safetensors_metadata(st, "k"), "v");
    assert_null(gs_safetensors_metadata(st, "K"));
    gs_safetensors_close(st);
    free(bytes);
}

static void files_are_named_in_errors(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir();
    const char *path = st_path(dir, "cut.safetensors");
    gs_safetensors *st;
    gs_error err = {0};
    assert_fails(gs_safetensors_open(path, &st, &err), GS_E_FORMAT, &err);
    assert_text_has(&err, "cut.safetensors");
    st_write(path, "{" ENTRY("a", 0, 4, 4) "}", 3);
    assert_fails(gs_safetensors_open(path, &st, &err), GS_E_FORMAT, &err);
    assert_text_has(&err, "cut.safetensors: cut off");
    assert_true(err.hint[0] != 0);
    assert_fails(gs_safetensors_open(dir, &st, &err), GS_E_FORMAT, &err);
    st_write(path, "{" ENTRY("a", 0, 4, 4) "}", 4);
    assert_ok(gs_safetensors_open(path, &st, &err), &err);
    assert_int_equal(gs_safetensors_at(st, 0)->data[3], 3);
    assert_string_equal(gs_safetensors_file(st)->path, path);
    gs_safetensors_close(st);
    gs_test_rmdir(dir);
}

/* A quadratic reader would need minutes for this; the bound is generous. */
static void a_hundred_thousand_tensors_open_in_seconds(void **state) {
    (void)state;
    enum { COUNT = 100000 };
    char *header = malloc((size_t)COUNT * 100), name[32];
    assert_non_null(header);
    size_t len = 1, size;
    header[0] = '{';
    for (int i = COUNT; i-- > 0;)
        len += (size_t)sprintf(header + len, "\"t%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}%s", i,
                               i, i + 1, i ? "," : "}");
    uint8_t *bytes = st_bytes(header, len, -1, COUNT, &size);
    gs_safetensors *st;
    gs_error err = {0};
    clock_t start = clock();
    assert_ok(gs_safetensors_open_memory(bytes, size, &st, &err), &err);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    assert_true(seconds <= 20);
    assert_int_equal(gs_safetensors_count(st), COUNT);
    for (int i = 0; i < COUNT; i += 997) {
        snprintf(name, sizeof name, "t%d", i);
        assert_ptr_equal(gs_safetensors_find(st, name), gs_safetensors_at(st, (size_t)i));
        assert_int_equal(gs_safetensors_at(st, (size_t)i)->data[0], i % 256);
    }
    gs_safetensors_close(st);
    free(bytes);
    free(header);
}

/* Every prefix and every changed byte of a good file either opens or fails with a message. */
static void damaged_files_never_do_worse_than_fail(void **state) {
    (void)state;
    const char *header = "{\"__metadata__\":{\"k\":\"v\"}," ENTRY("a", 0, 4, 4) ","
                         "\"b\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[4,12]}}";
    size_t size;
    uint8_t *good = st_bytes(header, strlen(header), -1, 12, &size);
    gs_safetensors *st;
    gs_error err = {0};
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *part = malloc(cut ? cut : 1);
        assert_non_null(part);
        memcpy(part, good, cut);
        assert_fails(gs_safetensors_open_memory(part, cut, &st, &err), GS_E_FORMAT, &err);
        free(part);
    }
    for (size_t at = 0; at < size; at++) {
        for (int bit = 0; bit < 8; bit++) {
            good[at] ^= (uint8_t)(1 << bit);
            gs_status status = gs_safetensors_open_memory(good, size, &st, &err);
            if (status == GS_OK) gs_safetensors_close(st);
            else assert_null(st);
            good[at] ^= (uint8_t)(1 << bit);
        }
    }
    free(good);
}

static void every_failed_allocation_is_reported(void **state) {
    (void)state;
    const char *header = "{\"__metadata__\":{\"k\":\"v\"}," ENTRY("a", 0, 4, 4) "," ENTRY("b", 4, 5, 1) "}";
    size_t size;
    uint8_t *bytes = st_bytes(header, strlen(header), -1, 5, &size);
    gs_safetensors *st = NULL;
    gs_error err = {0};
    gs_status status = GS_E_NOMEM;
    int failures = 0;
    for (; failures < 100 && status != GS_OK; failures++) {
        gs_mem_fail_after(failures);
        status = gs_safetensors_open_memory(bytes, size, &st, &err);
        gs_mem_fail_after(-1);
        if (status != GS_OK) assert_int_equal(status, GS_E_NOMEM);
        if (status != GS_OK) assert_null(st);
    }
    assert_int_equal(status, GS_OK);
    assert_true(failures >= 4);
    gs_safetensors_close(st);
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_length_of_the_header_must_be_possible),
        cmocka_unit_test(the_header_must_be_a_json_object),
        cmocka_unit_test(names_must_be_unique_and_printable),
        cmocka_unit_test(metadata_must_be_a_flat_map_of_strings),
        cmocka_unit_test(an_entry_must_have_its_three_members),
        cmocka_unit_test(dtypes_must_be_known),
        cmocka_unit_test(shapes_must_be_whole_and_not_overflow),
        cmocka_unit_test(offsets_must_be_two_integers_in_order),
        cmocka_unit_test(tensors_must_tile_the_data),
        cmocka_unit_test(tensors_are_found_where_they_lie),
        cmocka_unit_test(files_are_named_in_errors),
        cmocka_unit_test(a_hundred_thousand_tensors_open_in_seconds),
        cmocka_unit_test(damaged_files_never_do_worse_than_fail),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
