/* PyTorch files: state dicts in every layout become row-major tensors. */
#include "../golden/torch_golden.h"
#include "../support.h"
#include "safetensors_builder.h"
#include "torch_builder.h"

#include <base/mem.h>
#include <loaders/checkpoint.h>
#include <loaders/torch_file.h>

#include <zlib.h>

static float numbers[24]; /* 0 .. 23 */

static int make_numbers(void **state) {
    (void)state;
    for (int i = 0; i < 24; i++) numbers[i] = (float)i;
    return 0;
}

typedef struct opened {
    zip_builder zip;
    uint8_t *copy;
    gs_torch_file *file;
} opened;

/* b's pickle is finished and opened with one storage of the 24 numbers. */
static opened open_numbers(pickle_builder *b, int flags) {
    opened o;
    gs_error err = {0};
    pk(b, ".");
    o.zip = torch_zip(b, &(torch_storage){"t/data/0", numbers, sizeof numbers, flags}, 1);
    o.copy = malloc(o.zip.len);
    assert_non_null(o.copy);
    memcpy(o.copy, o.zip.data, o.zip.len);
    assert_ok(gs_torch_file_open_memory(o.copy, o.zip.len, &o.file, &err), &err);
    return o;
}

static void done(opened *o) {
    gs_torch_file_close(o->file);
    free(o->copy);
    zip_clear(&o->zip);
}

/* Values of a tensor are those of the view, index by index. */
static void is_view(const gs_tensor *t, const pk_view *v) {
    float got[24];
    gs_error err = {0};
    int64_t count = gs_tensor_count(t), rows, cols;
    assert_int_equal(t->ndim, v->ndim);
    for (int i = 0; i < v->ndim; i++) assert_int_equal(t->shape[i], v->shape[i]);
    assert_int_equal(t->bytes, (uint64_t)count * sizeof(float));
    assert_true(count <= 24);
    gs_tensor_matrix(t, &rows, &cols);
    assert_ok(gs_tensor_read_f32(t, 0, rows, got, &err), &err);
    for (int64_t n = 0; n < count; n++) {
        int64_t left = n, at = v->offset;
        for (int i = v->ndim; i-- > 0; left /= v->shape[i]) at += left % v->shape[i] * v->stride[i];
        assert_true(got[n] == numbers[at]);
    }
}

static const torch_entry layouts[] = {
    {"whole", {TORCH_FLOATS, "0", 24, 0, 2, {4, 6}, {6, 1}}},
    {"transposed", {TORCH_FLOATS, "0", 24, 0, 2, {6, 4}, {1, 6}}},
    {"columns", {TORCH_FLOATS, "0", 24, 2, 2, {4, 3}, {6, 1}}},
    {"every.other", {TORCH_FLOATS, "0", 24, 1, 1, {12}, {2}}},
    {"tail", {TORCH_FLOATS, "0", 24, 20, 1, {4}, {1}}},
    {"scalar", {TORCH_FLOATS, "0", 24, 23, 0, {0}, {0}}},
    {"nothing", {TORCH_FLOATS, "0", 24, 24, 2, {0, 3}, {3, 1}}},
    {"nowhere", {TORCH_FLOATS, "0", 24, INT64_MAX, 1, {0}, {1}}},
    {"permuted", {TORCH_FLOATS, "0", 24, 0, 3, {4, 2, 3}, {1, 12, 4}}},
    {"deep", {TORCH_FLOATS, "0", 24, 0, 4, {3, 2, 2, 2}, {8, 2, 1, 4}}},
    {"one.row", {TORCH_FLOATS, "0", 24, 6, 2, {1, 6}, {999, 1}}},
    {"one.column", {TORCH_FLOATS, "0", 24, 5, 2, {4, 1}, {6, 999}}},
    /* a stride that nobody follows may be anything: adding it would overflow */
    {"one.matrix", {TORCH_FLOATS, "0", 24, 1, 3, {1, 2, 3}, {INT64_MAX, 1, 4}}},
};

static void every_layout_is_read(void **state) {
    (void)state;
    for (int flags = 0; flags < 16; flags++) {
        pickle_builder b = {0};
        pk(&b, "\x80\x02");
        torch_dict(&b, layouts, GS_COUNTOF(layouts));
        opened o = open_numbers(&b, flags);
        assert_int_equal(gs_torch_file_count(o.file), GS_COUNTOF(layouts));
        for (size_t i = 0; i < GS_COUNTOF(layouts); i++) {
            const gs_tensor *t = gs_torch_file_find(o.file, layouts[i].name);
            assert_ptr_equal(t, gs_torch_file_at(o.file, i));
            is_view(t, &layouts[i].view);
        }
        assert_null(gs_torch_file_find(o.file, "nobody"));
        assert_null(gs_torch_file_at(o.file, GS_COUNTOF(layouts)));
        assert_null(gs_torch_file_nested(o.file));
        done(&o);
    }
}

static void stored_rows_are_views_and_cost_nothing(void **state) {
    (void)state;
    pickle_builder b = {0};
    pk(&b, "\x80\x02");
    const torch_entry rows[] = {layouts[0], {"row", {TORCH_FLOATS, "0", 24, 6, 2, {1, 6}, {999, 1}}},
                                {"column", {TORCH_FLOATS, "0", 24, 6, 2, {6, 1}, {1, 999}}},
                                {"nowhere", {TORCH_FLOATS, "0", 24, 99, 1, {0}, {1}}}};
    torch_dict(&b, rows, 4);
    opened o = open_numbers(&b, ZIP_ALIGNED);
    const gs_tensor *t = gs_torch_file_at(o.file, 0);
    assert_true(t->data >= o.copy && t->data + t->bytes <= o.copy + o.zip.len);
    assert_int_equal((size_t)(t->data - o.copy) % 64, 0);
    assert_ptr_equal(gs_torch_file_at(o.file, 1)->data, t->data + 24);
    assert_ptr_equal(gs_torch_file_at(o.file, 2)->data, t->data + 24);
    assert_ptr_equal(gs_torch_file_at(o.file, 3)->data, t->data);
    assert_int_equal(gs_torch_file_scratch(o.file), 0);
    assert_false(gs_torch_file_drop(o.file, t)); /* the bytes are the caller's */
    done(&o);
    pk(&b, "\x80\x02");
    torch_dict(&b, layouts, 2);
    o = open_numbers(&b, ZIP_DEFLATED);
    assert_int_equal(gs_torch_file_scratch(o.file), 2 * 128); /* the storage once, and the transposed tensor */
    assert_true(gs_torch_file_drop(o.file, gs_torch_file_at(o.file, 1)));
    is_view(gs_torch_file_at(o.file, 1), &layouts[1].view);
    done(&o);
}

/* Larger than a piece, in both directions. */
static void large_tensors_are_gathered(void **state) {
    (void)state;
    enum { N = 700, K = 1900 };
    float *values = malloc(sizeof(float) * N * K), *row = malloc(sizeof(float) * N);
    assert_true(values && row);
    for (int i = 0; i < N * K; i++) values[i] = (float)i;
    torch_entry e = {"w", {TORCH_FLOATS, "0", N * K, 0, 2, {K, N}, {1, K}}};
    for (int flags = 0; flags < 2; flags++) {
        pickle_builder b = {0};
        gs_torch_file *f;
        gs_error err = {0};
        pk(&b, "\x80\x02");
        torch_dict(&b, &e, 1);
        pk(&b, ".");
        zip_builder z = torch_zip(&b, &(torch_storage){"t/data/0", values, sizeof(float) * N * K, flags}, 1);
        assert_ok(gs_torch_file_open_memory(z.data, z.len, &f, &err), &err);
        for (int r = 0; r < K; r++) {
            assert_ok(gs_tensor_read_f32(gs_torch_file_at(f, 0), r, 1, row, &err), &err);
            for (int c = 0; c < N; c++) assert_true(row[c] == (float)(c * K + r));
        }
        gs_torch_file_close(f);
        zip_clear(&z);
    }
    free(values);
    free(row);
}

static void every_dtype_is_read(void **state) {
    (void)state;
    static const struct {
        const char *type;
        gs_dtype dtype;
        int64_t count;
    } types[] = {{"torch\nDoubleStorage\n", GS_F64, 12}, {"torch\nFloatStorage\n", GS_F32, 24},
                 {"torch\nHalfStorage\n", GS_F16, 48},   {"torch\nBFloat16Storage\n", GS_BF16, 48},
                 {"torch\nLongStorage\n", GS_I64, 12},   {"torch\nIntStorage\n", GS_I32, 24},
                 {"torch\nShortStorage\n", GS_I16, 48},  {"torch\nCharStorage\n", GS_I8, 96},
                 {"torch\nByteStorage\n", GS_U8, 96},    {"torch\nBoolStorage\n", GS_BOOL, 96}};
    for (size_t i = 0; i < GS_COUNTOF(types); i++) {
        int64_t n = types[i].count / 2;
        torch_entry e[] = {{"w", {types[i].type, "0", types[i].count, 0, 1, {2 * n}, {1}}},
                           {"t", {types[i].type, "0", types[i].count, 0, 2, {n, 2}, {1, n}}}};
        pickle_builder b = {0};
        pk(&b, "\x80\x02");
        torch_dict(&b, e, 2);
        opened o = open_numbers(&b, 0);
        const gs_tensor *w = gs_torch_file_at(o.file, 0), *t = gs_torch_file_at(o.file, 1);
        assert_int_equal(w->dtype, types[i].dtype);
        assert_memory_equal(w->data, numbers, sizeof numbers);
        size_t element = sizeof numbers / (size_t)types[i].count;
        for (int64_t k = 0; k < 2 * n; k++)
            assert_memory_equal(t->data + (size_t)k * element, w->data + (size_t)(k / 2 + k % 2 * n) * element, element);
        done(&o);
    }
}

static void a_state_dict_one_level_down_is_found(void **state) {
    (void)state;
    static const char *const keys[] = {"state_dict", "model_state_dict", "model", "module"};
    for (size_t i = 0; i < GS_COUNTOF(keys); i++) {
        pickle_builder b = {0};
        pk(&b, "\x80\x02}(");
        pk_text(&b, "epoch");
        pk(&b, "K\x05");
        pk_text(&b, keys[i]);
        torch_dict(&b, layouts, 2);
        pk_text(&b, "optimizer");
        pk(&b, "}u");
        opened o = open_numbers(&b, 0);
        assert_string_equal(gs_torch_file_nested(o.file), keys[i]);
        assert_int_equal(gs_torch_file_count(o.file), 2);
        is_view(gs_torch_file_at(o.file, 1), &layouts[1].view);
        done(&o);
    }
}

static void want_of_memory_leaks_nothing(void **state) {
    (void)state;
    pickle_builder b = {0};
    pk(&b, "\x80\x02");
    torch_dict(&b, layouts, 3);
    pk(&b, ".");
    zip_builder z = torch_zip(&b, &(torch_storage){"t/data/0", numbers, sizeof numbers, ZIP_DEFLATED}, 1);
    for (int64_t k = 0;; k++) {
        gs_torch_file *f;
        gs_mem_fail_after(k);
        gs_status status = gs_torch_file_open_memory(z.data, z.len, &f, NULL);
        gs_mem_fail_after(-1);
        gs_torch_file_close(f);
        if (status == GS_OK) break;
        assert_int_equal(status, GS_E_NOMEM);
    }
    zip_clear(&z);
}

#define CONFIG                                                                 \
    "{\"model_type\":\"llama\",\"vocab_size\":8,\"hidden_size\":4,"            \
    "\"intermediate_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":2}"

static void write_shard(const char *dir, const char *name, const torch_entry *e, size_t n) {
    pickle_builder b = {0};
    pk(&b, "\x80\x02");
    torch_dict(&b, e, n);
    pk(&b, ".");
    zip_builder z = torch_zip(&b, &(torch_storage){"t/data/0", numbers, sizeof numbers, ZIP_ALIGNED}, 1);
    st_write_bytes(st_path(dir, name), z.data, z.len);
    zip_clear(&z);
}

static void directories_open_as_checkpoints(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir();
    gs_checkpoint *c;
    gs_error err = {0};
    st_write_text(st_path(dir, "config.json"), CONFIG);
    write_shard(dir, "pytorch_model.bin", layouts, GS_COUNTOF(layouts));
    assert_ok(gs_checkpoint_open(dir, NULL, &c, &err), &err);
    assert_int_equal(gs_checkpoint_container(c), GS_CONTAINER_TORCH);
    assert_string_equal(gs_container_name(gs_checkpoint_container(c)), "pytorch");
    assert_string_equal(gs_container_title(gs_checkpoint_container(c)), "PyTorch");
    assert_string_equal(gs_container_name(GS_CONTAINER_GGUF), "gguf");
    assert_string_equal(gs_container_title(GS_CONTAINER_GGUF), "GGUF");
    assert_int_equal(gs_checkpoint_count(c), GS_COUNTOF(layouts));
    gs_checkpoint_drop(c, gs_checkpoint_find(c, "whole"));
    is_view(gs_checkpoint_find(c, "whole"), &layouts[0].view);
    gs_checkpoint_close(c);
    /* an index goes first */
    write_shard(dir, "pytorch_model-00001-of-00002.bin", layouts, 2);
    write_shard(dir, "pytorch_model-00002-of-00002.bin", layouts + 2, 1);
    static const char index[] = "{\"metadata\":{\"total_size\":%d},\"weight_map\":{"
                                "\"whole\":\"pytorch_model-00001-of-00002.bin\","
                                "\"transposed\":\"pytorch_model-00001-of-00002.bin\","
                                "\"columns\":\"pytorch_model-00002-of-00002.bin\"}}";
    char text[512];
    snprintf(text, sizeof text, index, 96 + 96 + 48);
    st_write_text(st_path(dir, "pytorch_model.bin.index.json"), text);
    assert_ok(gs_checkpoint_open(dir, NULL, &c, &err), &err);
    assert_int_equal(gs_checkpoint_count(c), 3);
    is_view(gs_checkpoint_find(c, "columns"), &layouts[2].view);
    gs_checkpoint_close(c);
    snprintf(text, sizeof text, index, 1);
    st_write_text(st_path(dir, "pytorch_model.bin.index.json"), text);
    assert_fails(gs_checkpoint_open(dir, NULL, &c, &err), GS_E_FORMAT, &err);
    assert_text_has(&err, "metadata.total_size is 1");
    gs_test_rmdir(dir);
}

static void tensors_that_share_bytes_may_be_counted_once(void **state) {
    (void)state;
    static const torch_entry tied[] = {{"a", {TORCH_FLOATS, "0", 24, 0, 2, {4, 6}, {6, 1}}},
                                       {"b", {TORCH_FLOATS, "0", 24, 0, 2, {4, 6}, {6, 1}}}};
    char *dir = gs_test_tmpdir();
    gs_error err = {0};
    write_shard(dir, "pytorch_model-00001-of-00001.bin", tied, 2);
    for (int total = 96; total <= 192; total += 48) {
        char text[256];
        gs_shards *s;
        snprintf(text, sizeof text, "{\"metadata\":{\"total_size\":%d},\"weight_map\":{\"a\":\"pytorch_model-00001-of-00001.bin\","
                 "\"b\":\"pytorch_model-00001-of-00001.bin\"}}", total);
        st_write_text(st_path(dir, "pytorch_model.bin.index.json"), text);
        gs_status status = gs_shards_open_dir(dir, "model", &s, &err);
        assert_int_equal(status, total == 144 ? GS_E_FORMAT : GS_OK);
        gs_shards_close(s);
    }
    gs_test_rmdir(dir);
}

static void the_reference_model_has_torchs_tensors(void **state) {
    (void)state;
    gs_need_data(path, "reference/families/baichuan2-7b-torch-bin-bf16");
    gs_checkpoint *c;
    gs_error err = {0};
    assert_ok(gs_checkpoint_open(path, NULL, &c, &err), &err);
    assert_int_equal(gs_checkpoint_count(c), GS_COUNTOF(torch_golden));
    for (size_t i = 0; i < GS_COUNTOF(torch_golden); i++) {
        const gs_tensor *t = gs_checkpoint_find(c, torch_golden[i].name);
        assert_non_null(t);
        assert_int_equal(t->dtype, GS_BF16);
        assert_int_equal(crc32_z(crc32_z(0, NULL, 0), t->data, t->bytes), torch_golden[i].crc);
    }
    gs_checkpoint_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layout_is_read),
        cmocka_unit_test(stored_rows_are_views_and_cost_nothing),
        cmocka_unit_test(large_tensors_are_gathered),
        cmocka_unit_test(every_dtype_is_read),
        cmocka_unit_test(a_state_dict_one_level_down_is_found),
        cmocka_unit_test(want_of_memory_leaks_nothing),
        cmocka_unit_test(directories_open_as_checkpoints),
        cmocka_unit_test(tensors_that_share_bytes_may_be_counted_once),
        cmocka_unit_test(the_reference_model_has_torchs_tensors),
    };
    return cmocka_run_group_tests(tests, make_numbers, NULL);
}
