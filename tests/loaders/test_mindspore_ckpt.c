/* MindSpore checkpoints: the files that Golden Stick wrote, files made by hand, hostile ones, and the writer. */
#include <sys/stat.h>
#include "../support.h"

#include <base/file.h>
#include <base/mem.h>
#include <loaders/mindspore_ckpt.h>

/* ---- files by hand: fields with short lengths only */

typedef struct bytes {
    uint8_t data[1024];
    size_t len;
} bytes;

static bytes field(int number, const void *data, size_t n) {
    bytes b = {.data = {(uint8_t)(number << 3 | 2), (uint8_t)n}, .len = 2};
    assert_true(n < 128);
    if (n) memcpy(b.data + 2, data, n);
    b.len += n;
    return b;
}

static void join(bytes *to, bytes from) {
    memcpy(to->data + to->len, from.data, from.len);
    to->len += from.len;
}

static bytes tensor(int ndim, const uint8_t *dims, const char *dtype, const void *data, size_t n) {
    bytes b = {.len = 0};
    for (int i = 0; i < ndim; i++) {
        b.data[b.len++] = 1 << 3;
        b.data[b.len++] = dims[i];
    }
    if (dtype) join(&b, field(2, dtype, strlen(dtype)));
    if (data) join(&b, field(3, data, n));
    return b;
}

static bytes entry(const char *name, bytes t) {
    bytes b = {.len = 0};
    join(&b, field(1, name, strlen(name)));
    join(&b, field(2, t.data, t.len));
    return field(1, b.data, b.len);
}

static const uint8_t d23[2] = {2, 3}, d4[1] = {4};

/* Opens a copy of exactly that length, so that sanitizers see any overrun; it lives until the next call. */
static gs_status open_copy(const bytes *b, gs_mindspore_ckpt **out, gs_error *err) {
    static uint8_t *copy;
    free(copy);
    copy = malloc(b->len ? b->len : 1);
    assert_non_null(copy);
    memcpy(copy, b->data, b->len);
    return gs_mindspore_ckpt_open_memory(copy, b->len, out, err);
}

static void refused(bytes b, gs_status status, const char *word) {
    gs_mindspore_ckpt *c;
    gs_error err = {0};
    assert_fails(open_copy(&b, &c, &err), status, &err);
    assert_null(c);
    if (!strstr(err.text, word)) fail_msg("'%s' does not mention '%s'", err.text, word);
}

static void a_small_file_is_read(void **state) {
    (void)state;
    gs_mindspore_ckpt *c;
    gs_error err = {0};
    bytes b = entry("a.weight", tensor(2, d23, "Int8", "abcdef", 6));
    join(&b, entry("scalar", tensor(0, NULL, "Int32", "\1\0\0\0", 4)));
    join(&b, entry("none", tensor(1, (const uint8_t *)"\0", "Float32", NULL, 0)));
    assert_ok(open_copy(&b, &c, &err), &err);
    assert_int_equal(gs_mindspore_ckpt_count(c), 3);
    const gs_tensor *t = gs_mindspore_ckpt_find(c, "a.weight");
    assert_non_null(t);
    assert_int_equal(t->dtype, GS_I8);
    assert_int_equal(t->ndim, 2);
    assert_int_equal(t->shape[0], 2);
    assert_int_equal(t->shape[1], 3);
    assert_int_equal(t->bytes, 6);
    assert_memory_equal(t->data, "abcdef", 6);
    assert_int_equal(gs_mindspore_ckpt_at(c, 1)->ndim, 0);
    assert_int_equal(gs_mindspore_ckpt_at(c, 2)->bytes, 0);
    assert_null(gs_mindspore_ckpt_at(c, 3));
    assert_null(gs_mindspore_ckpt_find(c, "a"));
    gs_mindspore_ckpt_drop(c, t); /* nothing for borrowed memory */
    assert_memory_equal(t->data, "abcdef", 6);
    gs_mindspore_ckpt_close(c);
}

static void pieces_of_a_tensor_are_joined(void **state) {
    (void)state;
    gs_mindspore_ckpt *c;
    gs_error err = {0};
    bytes b = entry("x", tensor(1, d4, "Int8", "1234", 4));
    join(&b, entry("w", tensor(2, d23, "Int8", "ab", 2)));
    join(&b, entry("w", tensor(2, d23, "Int8", "cde", 3)));
    join(&b, entry("w", tensor(2, d23, "Int8", "f", 1)));
    join(&b, entry("y", tensor(1, d4, "Int8", "5678", 4)));
    assert_ok(open_copy(&b, &c, &err), &err);
    assert_int_equal(gs_mindspore_ckpt_count(c), 3);
    const gs_tensor *t = gs_mindspore_ckpt_find(c, "w");
    assert_int_equal(t->bytes, 6);
    assert_memory_equal(t->data, "abcdef", 6);
    assert_memory_equal(gs_mindspore_ckpt_at(c, 2)->data, "5678", 4);
    /* in a file, not in memory: a model has many tensors that are too long for one entry */
    assert_int_equal(gs_mindspore_ckpt_scratch(c), 64);
    gs_mindspore_ckpt_drop(c, t);
    assert_memory_equal(t->data, "abcdef", 6);
    gs_mindspore_ckpt_close(c);
    join(&b, entry("z", tensor(2, d23, "Int8", "ABCDE", 5)));
    join(&b, entry("z", tensor(2, d23, "Int8", "F", 1)));
    assert_ok(open_copy(&b, &c, &err), &err);
    assert_int_equal(gs_mindspore_ckpt_scratch(c), 128);
    assert_memory_equal(gs_mindspore_ckpt_find(c, "z")->data, "ABCDEF", 6);
    assert_memory_equal(gs_mindspore_ckpt_find(c, "w")->data, "abcdef", 6);
    gs_mindspore_ckpt_close(c);
}

static void pieces_that_do_not_fit_are_refused(void **state) {
    (void)state;
    bytes part = entry("w", tensor(2, d23, "Int8", "abcd", 4)), b = part;
    refused(part, GS_E_FORMAT, "'w' has 4 of 6");
    join(&b, part);
    refused(b, GS_E_FORMAT, "'w'"); /* 8 of 6 */
    b = part;
    join(&b, entry("x", tensor(2, d23, "Int8", "ef", 2)));
    refused(b, GS_E_FORMAT, "'x'");
    b = part;
    join(&b, entry("w", tensor(2, d23, "UInt8", "ef", 2)));
    refused(b, GS_E_FORMAT, "'w'");
    b = part;
    join(&b, entry("w", tensor(1, (const uint8_t *)"\6", "Int8", "ef", 2)));
    refused(b, GS_E_FORMAT, "'w'");
    b = entry("w", tensor(1, d4, "Int8", "1234", 4)); /* whole, then again */
    join(&b, entry("w", tensor(1, d4, "Int8", "1234", 4)));
    refused(b, GS_E_FORMAT, "twice");
}

static void hostile_files_are_refused(void **state) {
    (void)state;
    bytes empty = {.len = 0}, b;
    bytes whole = entry("w", tensor(2, d23, "Int8", "abcdef", 6));
    refused(empty, GS_E_FORMAT, "no tensors");
    for (size_t n = 1; n < whole.len; n++) {
        b = whole;
        b.len = n;
        refused(b, GS_E_FORMAT, "byte 0");
    }
    refused(entry("w", tensor(2, d23, "Int8", "abcdefg", 7)), GS_E_FORMAT, "7 bytes");
    refused(entry("w", tensor(2, d23, "Int4", "abcdef", 6)), GS_E_UNSUPPORTED, "Int4");
    refused(entry("w", tensor(2, d23, "\1", "abcdef", 6)), GS_E_FORMAT, "word");
    refused(entry("w", tensor(2, d23, NULL, "abcdef", 6)), GS_E_FORMAT, "dtype");
    refused(entry("", tensor(2, d23, "Int8", "abcdef", 6)), GS_E_FORMAT, "name");
    refused(entry("a\nb", tensor(2, d23, "Int8", "abcdef", 6)), GS_E_FORMAT, "name");
    refused(entry("a\xc2\x9b" "2J", tensor(2, d23, "Int8", "abcdef", 6)), GS_E_FORMAT, "name"); /* begins a command */
    refused(entry("\xff", tensor(2, d23, "Int8", "abcdef", 6)), GS_E_FORMAT, "name");
    refused(field(2, "x", 1), GS_E_UNSUPPORTED, "field 2");
    refused(field(1, field(1, "w", 1).data, 3), GS_E_FORMAT, "no tensor");
    bytes nine = {.len = 0};
    for (int i = 0; i < 9; i++) join(&nine, tensor(1, (const uint8_t *)"\1", NULL, NULL, 0));
    join(&nine, tensor(0, NULL, "Int8", "a", 1));
    refused(entry("w", nine), GS_E_FORMAT, "dimensions");
    bytes huge = {.data = {8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 8, 16}, .len = 12};
    join(&huge, tensor(0, NULL, "Int64", "a", 1));
    refused(entry("w", huge), GS_E_FORMAT, "overflow");
    bytes negative = {.data = {8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, .len = 11};
    join(&negative, tensor(0, NULL, "Int64", "a", 1));
    refused(entry("w", negative), GS_E_FORMAT, "dimension 0");
    bytes twice = tensor(2, d23, "Int8", "abcdef", 6);
    join(&twice, field(2, "Int8", 4));
    refused(entry("w", twice), GS_E_FORMAT, "twice");
    bytes map = {.len = 0};
    join(&map, field(1, "w", 1));
    join(&map, field(3, "", 0));
    refused(field(1, map.data, map.len), GS_E_UNSUPPORTED, "map");
}

static void no_memory_is_survived(void **state) {
    (void)state;
    bytes b = entry("w", tensor(2, d23, "Int8", "ab", 2));
    join(&b, entry("w", tensor(2, d23, "Int8", "cdef", 4)));
    gs_mindspore_ckpt *c = NULL;
    for (int64_t k = 0; !c; k++) {
        assert_true(k < 100);
        gs_mem_fail_after(k);
        gs_status status = open_copy(&b, &c, NULL);
        gs_mem_fail_after(-1);
        assert_true(status == GS_OK || (status == GS_E_NOMEM && !c));
    }
    gs_mindspore_ckpt_close(c);
}

/* ---- the writer */

static gs_mindspore_ckpt_writer *fresh(void) {
    gs_mindspore_ckpt_writer *w;
    gs_error err = {0};
    assert_ok(gs_mindspore_ckpt_writer_create(&w, &err), &err);
    return w;
}

/* Writes all tensors of c in pieces of `piece` bytes. */
static void rewrite(const gs_mindspore_ckpt *c, uint64_t slice, size_t piece, const char *path) {
    gs_mindspore_ckpt_writer *w = fresh();
    gs_error err = {0};
    (void)unlink(path); /* of the round before */
    gs_mindspore_ckpt_writer_slice(w, slice);
    for (size_t i = 0; i < gs_mindspore_ckpt_count(c); i++) {
        const gs_tensor *t = gs_mindspore_ckpt_at(c, i);
        assert_ok(gs_mindspore_ckpt_writer_plan(w, t->name, t->dtype, t->ndim, t->shape, &err), &err);
    }
    uint64_t promised = gs_mindspore_ckpt_writer_bytes(w);
    assert_ok(gs_mindspore_ckpt_writer_begin(w, path, &err), &err);
    for (size_t i = 0; i < gs_mindspore_ckpt_count(c); i++) {
        const gs_tensor *t = gs_mindspore_ckpt_at(c, i);
        for (size_t at = 0; at < t->bytes; at += piece) {
            size_t n = t->bytes - at < piece ? (size_t)t->bytes - at : piece;
            assert_ok(gs_mindspore_ckpt_writer_put(w, i, t->data + at, n, &err), &err);
        }
    }
    assert_false(gs_path_exists(path));
    assert_ok(gs_mindspore_ckpt_writer_commit(w, &err), &err);
    char *file;
    size_t n;
    assert_ok(gs_file_read(path, 1 << 26, &file, &n, &err), &err);
    assert_int_equal(n, promised);
    gs_free(file);
}

static void same_file(const char *a, const char *b) {
    char *x, *y;
    size_t m, n;
    gs_error err = {0};
    assert_ok(gs_file_read(a, 1 << 26, &x, &m, &err), &err);
    assert_ok(gs_file_read(b, 1 << 26, &y, &n, &err), &err);
    assert_int_equal(m, n);
    assert_memory_equal(x, y, m);
    gs_free(x);
    gs_free(y);
}

static void rewritten_files_are_the_same_bytes(const char *path) {
    char *dir = gs_test_tmpdir(), *copy = gs_path_join(dir, "x.ckpt");
    gs_mindspore_ckpt *c;
    gs_error err = {0};
    assert_ok(gs_mindspore_ckpt_open(path, &c, &err), &err);
    rewrite(c, 0, 1000, copy);
    same_file(path, copy);
    gs_mindspore_ckpt_close(c);
    gs_free(copy);
    gs_test_rmdir(dir);
}

static void golden_stick_w8a16(void **state) {
    (void)state;
    gs_need_data(path, "reference/goldenstick/mindspore-ckpt/w8a16-f16.ckpt");
    gs_mindspore_ckpt *c;
    gs_error err = {0};
    assert_ok(gs_mindspore_ckpt_open(path, &c, &err), &err);
    assert_int_equal(gs_mindspore_ckpt_count(c), 10); /* params.json */
    const gs_tensor *t = gs_mindspore_ckpt_find(c, "layers.0.feed_forward.w2._layer.weight");
    assert_non_null(t);
    assert_int_equal(t->dtype, GS_I8);
    assert_int_equal(t->shape[0], 64);
    assert_int_equal(t->shape[1], 172);
    t = gs_mindspore_ckpt_find(c, "layers.0.feed_forward.w1._layer.matmul.weight_scale");
    assert_non_null(t);
    assert_int_equal(t->dtype, GS_F16);
    assert_int_equal(t->bytes, 344);
    gs_mindspore_ckpt_close(c);
    rewritten_files_are_the_same_bytes(path);
}

static void golden_stick_w8a8(void **state) {
    (void)state;
    gs_need_data(path, "reference/goldenstick/mindspore-ckpt/w8a8-smooth-f16.ckpt");
    enum { SIZE = 105385 };
    struct stat about;
    assert_int_equal(stat(path, &about), 0);
    if (about.st_size != SIZE) {
        print_message("skipped: %s has %lld bytes instead of %d: it is not what Golden Stick wrote\n", path,
                      (long long)about.st_size, SIZE);
        skip();
    }
    rewritten_files_are_the_same_bytes(path);
}

static void slices_read_back_whole(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir(), *path = gs_path_join(dir, "x.ckpt"), *again = gs_path_join(dir, "y.ckpt");
    gs_mindspore_ckpt *c, *sliced;
    gs_error err = {0};
    bytes b = entry("none", tensor(1, (const uint8_t *)"\0", "Float32", "", 0));
    join(&b, entry("a", tensor(2, d23, "Int8", "abcdef", 6)));
    join(&b, entry("b", tensor(1, d4, "Int8", "1234", 4)));
    join(&b, entry("last", tensor(1, (const uint8_t *)"\0", "Float16", "", 0)));
    assert_ok(open_copy(&b, &c, &err), &err);
    for (uint64_t slice = 1; slice <= 7; slice++)
        for (size_t piece = 1; piece <= 6; piece++) {
            rewrite(c, slice, piece, path);
            assert_ok(gs_mindspore_ckpt_open(path, &sliced, &err), &err);
            assert_int_equal(gs_mindspore_ckpt_count(sliced), 4);
            assert_memory_equal(gs_mindspore_ckpt_find(sliced, "a")->data, "abcdef", 6);
            assert_memory_equal(gs_mindspore_ckpt_find(sliced, "b")->data, "1234", 4);
            gs_mindspore_ckpt_drop(sliced, gs_mindspore_ckpt_find(sliced, "a"));
            rewrite(sliced, 0, 6, again);
            char *file;
            size_t n;
            assert_ok(gs_file_read(again, 1 << 20, &file, &n, &err), &err);
            assert_int_equal(n, b.len);
            assert_memory_equal(file, b.data, n);
            gs_free(file);
            gs_mindspore_ckpt_close(sliced);
        }
    gs_mindspore_ckpt_close(c);
    gs_free(path);
    gs_free(again);
    gs_test_rmdir(dir);
}

static void the_writer_refuses(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir(), *path = gs_path_join(dir, "x.ckpt");
    gs_mindspore_ckpt_writer *w = fresh();
    gs_error err = {0};
    int64_t four[1] = {4};
    assert_ok(gs_mindspore_ckpt_writer_plan(w, "a", GS_I8, 1, four, &err), &err);
    assert_ok(gs_mindspore_ckpt_writer_plan(w, "b", GS_I8, 1, four, &err), &err);
    assert_fails(gs_mindspore_ckpt_writer_plan(w, "a", GS_I8, 1, four, &err), GS_E_INVALID, &err);
    assert_fails(gs_mindspore_ckpt_writer_plan(w, "c", GS_Q8_0, 1, four, &err), GS_E_INVALID, &err);
    assert_fails(gs_mindspore_ckpt_writer_put(w, 0, "1234", 4, &err), GS_E_INVALID, &err);
    assert_ok(gs_mindspore_ckpt_writer_begin(w, path, &err), &err);
    assert_fails(gs_mindspore_ckpt_writer_plan(w, "d", GS_I8, 1, four, &err), GS_E_INVALID, &err);
    assert_fails(gs_mindspore_ckpt_writer_begin(w, path, &err), GS_E_INVALID, &err);
    assert_ok(gs_mindspore_ckpt_writer_put(w, 0, "123", 3, &err), &err);
    assert_fails(gs_mindspore_ckpt_writer_put(w, 1, "1234", 4, &err), GS_E_INVALID, &err);
    assert_fails(gs_mindspore_ckpt_writer_put(w, 0, "12", 2, &err), GS_E_INVALID, &err);
    assert_fails(gs_mindspore_ckpt_writer_commit(w, &err), GS_E_INVALID, &err);
    assert_false(gs_path_exists(path));
    gs_free(path);
    gs_test_rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_file_is_read),
        cmocka_unit_test(pieces_of_a_tensor_are_joined),
        cmocka_unit_test(pieces_that_do_not_fit_are_refused),
        cmocka_unit_test(hostile_files_are_refused),
        cmocka_unit_test(no_memory_is_survived),
        cmocka_unit_test(golden_stick_w8a16),
        cmocka_unit_test(golden_stick_w8a8),
        cmocka_unit_test(slices_read_back_whole),
        cmocka_unit_test(the_writer_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
