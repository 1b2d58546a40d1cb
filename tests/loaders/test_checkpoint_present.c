/* A checkpoint whose parts have other names, and one that shows other tensors than its files. */
#include "safetensors_builder.h"

#include <base/mem.h>
#include <loaders/checkpoint.h>

#define CONFIG                                                                 \
    "{\"model_type\":\"llama\",\"vocab_size\":8,\"hidden_size\":4,"            \
    "\"intermediate_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":2}"
#define ONE(name) "{\"" name "\":{\"dtype\":\"U8\",\"shape\":[4,4],\"data_offsets\":[0,16]}}"

/* Two files of one tensor, an index over them, and a config.json elsewhere. */
typedef struct places {
    char *dir, *config;
} places;

static places make(void) {
    places p = {gs_test_tmpdir(), gs_test_tmpdir()};
    st_write(st_path(p.dir, "x.safetensors"), ONE("a"), 16);
    st_write(st_path(p.dir, "y.safetensors"), ONE("b"), 16);
    st_write(st_path(p.dir, "z.safetensors"), ONE("a"), 16);
    st_write_text(st_path(p.dir, "other.safetensors.index.json"),
                  "{\"weight_map\":{\"a\":\"x.safetensors\",\"b\":\"y.safetensors\"}}");
    st_write_text(st_path(p.config, "config.json"), CONFIG);
    return p;
}

static void remove_places(places *p) {
    gs_test_rmdir(p->dir);
    gs_test_rmdir(p->config);
}

static gs_checkpoint *open_two(const places *p) {
    static const char *const files[] = {"x.safetensors", "y.safetensors"};
    gs_checkpoint_parts parts = {.config = p->config, .files = files, .nfiles = 2};
    gs_checkpoint *c;
    gs_error err = {0};
    assert_ok(gs_checkpoint_open_parts(p->dir, &parts, &c, &err), &err);
    return c;
}

static void parts_have_names_of_their_own(void **state) {
    (void)state;
    places p = make();
    gs_error err = {0};
    gs_checkpoint *c = open_two(&p);
    assert_int_equal(gs_checkpoint_container(c), GS_CONTAINER_SAFETENSORS);
    assert_string_equal(gs_checkpoint_path(c), p.dir);
    assert_int_equal(gs_checkpoint_config(c)->hidden, 4);
    assert_int_equal(gs_checkpoint_count(c), 2);
    assert_non_null(gs_checkpoint_find(c, "b"));
    gs_checkpoint_close(c);

    gs_checkpoint_parts parts = {.config = p.config, .index = "other.safetensors.index.json"};
    assert_ok(gs_checkpoint_open_parts(p.dir, &parts, &c, &err), &err);
    assert_int_equal(gs_checkpoint_count(c), 2);
    gs_checkpoint_close(c);

    parts = (gs_checkpoint_parts){.config = p.config};
    assert_ok(gs_checkpoint_open_parts(p.dir, &parts, &c, &err), &err);
    assert_int_equal(gs_checkpoint_count(c), 0);
    assert_null(gs_checkpoint_find(c, "a"));
    assert_int_equal(gs_checkpoint_bytes(c), 0);
    gs_checkpoint_close(c);
    remove_places(&p);
}

static void wrong_parts_are_named(void **state) {
    (void)state;
    places p = make();
    static const char *const twice[] = {"x.safetensors", "z.safetensors"}, *const gone[] = {"q.safetensors"},
                             *const outside[] = {"../x.safetensors"};
    const struct {
        gs_checkpoint_parts parts;
        gs_status status;
        const char *words;
    } bad[] = {
        {{.config = p.config, .files = twice, .nfiles = 2}, GS_E_FORMAT, "tensor 'a' is in 'x.safetensors' and in 'z.safe"},
        {{.config = p.config, .files = gone, .nfiles = 1}, GS_E_FORMAT, "q.safetensors' is missing"},
        {{.config = p.config, .files = outside, .nfiles = 1}, GS_E_FORMAT, "not a plain file name"},
        {{.config = p.config, .index = "x", .files = gone, .nfiles = 1}, GS_E_INVALID, "an index and a list"},
        {{.config = p.config, .index = "none.json"}, GS_E_FORMAT, "none.json"},
        {{.files = gone, .nfiles = 1}, GS_E_FORMAT, "has no config.json"},
    };
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        gs_checkpoint *c = NULL;
        gs_error err = {0};
        assert_fails(gs_checkpoint_open_parts(p.dir, &bad[i].parts, &c, &err), bad[i].status, &err);
        assert_text_has(&err, bad[i].words);
        assert_null(c);
    }
    remove_places(&p);
}

/* Tensors of `a`'s bytes under other names, and one of the caller's own memory. */
static void shown(const gs_checkpoint *c, const uint8_t *own, gs_tensor out[3]) {
    const gs_tensor *a = gs_checkpoint_find(c, "a");
    out[0] = (gs_tensor){.name = "q.weight", .dtype = GS_I8, .ndim = 2, .shape = {4, 4}, .data = a->data, .bytes = 16,
                         .codes = GS_CODES_GPTQ8};
    out[1] = (gs_tensor){.name = "k.weight", .dtype = GS_I8, .ndim = 2, .shape = {2, 4}, .data = a->data + 4, .bytes = 8};
    out[2] = (gs_tensor){.name = "q.scale", .dtype = GS_F32, .ndim = 1, .shape = {2}, .data = own, .bytes = 8};
}

static void exactly_the_presented_tensors_are_shown(void **state) {
    (void)state;
    places p = make();
    gs_error err = {0};
    uint8_t own[8] = {0};
    gs_tensor t[3];
    gs_checkpoint *c = open_two(&p);
    const gs_tensor *a = gs_checkpoint_find(c, "a");
    shown(c, own, t);
    char name[] = "q.weight";
    t[0].name = name;
    assert_ok(gs_checkpoint_present(c, t, 3, &err), &err);
    name[0] = 'x'; /* the name was copied */
    assert_int_equal(gs_checkpoint_count(c), 3);
    assert_int_equal(gs_checkpoint_bytes(c), 32);
    assert_null(gs_checkpoint_find(c, "a"));
    assert_null(gs_checkpoint_at(c, 3));
    const gs_tensor *q = gs_checkpoint_find(c, "q.weight");
    assert_ptr_equal(q, gs_checkpoint_at(c, 0));
    assert_int_equal(q->codes, GS_CODES_GPTQ8);
    int8_t code[4];
    assert_ok(gs_tensor_read_s8(q, 1, 1, code, &err), &err);
    assert_int_equal(code[3], 7 - 128);
    for (size_t i = 0; i < 3; i++) {
        gs_checkpoint_drop(c, gs_checkpoint_at(c, i)); /* the last lies in no file */
        gs_checkpoint_drop_rows(c, gs_checkpoint_at(c, i), 0, 1);
    }
    assert_int_equal(a->data[3], 3); /* the files' own stay */
    assert_ok(gs_checkpoint_present(c, t + 1, 1, &err), &err);
    assert_int_equal(gs_checkpoint_count(c), 1);
    assert_null(gs_checkpoint_find(c, "q.weight"));
    assert_ok(gs_checkpoint_present(c, NULL, 0, &err), &err);
    assert_int_equal(gs_checkpoint_count(c), 0);
    gs_checkpoint_close(c);
    remove_places(&p);
}

static void tensors_that_cannot_be_shown_change_nothing(void **state) {
    (void)state;
    places p = make();
    uint8_t own[8] = {0};
    gs_checkpoint *c = open_two(&p);
    for (int i = 0; i < 4; i++) {
        gs_error err = {0};
        gs_tensor t[3];
        shown(c, own, t);
        if (i == 0) t[2].name = "k.weight";
        if (i == 1) t[0].bytes = 15;
        if (i == 2) t[1].shape[0] = 3;
        if (i == 3) t[0].shape[1] = 3;
        assert_fails(gs_checkpoint_present(c, t, 3, &err), GS_E_FORMAT, &err);
        if (i == 0) assert_text_has(&err, "two tensors are called 'k.weight'");
        assert_int_equal(gs_checkpoint_count(c), 2);
        assert_non_null(gs_checkpoint_find(c, "a"));
    }
    gs_checkpoint_close(c);
    remove_places(&p);
}

static void every_failing_allocation_is_survived(void **state) {
    (void)state;
    places p = make();
    static const char *const files[] = {"x.safetensors", "y.safetensors"};
    gs_checkpoint_parts parts = {.config = p.config, .files = files, .nfiles = 2};
    uint8_t own[8] = {0};
    int64_t n = 0;
    for (;; n++) {
        gs_error err = {0};
        gs_checkpoint *c = NULL;
        gs_tensor t[3];
        gs_mem_fail_after(n);
        gs_status status = gs_checkpoint_open_parts(p.dir, &parts, &c, &err);
        if (status == GS_OK) {
            shown(c, own, t);
            status = gs_checkpoint_present(c, t, 3, &err);
        }
        gs_mem_fail_after(-1);
        gs_checkpoint_close(c);
        if (status == GS_OK) break;
        assert_int_equal(status, GS_E_NOMEM);
    }
    assert_true(n > 10);
    remove_places(&p);
}

static const gs_tensor *dropped;
static void note_dropped(const void *ctx, const gs_tensor *t) {
    static gs_tensor copy;
    assert_ptr_equal(ctx, &dropped);
    copy = *t;
    dropped = &copy;
}

static void others_pages_are_given_back_by_others(void **state) {
    (void)state;
    uint8_t own[8] = {0};
    gs_tensor t[3];
    places p = make();
    gs_checkpoint *c = open_two(&p);
    shown(c, own, t);
    gs_checkpoint_drop_by(c, note_dropped, &dropped);
    gs_checkpoint_drop(c, &t[0]);
    assert_non_null(dropped);
    assert_ptr_equal(dropped->data, t[0].data);
    gs_checkpoint_close(c);
    remove_places(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_have_names_of_their_own),
        cmocka_unit_test(wrong_parts_are_named),
        cmocka_unit_test(exactly_the_presented_tensors_are_shown),
        cmocka_unit_test(tensors_that_cannot_be_shown_change_nothing),
        cmocka_unit_test(others_pages_are_given_back_by_others),
        cmocka_unit_test(every_failing_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
