/* What the writer writes, the reader reads back; and nothing appears before commit. */
#include "safetensors_builder.h"

#include <base/dtype.h>
#include <base/mem.h>

static gs_safetensors_writer *fresh(void) {
    gs_safetensors_writer *w;
    gs_error err = {0};
    assert_ok(gs_safetensors_writer_create(&w, &err), &err);
    return w;
}

static void plan(gs_safetensors_writer *w, const char *name, gs_dtype dtype, int64_t rows, int64_t cols) {
    gs_error err = {0};
    int64_t shape[2] = {rows, cols};
    assert_ok(gs_safetensors_writer_plan(w, name, dtype, 2, shape, &err), &err);
}

static char *slurp(const char *path, size_t *len) {
    char *data;
    gs_error err = {0};
    assert_ok(gs_file_read(path, 1 << 26, &data, len, &err), &err);
    return data;
}

static size_t files_in(const char *dir) {
    char command[1100];
    snprintf(command, sizeof command, "ls -A '%s' | wc -l", dir);
    FILE *p = popen(command, "r");
    int n = -1;
    assert_non_null(p);
    assert_int_equal(fscanf(p, "%d", &n), 1);
    pclose(p);
    return (size_t)n;
}

enum { TENSORS = 6 };
static const struct {
    const char *name;
    gs_dtype dtype;
    int64_t rows, cols;
} sample[TENSORS] = {
    {"b.weight", GS_I8, 3, 5},   {"a.weight", GS_I8, 1, 7}, {"b.scale", GS_F32, 3, 1},
    {"a.scale", GS_BF16, 3, 3},  {"ids", GS_I64, 1, 2},     {"none", GS_F16, 0, 4},
};

/* Plans the sample in the order given and puts it in another, in pieces of `piece` bytes. */
static void write_sample(const char *path, const int *plan_order, const int *put_order, size_t piece) {
    gs_safetensors_writer *w = fresh();
    gs_error err = {0};
    for (int i = 0; i < TENSORS; i++) {
        int k = plan_order[i];
        plan(w, sample[k].name, sample[k].dtype, sample[k].rows, sample[k].cols);
    }
    /* also in either order */
    const char *keys[2] = {"zeta", "alpha"};
    for (int i = 0; i < 2; i++) {
        const char *key = keys[(i + plan_order[0]) % 2];
        assert_ok(gs_safetensors_writer_metadata(w, key, "v", &err), &err);
    }
    assert_ok(gs_safetensors_writer_begin(w, path, &err), &err);
    for (int i = 0; i < TENSORS; i++) {
        int k = put_order[i];
        size_t n = (size_t)(sample[k].rows * sample[k].cols * gs_dtype_block_bytes(sample[k].dtype));
        uint8_t bytes[64];
        for (size_t j = 0; j < n; j++) bytes[j] = (uint8_t)(k * 40 + (int)j);
        for (size_t at = 0; at < n; at += piece) {
            size_t part = n - at < piece ? n - at : piece;
            assert_ok(gs_safetensors_writer_put(w, sample[k].name, at, bytes + at, part, &err), &err);
        }
    }
    assert_ok(gs_safetensors_writer_commit(w, &err), &err);
}

static void what_is_written_reads_back(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir();
    const char *path = st_path(dir, "x.safetensors");
    const int order[TENSORS] = {0, 1, 2, 3, 4, 5};
    write_sample(path, order, order, 4);
    gs_safetensors *st;
    gs_error err = {0};
    assert_ok(gs_safetensors_open(path, &st, &err), &err);
    assert_int_equal(gs_safetensors_count(st), TENSORS);
    assert_string_equal(gs_safetensors_metadata(st, "format"), "pt");
    assert_string_equal(gs_safetensors_metadata(st, "alpha"), "v");
    for (int k = 0; k < TENSORS; k++) {
        const gs_tensor *t = gs_safetensors_find(st, sample[k].name);
        assert_non_null(t);
        assert_int_equal(t->dtype, sample[k].dtype);
        assert_int_equal(t->shape[0], sample[k].rows);
        assert_int_equal(t->shape[1], sample[k].cols);
        for (uint64_t j = 0; j < t->bytes; j++) assert_int_equal(t->data[j], (uint8_t)(k * 40 + (int)j));
    }
    gs_safetensors_close(st);
    assert_int_equal(files_in(dir), 1);
    gs_test_rmdir(dir);
}

static void the_same_tensors_give_the_same_file(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir();
    const int forward[TENSORS] = {0, 1, 2, 3, 4, 5}, backward[TENSORS] = {5, 4, 3, 2, 1, 0};
    const char *one = st_path(dir, "one"), *two = st_path(dir, "two");
    size_t n1, n2;
    write_sample(one, forward, forward, 64);
    write_sample(two, backward, backward, 3);
    char *a = slurp(one, &n1), *b = slurp(two, &n2);
    assert_int_equal(n1, n2);
    assert_memory_equal(a, b, n1);
    gs_free(a);
    gs_free(b);
    gs_test_rmdir(dir);
}

static void the_layout_is_the_reference_writers(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir();
    const char *path = st_path(dir, "x");
    const int order[TENSORS] = {0, 1, 2, 3, 4, 5};
    size_t n;
    write_sample(path, order, order, 64);
    char *file = slurp(path, &n);
    const char *header =
        "{\"__metadata__\":{\"format\":\"pt\",\"alpha\":\"v\",\"zeta\":\"v\"},"
        "\"ids\":{\"dtype\":\"I64\",\"shape\":[1,2],\"data_offsets\":[0,16]},"
        "\"b.scale\":{\"dtype\":\"F32\",\"shape\":[3,1],\"data_offsets\":[16,28]},"
        "\"a.scale\":{\"dtype\":\"BF16\",\"shape\":[3,3],\"data_offsets\":[28,46]},"
        "\"none\":{\"dtype\":\"F16\",\"shape\":[0,4],\"data_offsets\":[46,46]},"
        "\"a.weight\":{\"dtype\":\"I8\",\"shape\":[1,7],\"data_offsets\":[46,53]},"
        "\"b.weight\":{\"dtype\":\"I8\",\"shape\":[3,5],\"data_offsets\":[53,68]}}";
    size_t len = strlen(header), padded = (len + 7) / 8 * 8;
    assert_int_equal(n, 8 + padded + 68);
    assert_int_equal((uint8_t)file[0] | (uint8_t)file[1] << 8, padded);
    assert_memory_equal(file + 8, header, len);
    for (size_t i = len; i < padded; i++) assert_int_equal(file[8 + i], ' ');
    gs_free(file);
    gs_test_rmdir(dir);
}

static void tensors_lie_at_multiples_of_their_element(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir(), name[32];
    const char *path = st_path(dir, "x");
    gs_safetensors_writer *w = fresh();
    gs_error err = {0};
    uint64_t seed = 1;
    uint8_t zeros[8 * 49] = {0};
    for (int i = 0; i < 200; i++) {
        gs_dtype t = (gs_dtype)(gs_test_rand(&seed) % (uint64_t)GS_F4);
        snprintf(name, sizeof name, "t%d", i);
        plan(w, name, t, (int64_t)(gs_test_rand(&seed) % 7), (int64_t)(gs_test_rand(&seed) % 7));
    }
    uint64_t promised = gs_safetensors_writer_bytes(w);
    assert_int_equal(gs_safetensors_writer_bytes(w), promised);
    assert_ok(gs_safetensors_writer_begin(w, path, &err), &err);
    seed = 1;
    for (int i = 0; i < 200; i++) {
        gs_dtype t = (gs_dtype)(gs_test_rand(&seed) % (uint64_t)GS_F4);
        uint64_t rows = gs_test_rand(&seed) % 7, cols = gs_test_rand(&seed) % 7;
        snprintf(name, sizeof name, "t%d", i);
        size_t n = (size_t)(rows * cols) * (size_t)gs_dtype_block_bytes(t);
        assert_ok(gs_safetensors_writer_put(w, name, 0, zeros, n, &err), &err);
    }
    assert_ok(gs_safetensors_writer_commit(w, &err), &err);
    gs_safetensors *st;
    assert_ok(gs_safetensors_open(path, &st, &err), &err);
    assert_int_equal(gs_safetensors_file(st)->size, promised);
    for (size_t i = 0; i < gs_safetensors_count(st); i++) {
        const gs_tensor *t = gs_safetensors_at(st, i);
        assert_int_equal((uintptr_t)t->data % (uintptr_t)gs_dtype_block_bytes(t->dtype), 0);
    }
    gs_safetensors_close(st);
    gs_test_rmdir(dir);
}

static void an_empty_file_is_a_file(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir();
    const char *path = st_path(dir, "x");
    gs_safetensors_writer *w = fresh();
    gs_safetensors *st;
    gs_error err = {0};
    uint64_t promised = gs_safetensors_writer_bytes(w);
    assert_ok(gs_safetensors_writer_begin(w, path, &err), &err);
    assert_ok(gs_safetensors_writer_commit(w, &err), &err);
    assert_ok(gs_safetensors_open(path, &st, &err), &err);
    assert_int_equal(gs_safetensors_count(st), 0);
    assert_int_equal(gs_safetensors_file(st)->size, promised);
    gs_safetensors_close(st);
    gs_test_rmdir(dir);
}

static void odd_names_survive(void **state) {
    (void)state;
    static const char *const names[] = {"a\"b", "back\\slash", "m\303\244nner", "", "a/b c", "\360\237\231\202"};
    char *dir = gs_test_tmpdir();
    const char *path = st_path(dir, "x");
    gs_safetensors_writer *w = fresh();
    gs_safetensors *st;
    gs_error err = {0};
    for (size_t i = 0; i < GS_COUNTOF(names); i++) plan(w, names[i], GS_U8, 1, 1);
    assert_ok(gs_safetensors_writer_metadata(w, "quote\"", "line\nbreak", &err), &err);
    uint64_t promised = gs_safetensors_writer_bytes(w);
    assert_ok(gs_safetensors_writer_begin(w, path, &err), &err);
    for (size_t i = 0; i < GS_COUNTOF(names); i++)
        assert_ok(gs_safetensors_writer_put(w, names[i], 0, "x", 1, &err), &err);
    assert_ok(gs_safetensors_writer_commit(w, &err), &err);
    assert_ok(gs_safetensors_open(path, &st, &err), &err);
    for (size_t i = 0; i < GS_COUNTOF(names); i++) assert_non_null(gs_safetensors_find(st, names[i]));
    assert_string_equal(gs_safetensors_metadata(st, "quote\""), "line\nbreak");
    assert_int_equal(gs_safetensors_file(st)->size, promised);
    gs_safetensors_close(st);
    gs_test_rmdir(dir);
}

static void impossible_plans_are_refused(void **state) {
    (void)state;
    gs_safetensors_writer *w = fresh();
    gs_error err = {0};
    int64_t one[1] = {1}, negative[1] = {-1}, odd[1] = {3};
    int64_t huge[2] = {(int64_t)1 << 40, (int64_t)1 << 40};
    int64_t large[1] = {(int64_t)1 << 61};
    plan(w, "a", GS_F32, 1, 1);
    assert_fails(gs_safetensors_writer_plan(w, "a", GS_I8, 1, one, &err), GS_E_INVALID, &err);
    assert_text_has(&err, "'a' is planned already");
    assert_fails(gs_safetensors_writer_plan(w, "b", GS_Q8_0, 1, one, &err), GS_E_INVALID, &err);
    assert_text_has(&err, "no dtype Q8_0");
    assert_fails(gs_safetensors_writer_plan(w, "b", GS_DTYPE_NONE, 1, one, &err), GS_E_INVALID, &err);
    assert_fails(gs_safetensors_writer_plan(w, "b", GS_U8, 1, negative, &err), GS_E_INVALID, &err);
    assert_fails(gs_safetensors_writer_plan(w, "b", GS_U8, 2, huge, &err), GS_E_INVALID, &err);
    assert_fails(gs_safetensors_writer_plan(w, "b", GS_F64, 1, large, &err), GS_E_INVALID, &err);
    assert_fails(gs_safetensors_writer_plan(w, "b", GS_F4, 1, odd, &err), GS_E_INVALID, &err);
    assert_text_has(&err, "not whole bytes");
    assert_fails(gs_safetensors_writer_plan(w, "b", GS_U8, 9, one, &err), GS_E_INVALID, &err);
    assert_fails(gs_safetensors_writer_plan(w, "b", GS_U8, -1, one, &err), GS_E_INVALID, &err);
    assert_fails(gs_safetensors_writer_plan(w, "__metadata__", GS_U8, 1, one, &err), GS_E_INVALID, &err);
    assert_fails(gs_safetensors_writer_plan(w, "b\n", GS_U8, 1, one, &err), GS_E_INVALID, &err);
    assert_fails(gs_safetensors_writer_plan(w, "\xff", GS_U8, 1, one, &err), GS_E_INVALID, &err);
    assert_fails(gs_safetensors_writer_metadata(w, "format", "np", &err), GS_E_INVALID, &err);
    assert_ok(gs_safetensors_writer_metadata(w, "k", "v", &err), &err);
    assert_fails(gs_safetensors_writer_metadata(w, "k", "v", &err), GS_E_INVALID, &err);
    assert_fails(gs_safetensors_writer_metadata(w, "u", "\xff", &err), GS_E_INVALID, &err);
    /* each fits, together they do not */
    assert_ok(gs_safetensors_writer_plan(w, "c", GS_U8, 1, large, &err), &err);
    assert_fails(gs_safetensors_writer_plan(w, "d", GS_U8, 1, large, &err), GS_E_INVALID, &err);
    assert_text_has(&err, "overflow");
    gs_safetensors_writer_abort(w);
    gs_safetensors_writer_abort(NULL);
}

static void pieces_must_follow_the_plan(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir();
    const char *path = st_path(dir, "x");
    gs_safetensors_writer *w = fresh();
    gs_error err = {0};
    int64_t one[1] = {1};
    plan(w, "a", GS_U8, 2, 3);
    assert_fails(gs_safetensors_writer_put(w, "a", 0, "xxx", 3, &err), GS_E_INVALID, &err);
    assert_text_has(&err, "before begin");
    assert_ok(gs_safetensors_writer_begin(w, path, &err), &err);
    assert_fails(gs_safetensors_writer_plan(w, "b", GS_U8, 1, one, &err), GS_E_INVALID, &err);
    assert_fails(gs_safetensors_writer_begin(w, path, &err), GS_E_INVALID, &err);
    assert_fails(gs_safetensors_writer_put(w, "b", 0, "x", 1, &err), GS_E_INVALID, &err);
    assert_text_has(&err, "'b' was not planned");
    assert_fails(gs_safetensors_writer_put(w, "a", 1, "x", 1, &err), GS_E_INVALID, &err);
    assert_text_has(&err, "piece at byte 1, byte 0 is next");
    assert_ok(gs_safetensors_writer_put(w, "a", 0, "xxxx", 4, &err), &err);
    assert_fails(gs_safetensors_writer_put(w, "a", 0, "x", 1, &err), GS_E_INVALID, &err);
    assert_fails(gs_safetensors_writer_put(w, "a", 4, "xxx", 3, &err), GS_E_INVALID, &err);
    assert_text_has(&err, "3 bytes at byte 4, it has 6");
    assert_false(gs_path_exists(path));
    assert_fails(gs_safetensors_writer_commit(w, &err), GS_E_INVALID, &err);
    assert_text_has(&err, "tensor 'a': 4 of 6 bytes were put");
    assert_int_equal(files_in(dir), 0);
    w = fresh();
    assert_fails(gs_safetensors_writer_commit(w, &err), GS_E_INVALID, &err);
    w = fresh();
    plan(w, "a", GS_U8, 2, 3);
    assert_ok(gs_safetensors_writer_begin(w, path, &err), &err);
    gs_safetensors_writer_abort(w);
    assert_int_equal(files_in(dir), 0);
    w = fresh();
    assert_fails(gs_safetensors_writer_begin(w, st_path(dir, "missing/x"), &err), GS_E_IO, &err);
    gs_safetensors_writer_abort(w);
    gs_test_rmdir(dir);
}

static gs_status write_small(const char *path, gs_error *err) {
    gs_safetensors_writer *w;
    int64_t shape[1] = {3};
    GS_TRY(gs_safetensors_writer_create(&w, err));
    gs_status status = gs_safetensors_writer_metadata(w, "k", "v", err);
    if (status == GS_OK) status = gs_safetensors_writer_plan(w, "a", GS_U8, 1, shape, err);
    if (status == GS_OK) status = gs_safetensors_writer_begin(w, path, err);
    if (status == GS_OK) status = gs_safetensors_writer_put(w, "a", 0, "xyz", 3, err);
    if (status == GS_OK) return gs_safetensors_writer_commit(w, err);
    gs_safetensors_writer_abort(w);
    return status;
}

static void every_failed_allocation_leaves_nothing_behind(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir();
    const char *path = st_path(dir, "x");
    gs_error err = {0};
    gs_status status = GS_E_NOMEM;
    int k = 0;
    for (; k < 200 && status != GS_OK; k++) {
        gs_mem_fail_after(k);
        status = write_small(path, &err);
        gs_mem_fail_after(-1);
        if (status == GS_OK) break;
        assert_int_equal(status, GS_E_NOMEM);
        assert_int_equal(files_in(dir), 0);
    }
    assert_int_equal(status, GS_OK);
    assert_true(k >= 8);
    assert_int_equal(files_in(dir), 1);
    gs_test_rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(the_same_tensors_give_the_same_file),
        cmocka_unit_test(the_layout_is_the_reference_writers),
        cmocka_unit_test(tensors_lie_at_multiples_of_their_element),
        cmocka_unit_test(an_empty_file_is_a_file),
        cmocka_unit_test(odd_names_survive),
        cmocka_unit_test(impossible_plans_are_refused),
        cmocka_unit_test(pieces_must_follow_the_plan),
        cmocka_unit_test(every_failed_allocation_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
