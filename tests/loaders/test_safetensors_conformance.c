/* The files that the reference implementation's own tests accept and refuse. */
#include "safetensors_builder.h"

static void check_line(char *line, const char *folder, int *good, int *bad) {
    char path[1200];
    const char *name = strtok(line, "\t"), *size = strtok(NULL, "\t");
    const char *outcome = strtok(NULL, "\n");
    assert_true(name && size && outcome);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    assert_int_equal(ftell(f), atol(size));
    fclose(f);
    gs_safetensors *st;
    gs_error err = {0};
    gs_status status = gs_safetensors_open(path, &st, &err);
    bool wanted = strncmp(outcome, "ok", 2) == 0;
    if ((status == GS_OK) != wanted)
        fail_msg("%s: '%s' (%s), expected %s", name, gs_status_text(status), err.text, outcome);
    if (wanted) {
        int tensors = -1;
        if (sscanf(outcome, "ok: %d tensor", &tensors) == 1)
            assert_int_equal(gs_safetensors_count(st), tensors);
        gs_safetensors_close(st);
        ++*good;
    } else {
        assert_int_equal(status, GS_E_FORMAT);
        ++*bad;
    }
}

static void each_file_has_the_expected_outcome(void **state) {
    (void)state;
    gs_need_data(list, "data/safetensors/conformance/EXPECTED.tsv");
    char folder[1024], line[512];
    int good = 0, bad = 0;
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(list, '/') - list), list);
    FILE *f = fopen(list, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) check_line(line, folder, &good, &bad);
    fclose(f);
    assert_int_equal(good, 5);
    assert_int_equal(bad, 11);
}

/* One a dtype, each with -3 -2 -1 0 1 2, which unsigned types hold modulo their range. */
static void each_dtype_opens_and_reads(void **state) {
    (void)state;
    static const struct {
        const char *file;
        gs_dtype dtype;
        bool readable;
    } files[] = {{"B", GS_U8, true},  {"H", GS_U16, true}, {"I", GS_U32, false}, {"b", GS_I8, true},
                 {"d", GS_F64, true}, {"e", GS_F16, true}, {"f", GS_F32, true},  {"h", GS_I16, true},
                 {"i", GS_I32, true}};
    for (size_t i = 0; i < GS_COUNTOF(files); i++) {
        char relative[64];
        float values[6];
        gs_safetensors *st;
        gs_error err = {0};
        snprintf(relative, sizeof relative, "data/safetensors/%s.safetensors", files[i].file);
        gs_need_data(path, relative);
        assert_ok(gs_safetensors_open(path, &st, &err), &err);
        const gs_tensor *t = gs_safetensors_find(st, files[i].file);
        assert_non_null(t);
        assert_int_equal(t->dtype, files[i].dtype);
        assert_int_equal(t->shape[0], 6);
        assert_string_equal(gs_safetensors_metadata(st, "test"), "a");
        gs_status status = gs_tensor_read_f32(t, 0, 1, values, &err);
        assert_int_equal(status, files[i].readable ? GS_OK : GS_E_UNSUPPORTED);
        for (int v = 0; v < 6 && files[i].readable; v++) {
            float expected = (float)(v - 3);
            if (v < 3 && files[i].dtype == GS_U8) expected += 256;
            if (v < 3 && files[i].dtype == GS_U16) expected += 65536;
            assert_true(values[v] == expected);
        }
        gs_safetensors_close(st);
    }
}

static void one_file_with_all_dtypes_opens(void **state) {
    (void)state;
    gs_need_data(path, "data/safetensors/overall.safetensors");
    gs_safetensors *st;
    gs_error err = {0};
    assert_ok(gs_safetensors_open(path, &st, &err), &err);
    assert_int_equal(gs_safetensors_count(st), 9);
    gs_safetensors_close(st);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_file_has_the_expected_outcome),
        cmocka_unit_test(each_dtype_opens_and_reads),
        cmocka_unit_test(one_file_with_all_dtypes_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
