/* PyTorch files that were made to harm, or are not what they seem: one line each, and nothing has happened. */
#include "../support.h"
#include "safetensors_builder.h"
#include "torch_builder.h"

#include <base/mem.h>
#include <loaders/checkpoint.h>
#include <loaders/torch_file.h>

static const float numbers[24];

static void refuses_zip(zip_builder *z, gs_status status, const char *words) {
    gs_torch_file *f;
    gs_error err = {0};
    uint8_t *copy = malloc(z->len ? z->len : 1);
    assert_non_null(copy);
    if (z->len) memcpy(copy, z->data, z->len);
    assert_fails(gs_torch_file_open_memory(copy, z->len, &f, &err), status, &err);
    assert_null(f);
    assert_text_has(&err, words);
    free(copy);
    zip_clear(z);
}

/* b's pickle is finished and refused, with the 24 numbers as its storage. */
static void refuses(pickle_builder *b, gs_status status, const char *words) {
    pk(b, ".");
    zip_builder z = torch_zip(b, &(torch_storage){"t/data/0", numbers, sizeof numbers, 0}, 1);
    refuses_zip(&z, status, words);
}

static void refuses_entry(const torch_entry *e, gs_status status, const char *words) {
    pickle_builder b = {0};
    pk(&b, "\x80\x02");
    torch_dict(&b, e, 1);
    refuses(&b, status, words);
}

static void no_command_is_run(void **state) {
    (void)state;
    static const char *const globals[] = {"os\nsystem\n", "posix\nsystem\n", "builtins\nexec\n", "subprocess\ncall\n",
                                          "runpy\n_run_code\n", "webbrowser\nopen\n"};
    char *dir = gs_test_tmpdir(), command[1100];
    snprintf(command, sizeof command, "touch %s", st_path(dir, "harm"));
    for (size_t i = 0; i < GS_COUNTOF(globals); i++) {
        char words[64] = "asks for ";
        pickle_builder b = {0};
        pk(&b, "\x80\x02}");
        pk_text(&b, "w");
        pk_global(&b, globals[i]);
        pk_text(&b, command);
        pk(&b, "\x85Rs");
        strcat(words, globals[i]);
        *strchr(words, '\n') = '.';
        *strchr(words, '\n') = 0;
        refuses(&b, GS_E_UNSUPPORTED, words);
        assert_false(gs_path_exists(st_path(dir, "harm")));
    }
    gs_test_rmdir(dir);
}

static void views_stay_inside_their_storage(void **state) {
    (void)state;
    static const pk_bad_view cases[] = {
        {{TORCH_FLOATS, "0", 24, 0, 1, {25}, {1}}, GS_E_FORMAT, "reaches beyond the 24 elements"},
        {{TORCH_FLOATS, "0", 24, 20, 1, {5}, {1}}, GS_E_FORMAT, "reaches beyond"},
        {{TORCH_FLOATS, "0", 24, 0, 2, {2, 3}, {22, 1}}, GS_E_FORMAT, "reaches beyond"},
        {{TORCH_FLOATS, "0", 24, INT64_MAX, 1, {2}, {1}}, GS_E_FORMAT, "reaches beyond"},
        {{TORCH_FLOATS, "0", 24, 0, 1, {3}, {INT64_MAX}}, GS_E_FORMAT, "reaches beyond"},
        {{TORCH_FLOATS, "0", 24, 0, 2, {2, 2}, {INT64_MAX / 2 + 1, INT64_MAX / 2 + 1}}, GS_E_FORMAT, "reaches beyond"},
        {{TORCH_FLOATS, "0", 24, 0, 2, {INT64_MAX, 3}, {0, 0}}, GS_E_FORMAT, "size of its shape overflows"},
        {{TORCH_FLOATS, "0", 24, 0, 1, {INT64_MAX}, {0}}, GS_E_FORMAT, "size of its shape overflows"},
        {{TORCH_FLOATS, "0", 24, 0, 1, {INT64_C(1) << 40}, {0}}, GS_E_UNSUPPORTED, "1099511627776 elements are made of the 24"},
        {{TORCH_FLOATS, "0", 25, 0, 1, {24}, {1}}, GS_E_FORMAT, "storage of 25 F32 is not the 96 bytes"},
        {{TORCH_FLOATS, "0", INT64_MAX, 0, 1, {24}, {1}}, GS_E_FORMAT, "is not the 96 bytes"},
        {{"torch\nHalfStorage\n", "0", 24, 0, 1, {24}, {1}}, GS_E_FORMAT, "storage of 24 F16"},
        {{"torch.storage\nUntypedStorage\n", "0", 96, 0, 1, {24}, {1}}, GS_E_FORMAT, "without a dtype"},
        {{TORCH_FLOATS, "1", 24, 0, 1, {24}, {1}}, GS_E_FORMAT, "storage 'data/1' is not in the archive"},
        {{TORCH_FLOATS, "../../etc/passwd", 24, 0, 1, {24}, {1}}, GS_E_FORMAT, "'data/../../etc/passwd' is not in the archive"},
        {{TORCH_FLOATS, "a\nb", 24, 0, 1, {24}, {1}}, GS_E_FORMAT, "'data/a?b'"},
        {{TORCH_FLOATS, "0123456789012345678901234567890123456789012345678901234567890123456789", 24, 0, 1, {24}, {1}},
         GS_E_FORMAT, "..."},
        {{"torch\nComplexFloatStorage\n", "0", 12, 0, 1, {12}, {1}}, GS_E_UNSUPPORTED, "torch.ComplexFloatStorage"},
    };
    for (size_t i = 0; i < GS_COUNTOF(cases); i++)
        refuses_entry(&(torch_entry){"w", cases[i].view}, cases[i].status, cases[i].words);
}

#define WHOLE {TORCH_FLOATS, "0", 24, 0, 2, {4, 6}, {6, 1}}

static void names_are_clean(void **state) {
    (void)state;
    refuses_entry(&(torch_entry){"", WHOLE}, GS_E_FORMAT, "is empty, not UTF-8");
    refuses_entry(&(torch_entry){"a\nb", WHOLE}, GS_E_FORMAT, "'a?b' is empty, not UTF-8");
    refuses_entry(&(torch_entry){"a\xff", WHOLE}, GS_E_FORMAT, "not UTF-8");
    torch_entry twice[] = {{"w", WHOLE}, {"w", WHOLE}};
    pickle_builder b = {0};
    pk(&b, "\x80\x02");
    torch_dict(&b, twice, 2);
    refuses(&b, GS_E_FORMAT, "tensor 'w' is there twice");
}

static void other_values_are_named(void **state) {
    (void)state;
    torch_entry e = {"w", WHOLE};
    pickle_builder b = {0};
    pk(&b, "\x80\x02]");
    refuses(&b, GS_E_UNSUPPORTED, "the pickle holds a list, not a dict");
    pk(&b, "\x80\x02");
    pk_tensor(&b, &e.view);
    refuses(&b, GS_E_UNSUPPORTED, "the pickle holds a tensor");
    pk(&b, "\x80\x02");
    torch_dict(&b, &e, 1);
    pk_text(&b, "step");
    pk(&b, "K\x05s");
    refuses(&b, GS_E_UNSUPPORTED, "'step' is no tensor but an integer");
    pk(&b, "\x80\x02");
    torch_dict(&b, &e, 1);
    pk(&b, "K\x05K\x05s");
    refuses(&b, GS_E_UNSUPPORTED, "a key of the state dict is an integer");
    pk(&b, "\x80\x02}");
    pk_text(&b, "weights");
    torch_dict(&b, &e, 1);
    pk(&b, "s");
    refuses(&b, GS_E_UNSUPPORTED, "the dict holds no tensors");
    pk(&b, "\x80\x02}(");
    pk_text(&b, "model");
    torch_dict(&b, &e, 1);
    pk_text(&b, "state_dict");
    torch_dict(&b, &e, 1);
    pk(&b, "u");
    refuses(&b, GS_E_UNSUPPORTED, "both 'model' and 'state_dict' hold tensors");
    pk(&b, "\x80\x02}(");
    pk_text(&b, "model");
    pk(&b, "}");
    pk_text(&b, "model"); /* and so on, one long dict each: counting its tensors every time would be quadratic */
    pk(&b, "}u");
    refuses(&b, GS_E_FORMAT, "the key 'model' is there twice");
    pk(&b, "\x80\x02}q\0(");
    pk_text(&b, "model");
    pk(&b, "h\0u"); /* a dict that holds itself */
    refuses(&b, GS_E_UNSUPPORTED, "the dict holds no tensors");
}

static void other_files_are_explained(void **state) {
    (void)state;
    pickle_builder b = {0};
    zip_builder z = {0};
    refuses_zip(&z, GS_E_FORMAT, "no zip archive");
    zip_bytes(&z, "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", 21);
    refuses_zip(&z, GS_E_UNSUPPORTED, "before PyTorch 1.6");
    zip_bytes(&z, "version https://git-lfs.github.com/spec/v1\n", 43);
    refuses_zip(&z, GS_E_FORMAT, "no zip archive");
    zip_bytes(&z, "PK\3\4", 4);
    refuses_zip(&z, GS_E_FORMAT, "cut off?");
    zip_add(&z, "t/readme", "x", 1, 0);
    zip_end(&z, false, false);
    refuses_zip(&z, GS_E_FORMAT, "no data.pkl");
    zip_add(&z, "data.pkl", "\x80\x02}.", 4, 0); /* nothing above it */
    zip_end(&z, false, false);
    refuses_zip(&z, GS_E_FORMAT, "no data.pkl");
    zip_add(&z, "t/data.pkl", "\x80\x02}.", 4, 0);
    zip_add(&z, "u/data.pkl", "\x80\x02}.", 4, 0);
    zip_end(&z, false, false);
    refuses_zip(&z, GS_E_FORMAT, "both 't/data.pkl' and 'u/data.pkl'");
    zip_add(&z, "t/data.pkl", "\x80\x02}.", 4, 0);
    zip_add(&z, "t/byteorder", "big", 3, 0);
    zip_end(&z, false, false);
    refuses_zip(&z, GS_E_UNSUPPORTED, "big-endian");
    zip_add(&z, "t/data.pkl", "\x80\x02}.", 4, 0);
    zip_add(&z, "t/constants.pkl", "\x80\x02).", 4, 0);
    zip_end(&z, false, false);
    refuses_zip(&z, GS_E_UNSUPPORTED, "TorchScript");
    pk(&b, "\x80\x02}.");
    z = torch_zip(&b, NULL, 0);
    z.data[z.member[0].data + 2] ^= 1;
    refuses_zip(&z, GS_E_FORMAT, "its bytes are damaged");
}

/* 64 KiB that say they are 64 MiB, and are. */
static void bombs_are_refused(void **state) {
    (void)state;
    size_t n = (size_t)64 << 20;
    uint8_t *zeros = calloc(1, n);
    assert_non_null(zeros);
    torch_entry e = {"w", {"torch\nByteStorage\n", "0", (int64_t)n, 0, 1, {(int64_t)n}, {1}}};
    pickle_builder b = {0};
    pk(&b, "\x80\x02");
    torch_dict(&b, &e, 1);
    pk(&b, ".");
    zip_builder z = torch_zip(&b, &(torch_storage){"t/data/0", zeros, n, ZIP_DEFLATED}, 1);
    assert_true(z.len < n / 500);
    refuses_zip(&z, GS_E_UNSUPPORTED, "a zip bomb?");
    free(zeros);
    /* many gathered views of one storage, the same by other means */
    enum { SIDE = 64, VIEWS = 4000 };
    static torch_entry views[VIEWS];
    static char names[VIEWS][8];
    static float square[SIDE * SIDE];
    for (int i = 0; i < VIEWS; i++) {
        snprintf(names[i], sizeof names[i], "%d", i);
        views[i] = (torch_entry){names[i], {TORCH_FLOATS, "0", SIDE * SIDE, 0, 2, {SIDE, SIDE}, {1, SIDE}}};
    }
    pk(&b, "\x80\x02");
    torch_dict(&b, views, VIEWS);
    pk(&b, ".");
    z = torch_zip(&b, &(torch_storage){"t/data/0", square, sizeof square, 0}, 1);
    refuses_zip(&z, GS_E_UNSUPPORTED, "a zip bomb?");
    /* a pickle that inflates beyond what is read */
    uint8_t *large = calloc(1, ((size_t)64 << 20) + 1);
    assert_non_null(large);
    zip_add(&z, "t/data.pkl", large, ((size_t)64 << 20) + 1, ZIP_DEFLATED);
    zip_end(&z, false, false);
    refuses_zip(&z, GS_E_UNSUPPORTED, "more than the 67108864 that are read");
    free(large);
}

static void a_full_scratch_place_is_said(void **state) {
    (void)state;
    torch_entry e = {"w", {TORCH_FLOATS, "0", 24, 0, 2, {6, 4}, {1, 6}}};
    const char *set = getenv("TMPDIR");
    char *before = set ? strdup(set) : NULL;
    assert_int_equal(setenv("TMPDIR", "/nonexistent", 1), 0);
    refuses_entry(&e, GS_E_IO, "cannot create a scratch file in '/nonexistent'");
    assert_int_equal(before ? setenv("TMPDIR", before, 1) : unsetenv("TMPDIR"), 0);
    free(before);
}

static void messages_name_file_and_place(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir();
    pickle_builder b = {0};
    gs_checkpoint *c;
    gs_error err = {0};
    pk(&b, "\x80\x02" "cos\nsystem\n)R.");
    zip_builder z = torch_zip(&b, NULL, 0);
    st_write_text(st_path(dir, "config.json"), "{\"model_type\":\"llama\",\"vocab_size\":8,\"hidden_size\":4,"
                  "\"intermediate_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":2}");
    st_write_bytes(st_path(dir, "pytorch_model.bin"), z.data, z.len);
    assert_fails(gs_checkpoint_open(dir, NULL, &c, &err), GS_E_UNSUPPORTED, &err);
    assert_text_has(&err, "pytorch_model.bin: data.pkl: byte 2: asks for os.system, which is not run");
    assert_non_null(strstr(err.hint, "safetensors"));
    zip_clear(&z);
    gs_test_rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_command_is_run),
        cmocka_unit_test(views_stay_inside_their_storage),
        cmocka_unit_test(names_are_clean),
        cmocka_unit_test(other_values_are_named),
        cmocka_unit_test(other_files_are_explained),
        cmocka_unit_test(bombs_are_refused),
        cmocka_unit_test(a_full_scratch_place_is_said),
        cmocka_unit_test(messages_name_file_and_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
