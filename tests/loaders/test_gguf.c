#include "gguf_builder.h"

#include <base/mem.h>

/* Large: one for all, begun anew by every test. */
static gguf_builder b;

static gs_gguf *open_ok(void) {
    gs_gguf *g = NULL;
    gs_error err = {0};
    assert_ok(gguf_open_copy(b.data, b.len, &g, &err), &err);
    return g;
}

static int64_t int_of(const gs_gguf *g, const char *key) {
    int64_t v = 0;
    if (!gs_gguf_int(g, key, &v)) fail_msg("'%s' is no integer", key);
    return v;
}

static void a_file_of_nothing_but_a_header_opens(void **state) {
    (void)state;
    gguf_begin(&b, 3);
    gs_gguf *g = open_ok();
    assert_int_equal(gs_gguf_count(g), 0);
    assert_null(gs_gguf_at(g, 0));
    assert_null(gs_gguf_find(g, "x"));
    assert_int_equal(gs_gguf_file(g)->size, 24);
    gs_gguf_close(g);
}

static void version_two_opens_too(void **state) {
    (void)state;
    gguf_begin(&b, 2);
    gs_gguf_close(open_ok());
}

static void every_integer_type_converts_when_it_fits(void **state) {
    (void)state;
    int64_t v;
    gguf_everything(&b);
    gs_gguf *g = open_ok();
    assert_int_equal(int_of(g, "u8"), 200);
    assert_int_equal(int_of(g, "i8"), -3);
    assert_int_equal(int_of(g, "u16"), 65535);
    assert_int_equal(int_of(g, "i16"), -300);
    assert_int_equal(int_of(g, "u32"), INT64_C(4294967295));
    assert_int_equal(int_of(g, "i32"), -70000);
    assert_int_equal(int_of(g, "u64"), INT64_C(1) << 40);
    assert_int_equal(int_of(g, "i64"), INT64_MIN);
    assert_false(gs_gguf_int(g, "u64.big", &v));
    assert_false(gs_gguf_int(g, "f32", &v));
    assert_false(gs_gguf_int(g, "yes", &v));
    assert_false(gs_gguf_int(g, "ints", &v));
    assert_false(gs_gguf_int(g, "absent", &v));
    gs_gguf_close(g);
}

static void floats_bools_and_strings_read_as_what_they_are(void **state) {
    (void)state;
    double d = 0;
    bool flag = false;
    gs_gguf_str s;
    gguf_everything(&b);
    gs_gguf *g = open_ok();
    assert_true(gs_gguf_double(g, "f32", &d) && d == (double)0.1f);
    assert_true(gs_gguf_double(g, "f64", &d) && d == 0.1);
    assert_false(gs_gguf_double(g, "u8", &d));
    assert_true(gs_gguf_bool(g, "yes", &flag) && flag);
    assert_true(gs_gguf_bool(g, "no", &flag) && !flag);
    assert_false(gs_gguf_bool(g, "u8", &flag));
    assert_true(gs_gguf_string(g, "text", &s) && s.len == 5 && !memcmp(s.data, "hello", 5));
    assert_true(gs_gguf_string(g, "empty", &s) && s.len == 0);
    assert_false(gs_gguf_string(g, "strings", &s));
    assert_false(gs_gguf_string(g, "absent", &s));
    gs_gguf_close(g);
}

static void arrays_give_count_elements_and_bytes(void **state) {
    (void)state;
    gs_gguf_str s;
    int64_t n = -5;
    gguf_everything(&b);
    gs_gguf *g = open_ok();
    assert_int_equal(gs_gguf_array(g, "strings", GS_GGUF_STRING), 3);
    assert_int_equal(gs_gguf_array(g, "strings", GS_GGUF_I32), -1);
    assert_int_equal(gs_gguf_array(g, "u8", GS_GGUF_U8), -1);
    assert_int_equal(gs_gguf_array(g, "none", GS_GGUF_F64), 0);
    assert_int_equal(gs_gguf_array(g, "no.strings", GS_GGUF_STRING), 0);
    assert_true(gs_gguf_array_string(g, "strings", 2, &s));
    assert_true(s.len == 3 && !memcmp(s.data, "ccc", 3));
    assert_true(gs_gguf_array_string(g, "strings", 1, &s) && s.len == 0);
    assert_false(gs_gguf_array_string(g, "strings", 3, &s));
    assert_false(gs_gguf_array_string(g, "strings", -1, &s));
    assert_false(gs_gguf_array_string(g, "no.strings", 0, &s));
    assert_false(gs_gguf_array_string(g, "ints", 0, &s));
    const uint8_t *p = gs_gguf_array_data(g, "ints", GS_GGUF_I32, &n);
    assert_non_null(p);
    assert_int_equal(n, 2);
    assert_int_equal(p[0], 7);
    assert_int_equal(p[4], 0xf9);
    assert_null(gs_gguf_array_data(g, "ints", GS_GGUF_U32, &n));
    assert_null(gs_gguf_array_data(g, "strings", GS_GGUF_STRING, &n));
    gs_gguf_close(g);
}

static void tensors_are_views_with_the_outermost_dimension_first(void **state) {
    (void)state;
    gguf_everything(&b);
    gs_gguf *g = open_ok();
    assert_int_equal(gs_gguf_count(g), 3);
    const gs_tensor *t = gs_gguf_find(g, "matrix");
    assert_non_null(t);
    assert_ptr_equal(t, gs_gguf_at(g, 1));
    assert_string_equal(t->name, "matrix");
    assert_int_equal(t->dtype, GS_F32);
    assert_int_equal(t->ndim, 2);
    assert_int_equal(t->shape[0], 3);
    assert_int_equal(t->shape[1], 4);
    assert_int_equal(t->bytes, 48);
    assert_int_equal(t->order, GS_ROWS_AS_STORED);
    assert_int_equal(t->data[0], 32); /* the section's bytes count up; the vector's 20 are padded */
    t = gs_gguf_find(g, "blocks");
    assert_int_equal(t->dtype, GS_Q4_1);
    assert_int_equal(t->bytes, 80);
    t = gs_gguf_find(g, "vector");
    assert_int_equal(t->ndim, 1);
    assert_int_equal(t->shape[0], 5);
    assert_null(gs_gguf_find(g, "matri"));
    gs_gguf_close(g);
}

static void every_tensor_type_has_its_own_dtype(void **state) {
    (void)state;
    static const struct {
        uint32_t id;
        gs_dtype dtype;
    } rows[] = {
        {0, GS_F32},   {1, GS_F16},   {2, GS_Q4_0},  {3, GS_Q4_1},  {6, GS_Q5_0},
        {7, GS_Q5_1},  {8, GS_Q8_0},  {10, GS_Q2_K}, {11, GS_Q3_K}, {12, GS_Q4_K},
        {13, GS_Q5_K}, {14, GS_Q6_K}, {24, GS_I8},   {25, GS_I16},  {26, GS_I32},
        {27, GS_I64},  {28, GS_F64},  {30, GS_BF16},
    };
    for (size_t i = 0; i < GS_COUNTOF(rows); i++) {
        gguf_begin(&b, 3);
        gguf_tensor(&b, "t", 0, 256, rows[i].id, 2048);
        gguf_data(&b);
        gs_gguf *g = open_ok();
        assert_int_equal(gs_gguf_at(g, 0)->dtype, rows[i].dtype);
        gs_gguf_close(g);
    }
}

static void another_alignment_moves_the_data(void **state) {
    (void)state;
    gguf_begin(&b, 3);
    gguf_kv_u32(&b, "general.alignment", 128);
    b.alignment = 128;
    gguf_tensor_f32(&b, "a", 0, 1);
    gguf_tensor_f32(&b, "b", 0, 1);
    uint8_t *start = gguf_data(&b);
    assert_int_equal((start - b.data) % 128, 0);
    gs_gguf *g = open_ok();
    assert_int_equal(gs_gguf_at(g, 0)->data - gs_gguf_file(g)->data, start - b.data);
    assert_int_equal(gs_gguf_at(g, 1)->data - gs_gguf_at(g, 0)->data, 128);
    gs_gguf_close(g);
}

static void running_out_of_memory_is_reported_at_every_allocation(void **state) {
    (void)state;
    gguf_everything(&b);
    int64_t k = 0;
    for (; k < 200; k++) {
        gs_gguf *g = NULL;
        gs_error err = {0};
        gs_mem_fail_after(k);
        gs_status status = gs_gguf_open_memory(b.data, b.len, &g, &err);
        gs_mem_fail_after(-1);
        if (status == GS_OK) {
            gs_gguf_close(g);
            break;
        }
        assert_int_equal(status, GS_E_NOMEM);
        assert_null(g);
    }
    assert_in_range(k, 5, 199);
}

static void a_missing_file_is_named(void **state) {
    (void)state;
    gs_gguf *g = NULL;
    gs_error err = {0};
    assert_int_not_equal(gs_gguf_open("no/such/model.gguf", &g, &err), GS_OK);
    assert_null(g);
    assert_non_null(strstr(err.text, "no/such/model.gguf"));
    gs_gguf_close(NULL);
}

static void a_bad_file_on_disk_is_named(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir(), path[64];
    snprintf(path, sizeof path, "%s/bad.gguf", dir);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs("GGML", f);
    fclose(f);
    gs_gguf *g = NULL;
    gs_error err = {0};
    assert_fails(gs_gguf_open(path, &g, &err), GS_E_FORMAT, &err);
    assert_non_null(strstr(err.text, path));
    gs_test_rmdir(dir);
}

static void a_real_model_opens(void **state) {
    (void)state;
    gs_need_data(path, "data/lm/stories260K-f32.gguf");
    gs_gguf *g = NULL;
    gs_error err = {0};
    double eps;
    assert_ok(gs_gguf_open(path, &g, &err), &err);
    assert_int_equal(gs_gguf_count(g), 48);
    assert_int_equal(int_of(g, "llama.block_count"), 5);
    assert_true(gs_gguf_double(g, "llama.attention.layer_norm_rms_epsilon", &eps));
    assert_true(eps == (double)1e-5f);
    assert_int_equal(gs_gguf_array(g, "tokenizer.ggml.scores", GS_GGUF_F32), 512);
    const gs_tensor *t = gs_gguf_find(g, "blk.4.attn_k.weight");
    assert_non_null(t);
    assert_int_equal(t->shape[0], 32);
    assert_int_equal(t->shape[1], 64);
    gs_gguf_close(g);
}

static void real_vocabularies_open(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int64_t tokens, merges;
    } rows[] = {
        {"llama-spm", 32000, -1},
        {"gpt-2", 50257, 50000},
        {"deepseek-llm", 102400, 99757},
        {"baichuan", 64000, -1},
    };
    for (size_t i = 0; i < GS_COUNTOF(rows); i++) {
        char relative[128];
        snprintf(relative, sizeof relative, "data/tokenizers/llama.cpp/ggml-vocab-%s.gguf",
                 rows[i].name);
        gs_need_data(path, relative);
        gs_gguf *g = NULL;
        gs_error err = {0};
        gs_gguf_str last;
        assert_ok(gs_gguf_open(path, &g, &err), &err);
        assert_int_equal(gs_gguf_count(g), 0);
        assert_int_equal(gs_gguf_array(g, "tokenizer.ggml.tokens", GS_GGUF_STRING), rows[i].tokens);
        assert_int_equal(gs_gguf_array(g, "tokenizer.ggml.merges", GS_GGUF_STRING), rows[i].merges);
        assert_true(gs_gguf_array_string(g, "tokenizer.ggml.tokens", rows[i].tokens - 1, &last));
        assert_true(last.len > 0);
        gs_gguf_close(g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_of_nothing_but_a_header_opens),
        cmocka_unit_test(version_two_opens_too),
        cmocka_unit_test(every_integer_type_converts_when_it_fits),
        cmocka_unit_test(floats_bools_and_strings_read_as_what_they_are),
        cmocka_unit_test(arrays_give_count_elements_and_bytes),
        cmocka_unit_test(tensors_are_views_with_the_outermost_dimension_first),
        cmocka_unit_test(every_tensor_type_has_its_own_dtype),
        cmocka_unit_test(another_alignment_moves_the_data),
        cmocka_unit_test(running_out_of_memory_is_reported_at_every_allocation),
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(a_bad_file_on_disk_is_named),
        cmocka_unit_test(a_real_model_opens),
        cmocka_unit_test(real_vocabularies_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
