/* What the GGUF writer writes, the GGUF reader reads back; and nothing appears before commit. */
#include "gguf_builder.h"

#include <base/mem.h>
#include <loaders/gguf_writer.h>

static gs_gguf_writer *fresh(void) {
    gs_gguf_writer *w;
    gs_error err = {0};
    assert_ok(gs_gguf_writer_create(&w, &err), &err);
    return w;
}

static char *in_dir(const char *dir, const char *name) {
    char *path = gs_path_join(dir, name);
    assert_non_null(path);
    return path;
}

enum { TENSORS = 5 };
static const struct {
    const char *name;
    gs_dtype dtype;
    int ndim;
    int64_t shape[4];
    size_t bytes;
} sample[TENSORS] = {
    {"norm", GS_F32, 1, {5}, 20},          {"embd", GS_F16, 2, {3, 7}, 42},
    {"half", GS_BF16, 3, {2, 2, 3}, 24},   {"blocks", GS_Q8_0, 2, {3, 64}, 204},
    {"four", GS_F32, 4, {1, 2, 1, 3}, 24},
};

static void put_pairs(gs_gguf_writer *w) {
    static const gs_gguf_str words[3] = {{"<s>", 3}, {"", 0}, {"a\0b", 3}};
    static const float floats[2] = {-0.5f, 1e30f};
    static const int32_t ints[2] = {-7, 1 << 30};
    gs_error err = {0};
    assert_ok(gs_gguf_writer_string(w, "general.architecture", "llama", 5, &err), &err);
    assert_ok(gs_gguf_writer_u32(w, "u32", 4000000000u, &err), &err);
    assert_ok(gs_gguf_writer_i32(w, "i32", -5, &err), &err);
    assert_ok(gs_gguf_writer_u64(w, "u64", UINT64_C(1) << 40, &err), &err);
    assert_ok(gs_gguf_writer_f32(w, "f32", 1e-5f, &err), &err);
    assert_ok(gs_gguf_writer_bool(w, "yes", true, &err), &err);
    assert_ok(gs_gguf_writer_strings(w, "words", words, 3, &err), &err);
    assert_ok(gs_gguf_writer_strings(w, "none", NULL, 0, &err), &err);
    assert_ok(gs_gguf_writer_f32s(w, "floats", floats, 2, &err), &err);
    assert_ok(gs_gguf_writer_i32s(w, "ints", ints, 2, &err), &err);
}

static uint64_t write_sample(const char *path, size_t piece) {
    gs_gguf_writer *w = fresh();
    gs_error err = {0};
    put_pairs(w);
    for (int k = 0; k < TENSORS; k++)
        assert_ok(gs_gguf_writer_plan(w, sample[k].name, sample[k].dtype, sample[k].ndim, sample[k].shape, &err), &err);
    uint64_t promised = gs_gguf_writer_bytes(w);
    assert_ok(gs_gguf_writer_begin(w, path, &err), &err);
    for (int k = 0; k < TENSORS; k++) {
        uint8_t bytes[256];
        for (size_t j = 0; j < sample[k].bytes; j++) bytes[j] = (uint8_t)(k * 50 + (int)j);
        for (size_t at = 0; at < sample[k].bytes; at += piece) {
            size_t n = sample[k].bytes - at < piece ? sample[k].bytes - at : piece;
            assert_ok(gs_gguf_writer_put(w, (size_t)k, bytes + at, n, &err), &err);
        }
    }
    assert_false(gs_path_exists(path));
    assert_ok(gs_gguf_writer_commit(w, &err), &err);
    return promised;
}

static void check_pairs(const gs_gguf *g) {
    int64_t i, n;
    double d;
    bool b = false;
    gs_gguf_str s;
    assert_true(gs_gguf_string(g, "general.architecture", &s) && s.len == 5 && !memcmp(s.data, "llama", 5));
    assert_true(gs_gguf_int(g, "u32", &i) && i == 4000000000);
    assert_true(gs_gguf_int(g, "i32", &i) && i == -5);
    assert_true(gs_gguf_int(g, "u64", &i) && i == INT64_C(1) << 40);
    assert_true(gs_gguf_double(g, "f32", &d) && d == (double)1e-5f);
    assert_true(gs_gguf_bool(g, "yes", &b) && b);
    assert_int_equal(gs_gguf_array(g, "words", GS_GGUF_STRING), 3);
    assert_true(gs_gguf_array_string(g, "words", 0, &s) && s.len == 3 && !memcmp(s.data, "<s>", 3));
    assert_true(gs_gguf_array_string(g, "words", 1, &s) && s.len == 0);
    assert_true(gs_gguf_array_string(g, "words", 2, &s) && s.len == 3 && !memcmp(s.data, "a\0b", 3));
    assert_int_equal(gs_gguf_array(g, "none", GS_GGUF_STRING), 0);
    const uint8_t *p = gs_gguf_array_data(g, "floats", GS_GGUF_F32, &n);
    assert_non_null(p);
    assert_int_equal(n, 2);
    assert_memory_equal(p, "\0\0\0\xbf", 4);
    p = gs_gguf_array_data(g, "ints", GS_GGUF_I32, &n);
    assert_non_null(p);
    assert_memory_equal(p, "\xf9\xff\xff\xff\0\0\0\x40", 8);
}

static void what_is_written_reads_back(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir(), *path = in_dir(dir, "x.gguf");
    gs_gguf *g;
    gs_error err = {0};
    uint64_t promised = write_sample(path, 17);
    assert_ok(gs_gguf_open(path, &g, &err), &err);
    assert_int_equal(gs_gguf_file(g)->size, promised);
    assert_int_equal(promised % GS_GGUF_ALIGNMENT, 0);
    check_pairs(g);
    assert_int_equal(gs_gguf_count(g), TENSORS);
    for (int k = 0; k < TENSORS; k++) {
        const gs_tensor *t = gs_gguf_at(g, (size_t)k);
        assert_string_equal(t->name, sample[k].name);
        assert_int_equal(t->dtype, sample[k].dtype);
        assert_int_equal(t->ndim, sample[k].ndim);
        assert_memory_equal(t->shape, sample[k].shape, (size_t)t->ndim * sizeof t->shape[0]);
        assert_int_equal(t->bytes, sample[k].bytes);
        assert_int_equal((t->data - gs_gguf_file(g)->data) % GS_GGUF_ALIGNMENT, 0);
        for (size_t j = 0; j < t->bytes; j++) assert_int_equal(t->data[j], (uint8_t)(k * 50 + (int)j));
    }
    gs_gguf_close(g);
    gs_free(path);
    gs_test_rmdir(dir);
}

static void pieces_do_not_show(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir(), *one = in_dir(dir, "1"), *two = in_dir(dir, "2"), *a, *b;
    size_t n1, n2;
    gs_error err = {0};
    write_sample(one, 1);
    write_sample(two, 4096);
    assert_ok(gs_file_read(one, 1 << 20, &a, &n1, &err), &err);
    assert_ok(gs_file_read(two, 1 << 20, &b, &n2, &err), &err);
    assert_int_equal(n1, n2);
    assert_memory_equal(a, b, n1);
    gs_free(a);
    gs_free(b);
    gs_free(one);
    gs_free(two);
    gs_test_rmdir(dir);
}

/* Pairs of every type, also those that the writer has no call for. */
static void copied_pairs_are_the_same_bytes(void **state) {
    (void)state;
    static gguf_builder b;
    char *dir = gs_test_tmpdir(), *path = in_dir(dir, "x"), *file;
    gs_gguf *g;
    gs_gguf_writer *w = fresh();
    size_t n;
    gs_error err = {0};
    gguf_begin(&b, 3);
    size_t start = b.len;
    gguf_everything(&b); /* begins anew */
    assert_ok(gguf_open_copy(b.data, b.len, &g, &err), &err);
    assert_ok(gs_gguf_writer_copy(w, g, "", &err), &err);
    assert_ok(gs_gguf_writer_begin(w, path, &err), &err);
    assert_ok(gs_gguf_writer_commit(w, &err), &err);
    assert_ok(gs_file_read(path, 1 << 20, &file, &n, &err), &err);
    assert_int_equal(gs_gguf_count(g), 3);
    assert_memory_equal(file + 16, b.data + 16, 8); /* as many pairs */
    size_t last = n;
    while (last > start && file[last - 1] == 0) last--; /* the padding; the last pair ends in 1, 0 */
    assert_true(last > 400);
    assert_memory_equal(file + start, b.data + start, last - start);
    gs_free(file);
    gs_gguf_close(g);
    gs_free(path);
    gs_test_rmdir(dir);
}

static void only_keys_of_the_prefix_are_copied(void **state) {
    (void)state;
    static gguf_builder b;
    char *dir = gs_test_tmpdir(), *path = in_dir(dir, "x");
    gs_gguf *g, *copy;
    gs_gguf_writer *w = fresh();
    int64_t v;
    gs_error err = {0};
    gguf_begin(&b, 3);
    gguf_kv_u32(&b, "tokenizer.a", 1);
    gguf_kv_u32(&b, "token", 2);
    gguf_kv_u32(&b, "tokenizer.b", 3);
    gguf_finish(&b);
    assert_ok(gguf_open_copy(b.data, b.len, &g, &err), &err);
    assert_ok(gs_gguf_writer_copy(w, g, "tokenizer.", &err), &err);
    assert_fails(gs_gguf_writer_u32(w, "tokenizer.b", 4, &err), GS_E_INVALID, &err);
    gs_gguf_writer_abort(w);
    w = fresh();
    assert_ok(gs_gguf_writer_copy(w, g, "tokenizer.", &err), &err);
    assert_ok(gs_gguf_writer_begin(w, path, &err), &err);
    assert_ok(gs_gguf_writer_commit(w, &err), &err);
    assert_ok(gs_gguf_open(path, &copy, &err), &err);
    assert_true(gs_gguf_int(copy, "tokenizer.a", &v) && v == 1);
    assert_true(gs_gguf_int(copy, "tokenizer.b", &v) && v == 3);
    assert_false(gs_gguf_int(copy, "token", &v));
    gs_gguf_close(copy);
    gs_gguf_close(g);
    gs_free(path);
    gs_test_rmdir(dir);
}

static void impossible_plans_are_refused(void **state) {
    (void)state;
    gs_gguf_writer *w = fresh();
    gs_error err = {0};
    int64_t shape[5] = {2, 2, 2, 2, 33}, zero[2] = {0, 3}, huge[2] = {(int64_t)1 << 40, (int64_t)1 << 40};
    assert_ok(gs_gguf_writer_plan(w, "a", GS_F32, 1, shape, &err), &err);
    assert_fails(gs_gguf_writer_plan(w, "a", GS_F32, 1, shape, &err), GS_E_INVALID, &err);
    assert_fails(gs_gguf_writer_plan(w, "b", GS_F32, 0, shape, &err), GS_E_INVALID, &err);
    assert_fails(gs_gguf_writer_plan(w, "b", GS_F32, 5, shape, &err), GS_E_INVALID, &err);
    assert_fails(gs_gguf_writer_plan(w, "b", GS_F32, 2, zero, &err), GS_E_INVALID, &err);
    assert_fails(gs_gguf_writer_plan(w, "b", GS_F32, 2, huge, &err), GS_E_INVALID, &err);
    assert_fails(gs_gguf_writer_plan(w, "b", GS_U8, 1, shape, &err), GS_E_INVALID, &err);
    assert_fails(gs_gguf_writer_plan(w, "b", GS_Q8_0, 2, shape + 3, &err), GS_E_INVALID, &err); /* rows of 33 */
    assert_fails(gs_gguf_writer_plan(w, "", GS_F32, 1, shape, &err), GS_E_INVALID, &err);
    assert_fails(gs_gguf_writer_plan(w, "\xff", GS_F32, 1, shape, &err), GS_E_INVALID, &err);
    assert_fails(gs_gguf_writer_u32(w, "", 1, &err), GS_E_INVALID, &err);
    assert_fails(gs_gguf_writer_u32(w, "\xff", 1, &err), GS_E_INVALID, &err);
    gs_gguf_writer_abort(w);
    gs_gguf_writer_abort(NULL);
}

static void bytes_come_in_order(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir(), *path = in_dir(dir, "x");
    gs_gguf_writer *w = fresh();
    gs_error err = {0};
    int64_t two[1] = {2};
    assert_ok(gs_gguf_writer_plan(w, "a", GS_F32, 1, two, &err), &err);
    assert_ok(gs_gguf_writer_plan(w, "b", GS_F32, 1, two, &err), &err);
    assert_fails(gs_gguf_writer_put(w, 0, "1234", 4, &err), GS_E_INVALID, &err);
    assert_ok(gs_gguf_writer_begin(w, path, &err), &err);
    assert_fails(gs_gguf_writer_plan(w, "c", GS_F32, 1, two, &err), GS_E_INVALID, &err);
    assert_fails(gs_gguf_writer_u32(w, "k", 1, &err), GS_E_INVALID, &err);
    assert_ok(gs_gguf_writer_put(w, 0, "1234", 4, &err), &err);
    assert_fails(gs_gguf_writer_put(w, 1, "1234", 4, &err), GS_E_INVALID, &err); /* a is not complete */
    assert_fails(gs_gguf_writer_put(w, 0, "12345", 5, &err), GS_E_INVALID, &err);
    assert_ok(gs_gguf_writer_put(w, 0, "1234", 4, &err), &err);
    assert_ok(gs_gguf_writer_put(w, 1, "1234", 4, &err), &err);
    assert_fails(gs_gguf_writer_put(w, 0, "", 0, &err), GS_E_INVALID, &err);
    assert_fails(gs_gguf_writer_put(w, 2, "", 0, &err), GS_E_INVALID, &err);
    assert_fails(gs_gguf_writer_commit(w, &err), GS_E_INVALID, &err);
    assert_false(gs_path_exists(path));
    gs_free(path);
    gs_test_rmdir(dir);
}

/* Each allocation in turn fails: no leak (sanitizers see it), no file. */
static void no_memory_is_survived(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir(), *path = in_dir(dir, "x");
    gs_status status = GS_E_NOMEM;
    for (int64_t k = 0; status != GS_OK; k++) {
        gs_gguf_writer *w = NULL;
        int64_t two[1] = {2};
        assert_true(k < 200);
        gs_mem_fail_after(k);
        status = gs_gguf_writer_create(&w, NULL);
        if (status == GS_OK) status = gs_gguf_writer_u32(w, "k", 1, NULL);
        if (status == GS_OK) status = gs_gguf_writer_plan(w, "a", GS_F32, 1, two, NULL);
        if (status == GS_OK) status = gs_gguf_writer_begin(w, path, NULL);
        gs_mem_fail_after(-1);
        gs_gguf_writer_abort(w);
        assert_false(gs_path_exists(path));
    }
    gs_free(path);
    gs_test_rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(pieces_do_not_show),
        cmocka_unit_test(copied_pairs_are_the_same_bytes),
        cmocka_unit_test(only_keys_of_the_prefix_are_copied),
        cmocka_unit_test(impossible_plans_are_refused),
        cmocka_unit_test(bytes_come_in_order),
        cmocka_unit_test(no_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
